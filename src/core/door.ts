import { Problem } from '../errors.js'
import type { Approval } from './approval.js'
import { drawOf, underStage } from './autonomy.js'
import { boundHash, grantHash, jobHash, shortForm } from './binding.js'
import { type ScopedGrant, usable } from './grant.js'
import { type Halt, type Halts, haltAt, haltKeys, haltLimits } from './halt.js'
import type { Claim } from './job.js'
import type { Json, JsonObject } from './json.js'
import { type Counter, FRESH, retryAfter, shadowKey, spent } from './limits.js'
import type { CompiledPolicy } from './policy/compile.js'
import { enforcers } from './policy/constraints.js'
import type { DecisionWord } from './policy/document.js'
import { type AppliedLimit, type Evaluation, evaluate, heldAction } from './policy/evaluate.js'
import { type AgentStanding, beyondScope } from './principal.js'
import { admits, workOf } from './rollout/assign.js'
import type { Drawn, RolloutSlice } from './rollout/draw.js'
import { outsideWorkflow } from './workflow.js'

export type Door = 'submit' | 'approve' | 'dispatch' | 'replay'

/**
 * Everything a decision reads beside the snapshot and the claim. It is stored with the decision, so `decide` gives the
 * same answer again, byte for byte.
 */
export interface Standing extends Halts {
  door: Door
  now: number
  /** Counters of the limits that the matching rules carry; a key that has none yet is absent. */
  counters: Record<string, Counter>
  /** The approved approval of this job, if there is one. */
  grant: Pick<Approval, 'approval_id' | 'bound_hash' | 'valid_until'> | null
  /** Grants that cover this job; absent where there is none. */
  grants?: ScopedGrant[]
  /** What is known of the agent; absent where nothing bounds it. */
  agent?: AgentStanding
  /** A fraction drawn for this job, where its agent's stage spot-checks; absent also where there is no job, as in a dry run. */
  draw?: number
  /** Who was drawn to do it, where it is in a rollout; and at the first door the slice it was drawn by, with what the draw read. */
  drawn?: Drawn
  slice?: RolloutSlice
  run_id?: string | null
  said_version?: string | null
}

/** What a decision at this door reads, where no counters and no grant do. */
export function standingAt(door: Door, now: number, agent: AgentStanding | null, job_id: string | null): Standing {
  const standing: Standing = { door, now, counters: {}, grant: null }
  if (agent !== null) standing.agent = agent
  if (agent?.stage?.stage === 'assisted' && job_id !== null) standing.draw = drawOf(job_id)
  return standing
}

export interface Decision {
  /** What the caller must do with the work. `wait`: nothing is wrong, but a limit is full. `shadow`: record what would be, and no more; at submit only. */
  outcome: 'pass' | 'park' | 'deny' | 'wait' | 'shadow'
  decision: DecisionWord
  reason: string
  rules: string[]
  evaluation: Evaluation
  /** Constraints only a worker can enforce; a job goes to no worker that does not. */
  enforcers: string[]
  snapshot: string
  job_hash: string
  /** What an approval binds; null unless one is required. */
  grant_hash: string | null
  bound_hash: string | null
  wait: { limit: string; rule: string; retry_after_ms: number } | null
  /** The grant that let it through in the place of an answer. */
  granted_by: string | null
  /** Denied because the agent's own terms do not reach so far: what it lacks, in words. Else empty. */
  missing: readonly string[]
  /** Told with a refusal: what people do instead of this agent. */
  fallback: string | null
  /** A stop or an open breaker keeps it back, whatever policy says. */
  halt: Halt | null
  /** Who does it, where a rollout says so. */
  drawn: Drawn | null
  /** A rollout keeps it from this agent: with which code. */
  withheld: 'manual_path' | 'version_refused' | 'rolled_back' | null
}

const NOTHING: readonly string[] = Object.freeze([])

/** What a draw keeps from an agent. */
const WITHHELD = {
  manual: { code: 'manual_path', reason: 'People do this while a rollout runs' },
  refused: { code: 'version_refused', reason: 'The rollout gives this to another version' },
  withdrawn: { code: 'rolled_back', reason: 'The candidate that this was for was taken back' },
} as const

/**
 * The only door. Every use case that lets work through calls it and does what `outcome` says; none of them looks at rules,
 * approvals or limits itself. Pure: the same snapshot, claim and standing always give the same decision.
 */
