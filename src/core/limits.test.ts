import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Counter, counted, FRESH, retryAfter, spent, windowStart } from './limits.js'

const PERIOD = 60_000

const spend = (counter: Counter, now: number) => counted(counter, now, PERIOD)

const arrivals = fc.array(fc.nat(PERIOD), { minLength: 1, maxLength: 200 })

describe('a rate', () => {
  test('lets no more through in one window than its number, and in any span of that length no more than twice', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), arrivals, (count, gaps) => {
        let counter = FRESH
        let now = 1_000_000
        const through: number[] = []
        for (const gap of gaps) {
          now += gap % 5 === 0 ? gap : gap % 300
          if (spent(counter, now, PERIOD) + 1 > count) continue
          counter = spend(counter, now)
          through.push(now)
        }
        const perWindow = new Map<number, number>()
        for (const at of through) {
          const start = windowStart(at, PERIOD)
          perWindow.set(start, (perWindow.get(start) ?? 0) + 1)
        }
        expect(Math.max(0, ...perWindow.values())).toBeLessThanOrEqual(count)
        for (const [i, at] of through.entries()) {
          const within = through.slice(i).filter((other) => other < at + PERIOD).length
          expect(within).toBeLessThanOrEqual(2 * count)
        }
      }),
    )
  })

  test('spread evenly it lets its number through in every span of that length, and one more at most', () => {
    const [count, step] = [10, 500]
    let counter = FRESH
    const through: number[] = []
    for (let now = 0; now < 20 * PERIOD; now += step) {
      if (spent(counter, now, PERIOD) + 1 > count) continue
      counter = spend(counter, now)
      through.push(now)
    }
    const late = through.filter((at) => at > 3 * PERIOD && at < 18 * PERIOD)
    for (const at of late) {
      const within = through.filter((other) => other >= at && other < at + PERIOD).length
      expect(within).toBeLessThanOrEqual(count + 1)
    }
  })

  test('says when to come back, and then there is room', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.nat(50), fc.nat(2 * PERIOD - 1), (count, previous, offset) => {
        const counter: Counter = { window_start: 10 * PERIOD, current: count, previous, held: 0 }
        const now = 10 * PERIOD + offset
        if (spent(counter, now, PERIOD) + 1 <= count) return
        const wait = retryAfter(counter, count, now, PERIOD)
        expect(wait).toBeGreaterThanOrEqual(1000)
        expect(spent(counter, now + wait, PERIOD) + 1).toBeLessThanOrEqual(count + 1e-9)
      }),
    )
  })

  test('a clock set back by up to a window, or a longer period, frees no full limit', () => {
    const full: Counter = { window_start: 10 * PERIOD, current: 5, previous: 0, held: 0 }
    for (const now of [10 * PERIOD - 1, 9 * PERIOD]) expect(spent(full, now, PERIOD)).toBe(5)
    // Further than that a limit spent under a wrong clock would refuse until its date: it starts anew.
    expect(spent(full, 9 * PERIOD - 1, PERIOD)).toBe(0)
    // The rule counted by the minute and now counts by the hour: what was spent this minute was spent this hour.
    expect(spent({ ...full, window_start: 100 * PERIOD }, 100 * PERIOD + 1, 60 * PERIOD)).toBe(5)
  })

  test('a window long past counts nothing', () => {
    expect(spent({ window_start: PERIOD, current: 9, previous: 9, held: 0 }, 5 * PERIOD, PERIOD)).toBe(0)
  })
})
