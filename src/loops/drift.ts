import type { Clock, StoreClock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { storeTime } from '../store/standing.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

const PAUSE_MS = 10_000
/** Past it this machine's clock is wrong: a node corrects for it, and says that it is not ready until somebody mends it. */
export const DRIFT_MS = 500
/** A sample whose question and answer took longer says too little. */
const ROUND_TRIP_MS = 200

/** Reads the store's clock and sets ours by it. */
export async function sampleTime(db: World['db'], own: Clock, clock: StoreClock): Promise<void> {
  const asked = own.now()
  const store = await storeTime(db)
  const answered = own.now()
  // Half of a long way is a guess; without a sample before it, the guess must not make a right clock wrong.
  const error = (answered - asked) / 2
  if (error > ROUND_TRIP_MS / 2 && Math.abs(store - (asked + answered) / 2 - clock.offset) <= error) return
  clock.offset = Math.round(store - (asked + answered) / 2)
}

/** Only where the store is another machine's: the embedded engine has this one's clock. */
export function drift(world: World, own: Clock, clock: StoreClock, log: Log): Loop {
  let said = false
  return loop('drift', own, log, PAUSE_MS, async () => {
    await sampleTime(world.db, own, clock)
    const wrong = Math.abs(clock.offset) > DRIFT_MS
    if (wrong !== said)
      log.warn({ offset_ms: clock.offset }, wrong ? 'the clock of this machine is wrong' : 'the clock is right again')
    said = wrong
  })
}
