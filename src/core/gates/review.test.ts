import { expect, test } from 'vitest'
import { type RolloutReview, SIGNATURE_MS, signersOf, WEEK_MS, weeksOf } from './review.js'

const DAY = 86_400_000
const base = { tenant: 't', rollout_id: 'r', phase: 1, by: 'ann', key_id: null, evidence_hash: null, note: null }
let n = 0
const week = (day: number, clean = true, critical_incidents = 0): RolloutReview => ({
  ...base,
  ...{
    review_id: `rev_${++n}`,
    review: 'week',
    at: day * DAY,
    valid_until: day * DAY + WEEK_MS,
    clean,
    critical_incidents,
  },
})
const signature = (by: string, at: number, phase = 1): RolloutReview => ({
  ...base,
  ...{ review_id: `rev_${++n}`, review: 'signature', phase, by, at, valid_until: at + SIGNATURE_MS },
  ...{ clean: null, critical_incidents: null },
})
const row = (at: number, ...weeks: RolloutReview[]) => weeksOf(weeks, at * DAY)?.clean_weekly_reviews ?? null

test('weeks count in a row, each once, until one was not clean or nobody reviewed it', () => {
  expect(row(30)).toBeNull()
  expect(row(8, week(7))).toBe(1)
  expect(row(15, week(7), week(14))).toBe(2)
  expect(row(22, week(14), week(7), week(21))).toBe(3)
  expect(row(15, week(13), week(14))).toBe(1)
  expect(row(15, week(13), week(7), week(14))).toBe(2)
  expect(row(22, week(7), week(21))).toBe(1)
  expect(row(22, week(7), week(14, false), week(21))).toBe(1)
  // The worse of two in one week counts.
  expect(row(22, week(14), week(20, false, 1), week(21))).toBe(1)
  expect(row(22, week(14), week(21, false))).toBe(0)
  // Later ones are not known yet.
  expect(row(15, week(7), week(14), week(21, false))).toBe(2)
})

test('incidents are those of the weeks that still count, and the newest says until when', () => {
  const weeks = [week(1, false, 3), week(7, false, 1), week(14, false, 2)]
  expect(weeksOf(weeks, 15 * DAY)).toEqual({
    ...{ clean_weekly_reviews: 0, critical_incidents: 3, at: 14 * DAY, valid_until: 14 * DAY + WEEK_MS },
  })
})

test('a signature counts under its phase, until it expires, once for each person', () => {
  const under = (at: number, ...all: RolloutReview[]) =>
    signersOf(all, { phase: 1, phase_at: 100 }, at).map(({ by }) => by)
  expect(under(200, signature('ben', 150), signature('ann', 120), signature('ann', 130))).toEqual(['ann', 'ben'])
  expect(under(200, signature('ann', 99))).toEqual([])
  expect(under(200, signature('ann', 201))).toEqual([])
  expect(under(200, signature('ann', 150, 0))).toEqual([])
  expect(under(150 + SIGNATURE_MS - 1, signature('ann', 150))).toEqual(['ann'])
  expect(under(150 + SIGNATURE_MS, signature('ann', 150))).toEqual([])
  expect(signersOf([week(0)], { phase: 1, phase_at: 0 }, DAY)).toEqual([])
})
