import type { JobStatus } from '../core/job.js'
import type { Compensation, Recovery } from '../core/rollout/compensation.js'
import { TAKER } from '../core/rollout/recover.js'
import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

export const COMPENSATION_COLUMNS = `tenant, job_id, effect_key, rollout_id, run_id, agent, version, at, ordinal, topic, ptr, status, reason, next_at, tries,
    raised_by, barred, comp_job_id, decision_id, asked_at, ended_at, settled_by`
export const COMPENSATION_MUTABLE = `version, at, ordinal, topic, ptr, status, reason, next_at, tries, raised_by, barred, comp_job_id, decision_id, asked_at,
    ended_at, settled_by`
export const RECOVERY_COLUMNS =
  'tenant, rollout_id, version, rolled_back_at, rolled_back_by, detected_from, leases, refused, leases_ended_at, recovered_at'
export const RECOVERY_MUTABLE = 'version, refused, leases_ended_at, recovered_at'

const C = COMPENSATION_COLUMNS
const GET = `SELECT ${C} FROM compensations WHERE tenant = $1 AND job_id = $2 AND effect_key = $3`
/** Newest first: the order in which they are to be undone. */
const NEWEST = 'ordinal DESC'
const LIST = `SELECT ${C} FROM compensations WHERE rollout_id = $2 AND tenant = $1 ORDER BY ${NEWEST} LIMIT $3`
const COUNTS = `SELECT status, count(*)::int AS n FROM compensations WHERE rollout_id = $2 AND tenant = $1 GROUP BY status`
const WITH_STATUS = `SELECT ${C} FROM compensations WHERE rollout_id = $2 AND tenant = $1 AND status = $3 ORDER BY ${NEWEST} LIMIT $4`
/** With the job that does it. Those that are under way come first, and of those in the way only the ones whose job is another than it was. */
const UNDER_WAY = `SELECT ${C.replaceAll(/\b(\w+)\b/g, 'c.$1')}, j.status AS job_status, j.status_reason, j.error_code, j.approval_id
  FROM (SELECT ${C} FROM compensations WHERE rollout_id = $2 AND tenant = $1 AND status IN ('asked', 'blocked') AND comp_job_id IS NOT NULL) c
  LEFT JOIN LATERAL (SELECT status, state ->> 'status_reason' AS status_reason, state ->> 'error_code' AS error_code, state ->> 'approval_id' AS approval_id
    FROM jobs WHERE tenant = $1 AND job_id = c.comp_job_id OFFSET 0) j ON true
  WHERE c.status = 'asked' OR j.status IN ('queued', 'running', 'retrying', 'pending_approval', 'ambiguous', 'succeeded', 'quarantined')
  ORDER BY c.status, c.ordinal LIMIT $3`
/** Who does not answer for the undoing that this job is. */
const BARRED = 'SELECT barred FROM compensations WHERE comp_job_id = $2 AND tenant = $1'
/**
 * Of every run the one that was committed last, where none of the run is under way or stands in the way: runs of $3 still work, so something
 * may still be committed in them. How the effect ended is asked beside: a person may have said so since.
 */
const NEXT = `SELECT n.*, e.status AS effect_status FROM (
    SELECT ${C} FROM compensations c
    WHERE c.rollout_id = $2 AND c.tenant = $1 AND c.status = 'registered' AND (c.next_at IS NULL OR c.next_at <= $4) AND c.run_id <> ALL($3::text[])
      AND NOT EXISTS (SELECT 1 FROM compensations o WHERE o.run_id = c.run_id AND o.rollout_id = c.rollout_id AND o.tenant = c.tenant
        AND (o.status IN ('asked', 'blocked') OR (o.status = 'registered' AND o.ordinal > c.ordinal)))
    ORDER BY ${NEWEST} LIMIT $5) n
  LEFT JOIN LATERAL (SELECT status FROM effects WHERE tenant = $1 AND job_id = n.job_id AND effect_key = n.effect_key OFFSET 0) e ON true
  ORDER BY n.ordinal DESC`
const GET_RECOVERY = `SELECT ${RECOVERY_COLUMNS} FROM recoveries WHERE tenant = $1 AND rollout_id = $2`
/** By an index that holds no others, less those that rest. Of every tenant the newest first, or a hundred that wait for people would hold up everybody's. */
const UNRECOVERED = `SELECT tenant, rollout_id FROM (
    SELECT tenant, rollout_id, row_number() OVER (PARTITION BY tenant ORDER BY ended_at DESC, rollout_id) AS nth
    FROM rollouts WHERE status = 'rolled_back' AND recovered_at IS NULL AND rollout_id <> ALL($1::text[])) u
  ORDER BY nth, tenant LIMIT $2`
/** Of $2, as a look-up of what is in `w`. */
const OF_CANDIDATE = `CROSS JOIN LATERAL (SELECT job_id, run_id, status, lease_id, coalesce((state ->> 'cancel_requested')::boolean, false) AS cancelled FROM jobs
    WHERE tenant = $1 AND job_id = w.job_id AND claim ->> 'rollout_id' = $2 AND claim ->> 'variant' = 'candidate' OFFSET 0) j`
