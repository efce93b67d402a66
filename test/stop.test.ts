import { afterAll, expect, test } from 'vitest'
import { DbError } from '../src/errors.js'
import { loadConfig, start } from '../src/main.js'
import { manualClock } from '../src/platform/clock.js'
import type { Db, Param } from '../src/platform/db/seam.js'
import { type Log, silentLog } from '../src/platform/log.js'
import { isCommit } from './plane.js'
import { scratch, until } from './support/server.js'

const place = scratch('stop')
afterAll(() => place.gone())

const nothing = () => {}

test('a commit whose answer was lost, and that nobody could ask about, is told too', async () => {
  let lost = false
  const losing = (db: Db): Db => ({
    ...db,
    query: <Row>(sql: string, params?: readonly Param[], on?: 'reads' | 'ledger' | 'fresh') =>
      lost ? Promise.reject<Row[]>(new DbError('gone', '08006')) : db.query<Row>(sql, params, on),
  })
  const config = loadConfig({}, { dataDir: place.at('lost'), port: 0 })
  const plane = await start(config, { memory: true, log: silentLog, watch: losing })
  lost = true
  const fact = { kind: 'drill.run', tenant: 'default', at: 1, actor: 'person:x' } as const
  const step = plane.world.ledger.commit({ tenant: 'default', gate: null, alone: [], rows: {}, facts: [fact] })
  await expect(step).rejects.toMatchObject({ code: 'outcome_unknown' })
  expect(plane.world.ledger.unresolved).toBe(1)
  await expect(plane.stop()).rejects.toThrow('The store did not say what became of all it was sent')
})

test('a store that answers nothing does not keep a stop waiting for ever, and what is unresolved is told', async () => {
  const clock = manualClock(Date.now())
  const said: { unresolved?: number }[] = []
  const log = { debug: nothing, info: nothing, warn: nothing, error: (it: object) => said.push(it), fatal: nothing }
  let hangs = false
  let sent = 0
  let real: Db | null = null
  const hanging = (db: Db): Db => {
    real = db
    return {
      ...db,
      query: <Row>(sql: string, params?: readonly Param[], on?: 'reads' | 'ledger' | 'fresh') => {
        if (hangs && isCommit(sql)) sent++
        return hangs ? new Promise<Row[]>(nothing) : db.query<Row>(sql, params, on)
      },
    }
  }
  const config = loadConfig({}, { dataDir: place.at('data'), port: 0 })
  const plane = await start(config, { memory: true, clock, log: log as unknown as Log, watch: hanging })
  hangs = true
  const fact = { kind: 'drill.run', tenant: 'default', at: clock.now(), actor: 'person:x' } as const
  const step = { tenant: 'default', gate: null, alone: [], rows: {}, facts: [fact] }
  for (let n = 0; n < 3; n++) void plane.world.ledger.commit(step)
  await until('they were sent', () => sent > 0)
  let end: Error | null = null
  const stopped = plane.stop().catch((error: Error) => {
    end = error
  })
  clock.advance(24_999)
  await until('the server is closed', () =>
    fetch(`${plane.url}/healthz`).then(
      () => false,
      () => true,
    ),
  )
  expect(end).toBeNull()
  clock.advance(1)
  await stopped
  expect(end).toMatchObject({ message: 'Not everything was closed within 25 s' })
  expect(said.at(-1)).toMatchObject({ unresolved: 3 })
  await (real as Db | null)?.close()
})

test('what was refused and only counted yet is written before the ledger closes', async () => {
  let tiles: { body: string }[] = []
  const watch = (db: Db): Db => ({
    ...db,
    close: async () => {
      tiles = await db.query('SELECT body FROM audit_tiles')
      await db.close()
    },
  })
  const config = loadConfig({}, { dataDir: place.at('counts'), port: 0 })
  const plane = await start(config, { memory: true, log: silentLog, watch })
  const refused = { kind: 'limit.refused', tenant: 'default', actor: 'agent:counted' } as const
  for (let n = 0; n < 7; n++) plane.world.refusals.add(refused, plane.world.clock.now())
  await plane.stop()
  const entries = tiles.flatMap(({ body }) => body.split('\n').filter((line) => line.includes('agent:counted')))
  expect(entries.map((line) => JSON.parse(line))).toMatchObject([{ ...refused, count: 7 }])
})
