import type { Stop } from '../core/stop.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { textArray } from './text-array.js'

/** A stop as it is stored: with what was measured beside its steps. */
export interface StopRow extends Stop {
  refused_ms: number | null
  enforced_at: number | null
}

const C = `tenant, stop_id, scope, target, reason, raised_by, raised_at, epoch, stage, trial_until, trial_limit, resume, steps, ended_at,
  refused_ms, enforced_at`
const GET = `SELECT ${C} FROM stops WHERE tenant = $1 AND stop_id = $2`
/** Of everything too, whoever raised it. */
const ACTIVE = `SELECT ${C} FROM stops WHERE ended_at IS NULL AND (tenant = $1 OR scope = 'everything') ORDER BY raised_at, stop_id`
const SINCE = `SELECT ${C} FROM stops WHERE raised_at > $2 AND (tenant = $1 OR scope = 'everything') ORDER BY raised_at, stop_id`
const LIST = `SELECT ${C} FROM stops WHERE (tenant = $1 OR scope = 'everything') AND stop_id < $2
  AND (NOT $3::boolean OR ended_at IS NULL) ORDER BY stop_id DESC LIMIT $4`
const UNENFORCED = `SELECT ${C} FROM stops WHERE ended_at IS NULL AND enforced_at IS NULL ORDER BY raised_at`
const UNCONFIRMED = `SELECT ${C} FROM stops s WHERE s.ended_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM stop_confirmations c WHERE c.stop_id = s.stop_id AND c.node = $1) ORDER BY s.raised_at`
const MEASURED = 'UPDATE stops SET refused_ms = $3 WHERE tenant = $1 AND stop_id = $2'
const ENFORCED = 'UPDATE stops SET enforced_at = $3 WHERE tenant = $1 AND stop_id = $2 AND enforced_at IS NULL'
const CONFIRM = `INSERT INTO stop_confirmations (stop_id, node, name, at) SELECT stop_id, $2, $3, $4::bigint
  FROM unnest($1::text[]) AS s(stop_id) ON CONFLICT (stop_id, node) DO NOTHING`
const SEEN = `INSERT INTO nodes (node, name, started_at, seen_at) VALUES ($1, $2, $3, $3)
  ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at`
const GONE = 'DELETE FROM nodes WHERE node = $1'
const FORGET = 'DELETE FROM nodes WHERE seen_at < $1'
/** Who was there when it was raised and may be still; and who confirmed, also where it has left since. */
const NODES = `SELECT n.name AS node, n.seen_at, c.at FROM nodes n
    LEFT JOIN stop_confirmations c ON c.node = n.node AND c.stop_id = $1 WHERE n.started_at <= $2
  UNION ALL SELECT c.name, NULL, c.at FROM stop_confirmations c
    WHERE c.stop_id = $1 AND c.node NOT IN (SELECT node FROM nodes) ORDER BY 1`
/** Of live leases there are as many as workers can run; ended ones are not looked at. */
const LIVE = `SELECT l.tenant, l.lease_id, l.job_id, j.agent, j.requested_by, j.topic, j.claim ->> 'team' AS team,
    coalesce((j.state ->> 'cancel_requested')::boolean, false) AS cancelled
  FROM (SELECT tenant, lease_id, job_id FROM leases WHERE ended_at IS NULL AND ($1::text IS NULL OR tenant = $1) OFFSET 0) l
  CROSS JOIN LATERAL (SELECT agent, requested_by, topic, claim, state FROM jobs WHERE tenant = l.tenant AND job_id = l.job_id OFFSET 0) j`
const FOUND = `INSERT INTO stop_leases (stop_id, lease_id, tenant, job_id) SELECT $1, x.lease_id, x.tenant, x.job_id
  FROM json_to_recordset($2::json) AS x(lease_id text, tenant text, job_id text) ON CONFLICT (stop_id, lease_id) DO NOTHING`
const LEASES = `SELECT count(*)::int AS total, count(*) FILTER (WHERE l.lease_id IS NOT NULL AND l.ended_at IS NULL)::int AS open,
    max(l.ended_at) AS last_ended
  FROM stop_leases s LEFT JOIN leases l ON l.tenant = s.tenant AND l.lease_id = s.lease_id WHERE s.stop_id = $1`
