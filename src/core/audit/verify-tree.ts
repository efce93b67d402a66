import type { Checkpoint } from './checkpoint.js'
import type { PlacedTile } from './export.js'
import type { Faults } from './faults.js'
import { Frontier } from './frontier.js'
import { HASH_BYTES, leafHash, sameHash } from './hash.js'

export interface OutsideHead {
  size: number
  root: Uint8Array
}

/** Where a tile stands and which of its entries, if any, is not the one whose hash is stored. */
export interface Place {
  first: number
  /** Hashes of the lines as they are; of a tile whose body is not at hand, the stored ones. */
  leaves: Uint8Array[]
  /** Index in the tree of the first entry that differs from its stored hash. */
  differs: number | null
}

interface Divergence {
  index: number
  writer: string
  seq: number
  /** The tile itself does not hash to what was signed: so the entry is bad, not its stored hash. */
  altered: boolean
}

/**
 * Entries against heads. Two trees are grown side by side: one of the entries as they are, and, from the first entry that
 * differs from its stored hash, one of the stored hashes. The next signed head says which of them is the true one, and so
 * whether the entry was altered or only its stored hash.
 */
export class TreeCheck {
  size = 0
  /** Size of the last head that held: entries before it are as they were signed. */
  trusted = 0
  private trustedBefore = 0
  /** Size of the largest head from outside that could be compared. */
  checkedTo: number | null = null

  private readonly faults: Faults
  private actual: Frontier | null = new Frontier()
  private stored: Frontier | null = null
  private divergence: Divergence | null = null
  /** Heads that neither tree answers, until a later head shows whether they or the entries are wrong. */
  private doubted: Checkpoint[] = []
  private lastHead: { size: number; root: Uint8Array } = { size: 0, root: new Uint8Array(0) }
  private cutReported = false
  private outside: OutsideHead[] = []
  private nextOutside = 0
  private outsideTrusted = 0

  constructor(faults: Faults) {
    this.faults = faults
  }

  begin(outside: OutsideHead[]): void {
    this.outside = outside
    this.compareOutside()
  }

  /** Hashes the lines of an integrated tile and compares them with the stored hashes. */
  place(tile: PlacedTile, lines: readonly string[] | null): Place {
    const first = tile.first_index as number
    if (lines === null) {
      const leaves = storedLeaves(tile)
      if (leaves.length !== tile.count) this.unknown(tile, first)
      return { first, leaves, differs: null }
    }
    const leaves = lines.map(leafHash)
    return { first, leaves, differs: differingAt(first, leaves, tile.leaf_hashes) }
  }

  /** Adds the tile to the tree. `altered`: it does not hash to what was signed. */
  grow(tile: PlacedTile, place: Place, altered: boolean): void {
    const { first, leaves, differs } = place
    if (first !== this.size) this.displaced(tile, first)
    const { writer, seq, count } = tile
    if (differs !== null && this.divergence === null) {
      this.divergence = { index: differs, writer, seq, altered }
      this.stored = this.actual?.copy() ?? null
    }
    this.stored = growStored(this.stored, tile)
    this.size = Math.max(this.size, first + count)
    if (leaves.length !== count) this.actual = null // its indexes no longer mean anything
    if (this.actual === null) return
    for (const leaf of leaves) {
      this.actual.push(leaf)
      this.compareOutside()
    }
  }

  private unknown({ writer, seq, count }: PlacedTile, first: number): void {
    const message = `neither the entries of tile ${seq} of writer ${writer} are here nor their stored hashes`
    this.faults.add('entries_missing', message, { writer, seq, index: first, to: first + Math.max(0, count - 1) })
  }

  private displaced(tile: PlacedTile, first: number): void {
    const { writer, seq } = tile
    if (first > this.size) {
      this.faults.add('entries_missing', `entries ${this.size} to ${first - 1} are missing`, {
        writer: null,
        index: this.size,
      })
    } else {
      this.faults.add('entries_displaced', `a tile says it begins at entry ${first}, where others already are`, {
        writer,
        seq,
        index: first,
      })
    }
    this.actual = null
    this.stored = null
  }

  /** Takes a head whose signature holds. True if the entries so far hash to it. */
  head(head: Checkpoint): boolean {
    if (this.forks(head)) return false
    if (head.size >= this.lastHead.size) this.lastHead = { size: head.size, root: head.root }
    if (head.size > this.size) return this.cut(head)
    if (head.size < this.size) {
      this.faults.add('head_misplaced', `the head of size ${head.size} comes after ${this.size} entries`)
      return false
    }
    if (this.actual === null && this.stored === null) return false // reported where the tree was broken
    if (answers(this.actual, head)) return this.holds(head, false)
    if (answers(this.stored, head)) return this.holds(head, true)
    if (this.doubted.length < 10) this.doubted.push(head)
    return false
  }

