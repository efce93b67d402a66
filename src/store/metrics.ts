import type { Approval } from '../core/approval.js'
import type { Job } from '../core/job.js'
import type { AnswerRow, AttemptRow, EndRow } from '../core/metrics.js'
import type { Db } from '../platform/db/seam.js'
import { type JobRow, jobOf } from './jobs.js'
import type { LeaseRow } from './leases.js'
import { textArray } from './text-array.js'

/**
 * Rows of a window, for the numbers of core/metrics.ts. Every statement has a limit and an index condition on its window, so that
 * none holds an engine for more than some ten milliseconds; on the embedded one the ledger waits behind it.
 */
export interface Window {
  /** Epoch ms, from (included) and to (not included). */
  from: number
  to: number
}

/** What people took: of every question about the job, from asking to the last answer. */
const ASKED_MS = `CASE WHEN j.state ->> 'approval_id' IS NULL THEN 0 ELSE (
    SELECT coalesce(sum(greatest(0, q.answered_at - q.requested_at)), 0)::bigint FROM (
      SELECT a.requested_at, (SELECT max((x ->> 'at')::bigint) FROM jsonb_array_elements(a.answers) x) AS answered_at
      FROM approvals a WHERE a.tenant = j.tenant AND a.job_id = j.job_id) q
    WHERE q.answered_at IS NOT NULL) END`
const ENDED = `SELECT j.status, j.state ->> 'status_reason' AS status_reason, j.verdict, j.state ->> 'released_by' IS NOT NULL AS released,
    coalesce((j.state ->> 'budget_from')::int, 0) AS budget_from, coalesce((j.state ->> 'attempt')::int, 0) AS attempt, j.created_at, j.not_before, j.finished_at, ${ASKED_MS} AS asked_ms
  FROM jobs j WHERE j.tenant = $1 AND j.finished_at >= $2 AND j.finished_at < $3 ORDER BY j.finished_at DESC LIMIT $4`
/** Of the newest that are parked in doubt: each of them waits for a person, so there are never many. */
const IN_DOUBT = `SELECT count(*)::int AS n FROM (
    SELECT updated_at FROM jobs WHERE tenant = $1 AND status = 'ambiguous' AND job_id > '' ORDER BY job_id DESC LIMIT 5000) d
  WHERE d.updated_at >= $2 AND d.updated_at < $3`
/**
 * LATERAL with a LIMIT, here and below: of a plain join the planner made one walk of the tenant's jobs for each lease, because the
 * tenant is the same on both sides.
 *
 * A job's row says when it was last due, until a retry, a replay or a new question moves that: only for the newest attempt of one
 * that is not waiting again.
 */
const ATTEMPTS = `SELECT l.ended ->> 'outcome' AS outcome,
    CASE WHEN j.attempt = l.attempt AND j.status NOT IN ('queued', 'retrying', 'pending_approval') THEN l.granted_at - j.due_at END AS waited_ms
  FROM leases l LEFT JOIN LATERAL (
    SELECT (state ->> 'attempt')::int AS attempt, status, due_at FROM jobs WHERE tenant = l.tenant AND job_id = l.job_id LIMIT 1) j ON true
  WHERE l.tenant = $1 AND l.lease_id >= $2 AND l.lease_id < $3 ORDER BY l.lease_id DESC LIMIT $4`
/** What the first door said stands with the job it made, or, where it made none, by itself: the newest of both. */
const SUBMITS = `SELECT s.decision FROM (
    (SELECT created_at AS at, claim -> 'first' ->> 'decision' AS decision FROM jobs
      WHERE tenant = $1 AND job_id >= $2 AND job_id < $3 ORDER BY job_id DESC LIMIT $6)
    UNION ALL
    (SELECT at, CASE door WHEN 'submit' THEN decision END FROM decisions
      WHERE tenant = $1 AND decision_id >= $4 AND decision_id < $5 ORDER BY decision_id DESC LIMIT $6)) s
  ORDER BY s.at DESC LIMIT $6`
const ANSWERS = `SELECT status, requested_at, expires_at,
    (SELECT max((x ->> 'at')::bigint) FROM jsonb_array_elements(answers) x) AS answered_at
  FROM approvals WHERE tenant = $1 AND approval_id >= $2 AND approval_id < $3 ORDER BY approval_id DESC LIMIT $4`
const PENDING = `SELECT requested_at FROM approvals
  WHERE tenant = $1 AND status = 'pending' AND approval_id > '' ORDER BY approval_id LIMIT $2`
/** A job as its lease was granted it. What the lease's decision says is read; the flag that was stored is not. */
const WITH_JOB = `LEFT JOIN LATERAL (
    SELECT agent, topic, not_before, claim, state -> 'edits' AS edits FROM jobs WHERE tenant = l.tenant AND job_id = l.job_id LIMIT 1) j ON true`
