import { DbError } from '../../src/errors.js'
import type { Clock } from '../../src/platform/clock.js'
import type { Db, Hold, On, Param } from '../../src/platform/db/seam.js'
import { seededIds } from '../../src/platform/ids.js'
import { Seat, writerName } from '../../src/store/seat.js'
import type { World } from '../../src/store/world.js'
import type { TestPlane } from '../plane.js'

/**
 * Several nodes on one store under a scheduler of the test's. Every call over a seam is held until the scheduler lets it
 * through: first its execution, then its answer, as two moments, so that anything may happen before, between and after. What
 * runs between two such moments is one synchronous piece of a node and cannot be interrupted, so these are all the points
 * there are: none is chosen by hand, and one order of them is one run.
 */
export class Simulation {
  readonly plane: TestPlane
  /** The one source of chance of this run. */
  readonly random: () => number
  readonly nodes: SimNode[] = []
  readonly #holds = new Map<string, SimNode>()
  readonly #start = 1_700_000_000_000
  readonly #seed: number
  #held: Call[] = []
  #timers: { at: number; node: SimNode; fn: () => void }[] = []
  #made = 0
  #now: number
  /** Sees every message of a bus: the one seam that is not awaited. */
  onHint: (node: SimNode) => void = () => {}

  constructor(plane: TestPlane, seed: number) {
    this.plane = plane
    this.#seed = seed
    this.#now = this.#start
    this.random = seededIds(seed).fraction
  }

  /** Time outside, from which every node's clock is off by its own amount. */
  now = () => this.#now

  below(n: number): number {
    return Math.floor(this.random() * n)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T
  }

  advance(ms: number): void {
    this.#now += ms
    for (const timer of this.#timers.filter((t) => t.at <= this.#now)) {
      this.#timers = this.#timers.filter((t) => t !== timer)
      if (!timer.node.dead) timer.fn()
    }
  }

  /** A node whose clock is ahead of the time outside by `offset` ms. */
  node(offset = 0): SimNode {
    const number = ++this.#made
    const node = new SimNode(this, `node ${number}`, offset, seededIds(this.#seed * 64 + number))
    this.nodes.push(node)
    return node
  }

  /** The store as somebody reads it who stands beside the nodes: in turn like everybody, but nothing befalls him. */
  beside(): Db {
    const real = this.plane.db
    return {
      ...real,
      query: (sql, params, on) => this.hold(null, sql, null, () => real.query(sql, params, on)) as never,
    }
  }

  /** An actor between two of its requests: something else may come first. */
  pause(): Promise<void> {
    return this.hold(null, 'pause', null, async () => null).then(() => {})
  }

  hold(node: SimNode | null, what: string, lane: string | null, send: () => Promise<unknown>): Promise<unknown> {
    // A dead node's calls reach nobody and are never answered.
    if (node?.dead) return new Promise(() => {})
    return new Promise((resolve, reject) => {
      this.#held.push({
        node,
        what,
        lane,
        writes: !/^\s*SELECT\b/i.test(what),
        state: 'waiting',
        send,
        resolve,
        reject,
        rows: null,
        error: null,
      })
    })
  }

  take(name: string, node: SimNode): Hold | null {
    const holds = this.#holds
    if (holds.has(name)) return null
    holds.set(name, node)
    return {
      get held() {
        return holds.get(name) === node
      },
      release: async () => void (holds.get(name) === node && holds.delete(name)),
    }
  }

  after(node: SimNode, ms: number, fn: () => void): () => void {
    const timer = { at: this.#now + ms, node, fn }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer)
    }
  }

