import {
  DRILL_NAMES,
  type DrillName,
  type DrillRun,
  type DrillSchedule,
  type DrillStanding,
  standingOf,
} from '../core/drill.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { textArray } from './text-array.js'

export const DRILL_RUN_COLUMNS =
  'tenant, drill_id, drill, outcome, at, valid_until, took_ms, made, checks, figures, recorded_by'
export const DRILL_SCHEDULE_COLUMNS = 'tenant, drill, owner, every_ms, since, updated_at, updated_by'
export const DRILL_SCHEDULE_MUTABLE = 'owner, every_ms, since, updated_at, updated_by'

/** One look into the index for each of the seven. */
const NEWEST = `SELECT r.* FROM unnest($3::text[]) AS wanted(drill)
  CROSS JOIN LATERAL (SELECT ${DRILL_RUN_COLUMNS} FROM drill_runs WHERE tenant = $1 AND drill = wanted.drill AND at <= $2
    ORDER BY at DESC, drill_id DESC LIMIT 1) r`
const RUNS = `SELECT ${DRILL_RUN_COLUMNS} FROM drill_runs WHERE tenant = $1 AND drill = $2 AND (at, drill_id) < ($3::bigint, $4::text)
  ORDER BY at DESC, drill_id DESC LIMIT $5`
const PASSED = `SELECT at, made FROM drill_runs WHERE tenant = $1 AND drill = $2 AND outcome = 'passed' AND at > $3 ORDER BY at DESC LIMIT $4`
const SCHEDULES = `SELECT ${DRILL_SCHEDULE_COLUMNS} FROM drill_schedules WHERE tenant = $1`
/** Of every tenant at most seven: those whose last pass is longer ago than asked, and of which the log does not say so yet. */
const OVERDUE = `SELECT s.tenant, s.drill, s.owner, s.every_ms, s.since, s.updated_at, s.updated_by, due.at AS due_at, p.at AS passed_at
  FROM drill_schedules s
  LEFT JOIN LATERAL (SELECT at FROM drill_runs WHERE tenant = s.tenant AND drill = s.drill AND outcome = 'passed' ORDER BY at DESC LIMIT 1) p ON true
  CROSS JOIN LATERAL (SELECT greatest(coalesce(p.at, s.since), s.since) + s.every_ms AS at) due
  WHERE due.at <= $1 AND s.reminded_for IS DISTINCT FROM due.at ORDER BY s.tenant, s.drill`
const REMINDED = 'UPDATE drill_schedules SET reminded_for = $3 WHERE tenant = $1 AND drill = $2'

/** The newest run of each drill at that instant. */
export function newestDrills(db: Db, tenant: string, at: number): Promise<DrillRun[]> {
  return db.query<DrillRun>(NEWEST, [tenant, at, textArray(DRILL_NAMES)])
}

/** What the newest result of each drill said at that instant; the same whenever it is asked, for runs are never changed. */
export async function drillStandings(
  db: Db,
  tenant: string,
  at: number,
): Promise<Record<DrillName, DrillStanding | null>> {
  const runs = await newestDrills(db, tenant, at)
  const of = (name: DrillName) =>
    standingOf(
      runs.filter(({ drill }) => drill === name),
      at,
    )
  return Object.fromEntries(DRILL_NAMES.map((name) => [name, of(name)])) as Record<DrillName, DrillStanding | null>
}

/** Newest first. */
export async function pageOfDrillRuns(
  db: Db,
  tenant: string,
  drill: DrillName,
  { cursor, limit = 50 }: { cursor?: string; limit?: number },
): Promise<Page<DrillRun>> {
  const [at, id] = decodeCursor(cursor) ?? [Number.MAX_SAFE_INTEGER, '']
  const rows = await db.query<DrillRun>(RUNS, [tenant, drill, at, id, limit + 1])
  return page(rows, limit, (row) => [row.at, row.drill_id])
}

/** Runs that passed after an instant, newest first. */
export function passedRuns(
  db: Db,
  tenant: string,
  drill: DrillName,
  after: number,
  limit: number,
): Promise<Pick<DrillRun, 'at' | 'made'>[]> {
  return db.query<DrillRun>(PASSED, [tenant, drill, after, limit])
}

/** At most one for each drill. */
export function drillSchedules(db: Db, tenant: string): Promise<DrillSchedule[]> {
  return db.query<DrillSchedule>(SCHEDULES, [tenant])
}

export interface Overdue extends DrillSchedule {
  due_at: number
  passed_at: number | null
}

/** Of every tenant: drills that somebody answers for, that did not pass in time, and of which nobody was told. */
export function overdueDrills(db: Db, now: number): Promise<Overdue[]> {
  return db.query<Overdue>(OVERDUE, [now])
}

/** The log says of this due time that nobody kept it. */
export async function keepOverdue(db: Db, { tenant, drill, due_at }: Overdue): Promise<void> {
  await db.query(REMINDED, [tenant, drill, due_at])
}
