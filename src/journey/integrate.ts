import { type Checkpoint, checkpointOpener, originOf, signCheckpoint } from '../core/audit/checkpoint.js'
import { base64 } from '../core/audit/hash.js'
import { integrate as plan } from '../core/audit/integrate.js'
import { type SigningKey, signatureChecker } from '../core/audit/keys.js'
import { type Chain, chainAfter, startChain } from '../core/audit/tile.js'
import { loadEdge } from '../core/audit/tree.js'
import {
  closeWriter,
  fenceWriter,
  type HeadRow,
  lastPlacedTiles,
  lastTileOf,
  listWriters,
  newestHead,
  openWriters,
  placedTiles,
  readNodes,
  type StoredTile,
  tenantsWaiting,
  waitingTiles,
  writeIntegration,
} from '../store/audit.js'
import { writerName } from '../store/seat.js'
import type { World } from '../store/world.js'

/** Tiles per round: about 1 MB of entries, so that a backlog is worked off in pieces and a head is never far away. */
const ROUND = 500

export interface Integrated {
  tenant: string
  entries: number
  /** Null where every waiting tile was refused. */
  head: HeadRow | null
  refused: { writer: string; seq: number; fault: string }[]
  /** More tiles wait than one round takes. */
  full: boolean
  /** Why this tenant's round did not happen; the others' did. */
  failed: Error | null
}

/** Tiles stand in the tree but no head is signed over them: somebody removed heads. Signing a new one would hide it. */
export class HeadsMissing extends Error {
  constructor(tenant: string, size: number) {
    const signed = size === 0 ? 'no signed head' : `entries beyond its last signed head of ${size}`
    super(`the audit tree of ${tenant} has ${signed}; nothing more is signed until a person has looked`)
    this.name = 'HeadsMissing'
  }
}

/** The newest head is not what this installation signed. What is built upon it would vouch for whatever it says. */
export class HeadForged extends Error {
  constructor(tenant: string, size: number, cause: unknown) {
    super(`the newest head of ${tenant}, of ${size} entries, is not one that was signed here; nothing more is signed`, {
      cause,
    })
    this.name = 'HeadForged'
  }
}

/** One round for every tenant with waiting tiles: tiles → tree → signed head, in one statement each. Reads no leaves. */
export async function integrate(world: World, key: SigningKey): Promise<Integrated[]> {
  const done: Integrated[] = []
  for (const tenant of await tenantsWaiting(world.db)) {
    const result = await integrateTenant(world, key, tenant).catch(
      (failed: Error): Integrated => ({ tenant, entries: 0, head: null, refused: [], full: false, failed }),
    )
    if (result !== null) done.push(result)
  }
  return done
}

async function integrateTenant(world: World, key: SigningKey, tenant: string): Promise<Integrated | null> {
  const head = await newestHead(world.db, tenant)
  const tiles = await waitingTiles(world.db, tenant, ROUND)
  if (tiles.length === 0) return null
  const signed = head === null ? null : openHead(tenant, head, key)
  const size = signed?.size ?? 0
  // Two integrate at once while one takes over from the other. What they read then fits together only by chance, and of what they
  // write one takes itself back. That is nobody's fault: the other has signed a head meanwhile, and it is told of as if it were ours.
  const overtaken = async (): Promise<Integrated | null> => {
    const newest = await newestHead(world.db, tenant)
    if (newest === null || newest.size <= size) return null
    return { tenant, entries: newest.size - size, head: newest, refused: [], full: true, failed: null }
  }
  if ((await placedTiles(world.db, tenant, size, 1)).length > 0) {
    const other = await overtaken()
    if (other !== null) return other
    throw new HeadsMissing(tenant, size)
  }
  const edge = await loadEdge(size, (wanted) => readNodes(world.db, tenant, wanted))
  const writers = await chainEnds(world, key, tenant, tiles)
  const now = world.clock.now()
  const standing = { origin: originOf(tenant), edge, signedRoot: signed?.root ?? null, writers }
  const result = await inTurns(world.clock, plan(standing, tiles, now))
  if (result.refused.length > 0) {
    const other = await overtaken()
    if (other !== null) return other
  }
  if (result.head === null)
    return { tenant, entries: 0, head: null, refused: result.refused, full: false, failed: null }
  const row: HeadRow = {
    tenant,
    size: result.head.size,
    root: base64(result.head.root),
    checkpoint: signCheckpoint(result.head, key),
    at: now,
  }
  try {
    await writeIntegration(world.db, tenant, result.placements, result.writes, row)
  } catch (error) {
    // Also where this very statement was applied and only its answer was lost.
    const other = await overtaken().catch(() => null)
    if (other !== null) return other
    throw error
  }
  return {
    tenant,
    entries: result.head.size - size,
    head: row,
    refused: result.refused,
    full: tiles.length === ROUND,
    failed: null,
  }
}

