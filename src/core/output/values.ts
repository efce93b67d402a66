import { basicAt } from './addresses.js'
import { codeAt, isDigit, SPACE, stretch } from './chars.js'
import { type Hit, rankOf } from './detectors.js'
import { type NameKind, nameBefore } from './names.js'
import { isSsn } from './numbers.js'
import { isOrdinary, isSecret, isSecretField, JUDGED, KEY_MIN } from './secrecy.js'

const ASSIGNED = rankOf('assigned_secret')
const AWS_SECRET = rankOf('aws_secret_key')
const AZURE = rankOf('azure_storage_key')
const BEARER = rankOf('bearer_token')
const SSN = rankOf('us_ssn')
const PHONE = rankOf('phone')

const VALUE_MAX = 4096

const QUOTES = new Set([34, 39, 96])

/** What ends an unquoted value. `=` and `:` end only the part that is judged, see `valueAfter`. */
const ENDS_VALUE = new Uint8Array(128)
for (const c of ' \t\r\n"\'`,;&<>)]}|\\') ENDS_VALUE[c.charCodeAt(0)] = 1

function endsValue(code: number): boolean {
  return code < 128 && ENDS_VALUE[code] === 1
}

export interface Value {
  start: number
  /** End of the part that is judged. */
  judged: number
  quoted: boolean
}

/** The value behind an assignment sign at `at`: `=`, `:`, `:=`, `=>`, `==`, `>` of an element; spaces; quoted or not. */
export function valueAfter(text: string, at: number): Value | null {
  let start = at + 1
  if (codeAt(text, at) !== 62)
    while (start - at < 3 && (codeAt(text, start) === 61 || codeAt(text, start) === 62)) start++
  start = stretch(text, start, SPACE, start + 8)
  const open = codeAt(text, start)
  if (QUOTES.has(open)) {
    start++
    const limit = Math.min(text.length, start + VALUE_MAX)
    let end = start
    while (end < limit && end - start < JUDGED && codeAt(text, end) !== open && codeAt(text, end) !== 10)
      end += codeAt(text, end) === 92 ? 2 : 1
    end = Math.min(end, limit)
    return end > start ? { start, judged: end, quoted: true } : null
  }
  let judged = start
  const limit = Math.min(text.length, start + JUDGED)
  while (judged < limit) {
    const c = codeAt(text, judged)
    if (endsValue(c)) break
    if ((c === 61 || c === 58) && judged > start && goesOn(codeAt(text, judged + 1))) break
    judged++
  }
  return judged > start ? { start, judged, quoted: false } : null
}

/** After `=` or `:` the value goes on with another word (a nested assignment); the padding of base64 does not. */
function goesOn(code: number): boolean {
  return code !== 0 && code !== 61 && !endsValue(code)
}

/** The whole value, once its judged part was taken for a secret: nothing of it may stay behind. */
function extend(text: string, v: Value): number {
  const limit = Math.min(text.length, v.start + VALUE_MAX)
  let end = v.judged
  if (v.quoted) {
    const open = codeAt(text, v.start - 1)
    while (end < limit && codeAt(text, end) !== open && codeAt(text, end) !== 10)
      end += codeAt(text, end) === 92 ? 2 : 1
    return Math.min(end, limit)
  }
  while (end < limit && !endsValue(codeAt(text, end))) end++
  return end
}

/** The credential behind a name at an assignment sign (`=`, `:` or `>`), or null. */
export function assignedAt(text: string, at: number): Hit | null {
  const kind = nameBefore(text, at)
  if (kind === null) return null
  const value = valueAfter(text, at)
  return value === null ? null : judge(text, value, kind, at)
}

function judge(text: string, v: Value, kind: NameKind, at: number): Hit | null {
  if (kind === 'key' && v.judged - v.start < KEY_MIN) return null
  const part = text.slice(v.start, v.judged)
  if (kind === 'ssn') return numberValue(text, v, part, (d) => isSsn(d), SSN)
  if (kind === 'phone') return numberValue(text, v, part, (d) => d.length >= 9 && d.length <= 15, PHONE)
  if (kind === 'authorization') {
    // `Authorization: <scheme> <credentials>`; Bearer and Basic have an anchor of their own.
    const from = stretch(text, v.judged, SPACE, v.judged + 2)
    const scheme = isOrdinary(part) && from > v.judged && !v.quoted
    const w = scheme ? valueAfter(text, from - 1) : v
    return w !== null && isSecret(text.slice(w.start, w.judged), 'key', w.quoted)
      ? { start: w.start, end: extend(text, w), rank: BEARER }
      : null
  }
  if (!isSecret(part, kind, v.quoted)) return null
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
  return codeAt(text, v.start) !== 45 && valid(digits) ? { start: v.start, end, rank } : null
}

/** `Bearer <token>` wherever it stands; `from` is the first character behind the space. */
export function bearerAt(text: string, from: number): Hit | null {
  const v = valueAfter(text, from - 1)
  if (v === null || v.quoted) return null
  return isSecret(text.slice(v.start, v.judged), 'key', false)
    ? { start: v.start, end: extend(text, v), rank: BEARER }
    : null
}

/** `--password x`, `login me password x`: the value behind a flag or word that ends in a space at `at`. */
export function flagAt(text: string, at: number, kind: 'password' | 'key'): Hit | null {
  const v = valueAfter(text, at)
  if (v === null) return null
  const part = text.slice(v.start, v.judged)
  if (!isSecret(part, kind, v.quoted) || (kind === 'password' && !/\d|[!#$%^*?]/.test(part))) return null
  return { start: v.start, end: extend(text, v), rank: ASSIGNED }
}

/** The rank of a JSON string (or number) that stands under a key of this kind, or -1. */
export function rankOfField(value: string, kind: NameKind, key: string): number {
  if (kind === 'ssn') return value.length <= 16 && isSsn(value.replace(/[ -]/g, '')) ? SSN : -1
  if (kind === 'phone') return isPhoneField(value) ? PHONE : -1
  if (kind === 'authorization') {
    const space = value.indexOf(' ')
    if (space > 0 && value.slice(0, space).toLowerCase() === 'basic') return basicAt(value, space + 1)?.rank ?? -1
    return isSecretField(value.slice(space > 0 && space < 16 ? space + 1 : 0), 'key') ? BEARER : -1
  }
  if (!isSecretField(value, kind)) return -1
  if (kind === 'signature') return AZURE
  return isAwsSecret(key, key.length, value.length) ? AWS_SECRET : ASSIGNED
}

function isPhoneField(value: string): boolean {
  if (value.length > 24 || !/^[+(]?\d[\d ().+/-]{6,}$/.test(value)) return false
  const digits = value.replace(/\D/g, '')
  return digits.length >= 7 && digits.length <= 15
}
