import { EMPTY_ROOT, HASH_BYTES, nodeHash } from './hash.js'

/**
 * The Merkle tree of RFC 6962 over a tenant's entries, stored as tlog-tiles lays it out: the hashes of every eighth level,
 * 256 to a row. Row (0, n) holds the hashes of leaves 256n…256n+255; row (l, n) the roots of 256 complete rows of level l-1.
 * What lies between is hashed when asked for. So a proof in a tree of a million entries reads at most five rows, and a
 * start reads only the unfinished row of each level. Only the last row of a level grows; complete rows never change.
 */
export const ROW_WIDTH = 256
export const ROW_HEIGHT = 8

/** A row of the tree: `level` counts rows of height 8 from the leaves, `index` from the left. */
export interface NodeRef {
  level: number
  index: number
}

/** A row to store over what stood there: 32 bytes for each hash, 8 KiB when complete. */
export interface NodeRow extends NodeRef {
  hashes: Uint8Array
}

/** Reads rows, all of one proof in one call so that a store needs one query. Answers in the order asked; null: no such row. */
export type ReadNodes = (wanted: readonly NodeRef[]) => Promise<readonly (Uint8Array | null)[]>

/** The growing side of the tree: the unfinished row of every level, lowest first. Never changed in place. */
export interface Edge {
  size: number
  rows: readonly Uint8Array[]
}

/** A stored row is missing or too short for the size claimed: the table is damaged, and nothing may be signed upon it. */
export class TreeDamage extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'TreeDamage'
  }
}

export const EMPTY_EDGE: Edge = { size: 0, rows: [] }

/** Leaves from `from` up to and without `to`. */
interface Span {
  from: number
  to: number
}

type Rows = Map<string, Uint8Array>

/** The rows `loadEdge` reads for a tree of this size: at most one per level, no leaves beyond the unfinished 255. */
export function edgeRefs(size: number): NodeRef[] {
  const refs: NodeRef[] = []
  for (let level = 0; ROW_WIDTH ** level <= size; level++) {
    refs.push({ level, index: Math.floor(size / ROW_WIDTH ** (level + 1)) })
  }
  return refs
}

/** The growing side of a stored tree. Throws TreeDamage. */
export async function loadEdge(size: number, read: ReadNodes): Promise<Edge> {
  const refs = edgeRefs(size)
  const stored = refs.length === 0 ? [] : await read(refs)
  const rows = refs.map(({ level, index }, i) => {
    const length = widthAt(size, level) * HASH_BYTES
    const row = stored[i]
    if (length > 0 && (!row || row.length < length)) throw damage(level, index)
    return row ? row.subarray(0, length) : new Uint8Array(0)
  })
  return { size, rows }
}

function widthAt(size: number, level: number): number {
  return Math.floor(size / ROW_WIDTH ** level) % ROW_WIDTH
}

export interface Growth {
  edge: Edge
  root: Uint8Array
  /** Rows to store, each once, at its final width. */
  writes: NodeRow[]
}

/** Adds leaves at the right. */
export function appendLeaves(edge: Edge, leafHashes: readonly Uint8Array[]): Growth {
  const writes: NodeRow[] = []
  const rows: Uint8Array[] = []
  let size = edge.size
  let incoming = leafHashes
  for (let level = 0; incoming.length > 0; level++) {
    const grown = growLevel(level, Math.floor(size / ROW_WIDTH), edge.rows[level], incoming)
    writes.push(...grown.writes)
    rows[level] = grown.rest
    size = Math.floor(size / ROW_WIDTH)
    incoming = grown.roots
  }
  const next = { size: edge.size + leafHashes.length, rows: [...rows, ...edge.rows.slice(rows.length)] }
  return { edge: next, root: edgeRoot(next), writes }
}

/** One level of an append: the rows that changed, the unfinished one that is left, and the roots of those completed. */
function growLevel(level: number, index: number, unfinished: Uint8Array | undefined, incoming: readonly Uint8Array[]) {
  const bytes = Buffer.concat([unfinished ?? new Uint8Array(0), ...incoming])
  const rowBytes = ROW_WIDTH * HASH_BYTES
  const writes: NodeRow[] = []
  const roots: Uint8Array[] = []
  let at = 0
  for (; at + rowBytes <= bytes.length; at += rowBytes) {
    const hashes = bytes.subarray(at, at + rowBytes)
    writes.push({ level, index: index + roots.length, hashes })
    roots.push(foldRow(hashes, 0, ROW_WIDTH))
  }
  // Copied: a view would keep the whole of a large append alive for as long as its edge.
  const rest = Uint8Array.prototype.slice.call(bytes, at)
  if (rest.length > 0) writes.push({ level, index: index + roots.length, hashes: rest })
  return { writes, roots, rest }
}

/** Root of `count` (a power of two) hashes of a row, from hash `start`. */
function foldRow(row: Uint8Array, start: number, count: number): Uint8Array {
  let hashes: Uint8Array[] = []
  for (let i = start; i < start + count; i++) hashes.push(row.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES))
  while (hashes.length > 1) {
    const above: Uint8Array[] = []
    for (let i = 0; i < hashes.length; i += 2)
      above.push(nodeHash(hashes[i] as Uint8Array, hashes[i + 1] as Uint8Array))
    hashes = above
  }
  return hashes[0] as Uint8Array
}

/** Root of the tree whose growing side this is. */
export function edgeRoot(edge: Edge): Uint8Array {
  const rows: Rows = new Map(edgeRefs(edge.size).map((ref, level) => [rowKey(ref), edge.rows[level] as Uint8Array]))
  return spanHash({ from: 0, to: edge.size }, rows)
}

