import { canonical, isWellFormed } from '../canonical.js'
import type { Json } from '../json.js'
import { base64, fromBase64, HASH_BYTES } from './hash.js'
import type { Tile } from './tile.js'

/**
 * A whole log as a stream of records, the one form the verifier reads. A database, a running server or an export file feeds it:
 *
 *   export   tenant, origin, key                                     first, once
 *   writer   a process that wrote, its public key, when it was closed
 *   archive  a file with bodies of old tiles; together they cover the log from its beginning
 *   tile     in tree order, each with its place and the stored leaf hashes
 *   head     every signed head, right after the tile that completes its size
 *   archive_fault  behind the tiles of a file that is gone or not the one the log names
 *   tile     those not yet in the tree: `first_index` null, each writer's by seq
 *   end      counts, so that a file cut in copying is not taken for a shorter log
 *
 * In a file each record is one line of JSON.
 */
export type AuditRecord =
  | ({ record: 'export'; sallyport_audit_export: 1 } & ExportHeader)
  | ({ record: 'writer' } & WriterRow)
  | ({ record: 'archive' } & ArchiveRow)
  | ({ record: 'archive_fault' } & ArchiveFault)
  | ({ record: 'tile' } & PlacedTile)
  | { record: 'head'; checkpoint: string }
  | ({ record: 'end' } & ExportCounts)
  | { record: 'malformed'; line: number; detail: string }

export interface ExportHeader {
  tenant: string
  origin: string
  /** Epoch ms. */
  exported_at: number
  /** Verifier key `name+id+base64` of the installation. */
  key: string
}

export interface WriterRow {
  writer: string
  /** Raw key in base64. */
  public_key: string
  /** Epoch ms. */
  started_at: number
  /** Epoch ms; null while it writes, or before the integrator noticed that it stopped. */
  closed_at: number | null
}

/** A file with the bodies of old tiles. */
export interface ArchiveRow {
  /** Index of its first entry. */
  first: number
  /** Size of the signed head it ends with. */
  size: number
  /** Below the folder of the archive: `<tenant>/<first>-<size>.<start of its hash>.jsonl.gz`. */
  file: string
  /** Of the file as it lies there, hex. */
  sha256: string
  /** Of this row and those before it: `archiveHash` in archive.ts. */
  archive_hash: string
}

/** What is wrong with a file that the log names. */
export interface ArchiveFault {
  file: string
  fault: 'missing' | 'damaged'
  detail: string
}

export interface PlacedTile extends Omit<Tile, 'body'> {
  /** Null: it is in the file of an archive, and was not read from there. */
  body: string | null
  /** Index in the tree of its first entry; null before it is integrated. */
  first_index: number | null
  /** The stored hashes of its entries (row level 0 of the tree), one after another; they tell which entry of an altered tile is the bad one. */
  leaf_hashes: Uint8Array | null
}

export interface ExportCounts {
  writers: number
  tiles: number
  entries: number
  heads: number
}

/**
 * Where a log can be read. Each part is read once, in the order written here, and all must show one moment: one read
 * transaction, or tiles bound by the newest head.
 */
export interface AuditSource {
  header: ExportHeader
  writers(): AsyncIterable<WriterRow>
  /** Files that hold bodies, oldest first. */
  archives(): AsyncIterable<ArchiveRow>
  /** Integrated tiles in tree order. */
  tiles(): AsyncIterable<PlacedTile>
  /** Signed heads, smallest first. `size` only says where to put it; the verifier believes the text. */
  heads(): AsyncIterable<{ size: number; checkpoint: string }>
  /** Tiles not yet integrated, each writer's by seq. */
  waiting(): AsyncIterable<Omit<Tile, 'body'> & { body: string | null }>
}

