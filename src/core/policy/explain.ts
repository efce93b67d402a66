import type { Calendar } from '../calendar.js'
import type { Claim } from '../job.js'
import { serverView } from './classes.js'
import { type CompiledPolicy, planFor } from './compile.js'
import type { DecisionWord, Rule, TagTest } from './document.js'
import { evaluate } from './evaluate.js'
import { activation, compileExpression, type Expression, failureText, type View } from './expression.js'
import { valueConditions, valueMatches } from './match.js'
import { editDistance } from './nearest.js'
import { topicMatches } from './topics.js'
import { binds } from './verdict.js'

/** One condition of a rule, as a person would read it. */
export interface ConditionResult {
  /** `topic`, `labels.env`, `risk_tags`, `environment`, …, `when`. */
  condition: string
  expected: string
  actual: string
  holds: boolean
}

export interface Why {
  decision: DecisionWord
  reason: string
  decided_by: string | null
  /** Rules that match. `claim` means they match only what the agent said of itself: they bind, but permit nothing. */
  matched: { rule: string; decision: DecisionWord; reason: string | null; on: 'server' | 'claim' | 'error' }[]
  /** Rules that failed on one or two conditions, closest first, at most 20. */
  nearly: { rule: string; decision: DecisionWord; failed: ConditionResult[] }[]
  /** Where the server holds something else true than the agent said. */
  overruled: { key: string; claimed: string | null; held: string | null }[]
  /** What the job classes say against the job; null if nothing. */
  denied_by_class: string | null
}

const MOST_NEAR = 20

/**
 * Why the decision is what it is, and what would have made it another. The slow path: it reads every rule in the order of
 * the document and asks each condition by itself, independently of the index.
 */
export function explain(policy: CompiledPolicy, claim: Claim, now: number): Why {
  const { decision, reason, decided_by, effective } = evaluate(policy, claim, now)
  const plan = planFor(policy, claim.topic)
  const server = plan?.classes.acts ? serverView(plan.classes, claim, now) : null
  const matched: Why['matched'] = []
  const nearly: (Why['nearly'][number] & { distance: number })[] = []
  const { rules, calendars } = policy.document
  for (const rule of rules) {
    const onServer = ruleConditions(rule, claim, effective, now, calendars)
    const on = matchedOn(
      rule,
      onServer,
      server?.claimed ? ruleConditions(rule, claim, server.claimed, now, calendars) : null,
    )
    if (on !== null) matched.push({ rule: rule.id, decision: rule.decision, reason: rule.reason, on })
    else {
      const failed = onServer.filter(({ holds }) => !holds)
      const distance = farness(failed, rule, claim)
      if (distance !== null) nearly.push({ rule: rule.id, decision: rule.decision, failed, distance })
    }
  }
  nearly.sort((a, b) => a.distance - b.distance || (a.rule < b.rule ? -1 : 1))
  return {
    decision,
    reason,
    decided_by,
    matched,
    nearly: nearly.slice(0, MOST_NEAR).map(({ rule, decision, failed }) => ({ rule, decision, failed })),
    overruled: differences(claim, effective),
    denied_by_class: server?.denial ?? null,
  }
}

const all = (results: readonly ConditionResult[]) => results.every(({ holds }) => holds)
const failedWhen = (results: readonly ConditionResult[]) =>
  results.every(({ condition, holds }) => holds || condition === 'when') &&
  results.some(({ actual }) => actual.startsWith(ERROR))

const ERROR = 'error: '

function matchedOn(
  rule: Rule,
  onServer: ConditionResult[],
  onClaim: ConditionResult[] | null,
): 'server' | 'claim' | 'error' | null {
  if (all(onServer)) return 'server'
  if (failedWhen(onServer)) return 'error'
  if (onClaim === null || !binds(rule)) return null
  if (all(onClaim)) return 'claim'
  return failedWhen(onClaim) ? 'error' : null
}

/** Smaller is closer; null for a rule that is not near. Another topic is near only if it looks like a slip of the pen. */
function farness(failed: readonly ConditionResult[], rule: Rule, claim: Claim): number | null {
  if (failed.length > 2) return null
  if (!failed.some(({ condition }) => condition === 'topic')) return failed.length * 10
  const slips = (rule.match.topic ?? []).map((pattern) => editDistance(pattern, claim.topic.slice(0, 255)))
  const slip = Math.min(...slips)
  return slip <= 2 ? failed.length * 10 + slip : null
}

/** Every condition of the rule against one view of the job. */
export function ruleConditions(
  rule: Rule,
  claim: Claim,
  view: View,
  now: number,
  calendars?: readonly Calendar[],
): ConditionResult[] {
  const { match, when } = rule
  const results: ConditionResult[] = []
  if (match.topic) {
    const holds = match.topic.some((pattern) => topicMatches(pattern, claim.topic))
    results.push({ condition: 'topic', expected: match.topic.join(' or '), actual: claim.topic, holds })
  }
  for (const { field, name, values } of valueConditions(match)) {
    const actual = field === null ? own(view.labels, name) : own({ ...claim, ...scalars(view) }, field)
    results.push({
      condition: field === null ? `labels.${name}` : field,
      expected: values.join(' or '),
      actual: actual ?? 'absent',
      holds: actual !== null && values.some((value) => valueMatches(value, actual)),
    })
  }
  if (match.risk_tags) results.push(tagCondition(match.risk_tags, view.risk_tags))
  if (when !== null) results.push(whenCondition(compileExpression(when, calendars), claim, view, now))
  return results
}

const scalars = ({ environment, action_type }: View) => ({ environment, action_type })

function own(record: object, key: string): string | null {
  const value = Object.hasOwn(record, key) ? (record as Record<string, unknown>)[key] : null
  return typeof value === 'string' ? value : null
}

function tagCondition(test: TagTest, tags: readonly string[]): ConditionResult {
  const wanted = 'all' in test ? test.all : test.any
  const has = (tag: string) => tags.includes(tag)
  return {
    condition: 'risk_tags',
    expected: `${'all' in test ? 'all of' : 'any of'} ${wanted.join(', ')}`,
    actual: tags.length === 0 ? 'none' : tags.join(', '),
    holds: 'all' in test ? wanted.every(has) : wanted.some(has),
  }
}

function whenCondition(when: Expression, claim: Claim, view: View, now: number): ConditionResult {
  const said = { condition: 'when', expected: when.text }
  try {
    const value = when.run(activation(claim, view, now))
    if (typeof value === 'boolean') return { ...said, actual: String(value), holds: value }
    return { ...said, actual: `${ERROR}no true or false`, holds: false }
  } catch (error) {
    return { ...said, actual: ERROR + failureText(error), holds: false }
  }
}

function differences(claim: Claim, held: View): Why['overruled'] {
  const names = [...new Set([...Object.keys(claim.labels), ...Object.keys(held.labels)])].sort()
  const pairs = names.map((name) => ({
    key: `labels.${name}`,
    claimed: own(claim.labels, name),
    held: own(held.labels, name),
  }))
  for (const key of ['environment', 'action_type'] as const) pairs.push({ key, claimed: claim[key], held: held[key] })
  for (const tag of held.risk_tags) {
    if (!claim.risk_tags.includes(tag)) pairs.push({ key: 'risk_tags', claimed: null, held: tag })
  }
  return pairs.filter(({ claimed, held }) => claimed !== held)
}
