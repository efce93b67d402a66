import type { LeasedJob } from '../contract/workers.js'
import { type Claiming, dispatch, leasesFor } from '../journey/dispatch.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { nextDue } from '../store/jobs.js'
import type { World } from '../store/world.js'

interface Waiting {
  claiming: Claiming
  deadline: number
  settle(leases: LeasedJob[]): void
  fail(error: unknown): void
}

/** Looked at without any hint: what a lost hint costs at most. */
const LOOK_MS = 1000
/** Long polls held open at once on this node; the next one is answered with nothing and asks again. */
const MAX_WAITING = 20_000

/**
 * Brings waiting claims and due work together. A hint wakes the claims of its tenant and topic; a look once a second, and a
 * timer for the next due instant, make lost hints a delay only. Tenants take turns, so a busy one cannot hold the round.
 */
export class Dispatcher {
  readonly #world: World
  readonly #log: Log
  readonly #waiting = new Set<Waiting>()
  readonly #woken = new Map<string, Set<string> | 'any'>()
  readonly #unhint: () => void
  #timer: (() => void) | null = null
  #running: Promise<void> | null = null
  #stopped = false

  constructor(world: World, log: Log) {
    this.#world = world
    this.#log = log
    this.#unhint = world.bus.onHint((tenant, topic) => this.#wake(tenant, topic))
    this.#schedule(LOOK_MS)
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Answers with leases at once, or when there is work, or with none after `waitMs`. A repeated claim_id gets the leases it was
   * given. `aborted` resolves when the caller hangs up: a claim without a listener must not be given work.
   */
  async claim(claiming: Claiming, waitMs: number, aborted: AbortSignal): Promise<LeasedJob[]> {
    const earlier = await leasesFor(this.#world, claiming)
    if (earlier.length > 0) return earlier
    const now = await dispatch(this.#world, claiming)
    if (now.leases.length > 0 || waitMs === 0 || this.#stopped || this.#waiting.size >= MAX_WAITING) return now.leases
    return this.#wait(claiming, waitMs, aborted, now.retry_in_ms)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unhint()
    this.#timer?.()
    await this.#running
    for (const waiting of [...this.#waiting]) waiting.settle([])
  }

  #wait(claiming: Claiming, waitMs: number, aborted: AbortSignal, retryInMs: number | null): Promise<LeasedJob[]> {
    const clock: Clock = this.#world.clock
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        if (!this.#waiting.delete(waiting)) return
        cancel()
        aborted.removeEventListener('abort', hungUp)
        act()
      }
      const waiting: Waiting = {
        claiming,
        deadline: clock.now() + waitMs,
        settle: (leases) => finish(() => resolve(leases)),
        fail: (error) => finish(() => reject(error)),
      }
      const hungUp = () => waiting.settle([])
      const cancel = clock.after(waitMs, () => waiting.settle([]))
      this.#waiting.add(waiting)
      if (aborted.aborted) return hungUp()
      aborted.addEventListener('abort', hungUp, { once: true })
      // Work may have come between the look and the waiting: one more round costs less than a lost second.
      this.#wake(claiming.tenant, 'any')
      if (retryInMs !== null) clock.after(retryInMs, () => this.#wake(claiming.tenant, 'any'))
    })
  }

  #wake(tenant: string, topic: string): void {
    if (this.#stopped || this.#waiting.size === 0) return
    const woken = this.#woken.get(tenant)
    if (topic === 'any') this.#woken.set(tenant, 'any')
    else if (woken === undefined) this.#woken.set(tenant, new Set([topic]))
    else if (woken !== 'any') woken.add(topic)
    this.#running ??= Promise.resolve().then(() => this.#rounds())
  }

  async #rounds(): Promise<void> {
    try {
      while (this.#woken.size > 0 && !this.#stopped) {
        const woken = new Map(this.#woken)
        this.#woken.clear()
        await Promise.all([...woken].map(([tenant, topics]) => this.#serve(tenant, topics)))
      }
    } finally {
      this.#running = null
    }
  }

  /** One tenant's claims, oldest first. A claim is served alone, so two of them never race for the same rows. */
  async #serve(tenant: string, topics: Set<string> | 'any'): Promise<void> {
    for (const waiting of [...this.#waiting]) {
      const { claiming } = waiting
      if (claiming.tenant !== tenant || !this.#waiting.has(waiting)) continue
      if (topics !== 'any' && !claiming.topics.some((topic) => topics.has(topic))) continue
      try {
        const { leases, retry_in_ms } = await dispatch(this.#world, claiming)
        if (leases.length > 0) waiting.settle(leases)
        else if (retry_in_ms !== null) this.#world.clock.after(retry_in_ms, () => this.#wake(tenant, 'any'))
      } catch (error) {
        waiting.fail(error)
      }
    }
  }

  #schedule(ms: number): void {
    this.#timer = this.#world.clock.after(ms, () => void this.#look())
  }

  async #look(): Promise<void> {
    if (this.#stopped) return
    let pause = LOOK_MS
    try {
      const now = this.#world.clock.now()
      for (const tenant of new Set([...this.#waiting].map((w) => w.claiming.tenant))) this.#wake(tenant, 'any')
      const due = this.#waiting.size === 0 ? null : await nextDue(this.#world.db, now)
      if (due !== null) pause = Math.max(1, Math.min(LOOK_MS, due - now))
    } catch (error) {
      this.#log.error({ err: error }, 'the dispatcher could not look for due work')
    }
    if (!this.#stopped) this.#schedule(pause)
  }
}
