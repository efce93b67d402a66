import type { Timeline } from '../contract/jobs.js'
import { tileLines } from '../core/audit/tile.js'
import { shownEntry } from '../core/event.js'
import {
  namedTiles,
  newestHead,
  placedTiles,
  placesOf,
  type Spoken,
  tileAt,
  tilesOfJob,
  tilesOfRollout,
  tilesOfRun,
  waitingTiles,
} from '../store/audit.js'
import { decodeCursor, encodeCursor } from '../store/cursor.js'
import { jobsOfAgents } from '../store/jobs.js'
import { type FoundTile, withBodies } from '../store/tile-bodies.js'
import type { World } from '../store/world.js'

type Entry = Timeline['items'][number]

export interface EntryFilter {
  job_id?: string
  run_id?: string
  /** Of the rollout itself, not of the jobs that it drew. */
  rollout_id?: string
  kind?: string
  actor?: string
  from?: number
  to?: number
  /** Entries that name one of these agents, or a job of theirs. */
  agents?: readonly string[]
}

/** Tiles not yet integrated are at most about a second of commits; more than this many are read on the next page. */
const WAITING = 2000
/** Tiles read at once. */
const CHUNK = 64
/** Tiles one page looks at, at most: a search for something rare answers with a cursor instead of walking a whole log. */
const LOOKED_AT = 1024
/** Jobs of a run whose entries are put in order together. At 100,000 jobs, read for each page, one took seconds of the event loop. */
const STRETCH = 500

/**
 * Audit entries in tree order, then those so fresh that they have no place yet: what was just committed is readable at once.
 * The entries of a job or a run are found by the tiles that their rows name; any other search walks the log, a stretch a page, so
 * that a page may hold fewer entries than asked for and still have a `next_cursor`. It is null at the end; following the last one
 * later gives what came since. A run of more than 500 jobs comes in stretches of 500, oldest first, each in tree order.
 *
 * Old entries are read from the files of the archive. A tile whose file is not to be had here is shown as one entry `archived` that
 * says why, whatever was searched for: nobody should take it for nothing found.
 */
export async function timeline(
  world: World,
  tenant: string,
  filter: EntryFilter,
  cursor: string | undefined,
  limit: number,
): Promise<Timeline> {
  const [after, from] = decodeCursor(cursor) ?? [-1, '']
  // Waiting first: read the other way round, a tile integrated in between would be in neither.
  const waiting = (await waitingTiles(world.db, tenant, WAITING)).map((tile) => ({ ...tile, absent: null }))
  const seen = new Set<string>()
  const items: Entry[] = []
  let looked = 0
  const spoken = await spokenOf(world, tenant, filter, from)
  const isWanted = (entry: Entry) => matches(entry, filter) && (spoken === null || isIn(spoken, entry))
  for await (const tile of tilesAfter(world, tenant, filter, spoken, after)) {
    if (looked++ === LOOKED_AT) return { items, next_cursor: encodeCursor([(tile.first_index ?? 0) - 1, from]) }
    seen.add(`${tile.writer}/${tile.seq}`)
    for (const entry of await entriesAbout(world, tenant, tile, filter)) {
      if ((entry.index ?? 0) <= after || !isWanted(entry)) continue
      if (items.length === limit) return { items, next_cursor: encodeCursor([items.at(-1)?.index ?? after, from]) }
      items.push(entry)
    }
  }
  if (spoken?.ids.size === STRETCH) return { items, next_cursor: encodeCursor([-1, [...spoken.ids].at(-1) ?? from]) }
  for (const tile of waiting) {
    const shown = seen.has(`${tile.writer}/${tile.seq}`)
    const entries = await entriesAbout(world, tenant, tile, filter)
    items.push(...entries.filter((entry) => matches(entry, filter) && !(shown && isWanted(entry))))
  }
  return { items, next_cursor: null }
}

/** Only some entries name their agent; of the others the job says whose they are. */
async function entriesAbout(world: World, tenant: string, tile: FoundTile, { agents }: EntryFilter): Promise<Entry[]> {
  const entries = entriesOf(tile)
  if (agents === undefined) return entries
  const jobs = new Set(entries.flatMap(({ facts }) => (typeof facts.job_id === 'string' ? [facts.job_id] : [])))
  const theirs = await jobsOfAgents(world.db, tenant, [...jobs], agents)
  return entries.filter(
    ({ kind, facts }) =>
      kind === ARCHIVED || agents.includes(String(facts.agent ?? '')) || theirs.has(String(facts.job_id ?? '')),
  )
}

