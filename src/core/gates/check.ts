import { cut, cutToBad, type GateMetric, type GateMetricName, isComparable, MOST, metricOf } from './metric.js'
import { type Confidence, isConfidence, isCount, wilson } from './wilson.js'

export type Op = 'gte' | 'lte' | 'eq'

/** A number, or so many times what the stable version does in the same window: `+20 %` is 1.2 times. */
export type Target =
  | { op: Op; value: number | boolean }
  | {
      op: 'gte' | 'lte'
      times: number
      /** A baseline below it counts as this: twice nothing would be nothing. 0 asks nothing. */
      floor: number
    }

/** One condition of a gate (G2). */
export interface Check {
  metric: GateMetricName
  target: Target
  min_samples: number
  /** Of the bound that a rate is judged by; null for what is no rate. */
  confidence: Confidence | null
}

/**
 * What was measured, in the metric's own unit. `query` says how, so that it can be asked again. A window reaches from `from` until before
 * `to`, epoch ms. `valid_until`: from when on what a replay, a review or a drill found counts no more.
 */
export type Reading =
  | {
      kind: 'rate'
      metric: GateMetricName
      query: string
      from: number
      to: number
      hits: number
      of: number
      /** Tries that have not ended, for longer than one that does well takes: nobody knows how they end. */
      open?: number
    }
  | {
      kind: 'amount'
      metric: GateMetricName
      query: string
      from: number
      to: number
      value: number
      samples: number
      /** Only a part of the rows was read. */
      sampled?: boolean
    }
  | {
      kind: 'standing'
      metric: GateMetricName
      query: string
      at: number
      valid_until: number
      value: number | boolean
    }
  | { kind: 'unknown'; metric: GateMetricName; query: string; why: string }

/** Of these only `pass` promotes (G7). `error`: what was handed over cannot be a measurement at all. */
export type Outcome = 'pass' | 'fail' | 'inconclusive' | 'error'

/** When a gate is asked, and of which window. */
export interface Moment {
  now: number
  from: number
  to: number
  /** When the phase began: what was before it says nothing about it. */
  phase_at: number
}

export interface CheckResult {
  metric: GateMetricName
  op: Op
  outcome: Outcome
  /** Whether this check lets the gate pass. */
  pass: boolean
  reason: string
  value: number | boolean | null
  /** As a number also where it was said relative to the baseline. */
  target: number | boolean | null
  samples: number | null
  /** What was compared instead of the value. */
  bound: { side: 'lower' | 'upper'; confidence: Confidence; value: number } | null
  baseline: { value: number; samples: number; times: number } | null
}

/** Older than this it is not what is now: six looks of the loop that asks every 10 s. */
export const STALE_MS = 60_000

/**
 * One check. Total: whatever a reading holds, an outcome comes out, and a reading that is missing, malformed, stale, of another window or
 * of too few samples never passes (G7).
 */
export function evaluateCheck(
  check: Check,
  candidate: Reading | undefined,
  control: Reading | undefined,
  moment: Moment,
): CheckResult {
  const doubt = doubtAbout(check, candidate, moment)
  if (doubt !== null) return told(check, doubt)
  const reading = candidate as Exclude<Reading, { kind: 'unknown' }>
  let baseline: Measured | null = null
  if ('times' in check.target) {
    const lack = isComparable(check.metric)
      ? doubtAbout(check, control, moment)
      : error('has no baseline to be held against')
    if (lack !== null) return told(check, { ...lack, reason: `baseline: ${lack.reason}` })
    baseline = control as Measured
  }
  if (reading.kind === 'standing') return judgeValue(check, reading.value, null, null)
  return reading.kind === 'rate' ? judgeRate(check, reading, baseline) : judgeAmount(check, reading, baseline)
}

type Measured = Extract<Reading, { kind: 'rate' | 'amount' }>
type Verdict = Pick<CheckResult, 'outcome' | 'reason'>
const error = (reason: string): Verdict => ({ outcome: 'error', reason })
const inconclusive = (reason: string): Verdict => ({ outcome: 'inconclusive', reason })

function told(check: Check, verdict: Verdict, more: Partial<CheckResult> = {}): CheckResult {
  return {
    metric: check.metric,
    op: check.target.op,
    value: null,
    target: 'value' in check.target ? check.target.value : null,
    samples: null,
    bound: null,
    baseline: null,
    ...more,
    ...verdict,
    pass: verdict.outcome === 'pass',
  }
}

