import type { Db } from '../platform/db/seam.js'

/** The primary key decides between two that come at once, on whatever nodes. */
const TAKE = `INSERT INTO interactions (tenant, hash, seen_at) VALUES ($1, $2, $3) ON CONFLICT (tenant, hash) DO NOTHING RETURNING 1`
const FORGET = `DELETE FROM interactions WHERE (tenant, hash) IN
  (SELECT tenant, hash FROM interactions WHERE seen_at <= $1 ORDER BY seen_at LIMIT $2)`

/** False where this request was taken before. */
export async function takeInteraction(db: Db, tenant: string, hash: string, now: number): Promise<boolean> {
  return (await db.query(TAKE, [tenant, hash, now])).length > 0
}

export async function tidyInteractions(db: Db, before: number): Promise<void> {
  await db.query(FORGET, [before, 10_000])
}