/** Work in a live lease: those that were not yet asked to end come first. */
const RUNNING = `SELECT j.* FROM (SELECT job_id FROM leases WHERE tenant = $1 AND ended_at IS NULL) w ${OF_CANDIDATE} ORDER BY j.cancelled, j.job_id LIMIT $3`
/** Work that waits stands in the queue under what its worker must be (`needs`), a question in an index of its own. */
const WAITING = `SELECT j.job_id FROM (
    SELECT job_id FROM jobs WHERE tenant = $1 AND status = 'pending_approval' AND job_id > $3
    UNION ALL SELECT job_id FROM jobs WHERE tenant = $1 AND status IN ('queued', 'retrying') AND needs > '' AND job_id > $3) w ${OF_CANDIDATE}
  ORDER BY j.job_id LIMIT $4`
const IN_DOUBT = `SELECT count(*)::int AS n FROM (SELECT job_id FROM jobs WHERE tenant = $1 AND status = 'ambiguous') w ${OF_CANDIDATE}`
/** Whatever has not ended, for who only asks whether that is nothing. */
const LEFT = `SELECT j.job_id FROM (
    SELECT job_id FROM leases WHERE tenant = $1 AND ended_at IS NULL
    UNION SELECT job_id FROM jobs WHERE tenant = $1 AND status IN ('pending_approval', 'ambiguous')
    UNION SELECT job_id FROM jobs WHERE tenant = $1 AND status IN ('queued', 'retrying') AND needs > '') w ${OF_CANDIDATE} LIMIT $3`
/** Runs with something to undo in which anything works: whoever does, it builds on what would be taken from under it. */
const BUSY = `SELECT DISTINCT j.run_id FROM (SELECT job_id FROM leases WHERE tenant = $1 AND ended_at IS NULL) w
  CROSS JOIN LATERAL (SELECT run_id FROM jobs WHERE tenant = $1 AND job_id = w.job_id OFFSET 0) j
  WHERE EXISTS (SELECT 1 FROM compensations c WHERE c.run_id = j.run_id AND c.rollout_id = $2 AND c.tenant = $1 AND c.status = 'registered')`
const UNCONFIRMED = `SELECT r.tenant, r.rollout_id FROM rollouts r WHERE r.status = 'rolled_back' AND r.recovered_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM rollback_confirmations c WHERE c.rollout_id = r.rollout_id AND c.node = $1 AND c.tenant = r.tenant)`
const CONFIRM = `INSERT INTO rollback_confirmations (tenant, rollout_id, node, name, at)
  SELECT x.tenant, x.rollout_id, $2, $3, $4::bigint FROM json_to_recordset($1::json) AS x(tenant text, rollout_id text)
  ON CONFLICT (rollout_id, node, tenant) DO NOTHING`
/** Who was there when it was rolled back and may be still; and who confirmed, also where it has left since. */
const NODES = `SELECT n.name AS node, n.seen_at, c.at FROM nodes n
    LEFT JOIN rollback_confirmations c ON c.rollout_id = $2 AND c.node = n.node AND c.tenant = $1 WHERE n.started_at <= $3
  UNION ALL SELECT c.name, NULL, c.at FROM rollback_confirmations c
    WHERE c.rollout_id = $2 AND c.tenant = $1 AND c.node NOT IN (SELECT node FROM nodes) ORDER BY 1`
const ENDS = `SELECT l.lease_id, l.job_id, l.ended_at, l.ended ->> 'outcome' AS outcome FROM unnest($2::text[]) AS w(id)
  CROSS JOIN LATERAL (SELECT lease_id, job_id, ended_at, ended FROM leases WHERE tenant = $1 AND lease_id = w.id OFFSET 0) l`
const TOLD = `SELECT d.channel, d.recipient, d.event, d.tree_index, d.status, d.finished_at FROM unnest($2::text[]) AS w(index)
  CROSS JOIN LATERAL (SELECT channel, recipient, event, tree_index, status, finished_at FROM deliveries
    WHERE tenant = $1 AND tree_index = w.index::bigint OFFSET 0) d ORDER BY d.tree_index, d.channel, d.recipient LIMIT 1000`

export interface UnderWay extends Compensation {
  /** Null where the job is no longer kept. */
  job_status: JobStatus | null
  status_reason: string | null
  error_code: string | null
  approval_id: string | null
}

export interface NextUp extends Compensation {
  /** Null where the job it is of is no longer kept: then it was over, and the effect with it. */
  effect_status: 'begun' | 'committed' | 'not_happened' | null
}

/** A candidate's job in a live lease. */
export interface Running {
  job_id: string
  lease_id: string | null
  /** Asked to end already. */
  cancelled: boolean
}

export async function getCompensation(
  db: Db,
  tenant: string,
  job_id: string,
  effect_key: string,
): Promise<Compensation | null> {
  return (await db.query<Compensation>(GET, [tenant, job_id, effect_key]))[0] ?? null
}

