import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CONFIDENCES, type Confidence, isConfidence, wilson } from './wilson.js'

const confidences = fc.constantFrom<Confidence>(...CONFIDENCES)
const counts = fc
  .integer({ min: 1, max: 1_000_000 })
  .chain((of) => fc.record({ hits: fc.integer({ min: 0, max: of }), of: fc.constant(of) }))

/** The normal distribution by Simpson's rule: nothing of it is in the file under test. */
function below(z: number): number {
  const steps = 2000
  const density = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)
  let sum = density(0) + density(z)
  for (let i = 1; i < steps; i++) sum += density((z * i) / steps) * (i % 2 === 1 ? 4 : 2)
  return 0.5 + (sum * z) / steps / 3
}

/** z, found out from the bounds: of 0 out of n the upper one is z² / (n + z²). */
const zOf = (confidence: Confidence) => {
  const { upper } = wilson(0, 1000, confidence)!
  return Math.sqrt((1000 * upper) / (1 - upper))
}

/** Chance that `passes(hits)` of `of` tries with this true rate, by adding up the binomial. `passes` holds from some hits on. */
function chance(rate: number, of: number, passes: (hits: number) => boolean): number {
  let mass = rate ** of
  let sum = 0
  for (let hits = of; hits >= 0 && passes(hits); hits--) {
    sum += mass
    mass *= (hits / (of - hits + 1)) * ((1 - rate) / rate)
  }
  return sum
}

const worstChance = (target: number, confidence: Confidence, from: number, to: number) => {
  let worst = { chance: 0, of: 0 }
  for (let of = from; of <= to; of++) {
    const found = chance(target, of, (hits) => wilson(hits, of, confidence)!.lower >= target)
    if (found > worst.chance) worst = { chance: found, of }
  }
  return worst
}

describe('the confidences', () => {
  test.each(CONFIDENCES)('%s is that share of a normal distribution', (confidence) => {
    expect(below(zOf(confidence))).toBeCloseTo(confidence, 9)
  })

  test('no other one, nor the name of what every object has', () => {
    for (const value of [0.9, 0.94, 1, 0, Number.NaN, '0.95', 'constructor', null, undefined])
      expect(isConfidence(value)).toBe(false)
    expect(CONFIDENCES).toEqual([0.95, 0.975, 0.99, 0.995, 0.999])
  })
})

describe('the bounds', () => {
  test('as tables have them', () => {
    // 81 of 263 two-sided at 95 %, the worked example of the literature: 0.2553 to 0.3662.
    const { lower, upper } = wilson(81, 263, 0.975)!
    expect(lower).toBeCloseTo(0.2553, 4)
    expect(upper).toBeCloseTo(0.3662, 4)
  })

  test('solve the equation they come from: (p̂ − p)² = z² p (1 − p) / n', () => {
    fc.assert(
      fc.property(counts, confidences, ({ hits, of }, confidence) => {
        const z = zOf(confidence)
        const { lower, upper } = wilson(hits, of, confidence)!
        for (const p of [hits === 0 ? null : lower, hits === of ? null : upper]) {
          if (p === null) continue
          const off = (hits / of - p) ** 2
          expect(Math.abs(off - (z * z * p * (1 - p)) / of)).toBeLessThan(1e-9)
        }
        expect(lower).toBeLessThanOrEqual(hits / of + 1e-12)
        expect(upper).toBeGreaterThanOrEqual(hits / of - 1e-12)
        expect(lower).toBeGreaterThanOrEqual(0)
        expect(upper).toBeLessThanOrEqual(1)
      }),
    )
  })

  test('a failure more never raises one, whether a success became it or it came on top', () => {
    fc.assert(
      fc.property(counts, confidences, ({ hits, of }, confidence) => {
        const now = wilson(hits, of, confidence)!
        const worse = [wilson(hits, of + 1, confidence)!, ...(hits > 0 ? [wilson(hits - 1, of, confidence)!] : [])]
        for (const { lower, upper } of worse) {
          expect(lower).toBeLessThanOrEqual(now.lower + 1e-12)
          expect(upper).toBeLessThanOrEqual(now.upper + 1e-12)
        }
      }),
    )
  })

  test('are exactly 0 and 1 at the ends: never is not hardly ever', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), confidences, (of, confidence) => {
        expect(wilson(of, of, confidence)!.upper).toBe(1)
        expect(wilson(0, of, confidence)!.lower).toBe(0)
      }),
      { numRuns: 2000 },
    )
  })

  test('none of nothing, nor of what is no count', () => {
    for (const [hits, of] of [
      [0, 0],
      [2, 1],
      [-1, 5],
      [1, 2.5],
      [Number.NaN, 5],
      [1, Number.POSITIVE_INFINITY],
      [null as never, 5],
    ] as const)
      expect(wilson(hits, of, 0.95)).toBeNull()
  })
})

describe('how often a candidate passes that should not, by the exact binomial', () => {
  test('exactly at 99 %: up to 6.8 % at 0.95, with the fewest jobs that can pass, and 2.5 % at 0.975', () => {
    expect(worstChance(0.99, 0.95, 20, 267).chance).toBe(0)
    const worst = worstChance(0.99, 0.95, 20, 1500)
    expect(worst.of).toBe(268)
    expect(worst.chance).toBeCloseTo(0.99 ** 268, 9)
    expect(worst.chance).toBeLessThan(0.068)
    expect(worstChance(0.99, 0.975, 20, 1500).chance).toBeLessThanOrEqual(0.0251)
  })

  test.each([0.9, 0.95, 0.97, 0.98, 0.99, 0.995])('exactly at %s: never more than 7.2 % at 0.95', (target) => {
    expect(worstChance(target, 0.95, 20, 1000).chance).toBeLessThan(0.072)
  })

  test('one that fails 3 % passes 99 % in less than one window of two thousand', () => {
    for (let of = 200; of <= 1000; of++)
      expect(chance(0.97, of, (hits) => wilson(hits, of, 0.95)!.lower >= 0.99)).toBeLessThan(0.0005)
  })
})