/** A page of leases, those alike together: most of a million are of a few shapes, and only some shapes are a risk. */
const SHAPES = `SELECT json_agg(p.lease_id) AS lease_ids, p.snapshot, p.agent, p.topic, p.claim
  FROM (SELECT l.lease_id, l.made -> 'decided' ->> 'snapshot' AS snapshot, j.agent, j.topic,
      j.claim::jsonb - '{first,input_ptr,context_ptr,job_hash,asked_timeout_ms,asked_attempts}'::text[] AS claim
    FROM (SELECT * FROM leases WHERE tenant = $1 AND lease_id > $2 AND lease_id < $3 ORDER BY lease_id LIMIT $4) l ${WITH_JOB}) p
  GROUP BY 2, 3, 4, 5`
const GRANTED = `SELECT l.lease_id, l.job_id, l.granted_at, l.made -> 'decided' AS decided, j.agent, j.topic, j.not_before, j.claim, j.edits
  FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT * FROM leases WHERE tenant = $1 AND lease_id = wanted.id OFFSET 0) l ${WITH_JOB}`
const APPROVALS_OF = `SELECT a.* FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT * FROM approvals WHERE tenant = $1 AND job_id = wanted.id OFFSET 0) a`

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** Before every id of this kind made at that instant or later: ids begin with 48 bits of ms. */
export function idAt(prefix: string, at: number): string {
  let text = ''
  for (let i = 0, time = Math.max(0, at); i < 10; i++, time = Math.floor(time / 32)) text = ALPHABET[time % 32] + text
  return `${prefix}_${text}`
}

const ids = (prefix: string, { from, to }: Window) => [idAt(prefix, from), idAt(prefix, to)] as const

/** The newest first. */
export function endedJobs(db: Db, tenant: string, { from, to }: Window, limit: number): Promise<EndRow[]> {
  return db.query<EndRow>(ENDED, [tenant, from, to, limit])
}

export async function jobsInDoubt(db: Db, tenant: string, { from, to }: Window): Promise<number> {
  return (await db.query<{ n: number }>(IN_DOUBT, [tenant, from, to]))[0]?.n ?? 0
}

export function attempts(db: Db, tenant: string, window: Window, limit: number): Promise<AttemptRow[]> {
  return db.query<AttemptRow>(ATTEMPTS, [tenant, ...ids('lease', window), limit])
}

/** What the first door said; null in between is what another door did. */
export async function submitDecisions(
  db: Db,
  tenant: string,
  window: Window,
  limit: number,
): Promise<(string | null)[]> {
  const params = [tenant, ...ids('job', window), ...ids('dec', window), limit]
  return (await db.query<{ decision: string | null }>(SUBMITS, params)).map(({ decision }) => decision)
}

/** By when they were asked, the newest first. */
export function questions(db: Db, tenant: string, window: Window, limit: number): Promise<AnswerRow[]> {
  return db.query<AnswerRow>(ANSWERS, [tenant, ...ids('apr', window), limit])
}

/** The oldest first. */
export function openQuestions(db: Db, tenant: string, limit: number): Promise<{ requested_at: number }[]> {
  return db.query(PENDING, [tenant, limit])
}

/** What a risk is judged by: the claim as it was submitted and the snapshot of the lease's decision. */
export interface LeaseShape {
  lease_ids: string[]
  snapshot: string | null
  /** Without its pointers and times, which differ from job to job; null where the lease has no job. */
  job: Job | null
}

export interface GrantedRow {
  lease_id: string
  job_id: string
  granted_at: number
  job: Job | null
  /** Null where the lease holds none. */
  decided: LeaseRow['made']['decided'] | null
}

type Claimed = Pick<JobRow, 'agent' | 'topic' | 'claim'> & { not_before?: number | null; edits?: Job['edits'] | null }

/** The job as it was asked, with what reviewers made of its input before it was first leased; its lifecycle is left empty. */
function asAsked(tenant: string, { agent, topic, claim, not_before = null, edits = null }: Claimed): Job | null {
  if (claim === null) return null
  const state = edits === null ? {} : { edits }
  return jobOf({ tenant, agent, topic, claim, not_before, state, limit_keys: null } as unknown as JobRow)
}

/** The next leases granted in the window, by id, those of one shape together. */
export async function leaseShapes(
  db: Db,
  tenant: string,
  window: Window,
  after: string | null,
  limit: number,
): Promise<LeaseShape[]> {
  const [first, end] = ids('lease', window)
  const params = [tenant, after ?? first, end, limit]
  const rows = await db.query<Claimed & Omit<LeaseShape, 'job'>>(SHAPES, params)
  return rows.map((row) => ({ lease_ids: row.lease_ids, snapshot: row.snapshot, job: asAsked(tenant, row) }))
}

export async function grantedLeases(db: Db, tenant: string, lease_ids: readonly string[]): Promise<GrantedRow[]> {
  const rows = await db.query<Claimed & Omit<GrantedRow, 'job'>>(GRANTED, [tenant, textArray(lease_ids)])
  return rows.map((row) => {
    const { lease_id, job_id, granted_at, decided } = row
    return { lease_id, job_id, granted_at, decided, job: asAsked(tenant, row) }
  })
}

export function approvalsOfJobs(db: Db, tenant: string, job_ids: readonly string[]): Promise<Approval[]> {
  return db.query<Approval>(APPROVALS_OF, [tenant, textArray(job_ids)])
}