/** Tiles by name, for what has rows that name them; null where the log is to be walked. */
async function spokenOf(
  { db }: World,
  tenant: string,
  { job_id, run_id, rollout_id }: EntryFilter,
  from: string,
): Promise<Spoken | null> {
  if (job_id !== undefined) return tilesOfJob(db, tenant, job_id)
  if (rollout_id !== undefined) return tilesOfRollout(db, tenant, rollout_id)
  return run_id === undefined ? null : tilesOfRun(db, tenant, run_id, from, STRETCH)
}

/** A tile also speaks of jobs of other stretches; those come in theirs. */
function isIn({ ids }: Spoken, { kind, facts }: Entry): boolean {
  if (kind === ARCHIVED) return true
  const id = String(facts.job_id ?? facts.decision_id ?? '')
  return ids.size === 0 || ids.has(id.slice(id.indexOf('_') + 1))
}

/** An entry as the log holds it; null where its tile is in a file that is not to be had here, and `index` then of its last entry. */
export interface IndexedLine {
  index: number
  line: string | null
}

/** Integrated entries after an index, at most about so many. */
export async function linesAfter(world: World, tenant: string, after: number, limit: number): Promise<IndexedLine[]> {
  const lines: IndexedLine[] = []
  for await (const { body, count, first_index } of walked(world, tenant, after + 1)) {
    const first = first_index ?? 0
    if (body === null) lines.push({ index: first + count - 1, line: null })
    else lines.push(...tileLines({ body }).map((line, n) => ({ index: first + n, line })))
    if (lines.length >= limit) break
  }
  return lines.filter(({ index }) => index > after)
}

function entriesOf(tile: FoundTile): Entry[] {
  const { writer, seq, at, count, first_index, body, absent } = tile
  if (body === null) {
    const facts = { entries: count, reason: absent }
    return [{ at, kind: ARCHIVED, actor: 'unknown', writer, seq, index: (first_index ?? 0) + count - 1, facts }]
  }
  return tileLines({ body }).map((line, n) =>
    shownEntry(line, writer, seq, first_index === null ? null : first_index + n),
  )
}

/** Stands for a tile that is not to be had here. No entry has a kind without a dot. */
const ARCHIVED = 'archived'

async function* tilesAfter(
  world: World,
  tenant: string,
  { from, to }: EntryFilter,
  spoken: Spoken | null,
  after: number,
): AsyncGenerator<FoundTile> {
  const start = spoken === null && from !== undefined && after < 0 ? await indexBefore(world, tenant, from) : after + 1
  const tiles = spoken === null ? walked(world, tenant, start) : named(world, tenant, spoken, after)
  for await (const tile of tiles) {
    // What follows is later still, but for what other nodes' clocks make of it.
    if (spoken === null && to !== undefined && tile.at >= to + CLOCKS_MS) return
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

async function* walked(world: World, tenant: string, index: number): AsyncGenerator<FoundTile> {
  // The tile that holds the index begins before it.
  let from = (await tileAt(world.db, tenant, index))?.first_index ?? index
  for (;;) {
    const tiles = await placedTiles(world.db, tenant, from, CHUNK)
    yield* await withBodies(world, tenant, tiles)
    const last = tiles.at(-1)
    if (last === undefined || tiles.length < CHUNK) return
    from = (last.first_index ?? 0) + last.count
  }
}

async function* named(world: World, tenant: string, { tiles }: Spoken, after: number): AsyncGenerator<FoundTile> {
  const places = (await placesOf(world.db, tenant, tiles)).filter(
    (place) => place.first_index + place.count - 1 > after,
  )
  for (let n = 0; n < places.length; n += CHUNK) {
    const found = await namedTiles(world.db, tenant, places.slice(n, n + CHUNK))
    yield* await withBodies(world, tenant, found)
  }
}

function matches(entry: Entry, filter: EntryFilter): boolean {
  if (entry.kind === ARCHIVED) return filter.to === undefined || entry.at < filter.to
  return (
    (filter.job_id === undefined || entry.facts.job_id === filter.job_id) &&
    (filter.run_id === undefined || entry.facts.run_id === filter.run_id) &&
    (filter.rollout_id === undefined ||
      (entry.facts.rollout_id === filter.rollout_id && entry.kind.startsWith('rollout.'))) &&
    (filter.kind === undefined || entry.kind === filter.kind) &&
    (filter.actor === undefined || entry.actor === filter.actor) &&
    (filter.from === undefined || entry.at >= filter.from) &&
    (filter.to === undefined || entry.at < filter.to)
  )
}
