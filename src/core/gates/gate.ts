import { type Check, type CheckResult, evaluateCheck, type Moment, type Outcome, type Reading } from './check.js'
import { isGateMetric, metricOf } from './metric.js'

/** What has to hold before a phase is left upward (G2). */
export interface Gate {
  /** As it was written: `10m`. */
  window: string
  window_ms: number
  /** How many windows in a row have to be clean, this one among them. */
  consecutive: number
  checks: Check[]
}

/** An earlier look at the same gate. `clean`: every check passed, whether or not that was enough windows in a row. */
export interface PastLook {
  from: number
  to: number
  clean: boolean
}

export interface GateInput extends Pick<Moment, 'now' | 'to' | 'phase_at'> {
  gate: Gate
  candidate: readonly Reading[]
  /** Of the stable version, in the same window. */
  control: readonly Reading[]
  /** In any order; of other phases too. */
  past: readonly PastLook[]
  /** Rates since longer than the window; left out where it reaches back to the beginning of the phase. */
  whole?: WholePhase | null
}

/** What was measured from `from` until the end of the window: since the phase began, or as far back as that can be counted. */
export interface WholePhase {
  from: number
  candidate: readonly Reading[]
  control: readonly Reading[]
}

export interface GateResult {
  outcome: Outcome
  reason: string
  /** Every check passed. */
  clean: boolean
  /** Clean windows in a row, this one among them; not counted further than the gate asks. */
  in_a_row: number
  from: number
  to: number
  checks: CheckResult[]
}

/** Worst first. A proven failure is told before a measurement that is broken; neither promotes. */
const WORST: readonly Outcome[] = ['fail', 'error', 'inconclusive', 'pass']

/**
 * The gate engine: measurements in, an outcome out, of which only `pass` lets a phase go on (G2, G7). Pure and total: the same input gives
 * the same result, and no input that lacks something gives a pass.
 */
export function evaluateGate(input: GateInput): GateResult {
  const { gate, candidate, control, now, to, phase_at } = input
  const from = to - gate.window_ms
  const moment: Moment = { now, from, to, phase_at }
  const own = byMetric(candidate)
  const others = byMetric(control)
  const held = input.whole == null ? null : heldAgainst(input.whole, moment)
  const checks = gate.checks.map((check) => {
    const result = evaluateOne(check, own.get(check.metric), others.get(check.metric), moment)
    return result.pass && held !== null && isRate(check.metric) ? held(check, result) : result
  })
  const worst = WORST.find((outcome) => checks.some((check) => check.outcome === outcome)) ?? 'error'
  const clean = worst === 'pass'
  const in_a_row = clean ? cleanInARow(input) : 0
  const known = { clean, in_a_row, from, to, checks }
  if (checks.length === 0) return { outcome: 'error', reason: 'a gate that asks nothing lets nothing pass', ...known }
  const first = checks.find(({ outcome }) => outcome === worst) as CheckResult
  if (!clean) return { outcome: worst, reason: `${first.metric}: ${first.reason}`, ...known }
  // Written so that a number that is none does not pass.
  if (!(in_a_row >= gate.consecutive))
    return { outcome: 'inconclusive', reason: `${in_a_row} of ${gate.consecutive} clean windows in a row`, ...known }
  return { outcome: 'pass', reason: `${checks.length} of ${checks.length} checks pass`, ...known }
}

const isRate = (metric: string): boolean => isGateMetric(metric) && metricOf(metric).form === 'rate'

/**
 * A gate is asked every few seconds for days, and one of hundreds of windows comes out well by chance. So a window that passes is held against
 * the phase: what all of it proves to miss its target does not pass, however its luckiest window was.
 */
function heldAgainst({ from, candidate, control }: WholePhase, moment: Moment) {
  const [own, others] = [byMetric(candidate), byMetric(control)]
  return (check: Check, result: CheckResult): CheckResult => {
    const readings = [own.get(check.metric), others.get(check.metric)] as const
    const { outcome, reason } = evaluateOne(check, ...readings, { ...moment, from })
    const told = { ...result, pass: false, reason: `${result.reason}; in the phase: ${reason}` }
    if (outcome === 'fail' || outcome === 'error') return { ...told, outcome }
    return readings[0]?.[0]?.kind === 'rate' ? result : { ...told, outcome: 'inconclusive' }
  }
}

/** In one pass: evidence from outside may hold as many as fit into it. */
function byMetric(readings: readonly Reading[]): Map<string, Reading[]> {
  const found = new Map<string, Reading[]>()
  for (const reading of readings) {
    const same = found.get(reading.metric)
    if (same === undefined) found.set(reading.metric, [reading])
    else same.push(reading)
  }
  return found
}

function evaluateOne(check: Check, own: Reading[] = [], others: Reading[] = [], moment: Moment): CheckResult {
  if (isGateMetric(check.metric) && own.length <= 1 && others.length <= 1)
    return evaluateCheck(check, own[0], others[0], moment)
  const reason = isGateMetric(check.metric) ? 'was measured twice, and nobody says which counts' : 'is no metric'
  const { metric, target } = check
  const nothing = { value: null, target: null, samples: null, bound: null, baseline: null }
  return { metric, op: target.op, outcome: 'error', pass: false, reason, ...nothing }
}

/**
 * The looks that say how many clean windows end with this one, as far as the gate asks: each that counts, newest first, and then the one
 * that ends the row, if one does. Of a week of looks every 10 s these are a handful, and all that evidence has to keep: from them alone
 * comes the same number.
 *
 * Windows do not overlap: asked every 10 s about ten minutes, three looks are one and the same ten minutes. Anything but a clean look ends
 * the row, and so does a hole longer than a window: what nobody looked at was not clean.
 */
export function looksThatCount({
  gate,
  past,
  to,
  phase_at,
}: Omit<GateInput, 'now' | 'candidate' | 'control'>): PastLook[] {
  const width = gate.window_ms
  // Of two looks at the same window the worse one comes first: then their order does not matter.
  const before = past
    .filter((look) => look.from >= phase_at && look.to < to)
    .sort((a, b) => b.to - a.to || Number(isClean(a, width)) - Number(isClean(b, width)))
  const counted: PastLook[] = []
  let edge = to - width
  for (const look of before) {
    if (counted.length + 1 >= gate.consecutive) break
    if (!isClean(look, width)) return [...counted, look]
    if (edge - look.to > width) break
    if (look.to > edge) continue
    counted.push(look)
    edge = look.from
  }
  return counted
}

/** One of another width was no look at this gate. */
const isClean = ({ from, to, clean }: PastLook, width: number): boolean => clean && to - from === width

const cleanInARow = (input: GateInput): number =>
  1 + looksThatCount(input).filter((look) => isClean(look, input.gate.window_ms)).length
