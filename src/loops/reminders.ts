import { remindOfDrills } from '../journey/drills.js'
import { remindOfKeys } from '../journey/reminders.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** A week's notice is no matter of minutes; a look reads the keys and drills that are due, of every tenant, in a statement each. */
const PAUSE_MS = 600_000

/** Tells of keys that want to be renewed, and of drills that did not pass in time. One of the nodes does. */
export function reminders(world: World, clock: Clock, log: Log): Loop {
  return seated(world, 'reminders', PAUSE_MS, clock, log, async () => {
    // Neither waits for what became of the other.
    const both = await Promise.allSettled([remindOfKeys(world), remindOfDrills(world)])
    for (const each of both) if (each.status === 'rejected') throw each.reason
  })
}
