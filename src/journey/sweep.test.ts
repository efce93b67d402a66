import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { DbError } from '../errors.js'
import { raiseStop } from './stop.js'
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

const OWNED = (owner: string) => `
version: v1
job_classes:
  - { topic: job.do.*, attempts: 1, timeout_ms: 60000, heartbeat_ms: 1000, owner: ${owner}, respond_within: 4h }
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`

test('queues that ran out are looked at with one look at the gate of each tenant, stopped or not', async () => {
  const QUEUED = `version: v1
job_classes: [{ topic: job.do.*, queue_timeout_ms: 60000 }]
rules: [{ id: do, match: { topic: job.do.* }, decision: ALLOW }]
`
  const [t, u] = [await plane.tenant(QUEUED), await plane.tenant(QUEUED)]
  const ids = { t: [] as string[], u: [] as string[] }
  for (let n = 0; n < 5; n++)
    for (const [name, at] of Object.entries({ t, u }))
      ids[name as 't' | 'u'].push((await at.submit({ topic: 'job.do.it' })).job_id)
  await raiseStop(u.world, u.operator, { scope: 'agent', target: 'agent:bot', reason: 'wrong' })
  plane.clock.advance(60_000)
  let looks = 0
  plane.db.tap = async (sql, send) => {
    if (sql.includes('FROM gates WHERE tenant')) looks++
    return send()
  }
  await t.sweep()
  plane.db.tap = null
  expect(looks).toBe(2)
  for (const job_id of ids.t)
    expect(await t.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'no_worker' })
  for (const job_id of ids.u) expect(await u.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'stopped' })
})

describe('a dead letter', () => {
  const overdue = async (t: Tenancy) => (await t.facts()).filter((fact) => fact.kind === 'job.overdue')
  const dead = async (t: Tenancy) => {
    const { job, lease } = await t.lease({ topic: 'job.do.it' })
    await t.fail(lease, 'terminal')
    return job.job_id
  }

  test(`${proves('R3')} that nobody answered for in its time is told of, once; replayed and dead again it is told of again`, async () => {
    const t = await plane.tenant(OWNED('team:ops'))
    const job_id = await dead(t)
    const { respond_by } = await t.job(job_id)
    plane.clock.advance(4 * 3_600_000 - 1)
    await t.sweep()
    expect(await overdue(t)).toEqual([])
    plane.clock.advance(1)
    for (let look = 0; look < 3; look++) await t.sweep()
    const at = plane.clock.now()
    const told = { job_id, actor: 'system:sweeper', agent: 'agent:bot', owner: 'team:ops', team: 'ops', respond_by, at }
    expect(await overdue(t)).toMatchObject([told])
    expect(await t.job(job_id)).toMatchObject({ status: 'dead_letter', respond_by, reminded_at: at })
    await t.replay(job_id)
    expect(await t.job(job_id)).toMatchObject({ respond_by: null, reminded_at: null })
    const [again] = await t.claim(['job.do.it'])
    await t.fail(again?.lease as string, 'terminal')
    plane.clock.advance(4 * 3_600_000)
    await t.sweep()
    expect(await overdue(t)).toHaveLength(2)
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('that was answered for in time, or whose class gives no time, is not', async () => {
    const t = await plane.tenant(OWNED('principal:person:ann'))
    const [discarded, late] = [await dead(t), await dead(t)]
    await t.discard(discarded)
    await t.activate(OWNED('principal:person:ann').replace(', respond_within: 4h', ''))
    await dead(t)
    plane.clock.advance(100 * 3_600_000)
    await t.sweep()
    expect(await overdue(t)).toMatchObject([{ job_id: late, principal: 'person:ann' }])
  })
})
