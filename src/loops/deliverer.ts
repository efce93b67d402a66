import { deliver, tidy } from '../journey/deliver.js'
import type { Clock } from '../platform/clock.js'
import type { Couriers } from '../platform/courier.js'
import type { Log } from '../platform/log.js'
import { dueChannels } from '../store/channels.js'
import { Seat } from '../store/seat.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** What failed is tried again after five seconds at the earliest; what is new wakes this loop. */
const PAUSE_MS = 1000
/** Channels that are spoken to at once: each may hang for ten seconds, and none may wait for another. */
const AT_ONCE = 64
const TIDY_MS = 60_000
/** For messages on their way when the node stops. */
const STOP_MS = 3000

/**
 * Sends what waits. Every channel has a run of its own, so one that hangs holds up nobody; a round only starts the runs of channels that
 * have none. One node at a time sends; two at once, as when one was frozen, may send a message twice, under the same delivery id.
 */
export function deliverer(world: World, couriers: Couriers, clock: Clock, log: Log): Loop {
  const seat = new Seat(world.db, 'deliverer')
  const runs = new Map<string, Promise<void>>()
  let stopped = false
  let tidied = clock.now()
  const run = async (channel: Parameters<typeof deliver>[2]) => {
    try {
      while (!stopped && (await deliver(world, couriers, channel)).more && (await seat.taken())) {
        // a backlog, some messages at a time
      }
    } catch (error) {
      if (!stopped) log.error({ err: error, channel: channel.channel }, 'a channel’s messages wait for the next round')
    }
  }
  const base = loop('deliverer', clock, log, PAUSE_MS, async () => {
    if (stopped || !(await seat.taken())) return
    for (const channel of await dueChannels(world.db, clock.now(), 2 * AT_ONCE)) {
      const name = JSON.stringify([channel.tenant, channel.channel])
      if (runs.has(name) || runs.size >= AT_ONCE) continue
      runs.set(
        name,
        run(channel).finally(() => runs.delete(name)),
      )
    }
    if (clock.now() - tidied < TIDY_MS) return
    tidied = clock.now()
    await tidy(world)
  })
  return {
    ...base,
    async stop() {
      stopped = true
      await base.stop()
      // What hangs is cut off with the process, and sent again by the next one.
      await Promise.race([Promise.all(runs.values()), new Promise<void>((over) => clock.after(STOP_MS, over))])
      await seat.leave()
    },
  }
}