/** In the order in which they are undone. */
export function listCompensations(db: Db, tenant: string, rollout_id: string, limit: number): Promise<Compensation[]> {
  return db.query<Compensation>(LIST, [tenant, rollout_id, limit])
}

export async function countCompensations(db: Db, tenant: string, rollout_id: string): Promise<Map<string, number>> {
  const rows = await db.query<{ status: string; n: number }>(COUNTS, [tenant, rollout_id])
  return new Map(rows.map(({ status, n }) => [status, n]))
}

export function compensationsWith(
  db: Db,
  tenant: string,
  rollout_id: string,
  status: Compensation['status'],
  limit: number,
): Promise<Compensation[]> {
  return db.query<Compensation>(WITH_STATUS, [tenant, rollout_id, status, limit])
}

/** Those that became a job, but for those that are over, and those in the way whose job ended as it had. */
export function compensationsUnderWay(db: Db, tenant: string, rollout_id: string, limit: number): Promise<UnderWay[]> {
  return db.query<UnderWay>(UNDER_WAY, [tenant, rollout_id, limit])
}

/** @param busy runs in which something may still be committed */
export function nextCompensations(
  db: Db,
  tenant: string,
  rollout_id: string,
  busy: readonly string[],
  now: number,
  limit: number,
): Promise<NextUp[]> {
  return db.query<NextUp>(NEXT, [tenant, rollout_id, textArray(busy), now, limit])
}

export async function getRecovery(db: Db, tenant: string, rollout_id: string): Promise<Recovery | null> {
  return (await db.query<Recovery>(GET_RECOVERY, [tenant, rollout_id]))[0] ?? null
}

/** Rolled back, and not all of it is over, of all tenants, each tenant in its turn. */
export function unrecovered(
  db: Db,
  resting: readonly string[],
  limit: number,
): Promise<{ tenant: string; rollout_id: string }[]> {
  return db.query(UNRECOVERED, [textArray(resting), limit])
}

export function runningOf(db: Db, tenant: string, rollout_id: string, limit: number): Promise<Running[]> {
  return db.query<Running>(RUNNING, [tenant, rollout_id, limit])
}

/** A page of the candidate's jobs that wait for a worker or for people, by id. */
export async function waitingOf(
  db: Db,
  tenant: string,
  rollout_id: string,
  after: string,
  limit: number,
): Promise<string[]> {
  const rows = await db.query<{ job_id: string }>(WAITING, [tenant, rollout_id, after, limit])
  return rows.map(({ job_id }) => job_id)
}

/** The candidate's jobs of which nobody knows whether what they began has happened. */
export async function inDoubtOf(db: Db, tenant: string, rollout_id: string): Promise<number> {
  return (await db.query<{ n: number }>(IN_DOUBT, [tenant, rollout_id]))[0]?.n ?? 0
}

export function leftOf(db: Db, tenant: string, rollout_id: string, limit: number): Promise<{ job_id: string }[]> {
  return db.query(LEFT, [tenant, rollout_id, limit])
}

export async function busyRuns(db: Db, tenant: string, rollout_id: string): Promise<string[]> {
  return (await db.query<{ run_id: string }>(BUSY, [tenant, rollout_id])).map(({ run_id }) => run_id)
}

/** Who does not answer for the undoing that this job is, whatever grant they gave; nobody where it undoes nothing. */
export async function barredFromUndoing(
  db: Db,
  { tenant, job_id, requested_by }: { tenant: string; job_id: string; requested_by: string },
): Promise<string[]> {
  if (requested_by !== TAKER) return []
  return (await db.query<{ barred: string[] }>(BARRED, [tenant, job_id])).flatMap(({ barred }) => barred)
}

export function unconfirmedRollbacks(db: Db, node: string): Promise<{ tenant: string; rollout_id: string }[]> {
  return db.query(UNCONFIRMED, [node])
}

export async function confirmRollbacks(
  db: Db,
  rollbacks: readonly { tenant: string; rollout_id: string }[],
  { node, name }: { node: string; name: string },
  at: number,
): Promise<void> {
  await db.query(CONFIRM, [JSON.stringify(rollbacks), node, name, at])
}

export function nodesOfRollback(
  db: Db,
  { tenant, rollout_id, rolled_back_at }: Recovery,
): Promise<{ node: string; seen_at: number | null; at: number | null }[]> {
  return db.query(NODES, [tenant, rollout_id, rolled_back_at])
}

export function leaseEnds(
  db: Db,
  tenant: string,
  leases: readonly string[],
): Promise<{ lease_id: string; job_id: string; ended_at: number | null; outcome: string | null }[]> {
  return db.query(ENDS, [tenant, textArray(leases)])
}

export interface ToldRow {
  channel: string
  recipient: string
  event: string
  tree_index: number
  status: string
  finished_at: number | null
}

/** Messages that were made of these entries. */
export function toldOf(db: Db, tenant: string, indexes: readonly number[]): Promise<ToldRow[]> {
  return db.query<ToldRow>(TOLD, [tenant, textArray(indexes.map(String))])
}
