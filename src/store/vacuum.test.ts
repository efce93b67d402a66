import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane } from '../../test/plane.js'
import type { Db } from '../platform/db/seam.js'
import { CHURNING, vacuum } from './vacuum.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

/** Dead rows as the engine counts them; it does so once a second unless it is told to. */
async function dead(table: string): Promise<number> {
  await plane.db.query('SELECT pg_stat_force_next_flush()')
  const [row] = await plane.db.query<{ n: number }>(
    'SELECT n_dead_tup AS n FROM pg_stat_user_tables WHERE relname = $1',
    [table],
  )
  return row?.n ?? Number.NaN
}
const size = async () => (await plane.db.query<{ n: number }>("SELECT pg_relation_size('leases') AS n"))[0]?.n

test('room of dead rows is used again, and what lives stays', async () => {
  await plane.db.query(
    `INSERT INTO leases SELECT 't', 'lease_' || n, 'job_' || n, 1, 'w', 'c', 1, 1, 1, '{}', null, 1, null FROM generate_series(1, 400) n`,
  )
  const renew = (at: number) => plane.db.query('UPDATE leases SET ended_at = $1', [at])
  await renew(2)
  expect(await dead('leases')).toBe(400)
  expect(await vacuum(plane.db, 1000)).toBeNull()
  expect(await dead('leases')).toBe(400)
  expect(await vacuum(plane.db, 100)).toBe('leases')
  expect(await dead('leases')).toBe(0)
  expect(await vacuum(plane.db, 100)).toBeNull()
  const before = await size()
  await renew(3)
  expect(await size()).toBe(before)
  expect(await plane.db.query('SELECT count(*)::int AS n, max(ended_at) AS at FROM leases')).toEqual([
    { n: 400, at: 3 },
  ])
})

test('every table named exists, and can be vacuumed', async () => {
  const rows = await plane.db.query<{ relname: string }>('SELECT relname FROM pg_stat_user_tables')
  expect(rows.map((row) => row.relname)).toEqual(expect.arrayContaining([...CHURNING.keys()]))
  for (const sql of CHURNING.values()) expect(await plane.db.query(sql)).toEqual([])
})

test('Postgres sees to that itself', async () => {
  const db = { engine: 'postgres', query: () => Promise.reject(new Error('asked')) } as unknown as Db
  expect(await vacuum(db)).toBeNull()
})
