import { createHash } from 'node:crypto'
import type { Replay, ReplayLog, ReplayProgress } from '../core/replay.js'
import { type ReplayFound, type ReplayStanding, standingOfReplays } from '../core/replay-standing.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { textArray } from './text-array.js'

export const REPLAY_COLUMNS = `tenant, replay_id, status, digest, active, rollout_id, candidate, asked, asked_by, asked_at, tries, progress,
    finished_at, valid_until, voided_at, outcome, log_hash, log_parts, log_entries, reason`
/** What its end changes. */
export const REPLAY_MUTABLE =
  'status, progress, finished_at, valid_until, outcome, log_hash, log_parts, log_entries, reason'

const GET = `SELECT ${REPLAY_COLUMNS} FROM replays WHERE tenant = $1 AND replay_id = $2`
const LIST = `SELECT ${REPLAY_COLUMNS} FROM replays WHERE tenant = $1 AND replay_id < $2 ORDER BY replay_id DESC LIMIT $3`
const RUNNING_OF = `SELECT count(*)::int AS n FROM replays WHERE tenant = $1 AND status = 'running'`
/** Tenants take turns, in the order of their names. Of one, each try that was cut short puts a replay back by a minute. */
const NEXT = `SELECT tenant, replay_id FROM replays WHERE status = 'running' AND NOT (replay_id = ANY ($2::text[]))
  ORDER BY tenant <= $1, tenant, asked_at + tries * 60000::bigint, replay_id LIMIT 1`
const BEGIN = `UPDATE replays SET tries = tries + 1 WHERE tenant = $1 AND replay_id = $2 AND status = 'running' RETURNING ${REPLAY_COLUMNS}`
const PROGRESS = `UPDATE replays SET progress = $4::jsonb WHERE tenant = $1 AND replay_id = $2 AND tries = $3 AND status = 'running' RETURNING replay_id`
const LOG = `INSERT INTO replay_logs (tenant, replay_id, try, part, body) VALUES ($1, $2, $3, $4, $5)`
const LOG_PART = `SELECT body FROM replay_logs WHERE tenant = $1 AND replay_id = $2 AND try = $3 AND part = $4`

/**
 * When another snapshot than the one it is about, or that was active then, became so; for good, whichever is active now. The tenant's
 * snapshots are some hundreds at most. A snapshot keeps when it was last made active: what is found is kept in \`voided_at\`.
 */
const OTHER_ACTIVE = `(SELECT min(s.activated_at) FROM policy_snapshots s WHERE s.tenant = r.tenant AND s.activated_at > r.asked_at
    AND s.digest <> r.digest AND s.digest IS DISTINCT FROM r.active)`
const VOID = `UPDATE replays r SET voided_at = ${OTHER_ACTIVE} WHERE r.status = 'done' AND r.voided_at IS NULL AND r.valid_until > $1
  AND ${OTHER_ACTIVE} IS NOT NULL`
const OF_CANDIDATE = `r.tenant = $1 AND r.candidate = $2 AND r.status = 'done' AND r.finished_at <= $4
    AND (r.rollout_id = $3 OR (r.rollout_id IS NULL AND r.digest = r.candidate))`
const FOUND = `SELECT r.replay_id, r.scenarios, r.critical_bypasses, r.unsafe_duplicates, r.finished_at, r.valid_until,
    least(r.voided_at, ${OTHER_ACTIVE}) AS voided_at FROM replays r WHERE ${OF_CANDIDATE}`
/** The newest that decided anything, and of the last days those that found something; these are as few as people let be. */
const STANDING = `(${FOUND} AND r.runs > 0 ORDER BY r.finished_at DESC, r.replay_id DESC LIMIT 1)
  UNION ALL
  (${FOUND} AND r.valid_until > $4 AND (r.critical_bypasses > 0 OR r.unsafe_duplicates > 0))`

/** Sorts after every id. */
const LAST = '~'

export async function getReplay(db: Db, tenant: string, replay_id: string): Promise<Replay | null> {
  return (await db.query<Replay>(GET, [tenant, replay_id]))[0] ?? null
}

