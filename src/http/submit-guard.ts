import type { Caller } from '../core/access.js'
import { Problem } from '../errors.js'
import type { Clock } from '../platform/clock.js'

/** Denials a key may collect in a burst, and how many a second it wins back. An agent that means well stays far below. */
const BURST = 200
const PER_SECOND = 20

/**
 * Comes before the ledger: an agent that loops on a denied action spends its own budget of recorded denials, then is told to
 * wait without a decision being made. It cannot fill the log, nor take the ledger from others.
 */
export class SubmitGuard {
  readonly #clock: Clock
  readonly #budgets = new Map<string, { left: number; at: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Throws Problem `rate_limited` while the key has no budget left. */
  admit(caller: Caller): void {
    const budget = this.#budgets.get(caller.key_id)
    if (budget === undefined) return
    this.#refill(budget)
    if (budget.left >= BURST) this.#budgets.delete(caller.key_id)
    else if (budget.left < 1)
      throw new Problem('rate_limited', 'This key was denied too often; it wins back a few tries every second', {
        retry_after_ms: 1000,
      })
  }

  denied(caller: Caller): void {
    const budget = this.#budgets.get(caller.key_id) ?? { left: BURST, at: this.#clock.now() }
    budget.left -= 1
    this.#budgets.set(caller.key_id, budget)
  }

  #refill(budget: { left: number; at: number }): void {
    const now = this.#clock.now()
    budget.left = Math.min(BURST, budget.left + (Math.max(0, now - budget.at) / 1000) * PER_SECOND)
    budget.at = now
  }
}
