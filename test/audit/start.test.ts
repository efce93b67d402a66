import { afterAll, expect, test } from 'vitest'
import { loadConfig, start } from '../../src/main.js'
import type { Db } from '../../src/platform/db/seam.js'
import { silentLog } from '../../src/platform/log.js'
import { newestHead } from '../../src/store/audit.js'
import { proves } from '../requirements.js'
import { scratch, until } from '../support/server.js'

const place = scratch('start')
afterAll(() => place.gone())

const config = loadConfig({}, { dataDir: place.at('data'), port: 0 })
const TILES = 400
const ENTRIES = 50

/** Counts what statements bring back of tiles and of the tree. */
function counting(read: { tiles: number; leafRows: number; statements: number }): (db: Db) => Db {
  return (db) => ({
    ...db,
    async query<Row>(sql: string, params?: Parameters<Db['query']>[1]) {
      const rows = await db.query<Row>(sql, params)
      read.statements++
      for (const row of rows as Record<string, unknown>[]) {
        if (typeof row.body === 'string' && 'prev_hash' in row) read.tiles++
        if (row.hashes instanceof Uint8Array && row.level === 0) read.leafRows++
      }
      return rows
    },
  })
}

test(`${proves('C1', 'L6')} a start reads as much of a log of ${TILES * ENTRIES} entries as of a new one: no leaves`, async () => {
  const read = { tiles: 0, leafRows: 0, statements: 0 }
  const plane = await start(config, { thread: false, log: silentLog, watch: counting(read) })
  const small = { ...read }
  const { world } = plane
  const at = world.clock.now()
  for (let tile = 0; tile < TILES; tile++) {
    const facts = Array.from({ length: ENTRIES }, (_, n) => ({
      kind: 'payload.erased' as const,
      tenant: 'default',
      at,
      actor: 'system:sweeper',
      count: tile * ENTRIES + n,
    }))
    await world.ledger.commit({ tenant: 'default', gate: null, alone: [], rows: {}, facts })
  }
  const size = () => newestHead(world.db, 'default').then((head) => head?.size ?? 0)
  await until('all are in the tree', async () => (await size()) > TILES * ENTRIES)
  // Without a word, as a killed process leaves it: its chain is closed by the next start.
  await plane.stop()

  Object.assign(read, { tiles: 0, leafRows: 0, statements: 0 })
  const from = performance.now()
  const again = await start(config, { thread: false, log: silentLog, watch: counting(read) })
  console.log(`started on ${TILES * ENTRIES} entries in ${Math.round(performance.now() - from)} ms; read at start:`, {
    ...read,
  })
  const before = await newestHead(again.world.db, 'default')
  // The last tile of the writer that is closed; and the first round of the integrator may already be under way.
  expect(read.tiles).toBeLessThanOrEqual(small.tiles + 4)
  expect(read.statements).toBeLessThan(60)
  await until(
    'the closing entry is in the tree',
    async () => ((await newestHead(again.world.db, 'default'))?.size ?? 0) > (before?.size ?? 0),
  )
  // Of the tree only the unfinished row of each level: no more than 255 leaf hashes.
  expect(read.leafRows).toBeLessThanOrEqual(2)
  expect(read.tiles).toBeLessThanOrEqual(small.tiles + 8)
  await again.stop()
}, 60_000)
