import type { Timeline } from '../contract/jobs.js'
import { tileLines } from '../core/audit/tile.js'
import { shownEntry } from '../core/event.js'
import {
  namedTiles,
  newestHead,
  placedTiles,
  placesOf,
  type StoredTile,
  tileAt,
  tilesOf,
  waitingTiles,
} from '../store/audit.js'
import { decodeCursor, encodeCursor } from '../store/cursor.js'
import type { World } from '../store/world.js'

type Entry = Timeline['items'][number]

export interface EntryFilter {
  job_id?: string
  run_id?: string
  kind?: string
  actor?: string
  from?: number
  to?: number
}

/** Tiles not yet integrated are at most about a second of commits; more than this many are read on the next page. */
const WAITING = 2000
/** Tiles read at once. */
const CHUNK = 64
/** Tiles one page looks at, at most: a search for something rare answers with a cursor instead of walking a whole log. */
const LOOKED_AT = 1024

/**
 * Audit entries in tree order, then those so fresh that they have no place yet: what was just committed is readable at once.
 * The entries of a job or a run are found by the tiles that their rows name; any other search walks the log, a stretch a page, so
 * that a page may hold fewer entries than asked for and still have a `next_cursor`. It is null at the end; following the last one
 * later gives what came since.
 */
export async function timeline(
  world: World,
  tenant: string,
  filter: EntryFilter,
  cursor: string | undefined,
  limit: number,
): Promise<Timeline> {
  const after = decodeCursor(cursor)?.[0] ?? -1
  // Waiting first: read the other way round, a tile integrated in between would be in neither.
  const waiting = await waitingTiles(world.db, tenant, WAITING)
  const seen = new Set<string>()
  const items: Entry[] = []
  let looked = 0
  for await (const tile of tilesAfter(world, tenant, filter, after)) {
    if (looked++ === LOOKED_AT) return { items, next_cursor: encodeCursor([(tile.first_index ?? 0) - 1, '']) }
    seen.add(`${tile.writer}/${tile.seq}`)
    for (const entry of entriesOf(tile)) {
      if ((entry.index ?? 0) <= after || !matches(entry, filter)) continue
      if (items.length === limit) return { items, next_cursor: encodeCursor([items.at(-1)?.index ?? after, '']) }
      items.push(entry)
    }
  }
  const fresh = waiting.filter((tile) => !seen.has(`${tile.writer}/${tile.seq}`)).flatMap(entriesOf)
  return { items: [...items, ...fresh.filter((entry) => matches(entry, filter))], next_cursor: null }
}

/** Integrated entries after an index as the log holds them, at most about so many. */
export async function linesAfter(
  world: World,
  tenant: string,
  after: number,
  limit: number,
): Promise<{ index: number; line: string }[]> {
  const lines: { index: number; line: string }[] = []
  for await (const tile of walked(world, tenant, after + 1)) {
    const first = tile.first_index ?? 0
    lines.push(...tileLines(tile).map((line, n) => ({ index: first + n, line })))
    if (lines.length >= limit) break
  }
  return lines.filter(({ index }) => index > after)
}

function entriesOf(tile: StoredTile): Entry[] {
  return tileLines(tile).map((line, n) =>
    shownEntry(line, tile.writer, tile.seq, tile.first_index === null ? null : tile.first_index + n),
  )
}

async function* tilesAfter(
  world: World,
  tenant: string,
  { job_id, run_id, from, to }: EntryFilter,
  after: number,
): AsyncGenerator<StoredTile> {
  const of = job_id !== undefined ? { job_id } : run_id !== undefined ? { run_id } : null
  const start = of === null && from !== undefined && after < 0 ? await indexBefore(world, tenant, from) : after + 1
  const tiles = of === null ? walked(world, tenant, start) : named(world, tenant, of, after)
  for await (const tile of tiles) {
    // What follows is later still, but for what other nodes' clocks make of it.
    if (of === null && to !== undefined && tile.at >= to + CLOCKS_MS) return
    yield tile
  }
}

/** Tiles of several nodes stand in the log in the order of integration; their clocks and rounds differ by less than this. */
const CLOCKS_MS = 60_000

/** An index before every entry of that time or later: tiles stand in order of time, nearly, so it is found by halving. */
async function indexBefore(world: World, tenant: string, at: number): Promise<number> {
  let low = 0
  let high = (await newestHead(world.db, tenant))?.size ?? 0
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const tile = await tileAt(world.db, tenant, middle)
    if (tile === null || tile.at >= at - CLOCKS_MS) high = Math.min(middle, tile?.first_index ?? middle)
    else low = (tile.first_index ?? 0) + tile.count
  }
  return low
}

async function* walked(world: World, tenant: string, index: number): AsyncGenerator<StoredTile> {
  // The tile that holds the index begins before it.
  let from = (await tileAt(world.db, tenant, index))?.first_index ?? index
  for (;;) {
    const tiles = await placedTiles(world.db, tenant, from, CHUNK)
    yield* tiles
    const last = tiles.at(-1)
    if (last === undefined || tiles.length < CHUNK) return
    from = (last.first_index ?? 0) + last.count
  }
}

async function* named(
  world: World,
  tenant: string,
  of: { job_id: string } | { run_id: string },
  after: number,
): AsyncGenerator<StoredTile> {
  const places = (await placesOf(world.db, tenant, await tilesOf(world.db, tenant, of))).filter(
    (place) => place.first_index + place.count - 1 > after,
  )
  for (let n = 0; n < places.length; n += CHUNK) yield* await namedTiles(world.db, tenant, places.slice(n, n + CHUNK))
}

function matches(entry: Entry, filter: EntryFilter): boolean {
  return (
    (filter.job_id === undefined || entry.facts.job_id === filter.job_id) &&
    (filter.run_id === undefined || entry.facts.run_id === filter.run_id) &&
    (filter.kind === undefined || entry.kind === filter.kind) &&
    (filter.actor === undefined || entry.actor === filter.actor) &&
    (filter.from === undefined || entry.at >= filter.from) &&
    (filter.to === undefined || entry.at < filter.to)
  )
}
