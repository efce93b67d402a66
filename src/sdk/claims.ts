import { randomUUID } from 'node:crypto'
import type { Claim, Claimed } from '../contract/workers.js'
import { backoffMs, pause, persist, WORKER_BACKOFF } from './backoff.js'
import { SallyportError } from './errors.js'
import { isPassing } from './transport.js'

export interface Claims {
  /** The first claim, which does not wait for work; rejects when the server refuses, or with `stopped`. */
  contact(): Promise<void>
  /** Asks for work until the stop signal; never throws. */
  run(): Promise<void>
  /** There may be room again. */
  ring(): void
}

/** An answer this quick with nothing in it was no long poll: a server that does not wait must not be asked without end. */
const QUICK_MS = 100
const IDLE_BACKOFF = { floorMs: 100, baseMs: 200, capMs: 1_000 }

/** Gets work by long poll: one claim at a time, for as many jobs as there is room. */
export function createClaims(host: {
  send(claim: Claim, options: { signal: AbortSignal; timeoutMs?: number }): Promise<Claimed>
  about: Pick<Claim, 'worker_id' | 'topics' | 'enforces' | 'serves' | 'effects'>
  waitMs: number
  /** How many jobs could begin now. */
  room(): number
  /** Begins what was got; never throws. Returns how many jobs that were. */
  take(claimed: Claimed): number
  stopping: AbortSignal
  hurry: AbortSignal
  onRoundTrip(ms: number): void
  onTrouble(event: string, error: unknown): void
}): Claims {
  let ring = () => {}

  const newClaim = (wait_ms: number): Claim => ({
    ...host.about,
    claim_id: randomUUID(),
    capacity: Math.max(1, host.room()),
    wait_ms,
  })

  /** The same claim, under the same id, until the server answered: a lost answer must not lose the leases in it. */
  function untilAnswered(claim: Claim): Promise<Claimed> {
    return persist(
      () => host.send(claim, { signal: host.stopping }),
      (error) => {
        if (host.stopping.aborted || !isPassing(error)) return false
        host.onTrouble('claim_failed', error)
        return true
      },
      host.stopping,
    )
  }

  /**
   * The poll that a stop cut off may have been granted in that moment. Asking once more under its id brings those leases here,
   * to be finished or given back, where otherwise each would have to run out. It may bring one new lease, hence capacity 1.
   */
  async function settle(claim: Claim): Promise<void> {
    try {
      host.take(await host.send({ ...claim, capacity: 1, wait_ms: 0 }, { timeoutMs: 2_000, signal: host.hurry }))
    } catch (error) {
      host.onTrouble('claim_unsettled', error)
    }
  }

  function change(): Promise<void> {
    return new Promise((resolve) => {
      ring = resolve
      if (host.stopping.aborted) resolve()
    })
  }

  const rest = (ms: number) => pause(ms, host.stopping).catch(() => {})

  return {
    ring: () => ring(),

    async contact() {
      const sent = performance.now()
      try {
        host.stopping.throwIfAborted()
        const claimed = await untilAnswered(newClaim(0))
        host.onRoundTrip(performance.now() - sent)
        host.take(claimed)
      } catch (error) {
        if (!host.stopping.aborted) throw error
        throw new SallyportError('stopped', 'the worker was stopped before it reached the server')
      }
    },

    async run() {
      let refusals = 0
      let idle = 0
      while (!host.stopping.aborted) {
        if (host.room() < 1) {
          await change()
          continue
        }
        const claim = newClaim(host.waitMs)
        const sent = performance.now()
        try {
          const got = host.take(await untilAnswered(claim))
          refusals = 0
          idle = got === 0 && performance.now() - sent < QUICK_MS ? idle + 1 : 0
          if (idle > 0) await rest(backoffMs(idle - 1, IDLE_BACKOFF))
        } catch (error) {
          if (host.stopping.aborted) return await settle(claim)
          // Refused as it stands, yet a key can be renewed and a server mended: go on, slowly.
          host.onTrouble('claim_refused', error)
          await rest(backoffMs(3 + refusals++, WORKER_BACKOFF))
        }
      }
    },
  }
}
