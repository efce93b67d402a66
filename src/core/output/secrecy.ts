import { isPlaceholder, isReference } from './addresses.js'
import { codeAt, isLetter as isAsciiLetter, isDigit, isUpper } from './chars.js'

/** A value is judged by its first characters only, so the price of `password=password=…` is a constant per sign. */
export const JUDGED = 128

/** Words of every language are words: what is not ASCII counts as a letter. */
function isLetter(code: number): boolean {
  return isAsciiLetter(code) || code > 127
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
}

function makeOf(value: string): Make {
  const m: Make = { length: value.length, letters: 0, upper: 0, digits: 0, others: 0, spaces: 0, turns: 0 }
  let before = 0
  for (let i = 0; i < value.length; i++) {
    const c = codeAt(value, i)
    if (isLetter(c)) {
      m.letters++
      if (isUpper(c)) m.upper++
      if (isLetter(before) && isUpper(c) !== isUpper(before)) m.turns++
    } else if (isDigit(c)) m.digits++
    else if (c === 32) m.spaces++
    else m.others++
    before = c
  }
  return m
}

/** Used again for every value: a Map per value costs ten times the count itself. */
const COUNTS = new Uint8Array(128)

/** Shannon entropy in bits per character, of at most JUDGED characters. */
function entropyOf(value: string): number {
  COUNTS.fill(0)
  for (let i = 0; i < value.length; i++) {
    const c = codeAt(value, i) & 127
    COUNTS[c] = (COUNTS[c] as number) + 1
  }
  let sum = 0
  for (let c = 0; c < 128; c++) {
    const n = COUNTS[c] as number
    if (n > 1) sum += n * Math.log2(n)
  }
  return Math.log2(value.length) - sum / value.length
}

/** Random hex has 3.5 bits and more from 16 characters on, `aaaa1111` has 1. */
const ENTROPY_OF_KEY = 2.8
const ENTROPY_OF_PASSWORD = 2

const WORDS_FOR_NOTHING = new Set(
  'null none nil true false undefined string number boolean required optional hidden redacted masked filtered removed secret password changeme example placeholder todo unknown empty default disabled enabled'.split(
    ' ',
  ),
)
/** Values that tell the reader to fill something in. */
const FILL_IN =
  /^(your|my|the|insert|enter|replace|change|example|sample|dummy|fake|placeholder|todo|some|put|add)([-_ .]|$)/i
