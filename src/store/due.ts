import type { Decision } from '../core/door.js'
import type { Job } from '../core/job.js'
import type { Db } from '../platform/db/seam.js'
import { JOB_COLUMNS, type JobRow, jobOf, limitTexts, needsText } from './jobs.js'
import { bodyOf } from './payloads.js'
import { textArray } from './text-array.js'

/** Bytes, as the text's header says them: larger payloads are loaded only for jobs that there is room for. */
const SENT_ALONG = 8192
/** What is looked at first: by priority, then age. */
const ORDER = 'priority DESC, due_at, job_id'
const due = (needs: string, order = ORDER) => `SELECT q.ctid AS at, q.priority, q.due_at, q.job_id FROM jobs q
      WHERE q.tenant = $1 AND q.topic = topics.topic AND ${needs} AND q.status IN ('queued', 'retrying') AND q.due_at <= $3
        AND q.job_id NOT IN (SELECT unnest($5::text[])) AND (q.limit_keys IS NULL OR NOT (q.limit_keys ?| $6::text[]))
      ORDER BY ${order} LIMIT $4`
/**
 * The first $4 due jobs of some topics, with their payloads where they are small. A job behind a full limit or for another kind of
 * worker must not hide those behind it: the index holds what a worker must enforce before priority and age, so a backlog that
 * the asker may not have costs it nothing. What was decided under another view ($8, $9 are its sides; a limit in $6 names it) is
 * looked at again. Rows are found by key and read in a second step: of a hundred topics' thousand rows a thousand are wanted.
 */
const DUE = `SELECT j.* FROM (
    SELECT k.at FROM json_array_elements_text($2::json) AS topics(topic)
    CROSS JOIN LATERAL (
      SELECT a.* FROM unnest($7::text[]) AS able(needs) CROSS JOIN LATERAL (${due('q.needs = able.needs')}) a
      UNION ALL (${due(`q.needs > '' AND q.needs < $8`, `q.needs, ${ORDER}`)})
      UNION ALL (${due('q.needs > $9', `q.needs, ${ORDER}`)})) k
    ORDER BY ${ORDER} LIMIT $4) w
  CROSS JOIN LATERAL (
    SELECT ${JOB_COLUMNS.columns}, CASE WHEN octet_length(input) <= ${SENT_ALONG} THEN input END AS input,
      CASE WHEN octet_length(context) <= ${SENT_ALONG} THEN context END AS context,
      coalesce(octet_length(input), 0) + coalesce(octet_length(context), 0) AS bytes
    FROM jobs WHERE ctid = w.at OFFSET 0) j
  ORDER BY j.priority DESC, j.due_at, j.job_id`
/** Only a hint for the next look: no step of the job, so its version stays, and what is just being moved is left alone. */
const PASS_OVER = `UPDATE jobs t SET needs = x.needs, limit_keys = x.limit_keys
  FROM json_to_recordset($2::json) AS x(job_id text, version int, needs text, limit_keys jsonb)
  CROSS JOIN LATERAL (
    SELECT job_id FROM jobs WHERE tenant = $1 AND job_id = x.job_id AND version = x.version AND status IN ('queued', 'retrying')
    FOR UPDATE SKIP LOCKED) l
  WHERE t.tenant = $1 AND t.job_id = l.job_id`
const NEXT_DUE = `SELECT min(due_at) AS at FROM jobs
  WHERE status IN ('queued', 'retrying') AND (status = 'retrying' OR not_before IS NOT NULL) AND due_at > $1`

/** One look into the index for each tenant and topic: of a few topics that few ever use. */
const WITH_DUE = `SELECT g.tenant FROM gates g WHERE EXISTS (
    SELECT 1 FROM json_array_elements_text($1::json) AS topics(topic) CROSS JOIN LATERAL (
      SELECT 1 FROM jobs q WHERE q.tenant = g.tenant AND q.topic = topics.topic AND q.status IN ('queued', 'retrying') AND q.due_at <= $2
      LIMIT 1) due)
  ORDER BY g.tenant`

