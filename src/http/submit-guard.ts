import type { Caller } from '../core/access.js'
import { Problem } from '../errors.js'
import type { Clock } from '../platform/clock.js'

/** Entries of the log that a key may cause in a burst, and how many a second it wins back. Who means well stays far below. */
const BURST = 200
const PER_SECOND = 20

interface Budget {
  left: number
  at: number
  /** It ran out, and has not yet won back a second's worth: else every twentieth of a second let one more batch in. */
  closed: boolean
}

/**
 * Comes before the ledger: an agent that loops on a denied action spends its own budget of recorded denials, then is told to
 * wait. It cannot fill the log, nor take the ledger from others. Spent before a denial is queued, not after it is recorded:
 * counted afterwards, ten batches of a thousand at once were all let in and every other caller was answered `overloaded`. Another one
 * counts the tokens that a key mints, which are an entry each.
 */
export class SubmitGuard {
  readonly #clock: Clock
  readonly #what: string
  readonly #budgets = new Map<string, Budget>()

  /** @param what a key did too often, as it is told */
  constructor(clock: Clock, what = 'was denied') {
    this.#clock = clock
    this.#what = what
  }

  /** Throws Problem `rate_limited` while the key has no budget: before a body is read or anything is decided. */
  admit(caller: Caller): void {
    const budget = this.#budgets.get(caller.key_id)
    if (budget === undefined) return
    this.#refill(budget)
    if (budget.left >= BURST) this.#budgets.delete(caller.key_id)
    else if (budget.closed) throw spent(this.#what)
  }

  /** One is about to be recorded. Throws Problem `rate_limited` when there is no budget for it. */
  spend(caller: Caller): void {
    const budget = this.#budgets.get(caller.key_id) ?? { left: BURST, at: this.#clock.now(), closed: false }
    this.#budgets.set(caller.key_id, budget)
    if (budget.left < 1) budget.closed = true
    if (budget.closed) throw spent(this.#what)
    budget.left -= 1
  }

  #refill(budget: Budget): void {
    const now = this.#clock.now()
    budget.left = Math.min(BURST, budget.left + (Math.max(0, now - budget.at) / 1000) * PER_SECOND)
    budget.at = now
    if (budget.left >= PER_SECOND) budget.closed = false
  }
}

const spent = (what: string) =>
  new Problem('rate_limited', `This key ${what} too often; it wins back a few tries every second`, {
    retry_after_ms: 1000,
  })
