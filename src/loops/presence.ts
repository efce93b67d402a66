import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { Seat } from '../store/seat.js'
import { type Loop, loop } from './loop.js'

/** Well under the time after which the others take a silent holder for dead. */
const PAUSE_MS = 2_000

/** Shows that this process writes: takes its writer's name, and again when the connection that held it was lost or the writer is a new one. */
export function presence(seat: Seat, name: () => string, clock: Clock, log: Log): Loop {
  return loop('presence', clock, log, PAUSE_MS, () => seat.taken(name()))
}
