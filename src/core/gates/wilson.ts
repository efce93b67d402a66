/**
 * One-sided normal quantiles of the confidences that a gate may ask for. A closed list instead of an inverse by series: Math.log and
 * Math.exp may differ in the last bit from one engine to the next, and evidence has to come out in the same bytes for good. What is
 * left (+ − × ÷ √) is exact everywhere.
 */
const Z = {
  0.95: 1.6448536269514722,
  0.975: 1.959963984540054,
  0.99: 2.3263478740408408,
  0.995: 2.5758293035489004,
  0.999: 3.090232306167813,
} as const
export type Confidence = keyof typeof Z
export const CONFIDENCES = Object.keys(Z).map(Number).sort() as Confidence[]

export function isConfidence(value: unknown): value is Confidence {
  return typeof value === 'number' && Object.hasOwn(Z, value)
}

export const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** Each by itself holds the true rate on its side with the confidence asked for; both together with less. */
export interface Bounds {
  lower: number
  upper: number
}

/**
 * Wilson's score bounds of `hits` out of `of` (G2, G7). Null where there is nothing to bound: none, no whole numbers, more hits than tries.
 *
 * The plain share p ± z√(p(1−p)/n) was rejected: of 20 successes out of 20 it is 1 ± 0, which proves 100 %. The exact bounds of Clopper
 * and Pearson are wider and need the incomplete beta function, whose last bits depend on the engine.
 *
 * One-sided, they are a little too hopeful where few fail: of candidates that are exactly at the target, up to 6.8 % pass `>= 99 %` at
 * confidence 0.95 (of 268 jobs, the fewest that can), not 5 %; at 0.975 it is 2.5 %. wilson.test.ts works it out. 0.9 is not on the list
 * because there it would be 19 %.
 */
export function wilson(hits: number, of: number, confidence: Confidence): Bounds | null {
  if (!isCount(hits) || !isCount(of) || of === 0 || hits > of) return null
  const z = Z[confidence]
  const middle = (hits + (z * z) / 2) / (of + z * z)
  const half = (z / (of + z * z)) * Math.sqrt((hits * (of - hits)) / of + (z * z) / 4)
  return {
    // At the ends the formula gives 0 and 1 but for rounding, which must not turn never into hardly ever.
    lower: hits === 0 ? 0 : Math.max(0, middle - half),
    upper: hits === of ? 1 : Math.min(1, middle + half),
  }
}
