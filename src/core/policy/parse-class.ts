import type { Json, JsonObject } from '../json.js'
import type { Constraints } from './constraints.js'
import {
  DECISIONS,
  type Derivation,
  type Fixture,
  type JobClass,
  OUTPUT_ACTIONS,
  type OutputAction,
  type OutputRule,
  type Requirement,
  type Stamp,
} from './document.js'
import { readConstraints, readMatcher } from './parse-rule.js'
import {
  checkName,
  readDuration,
  readExpression,
  readId,
  readNames,
  readOwner,
  readStrings,
  readTopics,
  readWord,
  sorted,
} from './parse-value.js'
import type { Field, Source } from './reader.js'
import { compileSchema, SchemaError } from './schema.js'

const CLASS_KEYS = [
  'topic',
  'timeout_ms',
  'attempts',
  'heartbeat_ms',
  'queue_timeout_ms',
  'idempotent',
  'owner',
  'respond_within',
  'require',
  'set',
  'derive',
  'input_schema',
]

const KINDS = ['labels', 'risk_tags', 'environment', 'action_type']

const INPUT_PATH = /^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,15}$/

function readRequirement(source: Source, field: Field | undefined): Requirement {
  const fields = field && source.map(field, [...KINDS, 'input'])
  const [labels, tags, input] = [fields?.get('labels'), fields?.get('risk_tags'), fields?.get('input')]
  const flag = (name: string) => {
    const at = fields?.get(name)
    return at ? (source.boolean(at) ?? true) : false
  }
  const paths = input ? readStrings(source, input) : []
  for (const path of paths) {
    if (!INPUT_PATH.test(path)) source.error('bad_value', `'${path.slice(0, 60)}' is no path into the input`, input!.at)
  }
  return {
    labels: labels ? readNames(source, labels) : [],
    risk_tags: tags ? readNames(source, tags) : [],
    environment: flag('environment'),
    action_type: flag('action_type'),
    input: paths,
  }
}

function readStamp(source: Source, field: Field | undefined): Stamp {
  const fields = field && source.map(field, KINDS)
  const [labels, tags] = [fields?.get('labels'), fields?.get('risk_tags')]
  const stamp: Stamp = {
    labels: {},
    risk_tags: tags ? readNames(source, tags) : [],
    environment: null,
    action_type: null,
  }
  for (const [name, value] of (labels && source.map(labels, null)) ?? []) {
    const text = source.string(value)
    if (text !== null && checkName(source, name, value)) stamp.labels[name] = text
  }
  for (const kind of ['environment', 'action_type'] as const) {
    const value = fields?.get(kind)
    if (value) stamp[kind] = source.string(value)
  }
  return stamp
}

function readDerivation(source: Source, field: Field | undefined): Derivation {
  const fields = field && source.map(field, [...KINDS, 'data'])
  const derivation: Derivation = { labels: {}, risk_tags: {}, environment: null, action_type: null }
  for (const [kind, types] of [
    ['labels', ['string', 'null']],
    ['risk_tags', ['bool']],
  ] as const) {
    const map = fields?.get(kind)
    for (const [name, value] of (map && source.map(map, null)) ?? []) {
      const text = readExpression(source, value, types)
      if (text !== null && checkName(source, name, value)) derivation[kind][name] = text
    }
  }
  for (const kind of ['environment', 'action_type'] as const) {
    const value = fields?.get(kind)
    if (value) derivation[kind] = readExpression(source, value, ['string', 'null'])
  }
  const data = fields?.get('data')
  const uses = data && readExpression(source, data, ['list'])
  if (uses) derivation.data = uses
  return derivation
}

function readSchema(source: Source, field: Field): JsonObject | null {
  const schema = source.json(field)
  if (schema === undefined) return null
  try {
    compileSchema(schema as JsonObject)
    return schema as JsonObject
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error
    source.error('bad_schema', error.message, field.at)
    return null
  }
}

/** A class with a list of topics is written out as one class per topic, so that specificity is a property of one. */
export function readJobClass(source: Source, field: Field): JobClass[] {
  const fields = source.map(field, CLASS_KEYS)
  if (!fields) return []
  const topic = fields.get('topic')
  if (!topic) source.error('missing_key', 'a job class needs a topic', field.at)
  const whole = (name: string) => {
    const at = fields.get(name)
    return at ? source.whole(at, 1) : null
  }
  const [idempotent, owner, respond, schema] = ['idempotent', 'owner', 'respond_within', 'input_schema'].map((name) =>
    fields.get(name),
  )
  const shared = {
    timeout_ms: whole('timeout_ms'),
    attempts: whole('attempts'),
    heartbeat_ms: whole('heartbeat_ms'),
    queue_timeout_ms: whole('queue_timeout_ms'),
    idempotent: idempotent ? source.boolean(idempotent) : null,
    owner: owner ? readOwner(source, owner) : null,
    respond_within_ms: respond ? readDuration(source, respond) : null,
    require: readRequirement(source, fields.get('require')),
    set: readStamp(source, fields.get('set')),
    derive: readDerivation(source, fields.get('derive')),
    input_schema: schema ? readSchema(source, schema) : null,
  }
  refuseTwoMasters(source, shared, fields.get('derive'))
  return (topic ? readTopics(source, topic) : []).map((pattern) => ({ topic: pattern, ...shared }))
}

