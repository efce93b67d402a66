import { DECISIONS, type DecisionWord } from '../policy/document.js'
import { readInstant, readJob } from '../policy/parse-class.js'
import { readWord } from '../policy/parse-value.js'
import { type Fault, type Field, Source } from '../policy/reader.js'
import { SCENARIO_KINDS, type Scenario, VARIATIONS, type Variation } from './document.js'

const KEYS = ['id', 'about', 'kind', 'critical', 'job', 'now', 'expect', 'at_least', 'at_most', 'repeats', 'vary']
const ID = /^[a-z0-9][a-z0-9-]{0,79}$/
/** A suite of so many with all their variants takes about a second. */
export const MOST_SCENARIOS = 2_000

export interface ScenarioFile {
  path: string
  text: string
}

/**
 * A suite from its files, in order of path. Every fault comes with its place; the scenarios are null where there is one, for a suite that
 * leaves out what it could not read would pass more easily.
 */
export function parseScenarios(files: readonly ScenarioFile[]): { scenarios: Scenario[] | null; faults: Fault[] } {
  const faults: Fault[] = []
  const scenarios: Scenario[] = []
  for (const { path, text } of [...files].sort((a, b) => (a.path < b.path ? -1 : 1)))
    readFile(new Source(path, text, faults), scenarios)
  return { scenarios: faults.some(({ severity }) => severity === 'error') ? null : scenarios, faults }
}

function readFile(source: Source, scenarios: Scenario[]): void {
  const root = source.root()
  if (root === null) return
  const fields = source.map(root, ['version', 'scenarios'])
  const version = fields?.get('version')
  if (version !== undefined && source.string(version) !== 'v1')
    source.error('bad_value', 'only v1 is known', version.at, 'version: v1')
  const list = fields?.get('scenarios')
  if (list === undefined || !source.isList(list)) {
    source.error('missing_key', "needs a list of 'scenarios'", root.at)
    return
  }
  for (const item of source.items(list)) {
    const scenario = readScenario(source, item)
    if (scenario === null) continue
    if (scenarios.some(({ id }) => id === scenario.id))
      source.error('duplicate_id', `scenario '${scenario.id}' is there twice`, item.at)
    else if (scenarios.length === MOST_SCENARIOS)
      source.error('too_large', `more than ${MOST_SCENARIOS} scenarios`, item.at)
    else scenarios.push(scenario)
  }
}

function readScenario(source: Source, field: Field): Scenario | null {
  const fields = source.map(field, KEYS)
  if (fields === null) return null
  const needed = (key: string): Field | null => {
    const at = fields.get(key)
    if (at === undefined) source.error('missing_key', `a scenario needs '${key}'`, field.at)
    return at ?? null
  }
  const [idAt, aboutAt, jobAt] = [needed('id'), needed('about'), needed('job')]
  const bounds = readBounds(source, field, fields)
  const id = idAt === null ? null : source.string(idAt)
  const about = aboutAt === null ? null : source.string(aboutAt)
  const job = jobAt === null ? null : readJob(source, jobAt)
  const kindAt = fields.get('kind')
  const kind = kindAt === undefined ? 'unknown' : readWord(source, kindAt, SCENARIO_KINDS)
  const [criticalAt, nowAt] = [fields.get('critical'), fields.get('now')]
  const critical = criticalAt === undefined ? false : source.boolean(criticalAt)
  const now = nowAt === undefined ? null : readInstant(source, nowAt)
  const repeats = readRepeats(source, fields.get('repeats'))
  const vary = readVariations(source, fields.get('vary'))
  if (id !== null && idAt !== null && !ID.test(id))
    source.error('bad_value', 'is no name', idAt.at, 'lower-case letters, digits and dashes, at most 80')
  if (critical === true && bounds?.at_least === 'ALLOW')
    source.error('bad_value', 'nothing is milder than ALLOW, so nothing could be a bypass of it', field.at)
  if (id === null || about === null || job === null || kind === null || critical === null || bounds === null)
    return null
  return { id, about, kind, critical, job, now, ...bounds, ...repeats, vary }
}

function readBounds(
  source: Source,
  field: Field,
  fields: Map<string, Field>,
): Pick<Scenario, 'at_least' | 'at_most'> | null {
  const word = (key: string): DecisionWord | null => {
    const at = fields.get(key)
    return at === undefined ? null : readWord(source, at, DECISIONS)
  }
  const [exact, least, most] = [word('expect'), word('at_least'), word('at_most')]
  const given = ['expect', 'at_least', 'at_most'].filter((key) => fields.has(key))
  if (given.length === 0 || (fields.has('expect') && given.length > 1)) {
    source.error('missing_key', "needs 'expect', or 'at_least' and 'at_most' or one of them", field.at)
    return null
  }
  if (fields.has('expect')) return exact === null ? null : { at_least: exact, at_most: exact }
  const severity = (one: DecisionWord) => DECISIONS.indexOf(one)
  if (least !== null && most !== null && severity(most) > severity(least)) {
    source.error('bad_value', `${most} is milder than ${least}: no answer is both`, field.at)
    return null
  }
  return { at_least: least ?? 'ALLOW', at_most: most }
}

/** `true`, or `with_key`: the repeat carries the same idempotency key. */
function readRepeats(source: Source, field: Field | undefined): Pick<Scenario, 'repeats' | 'idempotency_key'> {
  if (field === undefined) return { repeats: false, idempotency_key: false }
  const word = source.string(field)
  if (word === 'true' || word === 'false') return { repeats: word === 'true', idempotency_key: false }
  if (word !== null && word !== 'with_key') source.error('bad_value', 'needs true, false or with_key', field.at)
  return { repeats: true, idempotency_key: true }
}

/** `all`, or some of them. */
function readVariations(source: Source, field: Field | undefined): Variation[] {
  if (field === undefined) return []
  if (!source.isList(field) && source.string(field) === 'all') return [...VARIATIONS]
  return source.items(field).flatMap((item) => readWord(source, item, VARIATIONS) ?? [])
}
