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

/** Takes back what the candidates of rolled back rollouts did, until nothing of it is left. */
export function recoverer(world: World, clock: Clock, log: Log): Loop {
  const base = seated(world, 'recoverer', PAUSE_MS, clock, log, async () => {
    if (await recoverAll(world, log)) clock.after(BUSY_MS, base.wake)
  })
  return base
}

/** One round. Each rollback by itself: one that fails keeps no other waiting. True where something is under way that ends by itself. */
export async function recoverAll(world: World, log?: Log): Promise<boolean> {
  let busy = false
  for (const { tenant, rollout_id } of await unrecovered(world.db)) {
    try {
      for (let looks = 0; looks < LOOKS; looks++) {
        const found = await recoverOne(world, tenant, rollout_id)
        busy ||= found.busy
        if (!found.more) break
      }
    } catch (error) {
      if (log === undefined) throw error
      log.error({ tenant, rollout_id, err: error }, 'a rollback is not taken further now')
    }
  }
  return busy
}

/** One look at one rollback, and what it finds put to the first door. */
async function recoverOne(world: World, tenant: string, rollout_id: string) {
  const { asking, more, busy } = await takeBack(world, tenant, rollout_id)
  for (const each of asking) {
    try {
      // Its row moves in the commit that makes the job, so it is asked once whoever dies in between.
      const { answer } = await submitOwn(world, each.caller, each.body, null, each.behalf)
      if (answer.status === 'shadowed') await shadowed(world, each, answer.decision_id)
    } catch (error) {
      await refused(world, each, error)
    }
  }
  return { more, busy }
}
