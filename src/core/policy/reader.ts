import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
} from 'yaml'
import { isWellFormed } from '../canonical.js'
import type { Json, JsonObject } from '../json.js'
import { nearest } from './nearest.js'

/** One thing wrong (error) or doubtful (warning) in a policy file. `path` is the key inside the file, `rules[2].when`. */
export interface Fault {
  severity: 'error' | 'warning'
  code: string
  message: string
  hint?: string
  file: string
  /** From 1. */
  line: number
  column: number
  path: string
}

/** A fault as answers show it: `path` is where to look in which file, `at` the key inside it. */
export const placed = (fault: Fault) => ({
  ...fault,
  path: `${fault.file}:${fault.line}:${fault.column}`,
  at: fault.path,
})

export interface Position {
  file: string
  line: number
  column: number
  path: string
}

/** 10,000 rules with reasons are about 2.5 MB, and the YAML parser takes about a second for each MB. */
export const MAX_FILE_BYTES = 4 * 1024 * 1024
/** A file with more faults than this is not a policy; the rest would bury the first ones. */
const MAX_FAULTS = 200
const MAX_DEPTH = 40

/** A value in the file together with where it stands. `node` is null where the key has no value. */
export interface Field {
  node: Node | null
  path: string
  at: Position
}

/**
 * Reads one YAML file and collects every fault in it. Aliases and custom tags are refused outright: a policy gains
 * nothing from them, and an alias bomb or a value that is not what stands on the line costs the reader.
 */
export class Source {
  readonly file: string
  readonly text: string
  readonly faults: Fault[]
  readonly #lines = new LineCounter()

  constructor(file: string, text: string, faults: Fault[]) {
    this.file = file
    this.text = text
    this.faults = faults
  }

  /** The root of the document; null where it cannot be read at all. */
  root(): Field | null {
    const at: Position = { file: this.file, line: 1, column: 1, path: '' }
    if (Buffer.byteLength(this.text) > MAX_FILE_BYTES) {
      this.error('too_large', `larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB`, at)
      return null
    }
    let document: Document.Parsed
    try {
      document = parseDocument(this.text, {
        lineCounter: this.#lines,
        keepSourceTokens: false,
        prettyErrors: false,
        // Its own check compares every key with every other; `fields` and `json` look for repeats in linear time.
        uniqueKeys: false,
        merge: false,
        strict: true,
      })
    } catch (error) {
      // Deep nesting ends the recursive parser with a RangeError.
      this.error('yaml_syntax', `not YAML: ${(error as Error).message.split('\n')[0]}`, at)
      return null
    }
    for (const { message, pos } of [...document.errors, ...document.warnings]) {
      this.error('yaml_syntax', message.split('\n')[0]!, this.position(pos[0], ''))
    }
    if (document.errors.length > 0) return null
    return { node: document.contents, path: '', at }
  }

  position(offset: number, path: string): Position {
    const { line, col } = this.#lines.linePos(offset)
    return { file: this.file, line: Math.max(line, 1), column: Math.max(col, 1), path }
  }

  error(code: string, message: string, at: Position, hint?: string): void {
    if (this.faults.length >= MAX_FAULTS) return
    this.faults.push({ severity: 'error', code, message, ...(hint === undefined ? {} : { hint }), ...at })
  }

  warn(code: string, message: string, at: Position, hint?: string): void {
    if (this.faults.length >= MAX_FAULTS) return
    this.faults.push({ severity: 'warning', code, message, ...(hint === undefined ? {} : { hint }), ...at })
  }

