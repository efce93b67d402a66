import type { Tile } from '../core/audit/tile.js'
import type { NodeRef, NodeRow } from '../core/audit/tree.js'
import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

export interface StoredTile extends Tile {
  first_index: number | null
}
export interface HeadRow {
  tenant: string
  size: number
  root: string
  checkpoint: string
  at: number
}
export interface WriterRow {
  tenant: string
  writer: string
  public_key: string
  started_at: number
  closed_at: number | null
  /** From when on nothing of it is taken any more; its chain is closed right after. */
  fenced_at: number | null
}
export interface EntryRow {
  tenant: string
  idx: number
  at: number
  kind: string
  actor: string
  job_id: string | null
  run_id: string | null
  writer: string
  seq: number
  line: number
}

const TENANTS_WAITING = 'SELECT DISTINCT tenant FROM audit_tiles WHERE first_index IS NULL'
const WAITING = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL ORDER BY at, writer, seq LIMIT $2'
const TILE = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND writer = $2 AND seq = $3'
const PLACED = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND first_index >= $2 ORDER BY first_index LIMIT $3'
const AT_INDEX = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND first_index <= $2 ORDER BY first_index DESC LIMIT 1'
const LAST_OF_WRITER = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND writer = $2 ORDER BY seq DESC LIMIT 1'
/** The newest placed tile of each writer, from the end of its chain: asked as DISTINCT ON it read every tile ever written. */
const LAST_PLACED = `SELECT t.* FROM unnest($2::text[]) AS w(writer) CROSS JOIN LATERAL (
    SELECT * FROM audit_tiles a WHERE a.tenant = $1 AND a.writer = w.writer AND a.first_index IS NOT NULL ORDER BY a.seq DESC LIMIT 1) t`
/** One statement, so one moment: where the placed tiles end, where the signed heads do, and the names of tiles that wait. */
const END = `SELECT coalesce((SELECT first_index + count FROM audit_tiles WHERE tenant = $1 AND first_index IS NOT NULL ORDER BY first_index DESC LIMIT 1), 0)::bigint AS end,
  coalesce((SELECT max(size) FROM audit_heads WHERE tenant = $1), 0)::bigint AS signed,
  coalesce((SELECT json_agg(json_build_object('writer', writer, 'seq', seq) ORDER BY writer, seq) FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL), '[]'::json) AS waiting`
const TENANTS = 'SELECT DISTINCT tenant FROM audit_writers ORDER BY tenant'
const WRITERS = 'SELECT * FROM audit_writers WHERE tenant = $1 ORDER BY started_at, writer'
const OPEN_WRITERS = 'SELECT * FROM audit_writers WHERE closed_at IS NULL AND started_at <= $1 ORDER BY tenant, writer'
/** Public keys that signed here. */
const KEYS = 'SELECT DISTINCT public_key FROM audit_writers'
const HEAD = 'SELECT * FROM audit_heads WHERE tenant = $1 ORDER BY size DESC LIMIT 1'
const HEADS = 'SELECT * FROM audit_heads WHERE tenant = $1 ORDER BY size'
const HEAD_OF_SIZE = 'SELECT * FROM audit_heads WHERE tenant = $1 AND size = $2'
/** OFFSET 0 keeps it a look-up for each node; as a join it was planned as a walk over the tenant's nodes. */
const NODES = `SELECT n.level, n.idx, n.hashes FROM json_to_recordset($2::json) AS w(level int, idx bigint)
  CROSS JOIN LATERAL (SELECT * FROM audit_nodes a WHERE a.tenant = $1 AND a.level = w.level AND a.idx = w.idx OFFSET 0) n`
