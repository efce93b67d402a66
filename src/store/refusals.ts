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
}

/**
 * Refusals counted and written as one entry every few seconds: an agent that is refused 50,000 times a second, or a worker that
 * reports a lost lease over and over, must not fill the log that exists to show it.
 */
export class Refusals {
  readonly #counts = new Map<string, { refused: Refused; count: number; from: number }>()

  add(refused: Refused, at: number): void {
    const key = JSON.stringify(refused)
    const entry = this.#counts.get(key)
    if (entry) entry.count++
    else this.#counts.set(key, { refused, count: 1, from: at })
  }

  /** Takes what has gathered long enough, or with `all` everything; the caller writes it. */
  take(at: number, all = false): Fact[] {
    const ripe = [...this.#counts].filter(([, entry]) => all || at - entry.from >= GATHER_MS)
    for (const [key] of ripe) this.#counts.delete(key)
    return ripe.map(([, { refused, count, from }]): Fact => ({ ...refused, at, count, from }))
  }
}
