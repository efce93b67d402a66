import type { Check, Op, Target } from '../gates/check.js'
import type { Gate } from '../gates/gate.js'
import {
  GATE_METRIC_NAMES,
  type GateMetric,
  type GateMetricName,
  isComparable,
  isGateMetric,
  MOST,
  metricOf,
  needsTraffic,
} from '../gates/metric.js'
import { CONFIDENCES, type Confidence, isConfidence } from '../gates/wilson.js'
import { DEFAULT_WINDOW, windowMs } from '../metrics.js'
import type { Place, Reader } from './reader.js'

const CHECK_KEYS = ['target_gte', 'target_lte', 'target_eq', 'min_samples', 'confidence', 'floor']
const OPS: Record<string, Op> = { target_gte: 'gte', target_lte: 'lte', target_eq: 'eq' }
const MOST_SAMPLES = 10_000_000
const MOST_IN_A_ROW = 20

/** What bears on a gate beside itself. */
export interface GateSetting {
  /** Of the phase. */
  share_bp: number
  /** Whether there is a stable version to be held against. */
  has_stable: boolean
}

/** `gate: { window: 10m, consecutive: 2, checks: { success_rate_pct: { target_gte: 99 } } }`, checks named as evidence names them (G2, G3). */
export function readGate(reader: Reader, at: Place, setting: GateSetting): Gate | null {
  const fields = reader.object(at, ['window', 'consecutive', 'checks'])
  if (fields === null) return null
  const window = fields.get('window') ?? { value: DEFAULT_WINDOW, path: at.path }
  const window_ms = typeof window.value === 'string' ? windowMs(window.value) : null
  if (window_ms === null) reader.fault(window, 'bad_value', 'is no window', '10m, 4h or 7d; at most 31d')
  const row = fields.get('consecutive')
  const consecutive = row === undefined ? 1 : reader.whole(row, 1, MOST_IN_A_ROW)
  const checks = readChecks(reader, reader.needed(fields, at, 'checks'), setting)
  if (window_ms === null || consecutive === null || checks === null) return null
  return { window: window.value as string, window_ms, consecutive, checks }
}

/** Sorted by metric, so that equal gates are equal documents. */
function readChecks(reader: Reader, at: Place | null, setting: GateSetting): Check[] | null {
  const fields = at === null ? null : reader.object(at, GATE_METRIC_NAMES)
  if (at === null || fields === null) return null
  if (Object.keys(at.value as object).length === 0)
    return reader.fault(at, 'bad_value', 'a gate that asks nothing is none')
  const checks = [...fields].map(([name, place]) =>
    isGateMetric(name) ? readCheck(reader, place, name, setting) : null,
  )
  const good = checks.filter((check) => check !== null)
  return good.length < checks.length ? null : good.sort((a, b) => (a.metric < b.metric ? -1 : 1))
}

function readCheck(reader: Reader, at: Place, name: GateMetricName, setting: GateSetting): Check | null {
  const metric = metricOf(name)
  if (setting.share_bp === 0 && needsTraffic(name))
    return reader.fault(at, 'bad_value', 'at 0 % the candidate does nothing that could be measured')
  const fields = reader.object(at, CHECK_KEYS)
  if (fields === null) return null
  const given = Object.keys(OPS).filter((key) => fields.has(key))
  if (given.length !== 1) return reader.fault(at, 'missing_key', 'needs one of target_gte, target_lte, target_eq')
  const key = given[0] as string
  const place = fields.get(key) as Place
  const target = readTarget(reader, place, OPS[key] as Op, name, setting)
  const floor = fields.get('floor')
  if (target !== null && floor !== undefined) {
    if (!('times' in target)) reader.fault(floor, 'bad_value', 'a floor is one of a baseline', "target_lte: '2x'")
    else target.floor = reader.number(floor, 0, metric.form === 'rate' ? metric.whole : MOST) ?? 0
  }
  const min_samples = readSamples(reader, fields.get('min_samples'), metric)
  const confidence = readConfidence(reader, fields.get('confidence'), metric)
  if (target === null || min_samples === null || confidence === undefined) return null
  return { metric: name, target, min_samples, confidence }
}