/**
 * Jobs with an effect that was begun, each once: an attempt is running, or it ended and nobody knows whether the effect happened. As many
 * as workers can run and people left unsettled, so all of them are asked whether they are in the scope; of their effects, a thousand
 * each, only those are read that are shown.
 */
const IN_DOUBT = `SELECT w.tenant, w.job_id, j.agent, j.requested_by, j.topic, j.claim ->> 'team' AS team, j.status, e.open
  FROM (SELECT tenant, job_id FROM leases WHERE ended_at IS NULL AND ($1::text IS NULL OR tenant = $1)
        UNION SELECT tenant, job_id FROM jobs WHERE status = 'ambiguous' AND ($1::text IS NULL OR tenant = $1)) w
  CROSS JOIN LATERAL (SELECT agent, requested_by, topic, claim, status FROM jobs WHERE tenant = w.tenant AND job_id = w.job_id OFFSET 0) j
  CROSS JOIN LATERAL (SELECT count(*)::int AS open FROM effects WHERE tenant = w.tenant AND job_id = w.job_id AND status = 'begun' OFFSET 0) e
  WHERE e.open > 0`
const OPEN_EFFECTS = `SELECT w.tenant, w.job_id, e.effect_key, e.begun_at FROM json_to_recordset($1::json) AS w(tenant text, job_id text)
  CROSS JOIN LATERAL (SELECT effect_key, begun_at FROM effects WHERE tenant = w.tenant AND job_id = w.job_id AND status = 'begun' OFFSET 0) e
  ORDER BY e.begun_at, w.job_id, e.effect_key LIMIT $2`
const OWNERS = 'SELECT tenant, principal, team FROM principals WHERE team IS NOT NULL AND principal = ANY($1::text[])'

/** Sorts after every id. */
const LAST = '~'

export async function getStop(db: Db, tenant: string, stop_id: string): Promise<StopRow | null> {
  return (await db.query<StopRow>(GET, [tenant, stop_id]))[0] ?? null
}

/** Those that bind this tenant. */
export function activeStops(db: Db, tenant: string): Promise<StopRow[]> {
  return db.query<StopRow>(ACTIVE, [tenant])
}

/** Those raised since then that bound this tenant, over or not. */
export function stopsSince(db: Db, tenant: string, since: number): Promise<StopRow[]> {
  return db.query<StopRow>(SINCE, [tenant, since])
}

export async function pageOfStops(
  db: Db,
  tenant: string,
  { active = false, cursor, limit = 50 }: { active?: boolean; cursor?: string; limit?: number },
): Promise<Page<StopRow>> {
  const rows = await db.query<StopRow>(LIST, [tenant, decodeCursor(cursor)?.[1] ?? LAST, active, limit + 1])
  return page(rows, limit, ({ raised_at, stop_id }) => [raised_at, stop_id])
}

/** Whose running jobs were not all asked to stop yet: the node that raised it may have died meanwhile. */
export function unenforcedStops(db: Db): Promise<StopRow[]> {
  return db.query<StopRow>(UNENFORCED)
}

export function unconfirmedStops(db: Db, node: string): Promise<StopRow[]> {
  return db.query<StopRow>(UNCONFIRMED, [node])
}

export async function confirmStops(
  db: Db,
  stops: readonly string[],
  { node, name }: { node: string; name: string },
  at: number,
): Promise<void> {
  await db.query(CONFIRM, [textArray(stops), node, name, at])
}

export async function stopMeasured(db: Db, { tenant, stop_id }: Stop, refused_ms: number): Promise<void> {
  await db.query(MEASURED, [tenant, stop_id, refused_ms])
}

export async function stopEnforced(db: Db, { tenant, stop_id }: Stop, at: number): Promise<void> {
  await db.query(ENFORCED, [tenant, stop_id, at])
}

export async function nodeSeen(db: Db, { node, name }: { node: string; name: string }, at: number): Promise<void> {
  await db.query(SEEN, [node, name, at])
}

/** It stopped in order: nothing more comes from it. */
export async function nodeGone(db: Db, node: string): Promise<void> {
  await db.query(GONE, [node])
}

