import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FactKind } from '../../src/core/audit.js'
import type { Db } from '../../src/platform/db/seam.js'
import type { TestPlane } from '../plane.js'
import { proves } from '../requirements.js'
import { replayOf, runSeed } from './seeds.js'
import { storeOf } from './stores.js'

/**
 * The seeds from one to another, and single ones that once found something. A red run names its seed and how to see it again:
 * SALLYPORT_SEED=<n> runs that one alone, of the embedded engine in the first of its files. Several files, because files run side
 * by side.
 */
export function testSeeds(engine: Db['engine'], from: number, to: number, ...single: number[]): void {
  const one = process.env.SALLYPORT_SEED
  const all = [...Array.from({ length: to - from + 1 }, (_, i) => from + i), ...single]
  const seeds = one === undefined ? all : from === 1 ? Array(TIMES[engine]).fill(Number(one)) : []
  let plane: TestPlane
  beforeAll(async () => {
    plane = await storeOf(engine)
  })
  afterAll(() => plane?.close())

  test.skipIf(seeds.length === 0)(
    `${proves('L3', 'L4', 'L6', 'D10', 'R4', 'R5', 'C1')} several nodes on ${engine}, every order, every fault: seeds ${[`${from} to ${to}`, ...single].join(', ')}`,
    async () => {
      const seen = new Set<string>()
      for (const seed of seeds) {
        const ran = await runSeed(plane, seed)
        expect(ran.wrong, replayOf(seed, engine)).toEqual([])
        for (const what of ran.seen) seen.add(what)
      }
      const wanted = ['broken', 'out of time', 'death', 'work taken up', ...(seeds.length < 200 ? OFTEN : ALL)]
      if (one === undefined) expect(wanted.filter((what) => !seen.has(what))).toEqual([])
    },
    600_000,
  )
}

/** On Postgres statements run at the very same time and its locks decide who is first: the same seed goes several ways. */
const TIMES: Record<Db['engine'], number> = { pglite: 1, postgres: 20 }

/**
 * What a hundred runs have in their logs, and what only several hundred have for sure. Not `job.refused`: a denial that comes between the
 * doors and is met there is in one run of some hundreds, and in a scene of its own at every point.
 */
const OFTEN: FactKind[] = ['job.leased', 'job.succeeded', 'job.expired', 'job.cancelled', 'job.denied']
const ALL: FactKind[] = [
  ...OFTEN,
  'job.parked',
  'job.quarantined',
  'job.retried',
  'job.dead_lettered',
  'job.ambiguous',
  'job.resolved',
  'job.replayed',
  'job.rejected',
  'job.discarded',
  'lease.lost',
  'effect.resolved',
  'approval.approved',
  'approval.rejected',
  'approval.voided',
  'result.released',
  'result.discarded',
  'key.revoked',
  'writer.closed',
]
