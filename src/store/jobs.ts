import type { Job, JobStatus } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Db, Param } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { loadValues } from './payloads.js'
import { textArray } from './text-array.js'

const GET = 'SELECT * FROM jobs WHERE tenant = $1 AND job_id = $2'
const MANY = 'SELECT * FROM jobs WHERE tenant = $1 AND job_id = ANY($2::text[])'
/**
 * Newest first: ids sort by time. Each filter is open when null; the two that can be narrow in a large table have a statement
 * of their own, because a generic plan cannot use an index for a filter that may be open.
 */
const list = (
  narrow: string,
) => `SELECT * FROM jobs WHERE tenant = $1 AND job_id < $2 AND ($3::text IS NULL OR status = $3)
  AND ($4::text IS NULL OR run_id = $4) AND ($5::text IS NULL OR topic = $5) AND ($6::text IS NULL OR agent = $6)
  AND ($7::text IS NULL OR requested_by = $7) ${narrow} ORDER BY job_id DESC LIMIT $8`
const LIST = list('')
const LIST_RUN = list('AND run_id = $4')
const LIST_PARKED = list(
  `AND status = $3 AND status IN ('pending_approval', 'ambiguous', 'dead_letter', 'quarantined')`,
)
const PARKED: JobStatus[] = ['pending_approval', 'ambiguous', 'dead_letter', 'quarantined']
/** Sorts after every id. */
const LAST = '~'
/**
 * Due work of some topics. One topic's backlog must not hide another's, and a job behind a full limit or for another kind of
 * worker must not hide those behind it, so each topic gives up to $4 rows by priority, then age.
 */
const DUE = `SELECT j.* FROM json_array_elements_text($2::json) AS topics(topic)
  CROSS JOIN LATERAL (
    SELECT * FROM jobs q WHERE q.tenant = $1 AND q.topic = topics.topic AND q.status IN ('queued', 'retrying') AND q.due_at <= $3
    AND NOT (q.job_id = ANY($5::text[])) AND NOT (q.limit_keys ?| $6::text[])
    ORDER BY q.priority DESC, q.due_at, q.job_id LIMIT $4) j
  ORDER BY j.priority DESC, j.due_at, j.job_id`
const OVERDUE = `SELECT * FROM jobs WHERE status IN ('queued', 'retrying') AND queue_deadline <= $1 ORDER BY queue_deadline LIMIT 200`
const NEXT_DUE = `SELECT min(due_at) AS at FROM jobs
  WHERE status IN ('queued', 'retrying') AND (status = 'retrying' OR not_before IS NOT NULL) AND due_at > $1`
const BY_STATUS =
  'SELECT status, count(*)::int AS n FROM jobs WHERE tenant = $1 AND run_id = $2 AND ($3::text IS NULL OR requested_by = $3) GROUP BY status'

export async function getJob(db: Db, tenant: string, job_id: string): Promise<Job | null> {
  return (await db.query<Job>(GET, [tenant, job_id]))[0] ?? null
}

export function getJobs(db: Db, tenant: string, ids: readonly string[]): Promise<Job[]> {
  return db.query<Job>(MANY, [tenant, textArray(ids)])
}

/** What a job's pointers point at: needed wherever the door is asked about a stored job. */
export async function loadPayload(
  db: Db,
  job: Pick<Job, 'tenant' | 'input_ptr' | 'context_ptr'>,
): Promise<{ input: Json; context: Json }> {
  const values = await loadValues(db, job.tenant, [job.input_ptr, job.context_ptr])
  return { input: values.get(job.input_ptr ?? '') ?? null, context: values.get(job.context_ptr ?? '') ?? null }
}

export interface JobFilter {
  status?: JobStatus
  topic?: string
  run_id?: string
  agent?: string
  requested_by?: string
  cursor?: string
  limit?: number
}

export async function listJobs(db: Db, tenant: string, filter: JobFilter): Promise<Page<Job>> {
  const limit = filter.limit ?? 50
  const parked = filter.status !== undefined && PARKED.includes(filter.status)
  const statement = filter.run_id !== undefined ? LIST_RUN : parked ? LIST_PARKED : LIST
  const params: Param[] = [
    tenant,
    decodeCursor(filter.cursor)?.[1] ?? LAST,
    filter.status ?? null,
    filter.run_id ?? null,
    filter.topic ?? null,
    filter.agent ?? null,
    filter.requested_by ?? null,
    limit + 1,
  ]
  return page(await db.query<Job>(statement, params), limit, (job) => [job.created_at, job.job_id])
}

/**
 * @param skip job ids not wanted now: asked about already, or for workers that enforce more
 * @param full limits known to be full: jobs that they bind are passed over, however many there are
 */
export function dueJobs(
  db: Db,
  tenant: string,
  topics: readonly string[],
  now: number,
  perTopic: number,
  skip: readonly string[] = [],
  full: readonly string[] = [],
): Promise<Job[]> {
  return db.query<Job>(DUE, [tenant, JSON.stringify(topics), now, perTopic, textArray(skip), textArray(full)])
}

export function overdueInQueue(db: Db, now: number): Promise<Job[]> {
  return db.query<Job>(OVERDUE, [now])
}

/** When the next waiting job becomes due, or null. */
export async function nextDue(db: Db, now: number): Promise<number | null> {
  return (await db.query<{ at: number | null }>(NEXT_DUE, [now]))[0]?.at ?? null
}

/** @param requested_by only this principal's jobs: run ids are chosen by callers, so two may share one; null = all */
export async function runCounts(
  db: Db,
  tenant: string,
  run_id: string,
  requested_by: string | null,
): Promise<Record<string, number>> {
  const rows = await db.query<{ status: string; n: number }>(BY_STATUS, [tenant, run_id, requested_by])
  return Object.fromEntries(rows.map((row) => [row.status, row.n]))
}
