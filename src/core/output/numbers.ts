import { codeAt, isDigit, isLetter, isUpper, isWord } from './chars.js'
import { type Hit, rankOf } from './detectors.js'

const CARD = rankOf('credit_card')
const IBAN = rankOf('iban')
const SSN = rankOf('us_ssn')
const PHONE = rankOf('phone')

const SPACE = 32
const PLUS = 43
const DASH = 45
const DOT = 46
const SLASH = 47

const DIGITS_MAX = 19

/**
 * The groups of the number being looked at, used again for each: numbers come by the thousand, and objects for each made this
 * the slowest path of all on hostile text (6 MB/s).
 */
const digits = new Uint8Array(2 * DIGITS_MAX + 2)
const lengths = new Uint8Array(DIGITS_MAX + 1)
/** Separator behind each group, 0 behind the last. */
const separators = new Uint8Array(DIGITS_MAX + 1)
const ends = new Int32Array(DIGITS_MAX + 1)
let groups = 0
let total = 0

/** Space ( ) - . / */
function isSeparator(code: number): boolean {
  return code === SPACE || (code >= 40 && code <= SLASH && code !== 42 && code !== PLUS && code !== 44)
}

/** How far the next group of digits begins behind the separator at `i`, 0 for no group: `) ` and ` (` are one separator. */
function toNextGroup(text: string, i: number): number {
  const sep = codeAt(text, i)
  if (!isSeparator(sep)) return 0
  const next = codeAt(text, i + 1)
  if (isDigit(next)) return 1
  const two = (sep === 41 && next === SPACE) || (sep === SPACE && next === 40)
  return two && isDigit(codeAt(text, i + 2)) ? 2 : 0
}

/** Reads digit groups joined by one separator each; stops when there are more digits than any number has. */
function readGroups(text: string, from: number): void {
  let group = 0
  let count = 0
  let i = from
  for (;;) {
    const start = i
    for (; i - start <= DIGITS_MAX; i++) {
      const digit = codeAt(text, i) - 48
      if (digit < 0 || digit > 9) break
      digits[count++] = digit
    }
    lengths[group] = i - start
    ends[group] = i
    const step = toNextGroup(text, i)
    separators[group++] = step === 2 && codeAt(text, i) === SPACE ? 40 : step === 0 ? 0 : codeAt(text, i)
    if (step === 0 || count > DIGITS_MAX) break
    i += step
  }
  groups = group
  total = count
}

/** The digits from `from` to before `to` as a number. */
function numberOf(from: number, to: number): number {
  let n = 0
  for (let i = from; i < to; i++) n = n * 10 + (digits[i] as number)
  return n
}

const DIGITS = '0123456789'
const WITH_ANY = 1
const WITH_DASH_OR_SPACE = 2
const WITH_ONE = 4 // 1-800-…
const WITH_ZERO = 8 // national forms begin with 0
/** What is written in groups of which lengths, the first two of them, and the digits that these may begin with. */
export const FORMS: readonly { bit: number; begin: [string, string]; separators: string; lengths: string }[] = [
  // No card begins with 0, 1, 7, 8 or 9; no area or exchange of North America with 0 or 1.
  { bit: WITH_ANY, begin: ['23456', DIGITS], separators: ' ()-./', lengths: '4-4 4-6' },
  { bit: WITH_ANY, begin: ['23456789', '23456789'], separators: ' ()-./', lengths: '3-3' },
  { bit: WITH_DASH_OR_SPACE, begin: [DIGITS, DIGITS], separators: ' -', lengths: '3-2' },
  { bit: WITH_ONE, begin: ['1', '23456789'], separators: ' ()-./', lengths: '1-3' },
  {
    bit: WITH_ZERO,
    begin: ['0', DIGITS],
    separators: ' ()-./',
    lengths: '2-2 3-4 5-6 4-3 5-3 3-7 3-8 4-7 4-8',
  },
]

