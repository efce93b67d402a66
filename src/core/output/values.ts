import { basicAt, isPlaceholder, isReference } from './addresses.js'
import { isDigit, isLetter, isUpper, SPACE, stretch } from './chars.js'
import { type Hit, rankOf } from './detectors.js'
import { type NameKind, nameBefore } from './names.js'
import { isSsn } from './numbers.js'

const ASSIGNED = rankOf('assigned_secret')
const AWS_SECRET = rankOf('aws_secret_key')
const AZURE = rankOf('azure_storage_key')
const BEARER = rankOf('bearer_token')
const SSN = rankOf('us_ssn')
const PHONE = rankOf('phone')

/** A value is judged by its first characters only, so the price of `password=password=…` is a constant per sign. */
const JUDGED = 128
const VALUE_MAX = 4096

const QUOTES = new Set([34, 39, 96])

/** What ends an unquoted value. `=` and `:` end only the part that is judged, see `valueAfter`. */
const ENDS_VALUE = new Uint8Array(128)
for (const c of ' \t\r\n"\'`,;&<>)]}|\\') ENDS_VALUE[c.charCodeAt(0)] = 1

export interface Value {
  start: number
  /** End of the part that is judged. */
  judged: number
  quoted: boolean
}

/** The value behind an assignment sign at `at`: `=`, `:`, `:=`, `=>`, `==`, `>` of an element; spaces; quoted or not. */
export function valueAfter(text: string, at: number): Value | null {
  let start = at + 1
  if (text.charCodeAt(at) !== 62)
    while (start - at < 3 && (text.charCodeAt(start) === 61 || text.charCodeAt(start) === 62)) start++
  start = stretch(text, start, SPACE, start + 8)
  const open = text.charCodeAt(start)
  if (QUOTES.has(open)) {
    start++
    const limit = Math.min(text.length, start + VALUE_MAX)
    let end = start
    while (end < limit && end - start < JUDGED && text.charCodeAt(end) !== open && text.charCodeAt(end) !== 10)
      end += text.charCodeAt(end) === 92 ? 2 : 1
    end = Math.min(end, limit)
    return end > start ? { start, judged: end, quoted: true } : null
  }
  let judged = start
  const limit = Math.min(text.length, start + JUDGED)
  while (judged < limit) {
    const c = text.charCodeAt(judged)
    if (ENDS_VALUE[c] === 1) break
    if ((c === 61 || c === 58) && judged > start && goesOn(text.charCodeAt(judged + 1))) break
    judged++
  }
  return judged > start ? { start, judged, quoted: false } : null
}

/** After `=` or `:` the value goes on with another word (a nested assignment); the padding of base64 does not. */
function goesOn(code: number): boolean {
  return !Number.isNaN(code) && code !== 61 && ENDS_VALUE[code] !== 1
}

/** The whole value, once its judged part was taken for a secret: nothing of it may stay behind. */
function extend(text: string, v: Value): number {
  const limit = Math.min(text.length, v.start + VALUE_MAX)
  let end = v.judged
  if (v.quoted) {
    const open = text.charCodeAt(v.start - 1)
    while (end < limit && text.charCodeAt(end) !== open && text.charCodeAt(end) !== 10)
      end += text.charCodeAt(end) === 92 ? 2 : 1
    return Math.min(end, limit)
  }
  while (end < limit && ENDS_VALUE[text.charCodeAt(end)] !== 1) end++
  return end
}

interface Make {
  length: number
  letters: number
  upper: number
  digits: number
  others: number
  spaces: number
  /** Changes of case inside words: random text changes every other letter, camelCase every fourth or so. */
  turns: number
  /** Shannon entropy, bits per character. */
  bits: number
}

/** Used again for every value: a Map per value costs ten times the count itself. */
const COUNTS = new Uint16Array(128)
const N_LOG_N = Float64Array.from({ length: JUDGED + 1 }, (_, n) => (n === 0 ? 0 : n * Math.log2(n)))

/** `value` has at most JUDGED characters. */
function makeOf(value: string): Make {
  const m: Make = { length: value.length, letters: 0, upper: 0, digits: 0, others: 0, spaces: 0, turns: 0, bits: 0 }
  COUNTS.fill(0)
  let before = 0
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i)
    COUNTS[c & 127] = (COUNTS[c & 127] as number) + 1
    if (isLetter(c)) {
      m.letters++
      if (isUpper(c)) m.upper++
      if (isLetter(before) && isUpper(c) !== isUpper(before)) m.turns++
    } else if (isDigit(c)) m.digits++
    else if (c === 32) m.spaces++
    else m.others++
    before = c
  }
  let sum = 0
  for (let c = 0; c < 128; c++) sum += N_LOG_N[COUNTS[c] as number] as number
  m.bits = Math.log2(value.length) - sum / value.length
  return m
}

