import type { Fact } from './audit.js'
import type { JobStatus } from './job.js'
import { LOST, OBEYED } from './settle.js'

/** When an agent is taken out by itself. */
export interface BreakerTerms {
  /** Failures in a row. */
  failures: number
  /** Share of failures among the last `of`; null: only those in a row count. */
  rate: number | null
  of: number
  cool_down_ms: number
}

export const BREAKER_TERMS: BreakerTerms = { failures: 3, rate: null, of: 20, cool_down_ms: 600_000 }
/** However often it fails again. */
const LONGEST_MS = 24 * 3_600_000

/** How a job of the agent ended. */
export interface Outcome {
  job_id: string
  at: number
  failed: boolean
}

export interface Breaker {
  tenant: string
  agent: string
  state: 'open' | 'closed'
  failures: number
  reason: string
  opened_at: number
  /** From then on it is half open: one job at a time shows whether the agent works again. */
  retry_at: number
  cool_down_ms: number
  closed_at: number | null
  closed_by: string | null
}

/** What the door reads of an open one; stored with the decision. */
export interface BreakerStanding extends Pick<Breaker, 'reason' | 'opened_at' | 'retry_at' | 'cool_down_ms'> {
  /** Absent where it is that of the job's agent; else who is out and asks for it as that agent. */
  of?: string
}

export const breakerStanding = ({ reason, opened_at, retry_at, cool_down_ms }: Breaker): BreakerStanding => ({
  reason,
  opened_at,
  retry_at,
  cool_down_ms,
})

/**
 * Whether this end is the agent's doing; null where it says nothing about it. A lost worker is not its fault, nor is what somebody
 * rejected or let expire. What was cancelled after an attempt had failed has failed: else cancelling it would be the way out.
 */
export function hasFailed(status: JobStatus, error_code: string | null): boolean | null {
  if (status === 'succeeded') return false
  if (status === 'quarantined') return true
  if (status === 'dead_letter') return error_code === LOST ? null : true
  if (status === 'cancelled') return error_code === null || error_code === LOST || error_code === OBEYED ? null : true
  return null
}

/** Each job once, as it was seen last; the newest `most`, oldest first. So a window that is read twice counts once. */
export function merged(known: readonly Outcome[], seen: readonly Outcome[], most: number): Outcome[] {
  const byJob = new Map([...known, ...seen].map((each) => [each.job_id, each]))
  return [...byJob.values()].sort((a, b) => a.at - b.at || (a.job_id < b.job_id ? -1 : 1)).slice(-most)
}

/** What the newest ends make of an agent's breaker: the one it has from now on, or null where nothing changes. */
export function turned(
  tenant: string,
  agent: string,
  breaker: Breaker | null,
  recent: readonly Outcome[],
  terms: BreakerTerms,
  now: number,
): Breaker | null {
  if (breaker?.state === 'open') return tried(breaker, recent, terms, now)
  const since = breaker?.closed_at ?? Number.NEGATIVE_INFINITY
  const counted = recent.filter(({ at }) => at > since)
  const why = tooMany(counted, terms)
  if (why === null) return null
  const { cool_down_ms } = terms
  return { tenant, agent, state: 'open', ...why, ...times(now, cool_down_ms), closed_at: null, closed_by: null }
}

const times = (now: number, cool_down_ms: number) => ({ opened_at: now, retry_at: now + cool_down_ms, cool_down_ms })

/** What ended since it was half open says whether it closes; what ended before was under way when it opened. */
function tried(breaker: Breaker, recent: readonly Outcome[], terms: BreakerTerms, now: number): Breaker | null {
  const trial = recent.find(({ at }) => at >= breaker.retry_at)
  if (trial === undefined) return null
  if (!trial.failed) return { ...breaker, state: 'closed', closed_at: now, closed_by: 'system:breaker' }
  const cool_down_ms = Math.max(terms.cool_down_ms, Math.min(LONGEST_MS, breaker.cool_down_ms * 2))
  const reason = `the trial after ${breaker.failures} failures failed too`
  return { ...breaker, reason, ...times(now, cool_down_ms) }
}

function tooMany(
  recent: readonly Outcome[],
  { failures, rate, of }: BreakerTerms,
): Pick<Breaker, 'failures' | 'reason'> | null {
  const last = recent.slice(-failures)
  if (last.length === failures && last.every(({ failed }) => failed))
    return { failures, reason: `${failures} failures in a row` }
  const window = recent.slice(-of)
  const failed = window.filter((each) => each.failed).length
  if (rate === null || window.length < of || failed / of < rate) return null
  return { failures: failed, reason: `${failed} failures among the last ${of}` }
}

/** How many ends of an agent's jobs have to be known to judge it by these terms. */
export const outcomesNeeded = ({ failures, rate, of }: BreakerTerms) =>
  rate === null ? failures : Math.max(failures, of)

export function breakerFact(breaker: Breaker, team: string | null, at: number, actor: string): Fact {
  const { tenant, agent, failures, reason, retry_at, cool_down_ms } = breaker
  if (breaker.state === 'closed') return { kind: 'breaker.closed', tenant, at, actor, agent, team }
  return { kind: 'breaker.opened', tenant, at, actor, agent, team, failures, reason, retry_at, cool_down_ms }
}
