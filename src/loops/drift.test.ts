import { expect, test } from 'vitest'
import { manualClock, storeClock } from '../platform/clock.js'
import type { Db } from '../platform/db/seam.js'
import { sampleTime } from './drift.js'

/** A store whose clock is ahead by so much, and takes that long each way. */
function store(own: ReturnType<typeof manualClock>, ahead: number, eachWay: number): Db {
  return {
    engine: 'postgres',
    async query() {
      own.advance(eachWay)
      const now = own.now() + ahead
      own.advance(eachWay)
      return [{ now }] as never
    },
    script: async () => {},
    hold: async () => null,
    close: async () => {},
  }
}

test('a node tells the time as its store does, whatever its own clock says and however long the answer takes', async () => {
  for (const ahead of [-3_600_000, -501, 0, 499, 86_400_000]) {
    const own = manualClock()
    const clock = storeClock(own)
    await sampleTime(store(own, ahead, 40), own, clock)
    expect(clock.now() - own.now()).toBe(ahead)
    own.advance(1000)
    expect(clock.now() - own.now()).toBe(ahead)
  }
})

test('an answer that took too long says nothing about a clock that may be right', async () => {
  const own = manualClock()
  const clock = storeClock(own)
  await sampleTime(store(own, 0, 2500), own, clock)
  expect(clock.offset).toBe(0)
  await sampleTime(store(own, 300, 5), own, clock)
  await sampleTime(store(own, 500, 400), own, clock)
  expect(clock.offset).toBe(300)
  // Wrong by more than the way can explain.
  await sampleTime(store(own, 9000, 400), own, clock)
  expect(clock.offset).toBe(9000)
})
