import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, ConfigError, DATABASE_EXAMPLE } from '../config.js'
import { memoryBus } from '../platform/bus/memory.js'
import { natsBus } from '../platform/bus/nats.js'
import { ServerTooOld } from '../platform/bus/nats-line.js'
import type { Bus } from '../platform/bus/seam.js'
import { DatabaseUrlFault, openPostgres } from '../platform/db/pg.js'
import { openPglite, openPgliteThread } from '../platform/db/pglite.js'
import type { Db } from '../platform/db/seam.js'
import type { Log } from '../platform/log.js'

/** How the embedded engine runs. */
export interface Embedding {
  /** In memory instead of on disk; nothing is locked or kept. */
  memory?: boolean
  /** `false`: the engine runs in this thread, slower under load and quicker to start. Otherwise in one of its own. */
  thread?: boolean
}

/** Whoever starts a node beside its database must not have to start them in order. */
const PATIENCE_MS = 30_000

export function openDb(config: Config, seams: Embedding, died: (error: Error) => void, log: Log): Promise<Db> {
  if (config.databaseUrl !== null) return openShared(config.databaseUrl, config.databasePool, log)
  if (seams.memory) return openPglite(null)
  return seams.thread === false ? openPglite(pgdata(config)) : openPgliteThread(pgdata(config), died)
}

async function openShared(url: string, pool: number, log: Log): Promise<Db> {
  const waiting = (why: string) => log.warn(`${why}; waiting for it, ${PATIENCE_MS / 1000} s at most`)
  try {
    return await openPostgres({ url, pool, patienceMs: PATIENCE_MS, waiting, warn: (what) => log.warn(what) })
  } catch (error) {
    if (!(error instanceof DatabaseUrlFault)) throw error
    throw new ConfigError('SALLYPORT_DATABASE_URL', error.message, DATABASE_EXAMPLE)
  }
}

/** A NATS server that is away does not keep a node from starting: the rows are the truth, the bus only makes them heard sooner. */
export async function openBus({ nats }: Config, log: Log): Promise<Bus> {
  if (nats === null) return memoryBus()
  try {
    return await natsBus(nats, log)
  } catch (error) {
    if (!(error instanceof ServerTooOld)) throw error
    throw new ConfigError('SALLYPORT_NATS_URL', error.message, 'nats://nats.internal:4222')
  }
}

export const pgdata = (config: Pick<Config, 'dataDir'>) => join(config.dataDir, 'pgdata')

export function makeDataDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new ConfigError(
      'SALLYPORT_DATA_DIR',
      `names ${dir}, which cannot be made (${(error as NodeJS.ErrnoException).code})`,
      './.sallyport',
    )
  }
}
