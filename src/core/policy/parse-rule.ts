import type { Json } from '../json.js'
import { CONSTRAINT_NAMES, type Constraints, isConstraintName, readConstraint } from './constraints.js'
import {
  DECISIONS,
  DEFAULT_APPROVAL,
  type DecisionWord,
  type Limits,
  type Matcher,
  type Rule,
  SCALAR_FIELDS,
  type TagTest,
} from './document.js'
import { parseRate } from './duration.js'
import { nearest } from './nearest.js'
import { readApproval } from './parse-flow.js'
import { checkName, NAME, readExpression, readId, readNames, readStrings, readTopics, readWord } from './parse-value.js'
import type { Field, Source } from './reader.js'

const MATCH_KEYS = ['topic', 'labels', 'risk_tags', ...SCALAR_FIELDS]
const RULE_KEYS = ['id', 'name', 'match', 'when', 'decision', 'reason', 'approval', 'constraints', 'limits']

function readTags(source: Source, field: Field): TagTest | null {
  if (!source.isMap(field)) return { any: readNames(source, field) }
  const fields = source.map(field, ['any', 'all'])
  const [all, any] = [fields?.get('all'), fields?.get('any')]
  if (all && any) source.error('bad_value', "give 'any' or 'all', not both", field.at)
  if (all) return { all: readNames(source, all) }
  if (any) return { any: readNames(source, any) }
  source.error('missing_key', "needs 'any' or 'all'", field.at)
  return null
}

/** The `match` of a rule, an entry of `high_risk`, or the `match` of an output rule. */
export function readMatcher(source: Source, field: Field): Matcher {
  const matcher: Matcher = {}
  const fields = source.map(field, MATCH_KEYS)
  if (!fields) return matcher
  if (fields.size === 0)
    source.error('bad_value', 'asks nothing, so it would match every job', field.at, 'name a topic, > for all')
  const topic = fields.get('topic')
  if (topic) matcher.topic = readTopics(source, topic)
  const labels = fields.get('labels')
  if (labels) {
    matcher.labels = {}
    for (const [name, values] of source.map(labels, null) ?? []) {
      if (checkName(source, name, values)) matcher.labels[name] = readStrings(source, values)
    }
  }
  const tags = fields.get('risk_tags')
  const test = tags && readTags(source, tags)
  if (test) matcher.risk_tags = test
  for (const name of SCALAR_FIELDS) {
    const scalar = fields.get(name)
    if (scalar) matcher[name] = readStrings(source, scalar)
  }
  return matcher
}

export function readConstraints(source: Source, field: Field): Constraints {
  const constraints: Record<string, Json> = {}
  for (const [name, value] of source.map(field, null) ?? []) {
    if (!isConstraintName(name)) {
      const near = nearest(name, CONSTRAINT_NAMES)
      source.error(
        'unknown_constraint',
        `nobody enforces '${name}', so it would bind nothing`,
        value.at,
        near ? `did you mean '${near}'?` : `known constraints: ${CONSTRAINT_NAMES.join(', ')}`,
      )
      continue
    }
    const json = source.json(value)
    if (json === undefined) continue
    const read = readConstraint(name, json)
    if ('fault' in read) source.error('bad_value', `${name} ${read.fault}`, value.at)
    else constraints[name] = read.value
  }
  return constraints
}

function readLimits(source: Source, field: Field): Limits {
  const fields = source.map(field, ['rate', 'per', 'concurrent'])
  const limits: Limits = { rate: null, concurrent: null, per: 'agent' }
  const rate = fields?.get('rate')
  if (rate) {
    const text = source.string(rate)
    limits.rate = text === null ? null : parseRate(text)
    if (text !== null && !limits.rate) {
      source.error('bad_value', `'${text.slice(0, 40)}' is no rate`, rate.at, 'write 5/hour, 100/minute or 20/10m')
    }
  }
  const concurrent = fields?.get('concurrent')
  if (concurrent) limits.concurrent = source.whole(concurrent, 1)
  const per = fields?.get('per')
  const text = per && source.string(per)
  if (per && text) {
    const label = text.startsWith('label:') ? text.slice('label:'.length) : null
    if (label === null ? ['agent', 'tenant', 'topic', 'rule'].includes(text) : NAME.test(label)) limits.per = text
    else
      source.error(
        'bad_value',
        `'${text.slice(0, 40)}' is nothing to count by`,
        per.at,
        'agent, tenant, topic, rule or label:NAME',
      )
  }
  if (fields && !rate && !concurrent) source.error('missing_key', "needs 'rate' or 'concurrent'", field.at)
  return limits
}

export function readRule(source: Source, field: Field): Rule | null {
  const fields = source.map(field, RULE_KEYS)
  if (!fields) return null
  const id = readId(source, fields, field, 'a rule')
  const match = fields.get('match')
  if (!match) source.error('missing_key', 'a rule needs a match', field.at, 'match: {topic: ">"} matches every job')
  const matcher = match ? readMatcher(source, match) : {}
  const when = fields.get('when')
  const decision = readDecision(source, fields, field)
  const reason = fields.get('reason')
  const approval = fields.get('approval')
  const constraints = fields.get('constraints')
  const limits = fields.get('limits')
  const rule: Rule = {
    id: id ?? '',
    match: matcher,
    when: when ? readExpression(source, when, ['bool']) : null,
    decision: decision ?? 'DENY',
    reason: reason ? source.string(reason) : null,
    approval: approval
      ? readApproval(source, approval)
      : decision === 'REQUIRE_APPROVAL'
        ? { ...DEFAULT_APPROVAL }
        : null,
    constraints: constraints ? readConstraints(source, constraints) : {},
    limits: limits ? readLimits(source, limits) : null,
  }
  if (approval && decision && decision !== 'REQUIRE_APPROVAL') {
    source.error('bad_value', `approval belongs to REQUIRE_APPROVAL, not ${decision}`, approval.at)
  }
  checkDecisionFitsConstraints(source, rule, decision, constraints ?? field, constraints !== undefined)
  return id === null || decision === null ? null : rule
}

function readDecision(source: Source, fields: Map<string, Field>, rule: Field): DecisionWord | null {
  const field = fields.get('decision')
  if (field) return readWord(source, field, DECISIONS)
  source.error('missing_key', 'a rule needs a decision', rule.at, DECISIONS.join(', '))
  return null
}

/** The word on the wire says whether constraints bind: an ALLOW that carries some would mislead whoever reads it. */
function checkDecisionFitsConstraints(
  source: Source,
  rule: Rule,
  decision: DecisionWord | null,
  at: Field,
  given: boolean,
): void {
  const some = Object.keys(rule.constraints).length > 0
  if (decision === 'ALLOW' && some) {
    source.error('bad_value', 'an ALLOW with constraints is ALLOW_WITH_CONSTRAINTS', at.at)
  }
  if (decision === 'ALLOW_WITH_CONSTRAINTS' && !some && !given) {
    source.error('missing_key', 'ALLOW_WITH_CONSTRAINTS needs constraints', at.at)
  }
}
