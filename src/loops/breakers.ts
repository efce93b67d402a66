import { turnBreakers } from '../journey/break.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** With the time of its reads: an agent is out at most about a second after its last failure was committed. */
const PAUSE_MS = 750
/** Read again each round: a commit may end later than the time its rows say. */
const OVERLAP_MS = 3_000
/** At a start, and where another node did this before: what ended meanwhile. */
const FIRST_MS = 60_000

/** Opens and closes breakers by how jobs ended, on one node. Counting in the commit that ends a job would cost every job for the few that fail. */
export function breakers(world: World, clock: Clock, log: Log): Loop {
  let from: number | null = null
  const round = async () => {
    const now = clock.now()
    await turnBreakers(world, (from ?? now - FIRST_MS) - OVERLAP_MS)
    from = now
  }
  return seated(world, 'breakers', PAUSE_MS, clock, log, round, async () => {
    from = null
  })
}