/** SHAPES[first * 16 + second]: the forms written in groups of these two lengths. */
const SHAPES = new Uint8Array(6 * 16)
for (const { bit, lengths } of FORMS) {
  for (const shape of lengths.split(' ')) {
    const at = Number(shape[0]) * 16 + Number(shape[2])
    SHAPES[at] = (SHAPES[at] as number) | bit
  }
}

/** The first sieve, small enough to be inlined into the pass: the neighbours of a run of digits and its length. */
export function canBeNumber(before: number, length: number, after: number): boolean {
  return before === PLUS || length >= 14 || (length <= 5 && isSeparator(after))
}

/**
 * Settles most digits in text (dates, sizes, addresses, versions) by the lengths of their first two groups; `end` closes the
 * first. A piece of something longer (a fraction, a UUID, a dotted version, a path) is no number either.
 */
export function mayBeNumber(text: string, at: number, end: number): boolean {
  const length = end - at
  const before = codeAt(text, at - 1)
  if (before === PLUS) return true
  if (before === DASH || before === DOT || before === SLASH) {
    const further = codeAt(text, at - 2)
    if (isDigit(further) || (before === DASH && (further | 32) >= 97 && (further | 32) <= 102)) return false
  }
  if (length >= 14) return length <= DIGITS_MAX
  const first = codeAt(text, at)
  if (length === 4 && first !== 48 && (first < 50 || first > 54)) return false // no card begins with 1, 7, 8 or 9
  const step = toNextGroup(text, end)
  if (step === 0) return false
  const second = end + step
  let i = second
  while (i - second < 9 && isDigit(codeAt(text, i))) i++
  const shape = SHAPES[length * 16 + (i - second)] as number
  if (shape === 0 || (shape & WITH_ANY) !== 0) return shape !== 0
  const separator = codeAt(text, end)
  if ((shape & WITH_DASH_OR_SPACE) !== 0 && (separator === DASH || separator === SPACE)) return true
  return ((shape & WITH_ONE) !== 0 && first === 49) || ((shape & WITH_ZERO) !== 0 && first === 48)
}

/** Luhn's check over the first `count` digits. */
function luhn(count: number): boolean {
  let sum = 0
  for (let i = 0; i < count; i++) {
    const d = digits[count - 1 - i] as number
    sum += i % 2 === 0 ? d : d > 4 ? d * 2 - 9 : d * 2
  }
  return sum % 10 === 0
}

const MAESTRO = new Set([5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763])

/**
 * Issued ranges by length. 13-digit Visa is left out: no such card is valid any more and every tenth EAN-13 barcode that
 * begins with 4 would be one. Lengths of 17 and more exist only for the networks that really use them.
 */
function issued(count: number): boolean {
  const four = numberOf(0, 4)
  const three = Math.floor(four / 10)
  const two = Math.floor(four / 100)
  if (count === 16 && two >= 40 && two <= 49) return true // Visa
  if (count === 16 && ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720))) return true // Mastercard
  if (count === 15 && (two === 34 || two === 37)) return true // American Express
  if (count === 14 && ((three >= 300 && three <= 305) || two === 36 || two === 38 || two === 39)) return true // Diners
  if (count < 16 || count > 19) return false
  if (four === 6011 || two === 65 || (three >= 644 && three <= 649) || two === 62) return true // Discover, UnionPay
  return (four >= 3528 && four <= 3589) || MAESTRO.has(four) // JCB, Maestro
}

/** Whether a text is the digits of a card and nothing else. */
export function isCard(text: string): boolean {
  if (text.length < 14 || text.length > DIGITS_MAX || !isDigit(codeAt(text, 0))) return false
  readGroups(text, 0)
  return groups === 1 && total === text.length && issued(total) && luhn(total)
}

/** The first `count` groups as cards are printed: in one, in fours, or 4-6-5 and 4-6-4, with one kind of separator. */
function printedAsCard(count: number): boolean {
  const separator = separators[0]
  if (count > 1 && separator !== SPACE && separator !== DASH && separator !== DOT) return false
  for (let k = 1; k < count - 1; k++) if (separators[k] !== separator) return false
  if (count === 1) return true
  if (count === 3) return lengths[0] === 4 && lengths[1] === 6 && (lengths[2] === 5 || lengths[2] === 4)
  for (let k = 0; k < count - 1; k++) if (lengths[k] !== 4) return false
  return count > 3 && (lengths[count - 1] as number) <= 4
}

