import { closingsIn } from '../audit.js'
import type { Checkpoint, ClosedWriter } from './checkpoint.js'
import { leafHash, sameHash } from './hash.js'
import type { CheckSignature } from './keys.js'
import { type Chain, chainAfter, continues, type Tile, type TileFault, tileFault, tileLines } from './tile.js'
import { appendLeaves, type Edge, edgeRoot, type NodeRow } from './tree.js'

/** What the integrator knows before it takes new tiles; all of it is loaded by size, never by reading leaves. */
export interface Standing {
  origin: string
  edge: Edge
  /** Root of the last signed head; null before the first. The edge must still hash to it, or nothing is signed. */
  signedRoot: Uint8Array | null
  /** Per writer of a waiting tile: where its integrated chain ends, and the check of its key. */
  writers: ReadonlyMap<string, { chain: Chain; check: CheckSignature }>
}

export interface Placement {
  writer: string
  seq: number
  /** Index in the tree of the tile's first entry. */
  first_index: number
}

export interface Refusal {
  writer: string
  seq: number
  /** `chain`: its predecessor is not integrated, or it does not follow from it. `writer`: nobody knows this writer. */
  fault: TileFault | 'chain' | 'writer'
}

export interface Integration {
  /** In tree order. */
  placements: Placement[]
  writes: NodeRow[]
  edge: Edge
  /** The head to sign; null where no tile was placed. */
  head: Checkpoint | null
  /** Where the chains stand now, for the next call; only those that moved. */
  chains: Chain[]
  /** Tiles that were left out: everything a writer wrote from the first bad one on. Someone must look at these. */
  refused: Refusal[]
}

/** The stored tree does not hash to the head that was signed over it. Nothing may be added until a person has looked. */
export class TreeMismatch extends Error {
  constructor(size: number) {
    super(`the stored audit tree of ${size} entries does not have the root of its signed head`)
    this.name = 'TreeMismatch'
  }
}

/**
 * Plans the next piece of the tree: which tiles go where, which rows change, what head to sign at `at` (epoch ms).
 * Pure: the caller commits placements, rows and head in one transaction. Each tile is checked once more against its writer's
 * key and chain, because what is signed here is vouched for. Yields about every millisecond of work: of a second with a thousand
 * jobs it takes 20, for which whoever asks the node something would wait. Throws TreeMismatch.
 */
export function* integrate(standing: Standing, tiles: readonly Tile[], at: number): Generator<void, Integration, void> {
  const { edge, signedRoot } = standing
  if (signedRoot !== null && !sameHash(edgeRoot(edge), signedRoot)) throw new TreeMismatch(edge.size)
  const { accepted, chains, refused } = yield* acceptTiles(standing.writers, tiles)
  const ordered = inTreeOrder(accepted)
  const placements: Placement[] = []
  const leaves: Uint8Array[] = []
  const closed: ClosedWriter[] = []
  for (const { tile, hashes, closings } of ordered) {
    placements.push({ writer: tile.writer, seq: tile.seq, first_index: edge.size + leaves.length })
    leaves.push(...hashes)
    closed.push(...closings)
  }
  if (leaves.length === 0) return { placements, writes: [], edge, head: null, chains, refused }
  const grown = appendLeaves(edge, leaves)
  const head = { origin: standing.origin, size: grown.edge.size, root: grown.root, at, closed }
  return { placements, writes: grown.writes, edge: grown.edge, head, chains, refused }
}

interface Accepted {
  tile: Tile
  hashes: Uint8Array[]
  closings: ClosedWriter[]
}

/** Entries that are checked and hashed at once, in whole tiles. */
const PART = 256

function* acceptTiles(writers: Standing['writers'], tiles: readonly Tile[]) {
  let part = 0
  const ends = new Map<string, Chain>()
  const accepted: Accepted[] = []
  const refused: Refusal[] = []
  for (const tile of [...tiles].sort((a, b) => a.seq - b.seq)) {
    const lines = tileLines(tile)
    const fault = acceptFault(writers.get(tile.writer), ends.get(tile.writer), tile, lines)
    if (fault === null) {
      const closings = closingsIn(tile.body, lines).map(({ closing: { writer, last_seq } }) => ({ writer, last_seq }))
      accepted.push({ tile, hashes: lines.map(leafHash), closings })
      ends.set(tile.writer, chainAfter(tile))
    } else {
      refused.push({ writer: tile.writer, seq: tile.seq, fault })
    }
    part += lines.length
    if (part < PART) continue
    part = 0
    yield
  }
  return { accepted, refused, chains: [...ends.values()] }
}

function acceptFault(
  writer: { chain: Chain; check: CheckSignature } | undefined,
  end: Chain | undefined,
  tile: Tile,
  lines: string[],
): Refusal['fault'] | null {
  if (writer === undefined) return 'writer'
  if (!continues(end ?? writer.chain, tile)) return 'chain' // also everything after a tile that was refused
  return tileFault(tile, lines, writer.check)
}

/**
 * Tree order: each writer's tiles by seq; across writers by time, then by name. A writer whose clock stepped back keeps its
 * own order: its tiles count as no earlier than the one before.
 */
function inTreeOrder(accepted: readonly Accepted[]): Accepted[] {
  const latest = new Map<string, number>()
  const dated = [...accepted]
    .sort((a, b) => a.tile.seq - b.tile.seq)
    .map((each) => {
      const { writer, at } = each.tile
      const time = Math.max(at, latest.get(writer) ?? at)
      latest.set(writer, time)
      return { each, time, writer, seq: each.tile.seq }
    })
  dated.sort((a, b) => a.time - b.time || compare(a.writer, b.writer) || a.seq - b.seq)
  return dated.map(({ each }) => each)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
