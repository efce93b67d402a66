import type { SigningKey } from '../core/audit/keys.js'
import { integrate, type Integrated as Round } from '../journey/integrate.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { type HeadRow, newestHeads } from '../store/audit.js'
import { Seat } from '../store/seat.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** A head is signed at most this long after its entries were committed, plus the round itself: under the promised second. */
const PAUSE_MS = 500

/** What a person has to look at is said again this often, not at every round: that would be 170,000 lines a day. */
const REPEAT_MS = 60_000

/** A round that placed something, here or on the node that integrates. */
export type Integrated = Round & { head: HeadRow }

export interface Integrator extends Loop {
  /** Called after every round that placed something. */
  onIntegrated(listener: (done: Integrated) => void): () => void
}

/**
 * One node at a time integrates; the others look for the heads it signed, so that their listeners hear of them too. Two at once, as
 * when one was frozen, lose nothing: the second's statement takes itself back.
 */
export function integrator(world: World, key: SigningKey, clock: Clock, log: Log): Integrator {
  const listeners = new Set<(done: Integrated) => void>()
  const seat = new Seat(world.db, 'integrator')
  /** Size of the newest head told of, by tenant. */
  const sizes = new Map<string, number>()
  const tell = (done: Integrated) => {
    sizes.set(done.tenant, done.head.size)
    for (const listener of listeners) listener(done)
  }
  const follow = async () => {
    for (const head of await newestHeads(world.db)) {
      const known = sizes.get(head.tenant)
      if (head.size === known) continue
      const entries = head.size - (known ?? head.size)
      tell({ tenant: head.tenant, entries, head, refused: [], full: false, failed: null })
    }
  }
  const told = oncePer(REPEAT_MS, clock)
  const base = loop('integrator', clock, log, PAUSE_MS, async () => {
    if (!(await seat.taken())) return follow()
    let more = true
    while (more) {
      const done = await integrate(world, key)
      for (const each of done) {
        for (const bad of each.refused)
          told(`${each.tenant} ${bad.writer} ${bad.seq}`, () =>
            log.error(
              { tenant: each.tenant, ...bad },
              'an audit tile does not follow from its chain; it was not signed',
            ),
          )
        const { failed } = each
        if (failed !== null)
          told(`${each.tenant} ${failed.message}`, () =>
            log.error({ tenant: each.tenant, err: failed }, 'the audit log of a tenant could not be integrated'),
          )
        if (each.head !== null) tell({ ...each, head: each.head })
      }
      // Only a backlog is worked off at once: with tiles arriving all the time, "something was placed" would never end.
      more = done.some((each) => each.head !== null && each.full)
    }
  })
  return {
    ...base,
    onIntegrated(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async stop() {
      await base.stop()
      await seat.leave()
    },
  }
}

/** Says each thing at most once in a time. Bounded: past 10,000 things it forgets, and says some again. */
function oncePer(ms: number, clock: Clock): (thing: string, say: () => void) => void {
  const said = new Map<string, number>()
  return (thing, say) => {
    const now = clock.now()
    if (now - (said.get(thing) ?? Number.NEGATIVE_INFINITY) < ms) return
    if (said.size >= 10_000) said.clear()
    said.set(thing, now)
    say()
  }
}
