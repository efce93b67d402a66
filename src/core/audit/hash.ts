import { hash } from 'node:crypto'

/** The two hashes of RFC 6962 section 2.1. The leading byte keeps a leaf from ever being taken for a node. */

export const HASH_BYTES = 32
const NODE_PREFIX = 1
const scratch = Buffer.alloc(1 + 2 * HASH_BYTES, NODE_PREFIX)

/** By way of a one-byte string: 0.4 µs of CPU against 0.8 when asked for a buffer, which is allocated outside the heap one by one. */
function digest(data: string | Uint8Array): Uint8Array {
  return Buffer.from(hash('sha256', data, 'binary'), 'binary')
}

/** Root of a tree without leaves. */
export const EMPTY_ROOT: Uint8Array = digest('')

/** SHA-256(0x00 || line). The NUL is one byte in UTF-8, so line and prefix are hashed without a copy. */
export function leafHash(line: string): Uint8Array {
  return digest(`\0${line}`)
}

/** SHA-256(0x01 || left || right). The scratch buffer is filled and read within one call: no await can come between. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  scratch.set(left, 1)
  scratch.set(right, 1 + HASH_BYTES)
  return digest(scratch)
}

export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}

/** The bytes of standard base64, or null where the text is not the one encoding of its bytes (RFC 4648 section 3.5). */
export function fromBase64(text: string): Uint8Array | null {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : null
}
