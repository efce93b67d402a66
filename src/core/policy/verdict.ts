import { type Constraints, type InputCheck, inputChecks, mergeConstraints } from './constraints.js'
import {
  type ApprovalSpec,
  DECISIONS,
  DEFAULT_APPROVAL,
  type DecisionWord,
  type Limits,
  type Rule,
} from './document.js'

/** What a set of matching rules says together. Frozen: one verdict answers many jobs. */
export interface Verdict {
  decision: DecisionWord
  reason: string
  rules: string[]
  decided_by: string | null
  constraints: Constraints
  approval: ApprovalSpec[]
  limits: { rule: string; limits: Limits }[]
  high_risk: boolean
  /** What the merged constraints ask of the input; null if nothing. */
  checks: InputCheck[] | null
}

export interface Matched {
  /** Rules that match what the server holds true. */
  held: readonly Rule[]
  /** Rules that match only what the agent said of itself: they bind, but permit nothing. */
  claimed: readonly Rule[]
  /** Rules whose `when` failed. */
  errors: readonly { rule: Rule; message: string }[]
  high_risk: boolean
}

const severity = (word: DecisionWord) => DECISIONS.indexOf(word)
const severest = (words: readonly DecisionWord[]) => words.reduce((a, b) => (severity(a) <= severity(b) ? a : b))

/** Whether a rule that matches only the agent's own claim counts: everything but a bare permission does. */
export function binds(rule: Rule): boolean {
  return rule.decision !== 'ALLOW' || rule.limits !== null
}

/** Merges matching rules: the severest decision, every constraint at its tightest, every approval asked for. */
export function judge({ held, claimed, errors, high_risk }: Matched, fallback: DecisionWord): Verdict {
  const failed = errors.map(({ rule }) => rule)
  const all = [...new Set([...held, ...claimed, ...failed])].sort((a, b) => (a.id < b.id ? -1 : 1))
  const base = held.length > 0 ? severest(held.map((rule) => rule.decision)) : fallback
  const decision = errors.length > 0 ? 'DENY' : severest([base, ...claimed.map((rule) => rule.decision)])
  // None decides where nothing matched the server's view and the default is severer than what the claim matched.
  const decided = all.find((rule) => rule.decision === decision || failed.includes(rule)) ?? null
  const constraints = all.reduce<Constraints>((merged, rule) => mergeConstraints(merged, rule.constraints), {})
  const checks = inputChecks(constraints)
  return deepFreeze({
    decision,
    reason: reasonOf(decided, decision, errors),
    rules: all.map((rule) => rule.id),
    decided_by: decided?.id ?? null,
    constraints,
    approval: decision === 'REQUIRE_APPROVAL' ? approvals(all, base === decision && held.length === 0) : [],
    limits: all.flatMap((rule) => (rule.limits ? [{ rule: rule.id, limits: rule.limits }] : [])),
    high_risk,
    checks: checks.length > 0 ? checks : null,
  })
}

function reasonOf(decided: Rule | null, decision: DecisionWord, errors: Matched['errors']): string {
  if (!decided) return `no rule matches, the default is ${decision}`
  const error = errors.find(({ rule }) => rule === decided)
  if (error) return `rule ${decided.id} could not be evaluated: ${error.message}`
  return decided.reason ?? `rule ${decided.id} says ${decision}`
}

/** One spec per rule that asks, each once, in an order that does not depend on the file. */
function approvals(rules: readonly Rule[], byDefault: boolean): ApprovalSpec[] {
  const specs = new Map<string, ApprovalSpec>()
  for (const spec of [...rules.map((rule) => rule.approval), byDefault ? DEFAULT_APPROVAL : null]) {
    if (!spec) continue
    const { from, need, within_ms, then, valid_for_ms, ...flow } = spec
    const more = Object.keys(flow).length === 0 ? [] : [flow.levels, flow.order, flow.kind, flow.ladder]
    specs.set(JSON.stringify([from, need, within_ms, then, valid_for_ms, ...more]), spec)
  }
  return [...specs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, spec]) => structuredClone(spec))
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const part of Object.values(value)) deepFreeze(part)
  return Object.freeze(value)
}
