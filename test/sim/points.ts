import { isCommit, isTombstone, type TestPlane } from '../plane.js'
import { Cast } from './cast.js'
import type { Scene } from './scenes.js'
import { type Call, type SimNode, Simulation } from './simulation.js'
import { Stage } from './stage.js'
import { STEPS, type Step } from './steps.js'

/** One way in which one point of a scene can go wrong. */
export interface Trial {
  scene: Scene
  /** Which seam call of the acting node, counted from the start of the request. */
  point: number
  /** The call is one that reads: what befalls it leaves nothing behind. */
  reads: boolean
  fault: string
  /** What is done to the call; it may return `again` with what comes after it. */
  act(run: PointRun, call: Call): Promise<unknown>
}

/** A statement as one reads it in a message. */
export function label(what: string): string {
  if (isCommit(what)) return 'COMMIT'
  if (isTombstone(what)) return 'TOMBSTONE'
  return what.replace(/\s+/g, ' ').slice(0, 72)
}

const isWrite = (call: Call) => !/^\s*(SELECT|hold)\b/i.test(call.what) && call.what !== 'hint'

const BEFORE: [string, Trial['act']][] = [
  ['never reaches the store', async (run, call) => run.sim.fail(call, '08001')],
  ['the connection breaks before it ran', async (run, call) => run.sim.fail(call, '08006')],
  ['its node dies before it ran', async (run) => run.die()],
]
const AFTER: [string, Trial['act']][] = [
  [
    'its answer is lost',
    async (run, call) => {
      await run.sim.execute(call)
      run.sim.fail(call, '08006')
    },
  ],
  [
    'its node dies after it ran',
    async (run, call) => {
      await run.sim.execute(call)
      run.die()
    },
  ],
  ['it runs out of its time', async (run, call) => run.sim.cancel(call)],
  [
    'its node is taken for dead and fenced',
    (run, call) =>
      run.meanwhile(call, async () => {
        run.sim.release(run.acting)
        run.sim.advance(10_000)
        await run.cast.closeWriters()
      }),
  ],
]
const HINT: [string, Trial['act']][] = [['its node dies at the hint', async (run) => run.die()]]

/**
 * Two faults in a row: the commit's answer is lost, and then what asks for its fate fails too, a statement that nothing else
 * leads to. What the ledger makes of that is the same in every scene and tried whole in these; in the others it is tried what
 * the caller makes of not knowing.
 */
const LEDGER = ['submit: allowed', 'settle: succeeded', 'activate: a new policy']

let tenants = 0

/** Every trial of a scene: a run without faults counts its points, each point is tried with every fault that can befall it. */
export async function trialsOf(plane: TestPlane, scene: Scene): Promise<{ trials: Trial[]; points: string[] }> {
  const counted = new PointRun(plane, scene)
  const steps = await counted.count()
  const trials: Trial[] = []
  for (const [point, call] of counted.calls.entries()) {
    // A death before a read leaves what a death before the next write leaves: nothing. It is tried there.
    const faults = call.what === 'hint' ? HINT : isWrite(call) ? [...BEFORE, ...AFTER] : [BEFORE[1]]
    const reads = call.what !== 'hint' && !isWrite(call)
    for (const [fault, act] of faults as typeof BEFORE) trials.push({ scene, point, reads, fault, act })
    if (call.what === 'hint') continue
    for (const step of steps)
      trials.push({
        scene,
        point,
        reads,
        fault: `somebody ${step}`,
        act: (run, held) => run.meanwhile(held, () => (STEPS[step] as Step).act(run.stage)),
      })
    if (isCommit(call.what)) trials.push(...doubts(scene, point))
  }
  return { trials, points: counted.calls.map((call) => label(call.what)) }
}

function doubts(scene: Scene, point: number): Trial[] {
  const asking = LEDGER.includes(scene.name) ? [...BEFORE, ...AFTER.slice(0, 2)] : [BEFORE[1], AFTER[0]]
  const reading = LEDGER.includes(scene.name) ? BEFORE : []
  return [asking, reading].flatMap((faults, behind) =>
    [true, false].flatMap((applied) =>
      (faults as typeof BEFORE).map(
        ([fault, act]): Trial => ({
          scene,
          point,
          reads: false,
          fault: `its answer is lost (${applied ? '' : 'not '}applied), and of statement ${behind + 1} after it: ${fault}`,
          async act(run, call) {
            run.then(point + 1 + behind, act)
            if (applied) await run.sim.execute(call)
            run.sim.fail(call, '08006')
          },
        }),
      ),
    ),
  )
}