/** Work that lets others have the thread wherever it yields. */
async function inTurns<T>(clock: World['clock'], work: Generator<void, T, void>): Promise<T> {
  for (;;) {
    const part = work.next()
    if (part.done) return part.value
    await clock.turn()
  }
}

/** The row is only where the head is kept: size and root are those that the signature covers. */
function openHead(tenant: string, row: HeadRow, key: SigningKey): Checkpoint {
  try {
    const head = checkpointOpener(originOf(tenant), [key.publicKey])(row.checkpoint)
    if (head.size === row.size) return head
    throw new Error(`the signature is over ${head.size} entries`)
  } catch (cause) {
    throw new HeadForged(tenant, row.size, cause)
  }
}

/** Where each waiting writer's integrated chain ends. A writer with another key than this installation's is nobody's. */
async function chainEnds(world: World, key: SigningKey, tenant: string, tiles: readonly StoredTile[]) {
  const names = [...new Set(tiles.map((t) => t.writer))]
  const last = new Map((await lastPlacedTiles(world.db, tenant, names)).map((t) => [t.writer, t]))
  const own = base64(key.publicKey)
  const known = new Set((await listWriters(world.db, tenant)).filter((w) => w.public_key === own).map((w) => w.writer))
  const check = signatureChecker(key.publicKey)
  const ends = new Map<string, { chain: Chain; check: typeof check }>()
  for (const name of names) {
    if (!known.has(name)) continue
    const placed = last.get(name)
    ends.set(name, {
      chain: placed === undefined ? startChain(tenant, name, key.publicKey) : chainAfter(placed),
      check,
    })
  }
  return ends
}

/** A process takes its name within a second of its first entry; one that started longer ago and holds none is gone. */
export const WRITER_GRACE_MS = 5_000

/**
 * Ends the chains of writers that are gone with a signed entry, so that a cut at the end of one can be told from its natural
 * end. Gone is who no longer holds its name. It may only be frozen, so it is fenced first: what it sends later is refused.
 * @param startedBy only writers that started at the latest then: a new one may not have taken its name yet
 */
export async function closeWriters(world: World, startedBy: number): Promise<number> {
  let closed = 0
  for (const { tenant, writer } of await openWriters(world.db, startedBy)) {
    const name = await world.db.hold(writerName(writer))
    if (name === null) continue
    try {
      await close(world, tenant, writer)
      closed++
    } finally {
      await name.release()
    }
  }
  return closed
}

async function close(world: World, tenant: string, writer: string): Promise<void> {
  const now = world.clock.now()
  await fenceWriter(world.db, tenant, writer, now)
  const last = await lastTileOf(world.db, tenant, writer)
  if (last !== null)
    await world.ledger.record(tenant, [
      {
        kind: 'writer.closed',
        tenant,
        at: now,
        actor: 'system:integrator',
        writer,
        last_seq: last.seq,
        last_hash: last.hash,
      },
    ])
  await closeWriter(world.db, tenant, writer, now)
}
