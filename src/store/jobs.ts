import type { Door, Standing } from '../core/door.js'
import type { Job, JobStatus } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Db, Param } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { loadValues } from './payloads.js'
import { textArray } from './text-array.js'

/** What is searched, sorted or checked: a column each. */
type Columns = Pick<
  Job,
  | 'tenant'
  | 'job_id'
  | 'version'
  | 'run_id'
  | 'agent'
  | 'requested_by'
  | 'topic'
  | 'priority'
  | 'not_before'
  | 'created_at'
  | 'status'
  | 'due_at'
  | 'queue_deadline'
  | 'high_risk'
  | 'lease_id'
  | 'verdict'
  | 'updated_at'
  | 'finished_at'
> & {
  /** What its worker must enforce, and the view under which that was decided: `VIEW NAMES`; empty where it is nothing. */
  needs: string
}

/** The rest of what was asked; never updated. */
const CLAIM = {
  workflow: null,
  agent_version: null,
  team: null,
  labels: {},
  risk_tags: [],
  environment: null,
  action_type: null,
  capability: null,
  action: null,
  asked_timeout_ms: null,
  asked_attempts: null,
  revises: null,
  rollout_id: null,
  variant: null,
  serves: null,
  input_ptr: null,
  context_ptr: null,
  job_hash: '',
} satisfies Partial<Job>

/** The rest of the lifecycle, as the newest step left it. */
const STATE = {
  status_reason: null,
  attempt: 0,
  budget_from: 0,
  max_attempts: 0,
  timeout_ms: 0,
  heartbeat_ms: 0,
  queue_timeout_ms: 0,
  idempotent: false,
  decision: '',
  decision_id: '',
  reason: '',
  rules: [],
  constraints: {},
  enforcers: [],
  snapshot: '',
  effective: { labels: {}, risk_tags: [], environment: null, action_type: null },
  grant_hash: null,
  approval_id: null,
  granted_by: null,
  edits: [],
  held_limits: [],
  cancel_requested: false,
  findings: null,
  result_ptr: null,
  released_by: null,
  error_class: null,
  error_code: null,
  error_message: null,
  tokens: null,
  cost: null,
  owner: null,
  respond_within_ms: null,
  respond_by: null,
  reminded_at: null,
  replayed_by: null,
  asked_at: null,
  asked_ms: 0,
  doubts: 0,
} satisfies Partial<Job>

type Rest<Of> = { [name in keyof Of & keyof Job]?: Job[name] }

/** What a door decided and what it read, where the row of a job or a lease holds it. */
export interface Verdict {
  decision: string
  reason: string
  rules: string[]
  constraints: Record<string, Json>
  high_risk: boolean
  snapshot: string
  standing: Standing & { door: Door }
}

export interface JobRow extends Columns {
  claim: Rest<typeof CLAIM> & { first: Verdict }
  state: Rest<typeof STATE>
  /** Concurrency limits that bind it, each with the view under which that was decided: `VIEW KEY`. */
  limit_keys: string[] | null
}

const NAMES = {
  columns: `tenant, job_id, version, run_id, agent, requested_by, topic, priority, not_before, created_at, claim, status, due_at,
    queue_deadline, high_risk, limit_keys, needs, lease_id, verdict, updated_at, finished_at, state`,
  /** What a step may change. */
  mutable:
    'version, status, due_at, queue_deadline, high_risk, limit_keys, needs, lease_id, verdict, updated_at, finished_at, state',
}
export const JOB_COLUMNS = NAMES

