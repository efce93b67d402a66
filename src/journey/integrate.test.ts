import { afterAll, beforeAll, expect, test } from 'vitest'
import { auditVerifies } from '../../test/invariants.js'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { DbError } from '../errors.js'
import { type Integrated, integrate } from './integrate.js'

const POLICY = 'version: v1\ndefault_decision: ALLOW\nrules: []\n'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

const writes = (sql: string) => sql.includes('INSERT INTO audit_heads')

/** A round of this node; `at` happens around its one statement that writes. */
async function round(t: Tenancy, at: (send: () => Promise<unknown[]>) => Promise<unknown[]>): Promise<Integrated> {
  plane.db.tap = async (sql, send) => {
    if (!writes(sql)) return send()
    plane.db.tap = null
    return at(send)
  }
  const done = await integrate(t.world, plane.key)
  plane.db.tap = null
  const mine = done.find((each) => each.tenant === t.tenant)
  if (mine === undefined) throw new Error('there was nothing to integrate')
  return mine
}

async function waiting(): Promise<Tenancy> {
  const t = await plane.tenant(POLICY)
  await t.submit({ topic: 'job.a' })
  return t
}

test('of two that integrate at once the second finds nothing wrong, and tells of the head that the first signed', async () => {
  const t = await waiting()
  const other = plane.node()
  let first: Integrated | undefined
  const second = await round(t, async (send) => {
    first = (await integrate(other, plane.key)).find((each) => each.tenant === t.tenant)
    return send()
  })
  expect(first?.entries).toBeGreaterThan(0)
  expect(second.failed).toBeNull()
  expect(second.head).toEqual(first?.head)
  expect(await auditVerifies(plane, t.tenant)).toEqual([])
})

test('a head whose answer was lost is told of', async () => {
  const t = await waiting()
  const done = await round(t, async (send) => {
    await send()
    throw new DbError('connection reset by peer', '08006')
  })
  expect(done.failed).toBeNull()
  expect(done.head?.size).toBe(done.entries)
  expect(await auditVerifies(plane, t.tenant)).toEqual([])
})

test('a store that fails has failed', async () => {
  const t = await waiting()
  const done = await round(t, async () => {
    throw new DbError('connection reset by peer', '08006')
  })
  expect([done.failed?.message, done.head]).toEqual(['connection reset by peer', null])
  expect(await auditVerifies(plane, t.tenant)).toEqual([])
})
