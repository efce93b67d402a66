import { ask, asked, verdictOf } from './admit.js'
import type { Approval } from './approval.js'
import { type Fact, joined } from './audit.js'
import type { Decision } from './door.js'
import { jobFact } from './facts.js'
import type { People } from './flow.js'
import { type Job, move, touch } from './job.js'

export interface Rebound {
  job: Job
  /** The approval as it was asked, rebound or void. */
  approval: Approval
  /** The new question, where the old one no longer says what would be approved. */
  opened: Approval | null
  facts: Fact[]
}

/**
 * What a newly active snapshot makes of a pending approval, by what the door says now. Rules, constraints and specification
 * unchanged: the approval is rebound to the new snapshot and keeps its answers. Otherwise it is void, and the job is denied,
 * let through, or asked about again.
 */
export function rebind(
  approval: Approval,
  job: Job,
  decision: Decision,
  made: { approval_id: string; decision_id: string; people?: People },
  now: number,
): Rebound {
  const verdict = verdictOf(decision, made.decision_id)
  const version = approval.version + 1
  const closed: Approval = { ...approval, version, status: 'void' }
  const voided = jobFact('approval.voided', job, now, 'system:door', {
    approval_id: approval.approval_id,
    snapshot: decision.snapshot,
    reason: decision.reason,
  })
  if (decision.outcome === 'deny') {
    const moved = move(job, 'deny', now, { ...verdict, status_reason: 'denied_at_approval' })
    return {
      job: moved.job,
      approval: closed,
      opened: null,
      facts: [
        voided,
        jobFact('job.refused', moved.job, now, 'system:door', {
          ...moved.changed,
          reason: decision.reason,
          rules: joined(decision.rules),
        }),
      ],
    }
  }
  if (decision.outcome !== 'park' || decision.grant_hash === null || decision.bound_hash === null) {
    const due_at = Math.max(now, job.not_before ?? 0)
    const moved = move(job, 'approve', now, {
      ...verdict,
      approval_id: null,
      status_reason: 'approval_not_needed',
      due_at,
      queue_deadline: due_at + job.queue_timeout_ms,
    })
    return {
      job: moved.job,
      approval: closed,
      opened: null,
      facts: [voided, jobFact('job.queued', moved.job, now, 'system:door', moved.changed)],
    }
  }
  if (decision.bound_hash === approval.bound_hash) {
    const moved = touch(job, now, verdict)
    const rebound: Approval = {
      ...approval,
      version,
      snapshot: decision.snapshot,
      grant_hash: decision.grant_hash,
      decision_id: made.decision_id,
    }
    const fact = jobFact('approval.rebound', moved.job, now, 'system:door', {
      ...moved.changed,
      approval_id: approval.approval_id,
      before: approval.grant_hash,
      grant_hash: decision.grant_hash,
      snapshot: decision.snapshot,
    })
    return { job: moved.job, approval: rebound, opened: null, facts: [fact] }
  }
  const moved = move(job, 'approval_voided', now, {
    ...verdict,
    approval_id: made.approval_id,
    status_reason: 'approval_void',
  })
  const opened = ask(moved.job, decision, made, now)
  return {
    job: moved.job,
    approval: closed,
    opened,
    facts: [
      voided,
      jobFact('job.parked', moved.job, now, 'system:door', { ...moved.changed, reason: decision.reason }),
      ...asked(opened, moved.job, now),
    ],
  }
}
