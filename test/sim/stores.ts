import { openPostgres } from '../../src/platform/db/pg.js'
import type { Db } from '../../src/platform/db/seam.js'
import { openPlane, type TestPlane } from '../plane.js'
import { database } from '../support/engines.js'

/** A new, empty store for seeded runs: in memory, or a database on the Postgres that the test files of a run share. */
export async function storeOf(engine: Db['engine']): Promise<TestPlane> {
  if (engine === 'pglite') return openPlane()
  const url = await database()
  return openPlane(1, () => openPostgres({ url }))
}