/** Field by field: spread together from its parts, each job was an object in dictionary mode, 8 % of a busy node and much of its garbage. */
export function jobOf(row: JobRow): Job {
  const { claim, state } = row
  return {
    tenant: row.tenant,
    job_id: row.job_id,
    version: row.version,
    run_id: row.run_id,
    agent: row.agent,
    requested_by: row.requested_by,
    topic: row.topic,
    priority: row.priority,
    not_before: row.not_before,
    created_at: row.created_at,
    status: row.status,
    due_at: row.due_at,
    queue_deadline: row.queue_deadline,
    high_risk: row.high_risk,
    lease_id: row.lease_id,
    verdict: row.verdict,
    updated_at: row.updated_at,
    finished_at: row.finished_at,
    limit_keys: limitKeysUnder(state.snapshot ?? '', row.limit_keys),
    workflow: claim.workflow ?? null,
    agent_version: claim.agent_version ?? null,
    team: claim.team ?? null,
    labels: claim.labels ?? {},
    risk_tags: claim.risk_tags ?? [],
    environment: claim.environment ?? null,
    action_type: claim.action_type ?? null,
    capability: claim.capability ?? null,
    action: claim.action ?? null,
    asked_timeout_ms: claim.asked_timeout_ms ?? null,
    asked_attempts: claim.asked_attempts ?? null,
    revises: claim.revises ?? null,
    rollout_id: claim.rollout_id ?? null,
    variant: claim.variant ?? null,
    serves: claim.serves ?? null,
    input_ptr: state.edits?.at(-1)?.input_ptr ?? claim.input_ptr ?? null,
    context_ptr: claim.context_ptr ?? null,
    job_hash: state.edits?.at(-1)?.job_hash ?? claim.job_hash ?? '',
    status_reason: state.status_reason ?? null,
    attempt: state.attempt ?? 0,
    budget_from: state.budget_from ?? 0,
    max_attempts: state.max_attempts ?? 0,
    timeout_ms: state.timeout_ms ?? 0,
    heartbeat_ms: state.heartbeat_ms ?? 0,
    queue_timeout_ms: state.queue_timeout_ms ?? 0,
    idempotent: state.idempotent ?? false,
    decision: state.decision ?? '',
    decision_id: state.decision_id ?? '',
    reason: state.reason ?? '',
    rules: state.rules ?? [],
    constraints: state.constraints ?? {},
    enforcers: state.enforcers ?? [],
    snapshot: state.snapshot ?? '',
    effective: state.effective ?? STATE.effective,
    grant_hash: state.grant_hash ?? null,
    approval_id: state.approval_id ?? null,
    granted_by: state.granted_by ?? null,
    edits: state.edits ?? [],
    held_limits: state.held_limits ?? [],
    cancel_requested: state.cancel_requested ?? false,
    findings: state.findings ?? null,
    result_ptr: state.result_ptr ?? null,
    released_by: state.released_by ?? null,
    error_class: state.error_class ?? null,
    error_code: state.error_code ?? null,
    error_message: state.error_message ?? null,
    tokens: state.tokens ?? null,
    cost: state.cost ?? null,
    owner: state.owner ?? null,
    respond_within_ms: state.respond_within_ms ?? null,
    respond_by: state.respond_by ?? null,
    reminded_at: state.reminded_at ?? null,
    replayed_by: state.replayed_by ?? null,
    asked_at: state.asked_at ?? null,
    asked_ms: state.asked_ms ?? 0,
    doubts: state.doubts ?? 0,
  }
}

/** The row of a new job, without its payloads. */
export function jobRow(job: Job, first: Verdict): JobRow {
  const { tenant, job_id, run_id, agent, requested_by, topic, priority, not_before, created_at } = job
  const claim = { first, ...said(job, CLAIM) }
  return { tenant, job_id, run_id, agent, requested_by, topic, priority, not_before, created_at, claim, ...moved(job) }
}

/** What a step of a stored job writes: all that can have changed. */
export function jobUpdate(job: Job): Pick<JobRow, 'tenant' | 'job_id'> & ReturnType<typeof moved> {
  return { tenant: job.tenant, job_id: job.job_id, ...moved(job) }
}

function moved(job: Job) {
  const { version, status, due_at, queue_deadline, high_risk, lease_id, verdict, updated_at, finished_at } = job
  const limit_keys = limitTexts(job.snapshot, job.limit_keys)
  const needs = needsText(job.snapshot, job.enforcers, job.serves)
  const state = said(job, STATE)
  return {
    state,
    ...{
      version,
      status,
      due_at,
      queue_deadline,
      high_risk,
      limit_keys,
      needs,
      lease_id,
      verdict,
      updated_at,
      finished_at,
    },
  }
}

/** @param view names what the decision depends on: the snapshot, and more where its rules read the clock */
export const needsText = (view: string, enforcers: readonly string[], serves: string | null): string =>
  enforcers.length === 0 && serves === null ? '' : `${view} ${enforcers.join()}${serves === null ? '' : ` ${serves}`}`

/** As `needsText`, for the concurrency limits that bind a job; null for none. */
export const limitTexts = (view: string, keys: readonly string[]): string[] | null =>
  keys.length === 0 ? null : keys.map((key) => `${view} ${key}`)

