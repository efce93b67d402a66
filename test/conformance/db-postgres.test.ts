import { openPostgres } from '../../src/platform/db/pg.js'
import { database } from '../support/engines.js'
import { dbConformance } from './db.js'

dbConformance('Postgres', async () => {
  const url = await database()
  const db = await openPostgres({ url })
  return { db, another: () => openPostgres({ url, pool: 3 }), close: () => db.close() }
})