export function decide(snapshot: CompiledPolicy, claim: Claim, standing: Standing): Decision {
  let evaluation = within(evaluate(snapshot, claim, standing.now), claim.agent, standing)
  const job_hash = jobHash(claim)
  const decision: Decision = {
    outcome: 'deny',
    decision: evaluation.decision,
    reason: evaluation.reason,
    rules: evaluation.rules,
    evaluation,
    enforcers: enforcers(evaluation.constraints),
    snapshot: snapshot.digest,
    job_hash,
    grant_hash: null,
    bound_hash: null,
    wait: null,
    granted_by: null,
    missing: NOTHING,
    fallback: standing.agent?.fallback ?? null,
    halt: null,
    drawn: standing.drawn ?? null,
    withheld: null,
  }
  // Before policy: while work is stopped nothing becomes of it, and a caller is told of the stop rather than of a rule.
  const halt = haltAt(standing, standing.door, claim.agent, evaluation.high_risk, standing.now)
  if (halt !== null) return halted(decision, halt, standing.door)
  if (evaluation.decision === 'DENY') return decision
  const missing = beyond(snapshot, claim, evaluation, standing)
  if (missing.length > 0) {
    const reason = `${claim.agent} is not scoped for this: ${missing.join(', ')}`
    return { ...decision, decision: 'DENY', reason, rules: [], missing }
  }
  const { drawn } = standing
  if (drawn !== undefined) {
    if (drawn.variant === 'shadow') return shadowed(decision, claim.agent, standing)
    const isMore =
      drawn.risk !== undefined &&
      !admits(drawn.risk, workOf(claim, evaluation, heldAction(snapshot, claim, standing.now), null))
    const withheld = isMore ? WITHHELD.refused : WITHHELD[drawn.variant as keyof typeof WITHHELD]
    if (withheld !== undefined)
      return {
        ...decision,
        decision: 'DENY',
        reason: `${withheld.reason}: ${drawn.reason}`,
        rules: [],
        withheld: withheld.code,
      }
  }
  const stage = standing.agent?.stage
  if (stage?.stage === 'shadow') return shadowed(decision, claim.agent, standing)
  if (stage !== undefined) {
    const { risk_tier = null } = standing.agent ?? {}
    evaluation = underStage(
      snapshot,
      claim,
      evaluation,
      { ...stage, risk_tier },
      { draw: standing.draw, now: standing.now },
    )
    const { decision: word, reason, rules } = evaluation
    Object.assign(decision, { decision: word, reason, rules, evaluation })
  }
  if (evaluation.decision === 'REQUIRE_APPROVAL') {
    const binding = {
      job_hash,
      rules: evaluation.rules,
      constraints: evaluation.constraints as JsonObject,
      approval: evaluation.approval as unknown as Json,
      effective: evaluation.effective as unknown as Json,
    }
    decision.grant_hash = grantHash({ ...binding, snapshot: snapshot.digest })
    decision.bound_hash = boundHash(binding)
    const grant = standing.grant
    const granted =
      grant !== null && grant.bound_hash === decision.bound_hash && (grant.valid_until ?? 0) > standing.now
    const scoped = granted ? null : usableGrant(evaluation, standing)
    decision.granted_by = scoped?.grant_id ?? null
    decision.outcome = granted || scoped !== null ? 'pass' : 'park'
  } else {
    decision.outcome = 'pass'
  }
  const wait = fullLimit(evaluation.limits, standing)
  if (wait !== null) return { ...decision, outcome: 'wait', wait }
  return decision
}

/** Never for high risk, of which a person looks at each, nor for what the agent's stage asks: a spot check that is answered beforehand is none. */
function usableGrant({ high_risk, rules, approval }: Evaluation, { grants, now }: Standing): ScopedGrant | null {
  if (grants === undefined || high_risk || rules.some((rule) => rule.startsWith('stage:'))) return null
  return usable(grants, approval, now)
}

/** What halts an agent limits it too: first, so that it is told of these. */
function within(evaluation: Evaluation, agent: string, standing: Standing): Evaluation {
  // Nearly always: a million decisions a second should not make empty lists.
  if (standing.stops === undefined && standing.breaker === undefined) return evaluation
  const limits = haltLimits(standing, agent, evaluation.high_risk, standing.now)
  return limits.length === 0 ? evaluation : { ...evaluation, limits: [...limits, ...evaluation.limits] }
}

/** What the agent's terms, and the bounds of the workflow it names, do not cover. */
function beyond(
  snapshot: CompiledPolicy,
  claim: Claim,
  { effective }: Evaluation,
  standing: Standing,
): readonly string[] {
  const { agent, now } = standing
  // What it may do is measured by what the server holds true: calling a write a read brings nothing into scope.
  const action_type = agent?.actions == null ? null : heldAction(snapshot, claim, now)
  const missing = agent === undefined ? NOTHING : beyondScope(agent, claim, { ...effective, action_type })
  const workflow = claim.workflow === null ? undefined : snapshot.workflows.get(claim.workflow)
  if (workflow === undefined) return missing
  const isOpen = agent?.workflows?.includes(workflow.bounds.id) ?? false
  return [...missing, ...outsideWorkflow(workflow, isOpen, claim, effective, now)]
}

