import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Check, evaluateCheck, type Moment, type Op, type Reading, STALE_MS } from './check.js'
import { cut, GATE_METRIC_NAMES, type GateMetricName, MOST, metricOf } from './metric.js'
import { wilson } from './wilson.js'

const MINUTE = 60_000
const moment: Moment = { now: 100 * MINUTE, from: 90 * MINUTE, to: 100 * MINUTE, phase_at: 5 * MINUTE }
const window = { from: moment.from, to: moment.to }

const check = (metric: GateMetricName, target: Check['target'], more: Partial<Check> = {}): Check => ({
  metric,
  target,
  min_samples: metricOf(metric).usual,
  confidence: metricOf(metric).form === 'rate' ? 0.95 : null,
  ...more,
})
const rate = (metric: GateMetricName, hits: number, of: number): Reading => ({
  kind: 'rate',
  metric,
  query: 'q',
  ...window,
  hits,
  of,
})
const amount = (metric: GateMetricName, value: number, samples = 1000): Extract<Reading, { kind: 'amount' }> => ({
  kind: 'amount',
  metric,
  query: 'q',
  ...window,
  value,
  samples,
})
const standing = (metric: GateMetricName, value: number | boolean, valid_until = moment.now + 1): Reading => ({
  kind: 'standing',
  metric,
  query: 'q',
  at: moment.now - 1,
  valid_until,
  value,
})
const ask = (each: Check, candidate?: Reading, control?: Reading, at = moment) =>
  evaluateCheck(each, candidate, control, at)

const SUCCESS = check('success_rate_pct', { op: 'gte', value: 99 })
const LATENCY = check('p95_latency_ms', { op: 'lte', times: 1.2, floor: 0 })

describe('a rate', () => {
  test('passes by its bound, not by its value', () => {
    const good = ask(SUCCESS, rate('success_rate_pct', 9934, 10_000))
    expect(good).toMatchObject({ outcome: 'pass', pass: true, value: 99.34, target: 99, samples: 10_000 })
    expect(good.bound).toMatchObject({ side: 'lower', confidence: 0.95 })
    expect(good.bound!.value).toBeGreaterThan(99)
    const few = ask(SUCCESS, rate('success_rate_pct', 298, 300))
    expect(few).toMatchObject({ outcome: 'inconclusive', pass: false, value: 99.333333 })
    expect(few.bound!.value).toBeLessThan(99)
  })

  test('that fails 3 % of 400 fails, of 20 it is inconclusive', () => {
    const failing = ask(SUCCESS, rate('success_rate_pct', 388, 400))
    expect(failing.outcome).toBe('fail')
    expect(failing.reason).toBe('lower bound 95.250788 (388 of 400, confidence 0.95): even 98.117681 would not do')
    expect(ask(SUCCESS, rate('success_rate_pct', 19, 20)).outcome).toBe('inconclusive')
    expect(ask(SUCCESS, rate('success_rate_pct', 0, 20)).outcome).toBe('inconclusive')
  })

  test('of nothing says nothing, and so does an unsound declaration', () => {
    expect(ask({ ...SUCCESS, min_samples: 0 }, rate('success_rate_pct', 0, 0)).outcome).toBe('inconclusive')
    const perfect = rate('success_rate_pct', 1e6, 1e6)
    expect(ask({ ...SUCCESS, min_samples: Number.NaN }, perfect).outcome).toBe('inconclusive')
    expect(ask({ ...SUCCESS, confidence: null }, perfect).outcome).toBe('error')
    expect(ask({ ...SUCCESS, confidence: 0.5 as never }, perfect).outcome).toBe('error')
    expect(ask({ ...SUCCESS, target: { op: 'eq', value: 100 } }, perfect).outcome).toBe('error')
    expect(ask({ ...SUCCESS, target: { op: 'gte', value: true } }, perfect).outcome).toBe('error')
    expect(ask({ ...SUCCESS, target: { op: 'gte', value: Number.NaN } }, perfect).pass).toBe(false)
  })

  test('against the baseline takes both bounds so that either is harder', () => {
    const errors = check('error_rate', { op: 'lte', times: 2, floor: 0 })
    const own = (failed: number) => rate('error_rate', failed, 10_000)
    const outcome = (failed: number, stable: number) => ask(errors, own(failed), own(stable)).outcome
    expect(outcome(120, 100)).toBe('pass')
    expect(outcome(190, 100)).toBe('inconclusive')
    expect(outcome(300, 100)).toBe('fail')
    const { target, baseline } = ask(errors, own(120), own(100))
    expect(baseline).toEqual({ value: 0.01, samples: 10_000, times: 2 })
    expect(target).toBe(cut(2 * wilson(100, 10_000, 0.95)!.lower, 1e6, 'down'))
    // Twice nothing is nothing, unless a floor says what counts as little.
    expect(outcome(0, 0)).toBe('inconclusive')
    expect(ask({ ...errors, target: { op: 'lte', times: 2, floor: 0.01 } }, own(20), own(0)).outcome).toBe('pass')
    // Against a baseline that fails at everything nothing would be asked.
    expect(outcome(9000, 9000)).toBe('inconclusive')
    expect(ask(errors, own(0), rate('error_rate', 1, 10)).outcome).toBe('inconclusive')
    const success = check('workflow_success_rate', { op: 'gte', times: 0.99, floor: 0 })
    const hits = (count: number) => rate('workflow_success_rate', count, 10_000)
    expect(ask(success, hits(9900), hits(9900)).outcome).toBe('pass')
    expect(ask(success, hits(9000), hits(9900)).outcome).toBe('fail')
    expect(ask(success, hits(10), hits(0)).outcome).toBe('inconclusive')
  })

  test('never turns from fail to pass by a failure more, nor from pass to fail by a success more', () => {
    const counted = fc
      .integer({ min: 200, max: 20_000 })
      .chain((of) => fc.record({ of: fc.constant(of), bad: fc.integer({ min: 0, max: Math.ceil(of / 40) }) }))
    const order = ['fail', 'inconclusive', 'pass']
    fc.assert(
      fc.property(counted, fc.integer({ min: 1, max: 50 }), ({ of, bad }, more) => {
        const at = (failures: number, jobs: number) =>
          order.indexOf(ask(SUCCESS, rate('success_rate_pct', jobs - failures, jobs)).outcome)
        const now = at(bad, of)
        expect(at(bad + more, of + more)).toBeLessThanOrEqual(now)
        if (bad + more <= of) expect(at(bad + more, of)).toBeLessThanOrEqual(now)
        expect(at(bad, of + more)).toBeGreaterThanOrEqual(now)
      }),
    )
  })
})

