import { beat, confirm, enforceStops, leave } from '../journey/stop.js'
import { confirmTaken } from '../journey/take-back.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'
import { seated } from './sweeper.js'

/** A stop is to be confirmed everywhere within a second, with the way to the store and back. */
const PAUSE_MS = 250
/** How often a node says that it lives. */
const BEAT_MS = 2_000

/** Says of every stop, and of every rollback, that this node has read the gate since. Nothing waits for it but the answer: the gate row refuses by itself. */
export function confirmer(world: World, node: { node: string; name: string }, clock: Clock, log: Log): Loop {
  let beaten = Number.NEGATIVE_INFINITY
  const base = loop('confirmer', clock, log, PAUSE_MS, async () => {
    await confirm(world, node)
    await confirmTaken(world, node)
    const now = clock.now()
    if (now - beaten < BEAT_MS && now >= beaten) return
    await beat(world, node)
    beaten = now
  })
  return {
    ...base,
    async stop() {
      await base.stop()
      // A store that does not answer now leaves the row, and the node counts as silent.
      await leave(world, node).catch(() => {})
    },
  }
}

/** Whoever raises a stop asks all running work to end by itself; this is for a node that died over it. */
const ENFORCE_MS = 1_000

/** Goes on with stops whose node died before it had asked all running work to end. */
export function enforcer(world: World, clock: Clock, log: Log): Loop {
  return seated(world, 'enforcer', ENFORCE_MS, clock, log, () => enforceStops(world))
}
