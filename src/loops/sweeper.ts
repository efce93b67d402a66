import { rebindPending } from '../journey/rebind.js'
import { CLOCK_STEP_MS, rebaseLeases, sweep } from '../journey/sweep.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { listGates } from '../store/standing.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** How late a lost lease, an expired approval or an overtaken question may be noticed. */
const PAUSE_MS = 250

export function sweeper(world: World, clock: Clock, log: Log): Loop {
  /** The latest time seen; below it by more than a step, or at a start, leases may lie ahead of the clock. */
  let latest = Number.POSITIVE_INFINITY
  return loop('sweeper', clock, log, PAUSE_MS, async () => {
    const now = clock.now()
    if (now < latest - CLOCK_STEP_MS) await rebaseLeases(world)
    latest = now
    await sweep(world)
  })
}

/** A loop of its own: after an activation thousands of questions may have to be put again, and no lost lease should wait for that. */
export function rebinder(world: World, clock: Clock, log: Log): Loop {
  /** Under which snapshot a tenant's pending approvals were last looked at: they are looked at again only after an activation. */
  const seen = new Map<string, string>()
  return loop('rebinder', clock, log, PAUSE_MS, async () => {
    for (const { tenant, snapshot } of await listGates(world.db)) {
      if (snapshot === null || seen.get(tenant) === snapshot) continue
      const done = await rebindPending(world, tenant)
      if (done.complete) seen.set(tenant, done.snapshot)
      else await world.policies.refresh(tenant)
    }
  })
}
