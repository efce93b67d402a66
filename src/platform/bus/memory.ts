import { Interests } from './interests.js'
import type { Bus, BusStats } from './seam.js'

/** What several in-process buses share, as nodes share a NATS server. */
export type Hub = Set<MemoryBus>
export const memoryHub = (): Hub => new Set()

/** A node's end of a hub of its own, or of one that it shares. */
export const memoryBus = (hub: Hub = memoryHub()): Bus => new MemoryBus(hub)

class MemoryBus implements Bus {
  readonly #hub: Hub
  readonly #interests = new Interests((tenant, topic) => ({ tenant, topic, waiting: 0, idleSince: 0 }))
  readonly events = null
  readonly stats: BusStats = { connected: true, connects: 1, sent: 0, heard: 0, dropped: 0 }

  constructor(hub: Hub) {
    this.#hub = hub
    hub.add(this)
  }

  hint(tenant: string, topic: string): void {
    if (!this.stats.connected) return
    if (this.#interests.isWaiting(tenant, topic)) {
      this.#interests.tell(tenant, topic, 'hinted')
      return
    }
    const other = [...this.#hub].find((bus) => bus.#interests.isWaiting(tenant, topic))
    if (other !== undefined) this.#send(other, tenant, topic, 'hinted')
  }

  pass(tenant: string, topic: string): void {
    if (!this.stats.connected) return
    for (const bus of this.#hub)
      if (bus !== this && bus.#interests.isWaiting(tenant, topic)) this.#send(bus, tenant, topic, 'passed')
  }

  #send(to: MemoryBus, tenant: string, topic: string, how: 'hinted' | 'passed'): void {
    this.stats.sent++
    to.stats.heard++
    to.#interests.tell(tenant, topic, how)
  }

  /** Nothing lingers here, as nothing is costly to subscribe: what nobody waits for is forgotten at once. */
  interest(tenant: string, topics: readonly string[]): () => void {
    const release = this.#interests.add(tenant, topics)
    return () => {
      release()
      for (const topic of topics) {
        const interest = this.#interests.get(tenant, topic)
        if (interest?.waiting === 0) this.#interests.drop(interest)
      }
    }
  }

  onHint(listener: Parameters<Bus['onHint']>[0]): () => void {
    return this.#interests.listen(listener)
  }

  async close(): Promise<void> {
    this.stats.connected = false
    this.#hub.delete(this)
    this.#interests.clear()
  }
}
