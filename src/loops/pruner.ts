import { type DenialPlaces, forget, type Places, prune, pruneDenials, pruneRecords } from '../journey/prune.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { vacuum } from '../store/vacuum.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** Jobs are kept for days; a minute more is nothing. */
const PAUSE_MS = 60_000
/** Between rounds while there is more: what comes in goes first. Some 6,000 jobs a second of a tenant go at this pace. */
const BREATH_MS = 50

/**
 * Removes finished jobs that are old, denied submits, and what else is over, in small rounds, and makes room in the tables of an engine that does not do so itself.
 * @param keepMs how long they are kept; null: for ever
 * @param removed is told how many jobs went
 */
export function pruner(
  world: World,
  keepMs: number | null,
  clock: Clock,
  log: Log,
  removed: (tenant: string, count: number) => void,
): Loop {
  const places: Places = new Map()
  const denials: DenialPlaces = new Map()
  const it = seated(world, 'pruner', PAUSE_MS, clock, log, async () => {
    await forget(world)
    let more = false
    if (keepMs !== null) {
      const [denied, records] = [await pruneDenials(world, keepMs, denials), await pruneRecords(world, keepMs)]
      const pruned = await prune(world, keepMs, places)
      for (const [tenant, count] of pruned.removed) removed(tenant, count)
      more = pruned.more || denied || records
    }
    if (more) clock.after(BREATH_MS, it.wake)
    else await vacuum(world.db)
  })
  return it
}
