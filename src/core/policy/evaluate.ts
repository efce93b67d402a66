import { sha256 } from '../canonical.js'
import type { Claim } from '../job.js'
import { CLASS_DEFAULTS, type EffectiveClass, heldActionType, inputFaults, serverView } from './classes.js'
import { type CompiledPolicy, planFor, type TopicPlan } from './compile.js'
import type { Constraints } from './constraints.js'
import type { ApprovalSpec, DecisionWord, Limits, Rule } from './document.js'
import type { View } from './expression.js'
import { type Found, find } from './match.js'
import type { SchemaFault } from './schema.js'
import { binds, judge, type Matched, type Verdict } from './verdict.js'

export type { EffectiveClass } from './classes.js'

/** A limit this job counts against. The store spends it; evaluation only says which counter and how much it holds. */
export interface AppliedLimit {
  /** `<rule>|<per>|<value>`, the counter's key within the tenant. */
  key: string
  rule: string
  rate?: { count: number; period_ms: number }
  /** The door that spends the rate where that is not the first. */
  spent_at?: 'dispatch'
  concurrent?: number
}

/** Shared parts are frozen: one verdict serves every job that the same rules match. */
export interface Evaluation {
  decision: DecisionWord
  reason: string
  /** Ids of all matching rules, sorted. */
  rules: string[]
  /** The rule that gave decision and reason, the first by id among equals; null for the default, a class or a constraint. */
  decided_by: string | null
  constraints: Constraints
  /** All of them must be satisfied; empty unless the decision is REQUIRE_APPROVAL. */
  approval: ApprovalSpec[]
  limits: AppliedLimit[]
  high_risk: boolean
  job_class: EffectiveClass
  /** What the server holds true after job classes had their say. */
  effective: View
}

const NO_LIMITS: AppliedLimit[] = Object.freeze([]) as unknown as AppliedLimit[]
const MAX_VERDICTS = 1024

/**
 * Decides one job. Pure and total: any failure inside is a DENY that says so, because a policy that cannot answer must
 * not let work through. Rules see the server's view (the claim with set and derived values over it); where that differs
 * from what the agent said, every rule that forbids, asks or binds is also asked about what it said.
 */
export function evaluate(policy: CompiledPolicy, claim: Claim, now: number): Evaluation {
  try {
    const plan = planFor(policy, claim.topic)
    return plan === null ? refusal(claim, 'the topic is no topic') : decide(policy, plan, claim, now)
  } catch (error) {
    // The name alone: a message may quote the job, and reasons go into the log.
    return refusal(claim, `the policy could not be evaluated (${(error as Error).name})`)
  }
}

function decide(policy: CompiledPolicy, plan: TopicPlan, claim: Claim, now: number): Evaluation {
  const { classes } = plan
  const server = classes.acts ? serverView(classes, claim, now) : null
  const view: View = server === null ? claim : server.view
  const claimed = server === null ? null : server.claimed
  const verdict =
    claimed === null
      ? judgeOne(policy, plan, claim, view, now)
      : judgeBoth(policy, plan, claim, { held: view, claimed }, now)
  let { decision, reason, decided_by, approval } = verdict
  // What a rule denied keeps the rule's reason; a class or constraint says more than 'no rule matches'.
  if (decision !== 'DENY' || decided_by === null) {
    const denial = server?.denial ?? failedCheck(verdict, claim)
    if (denial !== null) {
      decision = 'DENY'
      reason = denial
      decided_by = null
      approval = NO_APPROVAL
    }
  }
  const { labels, risk_tags, environment, action_type } = view
  const effective: View = { labels, risk_tags, environment, action_type }
  // Only where it is derived: hashes of what never knew it stay what they were.
  if (server?.view.data !== undefined) effective.data = server.view.data
  return {
    decision,
    reason,
    rules: verdict.rules,
    decided_by,
    constraints: verdict.constraints,
    approval,
    limits: verdict.limits.length === 0 ? NO_LIMITS : verdict.limits.map((each) => applied(each, claim, view)),
    high_risk: verdict.high_risk,
    job_class: classes.effective,
    effective,
  }
}

const NO_APPROVAL: ApprovalSpec[] = Object.freeze([]) as unknown as ApprovalSpec[]

/** The usual case: one view. */
function judgeOne(policy: CompiledPolicy, plan: TopicPlan, claim: Claim, view: View, now: number): Verdict {
  const found = find(policy.tables.vocabulary, plan.index, claim, view, now)
  if (found.errors !== null) return judge(matched(plan, [...foundRules(found)], [], found.errors), fallbackOf(policy))
  return remembered(policy, plan, found)
}

const fallbackOf = (policy: CompiledPolicy) => policy.document.default_decision

const foundRules = (found: Found) => found.rules.subarray(0, found.count)

/**
 * The verdict of a set of rules depends on nothing but the set, so each is worked out once. `find` reports a set mostly
 * in one order; another order is only another key. The hash decides nothing: the whole key is compared.
 */
