import type { Caller } from '../core/access.js'
import type { Clock } from '../platform/clock.js'

/**
 * Calls under way, by the key that made them. A long poll or a stream of events outlives the moment its key was looked at: it
 * ends when that key is revoked (at once on this node, within a look of `loops/revocations.ts` elsewhere), when it expires, or
 * when the server stops.
 */
export class OpenCalls {
  readonly #clock: Clock
  readonly #calls = new Map<string, Set<AbortController>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The call's signal, and what to call when its answer is out. */
  begin(caller: Caller): { signal: AbortSignal; end(): void } {
    const call = new AbortController()
    const calls = this.#calls.get(caller.key_id) ?? new Set()
    this.#calls.set(caller.key_id, calls.add(call))
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

  /** Keys with a call under way. */
  get keys(): string[] {
    return [...this.#calls.keys()].filter((key_id) => key_id !== '')
  }

  /** Ends the calls of one key, or all. */
  abort(key_id?: string): void {
    const ended = key_id === undefined ? [...this.#calls.values()] : [this.#calls.get(key_id) ?? []]
    for (const calls of ended) for (const call of calls) call.abort()
  }
}

/** setTimeout takes 31 bits of ms; a key that lives longer outlives every call anyway. */
const MAX_TIMER = 2 ** 31 - 1
