import { type Caller, may } from '../core/access.js'
import { ask, asked, terms, verdictOf } from '../core/admit.js'
import { joined } from '../core/audit.js'
import { decide, refusal, standingAt } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { NOBODY } from '../core/flow.js'
import { claimOf, type Job, move } from '../core/job.js'
import { Problem } from '../errors.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { activeFor, gateMoved, standingUnder } from '../store/keys.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * A dead letter gets a new attempt budget. It keeps job, run and committed effects, passes both doors again, and where an
 * approval is required it needs a fresh one: the old yes was for the old budget.
 * Throws Problem `not_found`, `illegal_transition`, `policy_denied`, `out_of_scope`.
 */
export async function replay(world: World, caller: Caller, job_id: string, note: string | null): Promise<Job> {
  for (let tries = 0; tries < TRIES; tries++) {
    const job = await deadLetter(world, caller, job_id)
    const active = await activeFor(world, caller)
    const now = world.clock.now()
    const claim = claimOf(job, await loadPayload(world.db, job))
    const standing = standingAt('replay', now, await world.agents.of(active.gate, job.agent), job_id)
    Object.assign(standing, await world.halts.of(active.gate, job))
    const drawings = await world.rollouts.under(active)
    const drawn = drawings.held(job)
    if (drawn !== null) standing.drawn = drawn
    const decision = decide(drawings.policyFor(drawn), claim, standing)
    const decision_id = world.ids.id('dec', now)
    const row = decisionAbout(job, claim, decision, standing, decision_id)
    const base = { tenant: job.tenant, gate: active.gate, alone: [job_id] }
    if (decision.outcome === 'deny') {
      const fact = jobFact('job.refused', job, now, caller.principal, {
        decision_id,
        decision: 'DENY',
        reason: decision.reason,
        rules: joined(decision.rules),
        snapshot: decision.snapshot,
        door: 'replay',
      })
      // The job stays a dead letter; only the refusal is recorded.
      const receipt = await world.ledger.commit({ ...base, rows: { decisions: [row] }, facts: [fact] })
      if (!receipt.ok) {
        await gateMoved(world, caller)
        continue
      }
      throw refusal(decision, { decision_id })
    }
    const fresh = {
      ...verdictOf(decision, decision_id),
      ...terms(claim, decision),
      budget_from: job.attempt,
      due_at: now,
      respond_by: null,
      reminded_at: null,
      replayed_by: caller.principal,
      error_class: null,
      error_code: null,
      error_message: null,
    }
    const approval_id = world.ids.id('apr', now)
    const parks = decision.outcome === 'park'
    const moved = parks
      ? move(job, 'replay_park', now, { ...fresh, approval_id, queue_deadline: null })
      : move(job, 'replay', now, { ...fresh, approval_id: null, queue_deadline: now + fresh.queue_timeout_ms })
    const people = parks ? await world.people.of(active.gate, [job.agent, job.requested_by]) : NOBODY
    const asking = { approval_id, decision_id, people }
    const approval = parks ? ask(moved.job, decision, asking, now) : null
    const receipt = await world.ledger.commit({
      ...base,
      rows: { updateJobs: [moved.job], decisions: [row], insertApprovals: approval === null ? [] : [approval] },
      facts: [
        jobFact('job.replayed', moved.job, now, caller.principal, { ...moved.changed, note }),
        ...(approval === null ? [] : asked(approval, moved.job, now)),
      ],
    })
    if (receipt.ok) {
      if (!parks) world.bus.hint(job.tenant, job.topic)
      return moved.job
    }
    if (receipt.why === 'gate') await gateMoved(world, caller)
  }
  throw new Problem('overloaded', 'The job changed faster than it could be replayed', { retry_after_ms: 200 })
}

/** Gives a dead letter up for good; it stays readable. */
export async function discard(world: World, caller: Caller, job_id: string, reason: string): Promise<Job> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, caller.tenant)
    await standingUnder(world, gate, caller)
    const job = await deadLetter(world, caller, job_id)
    const now = world.clock.now()
    const moved = move(job, 'discard', now, { status_reason: 'discarded' })
    const receipt = await world.ledger.commit({
      tenant: job.tenant,
      gate,
      alone: [job_id],
      rows: { updateJobs: [moved.job] },
      facts: [jobFact('job.discarded', moved.job, now, caller.principal, { ...moved.changed, note: reason })],
    })
    if (receipt.ok) return moved.job
  }
  throw new Problem('overloaded', 'The job changed faster than it could be discarded', { retry_after_ms: 200 })
}

async function deadLetter(world: World, caller: Caller, job_id: string): Promise<Job> {
  const job = await getJob(world.db, caller.tenant, job_id)
  if (job === null || !may(caller, 'dead_letters:write')) throw new Problem('not_found')
  if (job.status !== 'dead_letter')
    throw new Problem('illegal_transition', `The job is ${job.status}, not a dead letter`, { job_status: job.status })
  return job
}
