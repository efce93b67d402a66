import { isUtf8 } from 'node:buffer'
import { Problem } from '../errors.js'

/** Deeper than any action needs, far below what recursion minds. */
export const MAX_DEPTH = 64

/**
 * Values in one body. What a text costs grows with its bytes; lists and objects cost many times theirs: 2 MiB of empty lists took
 * 100 MB and half a second each, and 32 of them at once stopped a node for 16 s.
 */
export const MAX_VALUES = 100_000

/**
 * JSON as two parties cannot read differently: valid UTF-8, no repeated keys, no NUL, no lone surrogates, no `__proto__`, finite
 * numbers, bounded depth, a bounded number of values. JSON.parse takes the last of repeated keys in silence; another parser takes the first, and then
 * what was approved is not what is run. Linear in the text, no recursion. Throws Problem `malformed`, `too_large`.
 */
export function parseStrict(body: Buffer): unknown {
  if (!isUtf8(body)) throw new Problem('malformed', 'The body is not valid UTF-8')
  const text = body.toString('utf8')
  scan(text)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Problem('malformed', (error as Error).message)
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const QUOTE_TEXT = '"'
const BACKSLASH_TEXT = '\\'

/** Where it stands next; past the end where it does not. */
function after(text: string, sought: string, from: number): number {
  const at = text.indexOf(sought, from)
  return at === -1 ? text.length : at
}

function scan(text: string): void {
  /** One frame per open bracket: the keys of an object, or null for an array. */
  const open: (Set<string> | null)[] = []
  let keyNext = false
  let values = 1
  /** The next backslash from here on: a string that ends before it has no escapes. Searched natively, 5 times as fast as looking at each character. */
  let escaped = after(text, BACKSLASH_TEXT, 0)
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === QUOTE) {
      let end = after(text, QUOTE_TEXT, i + 1)
      if (end > escaped) {
        end = stringEnd(text, i)
        if (escaped < end) escaped = after(text, BACKSLASH_TEXT, end)
      }
      const keys = open[open.length - 1]
      if (keyNext && keys) {
        addKey(keys, text.slice(i, end + 1), i)
        keyNext = false
      }
      i = end
    } else if (c === 0x7b || c === 0x5b) {
      if (open.length === MAX_DEPTH)
        throw new Problem('malformed', `Nested more than ${MAX_DEPTH} deep at character ${i}`)
      open.push(c === 0x7b ? new Set() : null)
      values++
      keyNext = c === 0x7b
    } else if (c === 0x7d || c === 0x5d) {
      open.pop()
      keyNext = false
    } else if (c === 0x2c) {
      keyNext = open[open.length - 1] != null
      if (++values > MAX_VALUES) throw new Problem('too_large', `More than ${MAX_VALUES} values at character ${i}`)
    } else if (c === 0x2d || (c >= 0x30 && c <= 0x39)) {
      i = numberEnd(text, i)
    }
  }
}

/** The closing quote; checks escapes on the way. Past the end for an open string, which JSON.parse then reports. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === QUOTE) return i
    if (c !== BACKSLASH) continue
    i++
    if (text.charCodeAt(i) !== 0x75) continue
    const unit = Number.parseInt(text.slice(i + 1, i + 5), 16)
    if (unit === 0) throw new Problem('malformed', `NUL in a string at character ${i - 1}`)
    if (unit >= 0xdc00 && unit <= 0xdfff) throw loneSurrogate(i - 1)
    if (unit >= 0xd800 && unit <= 0xdbff) {
      const low = text.startsWith('\\u', i + 5) ? Number.parseInt(text.slice(i + 7, i + 11), 16) : 0
      if (!(low >= 0xdc00 && low <= 0xdfff)) throw loneSurrogate(i - 1)
      i += 6
    }
    i += 4
  }
  return text.length
}

const loneSurrogate = (at: number) => new Problem('malformed', `A lone surrogate in a string at character ${at}`)

function addKey(keys: Set<string>, quoted: string, at: number): void {
  let key = quoted.slice(1, -1)
  if (key.includes('\\')) {
    try {
      key = JSON.parse(quoted) as string
    } catch {
      return // JSON.parse of the whole text names the fault
    }
  }
  if (key === '__proto__') throw new Problem('malformed', `The key __proto__ at character ${at}`)
  if (keys.has(key)) throw new Problem('malformed', `A repeated key at character ${at}`)
  keys.add(key)
}

/** Shorter numbers without an exponent are finite: the largest double has 309 digits. */
const SAFE_DIGITS = 300

/** The last character of a number; one that would become Infinity is refused, because nothing could write it down again. */
function numberEnd(text: string, start: number): number {
  let end = start + 1
  let exponent = false
  for (; end < text.length; end++) {
    const c = text.charCodeAt(end)
    if (c === 0x65 || c === 0x45) exponent = true
    else if (!((c >= 0x30 && c <= 0x39) || c === 0x2e || c === 0x2b || c === 0x2d)) break
  }
  if ((exponent || end - start > SAFE_DIGITS) && !Number.isFinite(Number(text.slice(start, end))))
    throw new Problem('malformed', `A number out of range at character ${start}`)
  return end - 1
}
