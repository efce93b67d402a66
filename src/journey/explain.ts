import type { SubmitJob } from '../contract/jobs.js'
import type { Caller } from '../core/access.js'
import { claimFrom } from '../core/admit.js'
import { type Decision, decide, standingAt } from '../core/door.js'
import { type Claim, claimOf } from '../core/job.js'
import type { Json } from '../core/json.js'
import { explain } from '../core/policy/explain.js'
import { Problem } from '../errors.js'
import { type DecisionRow, getDecision } from '../store/decisions.js'
import { getJob } from '../store/jobs.js'
import { loadValues } from '../store/payloads.js'
import { findSnapshot } from '../store/snapshots.js'
import type { World } from '../store/world.js'

export interface Explained {
  decision: Decision
  why: Json
}

/** What would be decided for this job and why, under the active snapshot or a stored one. Records nothing, spends nothing. */
export async function evaluateDry(
  world: World,
  caller: Caller,
  body: SubmitJob,
  snapshot: string | undefined,
): Promise<Explained> {
  const stored = snapshot === undefined ? null : await findSnapshot(world.db, caller.tenant, snapshot)
  if (snapshot !== undefined && stored === null) throw new Problem('not_found', 'There is no such snapshot')
  const active = await world.policies.active(caller.tenant)
  const policy = stored === null ? active.policy : await world.policies.compiled(caller.tenant, stored.digest)
  const now = world.clock.now()
  // As at submit: the key's team is its own, not that of another agent it asks about.
  const agent = body.agent ?? caller.principal
  const team = agent === caller.principal ? caller.team : null
  const known = await world.agents.of(active.gate, agent)
  const claim = claimFrom({ tenant: caller.tenant, agent, agent_version: known?.version ?? null, team }, body)
  return {
    decision: decide(policy, claim, standingAt('submit', now, known, null)),
    why: explain(policy, claim, now) as unknown as Json,
  }
}

/** A recorded decision with its why, worked out again under the snapshot it was made by. */
export async function decisionWithWhy(
  world: World,
  caller: Caller,
  decision_id: string,
): Promise<{ row: DecisionRow; why: Json }> {
  const row = await getDecision(world.db, caller.tenant, decision_id)
  if (row === null) throw new Problem('not_found')
  const reproduced = await reproduce(world, row)
  return {
    row,
    why: reproduced === null ? null : (explain(reproduced.policy, reproduced.claim, row.at) as unknown as Json),
  }
}

/** Decides a recorded decision again from what it read. Null where its payload was erased: then nobody can. */
export async function reproduce(world: World, row: DecisionRow) {
  const claim = await claimOfDecision(world, row)
  if (claim === null) return null
  const policy = await world.policies.compiled(row.tenant, row.snapshot)
  return { policy, claim, decision: decide(policy, claim, row.standing) }
}

async function claimOfDecision(world: World, row: DecisionRow): Promise<Claim | null> {
  const values = await loadValues(world.db, row.tenant, [row.input_ptr, row.context_ptr])
  const payload = { input: values.get(row.input_ptr ?? '') ?? null, context: values.get(row.context_ptr ?? '') ?? null }
  if (row.claim !== null) return { ...row.claim, ...payload }
  const job = row.job_id === null ? null : await getJob(world.db, row.tenant, row.job_id)
  return job === null ? null : claimOf(job, payload)
}
