import { runReplays } from '../journey/replays.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** How late a replay begins that was asked for on another node; on this one it is woken. */
const PAUSE_MS = 1_000

/** Runs the replays that were asked for, and goes on with those whose node died. */
export function replayer(world: World, clock: Clock, log: Log): Loop {
  let over = false
  const it = seated(world, 'replayer', PAUSE_MS, clock, log, () => runReplays(world, () => over))
  return {
    ...it,
    async stop() {
      over = true
      await it.stop()
    },
  }
}
