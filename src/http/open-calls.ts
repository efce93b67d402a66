import type { Caller } from '../core/access.js'
import type { Clock } from '../platform/clock.js'

/**
 * Calls under way, by the key that made them. A long poll or a stream of events outlives the moment its key was looked at: it
 * ends when that key is revoked (at once on this node, within a look of `loops/revocations.ts` elsewhere), when its principal gets
 * another role, when it expires, or when the server stops.
 */
export class OpenCalls {
  readonly #clock: Clock
  readonly #calls = new Map<string, Map<AbortController, Caller>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The call's signal, and what to call when its answer is out. */
  begin(caller: Caller): { signal: AbortSignal; end(): void } {
    const call = new AbortController()
    const calls = this.#calls.get(caller.key_id) ?? new Map<AbortController, Caller>()
    this.#calls.set(caller.key_id, calls.set(call, caller))
    const { expires_at } = caller
    const expired =
      expires_at === null
        ? null
        : this.#clock.after(Math.min(MAX_TIMER, Math.max(0, expires_at - this.#clock.now())), () => call.abort())
    return {
      signal: call.signal,
      end: () => {
        expired?.()
        calls.delete(call)
        if (calls.size === 0) this.#calls.delete(caller.key_id)
        call.abort()
      },
    }
  }

  /** Who has a call under way, as they were let in. */
  get callers(): Caller[] {
    const known = new Set([...this.#calls.values()].flatMap((calls) => [...calls.values()]))
    return [...known].filter(({ key_id }) => key_id !== '')
  }

  /** Ends the calls of one key, or all. */
  abort(key_id?: string): void {
    const ended = key_id === undefined ? [...this.#calls.values()] : [this.#calls.get(key_id) ?? new Map()]
    for (const calls of ended) for (const call of calls.keys()) call.abort()
  }
}

/** setTimeout takes 31 bits of ms; a key that lives longer outlives every call anyway. */
const MAX_TIMER = 2 ** 31 - 1
