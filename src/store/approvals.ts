import type { Answer, Approval } from '../core/approval.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { textArray } from './text-array.js'

const GET = 'SELECT * FROM approvals WHERE tenant = $1 AND approval_id = $2'
/** Newest first: ids sort by time. The pending ones and those of one job have a statement, and an index, of their own. */
const list = (
  narrow: string,
) => `SELECT * FROM approvals WHERE tenant = $1 AND approval_id < $2 AND ($3::text IS NULL OR status = $3)
  AND ($4::text IS NULL OR job_id = $4) ${narrow} ORDER BY approval_id DESC LIMIT $5`
const LIST = list('')
const LIST_JOB = list('AND job_id = $4')
const LIST_PENDING = list(`AND status = 'pending'`)
/** Those that somebody is asked now; $3 and $4 stay open. */
const LIST_ASKED = `${list(`AND status = 'pending' AND asked_of ? $6::text`)}`
/** Hints for the sweeper, no steps: who is asked may be another by now, or is not. */
const LOOK_AGAIN = `UPDATE approvals SET due_at = $3 WHERE tenant = $1 AND status = 'pending' AND ($2::text IS NULL OR asked_of ? $2::text)`
const LOOK_LATER = `UPDATE approvals SET due_at = $4 WHERE tenant = $1 AND approval_id = $2 AND version = $3 AND status = 'pending'`
/** Sorts after every id. */
const LAST = '~'
/** A level's time is over: others are asked, or it has expired. */
const DUE = `SELECT * FROM approvals WHERE status = 'pending' AND coalesce(due_at, expires_at) <= $1
  ORDER BY coalesce(due_at, expires_at) LIMIT 200`
const UNDER_OTHER = `SELECT * FROM approvals WHERE tenant = $1 AND status = 'pending' AND snapshot <> $2 AND approval_id > $3 ORDER BY approval_id LIMIT 200`
/** By the index of pending ones: of those few whose agent is at another stage since. */
const OF_OTHER_STAGE = `SELECT a.* FROM approvals a JOIN autonomy m ON m.tenant = a.tenant AND m.agent = a.agent
  WHERE a.tenant = $1 AND a.status = 'pending' AND a.requested_at <= m.since + $2::bigint AND a.approval_id > $3 ORDER BY a.approval_id LIMIT 200`
const PENDING_HASHES = `SELECT grant_hash FROM approvals
  WHERE tenant = $1 AND status = 'pending' AND substr(grant_hash, 1, 7) = ANY($2::text[])`

const ENDED = `SELECT k.key_id AS ended FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT key_id, revoked_at FROM keys WHERE key_id = wanted.id OFFSET 0) k WHERE k.revoked_at IS NOT NULL
  UNION ALL SELECT p.principal FROM unnest($3::text[]) AS named(name)
  CROSS JOIN LATERAL (SELECT principal, disabled_at FROM principals WHERE tenant = $1 AND principal = named.name OFFSET 0) p
  WHERE p.disabled_at IS NOT NULL`
/** Of keys that are revoked too: what was asked with one may still be open. */
const KEY_MAKERS = `SELECT DISTINCT k.created_by FROM unnest($2::text[]) AS wanted(name)
  CROSS JOIN LATERAL (SELECT created_by FROM keys WHERE tenant = $1 AND principal = wanted.name OFFSET 0) k`

export async function getApproval(db: Db, tenant: string, approval_id: string): Promise<Approval | null> {
  return (await db.query<Approval>(GET, [tenant, approval_id]))[0] ?? null
}

export interface ApprovalFilter {
  status?: Approval['status']
  job_id?: string
  /** Only pending ones that this principal is asked now. */
  asked_of?: string
  cursor?: string
  limit?: number
}

export async function listApprovals(db: Db, tenant: string, filter: ApprovalFilter): Promise<Page<Approval>> {
  const limit = filter.limit ?? 50
  const statement = filter.job_id !== undefined ? LIST_JOB : filter.status === 'pending' ? LIST_PENDING : LIST
  const after = decodeCursor(filter.cursor)?.[1] ?? LAST
  const filters = [tenant, after, filter.status ?? null, filter.job_id ?? null, limit + 1]
  const rows =
    filter.asked_of === undefined
      ? await db.query<Approval>(statement, filters)
      : await db.query<Approval>(LIST_ASKED, [...filters, filter.asked_of])
  return page(rows, limit, (a) => [a.requested_at, a.approval_id])
}