/** In tree order. Filters are open when null; a job's and a run's entries have a statement, and an index, of their own. */
const search = (
  narrow: string,
) => `SELECT e.*, t.body FROM audit_entries e JOIN audit_tiles t ON t.tenant = e.tenant AND t.writer = e.writer AND t.seq = e.seq
  WHERE e.tenant = $1 AND e.idx > $8 AND ($2::text IS NULL OR e.job_id = $2) AND ($3::text IS NULL OR e.run_id = $3) AND ($4::text IS NULL OR e.kind = $4)
  AND ($5::text IS NULL OR e.actor = $5) AND ($6::bigint IS NULL OR e.at >= $6) AND ($7::bigint IS NULL OR e.at < $7) ${narrow}
  ORDER BY e.idx LIMIT $9`
const SEARCH = search('')
const SEARCH_JOB = search('AND e.job_id = $2')
const SEARCH_RUN = search('AND e.run_id = $3')
/** What the integrator writes in one statement; a second integrator loses on the head's primary key and rolls back whole. */
const INTEGRATE = `
WITH placed AS (SELECT * FROM json_to_recordset($2::json) AS x(tenant text, writer text, seq bigint, first_index bigint)),
nodes AS (SELECT level, idx, decode(hashes, 'base64') AS hashes FROM json_to_recordset($3::json) AS x(level int, idx bigint, hashes text)),
u_tiles AS (UPDATE audit_tiles t SET first_index = p.first_index FROM placed p WHERE t.tenant = p.tenant AND t.writer = p.writer AND t.seq = p.seq AND (t.first_index IS NULL) IS TRUE RETURNING 1),
w_nodes AS (INSERT INTO audit_nodes (tenant, level, idx, hashes) SELECT $1, level, idx, hashes FROM nodes
  ON CONFLICT (tenant, level, idx) DO UPDATE SET hashes = excluded.hashes),
w_entries AS (INSERT INTO audit_entries SELECT * FROM json_populate_recordset(NULL::audit_entries, $4::json)),
w_head AS (INSERT INTO audit_heads SELECT * FROM json_populate_recordset(NULL::audit_heads, $5::json))
SELECT count(*)::int AS placed FROM u_tiles`
/** Waits for a commit of this writer that is under way; after it none lands. */
const FENCE_WRITER = 'UPDATE audit_writers SET fenced_at = $3 WHERE tenant = $1 AND writer = $2 AND fenced_at IS NULL'
const CLOSE_WRITER = 'UPDATE audit_writers SET closed_at = $3 WHERE tenant = $1 AND writer = $2 AND closed_at IS NULL'

