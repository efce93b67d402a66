import { type Frontier, noneOf, oneOf, Patterns } from './automaton.js'
import { isWord } from './chars.js'
import { MAY_ESCAPE } from './encodings.js'
import { LETTERS_OF_NAMES, LETTERS_OF_TYPES } from './names.js'
import { FORMS, IBAN_COUNTRIES } from './numbers.js'
import { MARKS } from './tokens.js'

/**
 * What makes the pass stop and look closely. A trigger may go off for nothing, but never fail to: each is what its check asks
 * for at least, and the check is made again in full.
 */
export const TOKEN = 1
export const NUMBER = 2 // the digits behind a +, or so many that they are no group
export const GROUPS = 1024 // the second group of digits of a card, a phone …
export const IBAN = 4
export const SIGN = 8 // = : > behind the name of a secret
export const COLON = 16 // two characters behind the colon of `://` or of a Telegram token
export const AT = 32
export const WORD = 64 // a space behind a word that announces a credential
export const ARMOUR = 128 // the B of `-BEGIN`, or the dash of `PuTTY-`
export const JWT = 256
export const DOT = 512

const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const UPPER = LOWER.toUpperCase()
const DIGITS = '0123456789'
const WORDS = LOWER + UPPER + DIGITS
const JOINS = oneOf('_-.')
const digit = oneOf(DIGITS)

const patterns = new Patterns()
const { root } = patterns

tokens()
names()
numbers()
others()

function tokens(): void {
  for (const text of MARKS) patterns.accept(patterns.literal(root, text), TOKEN)
}

/** Letters in any case, with joins between them. */
function spelled(from: Frontier, letters: string, last: number): void {
  let at = from
  for (const [i, letter] of [...letters].entries()) {
    const end = i === letters.length - 1
    at = patterns.then(at, oneOf(letter), end ? last : patterns.node())
    if (!end) patterns.loop(at, JOINS)
  }
}

/** `PASSWORD_2 = `, `"apiKey": `, `token: string = ` */
function names(): void {
  const named = patterns.node()
  for (const letters of LETTERS_OF_NAMES) spelled(root, letters, named)
  const numbered = patterns.upTo(2, patterns.then([named, ...patterns.then([named], JOINS)], digit), digit)
  const typed = patterns.node()
  const colon = patterns.then([named, ...numbered], oneOf(':'))
  for (const letters of LETTERS_OF_TYPES) spelled(patterns.upTo(3, colon, oneOf(' &')), letters, typed)
  const marked = patterns.upTo(2, [named, ...numbered, typed], oneOf('"\'`]'))
  patterns.accept(patterns.then(patterns.upTo(4, marked, oneOf(' \t')), oneOf('=:>')), SIGN)
}

/** What `mayBeNumber` lets pass, up to the last digit it looks at. */
function numbers(): void {
  const begin = patterns.then(root, noneOf(`${WORDS}-./+`))
  patterns.then(patterns.then(root, noneOf(`${DIGITS}abcdefABCDEF`)), oneOf('-'), begin[0])
  patterns.then(patterns.then(root, noneOf(DIGITS)), oneOf('./'), begin[0])
  patterns.accept(patterns.exactly(14, begin, digit), NUMBER)
  patterns.accept(patterns.then(patterns.then(root, oneOf('+')), digit), NUMBER)
  for (const { begin: starts, separators, lengths } of FORMS) {
    for (const [first, second] of lengths.split(' ').map((pair) => pair.split('-').map(Number)) as [number, number][]) {
      const group = patterns.exactly(first - 1, patterns.then(begin, oneOf(starts[0])), digit)
      const behind = [
        ...patterns.then(group, oneOf(separators)),
        ...patterns.literal(group, ' ('),
        ...(separators.includes(')') ? patterns.literal(group, ') ') : []),
      ]
      patterns.accept(patterns.exactly(second - 1, patterns.then(behind, oneOf(starts[1])), digit), GROUPS)
    }
  }
  const afterWord = patterns.then(root, noneOf(WORDS))
  for (const country of IBAN_COUNTRIES)
    patterns.accept(patterns.then(patterns.literal(afterWord, country), digit), IBAN)
}

function others(): void {
  patterns.accept(patterns.then(patterns.then(root, oneOf(`${WORDS}._%+-'`)), oneOf('@')), AT)
  patterns.accept(patterns.literal(patterns.then(root, oneOf(WORDS)), '://'), COLON)
  patterns.accept(patterns.literal(patterns.then(root, digit), ':AA'), COLON)
  for (const word of ['earer ', 'asic ', 'assword ', '--token ', '--secret ', '-key '])
    patterns.accept(patterns.literal(root, word), WORD)
  const dash = patterns.then(patterns.then(root, oneOf('- \x80')), oneOf('-'))
  patterns.accept(patterns.then(patterns.upTo(1, dash, oneOf(' ')), oneOf('B')), ARMOUR)
  patterns.accept(patterns.literal(root, 'PuTTY-'), ARMOUR)
  patterns.accept(patterns.literal(root, 'eyJ'), JWT)
  patterns.accept(patterns.literal(root, 'SG.'), DOT)
}

export const AUTOMATON = patterns.compile()

/** What a code unit is, beside its column in the table: as bits, and the sign for the alphabets of base64. */
export const COLUMN = 127
export const ESCAPE = 128 // hides text behind an encoding
const IN_RUN = -0x8000

export const SORT = new Int16Array(65_536).fill(AUTOMATON.columns[128] as number)
for (let code = 0; code < 128; code++) {
  const inRun = isWord(code) || '+/-_'.includes(String.fromCharCode(code))
  SORT[code] = (AUTOMATON.columns[code] as number) | (inRun ? IN_RUN : 0)
}
for (let code = 0; code < 65_536; code++) if (MAY_ESCAPE[code] === 1) SORT[code] = (SORT[code] as number) | ESCAPE
