import { JOB_STATUSES, TRANSITIONS } from '../core/job.js'
import type { Db } from '../platform/db/seam.js'
import { idAt } from './metrics.js'
import { textArray } from './text-array.js'

export interface OldJob {
  job_id: string
  finished_at: number
  /** Nothing can happen to it any more: a dead letter may be replayed and a quarantined result released, however old they are. */
  over: boolean
}

/** From the table of states: what no event leaves. A state that gets a way out is kept from then on. */
const OVER = JOB_STATUSES.filter((status) => Object.keys(TRANSITIONS[status]).length === 0)
  .map((status) => `'${status}'`)
  .join(', ')

/**
 * Of a job that is over none of these can be; that is for the transitions to see to, and what is gone is gone, so it is asked. In a
 * form that no partial index answers to: on empty tables such a one was planned for, by its tenant alone.
 */
const IS_OVER = `j.status IN (${OVER})
  AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.job_id = j.job_id AND l.tenant = j.tenant AND (l.ended_at IS NULL) IS TRUE)
  AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.job_id = j.job_id AND a.tenant = j.tenant AND (a.status = 'pending') IS TRUE)
  AND NOT EXISTS (SELECT 1 FROM effects e WHERE e.tenant = j.tenant AND e.job_id = j.job_id AND e.status = 'begun')
  AND NOT EXISTS (SELECT 1 FROM compensations c
    CROSS JOIN LATERAL (SELECT status, recovered_at FROM rollouts WHERE tenant = c.tenant AND rollout_id = c.rollout_id OFFSET 0) r
    WHERE c.tenant = j.tenant AND c.job_id = j.job_id AND r.status <> 'promoted' AND (r.recovered_at IS NULL) IS TRUE)`

/** With ties, so that an instant says where to go on: by instant and id, all that is old was sorted for each look. */
const OLD = `SELECT j.job_id, j.finished_at, ${IS_OVER} AS over FROM jobs j
  WHERE j.tenant = $1 AND j.finished_at > $2 AND j.finished_at < $3 ORDER BY j.finished_at FETCH FIRST ($4) ROWS WITH TIES`

/**
 * By place: asked for by key, `= ANY` was planned as a walk over the tenant with a filter, and as a join as one such walk for each
 * job. OFFSET 0 keeps the look for a job's rows a look-up.
 */
const ofGone = (table: string) => `DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT t.ctid FROM gone
    CROSS JOIN LATERAL (SELECT ctid FROM ${table} WHERE tenant = $1 AND job_id = gone.job_id OFFSET 0) t))`

/**
 * All that stands under these jobs, in one statement: half of a job is worse than either. Whoever decides by what was read a
 * moment ago finds no row to lock and decides again.
 */
const REMOVE = `WITH named AS MATERIALIZED (
  SELECT j.job_id, ${IS_OVER} AS over FROM unnest($2::text[]) AS w(id)
  CROSS JOIN LATERAL (SELECT tenant, job_id, status FROM jobs WHERE tenant = $1 AND job_id = w.id AND finished_at < $3 OFFSET 0) j),
gone AS (DELETE FROM jobs WHERE tenant = $1 AND job_id = ANY(ARRAY(SELECT job_id FROM named WHERE over)) RETURNING job_id),
d_leases AS (${ofGone('leases')}),
d_effects AS (${ofGone('effects')}),
d_compensations AS (${ofGone('compensations')}),
d_approvals AS (${ofGone('approvals')}),
d_decisions AS (${ofGone('decisions')}),
d_payloads AS (${ofGone('payloads')})
SELECT count(*)::int AS n FROM gone`

/**
 * Jobs that finished in between, oldest first: also those that must stay, for the next look begins behind them.
 * @param limit and however many more ended in the same millisecond as the last of them
 */
export function oldJobs(db: Db, tenant: string, after: number, before: number, limit: number): Promise<OldJob[]> {
  return db.query<OldJob>(OLD, [tenant, after, before, limit])
}

/** Returns how many jobs went: fewer than named where one is not over, did not finish before then, or is gone. */
export async function removeJobs(db: Db, tenant: string, ids: readonly string[], before: number): Promise<number> {
  return (await db.query<{ n: number }>(REMOVE, [tenant, textArray([...ids].sort()), before]))[0]?.n ?? 0
}

export interface OldDecision {
  decision_id: string
  at: number
  /** It denied a submit, so no job says when it may go. Others go with their job. */
  alone: boolean
}

const IS_ALONE = "(d.job_id IS NULL) IS TRUE AND d.door = 'submit'"
/** Ids sort by time. Also those that must stay, so that a look is bounded whatever it meets. */
const OLD_DECISIONS = `SELECT d.decision_id, d.at, ${IS_ALONE} AS alone FROM decisions d
  WHERE d.tenant = $1 AND d.decision_id > $2 AND d.decision_id < $3 ORDER BY d.decision_id LIMIT $4`
const REMOVE_DENIALS = `WITH named AS MATERIALIZED (
  SELECT n.* FROM unnest($2::text[]) AS w(id) CROSS JOIN LATERAL (
    SELECT d.ctid AS place, d.input_ptr, d.context_ptr FROM decisions d
    WHERE d.tenant = $1 AND d.decision_id = w.id AND d.decision_id < $3 AND ${IS_ALONE} OFFSET 0) n),
gone AS (DELETE FROM decisions WHERE ctid = ANY(ARRAY(SELECT place FROM named)) RETURNING 1),
d_payloads AS (DELETE FROM payloads WHERE ctid = ANY(ARRAY(SELECT p.ctid FROM named n
  CROSS JOIN unnest(ARRAY[n.input_ptr, n.context_ptr]) AS w(ptr)
  CROSS JOIN LATERAL (SELECT ctid FROM payloads WHERE tenant = $1 AND ptr = w.ptr OFFSET 0) p)))
SELECT count(*)::int AS n FROM gone`

/** Decisions after an id and from before an instant, oldest first. */
export function oldDecisions(
  db: Db,
  tenant: string,
  after: string,
  before: number,
  limit: number,
): Promise<OldDecision[]> {
  return db.query<OldDecision>(OLD_DECISIONS, [tenant, after, idAt('dec', before), limit])
}

/** Removes denials at the first door with their inputs and contexts; returns how many went. */
export async function removeDenials(db: Db, tenant: string, ids: readonly string[], before: number): Promise<number> {
  const params = [tenant, textArray([...ids].sort()), idAt('dec', before)]
  return (await db.query<{ n: number }>(REMOVE_DENIALS, params))[0]?.n ?? 0
}
