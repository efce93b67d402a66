import { ask, asked, terms, verdictOf } from './admit.js'
import type { Approval } from './approval.js'
import { type Fact, joined } from './audit.js'
import type { Decision, Standing } from './door.js'
import { jobFact } from './facts.js'
import type { People } from './flow.js'
import { type Claim, type Job, move } from './job.js'
import { expiryAfterBeat, type Lease } from './lease.js'

export interface Waiter {
  worker: string
  principal: string
  claim_id: string
  effects: 'recorded' | 'none'
}

export interface Dispatched {
  job: Job
  lease: Lease | null
  approval: Approval | null
  facts: Fact[]
}

/** What the second door's answer makes of a due job: a lease, a job parked again, or a job denied after all. */
export function dispatch(
  job: Job,
  claim: Claim,
  decision: Decision,
  standing: Standing,
  made: { lease_id: string; decision_id: string; approval_id: string; people?: People },
  waiter: Waiter,
): Dispatched {
  const now = standing.now
  const verdict = verdictOf(decision, made.decision_id)
  if (decision.outcome === 'deny') {
    const moved = move(job, 'deny', now, { ...verdict, status_reason: 'denied_at_dispatch', queue_deadline: null })
    return {
      job: moved.job,
      lease: null,
      approval: null,
      facts: [
        jobFact('job.refused', moved.job, now, 'system:dispatcher', {
          ...moved.changed,
          reason: decision.reason,
          rules: joined(decision.rules),
        }),
      ],
    }
  }
  if (decision.outcome === 'park') {
    const moved = move(job, 'park', now, {
      ...verdict,
      approval_id: made.approval_id,
      queue_deadline: null,
      status_reason: 'approval_void',
    })
    const approval = ask(moved.job, decision, made, now)
    return {
      job: moved.job,
      lease: null,
      approval,
      facts: [
        jobFact('job.parked', moved.job, now, 'system:dispatcher', { ...moved.changed, reason: decision.reason }),
        ...asked(approval, moved.job, now),
      ],
    }
  }
  const budget = terms(claim, decision)
  const hard_end = now + budget.timeout_ms
  const attempt = job.attempt + 1
  const lease: Lease = {
    tenant: job.tenant,
    lease_id: made.lease_id,
    job_id: job.job_id,
    attempt,
    topic: job.topic,
    worker: waiter.worker,
    principal: waiter.principal,
    claim_id: waiter.claim_id,
    effects: waiter.effects,
    heartbeat_ms: budget.heartbeat_ms,
    granted_at: now,
    beat_at: now,
    expires_at: 0,
    hard_end,
    decision_id: made.decision_id,
    ended_at: null,
    outcome: null,
    report_hash: null,
    error_class: null,
    error_code: null,
    error_message: null,
    verdict: null,
    progress: null,
  }
  lease.expires_at = expiryAfterBeat(lease, now)
  const moved = move(job, 'lease', now, {
    attempt,
    lease_id: lease.lease_id,
    held_limits: verdict.limit_keys,
    queue_deadline: null,
    ...verdict,
    ...budget,
  })
  const fact = jobFact('job.leased', moved.job, now, waiter.principal, {
    worker: waiter.worker,
    hard_end,
    ...moved.changed,
    // The grant that let a REQUIRE_APPROVAL job through: "who approved it" is answered from this entry alone.
    ...(decision.decision === 'REQUIRE_APPROVAL'
      ? { granted_by: decision.granted_by ?? standing.grant?.approval_id ?? null }
      : {}),
  })
  return { job: moved.job, lease, approval: null, facts: [fact] }
}
