import type { SigningKey } from '../core/audit/keys.js'
import { integrate, type Integrated } from '../journey/integrate.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** A head is signed at most this long after its entries were committed, plus the round itself: under the promised second. */
const PAUSE_MS = 500

export interface Integrator extends Loop {
  /** Called after every round that placed something. */
  onIntegrated(listener: (done: Integrated) => void): () => void
}

export function integrator(world: World, key: SigningKey, clock: Clock, log: Log): Integrator {
  const listeners = new Set<(done: Integrated) => void>()
  const base = loop('integrator', clock, log, PAUSE_MS, async () => {
    let more = true
    while (more) {
      const done = await integrate(world, key)
      for (const each of done) {
        for (const bad of each.refused) log.error({ tenant: each.tenant, ...bad }, 'an audit tile does not follow from its chain; it was not signed')
        for (const listener of listeners) listener(each)
      }
      more = done.length > 0
    }
  })
  return {
    ...base,
    onIntegrated(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
