import { publish } from '../journey/publish.js'
import type { EventStream } from '../platform/bus/seam.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { Seat } from '../store/seat.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** Events that nobody announced are looked for this often; the integrator wakes this loop after each of its rounds. */
const PAUSE_MS = 500
/** What keeps failing is said again this often. */
const REPEAT_MS = 60_000

/**
 * Carries integrated entries to the event stream. It only reads what the integrator wrote, a few tiles at a time, so a slow or
 * absent stream makes events late and holds up nothing. One node at a time publishes; two at once, as when one was frozen, publish
 * some events twice, under the same ids.
 */
export function publisher(world: World, stream: EventStream, clock: Clock, log: Log): Loop {
  const seat = new Seat(world.db, 'publisher')
  let stopped = false
  let said = Number.NEGATIVE_INFINITY
  const waitFor = (faults: readonly Error[]) => {
    const now = clock.now()
    if (faults.length === 0) said = Number.NEGATIVE_INFINITY
    if (faults.length === 0 || now - said < REPEAT_MS || stopped) return
    said = now
    const reason = faults.slice(0, 20).map(({ message }) => message)
    log.error({ reason: reason.join('; ') }, 'events are not published; they wait in the log')
  }
  const step = async (): Promise<boolean> => {
    try {
      if (!(await seat.taken())) return false
      const done = await publish(world, stream)
      if (done.rewound.length > 0)
        log.warn({ tenants: done.rewound.slice(0, 20) }, 'the event stream lost events; they are published again')
      waitFor(done.unreadable)
      return done.events > 0 && done.behind > 0
    } catch (error) {
      waitFor([error as Error])
      return false
    }
  }
  const base = loop('publisher', clock, log, PAUSE_MS, async () => {
    while (!stopped && (await step())) {
      // a backlog: a few tiles of every tenant at a time, so that no tenant waits for another's
    }
  })
  return {
    ...base,
    async stop() {
      stopped = true
      await base.stop()
      await seat.leave()
    },
  }
}
