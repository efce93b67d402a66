import type { Db } from '../../platform/db/seam.js'

const TOMBSTONE = 'INSERT INTO batches (batch_id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING batch_id'

/** A lost answer is resolved within seconds; an hour is far beyond any doubt. */
export const BATCH_KEPT_MS = 3_600_000
/** At least ten minutes' worth go at once, so that this runs a few times an hour and not at every sweep. */
const PRUNE = 'DELETE FROM batches WHERE at < $1'

export async function pruneBatches(db: Db, now: number): Promise<void> {
  await db.query(PRUNE, [now - BATCH_KEPT_MS + 600_000])
}

/**
 * Was this batch applied, although its answer was lost? Inserting its id settles it for good: the unique index waits for a
 * transaction still in doubt; a conflict means applied, an insert is a tombstone that keeps it from ever being applied.
 */
export async function wasApplied(db: Db, batchId: string, at: number): Promise<boolean> {
  const inserted = await db.query<{ batch_id: string }>(TOMBSTONE, [batchId, at], 'fresh')
  return inserted.length === 0
}
