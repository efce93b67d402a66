/**
 * Exponential back-off with full jitter: 1 s, 2 s, 4 s … capped at 30 s, each multiplied by a uniform fraction. Full jitter
 * spreads a herd that failed together better than equal jitter, and the floor of 50 ms keeps a retry from being immediate.
 * @param failed attempts failed so far, from 1
 * @param fraction uniform in [0, 1), from the seeded source
 * @returns ms until the next attempt is due
 */
export function retryDelay(failed: number, fraction: number): number {
  const ceiling = Math.min(30_000, 1000 * 2 ** Math.min(failed - 1, 10))
  return Math.max(50, Math.floor(ceiling * fraction))
}
