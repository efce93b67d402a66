import type { LeasedJob } from '../contract/workers.js'
import { type Claiming, dispatch, leasesFor } from '../journey/dispatch.js'
import type { Log } from '../platform/log.js'
import { nextDue } from '../store/jobs.js'
import type { World } from '../store/world.js'

interface Waiting {
  claiming: Claiming
  /** Being looked at this moment: leases may already be committed for it, so nothing else may answer it. */
  busy: boolean
  /** Its time is up or its caller left: answer with whatever the look under way brings. */
  over: boolean
  settle(leases: LeasedJob[]): void
  fail(error: unknown): void
}

/** Looked at without any hint: what a lost hint costs at most. */
const LOOK_MS = 1000
/** Long polls held open at once on this node. */
const MAX_WAITING = 20_000
/** Of them by one key: many workers may share one, but not everybody's places. */
const MAX_PER_KEY = 2_000

/**
 * Brings waiting claims and due work together. A hint wakes the claims of its tenant and topic; a look once a second, and a
 * timer for the next due instant, make lost hints a delay only. One look at a time per tenant, so two claims never race for
 * the same rows (four racing workers decided every job four times); tenants look side by side. A hint that leaves no claim
 * waiting here may have announced more than they could take, so it is passed on to the other nodes.
 */
export class Dispatcher {
  readonly #world: World
  readonly #log: Log
  readonly #waiting = new Map<string, Set<Waiting>>()
  readonly #woken = new Map<string, Set<string> | 'any'>()
  /** Topics woken by a hint that no other node heard, by tenant. */
  readonly #hinted = new Map<string, Set<string>>()
  readonly #serving = new Map<string, Promise<void>>()
  readonly #retries = new Map<string, { at: number; cancel: () => void }>()
  readonly #unhint: () => void
  readonly #byKey = new Map<string, number>()
  #count = 0
  #timer: (() => void) | null = null
  #stopped = false

