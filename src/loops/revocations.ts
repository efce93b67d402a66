import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { lapsedOf, type Presented } from '../store/keys.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** Half of the second after which a key revoked on one node must read nothing on another. */
const PAUSE_MS = 500

/**
 * Ends the calls of who was let in and would not be now: their key was revoked, on whatever node, or ends sooner, or they have another
 * role. A stream of events went on for ever: nothing asked again who listens.
 */
export function revocations(
  open: { readonly callers: readonly Presented[]; abort(key_id: string): void },
  world: World,
  clock: Clock,
  log: Log,
): Loop {
  return loop('revocations', clock, log, PAUSE_MS, async () => {
    for (const { key_id } of (await lapsedOf(world, open.callers)).keys()) open.abort(key_id)
  })
}
