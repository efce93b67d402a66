import { charSet, codeAt, stretch } from './chars.js'
import { DETECTORS, type Hit, rankOf } from './detectors.js'
import { scan } from './scan.js'

/** What a credential can be made of; a seam between two strings matters only where both sides of it are. */
const SEAM = charSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+/=.:@%')
const SHORTEST = 20

const PRIVATE_KEY = rankOf('private_key')
/**
 * Joined strings make numbers and addresses that nobody wrote, so only credentials with a mark of their own count.
 * (Joining two columns of order numbers gives a valid card in one of some hundred rows.)
 */
const MARKED: boolean[] = DETECTORS.map(
  (d) => d.class !== 'pii' && !['assigned_secret', 'bearer_token', 'basic_auth', 'url_credentials'].includes(d.name),
)

interface Part {
  piece: number
  /** Where the part begins in its piece, and in the joined text. */
  from: number
  at: number
}

/** Finds of each string of a list, by its place; places without a string, or without a find, may be missing. */
export type HitsByPlace = (Hit[] | undefined)[]

/**
 * Finds what is split across neighbouring strings of one array or object, and adds it to the finds of every string it
 * touches. What is no string breaks the chain.
 */
export function scanSeams(items: readonly unknown[], hits: HitsByPlace): void {
  let parts: Part[] = []
  let joined = ''
  let armoured = false
  const flush = () => {
    if (parts.length > 1 && joined.length >= SHORTEST) crossing(joined, parts, hits)
    parts = []
    joined = ''
  }
  for (let i = 0; i < items.length; i++) {
    const p = items[i]
    if (typeof p !== 'string') {
      if (parts.length > 0) flush()
      continue
    }
    armoured ||= p.length > 10 && p.includes('----')
    let head = -1
    if (parts.length > 0) {
      head = stretch(p, 0, SEAM)
      if (head > 0) {
        parts.push({ piece: i, from: 0, at: joined.length })
        joined += head === p.length ? p : p.slice(0, head)
        if (head === p.length) continue
      }
      flush()
    }
    const next = items[i + 1]
    if (typeof next !== 'string' || !isSeam(codeAt(next, 0)) || !isSeam(codeAt(p, p.length - 1))) continue
    let tail = p.length - 1
    while (tail > 0 && isSeam(codeAt(p, tail - 1))) tail--
    parts.push({ piece: i, from: tail, at: 0 })
    joined = tail === 0 ? p : p.slice(tail)
  }
  flush()
  if (armoured) armour(items, hits)
}

function isSeam(code: number): boolean {
  return code < 128 && SEAM[code] === 1
}

/** A key given line by line: its armour has spaces, so the strings are joined whole. */
function armour(items: readonly unknown[], hits: HitsByPlace): void {
  const parts: Part[] = []
  let joined = ''
  for (const [piece, p] of items.entries()) {
    if (typeof p !== 'string') continue
    parts.push({ piece, from: 0, at: joined.length })
    joined += p
  }
  for (const hit of scan(joined)) if (hit.rank === PRIVATE_KEY) spread(hit, joined, parts, hits)
}

function crossing(joined: string, parts: Part[], hits: HitsByPlace): void {
  for (const hit of scan(joined, new Set(parts.map((p) => p.at)))) {
    if (MARKED[hit.rank] !== true) continue
    const first = partAt(parts, hit.start)
    const last = partAt(parts, hit.end - 1)
    if (first === last) continue
    // Found whole in one of the pieces: the neighbour only looks like more of it.
    const known = parts.slice(first, last + 1).some((p) => hits[p.piece]?.some((h) => h.rank === hit.rank))
    if (!known) spread(hit, joined, parts, hits)
  }
}

/** Index of the part that holds place `at` of the joined text. */
function partAt(parts: Part[], at: number): number {
  let [lo, hi] = [0, parts.length - 1]
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1
    if ((parts[mid]?.at ?? 0) <= at) lo = mid
    else hi = mid - 1
  }
  return lo
}

function spread(hit: Hit, joined: string, parts: Part[], hits: HitsByPlace): void {
  const last = partAt(parts, hit.end - 1)
  for (let k = partAt(parts, hit.start); k <= last; k++) {
    const part = parts[k] as Part
    const start = part.from + Math.max(0, hit.start - part.at)
    const end = part.from + Math.min(hit.end, parts[k + 1]?.at ?? joined.length) - part.at
    if (end > start) hits[part.piece] = [...(hits[part.piece] ?? []), { start, end, rank: hit.rank }]
  }
}