function cardIn(text: string, from: number): Hit | null {
  if ((digits[0] as number) < 2 || (digits[0] as number) > 6) return null
  // A long row of fours may be several cards, or a card and a year: try what begins here, longest first.
  let count = total
  for (let k = groups; k > 0; k--) {
    const end = ends[k - 1] as number
    if (count >= 14 && printedAsCard(k) && issued(count) && luhn(count) && !isWord(codeAt(text, end)))
      return { start: from, end, rank: CARD }
    count -= lengths[k - 1] as number
  }
  return null
}

/** Never issued: area 000, 666 and 9xx, group 00, serial 0000. */
function issuedSsn(): boolean {
  const area = numberOf(0, 3)
  return area > 0 && area !== 666 && area < 900 && numberOf(3, 5) > 0 && numberOf(5, 9) > 0
}

/** Whether a text is nine digits that could be a social security number. */
export function isSsn(text: string): boolean {
  if (text.length !== 9) return false
  readGroups(text, 0)
  return groups === 1 && total === 9 && issuedSsn()
}

function ssnIn(text: string, from: number): Hit | null {
  if (groups < 3 || lengths[0] !== 3 || lengths[1] !== 2 || lengths[2] !== 4) return null
  if (separators[0] !== separators[1] || (separators[0] !== DASH && separators[0] !== SPACE)) return null
  const end = ends[2] as number
  if (!closed(text, end) || !issuedSsn()) return null
  return { start: from, end, rank: SSN }
}

/** Nothing more belongs to the number that ends here. */
function closed(text: string, end: number): boolean {
  const after = codeAt(text, end)
  return !isWord(after) && !((after === DASH || after === DOT) && isDigit(codeAt(text, end + 1)))
}

/** Area and exchange of North America begin with 2–9 and do not end in 11; `at` is the first of the ten digits. */
function isNanp(at: number): boolean {
  const ok = (i: number) => (digits[i] as number) >= 2 && !(digits[i + 1] === 1 && digits[i + 2] === 1)
  return ok(at) && ok(at + 3)
}

/** Country codes in use: 1, 7, these of two digits, and three-digit ones in these regions. */
const TWO_DIGIT_CODES = new Set([
  20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58, 60, 61, 62,
  63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
])
const THREE_DIGIT_REGIONS = new Set([
  21, 22, 23, 24, 25, 26, 29, 35, 37, 38, 42, 50, 59, 67, 68, 69, 80, 85, 88, 96, 97, 99,
])

function internationalIn(text: string, from: number): Hit | null {
  const before = codeAt(text, from - 2)
  if (isWord(before) || before === SLASH) return null // a + inside base64
  const one = digits[0]
  const two = numberOf(0, 2)
  if (one === 1 ? total !== 11 || !isNanp(1) : total < 9 || total > 15) return null
  if (one === 7 ? total !== 11 : one !== 1 && !TWO_DIGIT_CODES.has(two) && !THREE_DIGIT_REGIONS.has(two)) return null
  const end = ends[groups - 1] as number
  if (isWord(codeAt(text, end)) || isDecimal()) return null
  return { start: from - 1, end, rank: PHONE }
}

/** `+35236450.6`: a point that is no separator of groups. */
function isDecimal(): boolean {
  let points = 0
  for (let k = 0; k < groups - 1; k++) if (separators[k] === DOT) points++
  return points > 0 && (points < groups - 1 || points < 2)
}

/** Lengths of the first `count` groups as one number, a digit each: 3-3-4 is 334. */
function shapeOf(count: number): number {
  let shape = 0
  for (let k = 0; k < count; k++) shape = shape * 10 + Math.min(lengths[k] as number, 9)
  return shape
}

const FRENCH = 22222
const BRITISH = new Set([344, 56, 434, 533])
const GERMAN = new Set([37, 38, 47, 48])

