import type { Json, JsonObject } from '../json.js'
import { type Hit, rankOf } from './detectors.js'
import { kindOfKey, type NameKind } from './names.js'
import { type HitsByPlace, scanSeams } from './neighbours.js'
import { isCard } from './numbers.js'
import { ALLOW, placeholder, redact, type Severity } from './redact.js'
import { scan } from './scan.js'
import { rankOfField } from './values.js'

/** Deeper than any document people write, shallower than any stack: what lies deeper is not read but held back. */
export const DEPTH_MAX = 256

/**
 * Taking something out can bring two halves of something else together, so what was redacted is scanned again until nothing
 * is found. Two rounds are the rule; a text that still changes after this many was made to.
 */
const ROUNDS_MAX = 4

/** A value that cannot be screened; it must be held back. */
export class Unscreenable extends Error {}

const CARD = rankOf('credit_card')

/** The way to a value, for findings; a string is made of it only where something was found. */
interface Path {
  parent: Path | null
  /** KEY for a key of the parent instead of a value in it. */
  key: string | number | typeof KEY
}
const KEY = Symbol('key')

function pointer(path: Path | null): string {
  const keys: string[] = []
  for (let p = path; p !== null; p = p.parent) {
    // No escape of a JSON pointer reads `~k`, so `~key` is nobody's key.
    keys.push(p.key === KEY ? '~key' : shortened(String(p.key)).replaceAll('~', '~0').replaceAll('/', '~1'))
  }
  return keys
    .reverse()
    .map((k) => `/${k}`)
    .join('')
}

/** Never half of a surrogate pair: the store takes no such text, and the result it is about could never be recorded. */
const shortened = (key: string) => key.slice(0, 128).replace(/[\ud800-\udbff]$/, '')

interface KeyFacts {
  clean: boolean
  kind: NameKind | null
}

export interface Rules {
  severityOf(rank: number): Severity
  /** One find, at a JSON pointer; a find in a key stands at `<object>/~key`. */
  note(rank: number, path: string): void
}

/** Where a string stands: what its key says of it, and the way to it. */
interface Place {
  kind: NameKind | null
  key: string
  path: Path | null
}

/** The same for a list of strings; paths are made only for what was found. */
interface Places {
  kindAt(i: number): NameKind | null
  keyAt(i: number): string
  pathAt(i: number): Path | null
}

const NOWHERE: Places = { kindAt: () => null, keyAt: () => '', pathAt: () => null }

/** One walk over a JSON value: what is clean is returned as it is, what is not is copied with placeholders. */
export class Walk {
  private readonly rules: Rules
  /** Records repeat their keys; each is looked at once. */
  private readonly keys = new Map<string, KeyFacts>()

  constructor(rules: Rules) {
    this.rules = rules
  }

  screen(value: Json): Json {
    if (typeof value === 'string') return this.strings([value], NOWHERE)[0] as Json
    return this.other(value, { kind: null, key: '', path: null }, 0)
  }

  /** Anything but a string. */
  private other(value: Json, place: Place, depth: number): Json {
    if (typeof value === 'number') return this.number(value, place)
    if (value === null || typeof value !== 'object') return value
    if (depth >= DEPTH_MAX) throw new Unscreenable(`nested deeper than ${DEPTH_MAX} levels`)
    return Array.isArray(value) ? this.array(value, place, depth) : this.object(value, place.path, depth)
  }

  /** Cards fit into a double; a password or a social security number may be sent as a number. */
  private number(value: number, { kind, key, path }: Place): Json {
    if (kind === null && (value < 1e13 || !Number.isSafeInteger(value))) return value
    const text = String(value)
    let rank = kind === null || kind === 'key' ? -1 : rankOfField(text, kind, key)
    if (rank < 0 && isCard(text)) rank = CARD
    if (rank < 0) return value
    this.rules.note(rank, pointer(path))
    return this.rules.severityOf(rank) === ALLOW ? value : placeholder(rank)
  }

  private array(items: Json[], { kind, key, path }: Place, depth: number): Json {
    let out = this.strings(items, { kindAt: () => kind, keyAt: () => key, pathAt: (i) => ({ parent: path, key: i }) })
    for (let i = 0; i < items.length; i++) {
      const item = items[i] as Json
      if (typeof item !== 'object' && typeof item !== 'number') continue
      const screened = this.other(item, { kind, key, path: { parent: path, key: i } }, depth + 1)
      if (screened === item) continue
      if (out === items) out = items.slice()
      out[i] = screened
    }
    return out
  }

