import type { Door } from '../core/door.js'
import { windowStart } from '../core/limits.js'
import type { AppliedLimit } from '../core/policy/evaluate.js'
import type { Spend } from './ledger/write.js'

/** What a job that passes this door spends of the rates that bind it: racing nodes never let more through than there is. */
export function rateSpends(tenant: string, limits: readonly AppliedLimit[], door: Door, at: number): Spend[] {
  return limits.flatMap(({ key, rate, spent_at = 'submit' }): Spend[] => {
    if (rate === undefined || spent_at !== door) return []
    const { count: max, period_ms } = rate
    return [{ tenant, key, kind: 'rate', max, window_start: windowStart(at, period_ms), period_ms, at }]
  })
}

/** A place under each concurrency limit that binds. */
export function holds(tenant: string, limits: readonly AppliedLimit[], at: number): Spend[] {
  return limits.flatMap(({ key, concurrent }): Spend[] =>
    concurrent === undefined ? [] : [{ tenant, key, kind: 'held', max: concurrent, window_start: 0, period_ms: 1, at }],
  )
}
