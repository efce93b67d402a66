import { type Calendar, isZone } from '../calendar.js'
import { CLOCK_FUNCTIONS } from './clock-functions.js'
import {
  type BoundedWorkflow,
  DEFAULT_HIGH_RISK,
  type Fixture,
  type JobClass,
  type Matcher,
  type OutputRule,
  type PolicyDocument,
  type Rule,
} from './document.js'
import { compileExpression } from './expression.js'
import { lint } from './lint.js'
import { readCalendar } from './parse-calendar.js'
import { readFixture, readJobClass, readOutputRule } from './parse-class.js'
import { readMatcher, readRule } from './parse-rule.js'
import { readWord } from './parse-value.js'
import { readWorkflow } from './parse-workflow.js'
import { type Fault, type Field, type Position, Source } from './reader.js'

export type { Fault } from './reader.js'

const FILE_KEYS = ['version', 'default_decision', 'high_risk', 'rules', 'job_classes', 'output_rules'].concat([
  'calendars',
  'workflows',
  'tests',
])

/** Rules in one policy. The index is built for tens of thousands; more is a generator gone wrong. */
const MAX_RULES = 50_000

/** Warnings are kept with the snapshot; whoever gets this many reads the first ones. */
const MAX_WARNINGS = 200

/** What the files hold before defaults, with the place of everything lint may point at. */
interface Draft {
  default_decision: { word: PolicyDocument['default_decision']; at: Position } | null
  high_risk: Matcher[] | null
  rules: Rule[]
  job_classes: JobClass[]
  output_rules: OutputRule[]
  calendars: Calendar[]
  workflows: BoundedWorkflow[]
  tests: Fixture[]
  places: Map<string, Position>
}

/**
 * Reads the files of one policy into a document. Several files merge: rules, classes, output rules and tests add up,
 * ids are unique over all of them, and the order of files and rules never matters. Every fault in every file is
 * reported; the document is null if any is an error. Never throws on what a file holds.
 */
export function parsePolicy(files: readonly { path: string; text: string }[]): {
  document: PolicyDocument | null
  faults: Fault[]
  /** Where each rule stands, as `rule:<id>`, each class as `class:<topic>` and so on: for what can only be said later. */
  places: ReadonlyMap<string, Position>
} {
  const faults: Fault[] = []
  const draft: Draft = {
    default_decision: null,
    high_risk: null,
    rules: [],
    job_classes: [],
    output_rules: [],
    calendars: [],
    workflows: [],
    tests: [],
    places: new Map(),
  }
  for (const file of [...files].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    readFile(new Source(file.path, file.text, faults), draft)
  }
  checkCalendars(draft, faults)
  if (files.length === 0) faults.push(whole('missing_file', 'there is no policy file'))
  if (faults.some((fault) => fault.severity === 'error'))
    return { document: null, faults: inOrder(faults), places: draft.places }
  const document = finish(draft)
  const findings = lint(document)
  for (const finding of findings.slice(0, MAX_WARNINGS)) {
    const at = draft.places.get(finding.at) ?? { file: files[0]!.path, line: 1, column: 1, path: '' }
    const { code, message, hint } = finding
    faults.push({ severity: 'warning', code, message, ...(hint === undefined ? {} : { hint }), ...at })
  }
  const more = findings.length - MAX_WARNINGS
  if (more > 0) faults.push({ ...whole('more_warnings', `and ${more} more warnings`), severity: 'warning' })
  return { document, faults: inOrder(faults), places: draft.places }
}

const whole = (code: string, message: string): Fault => ({
  severity: 'error',
  code,
  message,
  file: '',
  line: 1,
  column: 1,
  path: '',
})

const inOrder = (faults: Fault[]) =>
  faults.sort((a, b) => (a.file === b.file ? a.line - b.line || a.column - b.column : a.file < b.file ? -1 : 1))

function readFile(source: Source, draft: Draft): void {
  const root = source.root()
  if (!root) return
  if (root.node === null) {
    source.error('empty_file', 'the file is empty', root.at)
    return
  }
  const fields = source.map(root, FILE_KEYS)
  if (!fields) return
  readVersion(source, fields.get('version'), root)
  readDefault(source, fields.get('default_decision'), draft)
  const high = fields.get('high_risk')
  if (high)
    draft.high_risk = [...(draft.high_risk ?? []), ...list(source, high).map((item) => readMatcher(source, item))]
  readRules(source, fields.get('rules'), draft)
  readClasses(source, fields.get('job_classes'), draft)
  readOutputRules(source, fields.get('output_rules'), draft)
  readCalendars(source, fields.get('calendars'), draft)
  for (const item of list(source, fields.get('workflows'))) {
    const workflow = readWorkflow(source, item)
    if (workflow && claimPlace(source, draft, `workflow:${workflow.id}`, item, `workflow '${workflow.id}'`))
      draft.workflows.push(workflow)
  }
  for (const item of list(source, fields.get('tests'))) {
    const fixture = readFixture(source, item)
    if (fixture) draft.tests.push(fixture)
  }
}

function list(source: Source, field: Field | undefined): Field[] {
  if (!field) return []
  if (source.isList(field)) return source.items(field)
  source.error('wrong_type', 'needs a list', field.at)
  return []
}

