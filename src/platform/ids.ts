import { randomBytes } from 'node:crypto'

/** Where ids, salts, secrets and jitter come from, so that a seeded run replays them. */
export interface Ids {
  /** `<prefix>_` + 26 base-32 characters that sort by time: 48 bits of ms, 80 random. */
  id(prefix: string, now: number): string
  bytes(n: number): Uint8Array
  /** Uniform in [0, 1): jitter only, never a secret. */
  fraction(): number
}

const ALPHABET = Buffer.from('0123456789abcdefghjkmnpqrstvwxyz')
/** Written into and read within one call. As a text grown letter by letter an id was 500 bytes of garbage. */
const letters = Buffer.alloc(26)

function encode(now: number, random: Uint8Array): string {
  let time = now
  for (let i = 9; i >= 0; i--) {
    letters[i] = ALPHABET[time % 32] as number
    time = Math.floor(time / 32)
  }
  let bits = 0
  let value = 0
  let at = 10
  for (const byte of random) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      letters[at++] = ALPHABET[(value >>> bits) & 31] as number
    }
    value &= (1 << bits) - 1
  }
  return letters.toString('latin1')
}

/** randomBytes costs about 1 µs a call for 10 bytes; a pool of 4 KiB brings that under 0.1 µs. */
function pool(): (n: number) => Uint8Array {
  let buffer = randomBytes(4096)
  let at = 0
  return (n) => {
    if (n > 1024) return randomBytes(n)
    if (at + n > buffer.length) {
      buffer = randomBytes(4096)
      at = 0
    }
    at += n
    return buffer.subarray(at - n, at)
  }
}

export function systemIds(): Ids {
  const take = pool()
  return {
    id: (prefix, now) => `${prefix}_${encode(now, take(10))}`,
    bytes: (n) => Uint8Array.from(take(n)),
    fraction: () => {
      const b = take(4)
      return (
        (((b[0] as number) << 24) | ((b[1] as number) << 16) | ((b[2] as number) << 8) | (b[3] as number)) / 2 ** 32 +
        0.5
      )
    },
  }
}

/** Deterministic: the same seed gives the same ids, salts and jitter (mulberry32). */
export function seededIds(seed: number): Ids {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const bytes = (n: number) => Uint8Array.from({ length: n }, () => Math.floor(next() * 256))
  return { id: (prefix, now) => `${prefix}_${encode(now, bytes(10))}`, bytes, fraction: next }
}
