import { codeAt, isDigit, isLetter, isUpper, isWord } from './chars.js'

/** What a name promises about the value that stands behind it. */
export type NameKind = 'password' | 'key' | 'authorization' | 'signature' | 'ssn' | 'phone'

interface SecretName {
  letters: string
  kind: NameKind
  /** Also the end of ordinary words (bypass, compass): counts only where a new word of the name begins. */
  whole: boolean
}

function names(kind: NameKind, words: string, whole = false): SecretName[] {
  return words.split(' ').map((letters) => ({ letters, kind, whole }))
}

/** Compared from the end, without case, `_`, `-` and `.`: `DB_PASSWORD`, `dbPassword` and `x-api-key` all end in one of these. */
const NAMES: SecretName[] = [
  ...names('password', 'password passwd passwort passphrase passcode'),
  ...names('password', 'pwd pass', true),
  ...names(
    'key',
    'secret token apikey accesskey secretkey privatekey encryptionkey signingkey authkey masterkey sharedkey',
  ),
  ...names(
    'key',
    'servicekey clientkey webhookkey hmackey accountkey sessionkey credential credentials secretkeybase apisecret',
  ),
  ...names('key', 'auth', true),
  ...names('authorization', 'authorization'),
  ...names('signature', 'sig', true),
  ...names('ssn', 'ssn', true),
  ...names('ssn', 'socialsecuritynumber socialsecurity'),
  ...names('phone', 'phone phonenumber mobilenumber'),
  ...names('phone', 'tel telephone mobile fax', true),
]

/** Tokens of pages and of cancellation open nothing. */
const NOT_SECRET = ['pagetoken', 'nexttoken', 'continuationtoken', 'cancellationtoken']

const pairOf = (beforeLast: number, last: number) => ((beforeLast | 32) << 7) | last | 32
const endOf = (letters: string) =>
  pairOf(letters.charCodeAt(letters.length - 2), letters.charCodeAt(letters.length - 1))

const BY_END: SecretName[][] = []
for (const n of NAMES) {
  const list = BY_END[endOf(n.letters)] ?? []
  list.push(n)
  BY_END[endOf(n.letters)] = list
}
/** 1 for the last two letters of a name worth comparing: one load turns away nearly every `:` and `=`. */
const MAY_END = new Uint8Array(128 * 128)
for (const { letters } of NAMES) MAY_END[endOf(letters)] = 1

/** Types that stand between a name and its value: `password: string = "…"`; `String password = …` has none. */
const TYPES = ['string', 'str', 'text']
for (const t of TYPES) MAY_END[endOf(t)] = 1

export const LETTERS_OF_NAMES: readonly string[] = NAMES.map((name) => name.letters)
export const LETTERS_OF_TYPES: readonly string[] = TYPES

/** Whether a name of a secret can end in these two letters, or in a digit (`PASSWORD2`). */
export function mayEndNameWith(beforeLast: number, last: number): boolean {
  return !isLetter(last) || MAY_END[pairOf(beforeLast, last)] === 1
}

function isJoin(code: number): boolean {
  return code === 95 || code === 45 || code === 46
}

/** Start of `letters` where the name that ends before `end` ends in it, else -1. */
function endsIn(text: string, end: number, letters: string): number {
  let i = end - 1
  for (let k = letters.length - 1; k >= 0; i--) {
    const c = codeAt(text, i)
    if (isJoin(c) && k < letters.length - 1) continue
    if (!isLetter(c) || (c | 32) !== letters.charCodeAt(k)) return -1
    k--
  }
  return i + 1
}

/** A word of a name begins at `i`: nothing, a join, a digit, or a lower-case letter (camel case) stands before it. */
function beginsWord(text: string, i: number): boolean {
  const before = codeAt(text, i - 1)
  return !isLetter(before) || (isUpper(codeAt(text, i)) && !isUpper(before))
}

/** What the name that ends before `end` promises, or null. Bounded: a name is compared, never read to its beginning. */
export function kindOfName(text: string, end: number): NameKind | null {
  let stop = end
  // `PASSWORD_2`, `API_KEY1`
  while (end - stop < 3 && isDigit(codeAt(text, stop - 1))) stop--
  if (stop < end && isJoin(codeAt(text, stop - 1))) stop--
  const last = codeAt(text, stop - 1)
  if (!isLetter(last) || !mayEndNameWith(codeAt(text, stop - 2), last)) return null
  for (const n of BY_END[pairOf(codeAt(text, stop - 2), last)] ?? []) {
    const start = endsIn(text, stop, n.letters)
    if (start < 0 || (n.whole && !beginsWord(text, start))) continue
    const joined = isLetter(codeAt(text, start - 1)) || isJoin(codeAt(text, start - 1))
    if (n.letters === 'token' && joined && NOT_SECRET.some((name) => endsIn(text, stop, name) >= 0)) return null
    return n.kind
  }
  return null
}

/** Environments and the like that people hang behind a name: `DB_PASSWORD_PROD`. Only for whole names (JSON keys). */
const SUFFIXES = [
  'prod',
  'production',
  'staging',
  'stage',
  'dev',
  'test',
  'old',
  'new',
  'value',
  'live',
  'b64',
  'base64',
]

export function kindOfKey(key: string): NameKind | null {
  const kind = kindOfName(key, key.length)
  if (kind !== null || key.length > 128) return kind
  for (const s of SUFFIXES) {
    const start = endsIn(key, key.length, s)
    if (start > 0 && isJoin(key.charCodeAt(start - 1))) return kindOfName(key, start - 1)
  }
  return null
}

/**
 * The name in front of an assignment sign at `at`: over spaces, a closing quote or bracket (`"password": …`, `x["token"] = …`)
 * and a type annotation.
 */
export function nameBefore(text: string, at: number): NameKind | null {
  let end = at
  for (let spaces = 0; spaces < 4 && isBlank(codeAt(text, end - 1)); spaces++) end--
  for (let marks = 0; marks < 2 && isMark(codeAt(text, end - 1)); marks++) end--
  const last = codeAt(text, end - 1)
  if (!isWord(last)) return null
  const kind = kindOfName(text, end)
  if (kind !== null) return kind
  if (last !== 103 && last !== 114 && last !== 116) return null
  for (const t of TYPES) {
    const start = endsIn(text, end, t)
    if (start < 0) continue
    let colon = start - 1
    for (let spaces = 0; spaces < 3 && isTypeJoin(codeAt(text, colon)); spaces++) colon--
    if (codeAt(text, colon) === 58) return kindOfName(text, colon)
  }
  return null
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9
}

/** Quotes and the closing bracket of an index. */
function isMark(code: number): boolean {
  return code === 34 || code === 39 || code === 96 || code === 93
}

/** Space and the & of a reference type. */
function isTypeJoin(code: number): boolean {
  return code === 32 || code === 38
}
