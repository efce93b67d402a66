import { EMPTY_ROOT, nodeHash } from './hash.js'

/**
 * The least that must be remembered to go on hashing: the roots of the complete subtrees that the size in binary names,
 * lowest first (33 hashes at most for 2^33 entries). The verifier uses it and never the stored nodes, so it agrees with
 * core/audit/tree.ts only if both are right.
 */
export class Frontier {
  size = 0
  private peaks: (Uint8Array | undefined)[] = []

  push(leaf: Uint8Array): void {
    let carry = leaf
    let height = 0
    for (; ; height++) {
      const peak = this.peaks[height]
      if (peak === undefined) break
      carry = nodeHash(peak, carry)
      this.peaks[height] = undefined
    }
    this.peaks[height] = carry
    this.size++
  }

  /** Merkle tree hash of everything pushed so far, RFC 6962 section 2.1. */
  root(): Uint8Array {
    let root: Uint8Array | undefined
    for (const peak of this.peaks) {
      if (peak !== undefined) root = root === undefined ? peak : nodeHash(peak, root)
    }
    return root ?? EMPTY_ROOT
  }

  copy(): Frontier {
    const twin = new Frontier()
    twin.size = this.size
    twin.peaks = [...this.peaks]
    return twin
  }
}
