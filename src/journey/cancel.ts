import { type Caller, may } from '../core/access.js'
import { jobFact } from '../core/facts.js'
import { IllegalTransition, type Job, move, touch } from '../core/job.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import { getJob } from '../store/jobs.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * Waiting work is cancelled at once. Running work is asked to stop: its heartbeat answers `cancel`, no effect may begin, and it
 * leaves by its report or its lease's end; what finished first is what happened.
 * Throws Problem `not_found`, `illegal_transition`.
 */
export async function cancel(world: World, caller: Caller, job_id: string, reason: string | null): Promise<Job> {
  for (let tries = 0; tries < TRIES; tries++) {
    const job = await getJob(world.db, caller.tenant, job_id)
    if (job === null || (!may(caller, 'jobs:cancel') && job.requested_by !== caller.principal))
      throw new Problem('not_found')
    const now = world.clock.now()
    if (job.status === 'running' && job.cancel_requested) return job
    const running = job.status === 'running'
    const moved = running ? touch(job, now, { cancel_requested: true }) : leave(job, now)
    const approval =
      !running && job.status === 'pending_approval' && job.approval_id !== null
        ? await getApproval(world.db, job.tenant, job.approval_id)
        : null
    const facts = [
      jobFact(running ? 'job.cancel_requested' : 'job.cancelled', moved.job, now, caller.principal, {
        ...moved.changed,
        note: reason,
      }),
    ]
    if (approval !== null)
      facts.push(
        jobFact('approval.voided', job, now, caller.principal, {
          approval_id: approval.approval_id,
          reason: 'cancelled',
        }),
      )
    const receipt = await world.ledger.commit({
      tenant: job.tenant,
      gate: null,
      alone: [job.job_id],
      rows: {
        updateJobs: [moved.job],
        updateApprovals: approval === null ? [] : [{ ...approval, version: approval.version + 1, status: 'void' }],
      },
      facts,
    })
    if (receipt.ok) return moved.job
  }
  throw new Problem('overloaded', 'The job changed faster than it could be cancelled', { retry_after_ms: 200 })
}

function leave(job: Job, now: number) {
  try {
    return move(job, 'cancel', now, { status_reason: 'cancelled', queue_deadline: null })
  } catch (error) {
    if (error instanceof IllegalTransition)
      throw new Problem('illegal_transition', error.message, { job_status: job.status })
    throw error
  }
}
