import { noteKeyUses } from '../journey/keys.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** At most one write a minute for each key and node, and none on the way of a request. */
const PAUSE_MS = 60_000

/** Writes when this node last saw each key open something; once more at a stop. What a killed node saw in its last minute is lost. */
export function keyUses(
  uses: { take(): Map<string, number>; putBack(uses: ReadonlyMap<string, number>): void },
  world: World,
  clock: Clock,
  log: Log,
): Loop {
  const write = async () => {
    const taken = uses.take()
    await noteKeyUses(world, taken).catch((error: unknown) => {
      uses.putBack(taken)
      throw error
    })
  }
  const base = loop('key uses', clock, log, PAUSE_MS, write)
  return {
    ...base,
    async stop() {
      await base.stop()
      await write().catch((error: unknown) => log.warn({ err: error }, 'the last uses of keys were not written'))
    },
  }
}
