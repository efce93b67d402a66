import { expect, test } from 'vitest'
import { Refusals } from './refusals.js'

const late = { kind: 'effect.late', tenant: 't', actor: 'worker:one', effect_key: 'pay' } as const
const done = async () => {}
const counts = (refusals: Refusals, at: number) => refusals.take(at, false).map(({ count, from }) => ({ count, from }))

/** A write whose end is in the test's hand. */
function write() {
  let [asked, end] = [0, (_fault?: Error) => {}]
  const begin = () => {
    asked++
    return new Promise<void>((resolve, reject) => {
      end = (fault) => (fault === undefined ? resolve() : reject(fault))
    })
  }
  return { begin, asked: () => asked, end: (fault?: Error) => end(fault) }
}

test('the first is written and what is like it counted; after the count is taken the next is a first again', async () => {
  const refusals = new Refusals()
  let written = 0
  const first = async () => void written++
  for (let n = 0; n < 4; n++) await refusals.onRecord(late, 1000 + n, first)
  expect(written).toBe(1)
  expect(counts(refusals, 5999)).toEqual([])
  expect(counts(refusals, 6000)).toEqual([{ count: 3, from: 1000 }])
  await refusals.onRecord(late, 6001, first)
  expect(written).toBe(2)
  expect(counts(refusals, 20_000)).toEqual([])
})

test('none is answered before the first is written, and none is a repeat of what could not be', async () => {
  const refusals = new Refusals()
  const first = write()
  const ends: string[] = []
  const say = (name: string) =>
    refusals.onRecord(late, 1000, first.begin).then(
      () => ends.push(name),
      (fault: Error) => ends.push(`${name}: ${fault.message}`),
    )
  let all = [say('a'), say('b')]
  await new Promise((turn) => setImmediate(turn))
  expect([ends, first.asked()]).toEqual([[], 1])
  first.end(new Error('no store'))
  await Promise.all(all)
  expect(ends.splice(0).sort()).toEqual(['a: no store', 'b: no store'])
  all = [say('a'), say('b')]
  expect(first.asked()).toBe(2)
  first.end()
  await Promise.all(all)
  expect(ends.sort()).toEqual(['a', 'b'])
  expect(counts(refusals, 6000)).toEqual([{ count: 1, from: 1000 }])
})

test('a first whose write outlives the count it would be in loses no repeat', async () => {
  const refusals = new Refusals()
  const first = write()
  const all = [refusals.onRecord(late, 1000, first.begin), refusals.onRecord(late, 7000, first.begin)]
  expect(counts(refusals, 9000)).toEqual([])
  first.end()
  await Promise.all(all)
  expect(counts(refusals, 9000)).toEqual([{ count: 1, from: 1000 }])
})

test('what is put back is counted on from when it began', async () => {
  const refusals = new Refusals()
  for (const at of [1000, 2000]) refusals.add(late, at)
  const taken = refusals.take(6000, false)
  refusals.add(late, 6001)
  refusals.putBack(taken)
  await refusals.onRecord(late, 6002, done)
  expect(counts(refusals, 6003)).toEqual([{ count: 4, from: 1000 }])
  expect(refusals.take(6004, true)).toEqual([])
})
