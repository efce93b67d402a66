import type { NatsConnection, Subscription } from '@nats-io/transport-node'
import type { Log } from '../log.js'
import { type Interest, Interests } from './interests.js'
import type { NatsAccess } from './nats-access.js'
import { NatsEvents } from './nats-events.js'
import { NatsLine } from './nats-line.js'
import type { Bus, BusStats, HintListener } from './seam.js'
import { token, tokens } from './subject.js'

export const HINT = 'sallyport.hint'
export const PASS = 'sallyport.pass'
const GROUP = 'sallyport'

/** A subscription outlives the last claim that waits by this: a worker's next poll must not find it gone. */
const LINGER_MS = 1000
const SWEEP_MS = 500
/**
 * After a hint, further ones of its topic are said together so much later. With every worker busy nobody needs them, and one for
 * each of 12,000 jobs a second would cost a tenth of a core; an idle bus says the first at once.
 */
const GAP_MS = 2
/** Topics with hints held back by that gap. */
const MAX_HELD = 10_000
/** Messages a server may leave unanswered before hints are dropped: about 10 MB of this process's memory. */
const MAX_UNANSWERED = 65_536
/** Topics subscribed to at once; claims for further ones are served by the dispatcher's own look. */
const MAX_INTERESTS = 20_000

interface Subscribed extends Interest {
  /** Subject below HINT and PASS. */
  readonly place: string
  subscriptions: Subscription[]
}

/** Hints on core NATS, events on JetStream. Resolves after the first attempt to connect, well or not. Throws ServerTooOld. */
export async function natsBus(access: NatsAccess, log: Log): Promise<Bus> {
  return new NatsBus(await NatsLine.open(access, log))
}

class NatsBus implements Bus {
  readonly events: NatsEvents
  readonly #line: NatsLine
  readonly #interests = new Interests<Subscribed>((tenant, topic) => this.#begin(tenant, topic))
  readonly #held = new Map<string, { again: boolean }>()
  readonly #counts = { sent: 0, heard: 0, dropped: 0 }
  readonly #sweeper: NodeJS.Timeout
  #gap: NodeJS.Timeout | null = null
  #closed = false

  constructor(line: NatsLine) {
    this.#line = line
    this.events = new NatsEvents(line)
    line.onUp((connection) => {
      for (const interest of this.#interests.values()) this.#subscribe(connection, interest)
    })
    line.onDown(() => {
      for (const interest of this.#interests.values()) interest.subscriptions = []
    })
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  get stats(): Readonly<BusStats> {
    const { connection, connects } = this.#line
    return { connected: connection !== null, connects, ...this.#counts }
  }

  hint(tenant: string, topic: string): void {
    if (this.#closed) return
    if (this.#interests.isWaiting(tenant, topic)) this.#interests.tell(tenant, topic, 'hinted')
    else this.#send(`${HINT}.${placeOf(tenant, topic)}`)
  }

  pass(tenant: string, topic: string): void {
    if (!this.#closed) this.#send(`${PASS}.${placeOf(tenant, topic)}`)
  }

  interest(tenant: string, topics: readonly string[]): () => void {
    return this.#closed ? () => {} : this.#interests.add(tenant, topics)
  }

  onHint(listener: HintListener): () => void {
    return this.#interests.listen(listener)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#sweeper)
    if (this.#gap !== null) clearTimeout(this.#gap)
    this.#held.clear()
    this.#interests.clear()
    await this.#line.close()
  }

  /** The first at once, those that come within the gap as one at its end. */
  #send(subject: string): void {
    const held = this.#held.get(subject)
    if (held !== undefined) {
      held.again = true
      return
    }
    if (this.#held.size >= MAX_HELD) {
      this.#counts.dropped++
      return
    }
    this.#held.set(subject, { again: false })
    this.#gap ??= this.#afterGap()
    this.#publish(subject)
  }

  #afterGap(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#gap = null
      for (const [subject, held] of this.#held) {
        if (held.again) {
          held.again = false
          this.#publish(subject)
        } else this.#held.delete(subject)
      }
      if (this.#held.size > 0) this.#gap = this.#afterGap()
    }, GAP_MS)
    timer.unref()
    return timer
  }

  #publish(subject: string): void {
    const { connection } = this.#line
    if (connection === null || this.#line.unanswered >= MAX_UNANSWERED) {
      this.#counts.dropped++
      return
    }
    try {
      connection.publish(subject)
      this.#line.counted()
      this.#counts.sent++
    } catch {
      this.#counts.dropped++ // closed this very moment
    }
  }

  #begin(tenant: string, topic: string): Subscribed | null {
    if (this.#interests.size >= MAX_INTERESTS) return null
    const place = placeOf(tenant, topic)
    const interest: Subscribed = { tenant, topic, place, waiting: 0, idleSince: 0, subscriptions: [] }
    const { connection } = this.#line
    if (connection !== null) this.#subscribe(connection, interest)
    return interest
  }

  #subscribe(connection: NatsConnection, interest: Subscribed): void {
    const { tenant, topic } = interest
    const heard = (how: 'hinted' | 'passed') => (error: Error | null) => {
      if (error !== null) return // not permitted: the log of the server says so, and the dispatcher looks by itself
      this.#counts.heard++
      if (interest.waiting > 0) this.#interests.tell(tenant, topic, how)
      else if (how === 'hinted') this.pass(tenant, topic)
    }
    try {
      interest.subscriptions = [
        connection.subscribe(`${HINT}.${interest.place}`, { queue: GROUP, callback: heard('hinted') }),
        connection.subscribe(`${PASS}.${interest.place}`, { callback: heard('passed') }),
      ]
    } catch {
      interest.subscriptions = [] // closed this very moment; the next connection subscribes anew
    }
  }

  #sweep(): void {
    const before = performance.now() - LINGER_MS
    for (const interest of this.#interests.values()) {
      if (interest.waiting > 0 || interest.idleSince > before) continue
      for (const subscription of interest.subscriptions) subscription.unsubscribe()
      this.#interests.drop(interest)
    }
  }
}

const placeOf = (tenant: string, topic: string) => `${token(tenant)}.${tokens(topic)}`
