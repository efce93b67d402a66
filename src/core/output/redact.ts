import { DETECTORS, type Hit } from './detectors.js'

/** What is done with a find; as a number so that the severest is the greatest. */
export const ALLOW = 0
export const REDACT = 1
export const QUARANTINE = 2
export type Severity = typeof ALLOW | typeof REDACT | typeof QUARANTINE

export interface Redacted {
  text: string
  /** Rank of each find that was taken out, overlapping ones told once by the severest, then the most specific. */
  taken: number[]
  /** Ranks of what the policy lets through. */
  allowed: Set<number>
}

export function placeholder(rank: number): string {
  return `[REDACTED:${DETECTORS[rank]?.name ?? 'unknown'}]`
}

/** Replaces what `severityOf` does not allow by typed placeholders. `hits` must not be empty. */
export function redact(text: string, hits: Hit[], severityOf: (rank: number) => Severity): Redacted {
  const allowed = new Set<number>()
  const spans: Hit[] = []
  for (const h of [...hits].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const s = severityOf(h.rank)
    if (s === ALLOW) {
      allowed.add(h.rank)
      continue
    }
    const last = spans.at(-1)
    if (last === undefined || h.start >= last.end) spans.push({ ...h })
    else {
      const stronger = s - severityOf(last.rank) || last.rank - h.rank
      if (stronger > 0) last.rank = h.rank
      if (h.end > last.end) last.end = h.end
    }
  }
  let out = ''
  let done = 0
  for (const s of spans) {
    out += text.slice(done, s.start) + placeholder(s.rank)
    done = s.end
  }
  return { text: spans.length === 0 ? text : out + text.slice(done), taken: spans.map((s) => s.rank), allowed }
}
