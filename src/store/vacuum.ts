import type { Db } from '../platform/db/seam.js'

/** The tables whose rows are updated or removed; the others only grow. */
export const CHURNING = new Map(
  [
    'jobs',
    'leases',
    'effects',
    'approvals',
    'decisions',
    'payloads',
    'audit_tiles',
    'audit_nodes',
    'idempotency',
    'limits',
    'batches',
  ].map((table) => [table, `VACUUM ${table}`]),
)

/** As autovacuum counts: a fifth of the table, since each vacuum reads all of its indexes, and enough to be worth the while. */
const CHURNED = `SELECT relname AS name FROM pg_stat_user_tables
  WHERE n_dead_tup > $1::bigint + 0.2 * n_live_tup ORDER BY n_dead_tup DESC`
const DEAD = 5_000

/**
 * Makes room of dead rows in the table that has most of them, one a call: the engine does nothing else meanwhile (50 ms for
 * 15,000 rows). Only where nobody else does: the embedded engine has no autovacuum, and Postgres has.
 * @param least a table with fewer dead rows is left alone
 * @returns the table, or null where none is worth it
 */
export async function vacuum(db: Db, least = DEAD): Promise<string | null> {
  if (db.engine !== 'pglite') return null
  const names = (await db.query<{ name: string }>(CHURNED, [least])).map((row) => row.name)
  const name = names.find((each) => CHURNING.has(each))
  if (name === undefined) return null
  await db.query(CHURNING.get(name) as string)
  return name
}
