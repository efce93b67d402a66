import { type Command, InvalidArgumentError } from 'commander'
import type { Measurement, Measurements } from '../contract/metrics.js'
import { isMetric, METRIC_NAMES, type MetricName, windowMs } from '../core/metrics.js'
import { online, wholeNumber } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { registerEvidence } from './gate-evidence.js'
import { type Terminal, table } from './terminal.js'

/** What a number must be for the gate to pass. */
export interface Target {
  metric: MetricName
  op: 'at_least' | 'at_most'
  bound: number
}

export interface Check extends Target {
  /** What the server measured; null where it is unknown. */
  value: number | null
  samples: number
  result: 'pass' | 'block' | 'unknown'
  reason: string
}

export interface GateReport {
  result: Check['result']
  window_ms: number
  at: number
  checks: Check[]
}

/** What a launch is held to unless told otherwise. */
const DEFAULTS: Target[] = [
  { metric: 'high-risk-unapproved', op: 'at_most', bound: 0 },
  { metric: 'success-rate', op: 'at_least', bound: 0.99 },
  { metric: 'p95-latency-ms', op: 'at_most', bound: 1200 },
]

interface Flags {
  window: string
  atLeast?: Target[]
  atMost?: Target[]
  minSamples: number
}

export function registerGate(program: Command): void {
  const gate = program
    .command('gate')
    .description('whether what runs is good enough to go on, and evidence that says so')
  const check = gate
    .command('check')
    .description(
      'exit 0 only if every number is known and meets its target; 1 when one does not, 3 when one is unknown',
    )
    .option('--window <time>', 'up to now, e.g. 90s, 10m, 4h', span, '10m')
    .option('--at-least <metric=number>', 'a target of your own, once or more', target('at_least'))
    .option('--at-most <metric=number>', 'a target of your own, once or more', target('at_most'))
    .option('--min-samples <n>', 'fewer is as good as unknown', wholeNumber(1, 1_000_000), 1)
    .addHelpText(
      'after',
      `\nTargets: ${DEFAULTS.map(words).join(', ')}; one of your own takes the place of these for its metric.\nMetrics: ${METRIC_NAMES.join(', ')}`,
    )
  registerEvidence(gate)
  online<Flags, []>(check, 'admin', async ({ client, terminal }, { window, atLeast, atMost, minSamples }) => {
    const targets = merged([...(atLeast ?? []), ...(atMost ?? [])])
    const measured = await client.request<Measurements>('GET', '/api/v1/measurements', { query: { window } })
    const report = checkGate(measured, targets, minSamples)
    terminal.show(report, () => reportText(report, terminal))
    return exitOf(report.result)
  })
}

/** Holds what was measured against the targets. What is missing, unknown, no number or of too few samples passes nothing. */
export function checkGate(measured: Measurements, targets: readonly Target[], minSamples: number): GateReport {
  const checks = targets.map((target) => {
    const found = measured.items.find(({ metric }) => metric === target.metric)
    return {
      ...target,
      value: found?.value ?? null,
      samples: found?.samples ?? 0,
      ...judged(found, target, minSamples),
    }
  })
  const has = (result: Check['result']) => checks.some((check) => check.result === result)
  const result = has('block') ? 'block' : checks.length === 0 || has('unknown') ? 'unknown' : 'pass'
  return { result, window_ms: measured.window_ms, at: measured.at, checks }
}

function judged(found: Measurement | undefined, target: Target, minSamples: number): Pick<Check, 'result' | 'reason'> {
  if (found === undefined) return { result: 'unknown', reason: 'the server does not know this metric' }
  const { value, unknown, samples } = found
  if (unknown !== null || value === null || !Number.isFinite(value))
    return { result: 'unknown', reason: unknown ?? 'there is no number' }
  const meets = target.op === 'at_least' ? value >= target.bound : value <= target.bound
  if (!meets) return { result: 'block', reason: `${words(target)} is wanted` }
  // A number that is bad is bad with few samples too; one that is good may be chance. What is open now has no sample to lack.
  const counted = !target.metric.startsWith('approval-backlog')
  if (counted && samples < minSamples)
    return { result: 'unknown', reason: `${samples} samples; at least ${minSamples} are wanted` }
  return { result: 'pass', reason: `${words(target)} holds` }
}

const words = ({ metric, op, bound }: Target) => `${metric} ${op === 'at_least' ? '≥' : '≤'} ${bound}`

const exitOf = (result: Check['result']): Exit =>
  result === 'pass' ? EXIT.done : result === 'block' ? EXIT.no : EXIT.notChecked

/** A metric of one's own targets is not held to the default as well; two of its own bind both. */
function merged(own: readonly Target[]): Target[] {
  return [...DEFAULTS.filter(({ metric }) => !own.some((each) => each.metric === metric)), ...own]
}

function target(op: Target['op']): (text: string, before?: Target[]) => Target[] {
  return (text, before = []) => {
    const [, metric = '', bound = ''] = /^([a-z0-9-]+)=(\d{1,15}(?:\.\d{1,9})?)$/.exec(text) ?? []
    if (!isMetric(metric))
      throw new InvalidArgumentError(`metric=number is needed; metrics: ${METRIC_NAMES.join(', ')}.`)
    return [...before, { metric, op, bound: Number(bound) }]
  }
}

function span(text: string): string {
  if (windowMs(text) === null)
    throw new InvalidArgumentError('a time such as 90s, 10m, 4h or 30d is needed, at most 31d.')
  return text
}

function reportText({ result, checks }: GateReport, terminal: Terminal): string {
  const paint = (text: string, of: Check['result']) =>
    of === 'pass' ? terminal.color.green(text) : terminal.color.red(text)
  const rows = table(
    checks,
    [
      { title: 'METRIC', of: ({ metric }) => metric, whole: true },
      { title: 'VALUE', of: ({ value }) => (value === null ? null : Number(value.toFixed(6))), right: true },
      { title: 'SAMPLES', of: ({ samples }) => samples, right: true },
      { title: 'RESULT', of: (check) => check.result, paint: (text, check) => paint(text, check.result) },
      { title: 'WHY', of: ({ reason }) => reason },
    ],
    terminal,
  )
  const last = { pass: 'PASS', block: 'BLOCK', unknown: 'BLOCK: not everything is known' }[result]
  return `${rows}\n${paint(last, result)}`
}
