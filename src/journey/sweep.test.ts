import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { DbError } from '../errors.js'
import { writeRefusals } from './sweep.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const refuse = (t: Tenancy) =>
  plane.world.refusals.add(
    { kind: 'limit.refused', tenant: t.tenant, actor: 'agent:bot', rules: 'few' },
    plane.clock.now(),
  )
const refusals = async (t: Tenancy) => (await t.facts()).filter((fact) => fact.kind === 'limit.refused')

test('refusals that could not be written are kept and written later, and keep no others back', async () => {
  const [t, u] = [await plane.tenant('version: v1\nrules: []\n'), await plane.tenant('version: v1\nrules: []\n')]
  const from = plane.clock.now()
  for (const each of [t, u, t]) refuse(each)
  plane.clock.advance(5000)
  const { ledger } = plane.world
  const commit = ledger.commit.bind(ledger)
  // Not by the statement: one batch holds the entries of all tenants.
  ledger.commit = (intent) =>
    intent.tenant === t.tenant ? Promise.reject(new DbError('the disk is full', '53100')) : commit(intent)
  await expect(writeRefusals(plane.world)).rejects.toThrow('the disk is full')
  ledger.commit = commit
  expect(await refusals(t)).toEqual([])
  expect(await refusals(u)).toMatchObject([{ count: 1, from }])
  refuse(t)
  await writeRefusals(plane.world)
  expect(await refusals(t)).toMatchObject([{ count: 3, from }])
  await writeRefusals(plane.world)
  expect(await refusals(u)).toHaveLength(1)
})

test('what has not gathered for long yet waits, and at a stop is written all the same', async () => {
  const t = await plane.tenant('version: v1\nrules: []\n')
  refuse(t)
  plane.clock.advance(4999)
  await writeRefusals(plane.world)
  expect(await refusals(t)).toEqual([])
  await writeRefusals(plane.world, true)
  expect(await refusals(t)).toMatchObject([{ count: 1 }])
})