/** Values that say where the secret is. */
const POINTER = /^(process\.env|os\.environ|env\.|ENV\[|import\.meta|secrets\.|vault:|ref:|arn:|file:|op:\/\/)/

/** A piece of a name: letters in any ordinary casing with a few digits behind, or a short number. */
function isOrdinaryPiece(value: string, from: number, to: number): boolean {
  let upper = 0
  let turns = 0
  let i = from
  for (; i < to && isLetter(codeAt(value, i)); i++) {
    const up = isUpper(codeAt(value, i))
    if (up) upper++
    if (i > from && up !== isUpper(codeAt(value, i - 1))) turns++
  }
  const letters = i - from
  const digits = to - i
  for (; i < to; i++) if (!isDigit(codeAt(value, i))) return false
  if (letters === 0) return digits <= 8
  return digits <= 4 && (letters < 6 || upper === 0 || turns / letters < 0.34)
}

function isBetweenPieces(code: number): boolean {
  return (
    code === 45 ||
    code === 95 ||
    code === 46 ||
    code === 47 ||
    code === 58 ||
    code === 64 ||
    code === 32 ||
    code === 43 ||
    code === 126
  )
}

/** Names, paths, hosts, versions and prose: pieces that a person could have typed as words. */
export function isOrdinary(value: string): boolean {
  let from = 0
  for (let i = 0; i <= value.length; i++) {
    if (i < value.length && !isBetweenPieces(codeAt(value, i))) continue
    if (i > from && !isOrdinaryPiece(value, from, i)) return false
    from = i + 1
  }
  return true
}

/** A value that stands for a secret or for nothing: reference, mask, placeholder, type, fill-in text, path, expression. */
function standsForSomething(value: string, quoted: boolean): boolean {
  if (isReference(value) || isPlaceholder(value)) return true
  if (WORDS_FOR_NOTHING.has(value.toLowerCase()) || FILL_IN.test(value) || POINTER.test(value)) return true
  const first = codeAt(value, 0)
  if (first === 47 || value.startsWith('./') || value.startsWith('~/') || value.startsWith('../'))
    return isOrdinary(value)
  // `print('password:', password)`: that quote closes, it does not open.
  if (quoted) return first === 44 || first === 41 || value === ' '
  if (first === 33 && isLetter(codeAt(value, 1))) return true // a YAML tag
  return /[([]|\?\./.test(value) // a call, an index, a chain: `password = getPassword(user)`
}

/**
 * Letters alone, in random case. Unquoted ones are identifiers (`token = SyntaxKind.LessThanToken`); of 20 random characters
 * only 3 % have no digit.
 */
function isJumbled(m: Make, quoted: boolean): boolean {
  return quoted && m.turns >= 6 && m.turns / m.letters >= 0.45
}

/** Shortest values that text is believed to hold secrets in. */
const PASSWORD_MIN = 8
export const KEY_MIN = 16
const SIGNATURE_MIN = 40

export type SecretKind = 'password' | 'key' | 'signature'

/** Whether a value that text assigns to a name of this kind is a secret. */
export function isSecret(value: string, kind: SecretKind, quoted: boolean): boolean {
  const judged = value.slice(0, JUDGED)
  if (judged.length < (kind === 'password' ? PASSWORD_MIN : kind === 'key' ? KEY_MIN : SIGNATURE_MIN)) return false
  // Counting is cheap and settles most: words, numbers, sentences. What is left is worth the patterns.
  const m = makeOf(judged)
  if (m.spaces > 3) return false
  if (kind === 'password')
    return (
      looksLikePassword(judged, m, quoted) &&
      !standsForSomething(judged, quoted) &&
      entropyOf(judged) >= ENTROPY_OF_PASSWORD
    )
  return looksLikeKey(judged, m, quoted) && !standsForSomething(judged, quoted) && entropyOf(judged) >= ENTROPY_OF_KEY
}

/** In text a password needs two kinds of characters, or prose would be full of them. */
function looksLikePassword(value: string, m: Make, quoted: boolean): boolean {
  if (m.digits === m.length) return true
  if (m.letters === m.length) return isJumbled(m, quoted)
  if (m.others > 0 && (!quoted || m.digits === 0) && isOrdinary(value)) return false // `arn:aws:password:eu-west-2`
  return m.digits > 0 || m.others > 0
}

function looksLikeKey(value: string, m: Make, quoted: boolean): boolean {
  return m.letters > 0 && m.spaces === 0 && (m.digits > 0 || isJumbled(m, quoted)) && !isOrdinary(value)
}

/** Whether a JSON string is a secret, where its key says it is one: that is certain of the name, so less is asked of the value. */
export function isSecretField(value: string, kind: SecretKind): boolean {
  const judged = value.slice(0, JUDGED)
  if (
    judged.length < (kind === 'password' ? 4 : kind === 'key' ? 10 : SIGNATURE_MIN) ||
    standsForSomething(judged, true)
  )
    return false
  const m = makeOf(judged)
  if (kind === 'password') return isPasswordField(judged, m)
  return looksLikeKey(judged, m, true) && entropyOf(judged) >= ENTROPY_OF_KEY
}

/** One kind of characters is enough, except in capitalised words and phrases: translations are full of `"password": "Mot de passe"`. */
function isPasswordField(value: string, m: Make): boolean {
  if (m.digits === m.length) return m.length >= 6
  if (m.letters === m.length) return m.upper !== 1 && m.length >= 6
  if (m.digits > 0) return true
  if (m.spaces > 0) return m.spaces >= 3 && m.upper === 0 && m.length >= 20
  return !isOrdinary(value) || m.length >= 12
}
