import type { JobVariant } from '../core/job.js'
import type { SampleKind } from '../core/rollout/sample.js'
import type { Db, Param } from '../platform/db/seam.js'

export const SAMPLE_COLUMNS =
  'tenant, rollout_id, kind, variant, at, writer, seq, n, ref, word, counts, ms, verdict, cost, run_id'

/**
 * Which samples: of one kind and variant, from (included) and to (not included) in epoch ms, as far as the log knew of them when it had
 * `head` entries; null: all there are.
 */
export interface SampleScope {
  tenant: string
  rollout_id: string
  kind: SampleKind
  variant: JobVariant
  from: number
  to: number
  head: number | null
}

/**
 * The next samples in order of their key, wherever in the tree they are; those count whose tile the head covers. The tile of each is
 * looked up once for all its samples: a commit writes up to 256. As a condition by itself IN was planned as a loop over 2,000 times 2,000,
 * 500 ms; beside OR it is hashed.
 */
const PAGE = `p AS MATERIALIZED (SELECT at, writer, seq, n, ref, word, counts, ms, verdict, cost, run_id FROM rollout_samples
    WHERE tenant = $1 AND rollout_id = $2 AND kind = $3 AND variant = $4 AND (at, writer, seq, n) > ($5::bigint, $6, $7::bigint, $8::int) AND at < $9
    ORDER BY at, writer, seq, n LIMIT $10),
  placed AS MATERIALIZED (SELECT w.writer, w.seq FROM (SELECT DISTINCT writer, seq FROM p) w CROSS JOIN LATERAL (
    SELECT first_index, count FROM audit_tiles t WHERE t.tenant = $1 AND t.writer = w.writer AND t.seq = w.seq OFFSET 0) t
    WHERE t.first_index + t.count <= $11),
  s AS (SELECT * FROM p WHERE $11::bigint IS NULL OR (writer, seq) IN (SELECT writer, seq FROM placed))`
const LAST = `(SELECT count(*)::int FROM p) AS read,
  (SELECT json_build_array(at, writer, seq, n) FROM p ORDER BY at DESC, writer DESC, seq DESC, n DESC LIMIT 1) AS last`
const pageOf = (rows: string) => `WITH ${PAGE} SELECT ${LAST}, (SELECT json_agg(g) FROM (${rows}) g) AS rows`

const GROUPS = pageOf('SELECT word, counts, verdict, ms, count(*)::int AS n FROM s GROUP BY word, counts, verdict, ms')
const RUNS =
  pageOf(`SELECT run_id, count(*) FILTER (WHERE counts)::int AS of, count(*) FILTER (WHERE counts AND word = 'succeeded')::int AS succeeded,
  sum(cost) AS cost FROM s GROUP BY run_id`)
const REFS = pageOf('SELECT ref, at, counts, ms FROM s ORDER BY at, writer, seq, n')

/** Of each group how many. */
export interface SampleGroup {
  word: string
  counts: boolean
  verdict: string | null
  ms: number | null
  n: number
}

/** What a page's samples say of a run: a run may be in several. */
export interface RunPart {
  run_id: string | null
  /** Outcomes that count, and successes among them. */
  of: number
  succeeded: number
  /** Millionths; null where no job of it said what it cost. */
  cost: number | null
}

export interface SampleRef {
  ref: string
  at: number
  counts: boolean
  ms: number | null
}

interface PageRow<Row> {
  read: number
  last: [at: number, writer: string, seq: number, n: number] | null
  rows: Row[] | null
}

/** Takes the embedded engine some 5 ms, which nothing else gets meanwhile; most of it to look up a tile for each, at worst. */
export const SAMPLES_AT_ONCE = 1000
/** Of one kind and variant in one window. More are not sampled: of numbers that are to be the same again, a part is none. */
export const MOST_SAMPLES = 1_000_000

/**
 * Hands over page after page, one short statement each, so that commits go in between.
 * @returns how many samples were looked at; null where there are more than may be
 */
async function pages<Row>(
  db: Db,
  sql: string,
  { tenant, rollout_id, kind, variant, from, to, head }: SampleScope,
  take: (rows: Row[]) => void | Promise<void>,
  { size = SAMPLES_AT_ONCE, most = MOST_SAMPLES }: { size?: number; most?: number } = {},
): Promise<number | null> {
  let read = 0
  let after: PageRow<Row>['last'] = [from, '', -1, -1]
  while (after !== null) {
    const params: Param[] = [tenant, rollout_id, kind, variant, ...after, to, size, head]
    const [page]: PageRow<Row>[] = await db.query<PageRow<Row>>(sql, params)
    if (page === undefined) break
    read += page.read
    if (read > most) return null
    await take(page.rows ?? [])
    after = page.read < size ? null : page.last
  }
  return read
}

