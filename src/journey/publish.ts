import { tileLines } from '../core/audit/tile.js'
import { eventOf, type PublishedEntry } from '../core/event.js'
import type { EventStream, StreamState } from '../platform/bus/seam.js'
import { placedTiles, tileAt } from '../store/audit.js'
import {
  advancePublished,
  beginPublishing,
  type PublishedRow,
  publishedRows,
  rewindPublished,
} from '../store/published.js'
import { type FoundTile, withBodies } from '../store/tile-bodies.js'
import type { World } from '../store/world.js'

/**
 * Entries of a tenant that are published again when the stream lost everything, and at most when publishing starts on a log that
 * is older. What is older still is read from `GET /api/v1/audit`: a stream that comes back must not be flooded with years.
 */
export const PAST = 10_000
/** Tiles of one step: a tile is one commit's entries, at most about 1 MB and mostly a few KB. */
const TILES = 16

/** What one step did. */
export interface Published {
  events: number
  /** Entries of all tenants that are signed and not published yet. */
  behind: number
  /** Tenants whose events were lost by the stream and are published again. */
  rewound: string[]
  /** One for each tenant whose events wait for a file; those of the others were published. */
  unreadable: Unreadable[]
}

/**
 * One step: a few tiles of every tenant with something new, in the order of its tree. The cursor moves after the server said
 * that all are stored, so a crash repeats events and never leaves one out. Old entries come from the files of the archive; where
 * those are not to be had, that tenant's wait. Throws StreamUnavailable.
 */
export async function publish(world: World, stream: EventStream, past = PAST): Promise<Published> {
  const rows = await publishedRows(world.db)
  const done: Published = { events: 0, behind: 0, rewound: [], unreadable: [] }
  if (rows.length === 0) return done
  const state = await stream.state()
  // All of them before anything is appended: what is appended moves the stream's end past the marks of what it lost.
  for (const row of rows) if (await begun(world, stream, state, row, past)) done.rewound.push(row.tenant)
  for (const { tenant, size, next } of done.rewound.length > 0 ? await publishedRows(world.db) : rows) {
    const from = next ?? firstOf(size, past)
    let events = 0
    try {
      if (from < size) events = await publishTenant(world, stream, state, tenant, from)
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      done.unreadable.push(error)
    }
    done.events += events
    done.behind += Math.max(0, size - from - events)
  }
  return done
}

const firstOf = (size: number, past: number) => Math.max(0, size - past)

/** True where the stream lost events of this tenant and the cursor was set back to them. */
async function begun(
  world: World,
  stream: EventStream,
  state: StreamState,
  row: PublishedRow,
  past: number,
): Promise<boolean> {
  const { tenant, next, instance, seq } = row
  if (next === null || instance === null || seq === null) {
    await beginPublishing(world.db, tenant, firstOf(row.size, past), state.instance)
    return false
  }
  const seen = { tenant, instance, seq }
  if (instance !== state.instance) {
    await rewindPublished(world.db, seen, firstOf(next, past), state.instance, 0)
    return true
  }
  if (seq <= state.last) return false
  // The same stream, cut short: a server that lost power may lose the end of what it had acknowledged.
  const kept = indexOf(await stream.newest(tenant))
  await rewindPublished(world.db, seen, Math.min(next, kept === null ? firstOf(next, past) : kept + 1), instance, 0)
  return true
}

/** How many entries were published. Throws Unreadable where the first of them is. */
async function publishTenant(
  world: World,
  stream: EventStream,
  { instance }: StreamState,
  tenant: string,
  from: number,
): Promise<number> {
  // A cursor that was set back may stand within a tile.
  const first = (await tileAt(world.db, tenant, from))?.first_index ?? from
  const tiles = await withBodies(world, tenant, await placedTiles(world.db, tenant, first, TILES))
  // Found before the stream is asked: what stands before it is published once, and not again with every try.
  const readable = beforeGap(tiles)
  const gap = tiles[readable.length]
  const last = readable.at(-1)
  const end = last === undefined ? 0 : (last.first_index ?? 0) + last.count
  if (end <= from) {
    if (gap !== undefined) throw new Unreadable(tenant, gap.first_index, gap.absent)
    return 0
  }
  const seq = await stream.append(eventsOf(readable, from))
  await advancePublished(world.db, tenant, end, seq, instance)
  return end - from
}

type ReadTile = FoundTile & { body: string }

function beforeGap(tiles: readonly FoundTile[]): ReadTile[] {
  const gap = tiles.findIndex(({ body }) => body === null)
  return tiles.slice(0, gap === -1 ? tiles.length : gap) as ReadTile[]
}

/** Made as they are taken: thousands at once would keep the node from its requests for 50 ms. */
function* eventsOf(tiles: readonly ReadTile[], from: number): Iterable<PublishedEntry> {
  for (const { body, tenant, writer, seq, first_index } of tiles) {
    for (const [n, line] of tileLines({ body }).entries()) {
      const index = (first_index ?? 0) + n
      if (index >= from) yield eventOf(tenant, index, line, writer, seq)
    }
  }
}

/** Entries that were never published are in a file that is not to be had here. Passing over them would leave a hole for good. */
export class Unreadable extends Error {
  constructor(tenant: string, index: number | null, why: string | null) {
    super(`entry ${index} of ${tenant} cannot be read: ${why}`)
    this.name = 'Unreadable'
  }
}

/** Of a message in the stream, which others might write to as well. */
function indexOf(body: string | null): number | null {
  if (body === null) return null
  try {
    const index: unknown = (JSON.parse(body) as { index?: unknown } | null)?.index
    return Number.isSafeInteger(index) && (index as number) >= 0 ? (index as number) : null
  } catch {
    return null
  }
}
