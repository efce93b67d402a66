import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_GAP_MS, type Sample, TRIGGER_NAMES, termsOf, UNSEEN_MS, watch } from './trigger.js'

const SECOND = 1000
const errors = termsOf('error_rate')
const base = { baseline: 0.01, samples: 100, baseline_samples: 100 }
/** A look each 10 s from 0 on: `b` too much, `.` well, `?` not known, ` ` no look at all. */
const series = (marks: string): Sample[] =>
  [...marks].flatMap((mark, n) => {
    const at = n * 10 * SECOND
    if (mark === ' ') return []
    return [{ at, value: mark === '?' ? null : mark === 'b' ? 0.05 : 0.001, ...base }]
  })
const seen = (marks: string, terms = errors) => watch(terms, series(marks), (marks.length - 1) * 10 * SECOND)

describe('the error rate over twice the baseline', () => {
  test('for ten minutes trips, and not before', () => {
    expect(seen('b'.repeat(60))).toMatchObject({ state: 'breaching', held_ms: 590_000, since: 0, tripped_at: null })
    expect(seen('b'.repeat(61))).toMatchObject({ state: 'tripped', tripped_at: 600_000 })
    expect(seen(`..${'b'.repeat(61)}`)).toMatchObject({ tripped_at: 620_000 })
    expect(seen('b'.repeat(99))).toMatchObject({ tripped_at: 600_000, held_ms: 980_000 })
    expect(seen('.'.repeat(100))).toEqual({ state: 'clear', tripped_at: null, held_ms: 0, since: null })
  })

  test('one look that is well starts it over; once tripped, nothing takes it back', () => {
    expect(seen(`${'b'.repeat(60)}.${'b'.repeat(60)}`)).toMatchObject({ state: 'breaching', held_ms: 590_000 })
    expect(seen(`${'b'.repeat(61)}${'.'.repeat(200)}`)).toMatchObject({ state: 'tripped', tripped_at: 600_000 })
  })

  test('a gap never clears and never proves', () => {
    for (const gap of ['?', '??', ' '.repeat(6), ' ? ', ' '.repeat(500)]) {
      expect(seen(`${'b'.repeat(31)}${gap}${'b'.repeat(30)}`)).toMatchObject({ held_ms: 590_000, tripped_at: null })
      expect(seen(`${'b'.repeat(31)}${gap}${'b'.repeat(31)}`).state).toBe('tripped')
    }
    expect(seen(`b${' '.repeat(500)}b`)).toMatchObject({ held_ms: 0, since: 0 })
    expect(seen(`${'b'.repeat(60)}?`)).toMatchObject({ state: 'breaching', held_ms: 590_000 })
    expect(seen(`${'b'.repeat(60)}??`)).toMatchObject({ state: 'blind', held_ms: 590_000, since: 0 })
  })

  test('what stands between two looks ends what they prove together, however close they are', () => {
    const held = (value: number | null) => {
      const looks = [0.05, value, 0.05].map((each, n) => ({
        at: n * 5 * SECOND,
        value: each,
        ...base,
      }))
      return watch(errors, looks, 10 * SECOND).held_ms
    }
    expect([held(0.05), held(null), held(0)]).toEqual([10 * SECOND, 0, 0])
  })

  test('nothing seen is blind, not clear', () => {
    expect(watch(errors, [], 0).state).toBe('blind')
    expect(seen('???').state).toBe('blind')
    expect(seen('.  ').state).toBe('blind')
    expect(seen('.?').state).toBe('clear')
    expect(watch(errors, series('.'), UNSEEN_MS).state).toBe('clear')
    expect(watch(errors, series('.'), UNSEEN_MS + 1).state).toBe('blind')
  })

  test('what is no number, of too few, or later than now says nothing', () => {
    const at = (sample: Partial<Sample>) =>
      watch(
        { ...errors, for_ms: 0 },
        [{ at: 0, value: 0.5, baseline: 0.01, samples: 20, baseline_samples: 20, ...sample }],
        0,
      ).state
    expect(at({})).toBe('tripped')
    expect(at({ samples: 19 })).toBe('blind')
    expect(at({ samples: undefined })).toBe('blind')
    for (const nothing of [null, Number.NaN, -1, Number.POSITIVE_INFINITY, undefined, 'x'] as never[]) {
      expect(at({ value: nothing })).toBe('blind')
      // A baseline that is not known is one at its floor.
      expect(at({ baseline: nothing })).toBe('tripped')
      expect(at({ value: 0.02, baseline: nothing })).toBe('clear')
    }
    expect(at({ at: 1 })).toBe('blind')
    expect(at({ at: Number.NaN })).toBe('blind')
    // Exactly twice is not over twice; under the floor the floor counts.
    expect(at({ value: 0.02 })).toBe('clear')
    expect(at({ value: 0.02, baseline: 0 })).toBe('clear')
    expect(at({ value: 0.0201, baseline: 0 })).toBe('tripped')
    expect(at({ value: 0.5, baseline: 0.4 })).toBe('clear')
    // Of too few it excuses nothing.
    expect(at({ value: 0.5, baseline: 0.4, baseline_samples: 19 })).toBe('tripped')
  })
})