/** Nodes that nobody has heard from since; all of them with `Infinity`, where no other process can be on the store. */
export async function forgetNodes(db: Db, before: number): Promise<void> {
  await db.query(FORGET, [Math.min(before, Number.MAX_SAFE_INTEGER)])
}

export interface NodeHeard {
  node: string
  /** When it last said that it lives; null where it has left. */
  seen_at: number | null
  /** When it confirmed. */
  at: number | null
}

export function nodesOf(db: Db, { stop_id, raised_at }: Stop): Promise<NodeHeard[]> {
  return db.query<NodeHeard>(NODES, [stop_id, raised_at])
}

/** Work in the hands of workers. */
export interface Live {
  tenant: string
  lease_id: string
  job_id: string
  agent: string
  requested_by: string
  topic: string
  team: string | null
  cancelled: boolean
}

const tenantOf = ({ scope, tenant }: Stop) => (scope === 'everything' ? null : tenant)

/** All that runs in the tenants that the stop is about; which of it is in its scope, `covers` says. */
export function liveLeases(db: Db, stop: Stop): Promise<Live[]> {
  return db.query<Live>(LIVE, [tenantOf(stop)])
}

export async function leasesFound(db: Db, { stop_id }: Stop, found: readonly Live[]): Promise<void> {
  const rows = found.map(({ tenant, lease_id, job_id }) => ({ tenant, lease_id, job_id }))
  if (rows.length > 0) await db.query(FOUND, [stop_id, JSON.stringify(rows)])
}

export async function leasesOfStop(
  db: Db,
  { stop_id }: Stop,
): Promise<{ total: number; open: number; last_ended: number | null }> {
  const rows = await db.query<{ total: number; open: number; last_ended: number | null }>(LEASES, [stop_id])
  return rows[0] ?? { total: 0, open: 0, last_ended: null }
}

/** A job of which it is not known whether what it began has happened. */
export interface InDoubt {
  tenant: string
  job_id: string
  agent: string
  requested_by: string
  topic: string
  team: string | null
  status: string
  /** How many effects it began. */
  open: number
}

export interface OpenEffect extends Pick<InDoubt, 'tenant' | 'job_id' | 'agent' | 'topic' | 'status'> {
  effect_key: string
  begun_at: number
}

/** In the tenants that the stop is about; which of them are in its scope, `covers` says. */
export function jobsInDoubt(db: Db, stop: Stop): Promise<InDoubt[]> {
  return db.query<InDoubt>(IN_DOUBT, [tenantOf(stop)])
}

/** What these jobs began and is not known to have happened, oldest first, at most `limit`. */
export async function openEffects(db: Db, jobs: readonly InDoubt[], limit: number): Promise<OpenEffect[]> {
  if (jobs.length === 0) return []
  const byId = new Map(jobs.map((job) => [`${job.tenant}/${job.job_id}`, job]))
  const wanted = jobs.map(({ tenant, job_id }) => ({ tenant, job_id }))
  const rows = await db.query<Pick<OpenEffect, 'tenant' | 'job_id' | 'effect_key' | 'begun_at'>>(OPEN_EFFECTS, [
    JSON.stringify(wanted),
    limit,
  ])
  return rows.map((row) => {
    const { agent, topic, status } = byId.get(`${row.tenant}/${row.job_id}`) as InDoubt
    return { ...row, agent, topic, status }
  })
}

/** Who a piece of work is of. */
export const namesOf = ({ agent, requested_by }: Pick<InDoubt, 'agent' | 'requested_by'>): string[] =>
  agent === requested_by ? [agent] : [agent, requested_by]

/** Teams that the directory names for the agents of this work and for who asked for it. */
export async function ownersOf(
  db: Db,
  work: readonly Pick<InDoubt, 'tenant' | 'agent' | 'requested_by'>[],
): Promise<(tenant: string, name: string) => string | null> {
  const names = [...new Set(work.flatMap(namesOf))]
  const rows =
    names.length === 0
      ? []
      : await db.query<{ tenant: string; principal: string; team: string }>(OWNERS, [textArray(names)])
  const teams = new Map(rows.map(({ tenant, principal, team }) => [`${tenant}/${principal}`, team]))
  return (tenant, name) => teams.get(`${tenant}/${name}`) ?? null
}
