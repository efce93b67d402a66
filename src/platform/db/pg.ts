import { setTimeout } from 'node:timers/promises'
import { DbError } from '../../errors.js'
import { type Clock, systemClock } from '../clock.js'
import { ConnectError } from './pg-faults.js'
import { Holds, lockKey } from './pg-holds.js'
import { type Limits, Line } from './pg-line.js'
import { postgresAccess } from './pg-url.js'
import type { Db, Param } from './seam.js'

export { DatabaseUrlFault } from './pg-url.js'

export interface PostgresOptions {
  url: string
  /** Connections this node keeps: one for the ledger, one for names it holds, the rest for reads. At least 3. */
  pool?: number
  /** How long a start waits for a database that is not there yet; `waiting` is told why, once for each reason. */
  patienceMs?: number
  waiting?: (why: string) => void
  /** Told once, after the start, what of the server's own settings makes an acknowledged commit less than durable. */
  warn?: (what: string) => void
  limits?: Partial<Limits>
}

const POOL = 6

/** A call on a connection that went dead ends within `silence` and a second; one that comes during the gap at once. */
const LIMITS: Limits = { connect: 5_000, statement: 10_000, silence: 12_000 }
/** A holder speaks one small statement at a time and has to know in time that it is cut off. */
const HOLDER: Limits = { connect: 5_000, statement: 5_000, silence: 7_000 }
/** Migrations: a table may be large. */
const SCRIPT: Limits = { connect: 5_000, statement: 600_000, silence: 605_000 }
/** Settings of the whole server, which no session can change. */
const DURABLE = `SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes`
/** Connections made for one statement: beyond the pool, so few of them. */
const FRESH = 2
const AGAIN_MS = 500

/**
 * Postgres through `pg` (the fastest driver measured), its connections pipelined: a statement does not wait for the one before it.
 * Throws DatabaseUrlFault; ConnectError when it cannot be reached, at once where waiting would not help.
 */
export async function openPostgres(options: PostgresOptions, clock: Clock = systemClock): Promise<Db> {
  const access = postgresAccess(options.url)
  const line = (limits = LIMITS) => new Line(access, { ...limits, ...options.limits }, clock)
  const readers = Array.from({ length: (options.pool ?? POOL) - 2 }, () => line())
  const [ledger, holder] = [line(), line(HOLDER)]
  const all = [...readers, ledger, holder]
  const holds = new Holds(holder, clock)
  const fresh = atMost(FRESH)
  let closed = false
  /** A connection for one piece of work. */
  const once = async <T>(limits: Limits, work: (own: Line) => Promise<T>): Promise<T> => {
    if (closed) throw new DbError('The database is closed', '08001')
    const own = line(limits)
    try {
      return await work(own)
    } finally {
      await own.close()
    }
  }
  const db: Db = {
    engine: 'postgres',
    async query<Row>(sql: string, params: readonly Param[] = [], on = 'reads') {
      if (on === 'ledger') return ledger.query<Row>(sql, params)
      if (on === 'reads') return leastBusy(readers).query<Row>(sql, params)
      return fresh(() => once(LIMITS, (own) => own.query<Row>(sql, params)))
    },
    script: (sql) =>
      // The line break: a script may end in a comment.
      once(SCRIPT, (own) =>
        own.script(`BEGIN; SELECT pg_advisory_xact_lock(${lockKey('migrations')}); ${sql}\n; COMMIT`),
      ),
    hold: (name) => holds.take(name),
    stats: () => ({
      lines: all.length,
      connected: all.filter((each) => each.connected).length,
      open: all.reduce((sum, each) => sum + each.open, 0),
    }),
    async close() {
      closed = true
      await Promise.all(all.map((each) => each.close()))
    },
  }
  try {
    // Every connection, so that a pool the server has no room for is told of now and not under load.
    await patiently(options, () => Promise.all(all.map((each) => each.query('SELECT 1', []))))
    const [durable = {}] = await db.query<Record<string, string>>(DURABLE)
    for (const name of Object.keys(durable).filter((name) => durable[name] !== 'on'))
      options.warn?.(`the database runs with ${name} = off: a power cut may lose what was acknowledged, or break it`)
    return db
  } catch (error) {
    await db.close()
    throw error
  }
}

/** A line that is down has nothing open: it must not draw all reads to itself. */
function leastBusy(lines: readonly Line[]): Line {
  const rank = (line: Line) => (line.connected ? line.open : Number.MAX_SAFE_INTEGER)
  return lines.reduce((least, each) => (rank(each) < rank(least) ? each : least))
}

async function patiently(options: PostgresOptions, work: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + (options.patienceMs ?? 0)
  let told = ''
  for (;;) {
    try {
      await work()
      return
    } catch (error) {
      const hopeless = !(error instanceof DbError) || (error instanceof ConnectError && error.lasting)
      if (hopeless || performance.now() + AGAIN_MS > end) throw error
      if (error.message !== told) options.waiting?.(error.message)
      told = error.message
      // Not by the clock: its timers let a process end, and while it waits there is nothing else that keeps this one.
      await setTimeout(AGAIN_MS)
    }
  }
}

/** Runs so many at once; the others wait their turn. */
function atMost(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (running < most) running++
    else await new Promise<void>((turn) => waiting.push(turn))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running--
      else next()
    }
  }
}