test('looks of slow rounds, up to a minute apart, add up', () => {
  const looks = (every: number) => Array.from({ length: 100 }, (_, n) => ({ at: n * every, value: 0.05, ...base }))
  expect(watch(errors, looks(16 * SECOND), 99 * 16 * SECOND)).toMatchObject({ tripped_at: 608 * SECOND })
  expect(watch(errors, looks(60 * SECOND), 99 * 60 * SECOND)).toMatchObject({ tripped_at: 600 * SECOND })
  expect(watch(errors, looks(61 * SECOND), 99 * 61 * SECOND)).toMatchObject({ held_ms: 0, tripped_at: null })
})

test('a stable version that is bad itself excuses no rate of over a half', () => {
  const at = (trigger: 'error_rate' | 'quarantine', value: number, baseline: number) =>
    watch({ ...termsOf(trigger), for_ms: 0 }, [{ at: 0, value, ...base, baseline }], 0).state
  expect([at('error_rate', 0.51, 0.5), at('error_rate', 0.5, 0.5), at('error_rate', 0.45, 0.24)]).toEqual([
    ...['tripped', 'clear', 'clear'],
  ])
  expect([at('quarantine', 0.51, 0.9), at('quarantine', 0.5, 0.9)]).toEqual(['tripped', 'clear'])
  const slow = { ...termsOf('p95_latency'), for_ms: 0 }
  expect(watch(slow, [{ at: 0, value: 900, ...base, baseline: 450 }], 0).state).toBe('clear')
})

test('a latency without a baseline is not known, there being no floor to hold it against', () => {
  const terms = { ...termsOf('p95_latency'), for_ms: 0 }
  const at = (sample: Partial<Sample>) => watch(terms, [{ at: 0, value: 900, ...base, ...sample }], 0).state
  expect(at({ baseline: 400 })).toBe('tripped')
  expect(at({ baseline: 450 })).toBe('clear')
  expect(at({ baseline: null })).toBe('blind')
  expect(at({ baseline: 400, baseline_samples: 19 })).toBe('blind')
})

test('the matrix says what the guide and the checklist say', () => {
  expect(termsOf('error_rate')).toMatchObject({ times: 2, for_ms: 600_000 })
  expect(termsOf('approval_backlog')).toMatchObject({ rule: 'over', limit: 900, for_ms: 1_800_000 })
  expect(termsOf('quarantine')).toMatchObject({ times: 3, for_ms: 0 })
  for (const name of ['policy_bypass', 'unapproved_high_risk', 'replay_bypass', 'replay_duplicate'] as const) {
    expect(watch(termsOf(name), [{ at: 0, value: 1 }], 0)).toMatchObject({ state: 'tripped', tripped_at: 0 })
    expect(watch(termsOf(name), [{ at: 0, value: 0 }], 0).state).toBe('clear')
  }
})

test('a drill that has expired trips when it does', () => {
  const at = (now: number) => watch(termsOf('drill_expired'), [{ at: now, value: 500 }], now).state
  expect([at(499), at(500), at(501)]).toEqual(['clear', 'tripped', 'tripped'])
})

describe('in general', () => {
  const marks = fc.string({ unit: fc.constantFrom('b', '.', '?', ' '), maxLength: 200 })

  test('held is the time between neighbours that both say too much, since the last that did not', () => {
    fc.assert(
      fc.property(marks, (text) => {
        const run = text.slice(text.lastIndexOf('.') + 1)
        let steps = 0
        let last: number | null = null
        for (let i = 0; i < run.length; i++) {
          if (run[i] === ' ') continue
          if (run[i] === 'b' && last !== null && (i - last) * 10 * SECOND <= MAX_GAP_MS) steps += i - last
          last = run[i] === 'b' ? i : null
        }
        expect(seen(text).held_ms).toBe(steps * 10 * SECOND)
      }),
    )
  })

  test('making a look worse never untrips and never trips later; order and doubles do not matter', () => {
    fc.assert(
      fc.property(marks, fc.nat(), (text, which) => {
        const terms = { ...errors, for_ms: 60 * SECOND }
        const before = seen(text, terms).tripped_at
        const place = text.length === 0 ? 0 : which % text.length
        const after = seen(`${text.slice(0, place)}b${text.slice(place + 1)}`, terms).tripped_at
        if (before !== null) expect(after).toBeLessThanOrEqual(before)
        const now = (text.length - 1) * 10 * SECOND
        const mixed = [...series(text), ...series(text)].reverse()
        expect(watch(terms, mixed, now)).toEqual(seen(text, terms))
      }),
    )
  })

  test('of two looks at once the worse one counts', () => {
    const at = (...values: (number | null)[]) =>
      watch(
        termsOf('policy_bypass'),
        values.map((value) => ({ at: 0, value })),
        0,
      ).state
    expect([at(0, 1), at(1, 0), at(null, 1), at(null, 0), at(0, null), at(0, 0)]).toEqual([
      'tripped',
      'tripped',
      'tripped',
      'blind',
      'blind',
      'clear',
    ])
  })

  test('garbage trips nothing that no sound sample trips', () => {
    const sample = fc.record({
      at: fc.anything(),
      value: fc.anything(),
      baseline: fc.anything(),
      samples: fc.anything(),
    })
    fc.assert(
      fc.property(fc.constantFrom(...TRIGGER_NAMES), fc.array(sample), (name, given) => {
        const found = watch(termsOf(name), given as Sample[], 0)
        if (found.state !== 'tripped') return
        expect(given.some(({ at, value }) => Number.isSafeInteger(at) && typeof value === 'number' && value >= 0)).toBe(
          true,
        )
      }),
    )
  })
})
