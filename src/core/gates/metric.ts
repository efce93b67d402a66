/**
 * What a gate may look at, by the names that the deployment guide's and the launch checklist's evidence carry (G2, G3), and the
 * rest of what an operator is asked to watch. Where the numbers come from is in docs/metrics.md.
 */

/**
 * `rate`: hits of tries, judged by its bound. `amount`: a statistic of samples, such as a percentile. `level`: how much there is now;
 * none is a fact, not a lack of data. `incidents`: of what was looked at, those that must never be. `count` and `flag`: what a replay,
 * a review or a drill found, good until it expires; no traffic is needed for them.
 */
export type MetricForm = 'rate' | 'amount' | 'level' | 'incidents' | 'count' | 'flag'

export interface GateMetric {
  form: MetricForm
  /** Which way it is bad, and so which way it is cut. */
  bad: 'high' | 'low'
  /** What a whole is written as: 100 of a percentage. */
  whole: 1 | 100
  /** Steps into which one of its unit is divided when it is written down. */
  steps: number
  /** Samples that are asked for where the gate does not say, and the fewest it may say. */
  usual: number
  least: number
}

/** P95 by nearest rank of fewer than 20 samples is simply the largest. A median of five leaves two on either side. */
const LEAST = { rate: 20, p95: 20, mean: 5 }

const rate = (bad: 'high' | 'low', whole: 1 | 100 = 1): GateMetric => ({
  form: 'rate',
  bad,
  whole,
  steps: 1_000_000,
  usual: 200,
  least: LEAST.rate,
})
const p95 = (steps: number): GateMetric => ({
  form: 'amount',
  bad: 'high',
  whole: 1,
  steps,
  usual: 100,
  least: LEAST.p95,
})
const mean = (steps: number): GateMetric => ({
  form: 'amount',
  bad: 'high',
  whole: 1,
  steps,
  usual: 20,
  least: LEAST.mean,
})
const level = (steps: number): GateMetric => ({ form: 'level', bad: 'high', whole: 1, steps, usual: 0, least: 0 })
const count = (bad: 'high' | 'low'): GateMetric => ({ form: 'count', bad, whole: 1, steps: 1, usual: 0, least: 0 })
/** That nothing happened where nothing was looked at says nothing. */
const INCIDENTS: GateMetric = { form: 'incidents', bad: 'high', whole: 1, steps: 1, usual: 1, least: 1 }
const FLAG: GateMetric = { form: 'flag', bad: 'low', whole: 1, steps: 1, usual: 0, least: 0 }

export const GATE_METRICS = {
  success_rate_pct: rate('low', 100),
  workflow_success_rate: rate('low'),
  error_rate: rate('high'),
  quarantine_ratio: rate('high'),
  deny_ratio: rate('high'),
  p50_latency_ms: mean(1),
  p95_latency_ms: p95(1),
  dispatch_wait_p95_ms: p95(1),
  approval_queue_median_sec: mean(1000),
  approval_queue_p95_sec: p95(1000),
  cost_per_completed_run: mean(1_000_000),
  approval_backlog: level(1),
  approval_backlog_oldest_sec: level(1000),
  unapproved_high_risk_actions: INCIDENTS,
  policy_bypass_incidents: INCIDENTS,
  critical_incidents: INCIDENTS,
  replay_scenarios: count('low'),
  replay_critical_bypasses: count('high'),
  replay_unsafe_duplicates: count('high'),
  clean_weekly_reviews: count('low'),
  deny_drill_passed: FLAG,
  approval_drill_passed: FLAG,
  worker_crash_drill_passed: FLAG,
  rollback_drill_passed: FLAG,
  incident_replay_drill_passed: FLAG,
  stop_drill_passed: FLAG,
  restore_drill_passed: FLAG,
} as const satisfies Record<string, GateMetric>
export type GateMetricName = keyof typeof GATE_METRICS
export const GATE_METRIC_NAMES = Object.keys(GATE_METRICS) as GateMetricName[]

export function isGateMetric(name: unknown): name is GateMetricName {
  return typeof name === 'string' && Object.hasOwn(GATE_METRICS, name)
}

export const metricOf = (name: GateMetricName): GateMetric => GATE_METRICS[name]

/** Whether it is of work that the candidate did: at 0 % there is none. */
export const needsTraffic = (name: GateMetricName): boolean => !['count', 'flag'].includes(GATE_METRICS[name].form)

/** Whether what the candidate does can be held against what the stable version does. */
export const isComparable = (name: GateMetricName): boolean => ['rate', 'amount'].includes(GATE_METRICS[name].form)

/** What an unknown number is written as where it must stay low (core/metrics.ts). Nothing real is as large. */
export const MOST = 999_999_999

/** A product with `steps` may be off by some 1e-7; that must not push 55 to 55.001. */
const SLACK = 1e-6

/**
 * The number as evidence says it. What is written is what is compared, so that whoever recomputes the one finds the other.
 * @param value at least 0 and at most MOST
 */
export function cut(value: number, steps: number, to: 'up' | 'down'): number {
  const whole = to === 'up' ? Math.ceil(value * steps - SLACK) : Math.floor(value * steps + SLACK)
  return whole / steps + 0 // never −0
}

/** Cut to the bad side: 98.99999 must not read as the 99 that passes. */
export const cutToBad = (value: number, { bad, steps }: GateMetric): number =>
  cut(value, steps, bad === 'high' ? 'up' : 'down')
