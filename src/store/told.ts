import { tileLines } from '../core/audit/tile.js'
import { parseEntry, type Scalar } from '../core/audit.js'
import { namedTiles, newestHead, type TileName, tilesOfJob } from './audit.js'
import { type BodySource, type FoundTile, withBodies } from './tile-bodies.js'

const TILE_OF = 'SELECT tile FROM decisions WHERE tenant = $1 AND decision_id = $2'
/** Tiles read at once. */
const CHUNK = 64

/** What the log says of a job, in the order of the tree, what waits for its place last. */
export interface ToldOfJob {
  entries: Record<string, Scalar>[]
  /** Every tile that speaks of it stands under the newest signed head, and could be read. */
  placed: boolean
}

/** All entries about these jobs, each tile read once. */
export async function toldOfJobs(
  from: BodySource,
  tenant: string,
  jobs: readonly string[],
): Promise<Map<string, ToldOfJob>> {
  const found = new Map<string, ToldOfJob>(jobs.map((job_id) => [job_id, { entries: [], placed: true }]))
  const tellers = new Map<string, string[]>()
  const names = new Map<string, TileName>()
  for (const job_id of jobs)
    for (const name of (await tilesOfJob(from.db, tenant, job_id)).tiles) {
      const key = nameOf(name)
      names.set(key, name)
      tellers.set(key, [...(tellers.get(key) ?? []), job_id])
    }
  const size = (await newestHead(from.db, tenant))?.size ?? 0
  for (const tile of await readTiles(from, tenant, [...names.values()])) {
    const isPlaced = tile.absent === null && tile.first_index !== null && tile.first_index + tile.count <= size
    const entries = tile.body === null ? [] : tileLines(tile as { body: string })
    for (const job_id of tellers.get(nameOf(tile)) ?? []) {
      const told = found.get(job_id) as ToldOfJob
      told.placed &&= isPlaced
      // Most lines of a tile are of other jobs: one search is cheaper than parsing it.
      for (const line of entries) {
        const entry = line.includes(job_id) ? parseEntry(line) : null
        if (entry?.job_id === job_id) told.entries.push(entry)
      }
    }
  }
  return found
}

/** The entries that were committed with a denial, which is no job's. */
export async function toldOfDenial(
  from: BodySource,
  tenant: string,
  decision_id: string,
): Promise<ToldOfJob['entries']> {
  const text = (await from.db.query<{ tile: string | null }>(TILE_OF, [tenant, decision_id]))[0]?.tile ?? ''
  const names = text.split(' ').flatMap((name) => {
    const slash = name.lastIndexOf('/')
    return slash < 1 ? [] : [{ writer: name.slice(0, slash), seq: Number(name.slice(slash + 1)) }]
  })
  const tiles = await readTiles(from, tenant, names)
  return tiles
    .flatMap((tile) => (tile.body === null ? [] : tileLines(tile as { body: string })))
    .map((line) => (line.includes(decision_id) ? parseEntry(line) : null))
    .filter((entry) => entry !== null)
}

const nameOf = ({ writer, seq }: TileName) => `${writer}/${seq}`

/** In tree order, those without a place last. */
async function readTiles(from: BodySource, tenant: string, names: readonly TileName[]): Promise<FoundTile[]> {
  const tiles: FoundTile[] = []
  for (let at = 0; at < names.length; at += CHUNK)
    tiles.push(...(await withBodies(from, tenant, await namedTiles(from.db, tenant, names.slice(at, at + CHUNK)))))
  const place = ({ first_index }: FoundTile) => first_index ?? Number.POSITIVE_INFINITY
  return tiles.sort((a, b) => (place(a) === place(b) ? a.seq - b.seq : place(a) - place(b)))
}
