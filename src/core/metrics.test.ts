import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  blockingText,
  type EndRow,
  METRIC_NAMES,
  METRICS,
  type MetricName,
  metricText,
  ofAnswers,
  ofAttempts,
  ofDecisions,
  ofEnds,
  ofPending,
  quantile,
  windowMs,
} from './metrics.js'

const end = (given: Partial<EndRow> = {}): EndRow => ({
  status: 'succeeded',
  status_reason: null,
  verdict: 'ALLOW',
  released: false,
  budget_from: 0,
  attempt: 1,
  created_at: 0,
  not_before: null,
  finished_at: 100,
  asked_ms: 0,
  ...given,
})
const ends = (metric: MetricName, rows: EndRow[], in_doubt = 0) =>
  ofEnds(metric, { rows, in_doubt, sampled: false }).value

describe('how a number is written', () => {
  test('whole ms, six decimals of a ratio, cut to the bad side', () => {
    const text = (metric: MetricName, value: number) => metricText({ metric, value })
    expect(text('success-rate', 0.9899999)).toBe('0.989999')
    expect(text('success-rate', 0.994)).toBe('0.994')
    expect(text('success-rate', 1)).toBe('1')
    expect(text('success-rate', 0)).toBe('0')
    expect(text('deny-ratio', 1 / 3)).toBe('0.333334')
    expect(text('deny-ratio', 1e-9)).toBe('0.000001')
    expect(text('p95-latency-ms', 1200.2)).toBe('1201')
    expect(text('p95-latency-ms', 1e21)).toBe('999999999')
    expect(text('high-risk-unapproved', 0)).toBe('0')
  })

  test('never an exponent, never better than it is', () => {
    const numbers = fc.double({ min: 0, max: 1e12, noNaN: true })
    fc.assert(
      fc.property(fc.constantFrom(...METRIC_NAMES), numbers, (metric, value) => {
        const text = metricText({ metric, value })
        expect(text).toMatch(/^\d{1,13}(\.\d{1,6})?$/)
        if (METRICS[metric].bad === 'low') expect(Number(text)).toBeLessThanOrEqual(value + 1e-9 * (1 + value))
        else expect(Number(text)).toBeGreaterThanOrEqual(Math.min(value, 999_999_999) - 1e-9 * (1 + value))
      }),
    )
  })

  test('what is no number is the worst there is', () => {
    for (const value of [null, Number.NaN, Number.POSITIVE_INFINITY, -1]) {
      expect(metricText({ metric: 'success-rate', value })).toBe('0')
      expect(metricText({ metric: 'p95-latency-ms', value })).toBe('999999999')
    }
    expect(blockingText('success-rat')).toBe('0')
    expect(blockingText('no-such')).toBe('999999999')
    expect(blockingText('__proto__')).toBe('999999999')
  })
})

test('windows are whole units up to 31 days', () => {
  expect(['1s', '10m', '4h', '31d', '2678400s'].map(windowMs)).toEqual([
    1000, 600_000, 14_400_000, 2_678_400_000, 2_678_400_000,
  ])
  for (const text of ['', '0s', '010m', '10', '10M', '1.5h', '-1m', '32d', '9999999d', '10m ', '1e3s', '10ms'])
    expect(windowMs(text), text).toBeNull()
})

