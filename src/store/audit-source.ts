import type { AuditSource } from '../core/audit/export.js'
import { originOf } from '../core/audit/checkpoint.js'
import { HASH_BYTES } from '../core/audit/hash.js'
import { formatVkey } from '../core/audit/keys.js'
import { leafHashes } from '../core/audit/tree.js'
import type { Db } from '../platform/db/seam.js'
import { listHeads, listWriters, placedTiles, readNodes, waitingTiles } from './audit.js'

const PAGE = 200

/**
 * A tenant's log as the verifier reads it. What is waiting is read first and written last: a tile integrated in between shows
 * up among the placed ones and is left out of the waiting, so that the stream shows every entry exactly once.
 */
export async function auditSource(db: Db, tenant: string, publicKey: Uint8Array, now: number): Promise<AuditSource> {
  const origin = originOf(tenant)
  const heads = await listHeads(db, tenant)
  const size = heads.at(-1)?.size ?? 0
  const writers = await listWriters(db, tenant)
  const waiting = await waitingTiles(db, tenant, 1_000_000)
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
          if (first >= size) return
          const end = Math.min(first + tile.count, size)
          yield { ...tile, leaf_hashes: await storedLeaves(db, tenant, first, end) }
          from = first + 1
        }
        if (tiles.length < PAGE) return
      }
    },
    async *heads() {
      for (const { size, checkpoint } of heads) yield { size, checkpoint }
    },
    async *waiting() {
      const sorted = [...waiting].sort((a, b) => (a.writer < b.writer ? -1 : a.writer > b.writer ? 1 : a.seq - b.seq))
      for (const { first_index: _index, ...tile } of sorted) yield tile
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
