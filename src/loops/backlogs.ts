import { noteBacklogs } from '../journey/backlog.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { Census } from '../store/census.js'
import type { World } from '../store/world.js'
import type { Dispatcher } from './dispatcher.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** A queue is backlogged after a minute; ten seconds more are no matter, and a count of every topic takes the store some milliseconds. */
const PAUSE_MS = 10_000

/** Tells of queues that nobody empties, and of those that recover. */
export function backlogs(
  world: World,
  census: Census,
  dispatcher: Pick<Dispatcher, 'waitingFor'>,
  clock: Clock,
  log: Log,
): Loop {
  return seated(world, 'backlogs', PAUSE_MS, clock, log, async () => {
    let fault: unknown = null
    for (const tenant of await census.tenants())
      try {
        await noteBacklogs(world, await census.tenant(tenant), dispatcher.waitingFor(tenant))
      } catch (error) {
        // The others' queues are looked at all the same.
        fault ??= error
      }
    if (fault !== null) throw fault
  })
}