/** What a look noted under another view is no part of the job's own decision. */
function limitKeysUnder(view: string, texts: readonly string[] | null): string[] {
  const own = `${view} `
  return (texts ?? []).filter((text) => text.startsWith(own)).map((text) => text.slice(own.length))
}

/** Only what differs from its absence: most of a job is null, and every byte is written with every step. */
function said<Of extends Partial<Job>>(job: Job, absent: Of): Rest<Of> {
  const rest: Record<string, unknown> = {}
  for (const name in absent) {
    const value = job[name as unknown as keyof Job]
    if (value === null || value === false) continue
    if (typeof value === 'object' && (Array.isArray(value) ? value.length === 0 : Object.keys(value).length === 0))
      continue
    rest[name] = value
  }
  return rest as Rest<Of>
}

const J = NAMES.columns
const GET = `SELECT ${J} FROM jobs WHERE tenant = $1 AND job_id = $2`
/** Look-ups by a list are one index look-up each, whatever the planner thinks: OFFSET 0 keeps it from turning `= ANY` into a walk over a tenant (16 ms for 62 of 5,000 rows). */
const MANY = `SELECT j.* FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT ${J} FROM jobs WHERE tenant = $1 AND job_id = wanted.id OFFSET 0) j`
/**
 * Newest first: ids sort by time. Each filter is open when null; the two that can be narrow in a large table have a statement
 * of their own, because a generic plan cannot use an index for a filter that may be open.
 */
const list = (
  narrow: string,
) => `SELECT ${J} FROM jobs WHERE tenant = $1 AND job_id < $2 AND ($3::text IS NULL OR status = $3)
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
/** By id first, as MANY: a plan by agent would walk all jobs of the tenant. */
const OF_AGENTS = `SELECT j.job_id FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT job_id, agent FROM jobs WHERE tenant = $1 AND job_id = wanted.id) j WHERE j.agent = ANY($3::text[])`
const OVERDUE = `SELECT ${J} FROM jobs WHERE status IN ('queued', 'retrying') AND queue_deadline <= $1 ORDER BY queue_deadline LIMIT 200`
/** By an index of these alone. */
const UNANSWERED = `SELECT ${J} FROM jobs WHERE status = 'dead_letter' AND state->>'respond_by' IS NOT NULL AND state->>'reminded_at' IS NULL
  AND (state->>'respond_by')::bigint <= $1 ORDER BY (state->>'respond_by')::bigint LIMIT 200`
const BY_STATUS =
  'SELECT status, count(*)::int AS n FROM jobs WHERE tenant = $1 AND run_id = $2 AND ($3::text IS NULL OR requested_by = $3) GROUP BY status'

const jobs = (rows: readonly JobRow[]) => rows.map(jobOf)

/** The row as it is stored, with the decision of the first door. */
export async function getJobRow(db: Db, tenant: string, job_id: string): Promise<JobRow | null> {
  return (await db.query<JobRow>(GET, [tenant, job_id]))[0] ?? null
}

export async function getJob(db: Db, tenant: string, job_id: string): Promise<Job | null> {
  const row = await getJobRow(db, tenant, job_id)
  return row === null ? null : jobOf(row)
}

export async function getJobs(db: Db, tenant: string, ids: readonly string[]): Promise<Job[]> {
  return ids.length === 0 ? [] : jobs(await db.query<JobRow>(MANY, [tenant, textArray(ids)]))
}

/** Which of these jobs are of these agents. */
export async function jobsOfAgents(
  db: Db,
  tenant: string,
  ids: readonly string[],
  agents: readonly string[],
): Promise<Set<string>> {
  if (ids.length === 0 || agents.length === 0) return new Set()
  const rows = await db.query<{ job_id: string }>(OF_AGENTS, [tenant, textArray(ids), textArray(agents)])
  return new Set(rows.map((row) => row.job_id))
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
  return page(jobs(await db.query<JobRow>(statement, params)), limit, (job) => [job.created_at, job.job_id])
}

export async function overdueInQueue(db: Db, now: number): Promise<Job[]> {
  return jobs(await db.query<JobRow>(OVERDUE, [now]))
}

/** Dead letters whose answer was due by now, and of which nobody was told that. */
export async function unansweredDeadLetters(db: Db, now: number): Promise<Job[]> {
  return jobs(await db.query<JobRow>(UNANSWERED, [now]))
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
