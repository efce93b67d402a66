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

/** Where a value stands: what its key says of it, and the way to it. */
interface Place {
  kind: NameKind | null
  key: string
  path: Path | null
}

/** The same for a list of values; paths are made only for what was found. */
interface Places {
  kindAt(i: number): NameKind | null
  keyAt(i: number): string
  pathAt(i: number): Path | null
}

const NOWHERE: Places = { kindAt: () => null, keyAt: () => '', pathAt: () => null }

/** Items of an array: what the key of the array says holds for each. */
class Items implements Places {
  private readonly array: Place

  constructor(array: Place) {
    this.array = array
  }

  kindAt(): NameKind | null {
    return this.array.kind
  }

  keyAt(): string {
    return this.array.key
  }

  pathAt(i: number): Path {
    return { parent: this.array.path, key: i }
  }
}

/** What the keys of an object say. Records repeat their keys, so this is asked once for all that have the same in the same order. */
interface Shape {
  keys: string[]
  facts: KeyFacts[]
  clean: boolean
  /** Where `value` is, -1 for nowhere: its name may stand beside it. */
  value: number
}

class Fields implements Places {
  private readonly shape: Shape
  /** The keys as they may be shown: a path must not tell what was taken out of a key. */
  private readonly names: string[]
  private readonly path: Path | null
  private readonly named: NameKind | null

  constructor(shape: Shape, names: string[], path: Path | null, object: JsonObject) {
    this.shape = shape
    this.names = names
    this.path = path
    this.named = shape.value < 0 ? null : kindOfNamedValue(object)
  }

  kindAt(i: number): NameKind | null {
    return (this.shape.facts[i] as KeyFacts).kind ?? (i === this.shape.value ? this.named : null)
  }

  keyAt(i: number): string {
    return this.shape.keys[i] as string
  }

  pathAt(i: number): Path {
    return { parent: this.path, key: this.names[i] as string }
  }
}

/** One walk over a JSON value: what is clean is returned as it is, what is not is copied with placeholders. */
export class Walk {
  private readonly rules: Rules
  private readonly keys = new Map<string, KeyFacts>()
  /** The last shape that begins with this key. */
  private readonly shapes = new Map<string, Shape>()

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
    if (kind === null && !mayBeCard(value)) return value
    const text = String(value)
    let rank = kind === null || kind === 'key' ? -1 : rankOfField(text, kind, key)
    if (rank < 0 && isCard(text)) rank = CARD
    if (rank < 0) return value
    this.rules.note(rank, pointer(path))
    return this.rules.severityOf(rank) === ALLOW ? value : placeholder(rank)
  }

  private array(items: Json[], place: Place, depth: number): Json {
    return this.list(items, new Items(place), depth)
  }

  private object(object: JsonObject, path: Path | null, depth: number): Json {
    const keys = Object.keys(object)
    if (keys.length === 0) return object
    const values: Json[] = []
    for (let i = 0; i < keys.length; i++) values.push(object[keys[i] as string] as Json)
    const shape = this.shapeOf(keys)
    const names = shape.clean ? keys : this.names(keys, shape.facts, path)
    const out = this.list(values, new Fields(shape, names, path, object), depth)
    return out !== values || names !== keys ? assemble(names, out) : object
  }

  /** A kind goes down into arrays and numbers; objects have keys of their own to say what they hold. */
  private list(items: Json[], places: Places, depth: number): Json[] {
    let out = this.strings(items, places)
    for (let i = 0; i < items.length; i++) {
      const item = items[i] as Json
      if (typeof item === 'number') {
        const kind = places.kindAt(i)
        if (kind === null && !mayBeCard(item)) continue
      } else if (typeof item !== 'object' || item === null) continue
      const place = { kind: places.kindAt(i), key: places.keyAt(i), path: places.pathAt(i) }
      const screened = this.other(item, place, depth + 1)
      if (screened === item) continue
      if (out === items) out = items.slice()
      out[i] = screened
    }
    return out
  }

  /**
   * Screens the strings among `items`, each by itself and across the seams between neighbours. Only what changed is scanned
   * again; the seams are, because a placeholder beside one is a new edge.
   */
  private strings(items: Json[], places: Places): Json[] {
    let hits = this.hitsIn(items, places, null)
    if (hits === null) return items
    const out = items.slice()
    for (let round = 1; round <= ROUNDS_MAX; round++) {
      const changed = new Set<number>()
      for (const [place, own] of hits.entries()) {
        if (own === undefined) continue
        const text = this.redacted(out[place] as string, own, places.pathAt(place), round)
        if (text === out[place]) continue
        out[place] = text
        changed.add(place)
      }
      if (changed.size === 0) return round === 1 ? items : out
      if (round === ROUNDS_MAX) break
      hits = this.hitsIn(out, places, changed)
      if (hits === null) return out
    }
    throw new Unscreenable(`still finding after ${ROUNDS_MAX} rounds of redaction`)
  }

  /** Finds in the `changed` strings (null: in all) and across all seams; null for none at all. */
  private hitsIn(items: Json[], places: Places, changed: Set<number> | null): HitsByPlace | null {
    let hits: HitsByPlace | null = null
    let seams = false
    let before = false
    for (let i = 0; i < items.length; i++) {
      const item = items[i]
      const isText = typeof item === 'string'
      if (isText) {
        seams ||= before
        if (changed === null || changed.has(i)) hits = this.collect(item, i, places, hits)
      }
      before = isText
    }
    return seams ? scanSeams(items, hits) : hits
  }

  private collect(text: string, i: number, places: Places, hits: HitsByPlace | null): HitsByPlace | null {
    const own = scan(text)
    const kind = places.kindAt(i)
    const rank = kind === null ? -1 : rankOfField(text, kind, places.keyAt(i))
    if (rank < 0 && own.length === 0) return hits
    const all = hits ?? []
    all[i] = rank < 0 ? own : [...own, { start: 0, end: text.length, rank }]
    return all
  }

  private shapeOf(keys: string[]): Shape {
    const first = keys[0] as string
    const known = this.shapes.get(first)
    if (known !== undefined && sameKeys(known.keys, keys)) return known
    const facts = keys.map((key) => this.factsOf(key))
    const shape = { keys, facts, clean: facts.every((f) => f.clean), value: keys.indexOf('value') }
    this.shapes.set(first, shape)
    return shape
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

function mayBeCard(value: number): boolean {
  return value >= 1e13 && Number.isSafeInteger(value)
}

function sameKeys(a: string[], b: string[]): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
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
