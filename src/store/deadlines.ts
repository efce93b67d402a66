import type { Db } from '../platform/db/seam.js'
import { KEPT_MS } from './idempotency.js'
import { BATCH_KEPT_MS } from './ledger/resolve.js'

/** The earliest instant at which each kind of thing is over, or null: one look instead of one query for each kind. */
export interface Deadlines {
  lease: number | null
  queue: number | null
  approval: number | null
  response: number | null
  payload: number | null
  idempotency: number | null
  batch: number | null
}

/** Seven minima, each the first entry of an index. */
const DEADLINES = `SELECT
  (SELECT min(expires_at) FROM leases WHERE ended_at IS NULL) AS lease,
  (SELECT min(queue_deadline) FROM jobs WHERE status IN ('queued', 'retrying')) AS queue,
  (SELECT min(coalesce(due_at, expires_at)) FROM approvals WHERE status = 'pending') AS approval,
  (SELECT min((state->>'respond_by')::bigint) FROM jobs
    WHERE status = 'dead_letter' AND state->>'respond_by' IS NOT NULL AND state->>'reminded_at' IS NULL) AS response,
  (SELECT min(expires_at) FROM payloads WHERE expires_at IS NOT NULL AND body IS NOT NULL) AS payload,
  (SELECT min(created_at) FROM idempotency) + $1::bigint AS idempotency,
  (SELECT min(at) FROM batches) + $2::bigint AS batch`

export async function deadlines(db: Db): Promise<Deadlines> {
  return (await db.query<Deadlines>(DEADLINES, [KEPT_MS, BATCH_KEPT_MS]))[0] as Deadlines
}