  private object(object: JsonObject, path: Path | null, depth: number): Json {
    const keys = Object.keys(object)
    const values = keys.map((k) => object[k] as Json)
    const facts = keys.map((k) => this.factsOf(k))
    const names = this.names(keys, facts, path)
    const named = kindOfNamedValue(object)
    const kindAt = (i: number) => (facts[i] as KeyFacts).kind ?? (keys[i] === 'value' ? named : null)
    const keyAt = (i: number) => keys[i] as string
    // Names, not keys: a path must not tell what was taken out of a key.
    const pathAt = (i: number): Path => ({ parent: path, key: names[i] as string })
    let out = this.strings(values, { kindAt, keyAt, pathAt })
    for (let i = 0; i < keys.length; i++) {
      const value = values[i] as Json
      if (typeof value !== 'object' && typeof value !== 'number') continue
      // A kind goes down into arrays and numbers; objects in it have keys of their own to say what they hold.
      const screened = this.other(value, { kind: kindAt(i), key: keyAt(i), path: pathAt(i) }, depth + 1)
      if (screened === value) continue
      if (out === values) out = values.slice()
      out[i] = screened
    }
    return out !== values || names !== keys ? assemble(names, out) : object
  }

  /**
   * Screens the strings among `items`, each by itself and across the seams between neighbours. Only what changed is scanned
   * again; the seams are, because a placeholder beside one is a new edge.
   */
  private strings(items: Json[], places: Places): Json[] {
    let out = items
    let fresh: Set<number> | null = null // null: all of them
    for (let round = 1; round <= ROUNDS_MAX; round++) {
      const hits: HitsByPlace = []
      let seams = false
      let before = false
      for (let i = 0; i < out.length; i++) {
        const item = out[i]
        const isText = typeof item === 'string'
        if (isText) {
          seams ||= before
          if (fresh === null || fresh.has(i)) this.collect(item, i, places, hits)
        }
        before = isText
      }
      if (seams) scanSeams(out, hits)
      fresh = new Set()
      for (const [place, own] of hits.entries()) {
        if (own === undefined) continue
        const text = this.redacted(out[place] as string, own, places.pathAt(place), round)
        if (text === out[place]) continue
        if (out === items) out = items.slice()
        out[place] = text
        fresh.add(place)
      }
      if (fresh.size === 0) return out
    }
    throw new Unscreenable(`still finding after ${ROUNDS_MAX} rounds of redaction`)
  }

  private collect(text: string, i: number, places: Places, hits: HitsByPlace): void {
    const own = scan(text)
    const kind = places.kindAt(i)
    const rank = kind === null ? -1 : rankOfField(text, kind, places.keyAt(i))
    if (rank >= 0) hits[i] = [...own, { start: 0, end: text.length, rank }]
    else if (own.length > 0) hits[i] = own
  }

  private redacted(text: string, hits: Hit[], path: Path | null, round: number): string {
    const r = redact(text, hits, (rank) => this.rules.severityOf(rank))
    const at = pointer(path)
    for (const rank of r.taken) this.rules.note(rank, at)
    // What is allowed stays, and would be found in every round.
    if (round === 1) for (const rank of r.allowed) this.rules.note(rank, at)
    return r.text
  }

  private factsOf(key: string): KeyFacts {
    let facts = this.keys.get(key)
    if (facts === undefined) {
      facts = { clean: scan(key).length === 0, kind: kindOfKey(key) }
      this.keys.set(key, facts)
    }
    return facts
  }

  /** The keys as they may be shown, still unique; the same array where none changes. */
  private names(keys: string[], facts: KeyFacts[], path: Path | null): string[] {
    if (facts.every((f) => f.clean)) return keys
    const places: Places = { ...NOWHERE, pathAt: () => ({ parent: path, key: KEY }) }
    // One list each: keys are no neighbours of one another.
    const shown = keys.map((k, i) => (facts[i]?.clean === true ? k : (this.strings([k], places)[0] as string)))
    if (shown.every((s, i) => s === keys[i])) return keys
    const taken = new Set(shown.filter((s, i) => s === keys[i]))
    const next = new Map<string, number>()
    return shown.map((s, i) => {
      if (s === keys[i]) return s
      let n = next.get(s) ?? 1
      let name = n === 1 ? s : `${s}#${n}`
      while (taken.has(name)) name = `${s}#${++n}`
      next.set(s, n + 1)
      taken.add(name)
      return name
    })
  }
}

/** `{ "name": "DB_PASSWORD", "value": "…" }`, as environments and headers are listed. */
function kindOfNamedValue(object: JsonObject): NameKind | null {
  const name = object.name ?? object.key ?? object.Name ?? null
  return typeof name === 'string' && name.length <= 128 ? kindOfKey(name) : null
}

/** `__proto__` is an own key in parsed JSON and must stay one. */
function assemble(names: string[], values: Json[]): JsonObject {
  const out: JsonObject = {}
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    const value = values[i] as Json
    if (name === '__proto__')
      Object.defineProperty(out, name, { value, enumerable: true, configurable: true, writable: true })
    else out[name] = value
  }
  return out
}
