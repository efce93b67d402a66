import { isDigit, isUpper, isWord } from './chars.js'
import { isDisguise } from './encodings.js'
import { mayEndName } from './names.js'
import { ANCHORS, PAIRS } from './tokens.js'

// What a character is to the pass, as bits.
export const ENDS_RUN = 1 // not of the base64 alphabets: the stretch before it is over
export const LOOK = 2 // an anchor, where LOOKS says so for the character before it
export const DIGIT = 4 // begins a number, or the check digits of an IBAN
export const ESCAPE = 8 // hides text behind an encoding
export const DOT = 16

// What stands before a character, as far as digits care: most digits are inside a word, where no number begins.
const NO_WORD = 0
const IN_WORD = 1
const ONE_CAPITAL = 2 // a word of one capital so far
export const TWO_CAPITALS = 3 // of two: a country, if digits follow

/** What a character is, by itself. */
function kindOf(code: number): number {
  const char = String.fromCharCode(code)
  let kind = isWord(code) || '+/-_'.includes(char) ? 0 : ENDS_RUN
  if (`${ANCHORS}:>@ `.includes(char)) kind |= LOOK
  if (char === '.') kind |= DOT
  if ('%\\&'.includes(char) || (code > 127 && isDisguise(code))) kind |= ESCAPE
  return kind
}

function stateAfter(state: number, code: number): number {
  if (!isWord(code)) return NO_WORD
  if (!isUpper(code)) return IN_WORD
  return state === NO_WORD ? ONE_CAPITAL : state === ONE_CAPITAL ? TWO_CAPITALS : IN_WORD
}

/**
 * STEP[state << 16 | code] = next state << 5 | kind. The state is there for the branch predictor: in hex and base64 digits and
 * letters alternate at random, and asking for each digit what stands before it cost a third of the whole pass.
 */
export const STEP = new Uint8Array(4 * 65_536)
for (let code = 0; code < 65_536; code++) {
  const kind = kindOf(code)
  for (let state = 0; state < 4; state++) {
    const begins = isDigit(code) && (state === NO_WORD || state === TWO_CAPITALS)
    STEP[(state << 16) | code] = (stateAfter(state, code) << 5) | kind | (begins ? DIGIT : 0)
  }
}

/**
 * LOOKS[before << 7 | anchor]: 0 where nothing can begin or end here. Most `:`, `-`, spaces … are settled by this one load.
 * 1 = a token literal may be here, 2 = something else may.
 */
export const LOOKS = new Uint8Array(128 * 128)
for (let before = 0; before < 128; before++) {
  const char = String.fromCharCode(before)
  const allow = (anchor: string, when: boolean) => {
    const pair = (before << 7) | anchor.charCodeAt(0)
    if (when) LOOKS[pair] = (LOOKS[pair] as number) | 2
  }
  for (const sign of '=:>') allow(sign, mayEndName(before) || ' \t"\'`]'.includes(char))
  allow(':', isWord(before)) // ://
  allow(' ', 'rcdnty'.includes(char))
  allow('@', isWord(before) || "._%+-'".includes(char))
  allow('-', '- Y'.includes(char))
  allow('J', char === 'y')
  for (let anchor = 0; anchor < 128; anchor++) {
    const pair = (before << 7) | anchor
    if (PAIRS[pair] !== 0) LOOKS[pair] = (LOOKS[pair] as number) | 1
  }
}