export async function runTrial(plane: TestPlane, trial: Trial): Promise<string[]> {
  const run = new PointRun(plane, trial.scene)
  try {
    await run.play(new Map([[trial.point, trial.act]]))
    await run.sim.through(run.cast.calm())
    return await run.cast.check()
  } catch (error) {
    return [...run.cast.history.strange, (error as Error).stack ?? String(error)]
  } finally {
    await run.cast.wipe()
  }
}

/** One scene on two nodes: the one that acts, half a second ahead of the other, on which everybody else is served. */
export class PointRun {
  readonly sim: Simulation
  readonly cast: Cast
  readonly stage: Stage
  /** The calls of the acting node over its seams, in their order. */
  readonly calls: Call[] = []
  acting: SimNode
  readonly #scene: Scene
  readonly #other: SimNode
  #faults = new Map<number, Trial['act']>()
  #others = false

  constructor(plane: TestPlane, scene: Scene) {
    this.sim = new Simulation(plane, ++tenants)
    this.#scene = scene
    this.acting = this.sim.node(500)
    this.#other = this.sim.node(0)
    this.cast = new Cast(this.sim, `p${tenants}`, () => (this.#others ? this.#other : this.acting))
    this.stage = new Stage(this.cast, scene.name)
  }

  async play(faults: Map<number, Trial['act']>, before: () => Promise<unknown> = async () => {}): Promise<void> {
    const { sim, stage } = this
    await sim.through(stage.open())
    if (this.#scene.arrange !== undefined) await sim.through(this.#scene.arrange(stage))
    await sim.through(before())
    this.#faults = faults
    sim.onHint = (node) => void (node === this.acting && this.#hinted())
    const acted = this.#scene.act(stage)
    await sim.drive(acted, (ready) => this.#next(ready))
    // What it throws is a fault of the scene: none of those it asks throws at it.
    await acted
    sim.onHint = () => {}
    this.#others = true
  }

  /** Plays without a fault: afterwards `calls` are the points. @returns what others could do before or after the request */
  async count(): Promise<string[]> {
    const able = new Set<string>()
    const look = async () => {
      for (const [name, step] of Object.entries(STEPS)) if (await step.can(this.stage)) able.add(name)
    }
    await this.play(new Map(), look)
    // Where nothing fails, everybody is answered: a scene that never gets anywhere would find nothing wrong.
    const { unanswered, strange } = this.cast.history
    if (unanswered > 0 || strange.length > 0) throw new Error(`without a fault: ${unanswered} unanswered, ${strange}`)
    await this.sim.through(look())
    await this.cast.wipe()
    return [...able]
  }

  /** The fault of a later point, which only this one leads to. */
  then(point: number, act: Trial['act']): void {
    this.#faults.set(point, act)
  }

  die(): void {
    const node = this.acting
    this.acting = this.sim.node(node.offset)
    this.sim.kill(node)
  }

  /** The call is held while somebody does something from beginning to end on the other node; then it goes its way. */
  async meanwhile(held: Call, step: () => Promise<unknown>): Promise<void> {
    const { sim } = this
    this.#others = true
    await sim.drive(step(), async (ready) => {
      const call = ready.find((each) => each.node !== this.acting && each !== held) as Call
      if (call === undefined) throw new Error('the step in between waits for what it came between')
      if (call.state === 'waiting') await sim.execute(call)
      sim.answer(call)
    })
    this.#others = false
    await sim.execute(held)
    sim.answer(held)
  }

  #hinted(): void {
    const call = { what: 'hint', node: this.acting } as Call
    this.calls.push(call)
    const fault = this.#faults.get(this.calls.length - 1)
    if (fault !== undefined) void fault(this, call)
  }

  async #next(ready: Call[]): Promise<void> {
    const call = ready[0] as Call
    if (call.node !== null) {
      this.calls.push(call)
      const fault = this.#faults.get(this.calls.length - 1)
      if (fault !== undefined) {
        await fault(this, call)
        return
      }
    }
    await this.sim.execute(call)
    this.sim.answer(call)
  }
}
