import { type Caller, may } from '../core/access.js'
import { isSpotCheck, owedKey } from '../core/autonomy.js'
import { jobFact } from '../core/facts.js'
import { IllegalTransition, type Job, move, touch } from '../core/job.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import { getPrincipal } from '../store/directory.js'
import { getJob } from '../store/jobs.js'
import { standingUnder } from '../store/keys.js'
import type { Spend } from '../store/ledger/write.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * Waiting work is cancelled at once. Running work is asked to stop: its heartbeat answers `cancel`, no effect may begin, and it
 * leaves by its report or its lease's end; what finished first is what happened.
 * Throws Problem `not_found`, `illegal_transition`.
 */
export async function cancel(world: World, caller: Caller, job_id: string, reason: string | null): Promise<Job> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, caller.tenant)
    await standingUnder(world, gate, caller)
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
      gate,
      alone: [job.job_id],
      rows: {
        updateJobs: [moved.job],
        updateApprovals: approval === null ? [] : [{ ...approval, version: approval.version + 1, status: 'void' }],
      },
      spends: approval !== null && (await isEscape(world, caller, job)) ? owed(job, now) : [],
      facts,
    })
    if (receipt.ok) return moved.job
  }
  throw new Problem('overloaded', 'The job changed faster than it could be cancelled', { retry_after_ms: 200 })
}

/** A check that a person withdraws is one that a person saw; nobody else gets out of it. */
async function isEscape(world: World, { tenant, principal }: Caller, job: Job): Promise<boolean> {
  return isSpotCheck(job) && (await getPrincipal(world.db, tenant, principal))?.kind !== 'person'
}

/** Falls on the next job of the agent. As many as a column counts: a cancel is not refused for it. */
const owed = ({ tenant, agent }: Job, at: number): Spend[] => [
  { tenant, key: owedKey(agent), kind: 'held', max: 2_000_000_000, window_start: 0, period_ms: 1, at },
]

function leave(job: Job, now: number) {
  try {
    return move(job, 'cancel', now, { status_reason: 'cancelled', queue_deadline: null })
  } catch (error) {
    if (error instanceof IllegalTransition)
      throw new Problem('illegal_transition', error.message, { job_status: job.status })
    throw error
  }
}
