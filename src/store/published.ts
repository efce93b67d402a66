import type { Db } from '../platform/db/seam.js'

/** Where a tenant's log ends and how much of it has reached the event stream. */
export interface PublishedRow {
  tenant: string
  /** Entries under the newest signed head. */
  size: number
  /** Null where nothing of this tenant was ever published. */
  next: number | null
  instance: string | null
  seq: number | null
}

/** Every tenant with a signed head. One look at the end of an index for each, whatever the log has grown to. */
const ALL = `SELECT g.tenant, h.size, p.next, p.instance, p.seq FROM gates g
  CROSS JOIN LATERAL (SELECT size FROM audit_heads a WHERE a.tenant = g.tenant ORDER BY a.size DESC LIMIT 1) h
  LEFT JOIN published p ON p.tenant = g.tenant ORDER BY g.tenant`
const BEGIN =
  'INSERT INTO published (tenant, next, instance, seq) VALUES ($1, $2, $3, 0) ON CONFLICT (tenant) DO NOTHING'
/** Never back: a publisher that is late moves nothing, and one that speaks of a stream that is gone says nothing of this one. */
const ADVANCE =
  'UPDATE published SET next = $2, seq = greatest(seq, $3) WHERE tenant = $1 AND instance = $4 AND next < $2'
/** Back, because the stream lost something. Only from what was seen: another publisher may have noticed first. */
const REWIND =
  'UPDATE published SET next = $2, instance = $3, seq = $4 WHERE tenant = $1 AND instance = $5 AND seq = $6'

export function publishedRows(db: Db): Promise<PublishedRow[]> {
  return db.query<PublishedRow>(ALL)
}
export async function beginPublishing(db: Db, tenant: string, next: number, instance: string): Promise<void> {
  await db.query(BEGIN, [tenant, next, instance])
}
export async function advancePublished(
  db: Db,
  tenant: string,
  next: number,
  seq: number,
  instance: string,
): Promise<void> {
  await db.query(ADVANCE, [tenant, next, seq, instance])
}
export async function rewindPublished(
  db: Db,
  seen: { tenant: string; instance: string; seq: number },
  next: number,
  instance: string,
  seq: number,
): Promise<void> {
  await db.query(REWIND, [seen.tenant, next, instance, seq, seen.instance, seen.seq])
}
