import { existsSync } from 'node:fs'
import { openPglite } from '../../src/platform/db/pglite.js'
import { scratch } from '../support/server.js'
import { dbConformance } from './db.js'

dbConformance('PGlite in this thread', async () => {
  const db = await openPglite(null)
  return { db, another: null, close: () => db.close() }
})

// A thread runs compiled files: this is the engine as the built command has it.
const BUILT = new URL('../../dist/platform/db/pglite.js', import.meta.url)

dbConformance('PGlite in a thread', async () => {
  if (!existsSync(BUILT)) throw new Error('dist/ is not built: npm run build')
  const { openPgliteThread } = (await import(BUILT.href)) as typeof import('../../src/platform/db/pglite.js')
  const place = scratch('pglite')
  const db = await openPgliteThread(place.at('pgdata'), () => {})
  return {
    db,
    another: null,
    async close() {
      await db.close()
      place.gone()
    },
  }
})
