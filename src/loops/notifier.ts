import { notify } from '../journey/notify.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** Entries that nobody announced are looked for this often; the integrator wakes this loop after each of its rounds. */
const PAUSE_MS = 500

/**
 * Turns signed entries into messages. Two at once, as when one node was frozen, make each message once all the same.
 * @param made called when there is something new to send
 */
export function notifier(world: World, clock: Clock, log: Log, made: () => void): Loop {
  return seated(world, 'notifier', PAUSE_MS, clock, log, async () => {
    for (;;) {
      const done = await notify(world)
      if (done.made > 0) made()
      if (done.unread > 0) log.warn({ entries: done.unread }, 'entries of the archive were passed over: nobody is told')
      if (done.behind === 0) return
    }
  })
}