  /** Calls of which something may happen now: on one connection statements run, and are answered, in the order they were sent. */
  ready(): Call[] {
    const seen = new Set<string>()
    return this.#held.filter((call) => {
      if (call.lane === null) return true
      const key = `${call.lane} ${call.state}`
      const first = !seen.has(call.lane) || (call.state === 'waiting' && !seen.has(key))
      seen.add(call.lane).add(key)
      return first
    })
  }

  async execute(call: Call): Promise<void> {
    try {
      call.rows = await call.send()
    } catch (error) {
      call.error = error
    }
    call.state = 'executed'
  }

  answer(call: Call): void {
    this.#drop(call)
    if (call.error === null) call.resolve(call.rows)
    else call.reject(call.error)
  }

  /** The connection breaks: whoever waits on it is told so, whether or not their statement ran. */
  fail(call: Call, state: string): void {
    const along = call.lane === null ? [call] : this.#held.filter((c) => c.lane === call.lane)
    for (const each of along) {
      this.#drop(each)
      // Of what was sent before it on the same connection nobody knows whether it ran.
      each.reject(new DbError('the connection is gone', each === call ? state : '08006'))
    }
  }

  /** Only this statement fails: it ran out of its time and was undone. */
  cancel(call: Call): void {
    this.#drop(call)
    call.reject(new DbError('canceling statement due to statement timeout', '57014'))
  }

  /** The process ends here: nothing of it runs on, what it had sent and not executed is gone. */
  kill(node: SimNode): void {
    node.die()
    this.#held = this.#held.filter((call) => call.node !== node)
    this.release(node)
  }

  /** The connection that shows the node's presence breaks: until it is back, others may take it for dead. */
  release(node: SimNode): void {
    for (const [name, holder] of this.#holds) if (holder === node) this.#holds.delete(name)
  }

  /** Lets calls through as `choose` says until the work is done. Throws when nothing is left that could go on. */
  async drive(work: Promise<unknown>, choose: (ready: Call[]) => Promise<void> = (ready) => this.#inTurn(ready)) {
    let over = false
    const end = () => {
      over = true
    }
    work.then(end, end)
    await turn()
    for (let steps = 0; !over; steps++) {
      if (steps === MOST_STEPS) throw new Error(`no end in sight: ${this.#held.map((call) => call.what).join('; ')}`)
      let ready = this.ready()
      for (let looks = 0; ready.length === 0 && !over; looks++) {
        if (looks === MOST_LOOKS) throw new Error('everybody waits and nothing is under way')
        await turn()
        ready = this.ready()
      }
      if (over) break
      await choose(ready)
      await turn()
    }
  }

  /** The same for one piece of work, with its outcome. */
  async through<T>(work: Promise<T>): Promise<T> {
    await this.drive(work)
    return work
  }

  async #inTurn(ready: Call[]): Promise<void> {
    const call = ready[0] as Call
    if (call.state === 'waiting') await this.execute(call)
    this.answer(call)
  }

  #drop(call: Call): void {
    this.#held = this.#held.filter((each) => each !== call)
  }
}

/** A run has some thousand steps; one that goes on beyond this turns in a circle. */
const MOST_STEPS = 20_000
/** A signature of a token is made on a thread, which is no seam: some 0.1 ms, and turns are of some µs. */
const MOST_LOOKS = 100_000

/** One call over a seam. */
export interface Call {
  /** Null: an actor outside pauses. */
  node: SimNode | null
  what: string
  /** The connection it goes over, where that keeps an order. */
  lane: string | null
  writes: boolean
  state: 'waiting' | 'executed'
  send(): Promise<unknown>
  resolve(rows: unknown): void
  reject(error: unknown): void
  rows: unknown
  error: unknown
}

/** What a caller of a node sees when it dies. */
export class NodeDied extends Error {
  constructor() {
    super('the node died')
    this.name = 'NodeDied'
  }
}

/** All promises that could go on have gone on: only something held can move anything now. */
const turn = () => new Promise<void>((next) => setImmediate(next))

export class SimNode {
  readonly name: string
  readonly offset: number
  readonly world: World
  dead = false
  readonly #seat: Seat
  readonly #sim: Simulation
  readonly #callers = new Set<(error: NodeDied) => void>()

  constructor(sim: Simulation, name: string, offset: number, ids: ReturnType<typeof seededIds>) {
    this.#sim = sim
    this.name = name
    this.offset = offset
    const clock: Clock = {
      now: () => sim.now() + offset,
      after: (ms, fn) => sim.after(this, ms, fn),
      turn: () => Promise.resolve(),
    }
    const bus = {
      hint: () => sim.onHint(this),
      onHint: () => () => {},
      close: async () => {},
    }
    const { lines } = sim.plane
    const line = lines[sim.nodes.length % lines.length] ?? lines[0]
    const made = sim.plane.node({ clock, ids, db: this.#db(line), bus: bus as unknown as World['bus'] })
    this.world = made
    this.#seat = new Seat(made.db, this.#name())
    sim.take(this.#name(), this)
  }

  #name(): string {
    return writerName(this.#sim.plane.writerOf(this.world))
  }

  /** What the presence loop does: the node's name is held again, whatever it is by now. */
  isPresent(): Promise<boolean> {
    return this.run(() => this.#seat.taken(this.#name()))
  }

  #db(real: Db): Db {
    const sim = this.#sim
    return {
      engine: real.engine,
      query: <Row>(sql: string, params: readonly Param[] = [], on?: On) =>
        sim.hold(this, sql, on === 'ledger' ? `${this.name} ledger` : null, () =>
          real.query(sql, params, on),
        ) as Promise<Row[]>,
      script: (sql) => real.script(sql),
      hold: (name) => sim.hold(this, `hold ${name}`, null, async () => sim.take(name, this)) as Promise<Hold | null>,
      close: async () => {},
    }
  }

  /** A request to this node. Rejects with NodeDied when the node dies before it has answered. */
  run<T>(work: (world: World) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.dead) return reject(new NodeDied())
      this.#callers.add(reject)
      const end = (act: () => void) => {
        this.#callers.delete(reject)
        if (!this.dead) act()
      }
      work(this.world).then(
        (value) => end(() => resolve(value)),
        (error) => end(() => reject(error)),
      )
    })
  }

  die(): void {
    this.dead = true
    for (const reject of this.#callers) reject(new NodeDied())
    this.#callers.clear()
  }
}
