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

/**
 * What is signed and not published: how much, and since when the first of it stands in the log. Where nothing was published yet,
 * publishing begins at most $2 entries back. A tile that is no longer kept is passed over.
 */
const LAG = `SELECT h.size - n.next AS entries, (SELECT t.at FROM audit_tiles t
      WHERE t.tenant = $1 AND t.first_index + t.count > n.next AND t.first_index >= coalesce((SELECT a.first_index FROM audit_tiles a
        WHERE a.tenant = $1 AND a.first_index <= n.next ORDER BY a.first_index DESC LIMIT 1), 0)
      ORDER BY t.first_index LIMIT 1) AS at
  FROM (SELECT size FROM audit_heads WHERE tenant = $1 ORDER BY size DESC LIMIT 1) h
  CROSS JOIN LATERAL (SELECT coalesce((SELECT next FROM published WHERE tenant = $1), greatest(0, h.size - $2)) AS next) n`

export interface StreamLag {
  entries: number
  /** Of the oldest of them; null where there is none. */
  at: number | null
}

export async function streamLag(db: Db, tenant: string, past: number): Promise<StreamLag> {
  const [found] = await db.query<{ entries: number; at: number | null }>(LAG, [tenant, past])
  return found === undefined || found.entries <= 0 ? { entries: 0, at: null } : found
}

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
