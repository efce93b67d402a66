import { describe, expect, test } from 'vitest'
import { quantile } from '../metrics.js'
import { costOf, ofQueue, queueAt, RANKS, rankOf, runsSucceeded, SHARES, shareOf } from './reading.js'

const group = (word: string, n: number, more: object = {}) => ({
  word,
  n,
  counts: true,
  verdict: null,
  ms: null,
  ...more,
})
const run = (run_id: string, of: number, succeeded: number, cost: number | null = null) => ({
  run_id,
  of,
  succeeded,
  cost,
})

describe('readings of samples', () => {
  test('shares: what counts, and of it what is meant', () => {
    const ends = [
      group('succeeded', 8),
      group('ambiguous', 1),
      group('dead_letter', 1),
      group('succeeded', 5, { counts: false }),
    ]
    expect(shareOf(SHARES.success_rate_pct as never, ends)).toEqual({ kind: 'rate', hits: 8, of: 10 })
    const screened = [group('a', 3, { verdict: 'QUARANTINE' }), group('b', 4, { verdict: 'ALLOW' }), group('c', 9)]
    expect(shareOf(SHARES.quarantine_ratio as never, screened)).toEqual({ kind: 'rate', hits: 3, of: 7 })
    const attempts = [group('succeeded', 6), group('failed', 2), group('lost', 1)]
    expect(shareOf(SHARES.error_rate as never, attempts)).toEqual({ kind: 'rate', hits: 3, of: 9 })
    expect(shareOf(SHARES.deny_ratio as never, [])).toEqual({ kind: 'rate', hits: 0, of: 0 })
  })

  test('percentiles are those of all values, however they are grouped', () => {
    let seed = 7
    const random = () => (seed = (seed * 48271) % 2147483647)
    for (const size of [1, 2, 19, 20, 21, 100, 333]) {
      const values = Array.from({ length: size }, () => random() % 40)
      const groups = values.map((ms) => group('succeeded', 1, { ms }))
      const merged = [...new Set(values)].map((ms) => group('x', values.filter((v) => v === ms).length, { ms }))
      for (const metric of ['p50_latency_ms', 'p95_latency_ms'] as const) {
        const rank = RANKS[metric] as NonNullable<(typeof RANKS)[typeof metric]>
        const found = { kind: 'amount', value: quantile(values, rank.share), samples: size }
        expect(rankOf(rank, groups)).toEqual(found)
        expect(rankOf(rank, merged)).toEqual(found)
      }
    }
    expect(rankOf(RANKS.p95_latency_ms as never, [group('dead_letter', 4)])).toMatchObject({ kind: 'unknown' })
  })

  test('a run succeeded where all of it did; one of which nothing counts is none', () => {
    expect(runsSucceeded([run('a', 2, 2), run('b', 3, 2), run('c', 0, 0)])).toEqual({ kind: 'rate', hits: 1, of: 2 })
  })

  test('cost: of everything by what was completed, and not known where a completed run is silent', () => {
    expect(costOf([run('a', 1, 1, 2_000_000), run('b', 2, 1, 4_000_000)])).toEqual({
      kind: 'amount',
      value: 6,
      samples: 1,
    })
    expect(costOf([run('a', 1, 1, 1), run('b', 1, 1)])).toMatchObject({ kind: 'unknown' })
    expect(costOf([run('a', 1, 0, 1)])).toMatchObject({ kind: 'unknown' })
    expect(costOf([run('a', 1, 1, Number.MAX_SAFE_INTEGER), run('b', 1, 1, 9)])).toMatchObject({ kind: 'unknown' })
  })

  test('questions: those closed in the window and those open at its end', () => {
    const at = (ref: string, at: number, ms: number | null = null, counts = true) => ({ ref, at, ms, counts })
    const asked = [at('a', 100), at('b', 100), at('c', 500), at('d', 700), at('e', 900)]
    // That of 700 was closed by a node whose clock is behind.
    const answered = [at('a', 300, 200), at('c', 1500, 1000), at('d', 699, 0, false)]
    const queue = queueAt(asked, answered, { from: 1000, to: 2000 })
    expect(queue).toEqual({ open: [100, 900], waits: [1000] })
    expect(ofQueue('approval_backlog', queue, 2000)).toEqual({ kind: 'amount', value: 2, samples: 2 })
    expect(ofQueue('approval_backlog_oldest_sec', queue, 2000)).toMatchObject({ value: 1.9 })
    expect(ofQueue('approval_queue_median_sec', queue, 2000)).toEqual({ kind: 'amount', value: 1.1, samples: 3 })
    expect(ofQueue('approval_queue_p95_sec', queue, 2000)).toMatchObject({ value: 1.9 })
    const none = queueAt([], [], { from: 0, to: 1 })
    expect(ofQueue('approval_backlog', none, 1)).toEqual({ kind: 'amount', value: 0, samples: 0 })
    expect(ofQueue('approval_queue_median_sec', none, 1)).toMatchObject({ kind: 'unknown' })
  })
})
