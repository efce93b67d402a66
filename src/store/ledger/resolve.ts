import type { Db } from '../../platform/db/seam.js'

const TOMBSTONE = `WITH mine AS (INSERT INTO batches (batch_id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING batch_id)
INSERT INTO batches (batch_id, at) SELECT batch_id || '/void', $2 FROM mine`
const IS_VOID = `SELECT batch_id FROM batches WHERE batch_id = $1 || '/void'`

/** A lost answer is resolved within seconds. A doubt that is older than half of this is given up with its chain: the row may be gone. */
export const BATCH_KEPT_MS = 3_600_000
/** At least ten minutes' worth go at once, so that this runs a few times an hour and not at every sweep. */
const PRUNE = 'DELETE FROM batches WHERE at < $1'

export async function pruneBatches(db: Db, now: number): Promise<void> {
  await db.query(PRUNE, [now - BATCH_KEPT_MS + 600_000])
}

/**
 * Was this batch applied, although its answer was lost? Inserting its id settles it for good: the unique index waits for a
 * transaction still in doubt; a conflict means applied, an insert is a tombstone that keeps it from ever being applied. The
 * tombstone bears a mark, because its own answer may be lost too: asked again, it would conflict with itself and the batch would
 * count as applied, with a tile in the chain that nobody has. A statement of its own reads the mark, for it must see what the
 * one before waited for.
 */
export async function wasApplied(db: Db, batchId: string, at: number): Promise<boolean> {
  await db.query(TOMBSTONE, [batchId, at], 'fresh')
  return (await db.query(IS_VOID, [batchId], 'fresh')).length === 0
}
