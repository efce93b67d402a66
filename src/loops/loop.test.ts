import { expect, test } from 'vitest'
import { manualClock } from '../platform/clock.js'
import { silentLog } from '../platform/log.js'
import { loop } from './loop.js'

const turn = () => new Promise((next) => setImmediate(next))

test('a round begins after each pause, and never while the one before is under way', async () => {
  const clock = manualClock()
  const ends: (() => void)[] = []
  let begun = 0
  const it = loop('test', clock, silentLog, 100, () => {
    begun++
    return new Promise<void>((end) => ends.push(end))
  })
  clock.advance(99)
  expect(begun).toBe(0)
  clock.advance(1)
  clock.advance(1000)
  expect(begun).toBe(1)
  ends.shift()?.()
  await turn()
  clock.advance(100)
  expect(begun).toBe(2)
  ends.shift()?.()
  await it.stop()
})

test('woken it runs at once; woken during a round it runs once more after it', async () => {
  const clock = manualClock()
  const ends: (() => void)[] = []
  const it = loop('test', clock, silentLog, 100, () => new Promise<void>((end) => ends.push(end)))
  it.wake()
  it.wake()
  it.wake()
  expect(ends).toHaveLength(1)
  ends.shift()?.()
  await turn()
  expect(ends).toHaveLength(1)
  ends.shift()?.()
  await turn()
  expect(ends).toHaveLength(0)
  await it.stop()
})

test('a round that fails is logged, and the next one comes', async () => {
  const clock = manualClock()
  const said: unknown[] = []
  let rounds = 0
  const log = { ...silentLog, error: (what: unknown) => said.push(what) } as unknown as typeof silentLog
  const it = loop('test', clock, log, 100, async () => {
    rounds++
    throw new Error('no')
  })
  clock.advance(100)
  await turn()
  clock.advance(100)
  await turn()
  expect([rounds, said.length]).toEqual([2, 2])
  await it.stop()
})

test('stopping waits for the round under way and begins no other', async () => {
  const clock = manualClock()
  let end = () => {}
  let rounds = 0
  const it = loop('test', clock, silentLog, 100, () => {
    rounds++
    return new Promise<void>((done) => {
      end = done
    })
  })
  clock.advance(100)
  let stopped = false
  const stopping = it.stop().then(() => {
    stopped = true
  })
  await turn()
  expect(stopped).toBe(false)
  end()
  await stopping
  it.wake()
  clock.advance(1000)
  expect(rounds).toBe(1)
})
