import type { Json } from '../core/json.js'
import type { Db } from '../platform/db/seam.js'

export interface IdempotencyRow {
  tenant: string
  principal: string
  key: string
  request_hash: string
  /** The first 202, to be given again. */
  answer: Json
  created_at: number
}

/** Keys are kept for 24 h. */
export const KEPT_MS = 86_400_000

const GET = 'SELECT * FROM idempotency WHERE tenant = $1 AND principal = $2 AND key = $3'
const PRUNE = 'DELETE FROM idempotency WHERE created_at < $1'

export async function getIdempotent(
  db: Db,
  tenant: string,
  principal: string,
  key: string,
): Promise<IdempotencyRow | null> {
  return (await db.query<IdempotencyRow>(GET, [tenant, principal, key]))[0] ?? null
}

export async function pruneIdempotency(db: Db, now: number): Promise<void> {
  await db.query(PRUNE, [now - KEPT_MS])
}
