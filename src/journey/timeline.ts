import type { Timeline } from '../contract/jobs.js'
import { tileLines } from '../core/audit/tile.js'
import { parseEntry } from '../core/audit.js'
import { type EntryFilter, searchEntries, waitingTiles } from '../store/audit.js'
import { decodeCursor, encodeCursor } from '../store/cursor.js'
import type { World } from '../store/world.js'

/** Tiles not yet integrated are at most about a second of commits; more than this many are read on the next page. */
const WAITING = 2000
const NAMED = ['at', 'kind', 'actor', 'tenant']

/**
 * Audit entries in tree order, then those so fresh that they have no place yet: what was just committed is readable at once.
 * `next_cursor` is null at the end; following it later gives what came since.
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
  const rows = await searchEntries(world.db, tenant, filter, after, limit + 1)
  const items = rows
    .slice(0, limit)
    .map((row): Timeline['items'][number] => item(tileLines(row)[row.line] ?? '{}', row.writer, row.seq, row.idx))
  const last = rows[limit - 1]
  if (rows.length > limit && last !== undefined) return { items, next_cursor: encodeCursor([last.idx, '']) }
  const placed = new Set(rows.map((row) => `${row.writer}/${row.seq}`))
  const fresh = waiting
    .filter((tile) => !placed.has(`${tile.writer}/${tile.seq}`))
    .flatMap((tile) => tileLines(tile).map((line) => item(line, tile.writer, tile.seq, null)))
  return { items: [...items, ...fresh.filter((entry) => matches(entry, filter))], next_cursor: null }
}

function item(line: string, writer: string, seq: number, index: number | null): Timeline['items'][number] {
  const entry = parseEntry(line) ?? {}
  const facts = Object.fromEntries(Object.entries(entry).filter(([name]) => !NAMED.includes(name)))
  return {
    at: Number(entry.at ?? 0),
    kind: String(entry.kind ?? 'unreadable'),
    actor: String(entry.actor ?? 'unknown'),
    writer,
    seq,
    index,
    facts,
  }
}

function matches(entry: Timeline['items'][number], filter: EntryFilter): boolean {
  return (
    (filter.job_id === undefined || entry.facts.job_id === filter.job_id) &&
    (filter.run_id === undefined || entry.facts.run_id === filter.run_id) &&
    (filter.kind === undefined || entry.kind === filter.kind) &&
    (filter.actor === undefined || entry.actor === filter.actor) &&
    (filter.from === undefined || entry.at >= filter.from) &&
    (filter.to === undefined || entry.at < filter.to)
  )
}