  #field(node: unknown, path: string, fallback: Position): Field {
    const value = (node ?? null) as Node | null
    return { node: value, path, at: value?.range ? this.position(value.range[0], path) : { ...fallback, path } }
  }

  /** The entries of a map, with faults for what is no map, for repeated keys and for keys outside `known`. */
  map(field: Field, known: readonly string[] | null): Map<string, Field> | null {
    if (!this.#usable(field)) return null
    if (!isMap(field.node)) {
      this.error('wrong_type', `needs a map, not ${describe(field.node)}`, field.at)
      return null
    }
    const entries = new Map<string, Field>()
    for (const pair of field.node.items as Pair<Node, Node | null>[]) {
      const keyAt = this.#field(pair.key, field.path, field.at)
      const key = this.#keyText(pair.key, keyAt)
      if (key === null) continue
      const path = field.path === '' ? key : `${field.path}.${key}`
      if (entries.has(key)) this.error('duplicate_key', `'${key}' is given twice`, { ...keyAt.at, path })
      else if (known && !known.includes(key)) {
        const near = nearest(key, known)
        this.error(
          'unknown_key',
          `unknown key '${key}'`,
          { ...keyAt.at, path },
          near ? `did you mean '${near}'?` : `known keys: ${known.join(', ')}`,
        )
      } else entries.set(key, this.#field(pair.value, path, keyAt.at))
    }
    return entries
  }

  #keyText(key: Node, at: Field): string | null {
    if (isScalar(key) && !key.tag) {
      const text = scalarText(key)
      // Not a key any policy needs, and a trap in every language that has prototypes.
      if (text !== '__proto__' && text !== null && isWellFormed(text)) return text
    }
    this.error('bad_key', 'a key must be plain text', at.at)
    return null
  }

  /** The items of a list; a single value stands for a list of one. */
  items(field: Field): Field[] {
    if (!this.#usable(field)) return []
    if (!isSeq(field.node)) return [field]
    return field.node.items.map((item, i) => this.#field(item, `${field.path}[${i}]`, field.at))
  }

  isList(field: Field): boolean {
    return isSeq(field.node)
  }

  isMap(field: Field): boolean {
    return isMap(field.node)
  }

  /** Text; a bare number, true or date is taken as the characters that stand in the file. */
  string(field: Field): string | null {
    if (!this.#usable(field)) return null
    const text = isScalar(field.node) ? scalarText(field.node) : null
    if (text === null) this.error('wrong_type', `needs text, not ${describe(field.node)}`, field.at)
    else if (!isWellFormed(text)) this.error('bad_value', 'has a lone surrogate, which no encoding can carry', field.at)
    return text
  }

  boolean(field: Field): boolean | null {
    if (!this.#usable(field)) return null
    if (isScalar(field.node) && typeof field.node.value === 'boolean') return field.node.value
    this.error('wrong_type', `needs true or false, not ${describe(field.node)}`, field.at)
    return null
  }

  /** A whole number from `least` to 2^53. */
  whole(field: Field, least: number): number | null {
    if (!this.#usable(field)) return null
    const value = isScalar(field.node) ? field.node.value : null
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return value
    this.error('wrong_type', `needs a whole number of at least ${least}, not ${describe(field.node)}`, field.at)
    return null
  }

  /** Any JSON value, for inputs and schemas. */
  json(field: Field, depth = 0): Json | undefined {
    if (field.node === null) return null
    if (!this.#usable(field)) return undefined
    const { node } = field
    if (isScalar(node)) {
      const { value } = node
      if (typeof value === 'string') return this.string(field) ?? undefined
      if (value === null || typeof value === 'boolean') return value
      if (typeof value === 'number' && Number.isFinite(value)) return value
      this.error('wrong_type', 'is no JSON value', field.at)
      return undefined
    }
    if (depth > MAX_DEPTH) {
      this.error('too_deep', `nested deeper than ${MAX_DEPTH}`, field.at)
      return undefined
    }
    if (isSeq(node)) return this.items(field).map((item) => this.json(item, depth + 1) ?? null)
    const object: JsonObject = {}
    for (const [key, value] of this.map(field, null) ?? []) object[key] = this.json(value, depth + 1) ?? null
    return object
  }

  /** Where inside a text value something stands: the value's own place where the file spells it differently. */
  inside(field: Field, text: string, offset: number): Position {
    const range = field.node?.range
    if (!range) return field.at
    const start = this.text.slice(range[0], range[1]).indexOf(text)
    return start < 0 ? field.at : this.position(range[0] + start + offset, field.path)
  }

  /** Reports what no value of a policy may be; true where there is something to read. */
  #usable(field: Field): boolean {
    const { node } = field
    if (node === null || (isScalar(node) && node.value === null)) {
      this.error('missing_value', 'has no value', field.at)
      return false
    }
    if (isAlias(node)) {
      this.error('alias_refused', 'aliases are not allowed here', field.at, 'write the value out')
      return false
    }
    if ((node as { tag?: string }).tag) {
      this.error('tag_refused', 'tags are not allowed here', field.at)
      return false
    }
    return true
  }
}

function scalarText(scalar: Scalar): string | null {
  const { value } = scalar
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return scalar.source ?? String(value)
  return null
}

function describe(node: Node | null): string {
  if (isMap(node)) return 'a map'
  if (isSeq(node)) return 'a list'
  if (!isScalar(node) || node.value === null) return 'nothing'
  const text = String(node.value)
  return `'${text.length > 40 ? `${text.slice(0, 40)}…` : text}'`
}
