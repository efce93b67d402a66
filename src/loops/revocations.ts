import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { endedOf } from '../store/keys.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** Half of the second after which a key revoked on one node must read nothing on another. */
const PAUSE_MS = 500

/** Ends the calls of keys that were revoked on another node, or whose end a rotation brought nearer. A stream of events went on for ever there: nothing asked again who listens. */
export function revocations(
  open: { readonly keys: string[]; abort(key_id: string): void },
  world: World,
  clock: Clock,
  log: Log,
): Loop {
  return loop('revocations', clock, log, PAUSE_MS, async () => {
    const { keys } = open
    if (keys.length === 0) return
    for (const key_id of await endedOf(world.db, keys, world.clock.now())) open.abort(key_id)
  })
}
