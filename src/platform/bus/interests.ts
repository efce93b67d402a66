import type { HintListener } from './seam.js'

/** One topic of one tenant, for which claims wait here or did until a moment ago. */
export interface Interest {
  readonly tenant: string
  readonly topic: string
  waiting: number
  /** When the last claim left, in ms of `performance.now()`; only meaningful while none waits. */
  idleSince: number
}

/** Who waits here for what, and who is told. What both buses share. */
export class Interests<I extends Interest = Interest> {
  readonly #all = new Map<string, I>()
  readonly #listeners = new Set<HintListener>()
  readonly #make: (tenant: string, topic: string) => I | null

  /** `make` begins a new one, or answers null where there are too many. */
  constructor(make: (tenant: string, topic: string) => I | null) {
    this.#make = make
  }

  get size(): number {
    return this.#all.size
  }
  values(): Iterable<I> {
    return this.#all.values()
  }

  add(tenant: string, topics: readonly string[]): () => void {
    const mine: I[] = []
    for (const topic of topics) {
      const key = keyOf(tenant, topic)
      const interest = this.#all.get(key) ?? this.#make(tenant, topic)
      if (interest === null) continue
      this.#all.set(key, interest)
      interest.waiting++
      mine.push(interest)
    }
    return () => {
      const now = performance.now()
      for (const interest of mine.splice(0)) {
        interest.waiting--
        interest.idleSince = now
      }
    }
  }

  get(tenant: string, topic: string): I | undefined {
    return this.#all.get(keyOf(tenant, topic))
  }
  isWaiting(tenant: string, topic: string): boolean {
    return (this.get(tenant, topic)?.waiting ?? 0) > 0
  }
  drop(interest: I): void {
    this.#all.delete(keyOf(interest.tenant, interest.topic))
  }

  listen(listener: HintListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** In the same turn of the event loop's microtasks, never inside the caller's stack. */
  tell(tenant: string, topic: string, how: 'hinted' | 'passed'): void {
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener(tenant, topic, how)
    })
  }

  clear(): void {
    this.#listeners.clear()
    this.#all.clear()
  }
}

/** Topics hold no NUL (they are lower-case tokens), so no two pairs share a key. */
const keyOf = (tenant: string, topic: string) => `${topic}\0${tenant}`
