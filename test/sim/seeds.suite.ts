import { afterAll, beforeAll, expect, test } from 'vitest'
import { JOB_STATUSES } from '../../src/core/job.js'
import { openPlane, type TestPlane } from '../plane.js'
import { proves } from '../requirements.js'
import { replayOf, runSeed } from './seeds.js'

/**
 * A red run names its seed and how to see it again: SALLYPORT_SEED=<n> runs that one alone, in the first of these files.
 * Several files, because files run side by side.
 */
export function testSeeds(from: number, to: number): void {
  const one = process.env.SALLYPORT_SEED
  const all = Array.from({ length: to - from + 1 }, (_, i) => from + i)
  const seeds = one === undefined ? all : from === 1 ? [Number(one)] : []
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane()
  })
  afterAll(() => plane.close())

  test.skipIf(seeds.length === 0)(
    `${proves('L3', 'L4', 'L6', 'D10', 'R4', 'R5', 'C1')} several nodes, every order, every fault: seeds ${from} to ${to}`,
    async () => {
      const seen = new Set<string>()
      for (const seed of seeds) {
        const ran = await runSeed(plane, seed)
        expect(ran.wrong, replayOf(seed)).toEqual([])
        for (const what of ran.seen) seen.add(what)
      }
      const wanted = [
        ...JOB_STATUSES.filter((status) => ENDS.has(status)),
        'broken',
        'cancelled',
        'death',
        'work taken up',
      ]
      if (seeds.length >= 100) expect(wanted.filter((what) => !seen.has(what))).toEqual([])
    },
    600_000,
  )
}

/** Where jobs end up once everybody has gone on to the end; `quarantined` ones wait for a person. */
const ENDS = new Set<string>([
  'succeeded',
  'quarantined',
  'rejected',
  'expired',
  'cancelled',
  'dead_letter',
  'discarded',
  'denied',
])
