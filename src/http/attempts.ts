import { isIPv6 } from 'node:net'
import type { Clock } from '../platform/clock.js'

/** So many wrong keys within a minute, from one network or in the name of one key, and the next ones have to wait. */
const WRONG = 10
const MINUTE_MS = 60_000
/** Names counted at once. Past it the oldest is forgotten: who has that many addresses is held up by none of this. */
const KEPT = 10_000
/**
 * Keys nobody presented here yet that a network which has to wait may still try, each second: for the colleague behind the same
 * address translation, or every client behind one balancer. 20 look-ups or signatures are 0.4 % of a core.
 */
const LOOKS_PER_SECOND = 20

interface Count {
  wrong: number
  since: number
}

/**
 * Counts wrong keys and tokens, so that guessing is slowed before anything is looked up. It is not what makes a key hard to guess:
 * a secret has 256 random bits. It keeps the store and the log out of reach of whoever has no key.
 *
 * Nobody is locked out by it, because whoever tries wrong keys in another's name, or behind another's address, would else close
 * that other's door. While a name has to wait, a secret is still compared with what is remembered of its key, and a token with those
 * already read: what is right opens, what is wrong is answered 429. Rejected: a wait for everybody who names the key (a stranger who
 * knows its id, which is no secret, shuts it), and for everybody from the address (one agent gone wrong shuts an office).
 * X-Forwarded-For is not looked at: anybody can write it.
 */
export class Attempts {
  readonly #clock: Clock
  readonly #counts = new Map<string, Count>()
  readonly #looks = new Map<string, { left: number; second: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** How long the longest of these has to wait, ms; null: none has to. */
  wait(names: readonly string[]): number | null {
    const now = this.#clock.now()
    let longest: number | null = null
    for (const name of names) {
      const count = this.#counts.get(name)
      if (count === undefined) continue
      const left = count.since + MINUTE_MS - now
      // Also where the clock was set back: nobody waits more than the minute.
      if (left <= 0 || left > MINUTE_MS) this.#counts.delete(name)
      else if (count.wrong >= WRONG) longest = Math.max(longest ?? 0, left)
    }
    return longest
  }

  /** One more was wrong. The minute is that of the first: it ends, however many follow. */
  wrong(names: readonly string[]): void {
    const now = this.#clock.now()
    for (const name of names) {
      const count = this.#counts.get(name)
      if (count !== undefined && now - count.since < MINUTE_MS && now >= count.since) count.wrong++
      else {
        this.#counts.delete(name)
        keep(this.#counts, name, { wrong: 1, since: now })
      }
    }
  }

  /** Whether a network that has to wait may have one thing looked up all the same. */
  mayLook(network: string): boolean {
    const second = Math.floor(this.#clock.now() / 1000)
    const known = this.#looks.get(network)
    const looks = known?.second === second ? known : { left: LOOKS_PER_SECOND, second }
    if (looks !== known) {
      this.#looks.delete(network)
      keep(this.#looks, network, looks)
    }
    looks.left -= 1
    return looks.left >= 0
  }
}

/** The oldest makes room: a map keeps the order in which its names came. */
export function keep<T>(map: Map<string, T>, name: string, value: T, most = KEPT): void {
  if (map.size >= most && !map.has(name)) map.delete(map.keys().next().value as string)
  map.set(name, value)
}

/** Whoever has an address of version 6 has the 2^64 beside it too; a mapped one of version 4 is that one. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped !== undefined) return mapped
  const [bare = ''] = address.split('%')
  if (!isIPv6(bare)) return address
  const [head = '', tail] = bare.toLowerCase().split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length)
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
