import { mergeConstraints } from './constraints.js'
import { DECISIONS, type JobClass, type Matcher, type PolicyDocument, type Rule, SCALAR_FIELDS } from './document.js'
import { compileExpression } from './expression.js'
import { valueMatches } from './match.js'
import { patternCovers, patternsOverlap } from './topics.js'

/** A doubt about a document that is otherwise in order. `at` names the thing: `rule:<id>`, `class:<topic>`. */
export interface Finding {
  code: string
  message: string
  hint?: string
  at: string
}

/** Warnings of one policy: what an author would want to be told before the policy is asked about a job. */
export function lint(document: PolicyDocument): Finding[] {
  const pairs = overlappingPairs(document.rules)
  return [
    ...emptiness(document),
    ...document.rules.flatMap((rule) => riskyWhen(rule, document.job_classes)),
    ...avoidableWorkflows(document),
    ...document.rules.flatMap((rule) => underivedData(rule, document.job_classes)),
    ...document.rules.flatMap((rule) => evadableLimit(rule, document.job_classes)),
    ...document.rules.flatMap(unanswerableFlow),
    ...claimedGuards(document, pairs),
    ...coveredRules(pairs),
    ...unprotectedHighRisk(document, pairs),
  ]
}

function emptiness({ rules, default_decision }: PolicyDocument): Finding[] {
  const findings: Finding[] = []
  if (rules.length === 0) {
    findings.push({ code: 'no_rules', message: `there are no rules: every job is ${default_decision}`, at: '' })
  }
  if (default_decision === 'ALLOW') {
    const message = 'what no rule names is allowed: a new topic, or a mistyped rule, opens a door'
    findings.push({ code: 'open_default', message, hint: 'default_decision: DENY', at: 'default_decision' })
  }
  return findings
}

/** `other` shares a topic with `rule`; pairs both ways round. */
type Pairs = Map<Rule, Rule[]>

const EVERYWHERE = ['>']
const topicsOf = (match: Matcher) => match.topic ?? EVERYWHERE

/**
 * Every rule with every other it shares a topic with. Literal topics are compared through a map, so that ten thousand
 * rules on a thousand topics stay far from ten thousand squared; only wildcards are compared one by one. A crowd of more
 * than `MAX_CROWD` on one topic is not compared at all: warnings are a courtesy and must not delay a reload.
 */
const MAX_CROWD = 300

function overlappingPairs(rules: readonly Rule[]): Pairs {
  const byPattern = new Map<string, Rule[]>()
  for (const rule of rules) {
    for (const pattern of topicsOf(rule.match)) byPattern.set(pattern, [...(byPattern.get(pattern) ?? []), rule])
  }
  const wild = [...byPattern.keys()].filter((pattern) => /[*>]/.test(pattern))
  const pairs: Pairs = new Map()
  const join = (rule: Rule, others: readonly Rule[]) => {
    const known = pairs.get(rule) ?? []
    if (known.length + others.length > MAX_CROWD) return
    pairs.set(rule, [...known, ...others.filter((other) => other !== rule && !known.includes(other))])
  }
  for (const [pattern, members] of byPattern) {
    const literal = !/[*>]/.test(pattern)
    const near = literal ? wild.filter((each) => patternsOverlap(each, pattern)) : []
    const others = literal
      ? [pattern, ...near]
      : [...byPattern.keys()].filter((each) => patternsOverlap(each, pattern)).slice(0, MAX_CROWD)
    const company = others.flatMap((each) => byPattern.get(each)!)
    if (company.length <= MAX_CROWD) for (const rule of members) join(rule, company)
  }
  return pairs
}

const permits = (rule: Rule) => rule.decision === 'ALLOW' || rule.decision === 'ALLOW_WITH_CONSTRAINTS'
const stops = (rule: Rule) => !permits(rule)

/** Classes that speak for every topic of the matcher. */
function classesFor(match: Matcher, classes: readonly JobClass[]): JobClass[] {
  return classes.filter(({ topic }) => topicsOf(match).every((pattern) => patternCovers(topic, pattern)))
}

