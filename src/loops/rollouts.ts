import { submitOwn } from '../journey/submit.js'
import { refused, shadowed, takeBack } from '../journey/take-back.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { unrecovered } from '../store/compensations.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** How late a rollback may be taken up, and what comes next in it. */
const PAUSE_MS = 1000
/** While a compensation runs: of a run each waits for the one before it. */
const BUSY_MS = 100
/** Looks at one rollback before the next has its turn. */
const LOOKS = 20
/** Rollbacks of one round. With more than that, all have their turn before any has its second. */
const ROUND = 100
/** Until it is looked at again whether people have said something. */
const REST_MS = 3000

/** Takes back what the candidates of rolled back rollouts did, until nothing of it is left. */
export function recoverer(world: World, clock: Clock, log: Log): Loop {
  const turns = new Turns()
  const base = seated(world, 'recoverer', PAUSE_MS, clock, log, async () => {
    if (await recoverAll(world, turns, log)) clock.after(BUSY_MS, base.wake)
  })
  return base
}

/** Which rollbacks have had their turn. Kept by the node that takes them further: whichever comes after it begins a new round. */
export class Turns {
  /** By rollout, until when it rests. */
  readonly #had = new Map<string, number>()
  #isCrowded = false

  async next(world: World): Promise<{ tenant: string; rollout_id: string }[]> {
    const now = world.clock.now()
    if (!this.#isCrowded) for (const [id, until] of this.#had) if (until <= now) this.#had.delete(id)
    const due = await unrecovered(world.db, [...this.#had.keys()], ROUND)
    this.#isCrowded = due.length === ROUND
    return due
  }

  had(rollout_id: string, until: number): void {
    this.#had.set(rollout_id, until)
  }
}

/** One round. Each rollback by itself: one that fails keeps no other waiting. True where something is under way that ends by itself. */
export async function recoverAll(world: World, turns = new Turns(), log?: Log): Promise<boolean> {
  let isBusy = false
  for (const { tenant, rollout_id } of await turns.next(world)) {
    let waits = true
    try {
      for (let looks = 0; looks < LOOKS; looks++) {
        const { busy, more, draining } = await recoverOne(world, tenant, rollout_id)
        isBusy ||= busy
        waits = !busy && !more && !draining
        if (!more) break
      }
    } catch (error) {
      if (log === undefined) throw error
      log.error({ tenant, rollout_id, err: error }, 'a rollback is not taken further now')
    }
    turns.had(rollout_id, world.clock.now() + (waits ? REST_MS : 0))
  }
  return isBusy
}

/** One look at one rollback, and what it finds put to the first door. */
async function recoverOne(world: World, tenant: string, rollout_id: string) {
  const { asking, ...found } = await takeBack(world, tenant, rollout_id)
  for (const each of asking) {
    try {
      // Its row moves in the commit that makes the job, so it is asked once whoever dies in between.
      const { answer } = await submitOwn(world, each.caller, each.body, null, each.behalf)
      if (answer.status === 'shadowed') await shadowed(world, each, answer.decision_id)
    } catch (error) {
      await refused(world, each, error)
    }
  }
  return found
}
