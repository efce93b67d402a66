import { type Closing, closingsIn } from '../audit.js'
import type { Checkpoint } from './checkpoint.js'
import type { PlacedTile, WriterRow } from './export.js'
import type { Blame, Faults } from './faults.js'
import { fromBase64, sameHash } from './hash.js'
import { type CheckSignature, signatureChecker } from './keys.js'
import { type Chain, chainAfter, headerFault, startChain, type Tile, tileFault } from './tile.js'
import type { Place } from './verify-tree.js'

interface WriterState {
  row: WriterRow | null
  /** Null: its key cannot be used, which is reported once, with the writer. */
  check: CheckSignature | null
  chain: Chain
  /** Indexes in the tree of its newest tile: first, and one past the last. */
  first: number
  past: number
}

/** Where a chain ends. By a head that says so of a tile that is not at hand, the hash is not known. */
type Ending = Omit<Closing, 'last_hash'> & { last_hash: string | null; index: number | null }

/** Every writer's tiles: each by itself, each following from the one before, and ending where its closing entry says. */
export class ChainCheck {
  private readonly faults: Faults
  /** Size of the last head that held: nothing before it can be the first bad entry. */
  trusted = 0
  private tenant = ''
  private trustedKeys: readonly Uint8Array[] = []
  private readonly writers = new Map<string, WriterState>()
  private readonly closings = new Map<string, Ending>()
  /** One past the newest entry whose tile was not at hand. */
  private unread = 0

  constructor(faults: Faults) {
    this.faults = faults
  }

  begin(tenant: string, keys: readonly Uint8Array[]): void {
    this.tenant = tenant
    this.trustedKeys = keys
  }

  writer(row: WriterRow): void {
    const { writer } = row
    if (this.writers.has(writer)) {
      this.faults.add('export_malformed', `writer ${writer} is listed twice`, { writer })
      return
    }
    const key = fromBase64(row.public_key)
    const trusted = key !== null && this.trustedKeys.some((each) => sameHash(each, key))
    if (!trusted) this.faults.add('key_refused', `the key of writer ${writer} is not a trusted one`, { writer })
    const check = key?.length === 32 ? signatureChecker(key) : null
    const chain = startChain(this.tenant, writer, key ?? new Uint8Array(0))
    this.writers.set(writer, { row, check, chain, first: 0, past: 0 })
  }

  /**
   * Takes a tile with its place in the tree, or null for one that waits, and its lines, or null where they are not at hand. True if
   * it does not hash to what was signed.
   */
  tile(tile: PlacedTile, lines: readonly string[] | null, place: Place | null): boolean {
    const state = this.writers.get(tile.writer) ?? this.unknown(tile)
    const altered = this.byItself(tile, lines, place, state)
    this.inChain(tile, place, state)
    state.chain = chainAfter(tile)
    if (place) {
      state.first = place.first
      state.past = place.first + tile.count
    }
    if (tile.body === null || lines === null) {
      this.unread = Math.max(this.unread, state.past)
      return altered
    }
    for (const { at, closing } of closingsIn(tile.body, lines)) {
      this.closing(closing, place === null ? null : place.first + at)
    }
    return altered
  }

  /** A tile of a writer nobody listed: its chain is taken up where the tile says it is. */
  private unknown(tile: PlacedTile): WriterState {
    const { tenant, writer, seq, prev_hash } = tile
    this.faults.add('writer_unknown', `nobody listed the writer ${writer}`, { writer, seq, index: tile.first_index })
    const state = { row: null, check: null, chain: { tenant, writer, seq, prev_hash }, first: 0, past: 0 }
    this.writers.set(writer, state)
    return state
  }

  private byItself(
    tile: PlacedTile,
    lines: readonly string[] | null,
    place: Place | null,
    state: WriterState,
  ): boolean {
    const { writer, seq, body } = tile
    const check = state.check ?? (() => true)
    const itself = (whole: Tile) => tileFault(whole, lines ?? [], check)
    const fault =
      tile.tenant !== this.tenant ? 'hash' : body === null ? headerFault(tile, check) : itself({ ...tile, body })
    if (fault === null) return false
    const which = `tile ${seq} of writer ${writer}`
    const blame = blameOf(tile, place)
    if (fault === 'count')
      this.faults.add('tile_count', `${which} holds ${lines?.length} entries, not ${tile.count}`, blame)
    else if (fault === 'hash') this.faults.add('tile_altered', `${which} does not hash to what was signed`, blame)
    else this.faults.add('tile_signature', `the signature of ${which} is false`, blame)
    return fault !== 'signature'
  }