/** Whether the server itself says or demands this: `labels.env`, `environment`, `risk_tags.money`. */
function heldByServer(key: string, match: Matcher, classes: readonly JobClass[]): boolean {
  const [kind, name] = split(key)
  return classesFor(match, classes).some(({ require, set, derive }) => {
    if (kind === 'labels') {
      return require.labels.includes(name) || Object.hasOwn(set.labels, name) || Object.hasOwn(derive.labels, name)
    }
    if (kind === 'risk_tags') {
      return require.risk_tags.includes(name) || set.risk_tags.includes(name) || Object.hasOwn(derive.risk_tags, name)
    }
    if (kind === 'environment' || kind === 'action_type')
      return require[kind] || set[kind] !== null || derive[kind] !== null
    return false
  })
}

function split(key: string): [kind: string, name: string] {
  const dot = key.indexOf('.')
  return dot < 0 ? [key, ''] : [key.slice(0, dot), key.slice(dot + 1)]
}

/** Conditions of a matcher that an agent decides by what it says of itself; team, tenant and agent come from its key. */
function claimedConditions(match: Matcher): string[] {
  const tags = match.risk_tags === undefined ? [] : 'all' in match.risk_tags ? match.risk_tags.all : match.risk_tags.any
  const fields = SCALAR_FIELDS.filter((field) => match[field] && !['agent', 'team', 'tenant'].includes(field))
  return [
    ...Object.keys(match.labels ?? {}).map((name) => `labels.${name}`),
    ...tags.map((tag) => `risk_tags.${tag}`),
    ...fields,
  ]
}

/** DENY or REQUIRE_APPROVAL that needs a label which an ALLOW beside it does not: an agent leaves the label out. */
function claimedGuards({ rules, job_classes }: PolicyDocument, pairs: Pairs): Finding[] {
  return rules.filter(stops).flatMap((rule) => {
    const open = claimedConditions(rule.match).filter((key) => !heldByServer(key, rule.match, job_classes))
    const way = (pairs.get(rule) ?? []).filter((other) => permits(other) && compatible(rule.match, other.match))
    return open.flatMap((key) => {
      const around = way.find((other) => !claimedConditions(other.match).includes(key))
      if (!around) return []
      const [kind, name] = split(key)
      const what = name === '' ? kind : `${kind === 'labels' ? 'label' : 'risk tag'} '${name}'`
      return {
        code: 'claimed_guard',
        message: `${rule.decision} needs ${what}, which the agent may leave out: '${around.id}' then permits the job`,
        hint: `let a job class require, set or derive ${what}, or let '${around.id}' need it too`,
        at: `rule:${rule.id}`,
      }
    })
  })
}

/** Whether some job could match both: where both ask for the same thing, some value will do for both. */
function compatible(a: Matcher, b: Matcher): boolean {
  const meet = (left: string[] | undefined, right: string[] | undefined) =>
    !left || !right || left.some((x) => right.some((y) => valueMatches(x, y) || valueMatches(y, x)))
  if (!topicsOf(a).some((x) => topicsOf(b).some((y) => patternsOverlap(x, y)))) return false
  for (const field of SCALAR_FIELDS) if (!meet(a[field], b[field])) return false
  return Object.entries(a.labels ?? {}).every(([name, values]) => meet(values, b.labels?.[name]))
}

/** Whether every job that `narrow` matches is one that `wide` matches, as far as the matchers tell. */
function covers(wide: Matcher, narrow: Matcher): boolean {
  const within = (outer: string[] | undefined, inner: string[] | undefined) =>
    !outer || (inner?.every((value) => outer.some((pattern) => valueMatches(pattern, value))) ?? false)
  const topics = topicsOf(narrow).every((inner) => topicsOf(wide).some((outer) => patternCovers(outer, inner)))
  if (!topics || !tagsWithin(wide, narrow)) return false
  for (const field of SCALAR_FIELDS) if (!within(wide[field], narrow[field])) return false
  return Object.entries(wide.labels ?? {}).every(([name, values]) => within(values, narrow.labels?.[name]))
}

function tagsWithin({ risk_tags: outer }: Matcher, { risk_tags: inner }: Matcher): boolean {
  if (!outer) return true
  if (!inner) return false
  if ('all' in outer) {
    const sure = 'all' in inner ? inner.all : inner.any.length === 1 ? inner.any : []
    return outer.all.every((tag) => sure.includes(tag))
  }
  const { any } = outer
  return 'all' in inner ? inner.all.some((tag) => any.includes(tag)) : inner.any.every((tag) => any.includes(tag))
}

