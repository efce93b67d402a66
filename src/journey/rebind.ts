import { type Decision, decide, type Standing } from '../core/door.js'
import { claimOf } from '../core/job.js'
import { rebind as step } from '../core/rebind.js'
import { approvalsUnderOther } from '../store/approvals.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, loadPayload } from '../store/jobs.js'
import type { World } from '../store/world.js'

export interface Rebound {
  /** The snapshot the questions were put under. */
  snapshot: string
  rebound: number
  /** False where one was lost to somebody else's step or another activation: worth another look. */
  complete: boolean
}

/**
 * After an activation: every pending approval asked under another snapshot is put to the door again. Nothing depends on its
 * speed, because answering asks the door too; it only keeps what reviewers are shown up to date.
 */
export async function rebindPending(world: World, tenant: string): Promise<Rebound> {
  const { gate, policy } = await world.policies.active(tenant)
  const done: Rebound = { snapshot: policy.digest, rebound: 0, complete: true }
  for (let after = ''; ; ) {
    const approvals = await approvalsUnderOther(world.db, tenant, policy.digest, after)
    if (approvals.length === 0) return done
    after = approvals.at(-1)?.approval_id ?? after
    for (const approval of approvals) {
      const job = await getJob(world.db, tenant, approval.job_id)
      if (job === null || job.status !== 'pending_approval') continue
      const now = world.clock.now()
      // Over, though nobody has swept it yet: a new snapshot must not revive the question, nor answer it.
      if (approval.expires_at <= now) continue
      const claim = claimOf(job, await loadPayload(world.db, job))
      const standing: Standing = { door: 'approve', now, counters: {}, grant: null }
      const decision: Decision = decide(policy, claim, standing)
      const made = { approval_id: world.ids.id('apr', now), decision_id: world.ids.id('dec', now) }
      const rebound = step(approval, job, decision, made, now)
      const receipt = await world.ledger.commit({
        tenant,
        gate,
        alone: [job.job_id],
        rows: {
          updateJobs: [rebound.job],
          updateApprovals: [rebound.approval],
          insertApprovals: rebound.opened === null ? [] : [rebound.opened],
          decisions: [decisionAbout(job, claim, decision, standing, made.decision_id)],
        },
        facts: rebound.facts,
      })
      // Another activation came between: its own rebinding takes over from here.
      if (!receipt.ok) done.complete = false
      if (!receipt.ok && receipt.why === 'gate') return done
      if (receipt.ok) {
        done.rebound++
        if (rebound.job.status === 'queued') world.bus.hint(tenant, job.topic)
      }
    }
  }
}
