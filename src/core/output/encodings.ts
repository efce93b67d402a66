import { codeAt, HEX, isDigit, stretch } from './chars.js'

/** Text as a reader would see it after taking off one layer of escapes, with the way back to the raw text. */
export interface Unescaped {
  text: string
  /** Where each character of `text` begins in the raw text; one more for the end. */
  raw: Int32Array
}

/** A secret is seldom longer than this; only text this near to an escape is looked at again. */
const BEFORE = 256
const AFTER = 1024

/** Invisible characters: soft hyphen, zero-width, direction marks, variation selectors, byte order mark. */
function isInvisible(code: number): boolean {
  return (
    code === 0xad ||
    code === 0x34f ||
    code === 0x61c ||
    code === 0x180e ||
    (code >= 0x200b && code <= 0x200f) ||
    (code >= 0x202a && code <= 0x202e) ||
    (code >= 0x2060 && code <= 0x206f) ||
    (code >= 0xfe00 && code <= 0xfe0f) ||
    code === 0xfeff
  )
}

const isBlank = (code: number) =>
  code === 0xa0 || (code >= 0x2000 && code <= 0x200a) || code === 0x202f || code === 0x3000
const isDash = (code: number) => (code >= 0x2010 && code <= 0x2015) || code === 0x2212 || code === 0xfe63
const isFullWidth = (code: number) => code >= 0xff01 && code <= 0xff5e
/** High surrogate of the mathematical letters and digits. */
const MATH = 0xd835
/** High surrogate of the invisible tag characters. */
const TAGS = 0xdb40

/** Code units above 127 that hide or imitate an ASCII character. */
function isDisguise(code: number): boolean {
  return isInvisible(code) || isBlank(code) || isDash(code) || isFullWidth(code) || code === MATH || code === TAGS
}

const ENTITIES: ReadonlyMap<string, number> = new Map(
  Object.entries({ quot: 34, apos: 39, amp: 38, lt: 60, gt: 62, nbsp: 32, colon: 58, equals: 61, commat: 64 }),
)

/** What an escape stands for and how long it is, in one number: these are made by the million from hostile text. */
const packed = (code: number, length: number) => (length << 16) | code
const NO_ESCAPE = 0
/** Stands for nothing: invisible, or a continued line. */
const DROPPED = 0xffff

function hexValue(text: string, from: number, count: number): number {
  let value = 0
  for (let i = from; i < from + count; i++) {
    const c = codeAt(text, i)
    if (isDigit(c)) value = value * 16 + c - 48
    else if ((c | 32) >= 97 && (c | 32) <= 102) value = value * 16 + (c | 32) - 87
    else return -1
  }
  return value
}

function byCode(code: number, length: number): number {
  if (code < 0 || code > 0xffff) return NO_ESCAPE
  return packed(isInvisible(code) ? DROPPED : code, length)
}

/** The escape that begins at `i`, packed, or NO_ESCAPE. */
function escapeAt(text: string, i: number, code: number): number {
  if (code === 37) return byCode(hexValue(text, i + 1, 2), 3)
  if (code === 92) return backslashAt(text, i)
  if (code === 38) return entityAt(text, i)
  if (isInvisible(code)) return packed(DROPPED, 1)
  if (isBlank(code)) return packed(32, 1)
  if (isDash(code)) return packed(45, 1)
  if (isFullWidth(code)) return packed(code - 0xfee0, 1)
  if (code === MATH)
    return packed(
      text
        .slice(i, i + 2)
        .normalize('NFKC')
        .charCodeAt(0),
      2,
    )
  return packed(DROPPED, 2) // TAGS
}

/** `\n`, `\x67`, `\u0067`, `\u{67}`, a continued line; any other character stands for itself. */
function backslashAt(text: string, i: number): number {
  const next = codeAt(text, i + 1)
  switch (next) {
    case 117: {
      if (codeAt(text, i + 2) !== 123) return byCode(hexValue(text, i + 2, 4), 6)
      const end = stretch(text, i + 3, HEX, i + 9)
      return codeAt(text, end) === 125 ? byCode(hexValue(text, i + 3, end - i - 3), end + 1 - i) : NO_ESCAPE
    }
    case 120:
      return byCode(hexValue(text, i + 2, 2), 4)
    case 110:
    case 114:
      return packed(10, 2)
    case 116:
    case 98:
    case 102:
    case 118:
    case 48:
      return packed(32, 2)
    case 10:
      return packed(DROPPED, 2)
    default:
      return next === 0 ? NO_ESCAPE : packed(next, 2)
  }
}

/** `&quot;`, `&#34;`, `&#x22;` */
function entityAt(text: string, i: number): number {
  let end = i + 1
  while (end - i < 9 && codeAt(text, end) !== 59 && end < text.length) end++
  if (codeAt(text, end) !== 59) return NO_ESCAPE
  const length = end + 1 - i
  if (codeAt(text, i + 1) !== 35) {
    const named = ENTITIES.get(text.slice(i + 1, end))
    return named === undefined ? NO_ESCAPE : packed(named, length)
  }
  if ((codeAt(text, i + 2) | 32) === 120) return byCode(hexValue(text, i + 3, end - i - 3), length)
  let value = 0
  for (let k = i + 2; k < end; k++) {
    const c = codeAt(text, k)
    if (!isDigit(c)) return NO_ESCAPE
    value = value * 10 + c - 48
  }
  return byCode(value, length)
}