/** Why this reading can say nothing, whatever number it holds; null where it can. */
function doubtAbout({ metric }: Check, reading: Reading | undefined, moment: Moment): Verdict | null {
  if (reading === undefined) return inconclusive('was not measured')
  const { form } = metricOf(metric)
  if (reading.metric !== metric) return error('is a reading of another metric')
  if (reading.kind === 'unknown') return inconclusive(`is not known: ${reading.why}`)
  const kind = form === 'rate' ? 'rate' : form === 'count' || form === 'flag' ? 'standing' : 'amount'
  if (reading.kind !== kind) return error(`needs a reading of the kind ${kind}`)
  if (reading.kind === 'standing') return standingDoubt(form === 'flag', reading, moment)
  if (reading.kind === 'rate') {
    if (!isCount(reading.hits) || !isCount(reading.of) || reading.hits > reading.of)
      return error('is no count of hits and tries')
    if (reading.open !== undefined && !isCount(reading.open)) return error('is no count of tries that are open')
  } else if (!isNumber(reading.value) || !isCount(reading.samples)) return error('is no number of samples')
  return windowDoubt(reading, moment)
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= MOST

function windowDoubt({ from, to }: Measured, moment: Moment): Verdict | null {
  if (from !== moment.from || to !== moment.to) return error('is of another window')
  if (!(from < to) || !(to <= moment.now)) return error('is of a window that is not over')
  if (moment.now - to > STALE_MS) return inconclusive(`is ${Math.floor((moment.now - to) / 1000)} s old`)
  if (!(from >= moment.phase_at)) return inconclusive('is of a window that began before the phase')
  return null
}

function standingDoubt(
  isFlag: boolean,
  { value, at, valid_until }: Extract<Reading, { kind: 'standing' }>,
  { now }: Moment,
): Verdict | null {
  if (isFlag ? typeof value !== 'boolean' : !isCount(value)) return error(`is no ${isFlag ? 'yes or no' : 'count'}`)
  if (!isCount(at) || !isCount(valid_until) || at > now) return error('does not say when it was found')
  return now < valid_until ? null : inconclusive('has expired')
}

/**
 * A rate passes only by its bound: at least the target with the confidence asked for. It fails only where the other bound is beyond it,
 * and in between nothing is proven (G2, G7). Relative to a baseline, the baseline's bound is taken that makes either harder.
 */
function judgeRate(
  check: Check,
  { hits, of, open = 0 }: Extract<Reading, { kind: 'rate' }>,
  baseline: Measured | null,
): CheckResult {
  const metric = metricOf(check.metric)
  const { op } = check.target
  const { confidence } = check
  if (!isConfidence(confidence)) return told(check, error('does not say with what confidence'))
  const bounds = wilson(hits, of, confidence)
  const more: Partial<CheckResult> = { samples: of }
  if (bounds === null) return told(check, inconclusive('nothing happened in the window'), more)
  more.value = cutToBad((hits / of) * metric.whole, metric)
  const near = op === 'gte' ? bounds.lower : bounds.upper
  const far = op === 'gte' ? bounds.upper : bounds.lower
  const side = op === 'gte' ? 'lower' : 'upper'
  const bound = cut(near * metric.whole, metric.steps, op === 'gte' ? 'down' : 'up')
  more.bound = { side, confidence, value: bound }
  const needs = rateTargets(check, metric, confidence, baseline)
  if ('outcome' in needs) return told(check, needs, more)
  Object.assign(more, { target: needs.pass, baseline: needs.baseline })
  if (!(of >= check.min_samples)) return told(check, tooFew(of, check), more)
  const text = `${side} bound ${bound} (${hits} of ${of}, confidence ${confidence})`
  if (meets(op, bound, needs.pass)) {
    const worst = boundWith(op, { hits, of, open }, confidence, metric)
    if (meets(op, worst, needs.pass)) return told(check, { outcome: 'pass', reason: text }, more)
    return told(check, inconclusive(`${text}: ${open} more have not ended; as failures they make it ${worst}`), more)
  }
  const opposite = cut(far * metric.whole, metric.steps, op === 'gte' ? 'up' : 'down')
  if (!meets(op, opposite, needs.fail))
    return told(check, { outcome: 'fail', reason: `${text}: even ${opposite} would not do` }, more)
  return told(check, inconclusive(`${text}: too few samples to tell`), more)
}

/** The bound where everything that is open ends badly. */
function boundWith(
  op: Op,
  { hits, of, open }: { hits: number; of: number; open: number },
  confidence: Confidence,
  metric: GateMetric,
): number {
  const bounds = wilson(op === 'gte' ? hits : hits + open, of + open, confidence)
  if (bounds === null) return Number.NaN
  return op === 'gte'
    ? cut(bounds.lower * metric.whole, metric.steps, 'down')
    : cut(bounds.upper * metric.whole, metric.steps, 'up')
}

type RateTargets = { pass: number; fail: number; baseline: CheckResult['baseline'] }

/** What has to be met to pass, and what has to be missed to fail. */
function rateTargets(
  { target, min_samples }: Check,
  metric: GateMetric,
  confidence: Confidence,
  baseline: Measured | null,
): RateTargets | Verdict {
  if ('value' in target) {
    if (target.op === 'eq' || typeof target.value !== 'number') return error('no number of samples proves exactly this')
    return { pass: target.value, fail: target.value, baseline: null }
  }
  if (baseline?.kind !== 'rate') return error('has no baseline')
  const { hits, of } = baseline
  const bounds = wilson(hits, of, confidence)
  if (bounds === null || !(of >= min_samples)) return inconclusive(`baseline: ${of} samples, needs ${min_samples}`)
  const { op, times, floor } = target
  const from = (bound: number) => Math.max(bound * metric.whole, floor) * times
  const tight = op === 'gte' ? from(bounds.upper) : from(bounds.lower)
  const loose = op === 'gte' ? from(bounds.lower) : from(bounds.upper)
  const cuts: ['up' | 'down', 'up' | 'down'] = op === 'gte' ? ['up', 'down'] : ['down', 'up']
  const pass = cut(tight, metric.steps, cuts[0])
  // Against a baseline that fails at everything, everything would do.
  if (op === 'gte' ? loose <= 0 : pass >= metric.whole) return inconclusive('baseline: so bad that nothing is asked')
  const value = cutToBad((hits / of) * metric.whole, metric)
  return { pass, fail: cut(loose, metric.steps, cuts[1]), baseline: { value, samples: of, times } }
}

const tooFew = (samples: number, { min_samples }: Check): Verdict =>
  inconclusive(`${samples} samples, needs ${min_samples}`)

function judgeAmount(
  check: Check,
  reading: Extract<Reading, { kind: 'amount' }>,
  baseline: Measured | null,
): CheckResult {
  const metric = metricOf(check.metric)
  const { samples } = reading
  const value = cutToBad(reading.value, metric)
  const base = baseline?.kind === 'amount' ? baseline : null
  const least = Math.max(check.min_samples, metric.form === 'level' ? 0 : 1)
  const isEnough = (found: number) => found >= least // also false where the gate names no number
  if (metric.form === 'incidents' && value > 0)
    return told(check, { outcome: 'fail', reason: `${value} of ${samples}` }, { value, samples })
  if (!isEnough(samples)) return told(check, inconclusive(`${samples} samples, needs ${least}`), { value, samples })
  if (metric.form === 'incidents' && reading.sampled === true)
    return told(check, inconclusive('a part of the rows proves no absence'), { value, samples })
  if (base !== null && !isEnough(base.samples))
    return told(check, inconclusive(`baseline: ${base.samples} samples, needs ${least}`), { value, samples })
  return judgeValue(check, value, samples, base)
}

function judgeValue(
  check: Check,
  value: number | boolean,
  samples: number | null,
  base: Extract<Reading, { kind: 'amount' }> | null,
): CheckResult {
  const metric = metricOf(check.metric)
  const { target } = check
  let wanted: number | boolean
  let baseline: CheckResult['baseline'] = null
  if ('value' in target) wanted = target.value
  else {
    if (base === null) return told(check, error('has no baseline'), { value, samples })
    wanted = cut(Math.max(base.value, target.floor) * target.times, metric.steps, target.op === 'lte' ? 'down' : 'up')
    baseline = { value: cutToBad(base.value, metric), samples: base.samples, times: target.times }
  }
  const outcome = meets(target.op, value, wanted) ? 'pass' : 'fail'
  const sign = { gte: 'at least', lte: 'at most', eq: 'exactly' }[target.op]
  return told(
    check,
    { outcome, reason: `${value}, needs ${sign} ${wanted}` },
    { value, samples, target: wanted, baseline },
  )
}

/** False for what cannot be compared: a boolean with a number, NaN with anything. */
function meets(op: Op, value: number | boolean, target: number | boolean): boolean {
  if (typeof value !== typeof target) return false
  if (op === 'eq') return value === target
  if (typeof value === 'boolean') return false
  return op === 'gte' ? value >= (target as number) : value <= (target as number)
}
