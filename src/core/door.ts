import { Problem } from '../errors.js'
import type { Approval } from './approval.js'
import { boundHash, grantHash, jobHash, shortForm } from './binding.js'
import type { Claim } from './job.js'
import type { Json, JsonObject } from './json.js'
import { type Counter, FRESH, retryAfter, spent } from './limits.js'
import type { CompiledPolicy } from './policy/compile.js'
import { enforcers } from './policy/constraints.js'
import type { DecisionWord } from './policy/document.js'
import { type AppliedLimit, type Evaluation, evaluate } from './policy/evaluate.js'
import { type AgentStanding, beyondScope } from './principal.js'

export type Door = 'submit' | 'approve' | 'dispatch' | 'replay'

/**
 * Everything a decision reads beside the snapshot and the claim. It is stored with the decision, so `decide` gives the
 * same answer again, byte for byte.
 */
export interface Standing {
  door: Door
  now: number
  /** Counters of the limits that the matching rules carry; a key that has none yet is absent. */
  counters: Record<string, Counter>
  /** The approved approval of this job, if there is one. */
  grant: Pick<Approval, 'approval_id' | 'bound_hash' | 'valid_until'> | null
  /** What is known of the agent; absent where nothing bounds it. */
  agent?: AgentStanding
}

/** What a decision at this door reads, where no counters and no grant do. */
export function standingAt(door: Door, now: number, agent: AgentStanding | null): Standing {
  const standing: Standing = { door, now, counters: {}, grant: null }
  if (agent !== null) standing.agent = agent
  return standing
}

export interface Decision {
  /** What the caller must do with the work. `wait`: nothing is wrong, but a limit is full. */
  outcome: 'pass' | 'park' | 'deny' | 'wait'
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
  /** Denied because the agent's own terms do not reach so far: what it lacks, in words. Else empty. */
  missing: readonly string[]
  /** Told with a refusal: what people do instead of this agent. */
  fallback: string | null
}

const NOTHING: readonly string[] = Object.freeze([])

/**
 * The only door. Every use case that lets work through calls it and does what `outcome` says; none of them looks at rules,
 * approvals or limits itself. Pure: the same snapshot, claim and standing always give the same decision.
 */
export function decide(snapshot: CompiledPolicy, claim: Claim, standing: Standing): Decision {
  const evaluation = evaluate(snapshot, claim, standing.now)
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
    missing: NOTHING,
    fallback: standing.agent?.fallback ?? null,
  }
  if (evaluation.decision === 'DENY') return decision
  const missing =
    standing.agent === undefined ? NOTHING : beyondScope(standing.agent, claim, evaluation.effective.action_type)
  if (missing.length > 0) {
    const reason = `${claim.agent} is not scoped for this: ${missing.join(', ')}`
    return { ...decision, decision: 'DENY', reason, rules: [], missing }
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
    decision.outcome = granted ? 'pass' : 'park'
  } else {
    decision.outcome = 'pass'
  }
  const wait = fullLimit(evaluation.limits, standing)
  if (wait !== null) return { ...decision, outcome: 'wait', wait }
  return decision
}

/** What a refused caller is told: the public part of a denial, the same from every door. */
export function refusal(decision: Decision, more: Record<string, unknown> = {}): Problem {
  const { reason, rules, snapshot, missing, fallback } = decision
  const told = { ...more, decision: 'DENY', reason, rules, policy_snapshot: shortForm(snapshot) }
  return new Problem(missing.length > 0 ? 'out_of_scope' : 'policy_denied', reason, {
    ...told,
    ...(missing.length > 0 ? { missing } : {}),
    ...(fallback === null ? {} : { fallback }),
  })
}

/** Keys of the counters `decide` will read for this claim, so that they can be loaded first. */
export function limitKeys(snapshot: CompiledPolicy, claim: Claim, now: number): string[] {
  if (!snapshot.document.rules.some((rule) => rule.limits !== null)) return []
  return evaluate(snapshot, claim, now).limits.map((limit) => limit.key)
}

/** `rate` is spent at submit only; `concurrent` counts live leases and so is asked at dispatch only. */
function fullLimit(limits: readonly AppliedLimit[], standing: Standing): Decision['wait'] {
  for (const limit of limits) {
    const counter = standing.counters[limit.key] ?? FRESH
    if (standing.door === 'submit' && limit.rate) {
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