/** A value both set and derived would depend on which is read last. */
function refuseTwoMasters(source: Source, job: Pick<JobClass, 'set' | 'derive'>, at: Field | undefined): void {
  const twice = Object.keys(job.derive.labels).filter((name) => Object.hasOwn(job.set.labels, name))
  for (const kind of ['environment', 'action_type'] as const) {
    if (job.set[kind] !== null && job.derive[kind] !== null) twice.push(kind)
  }
  for (const name of twice) source.error('conflict', `'${name}' is both set and derived`, at!.at)
}

const FINDING = /^[a-z0-9_]{1,64}$/

export function readOutputRule(source: Source, field: Field): OutputRule | null {
  const fields = source.map(field, ['id', 'name', 'match', 'on'])
  if (!fields) return null
  const id = readId(source, fields, field, 'an output rule')
  const [match, on] = [fields.get('match'), fields.get('on')]
  if (!match) source.error('missing_key', 'an output rule needs a match', field.at, 'match: {topic: ">"} for every job')
  if (!on) source.error('missing_key', "an output rule needs 'on'", field.at, 'on: {secret: QUARANTINE, email: ALLOW}')
  const actions: Record<string, OutputAction> = {}
  for (const [name, value] of (on && source.map(on, null)) ?? []) {
    const action = readWord(source, value, OUTPUT_ACTIONS)
    if (!FINDING.test(name)) source.error('bad_value', `'${name.slice(0, 60)}' is no detector or class`, value.at)
    else if (action) actions[name] = action
  }
  return id === null ? null : { id, match: match ? readMatcher(source, match) : {}, on: actions }
}

const JOB_KEYS = [
  'tenant',
  'agent',
  'agent_version',
  'team',
  'topic',
  'labels',
  'risk_tags',
  'environment',
  'action_type',
  'capability',
  'action',
  'workflow',
  'input',
  'context',
]

/** Fixture jobs are checked for shape here, so that the runner can build claims without asking again. */
export function readJob(source: Source, field: Field): JsonObject | null {
  const fields = source.map(field, JOB_KEYS)
  if (!fields) return null
  if (!fields.has('topic')) source.error('missing_key', 'a job needs a topic', field.at)
  const job: JsonObject = {}
  for (const [name, value] of fields) {
    if (name === 'labels') {
      const labels: JsonObject = {}
      for (const [label, text] of source.map(value, null) ?? []) labels[label] = source.string(text) ?? ''
      job[name] = labels
    } else if (name === 'risk_tags') job[name] = source.items(value).map((tag) => source.string(tag) ?? '')
    else if (name === 'input' || name === 'context') job[name] = source.json(value) ?? null
    else job[name] = source.string(value) as Json
  }
  return job
}

function readExpectation(source: Source, field: Field): Fixture['expect'] | null {
  if (!source.isMap(field)) {
    const decision = readWord(source, field, DECISIONS)
    return decision && { decision, rules: null, constraints: null, high_risk: null }
  }
  const fields = source.map(field, ['decision', 'rules', 'constraints', 'high_risk'])
  const at = fields?.get('decision')
  if (!at) source.error('missing_key', 'expect needs a decision', field.at)
  const decision = at ? readWord(source, at, DECISIONS) : null
  const [rules, constraints, risk] = ['rules', 'constraints', 'high_risk'].map((name) => fields?.get(name))
  const expected = {
    rules: rules ? sorted(source.items(rules).map((item) => source.string(item) ?? '')) : null,
    constraints: constraints ? (readConstraints(source, constraints) as Constraints) : null,
    high_risk: risk ? source.boolean(risk) : null,
  }
  return decision && { decision, ...expected }
}

export function readFixture(source: Source, field: Field): Fixture | null {
  const fields = source.map(field, ['name', 'job', 'now', 'expect'])
  if (!fields) return null
  const [name, job, now, expect] = ['name', 'job', 'now', 'expect'].map((key) => fields.get(key))
  for (const [key, at] of [
    ['name', name],
    ['job', job],
    ['expect', expect],
  ] as const) {
    if (!at) source.error('missing_key', `a test needs '${key}'`, field.at)
  }
  if (!name || !job || !expect) return null
  const time = now ? readInstant(source, now) : null
  const body = readJob(source, job)
  const expected = readExpectation(source, expect)
  const title = source.string(name)
  return body && expected && title !== null ? { name: title, job: body, now: time, expect: expected } : null
}

export function readInstant(source: Source, field: Field): number | null {
  const text = source.string(field)
  if (text === null) return null
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(at)) source.error('bad_value', 'needs a time such as 2026-03-02T09:00:00Z', field.at)
  return Number.isNaN(at) ? null : at
}