test('a quantile is one of the values, and no more than its share lie above it', () => {
  expect(quantile([], 0.95)).toBeNull()
  expect(quantile([5], 0.95)).toBe(5)
  expect(
    quantile(
      Array.from({ length: 100 }, (_, i) => 100 - i),
      0.95,
    ),
  ).toBe(95)
  fc.assert(
    fc.property(
      fc.array(fc.integer(), { minLength: 1 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, share) => {
        const found = quantile(values, share) as number
        expect(values).toContain(found)
        expect(values.filter((value) => value > found).length).toBeLessThanOrEqual(values.length * (1 - share) + 1e-6)
      },
    ),
  )
})

describe('jobs that ended', () => {
  test('failures, doubts and the lack of workers count against success; what people decided does not', () => {
    const failed = [
      end({ status: 'dead_letter' }),
      end({ status: 'quarantined' }),
      end({ status: 'discarded' }),
      end({ status: 'expired', status_reason: 'no_worker' }),
    ]
    const decided = [
      end({ status: 'rejected' }),
      end({ status: 'cancelled', attempt: 0 }),
      end({ status: 'denied' }),
      end({ status: 'expired', status_reason: 'approval_expired' }),
    ]
    const good = Array.from({ length: 5 }, () => end())
    expect(ends('success-rate', [...good, ...failed, ...decided])).toBe(5 / 9)
    expect(ends('success-rate', good, 1)).toBe(5 / 6)
    expect(ends('success-rate', [...good, end({ status: 'cancelled' })])).toBe(5 / 6)
    expect(ends('success-rate', [], 3)).toBe(0)
  })

  test('without one there is no number, however many were denied', () => {
    for (const metric of ['success-rate', 'p95-latency-ms', 'p50-latency-ms'] as const)
      expect(ofEnds(metric, { rows: [end({ status: 'denied', verdict: null })], in_doubt: 0, sampled: false })).toEqual(
        {
          value: null,
          unknown: 'no job ended in the window',
          samples: 0,
          sampled: false,
        },
      )
  })

  test('latency is from when it could have run, less what people took', () => {
    expect(ends('p95-latency-ms', [end({ created_at: 1000, finished_at: 1250 })])).toBe(250)
    expect(ends('p95-latency-ms', [end({ created_at: 1000, not_before: 9000, finished_at: 9100 })])).toBe(100)
    expect(ends('p95-latency-ms', [end({ created_at: 0, finished_at: 3_600_300, asked_ms: 3_600_000 })])).toBe(300)
    expect(ends('p95-latency-ms', [end({ finished_at: 7 }), end({ status: 'dead_letter', finished_at: 9 })])).toBe(9)
    expect(
      ends(
        'p50-latency-ms',
        [1, 2, 3, 4].map((finished_at) => end({ finished_at })),
      ),
    ).toBe(2)
  })

  test('an end that a person set says nothing of latency', () => {
    const byHand = [
      end({ released: true }),
      end({ budget_from: 3 }),
      end({ status: 'discarded' }),
      end({ status_reason: 'resolved' }),
    ]
    expect(ends('p95-latency-ms', byHand)).toBeNull()
  })

  test('quarantined of all that was screened', () => {
    const rows = [
      end(),
      end({ verdict: 'REDACT' }),
      end({ status: 'quarantined', verdict: 'QUARANTINE' }),
      end({ verdict: null }),
    ]
    expect(ends('quarantine-ratio', rows)).toBe(1 / 3)
    expect(ends('quarantine-ratio', [end({ verdict: null })])).toBeNull()
  })
})

test('attempts: those still running are no errors yet, and waits nobody knows are no waits', () => {
  const rows = [
    { outcome: 'succeeded', waited_ms: 10 },
    { outcome: 'failed', waited_ms: null },
    { outcome: 'lost', waited_ms: -5 },
    { outcome: null, waited_ms: 30 },
  ]
  expect(ofAttempts('error-rate', rows, false)).toMatchObject({ value: 2 / 3, samples: 3 })
  expect(ofAttempts('dispatch-wait-p95-ms', rows, false)).toMatchObject({ value: 30, samples: 3 })
  expect(ofAttempts('error-rate', [{ outcome: null, waited_ms: 1 }], false).value).toBeNull()
})

test('decisions of the first door', () => {
  const words = ['ALLOW', 'DENY', 'REQUIRE_APPROVAL', 'ALLOW_WITH_CONSTRAINTS']
  expect(ofDecisions('deny-ratio', words, false).value).toBe(0.25)
  expect(ofDecisions('approval-ratio', words, false).value).toBe(0.25)
  expect(ofDecisions('deny-ratio', [], false).unknown).toBe('nothing was submitted in the window')
})

describe('approvals', () => {
  const span = { from: 1000, to: 2500, now: 2000 }
  const asked = (given: object) => ({
    status: 'approved',
    requested_at: 0,
    expires_at: 9000,
    answered_at: 1500,
    ...given,
  })
  test('waits that ended in the window, and those that go on', () => {
    const rows = [
      asked({}),
      asked({ answered_at: 999 }), // before it
      asked({ status: 'expired', requested_at: 1000, expires_at: 1900, answered_at: null }),
      asked({ status: 'void' }),
      asked({ status: 'pending', answered_at: null }),
    ]
    const found = ofAnswers('approval-queue-p95-ms', rows, [{ requested_at: 500 }], span, false)
    expect(found).toMatchObject({ value: 1500, samples: 3 })
    expect(ofAnswers('approval-queue-median-ms', rows, [{ requested_at: 1990 }], span, false).value).toBe(900)
    expect(ofAnswers('approval-queue-p95-ms', [], [], span, false).value).toBeNull()
  })

  test('an empty queue is known to be empty', () => {
    expect(ofPending('approval-backlog', [], 2000, false)).toMatchObject({ value: 0, unknown: null })
    expect(ofPending('approval-backlog-oldest-ms', [], 2000, false).value).toBe(0)
    expect(
      ofPending('approval-backlog-oldest-ms', [{ requested_at: 1200 }, { requested_at: 300 }], 2000, false).value,
    ).toBe(1700)
  })
})
