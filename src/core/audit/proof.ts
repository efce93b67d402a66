import { nodeHash, sameHash } from './hash.js'

/**
 * Checking proofs, by the algorithms of RFC 9162 sections 2.1.3.2 and 2.1.4.2. Written apart from the code in tree.ts that
 * makes them: a shared mistake would prove anything. Whoever is given hostile sizes or paths gets false, never an exception.
 */

/** Whether `path` proves that the leaf is entry `index` of the tree of `size` entries with this root. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isSize(index) || !isSize(size) || index >= size) return false
  let node = index
  let last = size - 1
  let hash = leaf
  for (const step of path) {
    if (last === 0) return false
    if (isOdd(node) || node === last) {
      hash = nodeHash(step, hash)
      while (!isOdd(node) && node !== 0) {
        node = half(node)
        last = half(last)
      }
    } else {
      hash = nodeHash(hash, step)
    }
    node = half(node)
    last = half(last)
  }
  return last === 0 && sameHash(hash, root)
}

/** Whether `path` proves that the tree of `newSize` entries begins with the tree of `oldSize`. */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  path: readonly Uint8Array[],
): boolean {
  if (!isSize(oldSize) || !isSize(newSize) || oldSize > newSize) return false
  if (oldSize === newSize) return path.length === 0 && sameHash(oldRoot, newRoot)
  if (oldSize === 0) return path.length === 0 // the empty tree begins every tree
  const steps = isPowerOfTwo(oldSize) ? [oldRoot, ...path] : [...path]
  const first = steps.shift()
  if (first === undefined) return false
  let node = oldSize - 1
  let last = newSize - 1
  while (isOdd(node)) {
    node = half(node)
    last = half(last)
  }
  let fromOld = first
  let fromNew = first
  for (const step of steps) {
    if (last === 0) return false
    if (isOdd(node) || node === last) {
      fromOld = nodeHash(step, fromOld)
      fromNew = nodeHash(step, fromNew)
      while (!isOdd(node) && node !== 0) {
        node = half(node)
        last = half(last)
      }
    } else {
      fromNew = nodeHash(fromNew, step)
    }
    node = half(node)
    last = half(last)
  }
  return last === 0 && sameHash(fromOld, oldRoot) && sameHash(fromNew, newRoot)
}

// Arithmetic, not bits: sizes may pass 2^31.
const isSize = (n: number): boolean => Number.isSafeInteger(n) && n >= 0
const isOdd = (n: number): boolean => n % 2 === 1
const half = (n: number): number => Math.floor(n / 2)

function isPowerOfTwo(n: number): boolean {
  let rest = n
  while (rest > 1 && !isOdd(rest)) rest = half(rest)
  return rest === 1
}
