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

/** Finds of each string of a list, by its place; places without a string, or without a find, may be missing. */
export type HitsByPlace = (Hit[] | undefined)[]

/** Strings put together, of which the first gives what is behind `tail` only. */
interface Joined {
  text: string
  /** Where each string begins in `text`. */
  seams: number[]
  /** The place of the first in its list; the others follow it, unless `places` says where each is. */
  first: number
  places: number[] | null
  tail: number
}

/**
 * Finds what is split across neighbouring strings of one array or object, and adds it to the finds of every string it
 * touches. What is no string breaks the chain. Null for no finds at all.
 */
export function scanSeams(items: readonly unknown[], found: HitsByPlace | null): HitsByPlace | null {
  let hits = found
  let armoured = false
  for (let i = 0; i < items.length; i++) {
    const p = items[i]
    if (typeof p !== 'string') continue
    armoured ||= p.length > 10 && hasDashes(p)
    const next = items[i + 1]
    if (typeof next !== 'string' || !isSeam(codeAt(next, 0)) || !isSeam(codeAt(p, p.length - 1))) continue
    // As far as strings have nothing in them that no credential has; the one that does gives its head, and may begin a new chain.
    let last = i + 1
    let head = stretch(next, 0, SEAM)
    for (let whole = next; head === whole.length; ) {
      armoured ||= head > 10 && hasDashes(whole)
      const further = items[last + 1]
      if (typeof further !== 'string' || !isSeam(codeAt(further, 0))) break
      last++
      whole = further
      head = stretch(further, 0, SEAM)
    }
    hits = across(items as readonly string[], i, last, head, hits)
    i = head === (items[last] as string).length ? last : last - 1
  }
  return armoured ? armour(items, hits) : hits
}

/** The end of the string at `first`, those between, and `head` characters of the one at `last`. */
function across(
  items: readonly string[],
  first: number,
  last: number,
  head: number,
  hits: HitsByPlace | null,
): HitsByPlace | null {
  const p = items[first] as string
  let tail = p.length - 1
  while (tail > 0 && isSeam(codeAt(p, tail - 1))) tail--
  let text = tail === 0 ? p : p.slice(tail)
  const seams = [0, text.length]
  for (let i = first + 1; i < last; i++) {
    text += items[i] as string
    seams.push(text.length)
  }
  const end = items[last] as string
  text += head === end.length ? end : end.slice(0, head)
  return text.length < SHORTEST ? hits : crossing({ text, seams, first, places: null, tail }, hits)
}

function isSeam(code: number): boolean {
  return code < 128 && SEAM[code] === 1
}

/** Whether it has `----`, which must lie on some fourth character: asking the engine for each string takes ten times as long. */
function hasDashes(text: string): boolean {
  for (let i = 3; i < text.length; i += 4) if (text.charCodeAt(i) === 45) return text.includes('----')
  return false
}

/** A key given line by line: its armour has spaces, so the strings are joined whole. */
function armour(items: readonly unknown[], found: HitsByPlace | null): HitsByPlace | null {
  let hits = found
  const places: number[] = []
  const all: Joined = { text: '', seams: [], first: 0, places, tail: 0 }
  for (const [place, p] of items.entries()) {
    if (typeof p !== 'string') continue
    all.seams.push(all.text.length)
    places.push(place)
    all.text += p
  }
  for (const hit of scan(all.text)) if (hit.rank === PRIVATE_KEY) hits = spread(hit, all, hits)
  return hits
}

function crossing(chain: Joined, before: HitsByPlace | null): HitsByPlace | null {
  let hits = before
  for (const hit of scan(chain.text, chain.seams)) {
    if (MARKED[hit.rank] !== true) continue
    const first = partAt(chain.seams, hit.start)
    const last = partAt(chain.seams, hit.end - 1)
    if (first === last) continue
    // Found whole in one of the strings: the neighbour only looks like more of it.
    const found = hits?.slice(chain.first + first, chain.first + last + 1)
    if (!found?.some((own) => own?.some((h) => h.rank === hit.rank))) hits = spread(hit, chain, hits)
  }
  return hits
}

/** Index of the string that holds place `at` of the joined text. */
function partAt(seams: readonly number[], at: number): number {
  let [lo, hi] = [0, seams.length - 1]
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1
    if ((seams[mid] ?? 0) <= at) lo = mid
    else hi = mid - 1
  }
  return lo
}

function spread(hit: Hit, { text, seams, first, places, tail }: Joined, found: HitsByPlace | null): HitsByPlace {
  const hits = found ?? []
  const last = partAt(seams, hit.end - 1)
  for (let k = partAt(seams, hit.start); k <= last; k++) {
    const at = seams[k] as number
    const from = k === 0 ? tail : 0
    const start = from + Math.max(0, hit.start - at)
    const end = from + Math.min(hit.end, seams[k + 1] ?? text.length) - at
    const place = places === null ? first + k : (places[k] as number)
    if (end > start) hits[place] = [...(hits[place] ?? []), { start, end, rank: hit.rank }]
  }
  return hits
}
