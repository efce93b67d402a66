import { expect, test } from 'vitest'
import { manualClock } from '../platform/clock.js'
import { silentLog } from '../platform/log.js'
import { pressure } from './pressure.js'

function watched() {
  const clock = manualClock()
  let depth = 0
  const strain = pressure(() => depth / 1000, clock, silentLog)
  return {
    strain,
    /** So many looks at a queue of this depth. */
    async looks(n: number, at: number) {
      depth = at
      for (let i = 0; i < n; i++) {
        clock.advance(250)
        await new Promise((next) => setImmediate(next))
      }
    },
  }
}

test('a queue that stays nearly full for two seconds is an overload, until it is half empty', async () => {
  const { strain, looks } = watched()
  await looks(7, 900)
  expect(strain.over).toBe(false)
  await looks(1, 900)
  expect(strain.over).toBe(true)
  await looks(20, 600)
  expect(strain.over).toBe(true)
  await looks(1, 499)
  expect(strain.over).toBe(false)
  await strain.stop()
})

test('a burst is none, however often it comes', async () => {
  const { strain, looks } = watched()
  for (let n = 0; n < 5; n++) {
    await looks(7, 1000)
    await looks(1, 700)
  }
  expect(strain.over).toBe(false)
  await strain.stop()
})
