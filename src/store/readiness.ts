import type { Approval } from '../core/approval.js'
import type { Job } from '../core/job.js'
import type { Kind } from '../core/principal.js'
import type { DoorJob, DoorLease, EndedJob, FinishedJob, LiveKey, SampledApproval } from '../core/readiness/observe.js'
import type { Db } from '../platform/db/seam.js'
import { JOB_COLUMNS, type JobRow, jobOf } from './jobs.js'
import { textArray } from './text-array.js'

/*
 * Samples that readiness is judged by: the newest rows of a kind, by the primary key or by an index that holds no others. Nothing here
 * grows with how long an installation has run.
 */

/** Sorts after every id. */
const LAST = '~'
const JOBS = `SELECT job_id, agent, requested_by, topic, created_at, claim -> 'first' ->> 'decision' AS decision,
    claim -> 'first' ->> 'snapshot' AS snapshot, (claim -> 'first' -> 'standing' ->> 'now')::bigint AS decided_at
  FROM jobs WHERE tenant = $1 AND job_id < $2 ORDER BY job_id DESC LIMIT $3`
/** LATERAL with a LIMIT, as in store/metrics.ts: a plain join walked the tenant's jobs for each lease. */
const LEASES = `SELECT l.lease_id, l.granted_at, l.made ->> 'topic' AS topic, l.made -> 'decided' ->> 'decision' AS decision,
    l.made -> 'decided' ->> 'snapshot' AS snapshot, l.made -> 'decided' -> 'constraints' -> 'allowed_hosts' IS NOT NULL AS hosts,
    l.ended ->> 'outcome' AS outcome, l.ended ->> 'error_class' AS error_class, j.rollout_id, r.candidate, coalesce(j.risk_tags, '[]'::json) AS risk_tags
  FROM (SELECT * FROM leases WHERE tenant = $1 AND lease_id < $2 ORDER BY lease_id DESC LIMIT $3) l
  LEFT JOIN LATERAL (SELECT claim ->> 'rollout_id' AS rollout_id, state -> 'effective' -> 'risk_tags' AS risk_tags FROM jobs
    WHERE tenant = $1 AND job_id = l.job_id LIMIT 1) j ON true
  LEFT JOIN LATERAL (SELECT candidate FROM rollouts WHERE tenant = $1 AND rollout_id = j.rollout_id AND kind = 'policy' LIMIT 1) r ON true
  ORDER BY l.lease_id DESC`
const APPROVALS = `SELECT a.*, j.state ->> 'approval_id' AS current, CASE WHEN j.status <> 'denied' THEN j.state -> 'effective' END AS effective,
    coalesce(j.state -> 'edits' -> -1 ->> 'job_hash', j.claim ->> 'job_hash') AS own_hash
  FROM (SELECT * FROM approvals
    WHERE tenant = $1 AND approval_id < $2 ORDER BY approval_id DESC LIMIT $3) a
  LEFT JOIN LATERAL (SELECT claim, state, status FROM jobs WHERE tenant = $1 AND job_id = a.job_id LIMIT 1) j ON true ORDER BY a.approval_id DESC`
const FINISHED = `SELECT ${JOB_COLUMNS.columns}, tiles FROM jobs WHERE tenant = $1 AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT $2`
const ENDS = `SELECT job_id, status, verdict, finished_at, result IS NOT NULL AS has_result, state ->> 'result_ptr' IS NOT NULL AS has_ptr,
    (state ->> 'cost')::float8 AS cost FROM jobs WHERE tenant = $1 AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT $2`
const DEAD = `SELECT count(*)::int AS open, count(*) FILTER (WHERE d.respond_by < $2)::int AS overdue FROM (
    SELECT (state ->> 'respond_by')::bigint AS respond_by FROM jobs WHERE tenant = $1 AND status = 'dead_letter' AND job_id > ''
    ORDER BY job_id DESC LIMIT $3) d`
const IN_DOUBT = `SELECT count(*)::int AS n FROM (
    SELECT 1 FROM jobs WHERE tenant = $1 AND status = 'ambiguous' AND job_id > '' ORDER BY job_id DESC LIMIT 1000) d`
/** Live leases are as many as workers can run. */
const LIVE = `SELECT count(*)::int AS live, coalesce(json_agg(lease_id) FILTER (WHERE expires_at < $2), '[]'::json) AS stale
  FROM (SELECT lease_id, expires_at FROM leases WHERE ended_at IS NULL AND tenant = $1 ORDER BY expires_at LIMIT 10000) l`
/** Oldest first: of more keys than are read, those past their time are among them. LATERAL: joined plainly, each key walked the principals. */
const KEYS = `SELECT k.key_id, k.principal, coalesce(p.role, k.role) AS role, p.kind, k.topics IS NOT NULL OR p.terms -> 'topics' <> 'null'::jsonb AS scoped,
    k.act_as, k.created_at, k.rotated_to IS NOT NULL AS rotated
  FROM keys k LEFT JOIN LATERAL (SELECT role, kind, terms, disabled_at FROM principals WHERE tenant = k.tenant AND principal = k.principal OFFSET 0) p ON true
  WHERE k.tenant = $1 AND k.session IS NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) AND p.disabled_at IS NULL
  ORDER BY k.created_at, k.key_id LIMIT 10000`