const severity = (rule: Rule) => DECISIONS.indexOf(rule.decision)
const bindsMore = (rule: Rule) =>
  Object.keys(rule.constraints).length > 0 || rule.limits !== null || rule.approval !== null

/** Rules that another one makes pointless, rules that say two things about the same jobs, and empty intersections. */
function coveredRules(pairs: Pairs): Finding[] {
  const findings: Finding[] = []
  for (const [rule, others] of pairs) {
    const over = others.filter((other) => alwaysMatchesToo(other, rule))
    const same = over.find((other) => alwaysMatchesToo(rule, other) && severity(other) < severity(rule))
    const stronger = over.find((other) => severity(other) < severity(rule) && stops(other))
    const equal = over.find(
      (other) => other.decision === rule.decision && !(alwaysMatchesToo(rule, other) && rule.id < other.id),
    )
    const at = `rule:${rule.id}`
    if (same) {
      const message = `matches the same jobs as '${same.id}', which says ${same.decision}: this one never decides`
      findings.push({ code: 'contradicting_rules', message, at })
    } else if (stronger) {
      const message = `never decides: '${stronger.id}' matches every job this one does and says ${stronger.decision}`
      findings.push({ code: 'shadowed_rule', message, at })
    } else if (equal && !bindsMore(rule)) {
      findings.push({
        code: 'redundant_rule',
        message: `'${equal.id}' already says so for every job this one matches`,
        at,
      })
    }
    findings.push(...impossibleConstraints(rule, over))
  }
  return findings
}

const alwaysMatchesToo = (wide: Rule, narrow: Rule) =>
  (wide.when === null || wide.when === narrow.when) && covers(wide.match, narrow.match)

function impossibleConstraints(rule: Rule, over: readonly Rule[]): Finding[] {
  return over.flatMap((other) => {
    const merged = mergeConstraints(rule.constraints, other.constraints)
    const empty = Object.entries(merged).filter(
      ([name, value]) =>
        Array.isArray(value) &&
        value.length === 0 &&
        [rule, other].every(({ constraints }) => (constraints as Record<string, unknown[]>)[name]?.length),
    )
    return empty.map(([name]) => ({
      code: 'impossible_constraint',
      message: `${name} has nothing in common with '${other.id}', which binds the same jobs: none can satisfy both`,
      at: `rule:${rule.id}`,
    }))
  })
}

/** `when` on a key that may be missing is an error for every job without it, and so a denial. */
function riskyWhen(rule: Rule, classes: readonly JobClass[]): Finding[] {
  if (rule.when === null) return []
  return compileExpression(rule.when)
    .unguarded.filter((path) => !promised(path, rule.match, classes))
    .map((path) => ({
      code: 'when_may_fail',
      message: `when reads ${path}, which a job may leave out: every such job is then denied`,
      hint: `write has(${path}) && …, or let a job class require it`,
      at: `rule:${rule.id}`,
    }))
}

/** A job that names no workflow is bound by none: only a rule that asks for the name makes an agent say it. */
function avoidableWorkflows({ rules, workflows = [] }: PolicyDocument): Finding[] {
  return workflows.flatMap(({ id, topics }) => {
    const around = rules.find(
      (rule) =>
        permits(rule) &&
        rule.match.workflow === undefined &&
        topicsOf(rule.match).some((pattern) => topics.some((each) => patternsOverlap(pattern, each))),
    )
    if (around === undefined) return []
    return {
      code: 'workflow_avoidable',
      message: `'${around.id}' permits jobs on topics of workflow '${id}' that do not name it, so its bounds are left out`,
      hint: `match: {workflow: ${id}} in '${around.id}'`,
      at: `workflow:${id}`,
    }
  })
}

/** `data` is null where no class derives it, and asking null for a table is an error, so a denial. */
function underivedData({ id, when, match }: Rule, classes: readonly JobClass[]): Finding[] {
  if (when === null || !/\bdata\./.test(when) || /\bdata *[!=]= *null\b/.test(when)) return []
  if (classesFor(match, classes).some(({ derive }) => derive.data !== undefined)) return []
  return [
    {
      code: 'data_not_derived',
      message: 'when reads data, which no job class derives for every topic of the rule: jobs without it are denied',
      hint: 'derive: {data: …} in a job class, or write data != null && …',
      at: `rule:${id}`,
    },
  ]
}

