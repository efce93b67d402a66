import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Check, Reading } from './check.js'
import { evaluateGate, type GateInput, looksThatCount, type PastLook } from './gate.js'

const MINUTE = 60_000
const to = 1000 * MINUTE
const window = { from: to - 10 * MINUTE, to }
const checks: Check[] = [
  { metric: 'approval_backlog', target: { op: 'lte', value: 5 }, min_samples: 0, confidence: null },
  { metric: 'success_rate_pct', target: { op: 'gte', value: 99 }, min_samples: 200, confidence: 0.95 },
]
const backlog = (value: number): Reading => ({
  kind: 'amount',
  metric: 'approval_backlog',
  query: 'q',
  ...window,
  value,
  samples: value,
})
const success = (hits: number, of = 10_000): Reading => ({
  kind: 'rate',
  metric: 'success_rate_pct',
  query: 'q',
  ...window,
  hits,
  of,
})
const gate = (given: Partial<GateInput> = {}, consecutive = 1, asked = checks) =>
  evaluateGate({
    gate: { window: '10m', window_ms: 10 * MINUTE, consecutive, checks: asked },
    candidate: [success(9990), backlog(0)],
    control: [],
    past: [],
    now: to,
    to,
    phase_at: 0,
    ...given,
  })

describe('a gate', () => {
  test('passes where all checks do, and only then', () => {
    expect(gate()).toMatchObject({ outcome: 'pass', clean: true, in_a_row: 1, from: window.from, to })
    expect(gate({ candidate: [success(9990)] }).outcome).toBe('inconclusive')
    expect(gate({ candidate: [success(9990), backlog(6)] }).outcome).toBe('fail')
    expect(gate({ candidate: [success(9990, 1), backlog(6)] }).outcome).toBe('fail')
    expect(gate({ candidate: [success(9990, 1), backlog(0)] }).outcome).toBe('error')
    expect(gate({ candidate: [] })).toMatchObject({ outcome: 'inconclusive', in_a_row: 0 })
  })

  test('that asks nothing lets nothing pass, nor does one that was measured twice or asks for what is no metric', () => {
    expect(gate({}, 1, []).outcome).toBe('error')
    expect(gate({ candidate: [success(9990), success(9990), backlog(0)] }).outcome).toBe('error')
    for (const metric of ['constructor', '__proto__', 'uptime'] as never[])
      expect(gate({}, 1, [{ ...checks[0]!, metric }]).outcome).toBe('error')
  })
})

test('no lucky window passes of a phase that is proven to miss', () => {
  const from = to - 900 * MINUTE
  const since = (hits: number, of: number) => ({ ...success(hits, of), from }) as Reading
  const held = (...candidate: Reading[]) => gate({ whole: { from, candidate, control: [] } })
  expect(held(since(99_500, 100_000))).toMatchObject({ outcome: 'pass', clean: true })
  // Between the bounds nothing is proven of the phase, and the window decides.
  expect(held(since(9_895, 10_000)).outcome).toBe('pass')
  expect(held(since(98_000, 100_000))).toMatchObject({ outcome: 'fail', clean: false })
  expect(held(since(98_000, 100_000)).reason).toContain('in the phase')
  expect(held().outcome).toBe('inconclusive')
  expect(held(success(9990)).outcome).toBe('error')
  const unknown: Reading = { kind: 'unknown', metric: 'success_rate_pct', query: 'q', why: 'too many' }
  expect(held(unknown).outcome).toBe('inconclusive')
})

test('what has not ended lets nothing pass that it could make fail', () => {
  const open = (n: number) => gate({ candidate: [{ ...success(9990), open: n } as Reading, backlog(0)] })
  expect(open(0).outcome).toBe('pass')
  expect(open(50).outcome).toBe('pass')
  expect(open(200)).toMatchObject({ outcome: 'inconclusive', clean: false })
  expect(open(-1).outcome).toBe('error')
  const errors: Check = { metric: 'error_rate', target: { op: 'lte', value: 0.01 }, min_samples: 200, confidence: 0.95 }
  const of = { ...success(10), metric: 'error_rate' } as Reading
  expect(gate({ candidate: [of] }, 1, [errors]).outcome).toBe('pass')
  expect(gate({ candidate: [{ ...of, open: 200 } as Reading] }, 1, [errors]).outcome).toBe('inconclusive')
})