function readVersion(source: Source, field: Field | undefined, root: Field): void {
  if (!field) {
    source.warn('no_version', 'no version given, read as v1', root.at, 'add version: v1')
    return
  }
  const version = source.string(field)
  if (version !== null && version !== 'v1') {
    source.error('unknown_version', `version '${version.slice(0, 20)}' is not known`, field.at, 'version: v1')
  }
}

function readDefault(source: Source, field: Field | undefined, draft: Draft): void {
  if (!field) return
  const word = readWord(source, field, ['DENY', 'REQUIRE_APPROVAL', 'ALLOW'])
  if (!word) return
  if (draft.default_decision && draft.default_decision.word !== word) {
    const other = draft.default_decision.at
    source.error(
      'conflict',
      `default_decision is ${draft.default_decision.word} in ${other.file}:${other.line}`,
      field.at,
    )
  }
  draft.default_decision ??= { word, at: field.at }
  draft.places.set('default_decision', field.at)
}

function readRules(source: Source, field: Field | undefined, draft: Draft): void {
  const items = list(source, field)
  if (draft.rules.length + items.length > MAX_RULES) {
    source.error('too_large', `more than ${MAX_RULES} rules`, field!.at)
    return
  }
  for (const item of items) {
    const rule = readRule(source, item)
    if (rule && claimPlace(source, draft, `rule:${rule.id}`, item, `rule '${rule.id}'`)) draft.rules.push(rule)
  }
}

function readClasses(source: Source, field: Field | undefined, draft: Draft): void {
  for (const item of list(source, field)) {
    for (const job of readJobClass(source, item)) {
      if (claimPlace(source, draft, `class:${job.topic}`, item, `job class '${job.topic}'`)) draft.job_classes.push(job)
    }
  }
}

function readOutputRules(source: Source, field: Field | undefined, draft: Draft): void {
  for (const item of list(source, field)) {
    const rule = readOutputRule(source, item)
    if (rule && claimPlace(source, draft, `output:${rule.id}`, item, `output rule '${rule.id}'`))
      draft.output_rules.push(rule)
  }
}

function readCalendars(source: Source, field: Field | undefined, draft: Draft): void {
  for (const item of list(source, field)) {
    const calendar = readCalendar(source, item)
    if (!calendar || !claimPlace(source, draft, `calendar:${calendar.id}`, item, `calendar '${calendar.id}'`)) continue
    draft.calendars.push(calendar)
    // `in_window` names no calendar, so a window's name is one of the whole policy; of one calendar it may have several parts.
    for (const name of new Set(calendar.windows.map((window) => window.name)))
      claimPlace(source, draft, `window:${name}`, item, `window '${name}'`)
  }
}

/** Every calendar and window that an expression asks about is declared; calendars may stand in another file than rules. */
function checkCalendars(draft: Draft, faults: Fault[]): void {
  const check = (text: string | null | undefined, place: string) => {
    if (!text || !MAY_ASK.test(text)) return
    for (const { fn, name } of compileExpression(text).asks) {
      const isKnown = draft.places.has(fn === 'in_window' ? `window:${name}` : `calendar:${name}`)
      if (isKnown || (fn === 'business_hours' && isZone(name))) continue
      const message = `${fn}('${name.slice(0, 60)}') asks about ${fn === 'in_window' ? 'a window' : 'a calendar'} that nobody declares`
      faults.push({ ...whole('unknown_calendar', message), ...draft.places.get(place) })
    }
  }
  for (const { id, when } of draft.rules) check(when, `rule:${id}`)
  for (const { id, starts, ends } of draft.workflows) for (const text of [starts, ends]) check(text, `workflow:${id}`)
  for (const { topic, derive } of draft.job_classes) {
    const { labels, risk_tags, environment, action_type, data } = derive
    for (const text of [...Object.values(labels), ...Object.values(risk_tags), environment, action_type, data])
      check(text, `class:${topic}`)
  }
}

const MAY_ASK = new RegExp(CLOCK_FUNCTIONS.join('|'))

/** Remembers where a thing with a name of its own stands; false, with a fault, where the name is taken. */
function claimPlace(source: Source, draft: Draft, key: string, field: Field, what: string): boolean {
  const taken = draft.places.get(key)
  if (taken) {
    source.error('duplicate_id', `${what} is already at ${taken.file}:${taken.line}`, field.at)
    return false
  }
  draft.places.set(key, field.at)
  return true
}

const by =
  <T>(key: (item: T) => string) =>
  (a: T, b: T) =>
    key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0

function finish(draft: Draft): PolicyDocument {
  return {
    version: 'v1',
    default_decision: draft.default_decision?.word ?? 'DENY',
    high_risk: (draft.high_risk ?? DEFAULT_HIGH_RISK).toSorted(by((matcher) => JSON.stringify(matcher))),
    rules: draft.rules.toSorted(by((rule) => rule.id)),
    job_classes: draft.job_classes.toSorted(by((job) => job.topic)),
    output_rules: draft.output_rules.toSorted(by((rule) => rule.id)),
    ...(draft.calendars.length === 0 ? {} : { calendars: draft.calendars.toSorted(by((calendar) => calendar.id)) }),
    ...(draft.workflows.length === 0 ? {} : { workflows: draft.workflows.toSorted(by((workflow) => workflow.id)) }),
    tests: draft.tests,
  }
}
