import type { LeasedJob } from '../contract/workers.js'
import type { Claiming } from '../journey/dispatch.js'

/** An open claim. */
export interface Waiting {
  claiming: Claiming
  /** Being looked for, or its leases are on their way: nothing else may answer it. */
  busy: boolean
  /** Its time is up or its caller left: it is answered with whatever its look brings. */
  over: boolean
  /** Counted up: the smaller, the longer it waits. */
  since: number
  settle(leases: LeasedJob[]): void
  fail(error: unknown): void
}

/** Claims that name the same topics and enforce the same: one look serves them all. */
export class Kind {
  readonly name: string
  readonly topics: readonly string[]
  /** Oldest first, the busy ones too. */
  readonly claims = new Set<Waiting>()
  /** Those that the next look must be for, however many wait for longer: new ones, and those that end with it. */
  readonly pressing = new Set<Waiting>()
  /** The leases of its last look are not in yet: what comes meanwhile shares the next one. */
  landing = false

  constructor(name: string, topics: readonly string[]) {
    this.name = name
    this.topics = topics
  }

  get isIdle(): boolean {
    return this.oldest(1).length > 0
  }

  /** Whom a look is for, oldest first: as many as take `room` jobs together, and those that are pressing. */
  next(room: number): Waiting[] {
    const next = new Set(this.oldest(room))
    for (const waiting of this.pressing) if (!waiting.busy) next.add(waiting)
    return [...next]
  }

  oldest(room: number): Waiting[] {
    const found: Waiting[] = []
    let left = room
    for (const waiting of this.claims) {
      if (left <= 0) break
      if (waiting.busy) continue
      found.push(waiting)
      left -= waiting.claiming.capacity
    }
    return found
  }
}

/** Looks that a hint may have to wait for. */
const UNHINTED = 8

/** A tenant's open claims on this node, by what they ask for: 20,000 may wait, and a hint concerns those of one topic. */
export class Desk {
  readonly tenant: string
  readonly kinds = new Map<string, Kind>()
  readonly #byTopic = new Map<string, Set<Kind>>()
  /** Kinds that there may be work for which no look has seen. */
  readonly woken = new Set<Kind>()
  /** Kinds to look for in case a hint was lost: after those, and a few at a time. One key may wait for 2,000 topics one by one. */
  readonly #unhinted = new Set<Kind>()
  /** Topics of hints that no other node heard. */
  readonly hinted = new Set<string>()
  /** Jobs on their way to a claim. */
  readonly taken = new Set<string>()
  serving = false

  constructor(tenant: string) {
    this.tenant = tenant
  }

  /** Takes a new claim, to be looked for. */
  add(waiting: Waiting): Kind {
    const { topics } = waiting.claiming
    const name = nameOf(waiting.claiming)
    const kind = this.kinds.get(name) ?? new Kind(name, topics)
    if (kind.claims.size === 0) {
      this.kinds.set(name, kind)
      for (const topic of topics) this.#byTopic.set(topic, (this.#byTopic.get(topic) ?? new Set()).add(kind))
    }
    kind.claims.add(waiting)
    kind.pressing.add(waiting)
    this.woken.add(kind)
    return kind
  }

  /** False where it is gone already. */
  remove(kind: Kind, waiting: Waiting): boolean {
    kind.pressing.delete(waiting)
    if (!kind.claims.delete(waiting)) return false
    if (kind.claims.size > 0) return true
    this.kinds.delete(kind.name)
    this.take(kind)
    for (const topic of kind.topics) {
      const kinds = this.#byTopic.get(topic)
      kinds?.delete(kind)
      if (kinds?.size === 0) this.#byTopic.delete(topic)
    }
    return true
  }

  /** @param topic `any` for all of them, because nobody knows */
  wake(topic: string): void {
    if (topic === 'any') for (const kind of this.kinds.values()) this.#unhinted.add(kind)
    else for (const kind of this.#byTopic.get(topic) ?? []) this.woken.add(kind)
  }

  /** Kinds to be looked for now, the one whose claim waits for longest first. */
  ready(): Kind[] {
    const open = (kinds: Set<Kind>) => [...kinds].filter(({ landing }) => !landing)
    const woken = open(this.woken)
    const oldest = (kind: Kind) => kind.oldest(1)[0]?.since ?? Number.POSITIVE_INFINITY
    const ready = (woken.length > 0 ? woken : open(this.#unhinted)).map((kind) => ({ kind, since: oldest(kind) }))
    const sorted = ready.sort((one, other) => one.since - other.since).map(({ kind }) => kind)
    return woken.length > 0 ? sorted : sorted.slice(0, UNHINTED)
  }

  /** False where it is not to be looked for any more. */
  take(kind: Kind): boolean {
    const unhinted = this.#unhinted.delete(kind)
    return this.woken.delete(kind) || unhinted
  }

  /** Topics whose hint has been looked at here, and left nobody waiting: other nodes may have somebody. */
  unheard(): string[] {
    const unheard: string[] = []
    for (const topic of this.hinted) {
      const kinds = [...(this.#byTopic.get(topic) ?? [])]
      if (kinds.some((kind) => this.woken.has(kind))) continue
      this.hinted.delete(topic)
      if (!kinds.some((kind) => kind.isIdle)) unheard.push(topic)
    }
    return unheard
  }
}

const nameOf = ({ topics, enforces, serves }: Claiming) =>
  JSON.stringify([topics.toSorted(), enforces.toSorted(), serves.toSorted()])
