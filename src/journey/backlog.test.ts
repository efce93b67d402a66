import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { DbError } from '../errors.js'
import { Census } from '../store/census.js'
import type { World } from '../store/world.js'
import { noteBacklogs } from './backlog.js'

const POLICY = 'version: v1\ndefault_decision: ALLOW\nrules: []\n'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

async function note(t: Tenancy, world: World = t.world, more?: boolean) {
  const count = await new Census(world.db, world.clock).tenant(t.tenant)
  await noteBacklogs(world, { ...count, ...(more === undefined ? {} : { more }) }, new Map([['job.a', 2]]))
}

async function said(t: Tenancy) {
  const facts = (await t.facts()).filter(({ kind }) => String(kind).startsWith('queue.'))
  return facts.map(({ kind, topic }) => `${kind} ${topic}`)
}

test('a queue that nobody empties is told of once, and once when it recovers', async () => {
  const t = await plane.tenant(POLICY)
  for (let n = 0; n < 3; n++) await t.submit({ topic: 'job.a' })
  await t.submit({ topic: 'job.b' })
  t.clock.advance(59_999)
  await note(t)
  expect(await said(t)).toEqual([])
  await t.claim(['job.b'])
  t.clock.advance(1)
  for (let looks = 0; looks < 3; looks++) await note(t)
  expect(await said(t)).toEqual(['queue.backlogged job.a'])
  expect((await t.facts()).find(({ kind }) => kind === 'queue.backlogged')).toMatchObject({
    tenant: t.tenant,
    actor: 'system:backlogs',
    depth: 3,
    oldest_ms: 60_000,
    waiting_workers: 2,
  })

  await t.claim(['job.a'], { capacity: 3 })
  await t.submit({ topic: 'job.a' })
  t.clock.advance(15_001)
  await note(t)
  expect(await said(t)).toEqual(['queue.backlogged job.a'])
  await t.claim(['job.a'])
  // Another node looks by now: what was said stands in the store.
  for (let looks = 0; looks < 3; looks++) await note(t, plane.node())
  expect(await said(t)).toEqual(['queue.backlogged job.a', 'queue.recovered job.a'])
  expect((await t.facts()).find(({ kind }) => kind === 'queue.recovered')).toMatchObject({
    depth: 0,
    lasted_ms: 15_001,
  })
})

test('a queue that was not counted has not recovered', async () => {
  const t = await plane.tenant(POLICY)
  await t.submit({ topic: 'job.a' })
  t.clock.advance(60_000)
  await note(t)
  await t.claim(['job.a'])
  await note(t, t.world, true)
  expect(await said(t)).toEqual(['queue.backlogged job.a'])
  await note(t)
  expect(await said(t)).toHaveLength(2)
})

test('a look that dies after it spoke is made again', async () => {
  const t = await plane.tenant(POLICY)
  await t.submit({ topic: 'job.a' })
  t.clock.advance(60_000)
  plane.db.tap = async (sql, send) => {
    if (sql.includes('INTO backlogs')) throw new DbError('connection reset by peer', '08006')
    return send()
  }
  await expect(note(t)).rejects.toThrow('reset')
  plane.db.tap = null
  await note(t)
  await note(t)
  expect(await said(t)).toEqual(['queue.backlogged job.a', 'queue.backlogged job.a'])
})
