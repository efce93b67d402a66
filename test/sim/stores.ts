import { openPostgres } from '../../src/platform/db/pg.js'
import type { Db, On, Param } from '../../src/platform/db/seam.js'
import { isCommit, openPlane, type TestPlane } from '../plane.js'
import { database } from '../support/engines.js'

/** Nodes of a run that are not the same process: on one connection their commits could never meet. */
const NODES = 3

/** A new, empty store for seeded runs: in memory, or a database on the Postgres that the test files of a run share. */
export async function storeOf(engine: Db['engine']): Promise<TestPlane> {
  if (engine === 'pglite') return openPlane()
  const url = await database()
  return openPlane(1, async () => slow(await openPostgres({ url, pool: 3 })), NODES)
}

const GO = 'go AS (SELECT NOT EXISTS (SELECT 1 FROM losers) AS ok'

/**
 * Every commit stands still for 2 ms between its view of the store and what it makes of it, or two that are sent together rarely
 * meet. Seen with all row locks taken out: on one connection and without this 100 seeds found nothing, with it 3 of 238 did.
 */
function slow(db: Db): Db {
  return {
    ...db,
    query: <Row>(sql: string, params?: readonly Param[], on?: On) => {
      if (!isCommit(sql)) return db.query<Row>(sql, params, on)
      if (!sql.includes(`${GO})`)) throw new Error('a commit does not read as this test knows it')
      return db.query<Row>(sql.replace(`${GO})`, `${GO} FROM pg_sleep(0.002))`), params, on)
    },
  }
}