/** Groups of equal samples, as many as there are. Null past MOST_SAMPLES. */
export async function sampleGroups(db: Db, scope: SampleScope): Promise<SampleGroup[] | null> {
  const merged = new Map<string, SampleGroup>()
  const read = await pages<SampleGroup>(db, GROUPS, scope, (rows) => {
    for (const row of rows) {
      const key = `${row.word} ${row.counts} ${row.verdict} ${row.ms}`
      const same = merged.get(key)
      if (same === undefined) merged.set(key, row)
      else same.n += row.n
    }
  })
  return read === null ? null : [...merged.values()]
}

/** Past so many, what the runs of a window are is not held in memory. */
const MOST_RUNS = 200_000

/** Runs of which something ended; null past so many samples or runs that they are not read. */
export async function sampleRuns(db: Db, scope: SampleScope): Promise<RunPart[] | null> {
  const merged = new Map<string | null, RunPart>()
  const read = await pages<RunPart>(db, RUNS, scope, (rows) => {
    for (const row of rows) {
      const cost = row.cost === null ? null : Number(row.cost)
      const same = merged.get(row.run_id)
      if (same === undefined) {
        if (merged.size <= MOST_RUNS) merged.set(row.run_id, { ...row, cost })
        continue
      }
      same.of += row.of
      same.succeeded += row.succeeded
      if (cost !== null) same.cost = (same.cost ?? 0) + cost
    }
  })
  return read === null || merged.size > MOST_RUNS ? null : [...merged.values()]
}

/** Every sample by name, in order of the event; null past `most`. */
export async function sampleRefs(db: Db, scope: SampleScope, most: number): Promise<SampleRef[] | null> {
  const refs: SampleRef[] = []
  const read = await pages<SampleRef>(db, REFS, scope, (rows) => void refs.push(...rows), { most })
  return read === null ? null : refs
}

/** Every sample by name, page after page; how many were read, null past `most`: then what came before was handed over all the same. */
export function eachSampleRef(
  db: Db,
  scope: SampleScope,
  take: (refs: SampleRef[]) => Promise<void>,
  most: number,
): Promise<number | null> {
  return pages<SampleRef>(db, REFS, scope, take, { most })
}

/** The one that makes so many; of outcomes with a verdict or with a latency alone where that is asked. */
const BACK_TO = `SELECT at FROM rollout_samples WHERE tenant = $1 AND rollout_id = $2 AND kind = $3 AND variant = $4 AND at >= $5 AND at < $6
  AND ($7 <> 'verdict' OR verdict IS NOT NULL) AND ($7 <> 'ms' OR ms IS NOT NULL) ORDER BY at DESC, writer DESC, seq DESC, n DESC
  OFFSET $8 LIMIT 1`

/** Since when there have been so many samples, signed or not; null where there are fewer in all of the scope. */
export async function samplesBackTo(
  db: Db,
  { tenant, rollout_id, kind, variant, from, to }: SampleScope,
  samples: number,
  having: 'verdict' | 'ms' | '',
): Promise<number | null> {
  const params: Param[] = [tenant, rollout_id, kind, variant, from, to, having, samples - 1]
  return (await db.query<{ at: number }>(BACK_TO, params))[0]?.at ?? null
}

const OLD = `SELECT count(*)::int AS n, min(at) AS oldest_at, max(at) AS newest_at
  FROM (SELECT at FROM rollout_samples WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT $3) o`
const REMOVE = `DELETE FROM rollout_samples WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM rollout_samples WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT $3))`

/** The oldest from before then, `limit` of them at most. */
export async function oldSamples(
  db: Db,
  tenant: string,
  before: number,
  limit: number,
): Promise<{ n: number; oldest_at: number | null; newest_at: number | null }> {
  const [row] = await db.query<{ n: number; oldest_at: number | null; newest_at: number | null }>(OLD, [
    tenant,
    before,
    limit,
  ])
  return row ?? { n: 0, oldest_at: null, newest_at: null }
}

export async function removeSamples(db: Db, tenant: string, before: number, limit: number): Promise<void> {
  await db.query(REMOVE, [tenant, before, limit])
}
