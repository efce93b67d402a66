import { describe, expect, test } from 'vitest'
import type { Measurement } from '../contract/metrics.js'
import { checkGate, type Target } from './gate.js'

const measurement = (metric: string, value: number | null, more: Partial<Measurement> = {}): Measurement => ({
  metric,
  text: '0',
  value,
  unknown: null,
  samples: 10,
  sampled: false,
  ...more,
})
const TARGETS: Target[] = [
  { metric: 'success-rate', op: 'at_least', bound: 0.99 },
  { metric: 'p95-latency-ms', op: 'at_most', bound: 1200 },
]
const check = (items: Measurement[], minSamples = 1, targets = TARGETS) =>
  checkGate({ window_ms: 1, at: 0, items }, targets, minSamples)

describe('the gate', () => {
  const good = [measurement('success-rate', 0.99), measurement('p95-latency-ms', 1200)]

  test('passes on the bound itself, not past it', () => {
    expect(check(good).result).toBe('pass')
    expect(check([measurement('success-rate', 0.98999), good[1] as Measurement]).result).toBe('block')
    expect(check([good[0] as Measurement, measurement('p95-latency-ms', 1200.1)]).result).toBe('block')
  })

  test('passes nothing that it does not know', () => {
    const p95 = good[1] as Measurement
    for (const rate of [
      [],
      [measurement('success-rate', null)],
      [measurement('success-rate', 1, { unknown: 'why' })],
      [measurement('success-rate', Number.NaN)],
      [measurement('success-rate', Number.POSITIVE_INFINITY)],
    ])
      expect(check([...rate, p95]).result).toBe('unknown')
    expect(check(good, 1, []).result).toBe('unknown')
  })

  test('a number that is bad blocks whatever else is unknown, and with however few samples', () => {
    expect(check([measurement('success-rate', 0.5, { samples: 1 })], 100).result).toBe('block')
  })

  test('few samples are no pass, but an empty queue is', () => {
    expect(check([measurement('success-rate', 1, { samples: 9 }), good[1] as Measurement], 10).result).toBe('unknown')
    const backlog: Target[] = [{ metric: 'approval-backlog', op: 'at_most', bound: 3 }]
    expect(check([measurement('approval-backlog', 0, { samples: 0 })], 10, backlog).result).toBe('pass')
  })
})