export function dueApprovals(db: Db, now: number): Promise<Approval[]> {
  return db.query<Approval>(DUE, [now])
}

/** Answers less those of keys that were revoked since, and of people who were disabled. */
export async function standingAnswers(db: Db, tenant: string, answers: readonly Answer[]): Promise<Answer[]> {
  if (answers.length === 0) return []
  const keys = answers.map(({ key_id }) => key_id)
  const people = answers.flatMap(({ by, for: absent }) => (absent === undefined ? [by] : [by, absent]))
  const rows = await db.query<{ ended: string }>(ENDED, [tenant, textArray(keys), textArray(people)])
  const ended = new Set(rows.map((row) => row.ended))
  return answers.filter(({ by, for: absent, key_id }) => ![by, absent ?? by, key_id].some((each) => ended.has(each)))
}

/**
 * The sweeper looks at what this principal is asked, or at all that is open: they come, go, or have a delegate. What called for it is done
 * by then, so that it fails is no failure: who is asked is looked up again when they answer.
 */
export async function lookAgain(db: Db, tenant: string, principal: string | null, now: number): Promise<void> {
  await db.query(LOOK_AGAIN, [tenant, principal, now]).catch(() => [])
}

/** Nothing about it is another than it was. */
export async function lookLater(
  db: Db,
  { tenant, approval_id, version, due_at }: Pick<Approval, 'tenant' | 'approval_id' | 'version' | 'due_at'>,
): Promise<void> {
  await db.query(LOOK_LATER, [tenant, approval_id, version, due_at])
}

/** Who made keys of these principals, and so could have asked as them. */
export async function whoMadeKeys(db: Db, tenant: string, principals: readonly string[]): Promise<string[]> {
  const rows = await db.query<{ created_by: string }>(KEY_MAKERS, [tenant, textArray(principals)])
  return rows.map((row) => row.created_by)
}

/** Pending ones that were asked under another snapshot than the active one, in pages by id. */
export function approvalsUnderOther(db: Db, tenant: string, snapshot: string, after: string): Promise<Approval[]> {
  return db.query<Approval>(UNDER_OTHER, [tenant, snapshot, after])
}

/** Of two nodes: what one asked before the other moved the gate may be dated after it. */
const CLOCKS_MS = 1000

/** Pending ones that were asked, or may have been, before their agent came to the stage it is at, in pages by id. */
export function approvalsOfOtherStage(db: Db, tenant: string, after: string): Promise<Approval[]> {
  return db.query<Approval>(OF_OTHER_STAGE, [tenant, CLOCKS_MS, after])
}

/** Hashes that short forms of these must stay apart from: the pending ones that begin with the same 7 characters. */
export async function pendingHashesLike(db: Db, tenant: string, hashes: readonly string[]): Promise<string[]> {
  const starts = [...new Set(hashes.map((hash) => hash.slice(0, 7)))]
  return (await db.query<{ grant_hash: string }>(PENDING_HASHES, [tenant, textArray(starts)])).map(
    (row) => row.grant_hash,
  )
}

/** What somebody says they saw. */
export interface Echo {
  grant_hash?: string
  job_hash?: string
  policy_snapshot?: string
}

/** By grant hash, or job hash and snapshot together; short forms only while they name one thing. */
export async function isEcho(db: Db, approval: Approval, echo: Echo): Promise<boolean> {
  const same = (given: string, hash: string) =>
    given.startsWith('v1:') ? hash.startsWith(given.slice(3)) : given === hash
  const { grant_hash, job_hash, policy_snapshot } = echo
  if (grant_hash !== undefined) {
    if (!same(grant_hash, approval.grant_hash)) return false
    const alike = await pendingHashesLike(db, approval.tenant, [approval.grant_hash])
    return alike.every((hash) => hash === approval.grant_hash || !same(grant_hash, hash))
  }
  if (job_hash === undefined || policy_snapshot === undefined) return false
  return same(job_hash, approval.job_hash) && same(policy_snapshot, approval.snapshot)
}