describe('an amount', () => {
  test('against +20 % of the baseline, as the guide has it: 812 of at most 840', () => {
    const result = ask(LATENCY, amount('p95_latency_ms', 812), amount('p95_latency_ms', 700))
    expect(result).toMatchObject({ outcome: 'pass', value: 812, target: 840, samples: 1000 })
    expect(result.baseline).toEqual({ value: 700, samples: 1000, times: 1.2 })
    expect(ask(LATENCY, amount('p95_latency_ms', 840.5), amount('p95_latency_ms', 700)).outcome).toBe('fail')
    expect(ask(LATENCY, amount('p95_latency_ms', 812), amount('p95_latency_ms', 0)).outcome).toBe('fail')
  })

  test('needs a baseline of the same window and of enough samples', () => {
    const own = amount('p95_latency_ms', 812)
    const other = amount('p95_latency_ms', 700)
    expect(ask(LATENCY, own).outcome).toBe('inconclusive')
    expect(ask(LATENCY, own, { ...other, from: other.from - 1 }).outcome).toBe('error')
    expect(ask(LATENCY, own, { ...other, to: other.to - 1 }).outcome).toBe('error')
    expect(ask(LATENCY, own, { ...other, samples: 99 }).outcome).toBe('inconclusive')
    expect(ask(LATENCY, own, { ...other, value: Number.NaN }).outcome).toBe('error')
    expect(ask(LATENCY, own, rate('p95_latency_ms', 1, 2)).outcome).toBe('error')
    expect(ask(LATENCY, own, amount('p50_latency_ms', 700)).outcome).toBe('error')
    expect(ask({ ...LATENCY, metric: 'approval_backlog' }, amount('approval_backlog', 1), other).outcome).toBe('error')
  })

  test('of a bypass fails on the first, and proves none only where something was looked at, all of it', () => {
    const none = check('unapproved_high_risk_actions', { op: 'eq', value: 0 })
    const seen = (value: number, samples: number) => amount('unapproved_high_risk_actions', value, samples)
    expect(ask(none, seen(0, 400)).outcome).toBe('pass')
    expect(ask(none, seen(1, 400)).outcome).toBe('fail')
    expect(ask(none, seen(1, 0)).outcome).toBe('fail')
    expect(ask(none, seen(0, 0)).outcome).toBe('inconclusive')
    expect(ask(none, { ...seen(0, 400), sampled: true }).outcome).toBe('inconclusive')
    const backlog = check('approval_backlog', { op: 'lte', value: 10 })
    expect(ask(backlog, amount('approval_backlog', 0, 0)).outcome).toBe('pass')
    expect(ask(backlog, amount('approval_backlog', 11, 11)).outcome).toBe('fail')
    expect(ask({ ...backlog, target: { op: 'lte', value: true } }, amount('approval_backlog', 0, 0)).pass).toBe(false)
    const fast = check('p95_latency_ms', { op: 'lte', value: 840 }, { min_samples: 0 })
    expect(ask(fast, amount('p95_latency_ms', 0, 0)).outcome).toBe('inconclusive')
  })
})

