import type { ArchiveRow } from '../core/audit/export.js'
import type { Tile, TileHeader } from '../core/audit/tile.js'
import type { NodeRef, NodeRow } from '../core/audit/tree.js'
import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

/** A tile that waits for its place. */
export interface StoredTile extends Tile {
  first_index: number | null
}
/** A tile that may be old: then its body is in a file (archived.ts). */
export interface TileRow extends TileHeader {
  first_index: number | null
  body: string | null
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
const TENANTS_WAITING = 'SELECT DISTINCT tenant FROM audit_tiles WHERE first_index IS NULL'
const WAITING = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL ORDER BY at, writer, seq LIMIT $2'
const TILE = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND writer = $2 AND seq = $3'
const PLACED = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND first_index >= $2 ORDER BY first_index LIMIT $3'
const AT_INDEX = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND first_index <= $2 ORDER BY first_index DESC LIMIT 1'
const LAST_OF_WRITER = 'SELECT * FROM audit_tiles WHERE tenant = $1 AND writer = $2 ORDER BY seq DESC LIMIT 1'
/** The newest placed tile of each writer, from the end of its chain: asked as DISTINCT ON it read every tile ever written. */
const LAST_PLACED = `SELECT t.* FROM unnest($2::text[]) AS w(writer) CROSS JOIN LATERAL (
    SELECT * FROM audit_tiles a WHERE a.tenant = $1 AND a.writer = w.writer AND a.first_index IS NOT NULL ORDER BY a.seq DESC LIMIT 1) t`
/** One statement, so one moment: where the placed tiles end, where the signed heads do, which files there are, and the names of tiles that wait. */
const END = `SELECT coalesce((SELECT first_index + count FROM audit_tiles WHERE tenant = $1 AND first_index IS NOT NULL ORDER BY first_index DESC LIMIT 1), 0)::bigint AS end,
  coalesce((SELECT max(size) FROM audit_heads WHERE tenant = $1), 0)::bigint AS signed,
  coalesce((SELECT json_agg(json_build_object('writer', writer, 'seq', seq) ORDER BY writer, seq) FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL), '[]'::json) AS waiting,
  coalesce((SELECT json_agg(json_build_object('first', first, 'size', size, 'file', file, 'sha256', sha256, 'archive_hash', archive_hash) ORDER BY first) FROM audit_archives WHERE tenant = $1), '[]'::json) AS archives`
const TENANTS = 'SELECT DISTINCT tenant FROM audit_writers ORDER BY tenant'
const WRITERS = 'SELECT * FROM audit_writers WHERE tenant = $1 ORDER BY started_at, writer'
const OPEN_WRITERS = 'SELECT * FROM audit_writers WHERE closed_at IS NULL AND started_at <= $1 ORDER BY tenant, writer'
/** Public keys that signed here. */
const KEYS = 'SELECT DISTINCT public_key FROM audit_writers'
const HEAD = 'SELECT * FROM audit_heads WHERE tenant = $1 ORDER BY size DESC LIMIT 1'
const NEWEST_HEADS = `SELECT h.* FROM gates g
  CROSS JOIN LATERAL (SELECT * FROM audit_heads a WHERE a.tenant = g.tenant ORDER BY a.size DESC LIMIT 1) h`
const HEADS = 'SELECT * FROM audit_heads WHERE tenant = $1 ORDER BY size'
const HEAD_OF_SIZE = 'SELECT * FROM audit_heads WHERE tenant = $1 AND size = $2'
/** OFFSET 0 keeps it a look-up for each node; as a join it was planned as a walk over the tenant's nodes. */
const NODES = `SELECT n.level, n.idx, n.hashes FROM json_to_recordset($2::json) AS w(level int, idx bigint)
  CROSS JOIN LATERAL (SELECT * FROM audit_nodes a WHERE a.tenant = $1 AND a.level = w.level AND a.idx = w.idx OFFSET 0) n`
/** A tile by name, for each name; OFFSET 0 as above. Without bodies: a run may be spoken of by thousands. */
const PLACES = `SELECT t.* FROM json_to_recordset($2::json) AS r(writer text, seq bigint)
  CROSS JOIN LATERAL (SELECT writer, seq, count, first_index FROM audit_tiles a
    WHERE a.tenant = $1 AND a.writer = r.writer AND a.seq = r.seq AND a.first_index IS NOT NULL OFFSET 0) t ORDER BY t.first_index`
const NAMED = `SELECT t.* FROM json_to_recordset($2::json) AS r(writer text, seq bigint)
  CROSS JOIN LATERAL (SELECT * FROM audit_tiles a WHERE a.tenant = $1 AND a.writer = r.writer AND a.seq = r.seq OFFSET 0) t
  ORDER BY t.first_index`
const OF_ROLLOUT = 'SELECT writer, seq FROM rollout_tiles WHERE rollout_id = $2 AND tenant = $1'
const OF_JOB = 'SELECT tiles FROM jobs WHERE tenant = $1 AND job_id = $2'
/** The jobs of a run and the denials that made none, in order of their ids without what says which of both they are. */
const OF_RUN = `SELECT * FROM (
  (SELECT substr(job_id, 5) AS id, tiles FROM jobs WHERE tenant = $1 AND run_id = $2 AND job_id > 'job_' || $3 ORDER BY job_id LIMIT $4)
  UNION ALL
  (SELECT substr(decision_id, 5) AS id, tile AS tiles FROM decisions
    WHERE tenant = $1 AND run_id = $2 AND decision_id > 'dec_' || $3 ORDER BY decision_id LIMIT $4)) r
  ORDER BY id LIMIT $4`
/**
 * What the integrator writes in one statement. A second integrator that placed some of the same tiles makes it divide by zero, the
 * only way a statement can take itself back; the row locks of `found` make it wait for the first before it counts.
 */
const INTEGRATE = `
WITH placed AS (SELECT * FROM json_to_recordset($2::json) AS x(tenant text, writer text, seq bigint, first_index bigint)),
nodes AS (SELECT level, idx, decode(hashes, 'base64') AS hashes FROM json_to_recordset($3::json) AS x(level int, idx bigint, hashes text)),
found AS (SELECT p.first_index, t.place FROM placed p CROSS JOIN LATERAL (
  SELECT a.ctid AS place FROM audit_tiles a WHERE a.tenant = p.tenant AND a.writer = p.writer AND a.seq = p.seq AND (a.first_index IS NULL) IS TRUE FOR UPDATE) t),
u_tiles AS (UPDATE audit_tiles t SET first_index = f.first_index FROM found f WHERE t.ctid = f.place RETURNING 1),
w_nodes AS (INSERT INTO audit_nodes (tenant, level, idx, hashes) SELECT $1, level, idx, hashes FROM nodes
  ON CONFLICT (tenant, level, idx) DO UPDATE SET hashes = excluded.hashes),
w_head AS (INSERT INTO audit_heads SELECT * FROM json_populate_recordset(NULL::audit_heads, $4::json)),
counted AS (SELECT count(*) AS n FROM u_tiles)
SELECT 1 / (CASE WHEN n = (SELECT count(*) FROM placed) THEN 1 ELSE 0 END) AS done FROM counted`
/** Waits for a commit of this writer that is under way; after it none lands. */
const FENCE_WRITER = 'UPDATE audit_writers SET fenced_at = $3 WHERE tenant = $1 AND writer = $2 AND fenced_at IS NULL'
const CLOSE_WRITER = 'UPDATE audit_writers SET closed_at = $3 WHERE tenant = $1 AND writer = $2 AND closed_at IS NULL'

export async function tenantsWaiting(db: Db): Promise<string[]> {
  return (await db.query<{ tenant: string }>(TENANTS_WAITING)).map((row) => row.tenant)
}
export function waitingTiles(db: Db, tenant: string, limit: number): Promise<StoredTile[]> {
  return db.query<StoredTile>(WAITING, [tenant, limit])
}
export async function getTile(db: Db, tenant: string, writer: string, seq: number): Promise<TileRow | null> {
  return (await db.query<TileRow>(TILE, [tenant, writer, seq]))[0] ?? null
}
/** Tiles in tree order from an index on; for export and verify, in pages. */
export function placedTiles(db: Db, tenant: string, from: number, limit: number): Promise<TileRow[]> {
  return db.query<TileRow>(PLACED, [tenant, from, limit])
}
export async function tileAt(db: Db, tenant: string, index: number): Promise<TileRow | null> {
  const tile = (await db.query<TileRow>(AT_INDEX, [tenant, index]))[0] ?? null
  return tile !== null && tile.first_index !== null && index < tile.first_index + tile.count ? tile : null
}
export async function lastTileOf(db: Db, tenant: string, writer: string): Promise<TileRow | null> {
  return (await db.query<TileRow>(LAST_OF_WRITER, [tenant, writer]))[0] ?? null
}
export interface AuditEnd {
  /** Entries in placed tiles. */
  end: number
  /** Size of the newest head; larger than `end` where tiles were taken away. */
  signed: number
  waiting: { writer: string; seq: number }[]
  archives: ArchiveRow[]
}
export async function auditEnd(db: Db, tenant: string): Promise<AuditEnd> {
  return (await db.query<AuditEnd>(END, [tenant]))[0] ?? { end: 0, signed: 0, waiting: [], archives: [] }
}
/** Where each writer's integrated chain ends. */
export function lastPlacedTiles(db: Db, tenant: string, writers: readonly string[]): Promise<TileRow[]> {
  return db.query<TileRow>(LAST_PLACED, [tenant, textArray(writers)])
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
/** The newest of each tenant. */
export function newestHeads(db: Db): Promise<HeadRow[]> {
  return db.query<HeadRow>(NEWEST_HEADS)
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
/** A tile's name, as rows of jobs keep it. */
export interface TileName {
  writer: string
  seq: number
}
export interface TilePlace extends TileName {
  count: number
  first_index: number
}
/** What speaks of a job, or of a stretch of a run. */
export interface Spoken {
  tiles: TileName[]
  /** Of a run: ids of the jobs and denials of this stretch, in order and without their prefix. */
  ids: ReadonlySet<string>
}
export async function tilesOfJob(db: Db, tenant: string, job_id: string): Promise<Spoken> {
  const rows = await db.query<{ tiles: string | null }>(OF_JOB, [tenant, job_id])
  return { tiles: namesIn(rows), ids: new Set() }
}
/** What speaks of the rollout itself; its jobs have tiles of their own. */
export async function tilesOfRollout(db: Db, tenant: string, rollout_id: string): Promise<Spoken> {
  return { tiles: await db.query<TileName>(OF_ROLLOUT, [tenant, rollout_id]), ids: new Set() }
}
/** The next so many jobs and denials of a run: whoever fills a run chooses how large it is, so it is never read whole. */
export async function tilesOfRun(
  db: Db,
  tenant: string,
  run_id: string,
  after: string,
  limit: number,
): Promise<Spoken> {
  const rows = await db.query<{ id: string; tiles: string | null }>(OF_RUN, [tenant, run_id, after, limit])
  return { tiles: namesIn(rows), ids: new Set(rows.map(({ id }) => id)) }
}
function namesIn(rows: readonly { tiles: string | null }[]): TileName[] {
  const names = new Set(rows.flatMap((row) => (row.tiles ?? '').split(' ').filter((name) => name !== '')))
  return [...names].map((name) => {
    const slash = name.lastIndexOf('/')
    return { writer: name.slice(0, slash), seq: Number(name.slice(slash + 1)) }
  })
}
/** Where those of them stand that are integrated, in tree order. */
export function placesOf(db: Db, tenant: string, names: readonly TileName[]): Promise<TilePlace[]> {
  return db.query<TilePlace>(PLACES, [tenant, JSON.stringify(names)])
}
export function namedTiles(db: Db, tenant: string, names: readonly TileName[]): Promise<TileRow[]> {
  return db.query<TileRow>(NAMED, [tenant, JSON.stringify(names)])
}
export async function writeIntegration(
  db: Db,
  tenant: string,
  placed: { writer: string; seq: number; first_index: number }[],
  nodes: readonly NodeRow[],
  head: HeadRow,
): Promise<void> {
  const encoded = nodes.map((n) => ({ level: n.level, idx: n.index, hashes: Buffer.from(n.hashes).toString('base64') }))
  await db.query(INTEGRATE, [
    tenant,
    JSON.stringify(placed.map((p) => ({ tenant, ...p }))),
    JSON.stringify(encoded),
    JSON.stringify([head]),
  ])
}
export async function closeWriter(db: Db, tenant: string, writer: string, at: number): Promise<void> {
  await db.query(CLOSE_WRITER, [tenant, writer, at])
}
