/**
 * The windowed numbers: what each is made of, how it is written, and what is said instead of one that is not known.
 * docs/metrics.md defines them for readers. Pure: rows come in, a number or a reason goes out.
 */

/** Which way a number is bad. What is not known is answered with the worst there is, so that no comparison lets it pass. */
export interface MetricKind {
  bad: 'high' | 'low'
  unit: 'ratio' | 'ms' | 'count'
  /** Made of which rows; those of one source are read once. */
  of: 'ends' | 'attempts' | 'decisions' | 'answers' | 'pending' | 'risks'
}

export const METRICS = {
  'success-rate': { bad: 'low', unit: 'ratio', of: 'ends' },
  'p50-latency-ms': { bad: 'high', unit: 'ms', of: 'ends' },
  'p95-latency-ms': { bad: 'high', unit: 'ms', of: 'ends' },
  'quarantine-ratio': { bad: 'high', unit: 'ratio', of: 'ends' },
  'high-risk-unapproved': { bad: 'high', unit: 'count', of: 'risks' },
  'error-rate': { bad: 'high', unit: 'ratio', of: 'attempts' },
  'dispatch-wait-p95-ms': { bad: 'high', unit: 'ms', of: 'attempts' },
  'deny-ratio': { bad: 'high', unit: 'ratio', of: 'decisions' },
  'approval-ratio': { bad: 'high', unit: 'ratio', of: 'decisions' },
  'approval-queue-median-ms': { bad: 'high', unit: 'ms', of: 'answers' },
  'approval-queue-p95-ms': { bad: 'high', unit: 'ms', of: 'answers' },
  'approval-backlog': { bad: 'high', unit: 'count', of: 'pending' },
  'approval-backlog-oldest-ms': { bad: 'high', unit: 'ms', of: 'pending' },
} as const satisfies Record<string, MetricKind>
export type MetricName = keyof typeof METRICS
export const METRIC_NAMES = Object.keys(METRICS) as MetricName[]

export function isMetric(name: string): name is MetricName {
  return Object.hasOwn(METRICS, name)
}

/** The worst of a number that must stay low; nine digits fit the integers of every shell. */
export const WORST_HIGH = '999999999'
export const WORST_LOW = '0'

/** What is written where the number is not known. Of a name that is none, nobody knows which way it would be compared. */
export function blockingText(name: string): string {
  if (isMetric(name)) return METRICS[name].bad === 'high' ? WORST_HIGH : WORST_LOW
  return /success|coverage|uptime/.test(name) ? WORST_LOW : WORST_HIGH
}

/** A number of a window, or why there is none. `samples` rows were looked at. */
export interface Measured {
  metric: MetricName
  value: number | null
  unknown: string | null
  samples: number
  /** More rows than are read at once: the number is of a sample that is spread over the window. */
  sampled: boolean
}

/**
 * Plain decimals: no exponent, no capitals. What is cut off is cut to the bad side: 0.9899999 must not read as the 0.99 that a
 * gate lets pass.
 */
export function metricText({ metric, value }: Pick<Measured, 'metric' | 'value'>): string {
  if (value === null || !Number.isFinite(value) || value < 0) return blockingText(metric)
  const { bad, unit } = METRICS[metric]
  if (unit !== 'ratio') return String(Math.min(Math.ceil(value), Number(WORST_HIGH)))
  // The product of a ratio of two counts and 1e6 may be off by some 1e-10; that must not push 0.29 to 0.290001 or 0.289999.
  const millionths = bad === 'low' ? Math.floor(value * 1e6 + 1e-6) : Math.ceil(value * 1e6 - 1e-6)
  const whole = Math.floor(millionths / 1e6)
  const rest = String(millionths % 1e6)
    .padStart(6, '0')
    .replace(/0+$/, '')
  return rest === '' ? String(whole) : `${whole}.${rest}`
}

const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
export const LONGEST_WINDOW_MS = 31 * 86_400_000
export const DEFAULT_WINDOW = '10m'

/** `90s`, `10m`, `4h`, `30d` in ms; null for anything else, and past 31 days. */
export function windowMs(text: string): number | null {
  const [, count = '', unit = ''] = /^([1-9]\d{0,6})([smhd])$/.exec(text) ?? []
  const ms = Number(count) * (UNITS[unit] ?? 0)
  return ms > 0 && ms <= LONGEST_WINDOW_MS ? ms : null
}

/** Nearest rank: the smallest of the values that at least this share of them do not exceed. Null without any. */
export function quantile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number
}

/** A job that ended in the window, as its row says. */
export interface EndRow {
  status: string
  status_reason: string | null
  verdict: string | null
  released: boolean
  budget_from: number
  /** Attempts begun. */
  attempt: number
  created_at: number
  not_before: number | null
  finished_at: number
  /** ms that people took to answer about it. */
  asked_ms: number
}

/** An attempt that began in the window. */
export interface AttemptRow {
  /** Null while it runs. */
  outcome: string | null
  /** From when the job was due to its lease; null where the job's row no longer says. */
  waited_ms: number | null
}

