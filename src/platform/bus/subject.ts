import { createHash } from 'node:crypto'

/** A line of the protocol holds 4 KiB with everything on it; ours stay well below, whatever was sent. */
const MAX_TOKEN = 600
const MAX_TOPIC = 1500
const PLAIN = /^[A-Za-z0-9_-]+$/

/**
 * Any text as exactly one token of a subject, different texts as different ones. What NATS gives a meaning (`.` `*` `>`, white
 * space, control characters) and `%` itself are percent-encoded as in a URL; so a tenant called `*` hears nobody else's hints.
 */
export function token(text: string): string {
  if (text === '') return '%' // no token may be empty, and no other text becomes a lone %
  if (text.length > MAX_TOKEN) return hashed(text)
  if (PLAIN.test(text)) return text
  const encoded = [...Buffer.from(text)].map(encodedByte).join('')
  return encoded.length <= MAX_TOKEN ? encoded : hashed(text)
}

/** A dotted topic as its tokens; one that is too long for a subject as a single one. */
export function tokens(topic: string): string {
  if (topic.length > MAX_TOPIC) return hashed(topic)
  const encoded = topic.split('.').map(token).join('.')
  return encoded.length <= MAX_TOPIC ? encoded : hashed(topic)
}

/** `%h` begins no encoding of anything. */
const hashed = (text: string) => `%h${createHash('sha256').update(text).digest('hex')}`

const encodedByte = (byte: number) => {
  const char = String.fromCharCode(byte)
  return PLAIN.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
}
