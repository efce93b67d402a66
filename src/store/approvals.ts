import type { Approval } from '../core/approval.js'
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
/** Sorts after every id. */
const LAST = '~'
const EXPIRED = `SELECT * FROM approvals WHERE status = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT 200`
const UNDER_OTHER = `SELECT * FROM approvals WHERE tenant = $1 AND status = 'pending' AND snapshot <> $2 AND approval_id > $3 ORDER BY approval_id LIMIT 200`
const PENDING_HASHES = `SELECT grant_hash FROM approvals
  WHERE tenant = $1 AND status = 'pending' AND substr(grant_hash, 1, 7) = ANY($2::text[])`

export async function getApproval(db: Db, tenant: string, approval_id: string): Promise<Approval | null> {
  return (await db.query<Approval>(GET, [tenant, approval_id]))[0] ?? null
}

export interface ApprovalFilter {
  status?: Approval['status']
  job_id?: string
  cursor?: string
  limit?: number
}

export async function listApprovals(db: Db, tenant: string, filter: ApprovalFilter): Promise<Page<Approval>> {
  const limit = filter.limit ?? 50
  const statement = filter.job_id !== undefined ? LIST_JOB : filter.status === 'pending' ? LIST_PENDING : LIST
  const after = decodeCursor(filter.cursor)?.[1] ?? LAST
  const rows = await db.query<Approval>(statement, [
    tenant,
    after,
    filter.status ?? null,
    filter.job_id ?? null,
    limit + 1,
  ])
  return page(rows, limit, (a) => [a.requested_at, a.approval_id])
}

export function expiredApprovals(db: Db, now: number): Promise<Approval[]> {
  return db.query<Approval>(EXPIRED, [now])
}

/** Pending ones that were asked under another snapshot than the active one, in pages by id. */
export function approvalsUnderOther(db: Db, tenant: string, snapshot: string, after: string): Promise<Approval[]> {
  return db.query<Approval>(UNDER_OTHER, [tenant, snapshot, after])
}

/** Hashes that short forms of these must stay apart from: the pending ones that begin with the same 7 characters. */
export async function pendingHashesLike(db: Db, tenant: string, hashes: readonly string[]): Promise<string[]> {
  const starts = [...new Set(hashes.map((hash) => hash.slice(0, 7)))]
  return (await db.query<{ grant_hash: string }>(PENDING_HASHES, [tenant, textArray(starts)])).map(
    (row) => row.grant_hash,
  )
}
