import { closeWriters, WRITER_GRACE_MS } from '../journey/integrate.js'
import { rebindPending, rebindStaged } from '../journey/rebind.js'
import { CLOCK_STEP_MS, rebaseLeases, sweep, writeRefusals } from '../journey/sweep.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { Seat } from '../store/seat.js'
import { type Gate, listGates } from '../store/standing.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** How late a lost lease, an expired approval or an overtaken question may be noticed. */
const PAUSE_MS = 250

/** A loop that one of the nodes runs. Two at once, as when one was frozen, would only do the same work twice: versions settle it. */
export function seated(
  world: World,
  name: string,
  pauseMs: number,
  clock: Clock,
  log: Log,
  round: () => Promise<unknown>,
  /** What the others do meanwhile. */
  others: () => Promise<unknown> = async () => {},
): Loop {
  const seat = new Seat(world.db, name)
  const base = loop(name, clock, log, pauseMs, async () => {
    await ((await seat.taken()) ? round() : others())
  })
  return {
    ...base,
    async stop() {
      await base.stop()
      await seat.leave()
    },
  }
}

export function sweeper(world: World, clock: Clock, log: Log): Loop {
  /** The latest time seen; below it by more than a step, or at a start, leases may lie ahead of the clock. */
  let latest = Number.POSITIVE_INFINITY
  const round = async () => {
    const now = clock.now()
    if (now < latest - CLOCK_STEP_MS) await rebaseLeases(world)
    latest = now
    await sweep(world)
  }
  // What a node refused is in its own memory: nobody else can write it down.
  return seated(world, 'sweeper', PAUSE_MS, clock, log, round, () => writeRefusals(world))
}

/** A loop of its own: after an activation thousands of questions may have to be put again, and no lost lease should wait for that. */
export function rebinder(world: World, clock: Clock, log: Log): Loop {
  /** Under which gate a tenant's pending approvals were last looked at: all again only after an activation, those of a stage after any move. */
  const seen = new Map<string, Gate>()
  return seated(world, 'rebinder', PAUSE_MS, clock, log, async () => {
    for (const gate of await listGates(world.db)) {
      const { tenant, snapshot, epoch } = gate
      const last = seen.get(tenant)
      if (snapshot === null || last?.epoch === epoch) continue
      const done = last?.snapshot === snapshot ? [] : [await rebindPending(world, tenant)]
      done.push(await rebindStaged(world, tenant))
      if (done.every((each) => each.complete && each.gate.epoch === epoch)) seen.set(tenant, gate)
      else await world.policies.refresh(tenant)
    }
  })
}

/** Ends the chains of nodes that are gone; at a start nobody may be left to notice. */
export function closer(world: World, clock: Clock, log: Log): Loop {
  return seated(world, 'closer', WRITER_GRACE_MS, clock, log, () => closeWriters(world, clock.now() - WRITER_GRACE_MS))
}