  constructor(world: World, log: Log) {
    this.#world = world
    this.#log = log
    this.#unhint = world.bus.onHint((tenant, topic, how) => {
      if (how === 'hinted') this.#owe(tenant, topic)
      this.#wake(tenant, topic)
    })
    this.#schedule(LOOK_MS)
  }

  get waiting(): number {
    return this.#count
  }

  /** Open claims on this node by the topics they name; one may name several. */
  waitingFor(tenant: string): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { claiming } of this.#waiting.get(tenant) ?? [])
      for (const topic of claiming.topics) counts.set(topic, (counts.get(topic) ?? 0) + 1)
    return counts
  }

  /** Tenants with open claims on this node. */
  get tenants(): string[] {
    return [...this.#waiting.keys()]
  }

  /**
   * Answers with leases at once, or when there is work, or with none after `waitMs`. A repeated claim_id gets the leases it was
   * given. `aborted` fires when the caller hangs up: a claim without a listener must not be given work.
   */
  async claim(claiming: Claiming, waitMs: number, aborted: AbortSignal): Promise<LeasedJob[]> {
    const earlier = await leasesFor(this.#world, claiming)
    if (earlier.length > 0 || this.#stopped || aborted.aborted) return earlier
    // Past a bound a claim gets its look and does not stay: one key's polls must not shut out the others'.
    const full = this.#count >= MAX_WAITING || (this.#byKey.get(claiming.key_id) ?? 0) >= MAX_PER_KEY
    const waits = full ? 0 : waitMs
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        if (!this.#remove(waiting)) return
        release()
        cancel()
        aborted.removeEventListener('abort', over)
        act()
      }
      const over = () => {
        waiting.over = true
        // While a look is under way it may have been granted leases: the look itself answers then.
        if (!waiting.busy) waiting.settle([])
      }
      const waiting: Waiting = {
        claiming,
        busy: false,
        over: waits === 0,
        settle: (leases) => finish(() => resolve(leases)),
        fail: (error) => finish(() => reject(error)),
      }
      const cancel = waits === 0 ? () => {} : this.#world.clock.after(waits, over)
      aborted.addEventListener('abort', over, { once: true })
      this.#add(waiting)
      // Before the first look: work that is queued after it must find somebody who listens.
      const release = this.#world.bus.interest(claiming.tenant, claiming.topics)
      for (const topic of claiming.topics) this.#wake(claiming.tenant, topic)
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unhint()
    this.#timer?.()
    for (const { cancel } of this.#retries.values()) cancel()
    await Promise.all(this.#serving.values())
    for (const tenant of [...this.#waiting.values()]) for (const waiting of [...tenant]) waiting.settle([])
  }

  #add(waiting: Waiting): void {
    const { tenant } = waiting.claiming
    const claims = this.#waiting.get(tenant)
    if (claims === undefined) this.#waiting.set(tenant, new Set([waiting]))
    else claims.add(waiting)
    this.#count++
    this.#byKey.set(waiting.claiming.key_id, (this.#byKey.get(waiting.claiming.key_id) ?? 0) + 1)
  }

  #remove(waiting: Waiting): boolean {
    const { tenant } = waiting.claiming
    const claims = this.#waiting.get(tenant)
    if (claims === undefined || !claims.delete(waiting)) return false
    if (claims.size === 0) this.#waiting.delete(tenant)
    this.#count--
    const left = (this.#byKey.get(waiting.claiming.key_id) ?? 1) - 1
    if (left === 0) this.#byKey.delete(waiting.claiming.key_id)
    else this.#byKey.set(waiting.claiming.key_id, left)
    return true
  }

  #wake(tenant: string, topic: string): void {
    if (this.#stopped || !this.#waiting.has(tenant)) return
    const woken = this.#woken.get(tenant)
    if (topic === 'any') this.#woken.set(tenant, 'any')
    else if (woken === undefined) this.#woken.set(tenant, new Set([topic]))
    else if (woken !== 'any') woken.add(topic)
    if (this.#serving.has(tenant)) return
    // A microtask later, so that the hints of one tick share a look.
    this.#serving.set(
      tenant,
      Promise.resolve().then(() => this.#rounds(tenant)),
    )
  }

  async #rounds(tenant: string): Promise<void> {
    try {
      for (
        let topics = this.#woken.get(tenant);
        topics !== undefined && !this.#stopped;
        topics = this.#woken.get(tenant)
      ) {
        this.#woken.delete(tenant)
        const hinted = this.#hinted.get(tenant)
        this.#hinted.delete(tenant)
        await this.#look(tenant, topics)
        for (const topic of hinted ?? []) if (!this.#waitsFor(tenant, topic)) this.#world.bus.pass(tenant, topic)
      }
    } finally {
      this.#serving.delete(tenant)
    }
  }

  #owe(tenant: string, topic: string): void {
    if (this.#stopped || !this.#waiting.has(tenant)) {
      // Its claims ended between the bus and here.
      this.#world.bus.pass(tenant, topic)
      return
    }
    const hinted = this.#hinted.get(tenant)
    if (hinted === undefined) this.#hinted.set(tenant, new Set([topic]))
    else hinted.add(topic)
  }

  #waitsFor(tenant: string, topic: string): boolean {
    for (const { claiming } of this.#waiting.get(tenant) ?? []) if (claiming.topics.includes(topic)) return true
    return false
  }

  /** One tenant's claims, oldest first. What found nothing once is not asked again in the same look for a claim just like it. */
  async #look(tenant: string, topics: Set<string> | 'any'): Promise<void> {
    const idle = new Set<string>()
    for (const waiting of [...(this.#waiting.get(tenant) ?? [])]) {
      const { claiming } = waiting
      // Answered since this look began: granting it leases now would give them to nobody.
      if (!this.#waiting.get(tenant)?.has(waiting)) continue
      if (topics !== 'any' && !claiming.topics.some((topic) => topics.has(topic))) continue
      const kind = JSON.stringify([claiming.topics, claiming.enforces])
      let leases: LeasedJob[] = []
      if (!idle.has(kind)) {
        waiting.busy = true
        try {
          const found = await dispatch(this.#world, claiming)
          leases = found.leases
          if (leases.length === 0) idle.add(kind)
          if (found.retry_in_ms !== null) this.#retryIn(tenant, found.retry_in_ms)
        } catch (error) {
          waiting.fail(error)
        }
        waiting.busy = false
      }
      if (leases.length > 0 || waiting.over) waiting.settle(leases)
    }
  }

  /** One timer for a tenant, the earliest: a timer for every look that met a full limit made the looks multiply. */
  #retryIn(tenant: string, ms: number): void {
    const at = this.#world.clock.now() + ms
    const pending = this.#retries.get(tenant)
    if (pending !== undefined && pending.at <= at) return
    pending?.cancel()
    const cancel = this.#world.clock.after(ms, () => {
      this.#retries.delete(tenant)
      this.#wake(tenant, 'any')
    })
    this.#retries.set(tenant, { at, cancel })
  }

  #schedule(ms: number): void {
    this.#timer = this.#world.clock.after(ms, () => void this.#tick())
  }

  async #tick(): Promise<void> {
    if (this.#stopped) return
    let pause = LOOK_MS
    try {
      const now = this.#world.clock.now()
      for (const tenant of this.#waiting.keys()) this.#wake(tenant, 'any')
      const due = this.#count === 0 ? null : await nextDue(this.#world.db, now)
      if (due !== null) pause = Math.max(1, Math.min(LOOK_MS, due - now))
    } catch (error) {
      this.#log.error({ err: error }, 'the dispatcher could not look for due work')
    }
    if (!this.#stopped) this.#schedule(pause)
  }
}
