import type { Caller } from '../../src/core/access.js'
import type { Approval } from '../../src/core/approval.js'
import type { Job } from '../../src/core/job.js'
import type { Db } from '../../src/platform/db/seam.js'
import { factsOf } from '../invariants.js'
import { isCommit, type TestPlane } from '../plane.js'
import { Cast, type Plan } from './cast.js'
import { POLICIES, RESULTS, TOPICS } from './policies.js'
import { type Call, type SimNode, Simulation } from './simulation.js'

export interface Ran {
  wrong: string[]
  /** Kinds of facts in its log, and faults that were made: a run that never gets anywhere proves nothing. */
  seen: Set<string>
}

/** How to see a failing seed again. */
export const replayOf = (seed: number, engine: Db['engine']) =>
  `SALLYPORT_SEED=${seed} npx vitest run test/sim/seeds-${engine === 'postgres' ? 'postgres' : '1'}.test.ts`

let tenants = 0

/**
 * One seeded run: two or three nodes on one store with clocks up to 500 ms apart, everybody at work at once, and at every seam
 * call the seed's chance says who goes on, whose connection breaks before or after the statement ran, which node dies.
 */
export async function runSeed(plane: TestPlane, seed: number): Promise<Ran> {
  const run = new Run(plane, seed)
  try {
    const underway = await run.play()
    const wrong = [...underway, ...(await run.cast.check())]
    for (const { kind } of await factsOf(plane, run.cast.tenant)) run.seen.add(String(kind))
    return { wrong, seen: run.seen }
  } catch (error) {
    return { wrong: [...run.cast.history.strange, (error as Error).stack ?? String(error)], seen: run.seen }
  } finally {
    await run.cast.wipe()
  }
}

/** Most faults need few actors to show; now and then a crowd. Those of several connections need that two meet. */
const SIZES: Record<Db['engine'], number[]> = {
  pglite: [0.2, 0.2, 0.2, 0.3, 0.3, 0.3, 0.5, 0.5, 1, 2],
  postgres: [0.5, 1, 1, 2],
}

/** What is to run beside its like. */
const isMeeting = (call: Call) => call.state === 'waiting' && isCommit(call.what)

class Run {
  readonly sim: Simulation
  readonly cast: Cast
  readonly seen = new Set<string>()
  readonly #nodes: SimNode[] = []
  /** Of calls over seams, how many in 1,000 meet a fault, and how many end the node. */
  readonly #faults: number
  readonly #deaths: number
  readonly #size: number
  #made = 0

  constructor(plane: TestPlane, seed: number) {
    this.sim = new Simulation(plane, seed)
    const { sim } = this
    this.cast = new Cast(sim, `s${seed}-${++tenants}`, () => sim.pick(this.#nodes))
    this.#faults = sim.pick([0, 10, 30, 80])
    this.#deaths = sim.pick([0, 0, 2, 8])
    this.#size = sim.pick(SIZES[plane.db.engine])
    const nodes = 2 + sim.below(2)
    for (let n = 0; n < nodes; n++) this.#nodes.push(sim.node(n === 0 ? 0 : sim.below(501)))
  }

  /** @returns what was wrong while jobs were still under way; waiting for their end would hide some of it */
  async play(): Promise<string[]> {
    const { sim, cast } = this
    await sim.through(cast.activate('open'))
    const { seen } = cast
    // A key of their own for one of each kind, so that it can be revoked under them.
    const keyed = await sim.through(
      this.#each([seen.otherAgent, seen.worker, seen.otherApprover], (caller) => cast.createKey(caller)),
    )
    const [agent, worker, approver] = keyed as [Caller, Caller, Caller]
    const actors = [
      this.#repeat(5, () => this.#submit(seen.agent)),
      this.#repeat(3, () => this.#submit(agent)),
      this.#repeat(4, () => this.#work(worker)),
      this.#repeat(4, () => this.#work(seen.otherWorker)),
      this.#repeat(3, () => this.#approve(seen.approver)),
      this.#repeat(2, () => this.#approve(approver)),
      this.#repeat(3, () => this.#operate()),
      this.#repeat(1, () => this.#administer(keyed)),
      this.#repeat(5, () => this.#tend()),
      this.#repeat(6, async () => sim.advance(sim.pick([0, 1, 300, 1000, 4000, 30_000]))),
    ]
    await sim.drive(Promise.all(actors), (ready) => this.#next(ready))
    const wrong = await cast.look()
    // People come once more, to what has piled up.
    await sim.through(this.#operate())
    await sim.through(cast.calm())
    if (cast.history.takenUp > 0) this.seen.add('work taken up')
    return wrong
  }

  async #each<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
    const done: R[] = []
    for (const item of items) done.push(await act(item))
    return done
  }

  async #repeat(share: number, act: () => Promise<unknown>): Promise<void> {
    for (let n = 0; n < share * this.#size; n++) {
      await this.sim.pause()
      await act()
    }
  }

  // What people and machines choose to do

  async #submit(as: Caller): Promise<void> {
    const { sim } = this
    const topic = sim.pick(TOPICS)
    const key = sim.below(3) === 0 ? `key${sim.below(3)}` : null
    const later = sim.below(6) === 0 ? { not_before: sim.now() + sim.below(5000) } : {}
    const input = { n: key === null ? ++this.#made : 0 }
    const id = await this.cast.submit(
      { topic: key === null ? topic : 'job.do.it', input, priority: this.#made % 10, ...later },
      key,
      as,
    )
    if (id !== null && sim.below(6) === 0) await this.cast.cancel(id)
  }

  async #work(as: Caller): Promise<void> {
    const { sim, cast } = this
    const attempts = await cast.claim(as, 1 + sim.below(3), sim.below(4) === 0 ? 'none' : 'recorded')
    await Promise.all(
      attempts.map((attempt) => {
        const plan: Plan = {
          keys: sim.pick([[], ['pay'], ['pay', 'ship']]),
          result: sim.pick(RESULTS),
          beats: sim.below(2) === 0,
        }
        if (sim.below(4) === 0) plan.fails = sim.pick(['transient', 'terminal'])
        if (sim.below(4) === 0) plan.stops = sim.below(6)
        return cast.work(attempt, plan)
      }),
    )
  }

  async #approve(as: Caller): Promise<void> {
    // Questions come with what others submit: who looks too early looks again. With one look 9 of 155 were answered.
    for (let looks = 0; looks < 5; looks++) {
      const pending = (await this.cast.rows<Approval>('approvals')).filter((each) => each.status === 'pending')
      pending.sort((a, b) => (a.approval_id < b.approval_id ? -1 : 1))
      if (pending.length > 0) return this.cast.answer(this.sim.pick(pending), as, this.sim.below(6) !== 0)
      await this.sim.pause()
    }
  }

  async #operate(): Promise<void> {
    const { sim, cast } = this
    const jobs = (await cast.rows<Job>('jobs')).sort((a, b) => (a.job_id < b.job_id ? -1 : 1))
    const some = (status: string) => {
      const found = jobs.filter((job) => job.status === status)
      return found.length === 0 ? undefined : sim.pick(found).job_id
    }
    const [doubtful, dead, held] = [some('ambiguous'), some('dead_letter'), some('quarantined')]
    if (doubtful !== undefined) await cast.resolve(doubtful, sim.pick([undefined, 'retry', 'dead_letter']))
    if (dead !== undefined) await cast.judge(dead, sim.pick(['replay', 'discard']))
    if (held !== undefined) await cast.judge(held, sim.pick(['release', 'discardResult']))
  }