/** The source as one stream of records, in the order above. Holds one tile and one head at a time. */
export async function* recordsOf(source: AuditSource): AsyncGenerator<AuditRecord> {
  const counts: ExportCounts = { writers: 0, tiles: 0, entries: 0, heads: 0 }
  yield { record: 'export', sallyport_audit_export: 1, ...source.header }
  for await (const writer of source.writers()) {
    counts.writers++
    yield { record: 'writer', ...writer }
  }
  for await (const archive of source.archives()) yield { record: 'archive', ...archive }
  const heads = source.heads()[Symbol.asyncIterator]()
  let head = await heads.next()
  let size = 0
  for await (const tile of source.tiles()) {
    for (; !head.done && head.value.size <= size; head = await heads.next()) yield headRecord(head.value, counts)
    counts.tiles++
    counts.entries += tile.count
    size = (tile.first_index ?? size) + tile.count
    yield { record: 'tile', ...tile }
  }
  for (; !head.done; head = await heads.next()) yield headRecord(head.value, counts)
  for await (const tile of source.waiting()) {
    counts.tiles++
    counts.entries += tile.count
    yield { record: 'tile', ...tile, first_index: null, leaf_hashes: null }
  }
  yield { record: 'end', ...counts }
}

function headRecord({ checkpoint }: { checkpoint: string }, counts: ExportCounts): AuditRecord {
  counts.heads++
  return { record: 'head', checkpoint }
}

/** A record as its line of an export file, without the line break. */
export function recordLine(record: AuditRecord): string {
  if (record.record !== 'tile') return canonical(record as unknown as Json)
  const leaf_hashes = record.leaf_hashes === null ? null : base64(record.leaf_hashes)
  return canonical({ ...record, leaf_hashes } as unknown as Json)
}

/** The records of an export file's lines; a line that is none becomes a `malformed` record, numbered from 1. Never throws. */
export async function* readExport(lines: Iterable<string> | AsyncIterable<string>): AsyncGenerator<AuditRecord> {
  let line = 0
  for await (const text of lines) {
    line++
    if (text !== '') yield readRecord(text, line)
  }
}

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string' && isWellFormed(value)
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isHash: Check = (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)
const isLeafHashes: Check = (value) => value === null || value instanceof Uint8Array

const SHAPES = new Map<unknown, Record<string, Check>>([
  [
    'export',
    { sallyport_audit_export: (v) => v === 1, tenant: isText, origin: isText, exported_at: isCount, key: isText },
  ],
  ['writer', { writer: isText, public_key: isText, started_at: isCount, closed_at: orNull(isCount) }],
  ['archive', { first: isCount, size: isCount, file: isText, sha256: isHash, archive_hash: isHash }],
  ['archive_fault', { file: isText, fault: (v) => v === 'missing' || v === 'damaged', detail: isText }],
  [
    'tile',
    {
      tenant: isText,
      writer: isText,
      seq: isCount,
      at: isCount,
      count: isCount,
      prev_hash: isHash,
      body: orNull(isText),
      hash: isHash,
      signature: isText,
      first_index: orNull(isCount),
      leaf_hashes: isLeafHashes,
    },
  ],
  ['head', { checkpoint: isText }],
  ['end', { writers: isCount, tiles: isCount, entries: isCount, heads: isCount }],
])

function readRecord(text: string, line: number): AuditRecord {
  const malformed = (detail: string): AuditRecord => ({ record: 'malformed', line, detail })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return malformed('not JSON')
  }
  if (typeof value !== 'object' || value === null) return malformed('no record')
  const fields = value as Record<string, unknown>
  const shape = SHAPES.get(fields.record)
  if (shape === undefined) return malformed('no known kind of record')
  if (fields.record === 'tile' && fields.leaf_hashes !== null) fields.leaf_hashes = leafHashesOf(fields.leaf_hashes)
  for (const [name, check] of Object.entries(shape)) {
    if (!check(fields[name])) return malformed(`${fields.record}: bad or missing ${name}`)
  }
  return fields as unknown as AuditRecord
}

/** Undefined where the text is not a row of whole hashes in base64. */
function leafHashesOf(text: unknown): Uint8Array | undefined {
  const bytes = typeof text === 'string' ? fromBase64(text) : null
  return bytes !== null && bytes.length % HASH_BYTES === 0 ? bytes : undefined
}
