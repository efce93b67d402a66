import type { Fact, FactKind } from '../core/audit.js'

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
  effect_key?: string
  attempt?: number
  error_code?: string
  reason?: string
}

interface Counted {
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

  add(refused: Refused, at: number): void {
    this.#entry(refused, at).count++
  }

  /**
   * For what must be on record before it is answered: the first is the caller's to write, at once; what is like it and comes while
   * refusals gather is counted here.
   */
  isRepeat(refused: Refused, at: number): boolean {
    const known = this.#counts.size
    const entry = this.#entry(refused, at)
    if (this.#counts.size > known) return false
    entry.count++
    return true
  }

  #entry(refused: Refused, at: number): Counted {
    const key = JSON.stringify(refused)
    const entry = this.#counts.get(key) ?? { refused, count: 0, from: at }
    this.#counts.set(key, entry)
    return entry
  }

  /** Takes what has gathered long enough, or with `all` everything; the caller writes it. */
  take(at: number, all = false): Fact[] {
    const ripe = [...this.#counts].filter(([, entry]) => all || at - entry.from >= GATHER_MS)
    for (const [key] of ripe) this.#counts.delete(key)
    return ripe.flatMap(([, { refused, count, from }]): Fact[] =>
      count === 0 ? [] : [{ ...refused, at, count, from }],
    )
  }
}
