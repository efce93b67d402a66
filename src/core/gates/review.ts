/** What people say of a rollout: under a phase their names, and once a week how it went (G2). */
export const REVIEWS = ['signature', 'week'] as const

export interface RolloutReview {
  tenant: string
  review_id: string
  rollout_id: string
  review: (typeof REVIEWS)[number]
  /** In which it was said. */
  phase: number
  by: string
  /** With which it was said: once that is revoked a signature counts no more. */
  key_id: string | null
  at: number
  valid_until: number
  /** Of a week; null of a signature, as the next. */
  clean: boolean | null
  critical_incidents: number | null
  /** What the signer had seen. */
  evidence_hash: string | null
  note: string | null
}

const DAY_MS = 86_400_000
/** The longest phase of the guide: who signed under it at its start need not do so again at its end. */
export const SIGNATURE_MS = 7 * DAY_MS
/** A week, and two days in which the next review may be late. */
export const WEEK_MS = 9 * DAY_MS
/** A week less a day: Friday's review and the one of the Thursday before are two. Two of the same day are one. */
const APART_MS = 6 * DAY_MS

export interface ReviewStanding {
  /** In a row, up to the newest. */
  clean_weekly_reviews: number
  /** Of the weeks that still count. */
  critical_incidents: number
  at: number
  valid_until: number
}

/**
 * How the weeks stand at an instant; null where none was ever reviewed. One that was not clean ends the row, and so does a week that nobody
 * reviewed. Two reviews of one week count once, and the worse of them.
 */
export function weeksOf(reviews: readonly RolloutReview[], at: number): ReviewStanding | null {
  const weeks = reviews
    .filter((each) => each.review === 'week' && each.at <= at)
    .sort((a, b) => b.at - a.at || (a.review_id < b.review_id ? 1 : -1))
  const [newest] = weeks
  if (newest === undefined) return null
  let clean_weekly_reviews = 0
  let edge: RolloutReview | null = null
  for (const week of weeks) {
    if (week.clean !== true) break
    if (edge !== null) {
      if (edge.at - week.at > WEEK_MS) break
      if (edge.at - week.at < APART_MS) continue
    }
    clean_weekly_reviews++
    edge = week
  }
  const critical_incidents = weeks
    .filter(({ valid_until }) => at < valid_until)
    .reduce((sum, week) => sum + (week.critical_incidents ?? 0), 0)
  return { clean_weekly_reviews, critical_incidents, at: newest.at, valid_until: newest.valid_until }
}

/** Who has signed under this phase by then, each once, by name. A signature that has expired is none. */
export function signersOf(
  reviews: readonly RolloutReview[],
  { phase, phase_at }: { phase: number; phase_at: number },
  at: number,
): RolloutReview[] {
  const signed = new Map<string, RolloutReview>()
  for (const each of reviews) {
    if (each.review !== 'signature' || each.phase !== phase) continue
    if (each.at < phase_at || each.at > at || each.valid_until <= at) continue
    const other = signed.get(each.by)
    if (other === undefined || other.at < each.at) signed.set(each.by, each)
  }
  return [...signed.values()].sort((a, b) => (a.by < b.by ? -1 : 1))
}