const WORDS_FOR_NOTHING = new Set(
  'null none nil true false undefined string number boolean required optional hidden redacted masked filtered removed secret password changeme example placeholder todo unknown empty default disabled enabled'.split(
    ' ',
  ),
)
/** Values that tell the reader to fill something in. */
const FILL_IN =
  /^(your|my|the|insert|enter|replace|change|example|sample|dummy|fake|placeholder|todo|some|put|add)([-_ .]|$)/i

/** A piece of a name: letters in any ordinary casing with a few digits behind, or a short number. */
function isOrdinaryPiece(piece: string): boolean {
  if (piece === '') return true
  let letters = 0
  while (letters < piece.length && isLetter(piece.charCodeAt(letters))) letters++
  const digits = piece.length - letters
  for (let i = letters; i < piece.length; i++) if (!isDigit(piece.charCodeAt(i))) return false
  if (letters === 0) return digits <= 8
  if (digits > 4) return false
  const m = makeOf(piece.slice(0, letters))
  return letters < 6 || m.turns / letters < 0.34
}

/** Names, paths, hosts, versions and prose: pieces that a person could have typed as words. */
function isOrdinary(value: string): boolean {
  return value.split(/[-_./:@ +~\\]/).every(isOrdinaryPiece)
}

/** A value that stands for a secret or for nothing: reference, mask, placeholder, type, fill-in text, path, expression. */
function standsForSomething(value: string, quoted: boolean): boolean {
  if (isReference(value) || isPlaceholder(value)) return true
  if (WORDS_FOR_NOTHING.has(value.toLowerCase()) || FILL_IN.test(value)) return true
  const first = value.charCodeAt(0)
  if (first === 33 && isLetter(value.charCodeAt(1)) && !quoted) return true // a YAML tag
  if (first === 47 || value.startsWith('./') || value.startsWith('~/') || value.startsWith('../'))
    return isOrdinary(value)
  if (/^(process\.env|os\.environ|env\.|ENV\[|import\.meta|secrets\.|vault:|ref:|arn:|file:|op:\/\/)/.test(value))
    return true
  if (quoted) return first === 44 || first === 41 || value === ' ' // `print('password:', password)`: the quote closes, it does not open
  return /[([]|\?\./.test(value) // a call, an index, a chain: `password = getPassword(user)`
}

/** Whether `value` under a name of this kind is a secret; `field` where a JSON key names it, which is certain of the name. */
export function isSecretValue(
  value: string,
  kind: 'password' | 'key' | 'signature',
  quoted: boolean,
  field = false,
): boolean {
  const judged = value.slice(0, JUDGED)
  if (judged.length < (kind === 'password' ? (field ? 4 : 8) : kind === 'key' ? 16 : 40))
    return kind === 'key' && field && isShortKey(judged)
  if (standsForSomething(judged, quoted || field)) return false
  const m = makeOf(judged)
  if (m.spaces > 3 && !field) return false
  if (kind === 'password') return isPassword(judged, m, quoted, field)
  if (m.spaces > 0 || isOrdinary(judged)) return false
  return m.bits >= 2.8 && m.letters > 0 && (m.digits > 0 || isJumbled(m, quoted))
}

/** Letters alone, in random case. Unquoted ones are identifiers (`token = SyntaxKind.LessThanToken`); of 20 random characters 3 % have no digit. */
function isJumbled(m: Make, quoted: boolean): boolean {
  return quoted && m.turns >= 6 && m.turns / m.letters >= 0.45
}

/** A JSON field that calls itself a key: ten characters are enough if they are no word. */
function isShortKey(value: string): boolean {
  if (value.length < 10 || standsForSomething(value, true) || isOrdinary(value)) return false
  const m = makeOf(value)
  return m.digits > 0 && m.letters > 0 && m.bits >= 2.8
}

/**
 * In text a password needs two kinds of characters, or prose would be full of them. In a JSON field one kind is enough,
 * except capitalised words and phrases: translation files are full of `"password": "Mot de passe"`.
 */
function isPassword(value: string, m: Make, quoted: boolean, field: boolean): boolean {
  const kinds = Number(m.letters > 0) + Number(m.digits > 0) + Number(m.others > 0)
  if (!field) {
    if (m.bits < 2) return false
    if (kinds === 1) return m.digits === m.length || isJumbled(m, quoted)
    if (!quoted && m.others > 0 && isOrdinary(value)) return false // `arn:aws:password:eu-west-2`
    return m.digits > 0 || (m.others > 0 && !isOrdinary(value))
  }
  if (kinds >= 2 && (m.digits > 0 || m.spaces === 0)) return m.digits > 0 || !isOrdinary(value) || m.length >= 12
  if (m.spaces > 0) return m.spaces >= 3 && m.upper === 0 && m.length >= 20
  return m.digits === m.length ? m.length >= 6 : m.upper !== 1 && m.length >= 6
}

/** The credential behind a name at an assignment sign (`=`, `:` or `>`), or null. */
export function assignedAt(text: string, at: number): Hit | null {
  const kind = nameBefore(text, at)
  if (kind === null) return null
  const value = valueAfter(text, at)
  return value === null ? null : judge(text, value, kind, at)
}

function judge(text: string, v: Value, kind: NameKind, at: number): Hit | null {
  const part = text.slice(v.start, v.judged)
  if (kind === 'ssn') return numberValue(text, v, part, (d) => isSsn(d), SSN)
  if (kind === 'phone') return numberValue(text, v, part, (d) => d.length >= 9 && d.length <= 15, PHONE)
  if (kind === 'authorization') {
    // `Authorization: <scheme> <credentials>`; Bearer and Basic have an anchor of their own.
    const from = stretch(text, v.judged, SPACE, v.judged + 2)
    const scheme = isOrdinaryPiece(part) && from > v.judged && !v.quoted
    const w = scheme ? valueAfter(text, from - 1) : v
    return w !== null && isSecretValue(text.slice(w.start, w.judged), 'key', w.quoted)
      ? { start: w.start, end: extend(text, w), rank: BEARER }
      : null
  }
  if (!isSecretValue(part, kind, v.quoted)) return null
  const end = extend(text, v)
  return {
    start: v.start,
    end,
    rank: kind === 'signature' ? AZURE : isAwsSecret(text, at, end - v.start) ? AWS_SECRET : ASSIGNED,
  }
}

/** 40 characters under a name that says `aws` or `secret…access…key`. */
function isAwsSecret(text: string, at: number, length: number): boolean {
  if (length !== 40) return false
  const name = text.slice(Math.max(0, at - 32), at).toLowerCase()
  return name.includes('aws') || /secret[-_]?access/.test(name)
}

/** A number under a name that says what it is needs no separators to be believed. */
function numberValue(
  text: string,
  v: Value,
  part: string,
  valid: (digits: string) => boolean,
  rank: number,
): Hit | null {
  let digits = ''
  let end = v.start
  for (let i = 0; i < Math.min(part.length, 24); i++) {
    const c = part.charCodeAt(i)
    if (isDigit(c)) {
      digits += part[i]
      end = v.start + i + 1
    } else if (!' -().+/'.includes(part[i] as string)) return null
  }
  return text.charCodeAt(v.start) !== 45 && valid(digits) ? { start: v.start, end, rank } : null
}

/** `Bearer <token>` wherever it stands; `from` is the first character behind the space. */
export function bearerAt(text: string, from: number): Hit | null {
  const v = valueAfter(text, from - 1)
  if (v === null || v.quoted) return null
  return isSecretValue(text.slice(v.start, v.judged), 'key', false)
    ? { start: v.start, end: extend(text, v), rank: BEARER }
    : null
}

/** `--password x`, `login me password x`: the value behind a flag or word that ends in a space at `at`. */
export function flagAt(text: string, at: number, kind: 'password' | 'key'): Hit | null {
  const v = valueAfter(text, at)
  if (v === null) return null
  const part = text.slice(v.start, v.judged)
  if (!isSecretValue(part, kind, v.quoted) || (kind === 'password' && !/\d|[!#$%^*?]/.test(part))) return null
  return { start: v.start, end: extend(text, v), rank: ASSIGNED }
}

/** The rank of a JSON string (or number) that stands under a key of this kind, or -1. */
export function rankOfField(value: string, kind: NameKind, key: string): number {
  if (kind === 'ssn') return value.length <= 16 && isSsn(value.replace(/[ -]/g, '')) ? SSN : -1
  if (kind === 'phone') return isPhoneField(value) ? PHONE : -1
  if (kind === 'authorization') {
    const space = value.indexOf(' ')
    if (space > 0 && value.slice(0, space).toLowerCase() === 'basic') return basicAt(value, space + 1)?.rank ?? -1
    return isSecretValue(value.slice(space > 0 && space < 16 ? space + 1 : 0), 'key', true, true) ? BEARER : -1
  }
  if (kind === 'signature') return isSecretValue(value, kind, true) ? AZURE : -1
  if (!isSecretValue(value, kind, true, true)) return -1
  return isAwsSecret(key, key.length, value.length) ? AWS_SECRET : ASSIGNED
}

function isPhoneField(value: string): boolean {
  if (value.length > 24 || !/^[+(]?\d[\d ().+/-]{6,}$/.test(value)) return false
  const digits = value.replace(/\D/g, '')
  return digits.length >= 7 && digits.length <= 15
}
