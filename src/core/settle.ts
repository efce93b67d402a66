import type { Fact } from './audit.js'
import { jobFact } from './facts.js'
import { type Job, move } from './job.js'
import type { Json } from './json.js'
import type { Effect, Lease } from './lease.js'
import { retryDelay } from './retry.js'

/** What came back from an attempt, after screening: nothing in here is raw. */
export type Report =
  | {
      outcome: 'succeeded'
      verdict: 'ALLOW' | 'REDACT' | 'QUARANTINE'
      findings: Json
      result_ptr: string | null
      usage: Usage
    }
  | { outcome: 'failed'; class: 'transient' | 'terminal'; code: string; message: string; usage: Usage }
  /** The lease ended by itself: no heartbeat, or the attempt's time was up. */
  | { outcome: 'lost'; why: 'heartbeat' | 'timeout' }

export interface Usage {
  tokens: number | null
  cost: number | null
}

export interface Settled {
  job: Job
  lease: Lease
  /** An effect row to write, where the lease recorded none and left the attempt itself in doubt. */
  effect: Effect | null
  released: string[]
  facts: Fact[]
}

/** Key under which the attempt of a worker that records no effects is put before a person. */
export const attemptKey = (attempt: number) => `attempt:${attempt}`

/**
 * Ends an attempt. Whatever the report says, an effect begun and not committed makes the job ambiguous: nobody knows whether
 * it happened, so no timer may repeat it. Otherwise what finished first is what happened, even when a cancel was asked.
 * @param fraction uniform in [0, 1), for the retry's jitter
 */
export function settle(
  job: Job,
  lease: Lease,
  effects: readonly Effect[],
  report: Report,
  now: number,
  actor: string,
  fraction: number,
): Settled {
  const open = effects.filter((e) => e.status === 'begun' && e.lease_id === lease.lease_id)
  const unrecorded = report.outcome === 'lost' && lease.effects === 'none' && !job.idempotent
  const usage =
    report.outcome === 'lost'
      ? {}
      : { tokens: sum(job.tokens, report.usage.tokens), cost: sum(job.cost, report.usage.cost) }
  if (open.length > 0 || unrecorded)
    return doubt(job, lease, report, now, actor, usage, unrecorded && open.length === 0)
  if (report.outcome === 'succeeded') {
    const patch = {
      verdict: report.verdict,
      findings: report.findings,
      result_ptr: report.result_ptr,
      ...usage,
      ...NO_ERROR,
    }
    return end(job, lease, report.verdict === 'QUARANTINE' ? 'quarantine' : 'succeed', patch, report, now, actor)
  }
  const error = errorOf(report, job)
  if (job.cancel_requested) {
    // How the attempt before failed is still so, where this one only says that it obeyed or was lost.
    const kept = saysNothing(error.error_code) && job.error_code !== null ? {} : error
    return end(job, lease, 'cancel', { ...usage, ...kept, status_reason: 'cancelled' }, report, now, actor)
  }
  const left = job.max_attempts - (job.attempt - job.budget_from)
  const retryable = report.outcome === 'lost' || report.class === 'transient'
  if (retryable && left > 0) {
    const due_at = now + retryDelay(job.attempt - job.budget_from, fraction)
    return end(
      job,
      lease,
      'retry',
      { ...usage, ...error, due_at, queue_deadline: due_at + job.queue_timeout_ms },
      report,
      now,
      actor,
    )
  }
  const status_reason = retryable ? 'attempts_exhausted' : 'terminal_failure'
  const respond_by = job.respond_within_ms === null ? null : now + job.respond_within_ms
  return end(job, lease, 'exhaust', { ...usage, ...error, status_reason, respond_by }, report, now, actor)
}

const NO_ERROR = { error_class: null, error_code: null, error_message: null }
const KIND = {
  succeed: 'job.succeeded',
  quarantine: 'job.quarantined',
  retry: 'job.retried',
  exhaust: 'job.dead_lettered',
  cancel: 'job.cancelled',
  doubt: 'job.ambiguous',
} as const

/** Codes of ends that are nobody's failure: of a lost worker, and of one that obeyed a cancel. */
export const LOST = 'lease_lost'
export const OBEYED = 'cancelled'
const saysNothing = (code: string | null) => code === LOST || code === OBEYED

/** A worker's words for its failure, except those that would make it nobody's. */
function errorOf(
  report: Exclude<Report, { outcome: 'succeeded' }>,
  { cancel_requested }: Pick<Job, 'cancel_requested'>,
): Pick<Job, 'error_class' | 'error_code' | 'error_message'> {
  if (report.outcome === 'failed') {
    const isReserved = report.code === LOST || (report.code === OBEYED && !cancel_requested)
    const error_code = isReserved ? `worker_${report.code}` : report.code
    return { error_class: report.class, error_code, error_message: report.message }
  }
  return report.why === 'timeout'
    ? { error_class: 'transient', error_code: 'timeout', error_message: 'The attempt ran out of time' }
    : { error_class: 'transient', error_code: LOST, error_message: 'The worker stopped answering' }
}

function doubt(
  job: Job,
  lease: Lease,
  report: Report,
  now: number,
  actor: string,
  usage: Partial<Job>,
  unrecorded: boolean,
): Settled {
  const error = report.outcome === 'succeeded' ? NO_ERROR : errorOf(report, job)
  const settled = end(
    job,
    lease,
    'doubt',
    { ...usage, ...error, status_reason: unrecorded ? 'attempt_unrecorded' : 'effect_open' },
    report,
    now,
    actor,
  )
  if (unrecorded) {
    settled.effect = {
      tenant: job.tenant,
      job_id: job.job_id,
      effect_key: attemptKey(lease.attempt),
      version: 1,
      status: 'begun',
      lease_id: lease.lease_id,
      attempt: lease.attempt,
      begun_at: lease.granted_at,
      hard_end: lease.hard_end,
      ended_at: null,
      result_ptr: null,
      verdict: null,
      settled_by: null,
      late: false,
    }
  }
  return settled
}

function end(
  job: Job,
  lease: Lease,
  event: keyof typeof KIND,
  patch: Partial<Job>,
  report: Report,
  now: number,
  actor: string,
): Settled {
  const moved = move(job, event, now, patch)
  const ended: Lease = {
    ...lease,
    ended_at: now,
    outcome: report.outcome,
    verdict: report.outcome === 'succeeded' ? report.verdict : null,
    ...(report.outcome === 'succeeded' ? NO_ERROR : errorOf(report, job)),
  }
  const facts: Fact[] = []
  if (report.outcome === 'lost')
    facts.push(
      jobFact('lease.lost', job, now, actor, {
        lease_id: lease.lease_id,
        worker: lease.worker,
        attempt: lease.attempt,
        why: report.why,
      }),
    )
  facts.push(
    jobFact(KIND[event], moved.job, now, actor, {
      ended_lease: lease.lease_id,
      worker: lease.worker,
      ...moved.changed,
      ...(moved.job.result_ptr === null ? {} : { result_ptr: moved.job.result_ptr }),
    }),
  )
  return { job: moved.job, lease: ended, effect: null, released: moved.released, facts }
}

function sum(a: number | null, b: number | null): number | null {
  return a === null && b === null ? null : (a ?? 0) + (b ?? 0)
}
