import type { Approval } from '../core/approval.js'
import { decide, standingAt } from '../core/door.js'
import { claimOf } from '../core/job.js'
import { rebind as step } from '../core/rebind.js'
import { approvalsOfOtherStage, approvalsUnderOther } from '../store/approvals.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, loadPayload } from '../store/jobs.js'
import type { Active } from '../store/policies.js'
import type { Drawings } from '../store/rollouts.js'
import type { Gate } from '../store/standing.js'
import type { World } from '../store/world.js'

export interface Rebound {
  /** The gate the questions were put under. */
  gate: Gate
  rebound: number
  /** False where one was lost to somebody else's step or another activation: worth another look. */
  complete: boolean
}

/**
 * After an activation: every pending approval asked under another snapshot is put to the door again. Nothing depends on its
 * speed, because answering asks the door too; it only keeps what reviewers are shown up to date.
 */
export async function rebindPending(world: World, tenant: string): Promise<Rebound> {
  const active = await world.policies.active(tenant)
  return putAgain(world, active, (after) => approvalsUnderOther(world.db, tenant, active.policy.digest, after))
}

/** After an agent came to another stage: the same of what its earlier one asked, or what the new one asks otherwise. */
export async function rebindStaged(world: World, tenant: string): Promise<Rebound> {
  const active = await world.policies.active(tenant)
  return putAgain(world, active, (after) => approvalsOfOtherStage(world.db, tenant, after))
}

async function putAgain(
  world: World,
  active: Active,
  pageAfter: (approval_id: string) => Promise<Approval[]>,
): Promise<Rebound> {
  const done: Rebound = { gate: active.gate, rebound: 0, complete: true }
  const drawings = await world.rollouts.under(active)
  for (let after = ''; ; ) {
    const approvals = await pageAfter(after)
    if (approvals.length === 0) return done
    after = approvals.at(-1)?.approval_id ?? after
    const outcomes = await Promise.all(approvals.map((approval) => one(world, active, drawings, approval)))
    done.rebound += outcomes.filter((outcome) => outcome === 'rebound').length
    if (outcomes.includes('lost')) done.complete = false
    // Another activation came between: its own rebinding takes over from here.
    if (outcomes.includes('overtaken')) return { ...done, complete: false }
  }
}

async function one(
  world: World,
  { gate }: Active,
  drawings: Drawings,
  approval: Approval,
): Promise<'rebound' | 'left' | 'lost' | 'overtaken'> {
  const { tenant } = approval
  const job = await getJob(world.db, tenant, approval.job_id)
  const now = world.clock.now()
  if (job === null || job.status !== 'pending_approval') return 'left'
  // Over, though nobody has swept it yet: a new snapshot must not revive the question, nor answer it.
  if (approval.expires_at <= now) return 'left'
  const claim = claimOf(job, await loadPayload(world.db, job))
  const standing = standingAt('approve', now, await world.agents.of(gate, job.agent), job.job_id)
  const drawn = drawings.held(job)
  if (drawn !== null) standing.drawn = drawn
  const decision = decide(drawings.policyFor(drawn), claim, standing)
  // It asks what it asked.
  if (decision.outcome === 'park' && decision.grant_hash === approval.grant_hash) return 'left'
  const people = await world.people.of(gate, [job.agent, job.requested_by])
  const made = { approval_id: world.ids.id('apr', now), decision_id: world.ids.id('dec', now), people }
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
  if (!receipt.ok) return receipt.why === 'gate' ? 'overtaken' : 'lost'
  if (rebound.job.status === 'queued') world.bus.hint(tenant, job.topic)
  return 'rebound'
}
