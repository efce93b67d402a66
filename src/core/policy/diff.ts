import { canonical } from '../canonical.js'
import type { Json, JsonObject } from '../json.js'
import { DECISIONS, type PolicyDocument, type Rule } from './document.js'

export interface Change {
  change: 'added' | 'removed' | 'changed'
  what: 'rule' | 'job_class' | 'output_rule' | 'high_risk' | 'calendar' | 'workflow' | 'test' | 'default_decision'
  /** Rule id, class topic, calendar, workflow, test name; empty for default_decision. */
  id: string
  /** For `changed`: which keys, each with both values; null where a side has none. */
  fields: { path: string; before: Json; after: Json }[]
  /** Which way it moves what agents may do, where the change alone tells; null where it depends on the job. */
  effect: 'tighter' | 'looser' | null
}

/** What is different between two documents, in the order rules, classes, output rules, high risk, calendars, workflows, tests. */
export function diffPolicies(before: PolicyDocument, after: PolicyDocument): Change[] {
  const changes: Change[] = []
  if (before.default_decision !== after.default_decision) {
    const fields = [{ path: 'default_decision', before: before.default_decision, after: after.default_decision }]
    const effect = movement(before.default_decision, after.default_decision)
    changes.push({ change: 'changed', what: 'default_decision', id: '', fields, effect })
  }
  const parts = [
    ['rule', before.rules, after.rules, (rule) => (rule as Rule).id],
    ['job_class', before.job_classes, after.job_classes, (job) => (job as { topic: string }).topic],
    ['output_rule', before.output_rules, after.output_rules, (rule) => (rule as { id: string }).id],
    ['high_risk', before.high_risk, after.high_risk, (matcher) => canonical(matcher as Json)],
    ['calendar', before.calendars ?? [], after.calendars ?? [], (calendar) => (calendar as { id: string }).id],
    ['workflow', before.workflows ?? [], after.workflows ?? [], (workflow) => (workflow as { id: string }).id],
    ['test', before.tests, after.tests, (test) => (test as { name: string }).name],
  ] as const satisfies [Change['what'], readonly unknown[], readonly unknown[], (item: unknown) => string][]
  for (const [what, old, fresh, key] of parts) changes.push(...compare(what, old, fresh, key))
  return changes
}

function compare(
  what: Change['what'],
  before: readonly unknown[],
  after: readonly unknown[],
  key: (item: unknown) => string,
): Change[] {
  const old = new Map(before.map((item) => [key(item), item]))
  const fresh = new Map(after.map((item) => [key(item), item]))
  const ids = [...new Set([...old.keys(), ...fresh.keys()])].sort()
  return ids.flatMap((id): Change[] => {
    const [a, b] = [old.get(id) as JsonObject | undefined, fresh.get(id) as JsonObject | undefined]
    if (a === undefined) return [{ change: 'added', what, id, fields: [], effect: effectOf(what, undefined, b) }]
    if (b === undefined) return [{ change: 'removed', what, id, fields: [], effect: effectOf(what, a, undefined) }]
    const fields = fieldChanges(a, b)
    return fields.length === 0 ? [] : [{ change: 'changed', what, id, fields, effect: effectOf(what, a, b, fields) }]
  })
}

const isMap = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Leaves that differ, by their path; lists are compared whole. */
export function fieldChanges(a: JsonObject, b: JsonObject, under = ''): Change['fields'] {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()
  return keys.flatMap((key) => {
    const [before, after] = [a[key], b[key]]
    const path = under === '' ? key : `${under}.${key}`
    if (isMap(before) && isMap(after)) return fieldChanges(before, after, path)
    if (canonical(before ?? null) === canonical(after ?? null)) return []
    return [{ path, before: before ?? null, after: after ?? null }]
  })
}

function movement(before: string, after: string): Change['effect'] {
  const [a, b] = [before, after].map((word) => (DECISIONS as readonly string[]).indexOf(word))
  return a === b ? null : b! < a! ? 'tighter' : 'looser'
}

/** Only a rule tells by itself: one that permits opens by being there, one that forbids or asks closes. */
function effectOf(
  what: Change['what'],
  before: JsonObject | undefined,
  after: JsonObject | undefined,
  fields: Change['fields'] = [],
): Change['effect'] {
  if (what !== 'rule') return null
  if (before && after) {
    return fields.length === 1 && fields[0]!.path === 'decision'
      ? movement(String(before.decision), String(after.decision))
      : null
  }
  const permits = String((before ?? after)!.decision).startsWith('ALLOW')
  return permits === (after !== undefined) ? 'looser' : 'tighter'
}
