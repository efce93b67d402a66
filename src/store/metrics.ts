import type { Approval } from '../core/approval.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { AnswerRow, AttemptRow, EndRow } from '../core/metrics.js'
import type { Db } from '../platform/db/seam.js'
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
const ASKED_MS = `CASE WHEN j.approval_id IS NULL THEN 0 ELSE (
    SELECT coalesce(sum(greatest(0, q.answered_at - q.requested_at)), 0)::bigint FROM (
      SELECT a.requested_at, (SELECT max((x ->> 'at')::bigint) FROM jsonb_array_elements(a.answers) x) AS answered_at
      FROM approvals a WHERE a.tenant = j.tenant AND a.job_id = j.job_id) q
    WHERE q.answered_at IS NOT NULL) END`
const ENDED = `SELECT j.status, j.status_reason, j.verdict, j.released_by IS NOT NULL AS released, j.budget_from, j.created_at,
    j.not_before, j.finished_at, ${ASKED_MS} AS asked_ms
  FROM jobs j WHERE j.tenant = $1 AND j.finished_at >= $2 AND j.finished_at < $3 ORDER BY j.finished_at DESC LIMIT $4`
/** Of the newest that are parked in doubt: each of them waits for a person, so there are never many. */
const IN_DOUBT = `SELECT count(*)::int AS n FROM (
    SELECT updated_at FROM jobs WHERE tenant = $1 AND status = 'ambiguous' AND job_id > '' ORDER BY job_id DESC LIMIT 5000) d
  WHERE d.updated_at >= $2 AND d.updated_at < $3`
/**
 * A job's row says when it was last due, until a retry, a replay or a new question moves that: only for the newest attempt of one
 * that is not waiting again.
 */
const ATTEMPTS = `SELECT l.outcome, CASE WHEN j.attempt = l.attempt AND j.status NOT IN ('queued', 'retrying', 'pending_approval')
    THEN l.granted_at - j.due_at END AS waited_ms
  FROM leases l LEFT JOIN jobs j ON j.tenant = l.tenant AND j.job_id = l.job_id
  WHERE l.tenant = $1 AND l.lease_id >= $2 AND l.lease_id < $3 ORDER BY l.lease_id DESC LIMIT $4`
const DECISIONS = `SELECT door, decision FROM decisions
  WHERE tenant = $1 AND decision_id >= $2 AND decision_id < $3 ORDER BY decision_id DESC LIMIT $4`
const ANSWERS = `SELECT status, requested_at, expires_at,
    (SELECT max((x ->> 'at')::bigint) FROM jsonb_array_elements(answers) x) AS answered_at
  FROM approvals WHERE tenant = $1 AND approval_id >= $2 AND approval_id < $3 ORDER BY approval_id DESC LIMIT $4`
const PENDING = `SELECT requested_at FROM approvals
  WHERE tenant = $1 AND status = 'pending' AND approval_id > '' ORDER BY approval_id LIMIT $2`
/** The claim as it was submitted, and what the lease's decision said: not the flag, and not what was held true then. */
const GRANTED = `SELECT l.lease_id, l.job_id, l.granted_at, d.decision, d.rules, d.constraints, d.job_hash,
    coalesce(d.snapshot, j.snapshot) AS snapshot, j.job_id IS NOT NULL AS has_job, j.agent, j.agent_version, j.team, j.topic, j.labels,
    j.risk_tags, j.environment, j.action_type, j.capability, j.action, j.workflow, j.asked_timeout_ms, j.asked_attempts,
    j.not_before, j.input_ptr, j.context_ptr
  FROM leases l
  LEFT JOIN jobs j ON j.tenant = l.tenant AND j.job_id = l.job_id
  LEFT JOIN decisions d ON d.tenant = l.tenant AND d.decision_id = l.decision_id
  WHERE l.tenant = $1 AND l.lease_id > $2 AND l.lease_id < $3 ORDER BY l.lease_id LIMIT $4`
const APPROVALS_OF = 'SELECT * FROM approvals WHERE tenant = $1 AND job_id = ANY($2::text[])'

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

/** Of every door. */
export function decisionWords(
  db: Db,
  tenant: string,
  window: Window,
  limit: number,
): Promise<{ door: string; decision: string }[]> {
  return db.query(DECISIONS, [tenant, ...ids('dec', window), limit])
}

/** By when they were asked, the newest first. */
export function questions(db: Db, tenant: string, window: Window, limit: number): Promise<AnswerRow[]> {
  return db.query<AnswerRow>(ANSWERS, [tenant, ...ids('apr', window), limit])
}

/** The oldest first. */
export function openQuestions(db: Db, tenant: string, limit: number): Promise<{ requested_at: number }[]> {
  return db.query(PENDING, [tenant, limit])
}

/** Of `Job` what its agent claimed; null in all of it, and `has_job` false, where the row is gone. */
export interface GrantedRow
  extends Pick<
    Job,
    | 'job_id'
    | 'agent'
    | 'agent_version'
    | 'team'
    | 'topic'
    | 'labels'
    | 'risk_tags'
    | 'environment'
    | 'action_type'
    | 'capability'
    | 'action'
    | 'workflow'
    | 'asked_timeout_ms'
    | 'asked_attempts'
    | 'not_before'
    | 'input_ptr'
    | 'context_ptr'
  > {
  lease_id: string
  granted_at: number
  has_job: boolean
  snapshot: string | null
  /** Null, and all that follows, where the decision is gone. */
  decision: string | null
  rules: string[]
  constraints: Json
  job_hash: string
}

/** A page of the leases granted in the window, in order, after that id. */
export function grantedLeases(
  db: Db,
  tenant: string,
  window: Window,
  after: string | null,
  limit: number,
): Promise<GrantedRow[]> {
  const [first, end] = ids('lease', window)
  return db.query<GrantedRow>(GRANTED, [tenant, after ?? first, end, limit])
}

export function approvalsOfJobs(db: Db, tenant: string, job_ids: readonly string[]): Promise<Approval[]> {
  return db.query<Approval>(APPROVALS_OF, [tenant, textArray(job_ids)])
}