/** Root of the tree as it was at `size`. Throws TreeDamage. */
export async function rootAt(size: number, read: ReadNodes): Promise<Uint8Array> {
  const [root] = await hashSpans([{ from: 0, to: size }], read)
  return root as Uint8Array
}

/**
 * Audit path of entry `index` in the tree of `size` entries, RFC 6962 section 2.1.1, lowest first.
 * Throws RangeError unless index < size, TreeDamage where rows are missing.
 */
export function inclusionProof(index: number, size: number, read: ReadNodes): Promise<Uint8Array[]> {
  return hashSpans(inclusionSpans(index, size), read)
}

/**
 * Proof that the tree of `newSize` entries begins with that of `oldSize`, RFC 6962 section 2.1.2.
 * Empty for 0 and for equal sizes. Throws RangeError unless oldSize ≤ newSize, TreeDamage where rows are missing.
 */
export function consistencyProof(oldSize: number, newSize: number, read: ReadNodes): Promise<Uint8Array[]> {
  return hashSpans(consistencySpans(oldSize, newSize), read)
}

/** Leaf hashes `from`…`to` (without `to`) one after another, 32 bytes each. Throws TreeDamage. */
export async function leafHashes(from: number, to: number, read: ReadNodes): Promise<Uint8Array> {
  const refs: NodeRef[] = []
  for (let index = Math.floor(from / ROW_WIDTH); index * ROW_WIDTH < to; index++) refs.push({ level: 0, index })
  const rows = await readRows(refs, read)
  const parts = refs.map((ref) => {
    const start = Math.max(0, from - ref.index * ROW_WIDTH)
    const end = Math.min(ROW_WIDTH, to - ref.index * ROW_WIDTH)
    return hashesOf(rows, ref, start, end - start)
  })
  return Buffer.concat(parts)
}

function inclusionSpans(index: number, size: number): Span[] {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) {
    throw new RangeError(`there is no entry ${index} in a tree of ${size}`)
  }
  const path: Span[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + largestPowerBelow(to - from)
    if (index < middle) {
      path.push({ from: middle, to })
      to = middle
    } else {
      path.push({ from, to: middle })
      from = middle
    }
  }
  return path.reverse()
}

function consistencySpans(oldSize: number, newSize: number): Span[] {
  if (!Number.isSafeInteger(oldSize) || !Number.isSafeInteger(newSize) || oldSize < 0 || oldSize > newSize) {
    throw new RangeError(`a tree of ${oldSize} cannot be the beginning of one of ${newSize}`)
  }
  if (oldSize === 0 || oldSize === newSize) return []
  const path: Span[] = []
  let [from, to] = [0, newSize]
  // Walk down to where the old tree ends; what is passed on the way is the proof.
  while (to > oldSize) {
    const middle = from + largestPowerBelow(to - from)
    if (oldSize <= middle) {
      path.push({ from: middle, to })
      to = middle
    } else {
      path.push({ from, to: middle })
      from = middle
    }
  }
  // An old tree that is one complete subtree is the verifier's own old root: it is not repeated.
  if (from > 0) path.push({ from, to })
  return path.reverse()
}

/** The largest power of two smaller than n (n > 1). Arithmetic, not bits: sizes may pass 2^31. */
function largestPowerBelow(n: number): number {
  let power = 2 ** Math.floor(Math.log2(n))
  while (power >= n) power /= 2
  return power
}

async function hashSpans(spans: Span[], read: ReadNodes): Promise<Uint8Array[]> {
  const refs = new Map<string, NodeRef>()
  for (const span of spans) for (const { ref } of subtrees(span)) refs.set(rowKey(ref), ref)
  const rows = await readRows([...refs.values()], read)
  return spans.map((span) => spanHash(span, rows))
}

async function readRows(refs: NodeRef[], read: ReadNodes): Promise<Rows> {
  const stored = refs.length === 0 ? [] : await read(refs)
  const rows: Rows = new Map()
  refs.forEach((ref, i) => {
    const row = stored[i]
    if (row) rows.set(rowKey(ref), row)
  })
  return rows
}

/** A complete subtree inside one row: `count` hashes from `start`. */
interface Subtree {
  ref: NodeRef
  start: number
  count: number
}

/** A span as complete subtrees, largest first. Spans of a proof begin on a multiple of their largest, so each lies in one row. */
function subtrees({ from, to }: Span): Subtree[] {
  const parts: Subtree[] = []
  let at = from
  while (at < to) {
    let height = 0
    while (at % 2 ** (height + 1) === 0 && at + 2 ** (height + 1) <= to) height++
    const level = Math.floor(height / ROW_HEIGHT)
    const hashAt = at / ROW_WIDTH ** level
    const ref = { level, index: Math.floor(hashAt / ROW_WIDTH) }
    parts.push({ ref, start: hashAt % ROW_WIDTH, count: 2 ** (height % ROW_HEIGHT) })
    at += 2 ** height
  }
  return parts
}

function spanHash(span: Span, rows: Rows): Uint8Array {
  const roots = subtrees(span).map(({ ref, start, count }) => foldRow(hashesOf(rows, ref, start, count), 0, count))
  return roots.length === 0 ? EMPTY_ROOT : roots.reduceRight((right, left) => nodeHash(left, right))
}

function hashesOf(rows: Rows, ref: NodeRef, start: number, count: number): Uint8Array {
  const row = rows.get(rowKey(ref))
  const end = (start + count) * HASH_BYTES
  if (row === undefined || row.length < end) throw damage(ref.level, ref.index)
  return row.subarray(start * HASH_BYTES, end)
}

function rowKey({ level, index }: NodeRef): string {
  return `${level}/${index}`
}

function damage(level: number, index: number): TreeDamage {
  return new TreeDamage(`the stored row ${level}/${index} of the audit tree is missing or too short`)
}
