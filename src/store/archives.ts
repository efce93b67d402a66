import type { ArchiveRow } from '../core/audit/export.js'
import type { Db } from '../platform/db/seam.js'
import type { HeadRow } from './audit.js'

/** A file of old tiles, as its table has it. */
export interface ArchiveFileRow extends ArchiveRow {
  tenant: string
  /** Of the file. */
  bytes: number
  /** First index and offset of each part, which can be read by itself. */
  parts: [first: number, offset: number][]
  at: number
  /** Null: some bodies may still stand in the database too. */
  emptied_at: number | null
}

const NEWEST = 'SELECT * FROM audit_archives WHERE tenant = $1 ORDER BY first DESC LIMIT 1'
const COVERING = 'SELECT * FROM audit_archives WHERE tenant = $1 AND first <= $2 ORDER BY first DESC LIMIT 1'
const FULL = 'SELECT * FROM audit_archives WHERE tenant = $1 AND emptied_at IS NULL ORDER BY first'
/**
 * Not while a body is left: of two nodes at it one finds nothing to take out, while what the other took is not committed yet. By the
 * numbers and not the row's columns, which would be joined with every tile of the tenant.
 */
const EMPTIED = `UPDATE audit_archives SET emptied_at = $4 WHERE tenant = $1 AND first = $2 AND emptied_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM audit_tiles
    WHERE tenant = $1 AND first_index >= $2::bigint AND first_index < $3::bigint AND body IS NOT NULL)`
/** When the oldest tile was committed that is in no file. */
const OLDEST = 'SELECT at FROM audit_tiles WHERE tenant = $1 AND first_index >= $2 ORDER BY first_index LIMIT 1'
/**
 * The newest head that is old enough and whose entries from an index on are no more than so many bytes; or the first head, however
 * much that is. octet_length of a compressed text is read off its header.
 */
const SEGMENT = `WITH tiles AS MATERIALIZED (
    SELECT first_index + count AS size, sum(octet_length(body)) OVER (ORDER BY first_index) AS bytes FROM audit_tiles
    WHERE tenant = $1 AND first_index >= $2 ORDER BY first_index LIMIT $5)
  SELECT coalesce(
    (SELECT size FROM audit_heads WHERE tenant = $1 AND size > $2 AND at < $3
       AND size <= (SELECT max(size) FROM tiles WHERE bytes <= $4) ORDER BY size DESC LIMIT 1),
    (SELECT size FROM (SELECT size, at FROM audit_heads WHERE tenant = $1 AND size > $2 ORDER BY size LIMIT 1) h WHERE at < $3)) AS size`
const HEADS = 'SELECT * FROM audit_heads WHERE tenant = $1 AND size > $2 AND size <= $3 ORDER BY size LIMIT $4'
/** Only what such a row covers, whoever asks. */
const EMPTY = `WITH gone AS (UPDATE audit_tiles SET body = NULL WHERE ctid = ANY(ARRAY(
    SELECT t.ctid FROM audit_archives a CROSS JOIN LATERAL (
      SELECT ctid FROM audit_tiles WHERE tenant = $1 AND first_index >= greatest(a.first, $3::bigint) AND first_index < a.size
      ORDER BY first_index LIMIT $4) t WHERE a.tenant = $1 AND a.first = $2)) RETURNING first_index + count AS size)
  SELECT max(size) AS size FROM gone`

export async function newestArchive(db: Db, tenant: string): Promise<ArchiveFileRow | null> {
  return (await db.query<ArchiveFileRow>(NEWEST, [tenant]))[0] ?? null
}
/** The file that holds an entry; null where none does. */
export async function archiveOf(db: Db, tenant: string, index: number): Promise<ArchiveFileRow | null> {
  const row = (await db.query<ArchiveFileRow>(COVERING, [tenant, index]))[0]
  return row !== undefined && index < row.size ? row : null
}
/** Files whose bodies may still stand in the database. */
export function fullArchives(db: Db, tenant: string): Promise<ArchiveFileRow[]> {
  return db.query<ArchiveFileRow>(FULL, [tenant])
}
export async function oldestLeft(db: Db, tenant: string, from: number): Promise<number | null> {
  return (await db.query<{ at: number }>(OLDEST, [tenant, from]))[0]?.at ?? null
}
export interface Bounds {
  /** Epoch ms: the head that ends it was signed before then. */
  before: number
  bytes: number
  tiles: number
}
/** Where a file that begins at an index should end: the size of a head, null where none is old enough. */
export async function segmentEnd(db: Db, tenant: string, from: number, bounds: Bounds): Promise<number | null> {
  const { before, bytes, tiles } = bounds
  return (await db.query<{ size: number | null }>(SEGMENT, [tenant, from, before, bytes, tiles]))[0]?.size ?? null
}
/** Heads of a size above `after` and up to `to`, smallest first, in pages: there may be one for each tile. */
export async function* headsBetween(db: Db, tenant: string, after: number, to: number): AsyncGenerator<HeadRow> {
  for (let from = after; ; ) {
    const heads = await db.query<HeadRow>(HEADS, [tenant, from, to, PAGE])
    yield* heads
    const last = heads.at(-1)
    if (last === undefined || heads.length < PAGE) return
    from = last.size
  }
}
const PAGE = 500

/**
 * Takes the bodies of some tiles of a file out of the database.
 * @returns the index behind the last of them; null where none was there to take, as behind the last
 */
export async function emptyTiles(
  db: Db,
  tenant: string,
  { first }: Pick<ArchiveRow, 'first'>,
  from: number,
  limit: number,
): Promise<number | null> {
  return (await db.query<{ size: number | null }>(EMPTY, [tenant, first, from, limit]))[0]?.size ?? null
}
/** Unless bodies are left. */
export async function markEmptied(
  db: Db,
  tenant: string,
  { first, size }: Pick<ArchiveRow, 'first' | 'size'>,
  at: number,
): Promise<void> {
  await db.query(EMPTIED, [tenant, first, size, at])
}
