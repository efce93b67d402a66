import type { Reading } from '../gates/check.js'
import { type GateMetricName, MOST } from '../gates/metric.js'
import type { SampleKind } from './sample.js'

/**
 * Numbers of samples, as a gate reads them (docs/metrics.md has what each is). Pure: groups of equal samples in any order come in, the same
 * reading comes out.
 */

/** Of equal samples how many. */
interface Group {
  word: string
  counts: boolean
  verdict: string | null
  ms: number | null
  n: number
}

/** Outcomes of a run that count, successes among them, and what its jobs cost in millionths; null where none said so. */
interface Run {
  run_id: string | null
  of: number
  succeeded: number
  cost: number | null
}

/** A question that was put to people, or closed; `ref` says which, `at` is when. */
interface Question {
  ref: string
  at: number
  counts: boolean
  ms: number | null
}

/** What was measured, without how it was asked. */
export type Found =
  | { kind: 'rate'; hits: number; of: number; open?: number }
  | { kind: 'amount'; value: number; samples: number }
  | { kind: 'unknown'; why: string }

export const nobodyKnows = (why: string): Found => ({ kind: 'unknown', why })

/** Beyond MOST nothing is written down: a number so bad reads as the worst there is. */
const amount = (value: number, samples: number): Found => ({ kind: 'amount', value: Math.min(value, MOST), samples })

interface Share {
  kind: SampleKind
  of(group: Group): boolean
  hit(group: Group): boolean
  /** For the query. */
  says: string
}

const SUCCESS: Share = {
  kind: 'outcome',
  of: ({ counts }) => counts,
  hit: ({ word }) => word === 'succeeded',
  says: 'of those that count, succeeded; open: leased, not ended, for over a tenth of the window',
}

/** Metrics that are so many of so many. */
export const SHARES: Partial<Record<GateMetricName, Share>> = {
  success_rate_pct: SUCCESS,
  error_rate: {
    kind: 'attempt',
    of: () => true,
    hit: ({ word }) => word !== 'succeeded',
    says: 'of those that ended, not succeeded; open: leased, not ended, for over a tenth of the window',
  },
  quarantine_ratio: {
    kind: 'outcome',
    of: ({ verdict }) => verdict !== null,
    hit: ({ verdict }) => verdict === 'QUARANTINE',
    says: 'of those screened, held back',
  },
  deny_ratio: { kind: 'decided', of: () => true, hit: ({ word }) => word === 'DENY', says: 'of all, DENY' },
}

interface Rank {
  kind: SampleKind
  share: number
  says: string
  none: string
}

/** Metrics that are a percentile of milliseconds. */
export const RANKS: Partial<Record<GateMetricName, Rank>> = {
  p50_latency_ms: { kind: 'outcome', share: 0.5, says: 'median of ms', none: 'no job ended in the window' },
  p95_latency_ms: { kind: 'outcome', share: 0.95, says: '95th percentile of ms', none: 'no job ended in the window' },
  dispatch_wait_p95_ms: {
    kind: 'leased',
    share: 0.95,
    says: '95th percentile of ms',
    none: 'no attempt began in the window',
  },
}

export function shareOf({ of, hit }: Share, groups: readonly Group[]): Found {
  const tried = groups.filter(of)
  return { kind: 'rate', hits: sum(tried.filter(hit)), of: sum(tried) }
}

const sum = (groups: readonly Group[]) => groups.reduce((total, { n }) => total + n, 0)

export function rankOf({ share, none }: Rank, groups: readonly Group[]): Found {
  const times = groups.flatMap(({ ms, n }) => (ms === null ? [] : [{ ms, n }]))
  return nearestRank(times, share) ?? nobodyKnows(none)
}

/** The smallest value that at least this share of all do not exceed; null without any. */
function nearestRank(times: { ms: number; n: number }[], share: number): Extract<Found, { kind: 'amount' }> | null {
  const samples = times.reduce((total, { n }) => total + n, 0)
  if (samples === 0) return null
  const rank = Math.max(1, Math.ceil(share * samples))
  let seen = 0
  for (const { ms, n } of times.sort((a, b) => a.ms - b.ms)) {
    seen += n
    if (seen >= rank) return { kind: 'amount', value: Math.min(ms, MOST), samples }
  }
  return null
}

/** Runs of which an outcome counts; it succeeded where all of them did. */
export function runsSucceeded(runs: readonly Run[]): Found {
  const tried = runs.filter(({ of }) => of > 0)
  return { kind: 'rate', hits: tried.filter(({ of, succeeded }) => of === succeeded).length, of: tried.length }
}

/**
 * What everything that ended cost, by the runs that were completed: what a run cost that came to nothing is paid for too. A completed run of
 * which no job says what it cost was not free.
 */
export function costOf(runs: readonly Run[]): Found {
  const completed = runs.filter(({ of, succeeded }) => of > 0 && of === succeeded)
  if (completed.length === 0) return nobodyKnows('no run was completed in the window')
  const silent = completed.filter(({ cost }) => cost === null).length
  if (silent > 0) return nobodyKnows(`of ${silent} completed runs no job says what it cost`)
  const total = runs.reduce((all, { cost }) => all + (cost ?? 0), 0)
  if (!Number.isSafeInteger(total)) return nobodyKnows('the costs are too large to be added up')
  return amount(total / completed.length / 1_000_000, completed.length)
}

export interface Queue {
  /** Since when each open question is; oldest first. */
  open: number[]
  /** ms that those took which were closed in the window. */
  waits: number[]
}

/**
 * Questions at the end of a window: what is open is what was asked and not closed. By name, not by the instant: a node whose clock is behind
 * closes one before it was asked.
 */
export function queueAt(
  asked: readonly Question[],
  answered: readonly Question[],
  { from, to }: { from: number; to: number },
): Queue {
  const closed = new Set<string>()
  const waits: number[] = []
  for (const { ref, at, ms, counts } of answered) {
    closed.add(ref)
    if (counts && at >= from && at < to) waits.push(ms ?? 0)
  }
  const open = asked.filter(({ ref }) => !closed.has(ref)).map(({ at }) => at)
  return { open: open.sort((a, b) => a - b), waits }
}

/** As the windowed numbers: waits of what was closed in the window, and of what is open the time until its end. */
export function ofQueue(metric: GateMetricName, { open, waits }: Queue, to: number): Found {
  if (metric === 'approval_backlog') return amount(open.length, open.length)
  if (metric === 'approval_backlog_oldest_sec') return amount(Math.max(0, to - (open[0] ?? to)) / 1000, open.length)
  const all = [...waits, ...open.map((at) => Math.max(0, to - at))].map((ms) => ({ ms, n: 1 }))
  const found = nearestRank(all, metric === 'approval_queue_median_sec' ? 0.5 : 0.95)
  if (found === null) return nobodyKnows('no approval was answered in the window or is open')
  return amount(found.value / 1000, found.samples)
}

/** The same as a gate takes it, with the question it answers. */
export function readingOf(
  metric: GateMetricName,
  query: string,
  { from, to }: { from: number; to: number },
  found: Found,
): Reading {
  if (found.kind === 'unknown') return { kind: 'unknown', metric, query, why: found.why }
  return { ...found, metric, query, from, to }
}