  async #administer(keys: Caller[]): Promise<void> {
    const { sim, cast } = this
    if (sim.below(5) === 0) return cast.revoke(sim.pick(keys))
    await cast.activate(sim.pick(Object.keys(POLICIES) as (keyof typeof POLICIES)[]))
  }

  async #tend(): Promise<void> {
    const { sim, cast } = this
    switch (sim.below(5)) {
      case 0:
        return cast.integrate()
      case 1:
        return void (await cast.rebind())
      case 2:
        await Promise.all(this.#nodes.map((node) => node.isPresent().catch(() => {})))
        return void (await cast.closeWriters())
      default:
        return void (await cast.sweep())
    }
  }

  // What chance does to them

  async #next(ready: Call[]): Promise<void> {
    const { sim } = this
    const call = sim.pick(this.#patient(ready))
    if (call.node !== null) {
      const chance = sim.below(1000)
      if (chance < this.#deaths) return this.#kill(call)
      if (chance < this.#deaths + this.#faults) return this.#fault(call)
    }
    if (call.state === 'waiting')
      await Promise.all([call, ...this.#along(call, ready)].map((each) => sim.execute(each)))
    // Now and then the answer is slow, and others hear of what was done before its caller does.
    if (call.state === 'executed' && (call.node === null || sim.below(4) !== 0)) sim.answer(call)
  }

  /** On an engine with several connections some others run at the very same time, and its locks decide who is first. */
  #along(call: Call, ready: Call[]): Call[] {
    if (this.sim.plane.db.engine === 'pglite') return []
    const meets = (each: Call) => (isMeeting(call) && isMeeting(each)) || this.sim.below(2) === 0
    return ready.filter((each) => each !== call && each.state === 'waiting' && meets(each))
  }

  /** There commits mostly wait for one another: each takes a millisecond, and alone it would meet nobody. */
  #patient(ready: Call[]): Call[] {
    if (this.sim.plane.db.engine === 'pglite' || this.sim.below(20) === 0) return ready
    const others = ready.filter((call) => !isMeeting(call))
    return others.length === 0 ? ready : others
  }

  async #fault(call: Call): Promise<void> {
    const { sim } = this
    const kind = sim.pick(['refused', 'broken', 'broken', 'out of time', 'taken for dead'])
    this.seen.add(kind)
    if (kind === 'taken for dead') return sim.release(call.node as SimNode)
    if (call.state === 'waiting' && kind === 'refused') return sim.fail(call, '08001')
    if (call.state === 'waiting' && kind === 'out of time') return sim.cancel(call)
    if (call.state === 'waiting' && sim.below(2) === 0) await sim.execute(call)
    sim.fail(call, '08006')
  }

  /** The process ends with what it had sent either applied or not; another starts in its place. */
  async #kill(call: Call): Promise<void> {
    const { sim } = this
    const node = call.node as SimNode
    this.seen.add('death')
    if (call.state === 'waiting' && sim.below(2) === 0) await sim.execute(call)
    sim.kill(node)
    this.#nodes.splice(this.#nodes.indexOf(node), 1, sim.node(node.offset))
  }
}
