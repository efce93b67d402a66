import type { Approval } from '../core/approval.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'

const GET = 'SELECT * FROM approvals WHERE tenant = $1 AND approval_id = $2'
const LIST = `SELECT * FROM approvals WHERE tenant = $1 AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR job_id = $3)
  AND ($4::bigint IS NULL OR (requested_at, approval_id) < ($4::bigint, $5::text))
  ORDER BY requested_at DESC, approval_id DESC LIMIT $6`
const EXPIRED = `SELECT * FROM approvals WHERE status = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT 200`
const UNDER_OTHER = `SELECT * FROM approvals WHERE tenant = $1 AND status = 'pending' AND snapshot <> $2 AND approval_id > $3 ORDER BY approval_id LIMIT 200`
const PENDING_HASHES = `SELECT grant_hash FROM approvals WHERE tenant = $1 AND status = 'pending' AND grant_hash LIKE $2`

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
  const after = decodeCursor(filter.cursor)
  const rows = await db.query<Approval>(LIST, [
    tenant,
    filter.status ?? null,
    filter.job_id ?? null,
    after?.[0] ?? null,
    after?.[1] ?? null,
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

/** Hashes that a short form must stay apart from: the pending ones that begin with the same 7 characters. */
export async function pendingHashesLike(db: Db, tenant: string, hash: string): Promise<string[]> {
  return (await db.query<{ grant_hash: string }>(PENDING_HASHES, [tenant, `${hash.slice(0, 7)}%`])).map(
    (row) => row.grant_hash,
  )
}
