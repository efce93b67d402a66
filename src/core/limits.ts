/**
 * Rule limits. `rate` is a sliding window kept in two buckets: the last full window counts by the share of it that still
 * lies inside the sliding one. Exact logs were rejected (a row per submit), fixed windows too (twice the rate at the seam);
 * this one is at most a few per cent off when arrivals inside a window are uneven, and never more than the limit in a fresh one.
 */
export interface Counter {
  window_start: number
  current: number
  previous: number
  held: number
}

export const FRESH: Counter = { window_start: 0, current: 0, previous: 0, held: 0 }

export function windowStart(now: number, periodMs: number): number {
  return Math.floor(now / periodMs) * periodMs
}

/** Spent in the sliding window that ends at `now`. */
export function spent(counter: Counter, now: number, periodMs: number): number {
  const start = windowStart(now, periodMs)
  // More than a window ahead only a clock that was wrong and put right can have left it: kept, it would refuse until that date.
  if (counter.window_start > start + periodMs) return 0
  if (counter.window_start >= start)
    return counter.previous * share(counter.window_start, now, periodMs) + counter.current
  return counter.window_start === start - periodMs ? counter.current * share(start, now, periodMs) : 0
}

/** What an agent in the shadow would have spent is counted apart: it takes nothing from those whose work runs. */
export const shadowKey = (agent: string, key: string) => `shadow|${agent}|${key}`

/** The counter after one more. */
export function counted(counter: Counter, now: number, periodMs: number): Counter {
  const start = windowStart(now, periodMs)
  const { window_start, current } = counter
  if (window_start >= start && window_start <= start + periodMs) return { ...counter, current: current + 1 }
  return { ...counter, window_start: start, current: 1, previous: window_start === start - periodMs ? current : 0 }
}

/**
 * How much of the window before `start` still counts. A counter may begin after `now`'s own window: a clock was set back, or
 * the period became longer. It counts whole then; taken for an old one it would let everything through.
 */
const share = (start: number, now: number, periodMs: number) => Math.min(1, 1 - (now - start) / periodMs)

/** ms until one more fits, at least 1 s; the whole rest of the window when the current bucket alone is full. */
export function retryAfter(counter: Counter, count: number, now: number, periodMs: number): number {
  const start = Math.max(windowStart(now, periodMs), counter.window_start)
  const [previous, current] =
    counter.window_start === start ? [counter.previous, counter.current] : [counter.current, 0]
  if (current + 1 > count || previous === 0) {
    // The next window weighs this one: wait until enough of it has slid out.
    const left = Math.max(0, (count - 1) / Math.max(1, current))
    return Math.max(1000, Math.ceil(start + periodMs + (1 - Math.min(1, left)) * periodMs - now))
  }
  const left = (count - 1 - current) / previous
  return Math.max(1000, Math.ceil(start + (1 - left) * periodMs - now))
}