describe('what was found once', () => {
  const drill = check('rollback_drill_passed', { op: 'eq', value: true })
  test('counts until it expires', () => {
    const at = (value: number | boolean, until?: number) => ask(drill, standing('rollback_drill_passed', value, until))
    expect(at(true)).toMatchObject({ outcome: 'pass', value: true, target: true })
    expect(at(false).outcome).toBe('fail')
    expect(at(true, moment.now).outcome).toBe('inconclusive')
    expect(at(true, Number.NaN).outcome).toBe('error')
    expect(at(1).outcome).toBe('error')
    const later = { ...standing('rollback_drill_passed', true), at: moment.now + 1 } as Reading
    expect(ask(drill, later).outcome).toBe('error')
    const reviews = check('clean_weekly_reviews', { op: 'gte', value: 2 })
    expect(ask(reviews, standing('clean_weekly_reviews', 2)).outcome).toBe('pass')
    expect(ask(reviews, standing('clean_weekly_reviews', 1)).outcome).toBe('fail')
    expect(ask(reviews, standing('clean_weekly_reviews', true)).outcome).toBe('error')
  })
})

describe('nothing that is missing passes', () => {
  const good: [Check, Reading, Reading | undefined][] = [
    [SUCCESS, rate('success_rate_pct', 9990, 10_000), undefined],
    [LATENCY, amount('p95_latency_ms', 700), amount('p95_latency_ms', 700)],
    [check('approval_backlog', { op: 'lte', value: 5 }), amount('approval_backlog', 0, 0), undefined],
    [check('replay_scenarios', { op: 'gte', value: 30 }), standing('replay_scenarios', 30), undefined],
    [check('deny_drill_passed', { op: 'eq', value: true }), standing('deny_drill_passed', true), undefined],
  ]

  test('each of these passes as it is', () => {
    for (const [each, candidate, control] of good) expect(ask(each, candidate, control).outcome).toBe('pass')
  })

  test('not one does with a field missing, or with a value in it that is none', () => {
    const nothings = [undefined, null, Number.NaN, -1, Number.NEGATIVE_INFINITY, 'x', {}, [], 0.5, '100']
    for (const [each, candidate, control] of good)
      for (const which of ['candidate', 'control'] as const) {
        const reading = which === 'candidate' ? candidate : control
        if (reading === undefined) continue
        for (const field of Object.keys(reading).filter((key) => key !== 'query'))
          for (const nothing of nothings) {
            // A P95 of half a millisecond is one, and half a sample is refused where a sample is asked for.
            if (field === 'value' && reading.kind === 'amount' && nothing === 0.5) continue
            const broken = { ...reading, [field]: nothing } as Reading
            const result = which === 'candidate' ? ask(each, broken, control) : ask(each, candidate, broken)
            expect([each.metric, which, field, nothing, result.pass]).toEqual([
              each.metric,
              which,
              field,
              nothing,
              false,
            ])
          }
      }
  })

  test('not a window that is stale, not over, or began before the phase', () => {
    const [each, reading] = good[0]!
    const at = (change: Partial<Moment>) => ask(each, reading, undefined, { ...moment, ...change }).outcome
    expect(at({ now: moment.to + STALE_MS })).toBe('pass')
    expect(at({ now: moment.to + STALE_MS + 1 })).toBe('inconclusive')
    expect(at({ now: moment.to - 1 })).toBe('error')
    expect(at({ phase_at: moment.from })).toBe('pass')
    expect(at({ phase_at: moment.from + 1 })).toBe('inconclusive')
    expect(at({ phase_at: Number.NaN })).toBe('inconclusive')
    expect(at({ now: Number.NaN })).toBe('error')
    expect(at({ from: moment.from - 1 })).toBe('error')
  })

  test('whatever is handed over, an outcome comes back, and pass only for what an oracle passes too', () => {
    const number = fc.oneof(
      fc.constantFrom(0, 1, 20, 99, 200, 1e9, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, moment.from, moment.to),
      fc.double(),
      fc.anything(),
    )
    const reading = fc.oneof(
      fc.anything(),
      fc.record({
        kind: fc.constantFrom('rate', 'amount', 'standing', 'unknown'),
        metric: fc.constantFrom(...GATE_METRIC_NAMES),
        from: fc.oneof(fc.constant(moment.from), number),
        to: fc.oneof(fc.constant(moment.to), number),
        hits: number,
        of: number,
        value: number,
        samples: number,
        at: number,
        valid_until: number,
      }),
    )
    const declared = fc.constantFrom(...good.map(([each]) => each))
    fc.assert(
      fc.property(declared, reading, reading, (each, candidate, control) => {
        if (candidate === null) return // not one that types let in, and no JSON of ours
        const result = ask(each, candidate as Reading, (control ?? undefined) as Reading)
        expect(['pass', 'fail', 'inconclusive', 'error']).toContain(result.outcome)
        expect(result.pass).toBe(result.outcome === 'pass')
        if (result.pass) expect(oracle(each, candidate as never, control as never)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})

/** The same question in other words: whether every single thing that must be there is. */
function oracle(each: Check, got: Record<string, number>, base: Record<string, number>): boolean {
  const isMine = (reading: Record<string, unknown>) =>
    reading.metric === each.metric && reading.from === moment.from && reading.to === moment.to
  switch (each.metric) {
    case 'success_rate_pct':
      return isMine(got) && got.of! >= 200 && got.hits! <= got.of! && got.hits! / got.of! >= 0.99
    case 'p95_latency_ms':
      return (
        isMine(got) && isMine(base) && got.samples! >= 100 && base.samples! >= 100 && got.value! <= base.value! * 1.2
      )
    case 'approval_backlog':
      return isMine(got) && got.value! >= 0 && got.value! <= 5
    case 'replay_scenarios':
      return got.value! >= 30 && got.at! <= moment.now && got.valid_until! > moment.now
    default:
      return (got.value as unknown) === true && got.at! <= moment.now && got.valid_until! > moment.now
  }
}

describe('what is written down', () => {
  test('is cut to the bad side and never by more than a step', () => {
    const ways = fc.constantFrom<'up' | 'down'>('up', 'down')
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: MOST, noNaN: true }),
        fc.constantFrom(1, 1000, 1e6),
        ways,
        (value, steps, to) => {
          const found = cut(value, steps, to)
          const slack = 1e-6 / steps + value * 1e-15
          expect(Math.abs(found - value)).toBeLessThanOrEqual(1 / steps + slack)
          if (to === 'up') expect(found).toBeGreaterThanOrEqual(value - slack)
          else expect(found).toBeLessThanOrEqual(value + slack)
          expect(cut(found, steps, to)).toBe(found)
          expect(Object.is(found, -0)).toBe(false)
        },
      ),
    )
  })

  test('is what is compared: an edge is met by what reads as the edge', () => {
    const latency = check('p95_latency_ms', { op: 'lte' as Op, value: 840 } as Check['target'])
    expect(ask(latency, amount('p95_latency_ms', 840)).outcome).toBe('pass')
    expect(ask(latency, amount('p95_latency_ms', 840.2))).toMatchObject({ outcome: 'fail', value: 841 })
  })
})
