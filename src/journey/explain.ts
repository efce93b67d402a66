import type { SubmitJob } from '../contract/jobs.js'
import type { Evaluated } from '../contract/policy.js'
import { type Caller, may } from '../core/access.js'
import { claimFrom } from '../core/admit.js'
import { owedKey, owesCheck } from '../core/autonomy.js'
import { type Decision, decide, limitKeys, refusal, type Standing, standingAt } from '../core/door.js'
import type { Claim } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import { validateInput } from '../core/policy/evaluate.js'
import { explain } from '../core/policy/explain.js'
import type { Drawn } from '../core/rollout/draw.js'
import { Problem } from '../errors.js'
import { type DecisionRow, getDecision } from '../store/decisions.js'
import type { Active } from '../store/policies.js'
import { reproduce } from '../store/remade.js'
import { findSnapshot } from '../store/snapshots.js'
import { type Gate, loadCounters } from '../store/standing.js'
import type { World } from '../store/world.js'

export interface Explained {
  decision: Decision
  submit: Evaluated['submit']
  /** Of the policy alone: stops, breakers, terms and stage are in `decision` and `submit`. */
  why: Json
}

/**
 * What a submit of this job would be answered now and why, under the active snapshot or as if a stored one were active. Records nothing,
 * spends nothing. The spot check of a stage is drawn from the id of a job, and there is none: what it may do is said beside.
 */
export async function evaluateDry(
  world: World,
  caller: Caller,
  body: SubmitJob,
  snapshot: string | undefined,
): Promise<Explained> {
  const stored = snapshot === undefined ? null : await findSnapshot(world.db, caller.tenant, snapshot)
  if (snapshot !== undefined && stored === null) throw new Problem('not_found', 'There is no such snapshot')
  // Nothing is committed that the gate could send back, so nothing is told from a gate of before.
  await world.policies.refresh(caller.tenant)
  const active = await world.policies.active(caller.tenant)
  const given = stored === null ? active.policy : await world.policies.compiled(caller.tenant, stored.digest)
  const now = world.clock.now()
  // As at submit: the key's team is its own, not that of another agent it asks about.
  const agent = body.agent ?? caller.principal
  // What an agent may and what people do instead of it is for those to read who may read the directory.
  if (agent !== caller.principal && !caller.act_as.includes(agent) && !may(caller, 'directory:read'))
    throw new Problem('act_as_refused', `This key is ${caller.principal} and asks nothing about ${agent}`)
  const team = agent === caller.principal ? caller.team : null
  const known = await world.agents.of(active.gate, agent)
  const asking = claimFrom({ tenant: caller.tenant, agent, agent_version: known?.version ?? null, team }, body)
  const { claim, policy, drawn } = await drawnFor(world, active, stored === null ? null : given, asking, body, now)
  // Who looks what becomes of another's job looks at it as if that one asked.
  const requested_by = caller.act_as.includes(agent) ? caller.principal : agent
  const standing = standingAt('submit', now, known, null)
  if (drawn !== null) standing.drawn = drawn
  Object.assign(standing, await boundBy(world, active.gate, policy, claim, requested_by, standing))
  const decision = decide(policy, claim, standing)
  return {
    decision,
    submit: answerOf(policy, claim, decision, standing),
    why: explain(policy, claim, now) as unknown as Json,
  }
}

/** As at submit, but that without a run nothing is drawn by one; and a snapshot that was asked for decides whatever was drawn. */
async function drawnFor(
  world: World,
  active: Active,
  given: CompiledPolicy | null,
  asking: Claim,
  body: SubmitJob,
  now: number,
): Promise<{ claim: Claim; policy: CompiledPolicy; drawn: Drawn | null }> {
  const drawings = await world.rollouts.under(active)
  const drawing = drawings.of(asking, { run_id: body.run_id ?? null, said: body.agent_version ?? null, now })
  if (drawing === null) return { claim: asking, policy: given ?? active.policy, drawn: null }
  const { drawn, version } = drawing
  const claim = version === undefined ? asking : { ...asking, agent_version: version }
  return { claim, policy: given ?? drawings.policyFor(drawn), drawn }
}

/** Stops, breakers, counters and grants, as the first door reads them. */
async function boundBy(
  world: World,
  gate: Gate,
  policy: CompiledPolicy,
  claim: Claim,
  requested_by: string,
  { now, agent, drawn }: Standing,
): Promise<Partial<Standing>> {
  const halts = await world.halts.of(gate, { ...claim, requested_by })
  const keys = limitKeys(policy, claim, now, { ...halts, agent, drawn })
  const counters = await loadCounters(world.db, claim.tenant, [...keys, owedKey(claim.agent)])
  const grants = await world.grants.covering(gate, claim, requested_by, now)
  return { ...halts, counters, ...(grants.length === 0 ? {} : { grants }) }
}

const STATUS = { pass: 'queued', park: 'pending_approval', shadow: 'shadowed', wait: null, deny: null } as const

function answerOf(
  policy: CompiledPolicy,
  claim: Claim,
  decision: Decision,
  { agent, counters }: Standing,
): Explained['submit'] {
  const { outcome, wait, missing, halt, granted_by } = decision
  const { stage, spot_check = null } = agent?.stage ?? {}
  const isDrawn = outcome === 'pass' && stage === 'assisted' && granted_by === null
  return {
    status: STATUS[outcome],
    code: outcome === 'wait' ? 'rate_limited' : outcome === 'deny' ? codeOf(policy, claim, decision) : null,
    missing: [...missing],
    stop_id: halt?.stop_id ?? null,
    retry_after_ms: halt?.retry_after_ms ?? wait?.retry_after_ms ?? null,
    granted_by: outcome === 'pass' ? granted_by : null,
    spot_check: isDrawn ? (owesCheck(claim.agent, counters) ? 100 : spot_check) : null,
  }
}

/** A denial that no rule said is a fault of the input, where it has one. */
function codeOf(policy: CompiledPolicy, claim: Claim, decision: Decision): string {
  const { code } = refusal(decision)
  const isSaid = code !== 'policy_denied' || decision.evaluation.decided_by !== null
  return !isSaid && validateInput(policy, claim).length > 0 ? 'invalid' : code
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