function remembered(policy: CompiledPolicy, plan: TopicPlan, found: Found): Verdict {
  const { rules, count } = found
  let hash = count
  for (let i = 0; i < count; i++) hash = (Math.imul(hash, 31) + rules[i]!) | 0
  const entry = plan.verdicts.get(hash)
  if (entry !== undefined && sameKey(entry.key, rules, count)) return entry.verdict
  const key = [...foundRules(found)]
  const verdict = judge(matched(plan, key, [], []), fallbackOf(policy))
  if (plan.verdicts.size >= MAX_VERDICTS) plan.verdicts.clear()
  plan.verdicts.set(hash, { key, verdict })
  return verdict
}

function sameKey(key: number[], rules: Int32Array, count: number): boolean {
  if (key.length !== count) return false
  for (let i = 0; i < count; i++) if (key[i] !== rules[i]) return false
  return true
}

/** The server knows better than the claim: permissions count on its view, everything else on either. */
function judgeBoth(
  policy: CompiledPolicy,
  plan: TopicPlan,
  claim: Claim,
  views: { held: View; claimed: View },
  now: number,
): Verdict {
  const held = find(policy.tables.vocabulary, plan.index, claim, views.held, now)
  const heldRules = [...foundRules(held)]
  const heldErrors = held.errors ?? []
  const said = find(policy.tables.vocabulary, plan.index, claim, views.claimed, now)
  const counts = (rule: number) => {
    const own = plan.rules[rule]!.rule
    return own === null || binds(own)
  }
  const claimedRules = [...foundRules(said)].filter((rule) => counts(rule) && !heldRules.includes(rule))
  const saidErrors = (said.errors ?? []).filter(({ rule }) => counts(rule) && !heldErrors.some((e) => e.rule === rule))
  return judge(matched(plan, heldRules, claimedRules, [...heldErrors, ...saidErrors]), fallbackOf(policy))
}

function matched(
  plan: TopicPlan,
  held: readonly number[],
  claimed: readonly number[],
  errors: readonly { rule: number; message: string }[],
): Matched {
  const ruleOf = (i: number) => plan.rules[i]!.rule
  const rulesOf = (numbers: readonly number[]) => numbers.map(ruleOf).filter((rule): rule is Rule => rule !== null)
  return {
    held: rulesOf(held),
    claimed: rulesOf(claimed),
    // Entries of high_risk have no `when`, so every error belongs to a rule.
    errors: errors.map(({ rule, message }) => ({ rule: ruleOf(rule)!, message })),
    high_risk: [...held, ...claimed].some((i) => ruleOf(i) === null),
  }
}

function failedCheck(verdict: Verdict, claim: Claim): string | null {
  if (verdict.checks === null) return null
  for (const check of verdict.checks) {
    const failure = check.ask(check.bound, claim.input)
    if (failure !== null) return `constraint ${check.constraint}: ${failure}`
  }
  return null
}

function applied({ rule, limits }: { rule: string; limits: Limits }, claim: Claim, view: View): AppliedLimit {
  return {
    key: `${rule}|${limits.per}|${bounded(countedBy(limits.per, claim, view))}`,
    rule,
    ...(limits.rate === null ? {} : { rate: limits.rate }),
    ...(limits.concurrent === null ? {} : { concurrent: limits.concurrent }),
  }
}

/** A label derived from the input may be as long as the input, and the counter's key is in an index: 2.7 kB at most. */
const bounded = (value: string) => (value.length <= 256 ? value : `sha256:${sha256(value)}`)

function countedBy(per: string, claim: Claim, view: View): string {
  if (per === 'agent') return claim.agent
  if (per === 'tenant') return claim.tenant
  if (per === 'topic') return claim.topic
  if (per === 'rule') return ''
  // Jobs without the label share one counter: leaving it out buys nothing.
  const name = per.slice('label:'.length)
  return Object.hasOwn(view.labels, name) ? view.labels[name]! : ''
}

function refusal(claim: Claim, reason: string): Evaluation {
  return {
    decision: 'DENY',
    reason,
    rules: [],
    decided_by: null,
    constraints: {},
    approval: [],
    limits: [],
    high_risk: false,
    job_class: CLASS_DEFAULTS,
    effective: {
      labels: claim.labels,
      risk_tags: claim.risk_tags,
      environment: claim.environment,
      action_type: claim.action_type,
    },
  }
}

/** The action type that the server itself holds true of the job; null where that is left to the agent to say, which is only a claim. */
export function heldAction(policy: CompiledPolicy, claim: Claim, now: number): string | null {
  const plan = planFor(policy, claim.topic)
  return plan === null ? null : heldActionType(plan.classes, claim, now)
}

/** What the topic's input schemas say against the job's input: JSON pointers and sentences, for a 422. */
export function validateInput(policy: CompiledPolicy, claim: Claim): SchemaFault[] {
  const plan = planFor(policy, claim.topic)
  return plan === null ? [] : inputFaults(plan.classes, claim.input)
}
