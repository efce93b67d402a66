/** A replay that ran to its end, in numbers. */
export interface ReplayFound {
  replay_id: string
  scenarios: number
  critical_bypasses: number
  unsafe_duplicates: number
  finished_at: number
  valid_until: number
  /** When another snapshot became active, as far as anybody knows now. */
  voided_at: number | null
}

export interface ReplayStanding {
  /** Written ones, each job once. */
  scenarios: number
  critical_bypasses: number
  unsafe_duplicates: number
  at: number
  /** It expires, or another snapshot became active before that. */
  valid_until: number
  replay_id: string
}

/**
 * The newest, unless one that still counts found something: the same snapshot answers the same request the same, so a later replay of
 * other scenarios, or at another hour, takes nothing back. Of several that found something the worst is named, and each count is the
 * highest of any. The same whenever it is asked: voided later than asked about, a replay counted then.
 */
export function standingOfReplays(replays: readonly ReplayFound[], at: number): ReplayStanding | null {
  const ends = ({ valid_until, voided_at }: ReplayFound) =>
    Math.min(valid_until, voided_at === null || voided_at > at ? Number.POSITIVE_INFINITY : voided_at)
  const wrong = replays.filter(
    (one) => (one.critical_bypasses > 0 || one.unsafe_duplicates > 0) && one.finished_at <= at && at < ends(one),
  )
  const [first] = wrong.length > 0 ? wrong.toSorted(worstFirst) : replays.toSorted(newestFirst)
  if (first === undefined) return null
  const most = (count: 'critical_bypasses' | 'unsafe_duplicates') =>
    Math.max(first[count], ...wrong.map((one) => one[count]))
  return {
    scenarios: first.scenarios,
    critical_bypasses: most('critical_bypasses'),
    unsafe_duplicates: most('unsafe_duplicates'),
    at: first.finished_at,
    valid_until: ends(first),
    replay_id: first.replay_id,
  }
}

const newestFirst = (a: ReplayFound, b: ReplayFound) =>
  b.finished_at - a.finished_at || (a.replay_id < b.replay_id ? 1 : -1)
const worstFirst = (a: ReplayFound, b: ReplayFound) =>
  b.critical_bypasses - a.critical_bypasses || b.unsafe_duplicates - a.unsafe_duplicates || newestFirst(a, b)