/** Newest first. */
export async function pageOfReplays(
  db: Db,
  tenant: string,
  { cursor, limit = 50 }: { cursor?: string; limit?: number },
): Promise<Page<Replay>> {
  const rows = await db.query<Replay>(LIST, [tenant, decodeCursor(cursor)?.[1] ?? LAST, limit + 1])
  return page(rows, limit, ({ asked_at, replay_id }) => [asked_at, replay_id])
}

export async function runningReplays(db: Db, tenant: string): Promise<number> {
  return (await db.query<{ n: number }>(RUNNING_OF, [tenant]))[0]?.n ?? 0
}

/** Whose turn it is after a tenant, of all tenants; null where none is under way but those that are left out. */
export async function nextReplay(
  db: Db,
  after: string,
  except: readonly string[],
): Promise<Pick<Replay, 'tenant' | 'replay_id'> | null> {
  return (await db.query<Replay>(NEXT, [after, textArray(except)]))[0] ?? null
}

/** Another try at it; null where it is over. */
export async function beginReplay(db: Db, tenant: string, replay_id: string): Promise<Replay | null> {
  return (await db.query<Replay>(BEGIN, [tenant, replay_id]))[0] ?? null
}

/** Returns whether it is still this try's to go on with. */
export async function replayAt(db: Db, replay: Replay, progress: ReplayProgress): Promise<boolean> {
  const { tenant, replay_id, tries } = replay
  return (await db.query(PROGRESS, [tenant, replay_id, tries, JSON.stringify(progress)])).length === 1
}

/** Characters of a part of a log. */
const PART = 131_072

/** A line for each denial, written in parts as it grows. */
export class ReplayLogWriter {
  readonly #db: Db
  readonly #replay: Replay
  readonly #hash = createHash('sha256')
  #lines: string[] = []
  #size = 0
  #parts = 0
  #entries = 0

  constructor(db: Db, replay: Replay) {
    this.#db = db
    this.#replay = replay
  }

  add(entry: object): void {
    const line = `${JSON.stringify(entry)}\n`
    this.#lines.push(line)
    this.#size += line.length
    this.#entries++
  }

  async flush(least = PART): Promise<void> {
    if (this.#size < least) return
    const body = this.#lines.join('')
    this.#lines = []
    this.#size = 0
    this.#hash.update(body)
    const { tenant, replay_id, tries } = this.#replay
    await this.#db.query(LOG, [tenant, replay_id, tries, this.#parts++, body])
  }

  async end(): Promise<ReplayLog> {
    await this.flush(1)
    return { hash: this.#hash.digest('hex'), parts: this.#parts, entries: this.#entries }
  }
}

/** Its log as it was written, some 100 kB at a time. */
export async function* replayLog(db: Db, replay: Replay): AsyncGenerator<string, void> {
  const { tenant, replay_id, tries, log_parts } = replay
  for (let part = 0; part < log_parts; part++) {
    const body = (await db.query<{ body: string }>(LOG_PART, [tenant, replay_id, tries, part]))[0]?.body
    // Removed while it was read: a log that ends early must not look whole.
    if (body === undefined) throw new Error(`part ${part} of the log of ${replay_id} is gone`)
    yield body
  }
}

/** Keeps since when replays count no more because another snapshot became active. */
export async function voidReplays(db: Db, now: number): Promise<void> {
  await db.query(VOID, [now])
}

/**
 * What replays of a candidate that were done by that instant come to; null where none decided anything. One that was asked for a rollout
 * counts for that one; one of a snapshot alone, for any that has the snapshot as its candidate.
 */
export async function replayStanding(
  db: Db,
  tenant: string,
  { rollout_id = null, candidate }: { rollout_id?: string | null; candidate: string },
  at: number,
): Promise<ReplayStanding | null> {
  return standingOfReplays(await db.query<ReplayFound>(STANDING, [tenant, candidate, rollout_id, at]), at)
}
