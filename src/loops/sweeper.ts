import { rebindPending } from '../journey/rebind.js'
import { sweep } from '../journey/sweep.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { listGates } from '../store/standing.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** How late a lost lease, an expired approval or an overtaken question may be noticed. */
const PAUSE_MS = 250

export function sweeper(world: World, clock: Clock, log: Log): Loop {
  return loop('sweeper', clock, log, PAUSE_MS, async () => {
    await sweep(world)
    for (const gate of await listGates(world.db)) if (gate.snapshot !== null) await rebindPending(world, gate.tenant)
  })
}
