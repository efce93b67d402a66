import { TRIGGER_NAMES, type TriggerName, type TriggerTerms, termsOf } from '../gates/trigger.js'
import {
  AREAS,
  ON_ROLLBACK,
  type Owners,
  type Phase,
  PROMOTIONS,
  RESTS,
  type Reviewers,
  RISK_FILTERS,
  type RolloutDocument,
  STANDARD_PHASES,
  SUBJECT_KINDS,
  type Subject,
} from './document.js'
import { readGate } from './parse-gate.js'
import { type DeclarationFault, type Place, Reader } from './reader.js'

const KEYS = [
  'rollout',
  'subject',
  'routing',
  'rest',
  'on_rollback',
  'promotion',
  'owners',
  'stakeholders',
  'reviewers',
  'phases',
  'rollback',
]
const MOST_PHASES = 20
const MOST_PEOPLE = 50
/** Ids of gates are made of it, and stand in files and addresses. */
const ROLLOUT = /^[a-z0-9][a-z0-9-]{0,62}$/
const LABEL = /^label:[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/
const SNAPSHOT = /^[0-9a-f]{64}$/
/** Workers declare `NAME@VERSION` in one word: what they could not write, nobody could ever serve. */
const VERSION = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$/
const SERVED = /^[!-~]{1,300}$/

/**
 * A rollout from what somebody declared, as JSON gives it (G1). Every fault comes with its place; the document is null where there is one.
 * Never throws on what the value holds.
 */
export function parseRollout(value: unknown): { document: RolloutDocument | null; faults: DeclarationFault[] } {
  const reader = new Reader()
  const document = readRollout(reader, { value, path: '' })
  return { document: reader.faults.length > 0 ? null : document, faults: reader.faults }
}

function readRollout(reader: Reader, root: Place): RolloutDocument | null {
  const fields = reader.object(root, KEYS)
  if (fields === null) return null
  const needed = (key: string, hint?: string) => reader.needed(fields, root, key, hint)
  const rollout = readId(reader, needed('rollout', 'rollout: support-bot-2'))
  const subject = readSubject(reader, needed('subject', 'subject: { kind: agent, name: …, candidate: …, stable: … }'))
  const rest = readWord(reader, fields.get('rest'), RESTS, 'stable')
  if (rest === 'stable' && subject?.stable === null)
    reader.fault(fields.get('rest') ?? root, 'bad_value', 'there is no stable version', 'rest: shadow or manual')
  const on_rollback = readWord(reader, fields.get('on_rollback'), ON_ROLLBACK, 'drain')
  const promotion = readWord(reader, fields.get('promotion'), PROMOTIONS, 'manual')
  const owners = readOwners(reader, needed('owners', 'owners: { reliability: …, governance: …, cost: … }'))
  const told = needed('stakeholders', 'stakeholders: [team:support]')
  const stakeholders = told === null ? null : reader.people(told, MOST_PEOPLE)
  const routing = readRouting(reader, fields.get('routing'))
  const by = fields.get('reviewers')
  const reviewers = by === undefined ? null : readReviewers(reader, by)
  const phases = readPhases(reader, fields.get('phases') ?? { value: STANDARD_PHASES, path: 'phases' }, {
    // Where the subject itself is at fault, nothing more is said about what it lacks.
    has_stable: subject === null || subject.stable !== null,
    reviewers,
  })
  const triggers = readTriggers(reader, fields.get('rollback'))
  if (!rollout || !subject || !rest || !on_rollback || !promotion || !owners || !stakeholders || !routing || !phases)
    return null
  return { rollout, subject, routing, rest, on_rollback, promotion, owners, stakeholders, phases, triggers }
}

function readWord<Word extends string>(reader: Reader, at: Place | undefined, words: readonly Word[], usual: Word) {
  return at === undefined ? usual : reader.word(at, words)
}

function readId(reader: Reader, at: Place | null): string | null {
  if (at === null) return null
  if (typeof at.value === 'string' && ROLLOUT.test(at.value)) return at.value
  return reader.fault(at, 'bad_value', 'is no name', 'lower-case letters, digits and dashes, at most 63')
}

function readSubject(reader: Reader, at: Place | null): Subject | null {
  const fields = at === null ? null : reader.object(at, ['kind', 'name', 'candidate', 'stable'])
  if (at === null || fields === null) return null
  const [kindAt, candidateAt] = ['kind', 'candidate'].map((key) => reader.needed(fields, at, key))
  const kind = kindAt ? reader.word(kindAt, SUBJECT_KINDS) : null
  const stableAt = fields.get('stable')
  const version = (place: Place) => {
    if (kind !== 'policy') {
      const text = reader.name(place)
      if (text === null || VERSION.test(text)) return text
      return reader.fault(
        place,
        'bad_value',
        'is no version that a worker can declare',
        "letters, digits and ._+-, as '2.0'",
      )
    }
    if (typeof place.value === 'string' && SNAPSHOT.test(place.value)) return place.value
    return reader.fault(place, 'bad_value', 'is no digest of a snapshot', '64 hex digits')
  }
  const candidate = candidateAt ? version(candidateAt) : null
  const stable = stableAt === undefined || stableAt.value === null ? null : version(stableAt)
  const isStableWrong = stable === null && stableAt !== undefined && stableAt.value !== null
  if (kind === null || candidate === null || isStableWrong) return null
  if (candidate === stable) return reader.fault(at, 'bad_value', 'candidate and stable are the same')
  const nameAt = fields.get('name')
  if (kind === 'policy') {
    if (nameAt !== undefined) reader.fault(nameAt, 'bad_value', 'a policy has no name beside its digest')
    return { kind, name: null, candidate, stable }
  }
  const name = nameAt === undefined ? reader.needed(fields, at, 'name') : reader.name(nameAt)
  if (typeof name !== 'string') return null
  if (!SERVED.test(name))
    return reader.fault(nameAt ?? at, 'bad_value', 'is no name that a worker can declare', 'no spaces')
  return { kind, name, candidate, stable }
}

function readOwners(reader: Reader, at: Place | null): Owners | null {
  const fields = at === null ? null : reader.object(at, AREAS)
  if (at === null || fields === null) return null
  const [reliability, governance, cost] = AREAS.map((area) => {
    const place = reader.needed(fields, at, area, 'somebody has to answer for it')
    return place === null ? null : reader.name(place)
  })
  return reliability && governance && cost ? { reliability, governance, cost } : null
}

function readRouting(reader: Reader, at: Place | undefined): RolloutDocument['routing'] | null {
  if (at === undefined || at.value === 'run') return 'run'
  if (typeof at.value === 'string' && LABEL.test(at.value)) return at.value as `label:${string}`
  return reader.fault(at, 'bad_value', 'is no routing key', 'run, or label:customer')
}

function readReviewers(reader: Reader, at: Place): Reviewers | null {
  const fields = reader.object(at, ['from', 'need'])
  const fromAt = fields === null ? null : reader.needed(fields, at, 'from')
  if (fields === null || fromAt === null) return null
  const from = reader.people(fromAt, MOST_PEOPLE)
  const needAt = fields.get('need')
  const need = needAt === undefined ? 1 : reader.whole(needAt, 1, 10)
  return from === null || need === null ? null : { from, need }
}

interface Setting {
  has_stable: boolean
  reviewers: Reviewers | null
}

function readPhases(reader: Reader, at: Place, setting: Setting): Phase[] | null {
  const items = reader.list(at, MOST_PHASES)
  if (items === null) return null
  const read = items.map((item) => readPhase(reader, item, setting))
  const phases = read.filter((phase) => phase !== null)
  if (phases.length < read.length) return null
  for (const [n, phase] of phases.entries()) {
    const place = items[n] as Place
    if (phases.findIndex(({ name }) => name === phase.name) < n)
      reader.fault(place, 'duplicate_id', `phase '${phase.name}' is declared twice`)
    if (n > 0) checkGrowth(reader, place, phases[n - 1] as Phase, phase)
  }
  const last = phases.at(-1) as Phase
  if (last.share_bp !== 10_000 || last.risk !== 'mixed')
    reader.fault(at, 'bad_value', 'the last phase has to be all of the work: share 100, risk mixed')
  return phases
}

/** Whoever the candidate serves stays with it: neither share nor filter ever gets narrower, and a phase that adds nothing is none (G1). */
function checkGrowth(reader: Reader, at: Place, before: Phase, phase: Phase): void {
  const widens = RISK_FILTERS.indexOf(phase.risk) - RISK_FILTERS.indexOf(before.risk)
  const grows = phase.share_bp - before.share_bp
  if (widens < 0) reader.fault(at, 'bad_value', `risk ${phase.risk} is narrower than ${before.risk} before it`)
  if (grows < 0)
    reader.fault(at, 'bad_value', `share ${phase.share_bp / 100} is less than ${before.share_bp / 100} before it`)
  if (widens === 0 && grows === 0)
    reader.fault(at, 'bad_value', 'lets nothing through that the phase before it did not')
}

function readPhase(reader: Reader, at: Place, { has_stable, reviewers }: Setting): Phase | null {
  const fields = reader.object(at, ['name', 'share', 'risk', 'min_duration', 'reviewers', 'gate'])
  if (fields === null) return null
  const [nameAt, shareAt, riskAt, leastAt, gateAt] = ['name', 'share', 'risk', 'min_duration', 'gate'].map((key) =>
    reader.needed(fields, at, key),
  )
  const name = nameAt ? reader.name(nameAt) : null
  const share_bp = shareAt ? readShare(reader, shareAt) : null
  const risk = riskAt ? reader.word(riskAt, RISK_FILTERS) : null
  const min_duration_ms = leastAt ? reader.duration(leastAt) : null
  const own = fields.get('reviewers')
  const signs = own === undefined ? reviewers : readReviewers(reader, own)
  const gate = gateAt && share_bp !== null ? readGate(reader, gateAt, { share_bp, has_stable }) : null
  if (name === null || share_bp === null || risk === null || min_duration_ms === null || gate === null) return null
  return { name, share_bp, risk, min_duration_ms, reviewers: signs, gate }
}

/** Percent with at most two decimals. */
function readShare(reader: Reader, at: Place): number | null {
  const share = reader.number(at, 0, 100)
  if (share === null) return null
  const share_bp = Math.round(share * 100)
  return share_bp / 100 === share ? share_bp : reader.fault(at, 'bad_value', 'at most two decimals')
}

/** `rollback: { error_rate: { times: 1.5, for: 5m } }`. The matrix is fixed; a rollout may only be stricter with itself (G4). */
function readTriggers(reader: Reader, at: Place | undefined): TriggerTerms[] {
  const fields = at === undefined ? null : reader.object(at, TRIGGER_NAMES)
  return TRIGGER_NAMES.map((name) => readTrigger(reader, fields?.get(name), name))
}

function readTrigger(reader: Reader, at: Place | undefined, name: TriggerName): TriggerTerms {
  const terms = termsOf(name)
  const keys: string[] = []
  if (terms.rule === 'over_baseline') keys.push('times')
  if (terms.floor > 0) keys.push('floor')
  if (terms.rule === 'over' && terms.limit > 0) keys.push('limit')
  if (terms.for_ms > 0) keys.push('for')
  if (at === undefined) return terms
  if (keys.length === 0) {
    reader.fault(at, 'bad_value', 'cannot be stricter than at once')
    return terms
  }
  const fields = reader.object(at, keys)
  const times = fields?.get('times')
  if (times !== undefined) terms.times = tighter(reader, times, reader.number(times, 1, 100), terms.times)
  const floor = fields?.get('floor')
  if (floor !== undefined) terms.floor = tighter(reader, floor, reader.number(floor, 0.0001, 1e9), terms.floor)
  const limit = fields?.get('limit')
  if (limit !== undefined) terms.limit = tighter(reader, limit, reader.number(limit, 0, 1e9), terms.limit)
  const lasts = fields?.get('for')
  if (lasts !== undefined) terms.for_ms = tighter(reader, lasts, reader.duration(lasts), terms.for_ms)
  return terms
}

function tighter(reader: Reader, at: Place, value: number | null, most: number): number {
  if (value === null) return most
  if (value <= most) return value
  reader.fault(at, 'bad_value', `is looser than the ${most} that every rollout has`)
  return most
}