/** What would be, and nothing of it happens; what is there from before the agent was put in the shadow goes no further. */
function shadowed(decision: Decision, agent: string, standing: Standing): Decision {
  if (standing.door === 'submit') {
    const limits = decision.evaluation.limits.map((limit) => ({ ...limit, key: shadowKey(agent, limit.key) }))
    const wait = fullLimit(limits, standing)
    return {
      ...decision,
      evaluation: { ...decision.evaluation, limits },
      outcome: wait === null ? 'shadow' : 'wait',
      wait,
    }
  }
  const reason = `${agent} is shadow: nothing of it runs`
  return { ...decision, outcome: 'deny', decision: 'DENY', reason, rules: [] }
}

/** New work is denied; what is there already stays as it is. */
function halted(decision: Decision, halt: Halt, door: Door): Decision {
  const { limit, retry_after_ms, reason } = halt
  const waits = door === 'dispatch' || door === 'approve'
  const wait = waits ? { limit, rule: halt.stop_id ?? 'breaker', retry_after_ms: retry_after_ms ?? 1000 } : null
  return { ...decision, outcome: waits ? 'wait' : 'deny', decision: 'DENY', reason, rules: [], wait, halt }
}

/** Why an answer to a question about this work is not taken now; null where it is. */
export function frozen(standing: Standing, job: Pick<Claim, 'agent'> & { high_risk: boolean }): Problem | null {
  const halt = haltAt(standing, 'approve', job.agent, job.high_risk, standing.now)
  return halt === null ? null : haltProblem(halt, {})
}

function haltProblem({ code, reason, stop_id, retry_after_ms }: Halt, more: Record<string, unknown>): Problem {
  return new Problem(code, reason, {
    ...more,
    reason,
    ...(stop_id === null ? {} : { stop_id }),
    ...(retry_after_ms === null ? {} : { retry_after_ms }),
  })
}

/** What a refused caller is told: the public part of a denial, the same from every door. */
export function refusal(decision: Decision, more: Record<string, unknown> = {}): Problem {
  const { reason, rules, snapshot, missing, fallback, halt, withheld, drawn } = decision
  const told = { ...more, decision: 'DENY', reason, rules, policy_snapshot: shortForm(snapshot) }
  if (halt !== null) return haltProblem(halt, { ...told, ...(fallback === null ? {} : { fallback }) })
  return new Problem(withheld ?? (missing.length > 0 ? 'out_of_scope' : 'policy_denied'), reason, {
    ...told,
    ...(missing.length > 0 ? { missing } : {}),
    ...(withheld === null || drawn === null ? {} : { rollout_id: drawn.rollout_id }),
    ...(fallback === null ? {} : { fallback }),
  })
}

/** Keys of the counters `decide` will read for this claim, so that they can be loaded first. */
export function limitKeys(
  snapshot: CompiledPolicy,
  claim: Claim,
  now: number,
  { agent, drawn, ...halts }: Halts & { agent?: AgentStanding | null | undefined; drawn?: Drawn | undefined } = {},
): string[] {
  const keys = haltKeys(halts, claim.agent)
  if (snapshot.document.rules.some((rule) => rule.limits !== null))
    keys.push(...evaluate(snapshot, claim, now).limits.map((limit) => limit.key))
  const isShadow = agent?.stage?.stage === 'shadow' || drawn?.variant === 'shadow'
  return isShadow ? keys.map((key) => shadowKey(claim.agent, key)) : keys
}

/** `rate` is spent at one door, submit unless the limit says so; `concurrent` counts live leases and so is asked at dispatch only. */
function fullLimit(limits: readonly AppliedLimit[], standing: Standing): Decision['wait'] {
  for (const limit of limits) {
    const counter = standing.counters[limit.key] ?? FRESH
    if (limit.rate && standing.door === (limit.spent_at ?? 'submit')) {
      const { count, period_ms } = limit.rate
      if (spent(counter, standing.now, period_ms) + 1 > count)
        return {
          limit: limit.key,
          rule: limit.rule,
          retry_after_ms: retryAfter(counter, count, standing.now, period_ms),
        }
    }
    if (standing.door === 'dispatch' && limit.concurrent !== undefined && counter.held + 1 > limit.concurrent)
      return { limit: limit.key, rule: limit.rule, retry_after_ms: 1000 }
  }
  return null
}