export interface AnswerRow {
  status: string
  requested_at: number
  expires_at: number
  answered_at: number | null
}

export interface Ends {
  rows: readonly EndRow[]
  /** Jobs that fell into doubt in the window and are in it still: they did not succeed. */
  in_doubt: number
  sampled: boolean
}

export type Answer = Pick<Measured, 'value' | 'unknown' | 'samples' | 'sampled'>

export const known = (value: number, samples: number, sampled = false): Answer => ({
  value,
  unknown: null,
  samples,
  sampled,
})
export const unknown = (why: string): Answer => ({ value: null, unknown: why, samples: 0, sampled: false })
const ratio = (part: number, whole: number, why: string, sampled = false) =>
  whole === 0 ? unknown(why) : known(part / whole, whole, sampled)

/**
 * Whether the end says how well the machinery works. That a person said no, a requester thought better of it or the second door
 * denied says nothing about it; that no worker came does. So does a cancel after an attempt began: an agent that cancels whatever
 * failed once, or takes long, would else write its own pass mark.
 */
export function isOutcome({ status, status_reason, attempt }: EndRow): boolean {
  if (status === 'cancelled') return attempt > 0
  return ['succeeded', 'quarantined', 'dead_letter', 'discarded'].includes(status) || status_reason === 'no_worker'
}

/** When it ended was a person's doing: released, given up, settled by what somebody found out, or replayed days later. */
export const isByHand = ({ released, budget_from, status, status_reason }: EndRow) =>
  released || budget_from > 0 || status === 'discarded' || status_reason === 'resolved'

/** From when it could have run to its end, less the time people took to answer. */
export function latency({ created_at, not_before, finished_at, asked_ms }: EndRow): number {
  return Math.max(0, finished_at - Math.max(created_at, not_before ?? 0) - asked_ms)
}

export function ofEnds(metric: MetricName, { rows, in_doubt, sampled }: Ends): Answer {
  const outcomes = rows.filter(isOutcome)
  if (metric === 'success-rate') {
    const succeeded = outcomes.filter((end) => end.status === 'succeeded').length
    return ratio(succeeded, outcomes.length + in_doubt, 'no job ended in the window', sampled)
  }
  if (metric === 'quarantine-ratio') {
    const screened = rows.filter((end) => end.verdict !== null)
    const held = screened.filter((end) => end.verdict === 'QUARANTINE').length
    return ratio(held, screened.length, 'no result was screened in the window', sampled)
  }
  const timed = outcomes.filter((end) => !isByHand(end)).map(latency)
  const value = quantile(timed, metric === 'p50-latency-ms' ? 0.5 : 0.95)
  return value === null ? unknown('no job ended in the window') : known(value, timed.length, sampled)
}

export function ofAttempts(metric: MetricName, rows: readonly AttemptRow[], sampled: boolean): Answer {
  if (metric === 'error-rate') {
    const ended = rows.filter((attempt) => attempt.outcome !== null)
    const failed = ended.filter((attempt) => attempt.outcome !== 'succeeded').length
    return ratio(failed, ended.length, 'no attempt that began in the window has ended', sampled)
  }
  const waits = rows.flatMap(({ waited_ms }) => (waited_ms === null ? [] : [Math.max(0, waited_ms)]))
  const value = quantile(waits, 0.95)
  return value === null ? unknown('no attempt began in the window') : known(value, waits.length, sampled)
}

/** @param words of every decision of the first door in the window */
export function ofDecisions(metric: MetricName, words: readonly string[], sampled: boolean): Answer {
  const wanted = metric === 'deny-ratio' ? 'DENY' : 'REQUIRE_APPROVAL'
  const count = words.filter((word) => word === wanted).length
  return ratio(count, words.length, 'nothing was submitted in the window', sampled)
}

/** Waits of the questions that were closed in the window, and of those that are open at its end, as long as they are by then. */
export function ofAnswers(
  metric: MetricName,
  rows: readonly AnswerRow[],
  pending: readonly { requested_at: number }[],
  { from, to, now }: { from: number; to: number; now: number },
  sampled: boolean,
): Answer {
  const closed = rows.flatMap(({ status, requested_at, expires_at, answered_at }) => {
    const at = status === 'expired' ? expires_at : status === 'void' ? null : answered_at
    return at !== null && at >= from && at < to ? [at - requested_at] : []
  })
  const waits = [...closed, ...pending.map(({ requested_at }) => now - requested_at)].map((ms) => Math.max(0, ms))
  const value = quantile(waits, metric === 'approval-queue-median-ms' ? 0.5 : 0.95)
  return value === null
    ? unknown('no approval was answered in the window or is open')
    : known(value, waits.length, sampled)
}

/** What is open now; none is a fact, not a lack of data. */
export function ofPending(
  metric: MetricName,
  pending: readonly { requested_at: number }[],
  now: number,
  sampled: boolean,
): Answer {
  if (metric === 'approval-backlog') return known(pending.length, pending.length, sampled)
  const oldest = pending.reduce((least, { requested_at }) => Math.min(least, requested_at), now)
  return known(Math.max(0, now - oldest), pending.length, sampled)
}