export async function tenantsWaiting(db: Db): Promise<string[]> {
  return (await db.query<{ tenant: string }>(TENANTS_WAITING)).map((row) => row.tenant)
}
export function waitingTiles(db: Db, tenant: string, limit: number): Promise<StoredTile[]> {
  return db.query<StoredTile>(WAITING, [tenant, limit])
}
export async function getTile(db: Db, tenant: string, writer: string, seq: number): Promise<StoredTile | null> {
  return (await db.query<StoredTile>(TILE, [tenant, writer, seq]))[0] ?? null
}
/** Tiles in tree order from an index on; for export and verify, in pages. */
export function placedTiles(db: Db, tenant: string, from: number, limit: number): Promise<StoredTile[]> {
  return db.query<StoredTile>(PLACED, [tenant, from, limit])
}
export async function tileAt(db: Db, tenant: string, index: number): Promise<StoredTile | null> {
  const tile = (await db.query<StoredTile>(AT_INDEX, [tenant, index]))[0] ?? null
  return tile !== null && tile.first_index !== null && index < tile.first_index + tile.count ? tile : null
}
export async function lastTileOf(db: Db, tenant: string, writer: string): Promise<StoredTile | null> {
  return (await db.query<StoredTile>(LAST_OF_WRITER, [tenant, writer]))[0] ?? null
}
export interface AuditEnd {
  /** Entries in placed tiles. */
  end: number
  /** Size of the newest head; larger than `end` where tiles were taken away. */
  signed: number
  waiting: { writer: string; seq: number }[]
}
export async function auditEnd(db: Db, tenant: string): Promise<AuditEnd> {
  return (await db.query<AuditEnd>(END, [tenant]))[0] ?? { end: 0, signed: 0, waiting: [] }
}
/** Where each writer's integrated chain ends. */
export function lastPlacedTiles(db: Db, tenant: string, writers: readonly string[]): Promise<StoredTile[]> {
  return db.query<StoredTile>(LAST_PLACED, [tenant, textArray(writers)])
}
/** Every tenant with a log. */
export async function auditTenants(db: Db): Promise<string[]> {
  return (await db.query<{ tenant: string }>(TENANTS)).map((row) => row.tenant)
}
export async function writerKeys(db: Db): Promise<string[]> {
  return (await db.query<{ public_key: string }>(KEYS)).map((row) => row.public_key)
}
export function listWriters(db: Db, tenant: string): Promise<WriterRow[]> {
  return db.query<WriterRow>(WRITERS, [tenant])
}
/** Writers whose chain has no end yet, of processes that started at the latest then. */
export function openWriters(db: Db, startedBy: number): Promise<WriterRow[]> {
  return db.query<WriterRow>(OPEN_WRITERS, [startedBy])
}
export async function fenceWriter(db: Db, tenant: string, writer: string, at: number): Promise<void> {
  await db.query(FENCE_WRITER, [tenant, writer, at])
}
export async function newestHead(db: Db, tenant: string): Promise<HeadRow | null> {
  return (await db.query<HeadRow>(HEAD, [tenant]))[0] ?? null
}
export function listHeads(db: Db, tenant: string): Promise<HeadRow[]> {
  return db.query<HeadRow>(HEADS, [tenant])
}
export async function headOfSize(db: Db, tenant: string, size: number): Promise<HeadRow | null> {
  return (await db.query<HeadRow>(HEAD_OF_SIZE, [tenant, size]))[0] ?? null
}
export async function readNodes(db: Db, tenant: string, wanted: readonly NodeRef[]): Promise<(Uint8Array | null)[]> {
  const rows = await db.query<{ level: number; idx: number; hashes: Uint8Array }>(NODES, [
    tenant,
    JSON.stringify(wanted.map((w) => ({ level: w.level, idx: w.index }))),
  ])
  const found = new Map(rows.map((row) => [`${row.level}/${row.idx}`, row.hashes]))
  return wanted.map((w) => found.get(`${w.level}/${w.index}`) ?? null)
}
export interface EntryFilter {
  job_id?: string
  run_id?: string
  kind?: string
  actor?: string
  from?: number
  to?: number
}
export function searchEntries(
  db: Db,
  tenant: string,
  filter: EntryFilter,
  afterIndex: number,
  limit: number,
): Promise<(EntryRow & { body: string })[]> {
  const statement = filter.job_id !== undefined ? SEARCH_JOB : filter.run_id !== undefined ? SEARCH_RUN : SEARCH
  return db.query(statement, [
    tenant,
    filter.job_id ?? null,
    filter.run_id ?? null,
    filter.kind ?? null,
    filter.actor ?? null,
    filter.from ?? null,
    filter.to ?? null,
    afterIndex,
    limit,
  ])
}
export async function writeIntegration(
  db: Db,
  tenant: string,
  placed: { writer: string; seq: number; first_index: number }[],
  nodes: readonly NodeRow[],
  entries: readonly EntryRow[],
  head: HeadRow,
): Promise<void> {
  const encoded = nodes.map((n) => ({ level: n.level, idx: n.index, hashes: Buffer.from(n.hashes).toString('base64') }))
  await db.query(INTEGRATE, [
    tenant,
    JSON.stringify(placed.map((p) => ({ tenant, ...p }))),
    JSON.stringify(encoded),
    JSON.stringify(entries),
    JSON.stringify([head]),
  ])
}
export async function closeWriter(db: Db, tenant: string, writer: string, at: number): Promise<void> {
  await db.query(CLOSE_WRITER, [tenant, writer, at])
}