describe('clean windows in a row', () => {
  const look = (end: number, clean = true): PastLook => ({ from: (end - 10) * MINUTE, to: end * MINUTE, clean })
  const row = (past: PastLook[], phase_at = 0) => gate({ past, phase_at }, 3)

  test('are asked for beside the checks', () => {
    expect(row([])).toMatchObject({ outcome: 'inconclusive', clean: true, in_a_row: 1 })
    expect(row([look(990)])).toMatchObject({ outcome: 'inconclusive', in_a_row: 2 })
    expect(row([look(980), look(990)])).toMatchObject({ outcome: 'pass', in_a_row: 3 })
  })

  test('do not overlap: three looks at nearly the same ten minutes are one', () => {
    expect(row([look(999.8), look(999.9), look(999)]).in_a_row).toBe(1)
    expect(row([look(999), look(995), look(990), look(985), look(981)]).in_a_row).toBe(2)
  })

  test('end at the first look that was not clean, at a hole, and where the phase began', () => {
    expect(row([look(990), look(985, false), look(980)]).in_a_row).toBe(2)
    expect(row([look(999, false), look(990), look(980)]).in_a_row).toBe(1)
    expect(row([look(979), look(969)]).in_a_row).toBe(1)
    expect(row([look(990), look(990, false)]).in_a_row).toBe(1)
    expect(row([{ ...look(990), from: 985 * MINUTE }]).in_a_row).toBe(1)
    expect(row([look(985), look(970)]).in_a_row).toBe(3)
    expect(row([look(990), look(980), look(970), look(960)]).in_a_row).toBe(3)
    expect(row([look(990), look(980)], 975 * MINUTE).in_a_row).toBe(2)
    expect(gate({ past: [look(990), look(980)] }, Number.NaN).outcome).toBe('inconclusive')
  })

  test('looks from later change nothing: asked again about then, it says the same', () => {
    const ends = fc.array(fc.record({ end: fc.integer({ min: 900, max: 1100 }), clean: fc.boolean() }))
    fc.assert(
      fc.property(ends, (given) => {
        const past = given.map(({ end, clean }) => look(end, clean))
        expect(row(past)).toEqual(row(past.filter((each) => each.to < to).reverse()))
      }),
    )
  })

  test('come out the same from the looks that count alone', () => {
    const those = (past: PastLook[]) =>
      looksThatCount({ gate: { window: '10m', window_ms: 10 * MINUTE, consecutive: 3, checks }, past, to, phase_at: 0 })
    const ends = fc.array(fc.record({ end: fc.integer({ min: 900, max: 1010 }), clean: fc.boolean() }))
    fc.assert(
      fc.property(ends, (given) => {
        const past = given.map(({ end, clean }) => look(end, clean))
        const kept = those(past)
        expect(row(kept)).toEqual(row(past))
        expect(those(kept.toReversed())).toEqual(kept)
        expect(kept.length).toBeLessThanOrEqual(3)
      }),
    )
  })

  test('are as many as one counts by hand', () => {
    const ends = fc.uniqueArray(fc.record({ end: fc.integer({ min: 900, max: 999 }), clean: fc.boolean() }), {
      selector: ({ end }) => end,
    })
    fc.assert(
      fc.property(ends, (given) => {
        const found = row(given.map(({ end, clean }) => look(end, clean))).in_a_row
        // Minute by minute backward, no further than the three asked for: the newest look that ends in front of the last counted one.
        let count = 1
        let edge = 990
        let end = 999
        for (; count < 3 && end >= edge - 10 && end >= 900; end--) {
          const here = given.find((each) => each.end === end)
          if (here === undefined) continue
          if (!here.clean) break
          if (end > edge) continue
          count++
          edge = end - 10
        }
        expect(found).toBe(count)
      }),
    )
  })
})
