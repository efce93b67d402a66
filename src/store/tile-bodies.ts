import { readExport } from '../core/audit/export.js'
import { tileHash } from '../core/audit/tile.js'
import type { Db } from '../platform/db/seam.js'
import { type ArchiveFolder, ArchiveUnreadable } from './archive-folder.js'
import { type ArchiveFileRow, archiveOf } from './archives.js'
import type { TileRow } from './audit.js'

/** A tile as it was looked up: with its body, or with the reason why it cannot be had here. */
export interface FoundTile extends TileRow {
  /** Where the body is null. */
  absent: string | null
}

/** Where bodies of old tiles are looked for. */
export interface BodySource {
  db: Db
  /** Null: this node sees no archive. */
  archive: ArchiveFolder | null
}

/**
 * The tiles with the bodies that are in files put back, each only if it is the one that was signed. In the order given; neighbours in
 * the tree are read together.
 */
export async function withBodies(from: BodySource, tenant: string, tiles: readonly TileRow[]): Promise<FoundTile[]> {
  const found: FoundTile[] = []
  let part: Part | null = null
  for (const tile of tiles) {
    if (tile.body !== null || tile.first_index === null) {
      found.push({ ...tile, absent: null })
      continue
    }
    const index = tile.first_index
    if (part === null || index < part.first || index >= part.end) part = await partOf(from, tenant, index)
    found.push(filled(tile, part))
  }
  return found
}

/** Some tiles of a file, by the index of their first entry. */
interface Part {
  first: number
  end: number
  bodies: ReadonlyMap<number, string>
  absent: string | null
}

function filled(tile: TileRow, { bodies, absent }: Part): FoundTile {
  const body = bodies.get(tile.first_index as number)
  if (body === undefined) return { ...tile, absent: absent ?? 'its archive does not hold it' }
  if (tileHash({ ...tile, body }) !== tile.hash) return { ...tile, absent: 'its archive holds another one' }
  return { ...tile, body, absent: null }
}

async function partOf({ db, archive }: BodySource, tenant: string, index: number): Promise<Part> {
  const row = await archiveOf(db, tenant, index)
  const none = (absent: string): Part => ({ first: index, end: index + 1, bodies: new Map(), absent })
  if (row === null) return none('no archive holds it')
  if (archive === null) return none(`archive ${row.file}: this node has no SALLYPORT_AUDIT_ARCHIVE`)
  try {
    return await read(archive, row, index)
  } catch (error) {
    if (!(error instanceof ArchiveUnreadable)) throw error
    return { ...none(error.message), first: row.first, end: row.size }
  }
}

async function read(
  archive: ArchiveFolder,
  { file, size, bytes, parts }: ArchiveFileRow,
  index: number,
): Promise<Part> {
  const at = parts.findLastIndex(([first]) => first <= index)
  const [first, offset] = parts[at] ?? [0, 0]
  const [end, stop] = parts[at + 1] ?? [size, bytes]
  const bodies = new Map<number, string>()
  for await (const record of readExport((await archive.part(file, offset, stop)).split('\n')))
    if (record.record === 'tile' && record.body !== null && record.first_index !== null)
      bodies.set(record.first_index, record.body)
  return { first, end, bodies, absent: null }
}
