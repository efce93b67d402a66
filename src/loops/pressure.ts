import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { type Loop, loop } from './loop.js'

const PAUSE_MS = 250
/** So many looks in a row that found the queue full: two seconds. A burst that is worked off sooner concerns nobody. */
const LOOKS = 8
/** Full is near the brim: while it is worked off as fast as it fills, a batch is always missing. */
const FULL = 3 / 4
/** Well below, so that a balancer does not hear yes and no in turn. */
const EASED = 1 / 2

export interface Pressure extends Loop {
  /** More comes in than is done, and has for a while: this node should get no new work. */
  readonly over: boolean
}

/**
 * Watches a queue, and says when a node is overloaded, for its readiness: balancers then send work to others.
 * @param strain how full it is, from 0 to 1
 */
export function pressure(strain: () => number, clock: Clock, log: Log): Pressure {
  let full = 0
  let over = false
  const base = loop('pressure', clock, log, PAUSE_MS, async () => {
    const share = strain()
    full = share >= FULL ? full + 1 : 0
    if (!over && full >= LOOKS) {
      over = true
      log.warn('overloaded: not ready until the queue is half empty')
    } else if (over && share < EASED) {
      over = false
      log.info('no longer overloaded')
    }
  })
  return {
    ...base,
    get over() {
      return over
    },
  }
}
