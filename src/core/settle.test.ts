import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aJob, aLease, anEffect } from '../../test/rows.js'
import { isFinished } from './job.js'
import type { Json } from './json.js'
import { retryDelay } from './retry.js'
import { attemptKey, type Report, settle } from './settle.js'

const usage = { tokens: null, cost: null }
const report: fc.Arbitrary<Report> = fc.oneof(
  fc.record({
    outcome: fc.constant('succeeded' as const),
    verdict: fc.constantFrom('ALLOW' as const, 'REDACT' as const, 'QUARANTINE' as const),
    findings: fc.constant<Json>([]),
    result_ptr: fc.constant('ptr_1'),
    usage: fc.constant(usage),
  }),
  fc.record({
    outcome: fc.constant('failed' as const),
    class: fc.constantFrom('transient' as const, 'terminal' as const),
    code: fc.constant('x'),
    message: fc.constant('no'),
    usage: fc.constant(usage),
  }),
  fc.record({ outcome: fc.constant('lost' as const), why: fc.constantFrom('heartbeat' as const, 'timeout' as const) }),
)
const attempt = fc
  .record({
    budget_from: fc.nat(20),
    over: fc.integer({ min: -2, max: 1 }), // around the last attempt, where it matters
    max_attempts: fc.integer({ min: 1, max: 10 }),
    idempotent: fc.boolean(),
    cancel_requested: fc.boolean(),
    effects: fc.constantFrom('recorded' as const, 'none' as const),
  })
  .map(({ budget_from, over, max_attempts, idempotent, cancel_requested, effects }) => {
    const attempt = budget_from + Math.max(1, max_attempts + over)
    const job = aJob({
      status: 'running',
      lease_id: 'lease_1',
      held_limits: ['a|rule|'],
      attempt,
      budget_from,
      max_attempts,
      idempotent,
      cancel_requested,
    })
    return { job, lease: aLease({ attempt, effects }) }
  })
const effects = fc.array(
  fc.record({
    effect_key: fc.constantFrom('a', 'b', 'c'),
    status: fc.constantFrom('begun' as const, 'committed' as const, 'not_happened' as const),
    lease_id: fc.constantFrom('lease_1', 'lease_0'),
  }),
  { maxLength: 4 },
)

const cases = fc.record({
  attempt,
  effects,
  report,
  fraction: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
})

describe('ending an attempt', () => {
  test('never loses an effect that this lease began: whatever is reported, the job is ambiguous', () => {
    fc.assert(
      fc.property(cases, ({ attempt: { job, lease }, effects, report, fraction }) => {
        const rows = effects.map((each) => anEffect(each))
        const open = rows.some((each) => each.status === 'begun' && each.lease_id === lease.lease_id)
        const { job: next } = settle(job, lease, rows, report, 1000, 'who', fraction)
        if (open) expect(next).toMatchObject({ status: 'ambiguous', status_reason: 'effect_open' })
        const unrecorded = report.outcome === 'lost' && lease.effects === 'none' && !job.idempotent
        if (!open && unrecorded)
          expect(next).toMatchObject({ status: 'ambiguous', status_reason: 'attempt_unrecorded' })
        expect(next.status === 'ambiguous').toBe(open || unrecorded)
      }),
    )
  })

  test('never grants more attempts than the budget, ends the lease, and gives its limits back', () => {
    fc.assert(
      fc.property(cases, ({ attempt: { job, lease }, report, fraction }) => {
        const settled = settle(job, lease, [], report, 1000, 'who', fraction)
        const next = settled.job
        if (next.status === 'retrying') {
          expect(next.attempt - next.budget_from).toBeLessThan(next.max_attempts)
          expect(next.due_at).toBeGreaterThan(1000)
          expect(next.queue_deadline).toBe(next.due_at + next.queue_timeout_ms)
        }
        expect(next.lease_id).toBeNull()
        expect(settled.released).toEqual(['a|rule|'])
        expect(settled.lease).toMatchObject({ ended_at: 1000, outcome: report.outcome })
        if (report.outcome === 'failed' && report.class === 'terminal') expect(next.status).not.toBe('retrying')
        if (job.cancel_requested) expect(next.status).not.toBe('retrying')
        if (next.status !== 'ambiguous' && next.status !== 'retrying') expect(isFinished(next.status)).toBe(true)
      }),
    )
  })

  test('what finished first is what happened: a success stands though a cancel was asked', () => {
    const job = aJob({ status: 'running', lease_id: 'lease_1', attempt: 1, cancel_requested: true })
    const done: Report = { outcome: 'succeeded', verdict: 'ALLOW', findings: [], result_ptr: null, usage }
    expect(settle(job, aLease(), [], done, 1, 'who', 0).job.status).toBe('succeeded')
  })

  test('puts an attempt without records before a person under a key of its own', () => {
    const job = aJob({ status: 'running', lease_id: 'lease_1', attempt: 2 })
    const lease = aLease({ effects: 'none', attempt: 2, hard_end: 777 })
    const { effect } = settle(job, lease, [], { outcome: 'lost', why: 'heartbeat' }, 1, 'who', 0)
    expect(effect).toMatchObject({ effect_key: attemptKey(2), status: 'begun', lease_id: 'lease_1', hard_end: 777 })
  })

  test('adds up what the attempts used', () => {
    const job = aJob({ status: 'running', lease_id: 'lease_1', attempt: 2, tokens: 5, cost: null })
    const failed: Report = {
      outcome: 'failed',
      class: 'transient',
      code: 'x',
      message: '',
      usage: { tokens: 7, cost: 0.5 },
    }
    expect(settle(job, aLease(), [], failed, 1, 'who', 0).job).toMatchObject({ tokens: 12, cost: 0.5 })
  })
})

describe('the delay of a retry', () => {
  const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  test('is a whole number of ms, at least 50, at most 1 s doubled for each failure and never over 30 s', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fraction, (failed, f) => {
        const delay = retryDelay(failed, f)
        expect(Number.isInteger(delay)).toBe(true)
        expect(delay).toBeGreaterThanOrEqual(50)
        expect(delay).toBeLessThanOrEqual(Math.min(30_000, 1000 * 2 ** (failed - 1)))
      }),
    )
  })
  test('is spread over the whole of that, so that a herd does not come back together', () => {
    expect([0.25, 0.5, 0.75].map((f) => retryDelay(3, f))).toEqual([1000, 2000, 3000])
  })
})