const ROTATED = `SELECT count(*)::int AS rotated, max(s.created_at) AS rotated_at FROM keys k
  CROSS JOIN LATERAL (SELECT created_at FROM keys WHERE key_id = k.rotated_to OFFSET 0) s WHERE k.tenant = $1 AND k.rotated_to IS NOT NULL`
const APPROVERS = `SELECT count(*)::int AS n FROM principals
  WHERE tenant = $1 AND role IN ('admin', 'approver') AND disabled_at IS NULL AND kind = 'person'`
const KINDS = `SELECT p.principal, p.kind FROM unnest($2::text[]) AS wanted(name)
  CROSS JOIN LATERAL (SELECT principal, kind FROM principals WHERE tenant = $1 AND principal = wanted.name OFFSET 0) p`
const ACTIVATED =
  'SELECT digest, activated_at FROM policy_snapshots WHERE tenant = $1 AND activated_at IS NOT NULL ORDER BY activated_at DESC LIMIT 500'
const SETTINGS = `SELECT current_setting('fsync', true) AS fsync, current_setting('synchronous_commit', true) AS synchronous_commit`

export function newestJobs(db: Db, tenant: string, limit: number): Promise<DoorJob[]> {
  return db.query<DoorJob>(JOBS, [tenant, LAST, limit])
}

export function newestLeases(db: Db, tenant: string, limit: number): Promise<DoorLease[]> {
  return db.query<DoorLease>(LEASES, [tenant, LAST, limit])
}

/** With what their job says of them now; a job that was denied since is seen as the denial saw it. */
export async function newestApprovals(db: Db, tenant: string, limit: number): Promise<SampledApproval[]> {
  type Row = Approval & { current: string | null; effective: Job['effective'] | null; own_hash: string | null }
  const rows = await db.query<Row>(APPROVALS, [tenant, LAST, limit])
  return rows.map(({ current, effective, own_hash, ...approval }) => ({
    approval,
    job: current === approval.approval_id && effective !== null ? { effective, job_hash: own_hash } : null,
  }))
}

/** With the tiles of the log that speak of them. */
export async function newestFinished(db: Db, tenant: string, limit: number): Promise<FinishedJob[]> {
  const rows = await db.query<JobRow & { tiles: string }>(FINISHED, [tenant, limit])
  return rows.map(({ tiles, ...row }) => ({ job: jobOf(row), tiles }))
}

export function newestEnds(db: Db, tenant: string, limit: number): Promise<EndedJob[]> {
  return db.query<EndedJob>(ENDS, [tenant, limit])
}

/** Of at most `limit` open ones. */
export async function deadLettersOpen(
  db: Db,
  tenant: string,
  at: number,
  limit: number,
): Promise<{ open: number; overdue: number }> {
  return (await db.query<{ open: number; overdue: number }>(DEAD, [tenant, at, limit]))[0] ?? { open: 0, overdue: 0 }
}

export async function openDoubts(db: Db, tenant: string): Promise<number> {
  return (await db.query<{ n: number }>(IN_DOUBT, [tenant]))[0]?.n ?? 0
}

/** How many leases live, and which of them ended before `by`. */
export async function liveAndStale(db: Db, tenant: string, by: number): Promise<{ live: number; stale: string[] }> {
  return (await db.query<{ live: number; stale: string[] }>(LIVE, [tenant, by]))[0] ?? { live: 0, stale: [] }
}

/** Keys that open something, sessions left out. */
export function liveKeys(db: Db, tenant: string, at: number): Promise<LiveKey[]> {
  return db.query<LiveKey>(KEYS, [tenant, at])
}

export async function rotations(db: Db, tenant: string): Promise<{ rotated: number; rotated_at: number | null }> {
  type Row = { rotated: number; rotated_at: number | null }
  return (await db.query<Row>(ROTATED, [tenant]))[0] ?? { rotated: 0, rotated_at: null }
}

export async function countApprovers(db: Db, tenant: string): Promise<number> {
  return (await db.query<{ n: number }>(APPROVERS, [tenant]))[0]?.n ?? 0
}

export async function kindsOf(db: Db, tenant: string, names: readonly string[]): Promise<Map<string, Kind>> {
  if (names.length === 0) return new Map()
  const rows = await db.query<{ principal: string; kind: Kind }>(KINDS, [tenant, textArray(names)])
  return new Map(rows.map(({ principal, kind }) => [principal, kind]))
}

/** Snapshots and when each was activated last. */
export async function activations(db: Db, tenant: string): Promise<Map<string, number>> {
  const rows = await db.query<{ digest: string; activated_at: number }>(ACTIVATED, [tenant])
  return new Map(rows.map(({ digest, activated_at }) => [digest, activated_at]))
}

/** What the engine does before it says that something is written. */
export async function durabilityOf(db: Db): Promise<{ fsync: string | null; synchronous_commit: string | null }> {
  if (db.engine !== 'postgres') return { fsync: null, synchronous_commit: null }
  type Row = { fsync: string | null; synchronous_commit: string | null }
  return (await db.query<Row>(SETTINGS))[0] ?? { fsync: null, synchronous_commit: null }
}
