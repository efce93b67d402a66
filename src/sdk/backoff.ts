import { SallyportError } from './errors.js'

/**
 * Exponential back-off with full jitter: somewhere between `floorMs` and `baseMs × 2^attempt`, never above `capMs`.
 * Full jitter because a restarted server would otherwise meet all its clients in the same millisecond.
 *
 * @param attempt 0 for the first wait
 * @param random a number in [0, 1)
 */
export function backoffMs(
  attempt: number,
  { floorMs = 0, baseMs, capMs }: { floorMs?: number; baseMs: number; capMs: number },
  random = Math.random(),
): number {
  const top = Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30))
  return floorMs + Math.max(0, top - floorMs) * random
}

/** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      if (signal?.aborted) reject(signal.reason)
      else resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end)
  })
}

/** Waits of everything a worker must get through to the server: never busy, never longer than a restart is annoying. */
export const WORKER_BACKOFF = { floorMs: 100, baseMs: 200, capMs: 5_000 }

/**
 * Calls until it succeeds or fails in a way that repeating does not change; waits 0.1–5 s in between, longer as it
 * goes on or as the server asks.
 * Throws that failure, or the signal's reason.
 *
 * @param passing whether repeating may help
 */
export async function persist<T>(
  call: () => Promise<T>,
  passing: (error: unknown) => boolean,
  signal?: AbortSignal,
): Promise<T> {
  for (let round = 0; ; round++) {
    signal?.throwIfAborted()
    try {
      return await call()
    } catch (error) {
      if (!passing(error)) throw error
      const asked = error instanceof SallyportError ? Math.min(error.retry_after_ms ?? 0, WORKER_BACKOFF.capMs) : 0
      await pause(Math.max(asked, backoffMs(round, WORKER_BACKOFF)), signal)
    }
  }
}
