import type { Fact } from '../core/audit.js'

/** How long refusals gather before they are written as one entry. */
const GATHER_MS = 5000

/**
 * Refusals by limit, counted and written as one entry per agent and rule every few seconds: a looping agent that is refused
 * 50,000 times a second must not fill the log that exists to show it.
 */
export class Refusals {
  readonly #counts = new Map<string, { tenant: string; agent: string; rule: string; count: number; from: number }>()

  add(tenant: string, agent: string, rule: string, at: number): void {
    const key = JSON.stringify([tenant, agent, rule])
    const entry = this.#counts.get(key)
    if (entry) entry.count++
    else this.#counts.set(key, { tenant, agent, rule, count: 1, from: at })
  }

  /** Takes what has gathered long enough, or with `all` everything; the caller writes it. */
  take(at: number, all = false): Fact[] {
    const ripe = [...this.#counts].filter(([, entry]) => all || at - entry.from >= GATHER_MS)
    for (const [key] of ripe) this.#counts.delete(key)
    return ripe.map(
      ([, { tenant, agent, rule, count, from }]): Fact => ({
        kind: 'limit.refused',
        tenant,
        at,
        actor: agent,
        rules: rule,
        count,
        from,
      }),
    )
  }
}