/** Whether a job class makes sure the path holds a value. */
function promised(path: string, match: Matcher, classes: readonly JobClass[]): boolean {
  const [root, rest] = split(path)
  if (root === 'labels') return heldByServer(path, match, classes) || Object.hasOwn(match.labels ?? {}, rest)
  if (root !== 'input') return false
  return classesFor(match, classes).some(({ require }) =>
    require.input.some((known) => known === rest || known.startsWith(`${rest}.`)),
  )
}

/** A counter kept by something the agent chooses counts nothing: every new value is a new counter. */
function evadableLimit(rule: Rule, classes: readonly JobClass[]): Finding[] {
  if (!rule.limits?.per.startsWith('label:')) return []
  const name = rule.limits.per.slice('label:'.length)
  const sets = classesFor(rule.match, classes).some(
    ({ set, derive }) => Object.hasOwn(set.labels, name) || Object.hasOwn(derive.labels, name),
  )
  if (sets || rule.match.labels?.[name]?.every((value) => !value.includes('*'))) return []
  const message = `counts by label '${name}', which the agent chooses: every new value starts at nothing`
  return [
    { code: 'evadable_limit', message, hint: `let a job class set or derive label '${name}'`, at: `rule:${rule.id}` },
  ]
}

/** A level that wants more people than it names one by one. Who is in a team or has a role, the file cannot know. */
function unanswerableFlow({ id, approval }: Rule): Finding[] {
  const levels = approval === null ? [] : (approval.levels ?? [approval])
  return levels.flatMap(({ from, need }) => {
    if (from.length >= need || !from.every((word) => word.startsWith('principal:'))) return []
    const message = `asks ${need} people and names ${from.length}: ${from.join(', ')}`
    return [{ code: 'unanswerable_flow', message, hint: 'name a team or a role, or need fewer', at: `rule:${id}` }]
  })
}

/** High-risk kinds that a rule permits by name and nothing stops. */
function unprotectedHighRisk(document: PolicyDocument, pairs: Pairs): Finding[] {
  const { rules, high_risk, job_classes } = document
  return rules.filter(permits).flatMap((rule) => {
    const match = withServerValues(rule.match, job_classes)
    const risk = high_risk.find((matcher) => covers(matcher, match) || namesIt(match, matcher))
    if (!risk) return []
    const held = (pairs.get(rule) ?? []).some(
      (other) => stops(other) && other.when === null && covers(other.match, match),
    )
    if (held) return []
    return {
      code: 'high_risk_allowed',
      message: `permits high-risk work (${describe(risk)}) without an approval`,
      hint: 'decide REQUIRE_APPROVAL, or take it out of high_risk if it is not',
      at: `rule:${rule.id}`,
    }
  })
}

/** The matcher with what classes set for all its jobs written into it. */
function withServerValues(match: Matcher, classes: readonly JobClass[]): Matcher {
  const known: Matcher = { ...match }
  for (const { set } of classesFor(match, classes)) {
    if (set.environment !== null) known.environment ??= [set.environment]
    if (set.action_type !== null) known.action_type ??= [set.action_type]
    if (set.risk_tags.length > 0) {
      const own = known.risk_tags && ('all' in known.risk_tags ? known.risk_tags.all : known.risk_tags.any)
      known.risk_tags = { all: [...(own ?? []), ...set.risk_tags] }
    }
    known.labels = { ...Object.fromEntries(Object.entries(set.labels).map(([k, v]) => [k, [v]])), ...known.labels }
  }
  return known
}

/** Whether the rule spells out every condition of the high-risk matcher with a value in common. */
function namesIt(match: Matcher, risk: Matcher): boolean {
  const named = claimedConditions(match)
  const asked = claimedConditions(risk).filter((key) => !key.startsWith('risk_tags.'))
  return (
    asked.length > 0 && asked.every((key) => named.includes(key)) && compatible(match, risk) && tagsWithin(risk, match)
  )
}

function describe(matcher: Matcher): string {
  return Object.entries(matcher)
    .map(([key, value]) => `${key} ${JSON.stringify(value)}`)
    .join(', ')
}
