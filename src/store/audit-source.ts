import { originOf } from '../core/audit/checkpoint.js'
import type { AuditSource } from '../core/audit/export.js'
import { HASH_BYTES } from '../core/audit/hash.js'
import { formatVkey } from '../core/audit/keys.js'
import { leafHashes } from '../core/audit/tree.js'
import type { Db } from '../platform/db/seam.js'
import { auditEnd, getTile, listHeads, listWriters, placedTiles, readNodes } from './audit.js'

const PAGE = 200

/**
 * A tenant's log as the verifier reads it, while the server goes on writing. Where every part ends is fixed before the first is
 * given: the waiting tiles, the end of the placed ones and the newest head are read in one statement; what is integrated meanwhile
 * is not shown, and shows up in the next export. A head beyond the last tile is shown: it is the trace of a cut tail.
 */
export async function auditSource(db: Db, tenant: string, publicKey: Uint8Array, now: number): Promise<AuditSource> {
  const origin = originOf(tenant)
  const { end, signed, waiting } = await auditEnd(db, tenant)
  const heads = (await listHeads(db, tenant)).filter((head) => head.size <= Math.max(end, signed))
  const writers = await listWriters(db, tenant)
  return {
    header: { tenant, origin, exported_at: now, key: formatVkey(origin, publicKey) },
    async *writers() {
      for (const { tenant: _tenant, ...writer } of writers) yield writer
    },
    async *tiles() {
      for (let from = 0; ; ) {
        const tiles = await placedTiles(db, tenant, from, PAGE)
        for (const tile of tiles) {
          const first = tile.first_index ?? 0
          if (first >= end) return
          yield { ...tile, leaf_hashes: await storedLeaves(db, tenant, first, first + tile.count) }
          from = first + 1
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
        const { first_index: _index, ...rest } = tile
        yield rest
      }
    },
  }
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
