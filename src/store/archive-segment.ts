import { type Checkpoint, checkpointOpener, type OpenCheckpoint, originOf } from '../core/audit/checkpoint.js'
import type { AuditRecord } from '../core/audit/export.js'
import { base64, HASH_BYTES, leafHash, sameHash } from '../core/audit/hash.js'
import { formatVkey, type SigningKey, signatureChecker } from '../core/audit/keys.js'
import { tileFault, tileLines } from '../core/audit/tile.js'
import { appendLeaves, type Edge, EMPTY_EDGE, edgeRoot, leafHashes, loadEdge } from '../core/audit/tree.js'
import type { Db } from '../platform/db/seam.js'
import { headsBetween } from './archives.js'
import { headOfSize, listWriters, placedTiles, readNodes, type TileRow } from './audit.js'

/** Tiles read at once; one is mostly about 1 KB, and 1 MB at most or so. */
const PAGE = 16

/** What does not verify is never archived: a forgery would be laundered, and where it is be lost. A person has to look. */
export class Unarchivable extends Error {
  constructor(tenant: string, why: string) {
    super(`the audit log of ${tenant} is not archived: ${why}`)
    this.name = 'Unarchivable'
  }
}

/** Entries from `first` to a signed head of `size`. */
interface Range {
  tenant: string
  first: number
  size: number
}

/**
 * The segment as an export would have it, but for the leaf hashes, which the bodies give. Every entry is checked as `audit verify`
 * would: tile by tile against its writer's key, leaf by leaf against the stored tree, and grown from the last signed head to the next.
 * Throws Unarchivable at the first that does not hold.
 */
export async function* segmentRecords(
  db: Db,
  key: SigningKey,
  { tenant, first, size }: Range,
): AsyncGenerator<AuditRecord> {
  const origin = originOf(tenant)
  const check = signatureChecker(key.publicKey)
  const own = base64(key.publicKey)
  const writers = new Map((await listWriters(db, tenant)).map((writer) => [writer.writer, writer]))
  const tree = await Growing.from(db, tenant, first, size, checkpointOpener(origin, [key.publicKey]))
  const counts = { writers: 0, tiles: 0, entries: 0, heads: 0 }
  yield {
    record: 'export',
    sallyport_audit_export: 1,
    tenant,
    origin,
    exported_at: tree.signedAt,
    key: formatVkey(origin, key.publicKey),
  }
  const listed = new Set<string>()
  for await (const { tile, stored } of tilesOf(db, tenant, first, size)) {
    const { writer, seq, body } = tile
    const row = writers.get(writer)
    if (row?.public_key !== own) throw new Unarchivable(tenant, `its writer ${writer} has a key that is not ours`)
    if (body === null) throw new Unarchivable(tenant, `tile ${seq} of writer ${writer} is empty`)
    const lines = tileLines({ body })
    const fault = tileFault({ ...tile, body }, lines, check)
    if (fault !== null) throw new Unarchivable(tenant, `tile ${seq} of writer ${writer} is not as signed (${fault})`)
    tree.take(tile, lines.map(leafHash), stored)
    if (!listed.has(writer)) {
      listed.add(writer)
      counts.writers++
      // Whether it was closed meanwhile differs from try to try, and the file must not.
      yield { record: 'writer', writer, public_key: own, started_at: row.started_at, closed_at: null }
    }
    counts.tiles++
    counts.entries += tile.count
    yield { record: 'tile', ...tile, body, leaf_hashes: null }
    const head = await tree.head()
    if (head === null) continue
    counts.heads++
    yield { record: 'head', checkpoint: head }
  }
  if (tree.size !== size)
    throw new Unarchivable(tenant, `it ends at entry ${tree.size}, and a head of ${size} is signed`)
  yield { record: 'end', ...counts }
}

/** Tiles in tree order, each with the stored hashes of its entries. */
async function* tilesOf(
  db: Db,
  tenant: string,
  first: number,
  size: number,
): AsyncGenerator<{ tile: TileRow; stored: Uint8Array }> {
  for (let from = first; from < size; ) {
    const tiles = (await placedTiles(db, tenant, from, PAGE)).filter((tile) => (tile.first_index ?? 0) < size)
    const last = tiles.at(-1)
    if (last === undefined) return
    const end = Math.min(size, (last.first_index ?? 0) + last.count)
    const stored = await leafHashes(from, end, (wanted) => readNodes(db, tenant, wanted))
    for (const tile of tiles) {
      const at = (tile.first_index ?? 0) - from
      yield { tile, stored: stored.subarray(at * HASH_BYTES, (at + tile.count) * HASH_BYTES) }
    }
    from = end
  }
}

/** The tree from one signed head on, grown by what the entries are and held against what is stored and signed. */
class Growing {
  private readonly tenant: string
  private edge: Edge
  private leaves: Uint8Array[] = []
  private readonly heads: AsyncGenerator<{ size: number; checkpoint: string }>
  private next: { size: number; checkpoint: string } | null = null
  private readonly open: OpenCheckpoint
  /** When the head that ends the segment was signed. */
  readonly signedAt: number

  private constructor(db: Db, tenant: string, edge: Edge, size: number, open: OpenCheckpoint, at: number) {
    this.tenant = tenant
    this.edge = edge
    this.open = open
    this.heads = headsBetween(db, tenant, edge.size, size)
    this.signedAt = at
  }

  static async from(db: Db, tenant: string, first: number, size: number, open: OpenCheckpoint): Promise<Growing> {
    const edge = first === 0 ? EMPTY_EDGE : await loadEdge(first, (wanted) => readNodes(db, tenant, wanted))
    const end = await headOfSize(db, tenant, size)
    const grown = new Growing(db, tenant, edge, size, open, end?.at ?? 0)
    if (first > 0) {
      const head = await headOfSize(db, tenant, first)
      if (head === null) throw new Unarchivable(tenant, `the head of ${first} entries is gone`)
      grown.holds(head, edgeRoot(edge))
    }
    await grown.turn()
    return grown
  }

  get size(): number {
    return this.edge.size + this.leaves.length
  }

  take(tile: TileRow, leaves: readonly Uint8Array[], stored: Uint8Array): void {
    const { tenant, size: from } = this
    if (tile.first_index !== from) throw new Unarchivable(tenant, `entry ${from} is not where it was`)
    if (!sameHash(stored, Buffer.concat(leaves)))
      throw new Unarchivable(tenant, `the stored hashes of entries ${from} to ${from + leaves.length - 1} are others`)
    for (const leaf of leaves) this.leaves.push(leaf)
    if (this.next !== null && this.size > this.next.size)
      throw new Unarchivable(tenant, `a head of ${this.next.size} entries ends within a tile`)
  }

  /** The head that is reached now, checked; null within two. */
  async head(): Promise<string | null> {
    const { next } = this
    if (next === null || next.size !== this.size) return null
    const { edge, root } = appendLeaves(this.edge, this.leaves)
    this.holds(next, root)
    this.edge = edge
    this.leaves = []
    await this.turn()
    return next.checkpoint
  }

  private async turn(): Promise<void> {
    const { value, done } = await this.heads.next()
    this.next = done === true ? null : value
  }

  private holds(row: { size: number; checkpoint: string }, root: Uint8Array): void {
    const { tenant } = this
    let head: Checkpoint
    try {
      head = this.open(row.checkpoint)
    } catch (error) {
      throw new Unarchivable(tenant, `the head of ${row.size} entries: ${(error as Error).message}`)
    }
    if (head.size !== row.size || !sameHash(head.root, root))
      throw new Unarchivable(tenant, `its entries do not hash to the signed head of ${row.size}`)
  }
}