/** 1 for every code unit at which `escapeAt` may find something. */
export const MAY_ESCAPE = new Uint8Array(65_536)
for (let c = 0; c < 65_536; c++) if (c === 37 || c === 38 || c === 92 || (c > 127 && isDisguise(c))) MAY_ESCAPE[c] = 1

/** Stands in the view for every character past Latin-1: no credential has one, and a view of single bytes is scanned faster. */
const NO_LATIN = 0xb7

/**
 * Takes one layer of escapes off: percent, backslash, entities, invisible and imitating characters, in one pass, so mixtures
 * come off together. `first` and `last` are the outermost places where the pass saw one. Null where nothing changed.
 */
export function withoutEscapes(text: string, first: number, last: number): Unescaped | null {
  const from = Math.max(0, first - BEFORE)
  const to = Math.min(text.length, last + AFTER)
  const view = Buffer.allocUnsafe(to - from)
  const raw = new Int32Array(to - from + 1)
  let n = 0
  let changed = false
  for (let i = from; i < to; ) {
    let code = codeAt(text, i)
    raw[n] = i
    let length = 1
    if (MAY_ESCAPE[code] === 1) {
      const found = escapeAt(text, i, code)
      if (found !== NO_ESCAPE) {
        changed = true
        code = found & 0xffff
        length = found >>> 16
      }
    }
    if (code !== DROPPED) view[n++] = code > 0xff ? NO_LATIN : code
    i += length
  }
  raw[n] = to
  return changed ? { text: view.toString('latin1', 0, n), raw } : null
}

/** Value of a base64 or base64url character, 64 for any other. */
const SEXTET = new Uint8Array(128).fill(64)
for (const [i, c] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries())
  SEXTET[c.charCodeAt(0)] = i
SEXTET[45] = 62
SEXTET[95] = 63

/** 1 for each byte that is ASCII text. */
const PRINTABLE_BYTE = new Uint8Array(256).fill(1, 32, 127)
for (const byte of [9, 10, 13]) PRINTABLE_BYTE[byte] = 1

function isPrintable(byte: number): boolean {
  return PRINTABLE_BYTE[byte] === 1
}

/** Value of a hex digit, past a byte for any other character. */
const NIBBLE = new Uint16Array(128).fill(256)
for (const [i, c] of [...'0123456789abcdef'].entries()) {
  NIBBLE[c.charCodeAt(0)] = i
  NIBBLE[c.toUpperCase().charCodeAt(0)] = i
}

/** What four base64 characters at `i`, none of them outside of the text, hold: PRINTABLE bytes, or WIDE ones (every second is 0, as UTF-16 has them), or neither. */
function quad(text: string, i: number, odd: boolean): number {
  const a = SEXTET[text.charCodeAt(i) & 127] as number
  const b = SEXTET[text.charCodeAt(i + 1) & 127] as number
  const c = SEXTET[text.charCodeAt(i + 2) & 127] as number
  const d = SEXTET[text.charCodeAt(i + 3) & 127] as number
  if (((a | b | c | d) & 64) !== 0) return 0
  const first = isPrintable((a << 2) | (b >> 4))
  const second = isPrintable(((b & 15) << 4) | (c >> 2))
  const third = isPrintable(((c & 3) << 6) | d)
  if (first && second && third) return PRINTABLE
  const zeros = odd ? (a << 2) | (b >> 4) | (((c & 3) << 6) | d) : ((b & 15) << 4) | (c >> 2)
  return zeros === 0 && (odd ? second : first && third) ? WIDE : 0
}
const PRINTABLE = 1
const WIDE = 2

/**
 * Whether the eight base64 characters at `from` decode to six bytes of text, ASCII or UTF-16: one identifier in 400 does, all
 * text does.
 */
export function beginsAsText(text: string, from: number): boolean {
  const first = quad(text, from, false)
  return first !== 0 && first === quad(text, from + 4, true)
}

/** The text inside a stretch of 12 hex digits and more, if it is nothing else and begins as text. */
export function hexText(text: string, from: number, to: number): string | null {
  if ((to - from) % 2 !== 0) return null
  for (let i = from; i < from + 12; i += 2) {
    const high = NIBBLE[text.charCodeAt(i) & 127] as number
    if (!isPrintable((high << 4) | (NIBBLE[text.charCodeAt(i + 1) & 127] as number))) return null
  }
  if (stretch(text, from, HEX, to) !== to) return null
  return Buffer.from(text.slice(from, to), 'hex').toString('latin1')
}

/** Shorter printable stretches of decoded bytes are chance. */
const TEXT_MIN = 8

/** The stretches of decoded bytes that are text; PowerShell's UTF-16 is read as what it is. */
export function textsIn(bytes: Buffer): string[] {
  if (bytes.length >= 16 && bytes[1] === 0 && bytes[3] === 0 && bytes[5] === 0 && bytes[0] !== 0)
    return [bytes.toString('utf16le')]
  const texts: string[] = []
  // A stretch of 8 has its last byte at every eighth place it could begin at: in random bytes most are settled by one look.
  let start = 0
  while (start + TEXT_MIN <= bytes.length) {
    let i = start + TEXT_MIN - 1
    while (i >= start && isPrintable(bytes[i] as number)) i--
    if (i >= start) {
      start = i + 1
      continue
    }
    let end = start + TEXT_MIN
    while (end < bytes.length && isPrintable(bytes[end] as number)) end++
    texts.push(bytes.toString('latin1', start, end))
    start = end + 1
  }
  return texts
}
