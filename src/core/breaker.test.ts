import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BREAKER_TERMS, type Breaker, hasFailed, merged, type Outcome, outcomesNeeded, turned } from './breaker.js'
import { JOB_STATUSES } from './job.js'

const NOW = 1_000_000
const ends = (text: string, from = 0): Outcome[] =>
  [...text].map((each, n) => ({ job_id: `job_${from + n}`, at: from + n, failed: each === 'x' }))
const turn = (breaker: Breaker | null, text: string, terms = BREAKER_TERMS, now = NOW, from = 0) =>
  turned('t', 'agent:bot', breaker, ends(text, from), terms, now)
const opened = turn(null, 'xxx') as Breaker

describe('what counts', () => {
  test('is what the agent did, said for every state', () => {
    const said = JOB_STATUSES.map((status) => [status, hasFailed(status, null)])
    expect(Object.fromEntries(said.filter(([, failed]) => failed !== null))).toEqual({
      succeeded: false,
      quarantined: true,
      dead_letter: true,
    })
    expect(hasFailed('dead_letter', 'lease_lost')).toBeNull()
    expect(hasFailed('dead_letter', 'timeout')).toBe(true)
    // Cancelled after it had failed, and not because somebody cancelled it.
    expect(['timeout', 'x', 'worker_cancelled'].map((code) => hasFailed('cancelled', code))).toEqual([true, true, true])
    expect(['lease_lost', 'cancelled'].map((code) => hasFailed('cancelled', code))).toEqual([null, null])
  })
})

describe('ends', () => {
  test('read twice count once, in whatever order and overlap they were read', () => {
    const end = fc.record({ job_id: fc.integer({ min: 0, max: 30 }).map(String), at: fc.nat(20), failed: fc.boolean() })
    const own = fc.uniqueArray(end, { selector: ({ job_id }) => job_id, maxLength: 20 })
    fc.assert(
      fc.property(own, fc.nat(20), fc.nat(20), fc.integer({ min: 1, max: 25 }), (all, cut, back, most) => {
        const at = Math.min(cut, all.length)
        const overlap = Math.max(0, at - back)
        const sorted = merged([], all, 100)
        const first = merged([], sorted.slice(0, at), most)
        expect(merged(first, sorted.slice(overlap), most)).toEqual(merged([], sorted, most))
      }),
    )
  })

  test('that were judged anew count as they are now: a quarantine that was released is a success', () => {
    const [held] = ends('x')
    expect(merged([held as Outcome], [{ ...(held as Outcome), at: 50, failed: false }], 3)).toEqual([
      { job_id: 'job_0', at: 50, failed: false },
    ])
  })
})

describe('a breaker', () => {
  test.each([
    ['', null],
    ['xx', null],
    ['xx.x', null],
    ['.xx.xx', null],
    ['xxx', '3 failures in a row'],
    ['x.xxx', '3 failures in a row'],
    ['xxx.', null],
  ])('after %j: %s', (text, reason) => {
    expect(turn(null, text)?.reason ?? null).toBe(reason)
  })

  test('opens by a rate only over as many as it is declared for', () => {
    const terms = { ...BREAKER_TERMS, failures: 10, rate: 0.5, of: 4 }
    expect(turn(null, 'x.x', terms)).toBeNull()
    expect(turn(null, 'x..x', terms)).toMatchObject({ state: 'open', reason: '2 failures among the last 4' })
    expect(turn(null, 'xx..x.', terms)).toBeNull()
    expect(turn(null, 'x.x.x.', { ...terms, of: 6 })?.reason).toBe('3 failures among the last 6')
    expect(outcomesNeeded(terms)).toBe(10)
    expect(outcomesNeeded({ ...terms, failures: 2 })).toBe(4)
    expect(outcomesNeeded(BREAKER_TERMS)).toBe(3)
  })

  test('that is open is moved by nothing that ended before its time', () => {
    expect(opened).toMatchObject({ state: 'open', opened_at: NOW, retry_at: NOW + 600_000 })
    for (const text of ['x', '.', 'xxxx', '....'])
      expect(turn(opened, text, BREAKER_TERMS, NOW + 500_000, NOW + 1)).toBeNull()
  })

  test('closes with the first success after it, and opens for twice as long with a failure', () => {
    const [at, from] = [opened.retry_at + 10, opened.retry_at]
    expect(turn(opened, '.x', BREAKER_TERMS, at, from)).toMatchObject({ state: 'closed', closed_at: at })
    expect(turn(opened, 'x.', BREAKER_TERMS, at, from)).toMatchObject({
      state: 'open',
      opened_at: at,
      retry_at: at + 1_200_000,
      cool_down_ms: 1_200_000,
    })
  })

  test('that was closed counts only what came after', () => {
    const closed: Breaker = { ...opened, state: 'closed', closed_at: 100, closed_by: 'person:olga' }
    expect(turn(closed, 'xx', BREAKER_TERMS, NOW, 99)).toBeNull()
    expect(turn(closed, 'xxx', BREAKER_TERMS, NOW, 98)).toBeNull()
    expect(turn(closed, 'xxx', BREAKER_TERMS, NOW, 101)).toMatchObject({ state: 'open', closed_at: null })
  })
})
