import type { LeasedJob } from '../contract/workers.js'
import { type Claiming, type Dispatched, dispatch, STEP } from '../journey/dispatch.js'
import type { Log } from '../platform/log.js'
import { leasesFor } from '../store/claim-answers.js'
import { nextDue } from '../store/due.js'
import type { World } from '../store/world.js'
import { Desk, type Kind, type Waiting } from './waiting.js'

/** Looked at without any hint: what a lost hint costs at most. */
const LOOK_MS = 1000
/** Long polls held open at once on this node. */
const MAX_WAITING = 20_000
/** Of them by one key: many workers may share one, but not everybody's places. */
const MAX_PER_KEY = 2_000

/**
 * Brings waiting claims and due work together. A hint wakes the claims of its tenant and topic; a look once a second, and a
 * timer for the next due instant, make lost hints a delay only. One look finds work for all claims that want the same, and a
 * tenant's looks follow one another, so two claims never race for the same rows (four racing workers decided every job four
 * times); tenants look side by side. While leases are on their way to the store, others may be looked for: those jobs are known.
 * A hint that leaves no claim waiting here may have announced more than they could take, so it is passed on to the other nodes.
 */
export class Dispatcher {
  readonly #world: World
  readonly #log: Log
  readonly #desks = new Map<string, Desk>()
  readonly #working = new Set<Promise<void>>()
  readonly #retries = new Map<string, { at: number; cancel: () => void }>()
  readonly #unhint: () => void
  readonly #byKey = new Map<string, number>()
  #count = 0
  #claims = 0
  #timer: (() => void) | null = null
  #stopped = false