/** A job of the queue with its payloads as JSON texts; null is what was not sent along, or is not there. */
export interface DueJob {
  job: Job
  input: string | null
  context: string | null
  /** Of both together, also where they were not sent along. */
  bytes: number
  /** As its row has it. */
  noted: Pick<JobRow, 'needs' | 'limit_keys'>
}

/** What keeps a job from some or all who ask, for the next look. */
export interface Note extends Pick<JobRow, 'needs' | 'limit_keys'> {
  job_id: string
  version: number
}

/** What a look wants of the queue. */
interface Wanted {
  topics: readonly string[]
  now: number
  limit: number
  /** Job ids not wanted: asked about already, or being leased. */
  skip: readonly string[]
  /** Limits known to be full: jobs that they bind are passed over, however many there are. */
  full: readonly string[]
  /** Under which decisions it is believed what a job needs, and which limits bind it: those of this view. */
  view: string
  /** What the asker enforces of what some job may need. */
  enforces: readonly string[]
  /** Versions it declares, and whether ordinary work is for it too. */
  serves: readonly string[]
  ordinary: boolean
}

export async function dueJobs(db: Db, tenant: string, wanted: Wanted): Promise<DueJob[]> {
  const { topics, now, limit, skip, full, view, enforces, serves, ordinary } = wanted
  const versions = ordinary ? [null, ...serves] : serves
  const able = subsets([...enforces].sort()).flatMap((names) => versions.map((each) => needsText(view, names, each)))
  const rows = await db.query<JobRow & { input: string | null; context: string | null; bytes: number }>(DUE, [
    tenant,
    JSON.stringify(topics),
    now,
    limit,
    textArray(skip),
    textArray(limitTexts(view, full) ?? []),
    textArray(able),
    // Blank and exclamation mark are neighbours: between them lies all that begins with this view.
    `${view} `,
    `${view}!`,
  ])
  return rows.map(({ input, context, bytes, ...row }) => ({
    job: jobOf(row),
    // What a reviewer put in its place is a text of its own.
    input: row.state.edits === undefined ? bodyOf(input) : null,
    context: bodyOf(context),
    bytes,
    noted: { needs: row.needs, limit_keys: row.limit_keys },
  }))
}

/** The empty one too. Four names of a closed registry are 16. */
function subsets(names: readonly string[]): string[][] {
  const all: string[][] = [[]]
  for (const name of names) all.push(...all.map((some) => [...some, name]))
  return all
}

/** What is to be noted of a decision under this view that gave the job to nobody: nothing where its row says so already. */
export function noteOf({ job, noted }: DueJob, view: string, { enforcers, evaluation, drawn }: Decision): Note[] {
  const concurrent = evaluation.limits.filter((limit) => limit.concurrent !== undefined)
  const limits = limitTexts(
    view,
    concurrent.map(({ key }) => key),
  )
  const note = {
    job_id: job.job_id,
    version: job.version,
    needs: needsText(view, enforcers, drawn?.serves ?? null),
    limit_keys: limits,
  }
  return isSame(note, noted) ? [] : [note]
}

const isSame = (one: DueJob['noted'], other: DueJob['noted']) =>
  one.needs === other.needs && JSON.stringify(one.limit_keys) === JSON.stringify(other.limit_keys)

/** So that later looks under this view find nothing of what they cannot give away. */
export async function passOver(db: Db, tenant: string, notes: readonly Note[]): Promise<void> {
  if (notes.length > 0) await db.query(PASS_OVER, [tenant, JSON.stringify(notes)])
}

/** When the next waiting job becomes due, or null. */
export async function nextDue(db: Db, now: number): Promise<number | null> {
  return (await db.query<{ at: number | null }>(NEXT_DUE, [now]))[0]?.at ?? null
}

/** Tenants that have due jobs of these topics. */
export async function tenantsWithDue(db: Db, topics: readonly string[], now: number): Promise<string[]> {
  return (await db.query<{ tenant: string }>(WITH_DUE, [JSON.stringify(topics), now])).map(({ tenant }) => tenant)
}
