import { BASE64, codeAt, stretch } from './chars.js'
import { type Hit, rankOf } from './detectors.js'

const PRIVATE_KEY = rankOf('private_key')
/** A header line is short; an armoured 16384-bit RSA key has 12.7 KB. */
const HEADER_MAX = 80
const BODY_MAX = 32_768

/** A header that no key follows (documentation, a search for keys) is no secret: within 512 characters there must be one of 24. */
function hasBody(text: string, from: number): boolean {
  const limit = Math.min(text.length, from + 512)
  for (let i = from; i < limit; i++) {
    const end = stretch(text, i, BASE64, i + 24)
    if (end - i === 24) return true
    i = end
  }
  return false
}

/**
 * `-----BEGIN … PRIVATE KEY…-----` to its END line, or as far as a key can reach where that is cut off; `at` is the B of
 * BEGIN. Public keys and certificates are no secrets.
 */
export function pemAt(text: string, at: number): Hit | null {
  if (!text.startsWith('BEGIN', at)) return null
  const header = text.slice(at, at + HEADER_MAX)
  const key = header.search(/PRIVATE KEY/)
  const line = header.indexOf('\n')
  if (key < 0 || (line >= 0 && line < key)) return null
  if (!hasBody(text, at + key + 11)) return null
  let start = at
  while (at - start < 6 && (codeAt(text, start - 1) === 45 || codeAt(text, start - 1) === 32)) start--
  const stop = Math.min(text.length, at + BODY_MAX)
  const body = text.slice(at, stop)
  const foot = body.indexOf('END ')
  if (foot < 0) return { start, end: stop, rank: PRIVATE_KEY }
  let end = at + foot
  const close = body.indexOf('KEY', foot)
  if (close >= 0 && close - foot < HEADER_MAX) end = at + close + 3
  const tail = ' BLOCK-'
  while (end < stop && tail.includes(text[end] as string)) end++
  return { start, end, rank: PRIVATE_KEY }
}

/** PuTTY's format has no BEGIN line; its secret part is named. `at` is the dash of `PuTTY-User-Key-File-`. */
export function puttyAt(text: string, at: number): Hit | null {
  const start = at - 5
  if (start < 0 || !text.startsWith('PuTTY-User-Key-File-', start)) return null
  return { start, end: Math.min(text.length, start + BODY_MAX), rank: PRIVATE_KEY }
}

const OPENSSH = Buffer.from('openssh-key-v1\0', 'latin1')

/**
 * The binary inside an armour that was taken off. PKCS#1 and PKCS#8 begin SEQUENCE, INTEGER 0; SEC 1 begins SEQUENCE,
 * INTEGER 1, OCTET STRING. A certificate begins with two SEQUENCEs and a public key with SEQUENCE, SEQUENCE or a long INTEGER.
 */
export function isPrivateKeyBytes(bytes: Uint8Array): boolean {
  if (bytes.length < 48) return false
  if (OPENSSH.every((b, i) => bytes[i] === b)) return true
  if (bytes[0] !== 0x30) return false
  const length = bytes[1] ?? 0
  const at = length === 0x82 ? 4 : length === 0x81 ? 3 : length < 0x80 ? 2 : -1
  if (at < 0 || bytes[at] !== 2 || bytes[at + 1] !== 1) return false
  const [version, next] = [bytes[at + 2], bytes[at + 3]]
  return (version === 0 && (next === 2 || next === 0x30)) || (version === 1 && next === 4)
}

export const PRIVATE_KEY_RANK = PRIVATE_KEY
