/** Milliseconds in each unit a policy may write. Months and years are left out: their length depends on the calendar. */
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }

const PERIOD_MS: Record<string, number> = { second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 }

/** A year: anything longer is a typing mistake rather than a plan. */
const LONGEST_MS = 366 * UNIT_MS.d!

/** `4h`, `15m`, `1h30m`, `250ms` → ms; null for anything else, for zero and for more than a year. */
export function parseDuration(text: string): number | null {
  if (text.length > 32 || !/^(?:[0-9]+(?:ms|s|m|h|d|w))+$/.test(text)) return null
  let total = 0
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|s|m|h|d|w)/g)) total += Number(count) * UNIT_MS[unit!]!
  return total > 0 && total <= LONGEST_MS ? total : null
}

/** `5/hour`, `100/10m` → how many per how many ms; null for anything else. */
export function parseRate(text: string): { count: number; period_ms: number } | null {
  const parts = /^([0-9]{1,9})\/([a-z0-9]{1,16})$/.exec(text)
  if (!parts) return null
  const count = Number(parts[1])
  const period_ms = Object.hasOwn(PERIOD_MS, parts[2]!) ? PERIOD_MS[parts[2]!]! : parseDuration(parts[2]!)
  return count > 0 && period_ms !== null ? { count, period_ms } : null
}
