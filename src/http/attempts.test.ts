import fc from 'fast-check'
import { expect, test } from 'vitest'
import { manualClock } from '../platform/clock.js'
import { Attempts, networkOf } from './attempts.js'

const times = (n: number, work: () => void) => Array.from({ length: n }).forEach(work)

test('the tenth wrong one within a minute makes the next ones wait out that minute, and no longer', () => {
  const clock = manualClock(1_000_000)
  const attempts = new Attempts(clock)
  times(9, () => attempts.wrong(['a', 'key']))
  clock.advance(20_000)
  expect(attempts.wait(['a'])).toBeNull()
  attempts.wrong(['a'])
  expect(attempts.wait(['a', 'b'])).toBe(40_000)
  expect(attempts.wait(['b', 'key'])).toBeNull()
  // Who goes on does not make the wait longer, or a stranger could keep a name waiting for ever.
  times(100, () => attempts.wrong(['a']))
  clock.advance(39_999)
  expect(attempts.wait(['a'])).toBe(1)
  clock.advance(1)
  expect(attempts.wait(['a'])).toBeNull()
  times(9, () => attempts.wrong(['a']))
  expect(attempts.wait(['a'])).toBeNull()
})

test('a clock that was set back makes nobody wait longer than a minute', () => {
  let now = 1_000_000
  const attempts = new Attempts({ ...manualClock(), now: () => now })
  times(10, () => attempts.wrong(['a']))
  expect(attempts.wait(['a'])).toBe(60_000)
  now = 0
  expect(attempts.wait(['a'])).toBeNull()
})

test('twenty looks a second, of each network', () => {
  const clock = manualClock(5_000)
  const attempts = new Attempts(clock)
  const looks = (network: string) => Array.from({ length: 30 }, () => attempts.mayLook(network)).filter(Boolean).length
  expect([looks('a'), looks('a'), looks('b')]).toEqual([20, 0, 20])
  clock.advance(1_000)
  expect(looks('a')).toBe(20)
})

test('names that are made up push out the oldest, and the table stays as large as it is', () => {
  const attempts = new Attempts(manualClock(1_000_000))
  times(10, () => attempts.wrong(['first']))
  for (let n = 0; n < 9_999; n++) attempts.wrong([`n${n}`])
  expect(attempts.wait(['first'])).not.toBeNull()
  attempts.wrong(['one more'])
  expect(attempts.wait(['first'])).toBeNull()
})

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['::ffff:10.0.0.7', '10.0.0.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['', ''],
  ['nonsense', 'nonsense'],
])('%s is of %s', (address, network) => {
  expect(networkOf(address)).toBe(network)
})

test('two addresses of one /64 are one network', () => {
  const group = fc.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16))
  const half = fc.array(group, { minLength: 4, maxLength: 4 }).map((groups) => groups.join(':'))
  fc.assert(
    fc.property(half, half, half, (left, a, b) => {
      expect(networkOf(`${left}:${a}`)).toBe(networkOf(`${left}:${b}`))
    }),
  )
})
