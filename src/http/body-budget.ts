import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../errors.js'

/** Of one body; more is refused as too large. */
export const BODY_LIMIT = 2 * 1024 * 1024
/**
 * Of all bodies that this node reads or works on. Each costs it six to eight times its size at its peak (bytes, text, values, rows,
 * what is sent to the store), so this is about half a
 * gigabyte of text; how many values a body may have is bounded where it is parsed.
 */
const MOST = 64 * 1024 * 1024
/** Of one key: eight of the largest. One that floods leaves room for the others. */
const MOST_OF_ONE = MOST / 4
const KEPT_FROM_AGENTS = MOST / 4

/** What one body has of it. Neither call takes anything, and both may come in any order. */
export interface Room {
  /** Gives back what the body did not come to: one in chunks may have been any size until it was read. */
  shrinkTo(bytes: number): void
  /** Gives all of it back, once the answer is out or the sender gone. */
  leave(): void
}

/**
 * Bytes of request bodies under way, by the key that sends them: a queue that counts steps lets 4,096 of 2 MiB in, and 250 sent at
 * once took a node's memory. Taken by what a request says of its length, before any of it is read.
 */
export class BodyBudget {
  readonly #byKey = new Map<string, number>()
  #total = 0

  /**
   * Throws Problem `overloaded` where there is no room; null where there is no body.
   * @param isAgents a quarter is kept from agents: what ends work that was taken must get in while they flood
   */
  take(key_id: string, headers: IncomingHttpHeaders, isAgents = false): Room | null {
    const bytes = sizeOf(headers)
    if (bytes === 0) return null
    const own = (this.#byKey.get(key_id) ?? 0) + bytes
    const most = isAgents ? MOST - KEPT_FROM_AGENTS : MOST
    if (own > MOST_OF_ONE || this.#total + bytes > most)
      throw new Problem('overloaded', 'Too much is being sent at once', { retry_after_ms: 1000 })
    this.#byKey.set(key_id, own)
    this.#total += bytes
    let held = bytes
    const shrinkTo = (left: number) => {
      if (left >= held) return
      this.#give(key_id, held - left)
      held = left
    }
    return { shrinkTo, leave: () => shrinkTo(0) }
  }

  #give(key_id: string, bytes: number): void {
    this.#total -= bytes
    const left = (this.#byKey.get(key_id) ?? bytes) - bytes
    if (left === 0) this.#byKey.delete(key_id)
    else this.#byKey.set(key_id, left)
  }
}

/** As said; in chunks nothing is said, so the most it may become. The server holds a sender to what it said. */
function sizeOf(headers: IncomingHttpHeaders): number {
  const said = headers['content-length']
  if (said !== undefined) return Math.min(Number(said), BODY_LIMIT)
  return headers['transfer-encoding'] === undefined ? 0 : BODY_LIMIT
}
