/** A set of ASCII characters as a table: one load per character, and everything above 127 is outside. */
export type CharSet = Uint8Array

export function charSet(chars: string): CharSet {
  const set = new Uint8Array(128)
  for (const c of chars) set[c.charCodeAt(0)] = 1
  return set
}

const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const UPPER = LOWER.toUpperCase()
const DIGITS = '0123456789'

export const HEX = charSet('0123456789abcdefABCDEF')
export const ALNUM = charSet(LOWER + UPPER + DIGITS)
/** base64url, and the tail of most tokens. */
export const TOKEN = charSet(`${LOWER + UPPER + DIGITS}_-`)
export const BASE64 = charSet(`${LOWER + UPPER + DIGITS}+/`)
export const SPACE = charSet(' \t\n\r')

/**
 * The code unit at `i`, 0 outside of the text. Not `charCodeAt`: once that was asked outside, its NaN makes every character a
 * double to the compiler, and the pass ran at half the speed.
 */
export function codeAt(text: string, i: number): number {
  return i >= 0 && i < text.length ? text.charCodeAt(i) : 0
}

/** End of the stretch of `set` that begins at `from`, looking no further than `limit`. */
export function stretch(text: string, from: number, set: CharSet, limit = text.length): number {
  const stop = Math.min(limit, text.length)
  let i = from
  for (; i < stop; i++) {
    const code = text.charCodeAt(i)
    if (code > 127 || set[code] !== 1) break // a load past the end of the table would cost far more than this compare
  }
  return i
}

export function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

export function isUpper(code: number): boolean {
  return code >= 65 && code <= 90
}

export function isLetter(code: number): boolean {
  return (code | 32) >= 97 && (code | 32) <= 122
}

/** Letter or digit; NaN (outside the text) is neither. */
export function isWord(code: number): boolean {
  return code < 128 && ALNUM[code] === 1
}

/** Whether a list in ascending order has `value`. */
export function isAmong(sorted: readonly number[], value: number): boolean {
  let [lo, hi] = [0, sorted.length - 1]
  while (lo < hi) {
    const mid = (lo + hi) >> 1
    if ((sorted[mid] as number) < value) lo = mid + 1
    else hi = mid
  }
  return sorted[lo] === value
}
