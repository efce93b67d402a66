import type { Db } from '../../platform/db/seam.js'

const TOMBSTONE = 'INSERT INTO batches (batch_id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING batch_id'

/**
 * Was this batch applied, although its answer was lost? Inserting its id settles it for good: the unique index waits for a
 * transaction still in doubt; a conflict means applied, an insert is a tombstone that keeps it from ever being applied.
 */
export async function wasApplied(db: Db, batchId: string, at: number): Promise<boolean> {
  const inserted = await db.query<{ batch_id: string }>(TOMBSTONE, [batchId, at])
  return inserted.length === 0
}