  constructor(world: World, log: Log) {
    this.#world = world
    this.#log = log
    this.#unhint = world.bus.onHint((tenant, topic, how) => {
      const desk = this.#stopped ? undefined : this.#desks.get(tenant)
      // Its claims may have ended between the bus and here.
      if (desk === undefined) {
        if (how === 'hinted') world.bus.pass(tenant, topic)
        return
      }
      if (how === 'hinted' && topic !== 'any') desk.hinted.add(topic)
      desk.wake(topic)
      this.#serve(desk)
    })
    this.#schedule(LOOK_MS)
  }

  get waiting(): number {
    return this.#count
  }

  /** Open claims on this node by the topics they name; one may name several. */
  waitingFor(tenant: string): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { topics, claims } of this.#desks.get(tenant)?.kinds.values() ?? [])
      for (const topic of topics) counts.set(topic, (counts.get(topic) ?? 0) + claims.size)
    return counts
  }

  /** Tenants with open claims on this node. */
  get tenants(): string[] {
    return [...this.#desks.keys()]
  }

  /**
   * Answers with leases at once, or when there is work, or with none after `waitMs`. A repeated claim_id gets the leases it was
   * given. `aborted` fires when the caller hangs up: a claim without a listener must not be given work.
   */
  async claim(claiming: Claiming, waitMs: number, aborted: AbortSignal): Promise<LeasedJob[]> {
    if (this.#stopped || aborted.aborted) return leasesFor(this.#world, claiming)
    // Past a bound a claim gets its look and does not stay: one key's polls must not shut out the others'.
    const full = this.#count >= MAX_WAITING || (this.#byKey.get(claiming.key.key_id) ?? 0) >= MAX_PER_KEY
    const waits = full ? 0 : waitMs
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        if (!this.#remove(desk, kind, waiting)) return
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
        claiming: { ...claiming, gone: aborted },
        busy: false,
        over: waits === 0,
        since: ++this.#claims,
        settle: (leases) => finish(() => resolve(leases)),
        fail: (error) => finish(() => reject(error)),
      }
      const cancel = waits === 0 ? () => {} : this.#world.clock.after(waits, over)
      aborted.addEventListener('abort', over, { once: true })
      const { desk, kind } = this.#add(waiting)
      // Before the first look: work that is queued after it must find somebody who listens.
      const release = this.#world.bus.interest(claiming.tenant, claiming.topics)
      this.#serve(desk)
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unhint()
    this.#timer?.()
    for (const { cancel } of this.#retries.values()) cancel()
    while (this.#working.size > 0) await Promise.all(this.#working)
    for (const desk of [...this.#desks.values()])
      for (const kind of [...desk.kinds.values()]) for (const waiting of [...kind.claims]) waiting.settle([])
  }

  #add(waiting: Waiting): { desk: Desk; kind: Kind } {
    const { tenant, key } = waiting.claiming
    const desk = this.#desks.get(tenant) ?? new Desk(tenant)
    this.#desks.set(tenant, desk)
    const kind = desk.add(waiting)
    this.#count++
    this.#byKey.set(key.key_id, (this.#byKey.get(key.key_id) ?? 0) + 1)
    return { desk, kind }
  }

  #remove(desk: Desk, kind: Kind, waiting: Waiting): boolean {
    if (!desk.remove(kind, waiting)) return false
    if (desk.kinds.size === 0) this.#desks.delete(desk.tenant)
    const { key_id } = waiting.claiming.key
    this.#count--
    const left = (this.#byKey.get(key_id) ?? 1) - 1
    if (left === 0) this.#byKey.delete(key_id)
    else this.#byKey.set(key_id, left)
    return true
  }

  /** Looks for whoever was woken, unless that is being done. */
  #serve(desk: Desk): void {
    if (this.#stopped || desk.serving) return
    desk.serving = true
    // A microtask later, so that the hints of one tick share a look.
    this.#work(Promise.resolve().then(() => this.#rounds(desk)))
  }

  #work(work: Promise<void>): void {
    const done = work
      .catch((error) => this.#log.error({ err: error }, 'a look for work failed'))
      .finally(() => this.#working.delete(done))
    this.#working.add(done)
  }

  async #rounds(desk: Desk): Promise<void> {
    try {
      let ready = desk.ready()
      do {
        for (const kind of ready) {
          // Its claims may have ended since.
          if (!this.#stopped && desk.take(kind)) await this.#look(desk, kind)
        }
        for (const topic of desk.unheard()) this.#world.bus.pass(desk.tenant, topic)
        ready = desk.ready()
      } while (ready.length > 0 && !this.#stopped)
    } finally {
      desk.serving = false
    }
  }

  /** Finds work for one kind of claims; returns when it is decided, before the leases are durable. */
  async #look(desk: Desk, kind: Kind): Promise<void> {
    const looking = kind.next(STEP)
    if (looking.length === 0) return
    for (const waiting of looking) {
      waiting.busy = true
      kind.pressing.delete(waiting)
    }
    let found: Dispatched
    try {
      found = await dispatch(
        this.#world,
        looking.map(({ claiming }) => claiming),
        desk.taken,
      )
    } catch (error) {
      for (const waiting of looking) waiting.fail(error)
      return
    }
    if (found.retry_in_ms !== null) this.#retryIn(desk.tenant, found.retry_in_ms)
    const given = looking.map((waiting, n) => ({ waiting, leases: found.given[n] ?? null }))
    if (found.more) desk.woken.add(kind)
    for (const { waiting, leases } of given) {
      if (leases !== null) continue
      waiting.busy = false
      if (!waiting.over) continue
      if (found.more) kind.pressing.add(waiting)
      else waiting.settle([])
    }
    kind.landing = !found.more
    this.#work(this.#land(desk, kind, given))
  }

  /** Answers each claim as soon as its own leases are durable. */
  async #land(
    desk: Desk,
    kind: Kind,
    given: { waiting: Waiting; leases: Promise<LeasedJob[]> | null }[],
  ): Promise<void> {
    let lost = false
    await Promise.all(
      given.map(async ({ waiting, leases }) => {
        if (leases === null) return
        try {
          const granted = await leases
          if (granted.length > 0) return waiting.settle(granted)
          // Others were quicker: it is looked for again, also where its time is up.
          waiting.busy = false
          kind.pressing.add(waiting)
          lost = true
        } catch (error) {
          waiting.fail(error)
        }
      }),
    )
    kind.landing = false
    if (lost && kind.claims.size > 0) desk.woken.add(kind)
    // A hint that came meanwhile is not lost with the last claim: it is passed on.
    if (desk.woken.has(kind) || desk.hinted.size > 0) this.#serve(desk)
  }

  /** One timer for a tenant, the earliest: a timer for every look that met a full limit made the looks multiply. */
  #retryIn(tenant: string, ms: number): void {
    const at = this.#world.clock.now() + ms
    const pending = this.#retries.get(tenant)
    if (pending !== undefined && pending.at <= at) return
    pending?.cancel()
    const cancel = this.#world.clock.after(ms, () => {
      this.#retries.delete(tenant)
      this.#wakeAll(tenant)
    })
    this.#retries.set(tenant, { at, cancel })
  }

  #wakeAll(tenant: string): void {
    const desk = this.#desks.get(tenant)
    if (desk === undefined) return
    desk.wake('any')
    this.#serve(desk)
  }

  #schedule(ms: number): void {
    this.#timer = this.#world.clock.after(ms, () => void this.#tick())
  }

  async #tick(): Promise<void> {
    if (this.#stopped) return
    let pause = LOOK_MS
    try {
      const now = this.#world.clock.now()
      for (const tenant of this.#desks.keys()) this.#wakeAll(tenant)
      const due = this.#count === 0 ? null : await nextDue(this.#world.db, now)
      if (due !== null) pause = Math.max(1, Math.min(LOOK_MS, due - now))
    } catch (error) {
      this.#log.error({ err: error }, 'the dispatcher could not look for due work')
    }
    if (!this.#stopped) this.#schedule(pause)
  }
}
