import type { FactKind } from '../core/audit.js'

/** How long refusals gather before they are written as one entry. */
const GATHER_MS = 5000

/** What is alike in the refusals that are counted together. */
export interface Refused {
  kind: FactKind
  tenant: string
  actor: string
  rules?: string
  lease_id?: string
  job_id?: string
  approval_id?: string
  stop_id?: string
  rollout_id?: string
  effect_key?: string
  attempt?: number
  error_code?: string
  key_id?: string
  reason?: string
}

/** How often something was refused, and since when. */
export interface Counted {
  refused: Refused
  count: number
  from: number
}

/**
 * Refusals counted and written as one entry every few seconds: an agent that is refused 50,000 times a second, or a worker that
 * reports a lost lease over and over, must not fill the log that exists to show it.
 */
export class Refusals {
  readonly #counts = new Map<string, Counted>()
  /** First ones on their way into the log. */
  readonly #writes = new Map<string, Promise<void>>()

  add(refused: Refused, at: number): void {
    this.#count(refused, 1, at)
  }

  /**
   * For what must be on record before it is answered: `write` puts the first into the log at once; what is like it and comes while
   * refusals gather is counted here. Nothing is a repeat of what could not be written. Throws what `write` throws, to whoever
   * waits for that write.
   */
  async onRecord(refused: Refused, at: number, write: () => Promise<void>): Promise<void> {
    const key = keyOf(refused)
    const first = this.#writes.get(key)
    if (first === undefined && !this.#counts.has(key)) {
      const written = write()
        .then(() => this.#count(refused, 0, at))
        .finally(() => this.#writes.delete(key))
      this.#writes.set(key, written)
      return written
    }
    await first
    this.#count(refused, 1, at)
  }

  #count(refused: Refused, more: number, from: number): void {
    const key = keyOf(refused)
    const known = this.#counts.get(key)
    if (known === undefined) this.#counts.set(key, { refused, count: more, from })
    else {
      known.count += more
      known.from = Math.min(known.from, from)
    }
  }

  /** Takes what has gathered long enough, or with `all` everything; the caller writes it, or puts it back. */
  take(at: number, all: boolean): Counted[] {
    const ripe = [...this.#counts].filter(([, entry]) => all || at - entry.from >= GATHER_MS)
    for (const [key] of ripe) this.#counts.delete(key)
    return ripe.flatMap(([, entry]) => (entry.count === 0 ? [] : [entry]))
  }

  /** Counts on from what could not be written. */
  putBack(gathered: readonly Counted[]): void {
    for (const { refused, count, from } of gathered) this.#count(refused, count, from)
  }
}

const keyOf = (refused: Refused) => JSON.stringify(refused)
