import type { SigningKey } from '../core/audit/keys.js'
import { archive } from '../journey/archive.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { ArchiveFolder } from '../store/archive-folder.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** Entries are kept for days; a minute more is nothing. */
const PAUSE_MS = 60_000
/** Between files while there are more: what comes in goes first. */
const BREATH_MS = 1_000
/** After a fault a tenant is tried again, and its fault said again, so much later. */
const AGAIN_MS = 600_000

/**
 * Puts old audit entries into files and takes their bodies out of the database.
 * @param keepMs how long entries stay in the database, up to a day more
 */
export function archiver(
  world: World,
  folder: ArchiveFolder,
  key: SigningKey,
  keepMs: number,
  clock: Clock,
  log: Log,
): Loop {
  /** Until when a tenant is left alone: what does not verify is read as a whole to find that out. */
  const paused = new Map<string, number>()
  const it = seated(world, 'archiver', PAUSE_MS, clock, log, async () => {
    const done = await archive(world, folder, key, keepMs, (tenant) => clock.now() < (paused.get(tenant) ?? 0))
    for (const { tenant, row, failed } of done) {
      if (failed !== null) {
        paused.set(tenant, clock.now() + AGAIN_MS)
        log.error({ tenant, err: failed }, 'old audit entries could not be archived; they stay in the database')
      } else if (row !== null) {
        const { first, size, file, bytes } = row
        log.info({ tenant, first, size, file, bytes }, 'old audit entries were archived')
      }
    }
    if (done.some((each) => each.failed === null)) clock.after(BREATH_MS, it.wake)
  })
  return it
}