  private forks(head: Checkpoint): boolean {
    const { size, root } = this.lastHead
    if (head.size !== size || root.length === 0 || sameHash(head.root, root)) return false
    const to = Math.max(0, size - 1)
    this.faults.add('head_fork', `two signed heads of size ${size} differ: the log was shown in two versions`, {
      index: Math.min(this.trusted === size ? this.trustedBefore : this.trusted, to),
      to,
    })
    return true
  }

  private cut(head: Checkpoint): false {
    if (this.cutReported) return false
    this.cutReported = true
    this.faults.add('tail_cut', `a head over ${head.size} entries is signed, and ${this.size} are here`, {
      index: this.size,
    })
    return false
  }

  private holds(head: Checkpoint, byStoredHashes: boolean): true {
    for (const doubted of this.doubted) {
      this.faults.add(
        'head_inconsistent',
        `the signed head of size ${doubted.size} is not extended by that of ${head.size}`,
        {
          index: Math.min(this.trusted, Math.max(0, doubted.size - 1)),
          to: Math.max(0, doubted.size - 1),
        },
      )
    }
    this.doubted = []
    if (this.divergence) this.settle(this.divergence, byStoredHashes)
    if (byStoredHashes) {
      this.actual = this.stored // go on from what was signed, so that the next fault stands by itself
      this.compareOutside()
    }
    this.divergence = null
    this.stored = null
    if (head.size > this.trusted) this.trustedBefore = this.trusted
    this.trusted = head.size
    return true
  }

  private settle({ index, writer, seq }: Divergence, altered: boolean): void {
    const blame = { index, writer, seq }
    if (altered) this.faults.add('entry_altered', `entry ${index} is not the one in the signed tree`, blame)
    else
      this.faults.add('stored_hash_altered', `the stored hash of entry ${index} is not that of the signed tree`, blame)
  }

  /** Compares every head from outside whose size is reached. Those passed over while the tree was broken stay uncompared. */
  private compareOutside(): void {
    const size = this.actual?.size ?? -1
    for (
      let head = this.outside[this.nextOutside];
      head && head.size <= size;
      head = this.outside[++this.nextOutside]
    ) {
      if (head.size < size) continue
      this.checkedTo = size
      if (answers(this.actual, head)) {
        this.outsideTrusted = size
        continue
      }
      const to = Math.max(0, size - 1)
      this.faults.add('outside_head_mismatch', `the head of size ${size} kept outside is of another history`, {
        index: Math.min(this.outsideTrusted, to),
        to,
      })
    }
  }

  end(): void {
    const [doubted] = this.doubted
    if (doubted) {
      const last = Math.max(0, doubted.size - 1)
      const to = Math.min(last, this.divergence?.index ?? last)
      const index = Math.min(this.trusted, to)
      this.faults.add('root_mismatch', `the entries do not hash to the signed head of size ${doubted.size}`, {
        index,
        to,
      })
    }
    if (this.divergence) this.settle(this.divergence, this.divergence.altered || doubted !== undefined)
    if (this.size > this.lastHead.size) {
      this.faults.add('head_missing', `no signed head covers entries ${this.lastHead.size} to ${this.size - 1}`, {
        index: this.lastHead.size,
        to: this.size - 1,
      })
    }
    const largest = this.outside.at(-1)
    if (largest && largest.size > this.size) {
      this.checkedTo = largest.size
      this.faults.add('truncated', `a head kept outside counts ${largest.size} entries, and ${this.size} are here`, {
        index: this.size,
      })
    }
  }
}

function answers(tree: Frontier | null, head: { size: number; root: Uint8Array }): boolean {
  return tree !== null && tree.size === head.size && sameHash(tree.root(), head.root)
}

/** Fewer than there are entries where the stored row is damaged. */
function storedLeaves({ leaf_hashes, count }: PlacedTile): Uint8Array[] {
  if (leaf_hashes?.length !== count * HASH_BYTES) return []
  return Array.from({ length: count }, (_, n) => leaf_hashes.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES))
}

function growStored(stored: Frontier | null, { leaf_hashes, count }: PlacedTile): Frontier | null {
  if (stored === null || leaf_hashes?.length !== count * HASH_BYTES) return null
  for (let at = 0; at < leaf_hashes.length; at += HASH_BYTES) stored.push(leaf_hashes.subarray(at, at + HASH_BYTES))
  return stored
}

function differingAt(first: number, leaves: readonly Uint8Array[], stored: Uint8Array | null): number | null {
  if (stored === null) return null
  const count = stored.length / HASH_BYTES
  for (let i = 0; i < Math.min(leaves.length, count); i++) {
    if (!sameHash(leaves[i] as Uint8Array, stored.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES))) return first + i
  }
  return leaves.length === count ? null : first + Math.min(leaves.length, count)
}
