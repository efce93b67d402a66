import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPostgres } from '../../src/platform/db/pg.js'
import { openPglite } from '../../src/platform/db/pglite.js'
import type { Db } from '../../src/platform/db/seam.js'
import { COMMIT_ADMIN, commitOf, PART_NAMES } from '../../src/store/ledger/statement.js'
import { migrate } from '../../src/store/migrate.js'
import { database } from '../support/engines.js'

/** Every statement of the store is one that both engines take: its tables, columns, types and functions are there. */

const STORE = fileURLToPath(new URL('../../src/store/', import.meta.url))
const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url))
/** With names for its parameters: it becomes part of a commit, and those are prepared as a whole. */
const PIECE = /\{[a-z]+\}/
const BEGINS = /^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s/

/** What src/store keeps in constants, by file and name. */
async function statements(): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const file of readdirSync(STORE, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!/(?<!\.test|-thread)\.ts$/.test(file)) continue
    const { CONSTANTS } = await import(/* @vite-ignore */ `${STORE}${file}?constants`)
    for (const [name, value] of Object.entries(CONSTANTS))
      if (typeof value === 'string' && BEGINS.test(value) && !PIECE.test(value)) found.set(`${file} ${name}`, value)
  }
  for (const parts of [[], PART_NAMES, ...PART_NAMES.map((name) => [name])])
    found.set(`commit of ${parts.join(', ') || 'nothing'}`, commitOf(parts).sql)
  found.set('commit of policy and keys', COMMIT_ADMIN.sql)
  return found
}

describe.each<[string, () => Promise<Db>]>([
  ['PGlite', () => openPglite(null)],
  ['Postgres', async () => openPostgres({ url: await database() })],
])('on %s', (_, open) => {
  let db: Db
  beforeAll(async () => {
    db = await open()
    await migrate(db, MIGRATIONS, 1)
  })
  afterAll(() => db?.close())

  test('every statement of the store can be prepared', async () => {
    const found = await statements()
    expect(found.size).toBeGreaterThan(80)
    const faults = new Map<string, string>()
    let n = 0
    for (const [name, sql] of found)
      await db.query(`PREPARE p${n++} AS ${sql}`, [], 'ledger').catch((error: Error) => faults.set(name, error.message))
    expect([...faults]).toEqual([])
  })
})