  private inChain(tile: PlacedTile, place: Place | null, state: WriterState): void {
    const { writer, seq } = tile
    const { chain, first, past } = state
    const here = place?.first ?? null
    const closing = this.closings.get(writer)
    if (seq > chain.seq) {
      const missing = seq - 1 === chain.seq ? `${chain.seq}` : `${chain.seq} to ${seq - 1}`
      const index = here === null ? null : Math.min(Math.max(past, this.trusted), here)
      this.faults.add('writer_gap', `writer ${writer}: tile ${missing} is missing`, {
        writer,
        seq: chain.seq,
        index,
        to: here,
      })
    } else if (seq < chain.seq) {
      this.faults.add('writer_order', `writer ${writer}: tile ${seq} comes after ${chain.seq - 1}`, {
        writer,
        seq,
        index: here,
      })
    } else if (tile.prev_hash !== chain.prev_hash) {
      const index = here === null ? null : Math.min(Math.max(first, this.trusted), here)
      this.faults.add('writer_chain', `writer ${writer}: tile ${seq} does not follow from the one before`, {
        writer,
        seq,
        index,
        to: here,
      })
    }
    if (closing && seq > closing.last_seq) {
      this.faults.add(
        'writer_after_close',
        `writer ${writer} was closed at tile ${closing.last_seq} and wrote tile ${seq}`,
        {
          writer,
          seq,
          index: here,
        },
      )
    }
  }

  private closing(closing: Closing, index: number | null): void {
    const { writer, last_seq, last_hash } = closing
    const earlier = this.closings.get(writer)
    if (earlier === undefined) this.closings.set(writer, { ...closing, index })
    else if (earlier.last_seq !== last_seq || (earlier.last_hash ?? last_hash) !== last_hash) {
      this.faults.add('writer_chain', `writer ${writer} is closed twice, at different tiles`, {
        writer,
        seq: last_seq,
        index,
      })
    }
  }

  /** What a signed head says of closed writers must be in the log before it. */
  closedBy(head: Checkpoint): void {
    const to = Math.max(0, head.size - 1)
    const index = Math.min(this.trusted, to)
    for (const { writer, last_seq } of head.closed) {
      const closing = this.closings.get(writer)
      if (closing?.last_seq === last_seq) continue
      if (closing === undefined && this.unread > this.trusted) {
        // The entry may stand in what is not at hand; the head is signed, and says as much.
        this.closings.set(writer, { writer, last_seq, last_hash: null, index: to })
        continue
      }
      const message = `the head of size ${head.size} says writer ${writer} was closed at tile ${last_seq}; no entry does`
      this.faults.add('closing_missing', message, { writer, seq: last_seq, index, to })
    }
  }

  /** After the last record. `size`: entries in the tree. */
  end(size: number): void {
    for (const closing of this.closings.values()) this.endOf(closing)
    for (const [writer, { row, chain, past }] of this.writers) {
      if (row === null || row.closed_at === null || chain.seq === 0 || this.closings.has(writer)) continue
      const message = `writer ${writer} is listed as closed; no entry closes it`
      this.faults.add('closing_missing', message, { writer, seq: chain.seq - 1, index: Math.min(past, size), to: size })
    }
  }

  private endOf({ writer, last_seq, last_hash, index }: Ending): void {
    const state = this.writers.get(writer)
    const reached = (state?.chain.seq ?? 0) - 1
    if (reached < last_seq) {
      const from = index === null ? null : Math.min(state?.past ?? 0, index)
      const message = `writer ${writer} was closed at tile ${last_seq}; its tiles end at ${reached}`
      this.faults.add('writer_cut', message, { writer, seq: reached + 1, index: from, to: index })
    } else if (last_hash !== null && reached === last_seq && last_seq >= 0 && state?.chain.prev_hash !== last_hash) {
      const message = `the last tile of writer ${writer} is not the one it was closed with`
      this.faults.add('writer_chain', message, { writer, seq: last_seq, index: state?.first ?? null, to: index })
    }
  }
}

function blameOf(tile: PlacedTile, place: Place | null): Blame {
  const { writer, seq } = tile
  if (place === null) return { writer, seq }
  return { writer, seq, index: place.first, to: place.first + Math.max(0, tile.count - 1) }
}
