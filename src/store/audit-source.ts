import { originOf } from '../core/audit/checkpoint.js'
import type { AuditSource } from '../core/audit/export.js'
import { HASH_BYTES } from '../core/audit/hash.js'
import { formatVkey } from '../core/audit/keys.js'
import { leafHashes } from '../core/audit/tree.js'
import type { Db } from '../platform/db/seam.js'
import type { ArchiveFolder } from './archive-folder.js'
import { archiveOf } from './archives.js'
import { auditEnd, getTile, listHeads, listWriters, placedTiles, readNodes, type TileRow } from './audit.js'
import { type BodySource, withBodies } from './tile-bodies.js'

const PAGE = 200

/**
 * A tenant's log as the verifier reads it, while the server goes on writing. Where every part ends is fixed before the first is
 * given: the waiting tiles, the end of the placed ones and the newest head are read in one statement; what is integrated meanwhile
 * is not shown, and shows up in the next export. A head beyond the last tile is shown: it is the trace of a cut tail.
 *
 * A tile whose body is in a file is shown without it (`withArchive` puts it back), unless it went there meanwhile: of that file
 * nothing is said here. Throws ArchivedMeanwhile where it is not to be had either.
 */
export async function auditSource(
  db: Db,
  tenant: string,
  publicKey: Uint8Array,
  now: number,
  archive: ArchiveFolder | null = null,
): Promise<AuditSource> {
  const from = { db, archive }
  const origin = originOf(tenant)
  const { end, signed, waiting, archives } = await auditEnd(db, tenant)
  const inFiles = archives.at(-1)?.size ?? 0
  const heads = (await listHeads(db, tenant)).filter((head) => head.size <= Math.max(end, signed))
  const writers = await listWriters(db, tenant)
  return {
    header: { tenant, origin, exported_at: now, key: formatVkey(origin, publicKey) },
    async *writers() {
      for (const { tenant: _tenant, ...writer } of writers) yield writer
    },
    async *archives() {
      yield* archives
    },
    async *tiles() {
      for (let next = 0; ; ) {
        const tiles = await placedTiles(db, tenant, next, PAGE)
        for (const tile of tiles) {
          const first = tile.first_index ?? 0
          if (first >= end) return
          const { body } = first < inFiles ? tile : await meanwhile(from, tenant, tile)
          yield { ...tile, body, leaf_hashes: await storedLeaves(db, tenant, first, first + tile.count) }
          next = first + 1
        }
        if (tiles.length < PAGE) return
      }
    },
    async *heads() {
      for (const { size, checkpoint } of heads) yield { size, checkpoint }
    },
    async *waiting() {
      for (const { writer, seq } of waiting) {
        const tile = await getTile(db, tenant, writer, seq)
        if (tile === null) continue
        const { first_index: _index, ...rest } = await meanwhile(from, tenant, tile)
        yield rest
      }
    },
  }
}

/** The list of files was longer by the time this tile was read, and its file cannot be read here. */
export class ArchivedMeanwhile extends Error {
  constructor(index: number) {
    super(`entry ${index} went into an archive while the log was read, and cannot be read from there; begin again`)
    this.name = 'ArchivedMeanwhile'
  }
}

async function meanwhile(from: BodySource, tenant: string, tile: TileRow): Promise<TileRow> {
  if (tile.body !== null || tile.first_index === null) return tile
  if ((await archiveOf(from.db, tenant, tile.first_index)) === null) return tile
  const [found] = await withBodies(from, tenant, [tile])
  if (found?.body == null) throw new ArchivedMeanwhile(tile.first_index)
  return found
}

/** Stored leaf hashes of a range; null where the rows are damaged, which the verifier reports by itself. */
async function storedLeaves(db: Db, tenant: string, from: number, to: number): Promise<Uint8Array | null> {
  try {
    const bytes = await leafHashes(from, to, (wanted) => readNodes(db, tenant, wanted))
    return bytes.length === (to - from) * HASH_BYTES ? bytes : null
  } catch {
    return null
  }
}