/**
 * National forms that people write with separators. Bare runs of digits are never phones: order numbers look the same.
 * `200 512 1024` (three columns of numbers) has the shape of a North American one, so that needs `-`, `.` or `(`.
 */
function nationalIn(text: string, from: number): Hit | null {
  const first = separators[0]
  const second = separators[1]
  if (shapeOf(Math.min(groups, 3)) === 334 && isNanp(0) && closed(text, ends[2] as number)) {
    const open = codeAt(text, from - 1) === 40 && (second === DASH || second === DOT || second === SPACE)
    if (open) return { start: from - 1, end: ends[2] as number, rank: PHONE }
    if (first === second && (first === DASH || first === DOT))
      return { start: from, end: ends[2] as number, rank: PHONE }
  }
  if (
    shapeOf(Math.min(groups, 4)) === 1334 &&
    digits[0] === 1 &&
    isNanp(1) &&
    first !== DOT &&
    closed(text, ends[3] as number)
  )
    return { start: from, end: ends[3] as number, rank: PHONE }
  // The tail of a longer row of numbers (a dump of bytes) is no phone.
  if (digits[0] !== 0 || digits[1] === 0 || isDigit(codeAt(text, from - 2))) return null
  for (let k = 1; k < groups - 1; k++) if (separators[k] !== first) return null
  const shape = shapeOf(groups)
  const french = shape === FRENCH && (first === SPACE || first === DOT || first === DASH)
  const other = (BRITISH.has(shape) || GERMAN.has(shape)) && first !== DOT
  const end = ends[groups - 1] as number
  return (french || other) && closed(text, end) ? { start: from, end, rank: PHONE } : null
}

/** The number that begins at `at`, where `mayBeNumber` says there may be one. */
export function numberAt(text: string, at: number): Hit | null {
  readGroups(text, at)
  if (codeAt(text, at - 1) === PLUS) return internationalIn(text, at)
  if (total < 9) return null
  return ssnIn(text, at) ?? cardIn(text, at) ?? nationalIn(text, at)
}

/** Length by country, from the IBAN registry. */
const IBAN_LENGTH: ReadonlyMap<string, number> = new Map(
  (
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 ' +
    'GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 ' +
    'MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 ' +
    'TL23 TN24 TR26 UA29 VA22 VG24 XK20'
  )
    .split(' ')
    .map((s) => [s.slice(0, 2), Number(s.slice(2))]),
)

export const IBAN_COUNTRIES: readonly string[] = [...IBAN_LENGTH.keys()]

/** The same by the two letters' codes, 0 for no country. */
const LENGTHS = new Uint8Array(128 * 128)
for (const [country, length] of IBAN_LENGTH) LENGTHS[(country.charCodeAt(0) << 7) | country.charCodeAt(1)] = length

/** `at` is the first check digit. Contiguous, or in groups of four with single spaces or dashes. */
export function ibanAt(text: string, at: number): Hit | null {
  const start = at - 2
  if (start < 0 || !isUpper(codeAt(text, start)) || isWord(codeAt(text, start - 1))) return null
  const length = LENGTHS[((codeAt(text, start) & 127) << 7) | (codeAt(text, start + 1) & 127)] as number
  if (length === 0) return null
  let taken = 0
  let rest = 0
  let head = 0
  let i = start
  for (; taken < length; i++) {
    const c = codeAt(text, i)
    if ((c === SPACE || c === DASH) && taken % 4 === 0 && taken > 0 && isWord(codeAt(text, i + 1))) continue
    if (!isDigit(c) && !(isLetter(c) && isUpper(c))) return null
    // A = 10 … Z = 35; country and check digits count last.
    const value = isDigit(c) ? c - 48 : c - 55
    if (taken < 4) head = head * (value > 9 ? 100 : 10) + value
    else rest = (rest * (value > 9 ? 100 : 10) + value) % 97
    taken++
  }
  rest = (rest * 1_000_000 + head) % 97
  return rest === 1 && !isWord(codeAt(text, i)) ? { start, end: i, rank: IBAN } : null
}
