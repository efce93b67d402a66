import type { Json } from '../json.js'
import { CONSTRAINT_NAMES, type Constraints, isConstraintName, readConstraint } from './constraints.js'
import {
  type ApprovalSpec,
  DECISIONS,
  DEFAULT_APPROVAL,
  type DecisionWord,
  type Limits,
  type Matcher,
  type Rule,
  SCALAR_FIELDS,
  type TagTest,
} from './document.js'
import { parseDuration, parseRate } from './duration.js'
import { compileExpression, ExpressionError } from './expression.js'
import { nearest } from './nearest.js'
import type { Field, Source } from './reader.js'
import { isTopicPattern } from './topics.js'

/** Ids appear in answers, logs and keys of counters. */
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
/** Names of labels and tags: what a person would type, nothing that needs escaping anywhere. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/
const OWNER = /^(team|role|principal):[^\s]{1,128}$/

const MATCH_KEYS = ['topic', 'labels', 'risk_tags', ...SCALAR_FIELDS]
const RULE_KEYS = ['id', 'name', 'match', 'when', 'decision', 'reason', 'approval', 'constraints', 'limits']

/** Sorted and without repeats, so that equal lists are equal documents. */
export const sorted = (items: readonly string[]) => [...new Set(items)].sort()

export function readId(source: Source, fields: Map<string, Field>, owner: Field, kind: string): string | null {
  const id = fields.get('id')
  const name = fields.get('name')
  if (id && name) source.error('duplicate_key', "'name' and 'id' are the same key", name.at)
  const field = id ?? name
  if (!field) {
    source.error('missing_key', `${kind} needs an id`, owner.at)
    return null
  }
  const text = source.string(field)
  if (text === null) return null
  if (ID.test(text)) return text
  source.error('bad_value', `'${text.slice(0, 60)}' is no id: letters, digits, dot, dash and underscore`, field.at)
  return null
}

/** One of a closed set of words. */
export function readWord<Word extends string>(source: Source, field: Field, words: readonly Word[]): Word | null {
  const text = source.string(field)
  if (text === null) return null
  const word = words.find((candidate) => candidate === text)
  if (word !== undefined) return word
  const near = nearest(text, words)
  source.error(
    'bad_value',
    `'${text.slice(0, 60)}' is not one of ${words.join(', ')}`,
    field.at,
    near ? `did you mean '${near}'?` : undefined,
  )
  return null
}

/** The items of a list that must name something. */
function someItems(source: Source, field: Field): Field[] {
  const items = source.items(field)
  if (items.length === 0 && source.isList(field)) source.error('bad_value', 'an empty list names nothing', field.at)
  return items
}

export function readStrings(source: Source, field: Field): string[] {
  return sorted(
    someItems(source, field).flatMap((item) => {
      const text = source.string(item)
      if (text === '') source.error('bad_value', 'is empty', item.at)
      return text ? [text] : []
    }),
  )
}

export function readNames(source: Source, field: Field): string[] {
  return sorted(
    someItems(source, field).flatMap((item) => {
      const text = source.string(item)
      if (text !== null && !NAME.test(text)) source.error('bad_value', `'${text.slice(0, 60)}' is no name`, item.at)
      return text !== null && NAME.test(text) ? [text] : []
    }),
  )
}

export function checkName(source: Source, name: string, field: Field): boolean {
  if (NAME.test(name)) return true
  source.error('bad_value', `'${name.slice(0, 60)}' is no name`, field.at)
  return false
}

export function readTopics(source: Source, field: Field): string[] {
  return sorted(
    someItems(source, field).flatMap((item) => {
      const text = source.string(item)
      if (text === null) return []
      if (isTopicPattern(text)) return [text]
      source.error(
        'bad_topic',
        `'${text.slice(0, 60)}' is no topic pattern`,
        item.at,
        'lower-case tokens joined by dots; * is one segment, > one or more at the end',
      )
      return []
    }),
  )
}

export function readDuration(source: Source, field: Field): number | null {
  const text = source.string(field)
  if (text === null) return null
  const ms = parseDuration(text)
  if (ms === null)
    source.error('bad_value', `'${text.slice(0, 40)}' is no duration`, field.at, 'write 15m, 4h or 1h30m')
  return ms
}

export function readOwner(source: Source, field: Field): string | null {
  const text = source.string(field)
  if (text === null || OWNER.test(text)) return text
  source.error('bad_value', `'${text.slice(0, 60)}' is nobody`, field.at, 'write team:x, role:x or principal:x')
  return null
}

/** Parses an expression and reports its fault at the right column. */
export function readExpression(source: Source, field: Field, wanted: readonly string[]): string | null {
  const text = source.string(field)
  if (text === null) return null
  const trimmed = text.trim()
  try {
    const { type } = compileExpression(trimmed)
    if (type === 'dyn' || wanted.includes(type)) return trimmed
    source.error('bad_expression', `gives ${type}, needs ${wanted.join(' or ')}`, field.at)
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error
    source.error(
      'bad_expression',
      error.message,
      source.inside(field, trimmed, error.start),
      expressionHint(error.message),
    )
  }
  return null
}

function expressionHint(message: string): string | undefined {
  const unknown = /^Unknown variable: (\w+)/.exec(message)
  return unknown
    ? 'known: input, context, labels, risk_tags, environment, action_type, capability, action, workflow, topic, agent, agent_version, team, tenant, now'
    : undefined
}

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

function readApproval(source: Source, field: Field): ApprovalSpec {
  const fields = source.map(field, ['from', 'need', 'within', 'then', 'valid_for'])
  const spec: ApprovalSpec = { ...DEFAULT_APPROVAL }
  const from = fields?.get('from')
  if (from) {
    const owners = source.items(from).flatMap((item) => readOwner(source, item) ?? [])
    if (owners.length > 0) spec.from = sorted(owners)
    else if (source.isList(from)) source.error('bad_value', 'nobody could answer', from.at)
  }
  const need = fields?.get('need')
  if (need) spec.need = source.whole(need, 1) ?? 1
  const within = fields?.get('within')
  if (within) spec.within_ms = readDuration(source, within) ?? spec.within_ms
  const then = fields?.get('then')
  if (then) spec.then = readWord(source, then, ['deny', 'escalate']) ?? 'deny'
  const valid = fields?.get('valid_for')
  if (valid) spec.valid_for_ms = readDuration(source, valid) ?? spec.valid_for_ms
  return spec
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