function readSamples(reader: Reader, at: Place | undefined, { form, usual, least }: GateMetric): number | null {
  if (at === undefined) return usual
  if (form === 'count' || form === 'flag') return reader.fault(at, 'bad_value', 'there are no samples of it')
  return reader.whole(at, least, MOST_SAMPLES)
}

/** Undefined where there is a fault. */
function readConfidence(reader: Reader, at: Place | undefined, { form }: GateMetric): Confidence | null | undefined {
  if (form === 'rate') {
    if (at === undefined) return 0.95
    if (isConfidence(at.value)) return at.value
    reader.fault(at, 'bad_value', `needs one of ${CONFIDENCES.join(', ')}`)
    return undefined
  }
  if (at === undefined) return null
  reader.fault(at, 'bad_value', 'only a rate is judged by a bound')
  return undefined
}

/** A target that some number could meet and some could miss; anything else is no gate. */
function readTarget(
  reader: Reader,
  at: Place,
  op: Op,
  name: GateMetricName,
  { has_stable, share_bp }: GateSetting,
): Target | null {
  const metric = metricOf(name)
  const wanted = opsOf(metric)
  if (!wanted.includes(op))
    return reader.fault(at, 'bad_value', `${name} takes ${wanted.map((word) => `target_${word}`).join(' or ')}`)
  if (metric.form === 'flag') {
    if (at.value === true) return { op: 'eq', value: true }
    return reader.fault(at, 'bad_value', 'needs true')
  }
  if (typeof at.value === 'string') {
    const times = timesOf(at.value)
    if (op === 'eq' || !isComparable(name)) return reader.fault(at, 'bad_value', 'is not held against a baseline')
    if (times === null) return reader.fault(at, 'bad_value', 'is no target', "99, '+20%' or '1.2x'")
    if (!has_stable)
      return reader.fault(at, 'bad_value', 'there is no stable version to be held against', 'name a number')
    if (share_bp === 10_000)
      return reader.fault(at, 'bad_value', 'at 100 % nothing of the stable version runs', 'name a number')
    return { op, times, floor: 0 }
  }
  if (metric.form === 'rate') return rateTarget(reader, at, op as 'gte' | 'lte', metric.whole)
  // A gate that lets one bypass through is none: the number is fixed.
  const most = metric.form === 'incidents' ? 0 : MOST
  const value = metric.steps === 1 && metric.form !== 'amount' ? reader.whole(at, 0, most) : reader.number(at, 0, most)
  if (value !== null && op === 'gte' && value === 0) return reader.fault(at, 'bad_value', 'everything is at least 0')
  return value === null ? null : { op, value }
}

function rateTarget(reader: Reader, at: Place, op: 'gte' | 'lte', whole: number): Target | null {
  const value = reader.number(at, 0, whole)
  if (value === null) return null
  if (value > 0 && value < whole) return { op, value }
  const isNever = (op === 'gte') === (value === whole)
  return reader.fault(at, 'bad_value', isNever ? 'no number of samples proves it' : 'everything meets it')
}

function opsOf({ form, bad }: GateMetric): Op[] {
  if (form === 'flag' || form === 'incidents') return ['eq']
  const way: Op = bad === 'high' ? 'lte' : 'gte'
  return form === 'count' ? [way, 'eq'] : [way]
}

/** `+20%`, `-5%`, `1.2x` as a factor, at most ten; null for anything else. */
function timesOf(text: string): number | null {
  const percent = /^([+-])(\d{1,3}(?:\.\d{1,2})?)%$/.exec(text)
  const factor = /^(\d{1,2}(?:\.\d{1,3})?)x$/.exec(text)
  if (factor !== null) return bounded(Number(factor[1]))
  if (percent === null) return null
  // In whole hundredths: 1 + 20 / 100 is 1.2, but 1 + 10 / 100 is 1.1 only by luck.
  const hundredths = Math.round(Number(percent[2]) * 100)
  return bounded((10_000 + (percent[1] === '+' ? hundredths : -hundredths)) / 10_000)
}

const bounded = (times: number): number | null => (times > 0 && times <= 10 ? times : null)
