import { canonical, sha256 } from '../canonical.js'
import { base64, fromBase64, hex } from './hash.js'
import type { CheckSignature, SigningKey } from './keys.js'

/**
 * A tile is what one commit adds to one tenant's log: its entries, chained to the tile the same writer wrote before and signed.
 * Writers never share a chain, so two nodes commit side by side; the integrator orders their tiles afterwards.
 * The fields are the columns of the row.
 */
export interface Tile {
  tenant: string
  /** One process start; ids are never used again. */
  writer: string
  /** Counts from 0 per writer and tenant, without a gap. */
  seq: number
  /** Epoch ms of the commit. */
  at: number
  /** Entries in the body. */
  count: number
  /** `hash` of the same writer's tile before it; of the first tile, `genesisHash`. Hex. */
  prev_hash: string
  /** Entry lines joined by newlines, none at the end. */
  body: string
  /** Hex, over header and body. */
  hash: string
  /** Base64 of the Ed25519 signature over the hash. */
  signature: string
}

/** Where a writer's chain stands: the header of the tile to come. */
export interface Chain {
  tenant: string
  writer: string
  seq: number
  prev_hash: string
}

/** What is wrong with a tile by itself, without its neighbours. */
export type TileFault = 'count' | 'hash' | 'signature'

/** Start of a chain: bound to who writes it and with which key, so that a chain cannot be begun anew under another key. */
export function genesisHash(tenant: string, writer: string, publicKey: Uint8Array): string {
  return sha256(`sallyport/writer/v1\n${canonical({ tenant, writer, public_key: hex(publicKey) })}`)
}

export function startChain(tenant: string, writer: string, publicKey: Uint8Array): Chain {
  return { tenant, writer, seq: 0, prev_hash: genesisHash(tenant, writer, publicKey) }
}

/** A tile without its body, which may be in a file. */
export type TileHeader = Omit<Tile, 'body'>

export function chainAfter(tile: TileHeader): Chain {
  return { tenant: tile.tenant, writer: tile.writer, seq: tile.seq + 1, prev_hash: tile.hash }
}

/** Whether the tile is the next of its chain. */
export function continues(chain: Chain, tile: TileHeader): boolean {
  return (
    tile.tenant === chain.tenant &&
    tile.writer === chain.writer &&
    tile.seq === chain.seq &&
    tile.prev_hash === chain.prev_hash
  )
}

/** The next tile of the chain over these entry lines (at least one, of `entryLine`). `at` is epoch ms. */
export function sealTile(chain: Chain, at: number, lines: readonly string[], key: SigningKey): Tile {
  if (lines.length === 0) throw new RangeError('a tile without entries has nothing to seal')
  const { tenant, writer, seq, prev_hash } = chain
  const unsigned = { tenant, writer, seq, at, count: lines.length, prev_hash, body: lines.join('\n') }
  const hash = tileHash(unsigned)
  return { ...unsigned, hash, signature: base64(key.sign(signedMessage(hash))) }
}

/** SHA-256 over the domain line, the canonical header and the body. Hex. The header is one line, so body and header cannot trade bytes. */
export function tileHash(tile: Omit<Tile, 'hash' | 'signature'>): string {
  const { tenant, writer, seq, at, count, prev_hash } = tile
  return sha256(`sallyport/tile/v1\n${canonical({ tenant, writer, seq, at, count, prev_hash })}\n${tile.body}`)
}

function signedMessage(hash: string): Uint8Array {
  return Buffer.from(`sallyport tile v1\n${hash}\n`)
}

/** The entry lines of a tile. */
export function tileLines(tile: Pick<Tile, 'body'>): string[] {
  return tile.body.split('\n')
}

/** Checks a tile by itself: hash over what it holds, signature over the hash, count of its lines. Null: nothing wrong. */
export function tileFault(tile: Tile, lines: readonly string[], check: CheckSignature): TileFault | null {
  if (tileHash(tile) !== tile.hash) return lines.length === tile.count ? 'hash' : 'count'
  if (lines.length !== tile.count) return 'count'
  return headerFault(tile, check)
}

/** All that can be said of a tile whose body is not at hand: whether its hash was signed. */
export function headerFault(tile: TileHeader, check: CheckSignature): 'signature' | null {
  const signature = fromBase64(tile.signature)
  return signature !== null && check(signedMessage(tile.hash), signature) ? null : 'signature'
}
