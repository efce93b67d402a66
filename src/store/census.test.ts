import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { Census } from './census.js'

const ALLOW = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'
const ASK = 'version: v1\nrules:\n  - { id: ask, match: { topic: job.> }, decision: REQUIRE_APPROVAL }\n'
const MINUTE = 60_000

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

/** As it is now: a census of its own, so that nothing is kept from before. */
const count = (t: Tenancy) => new Census(plane.db, plane.clock).tenant(t.tenant)

/** Copies of a queued job, so that a queue is long without a submit for each. */
function copies(t: Tenancy, job_id: string, topic: string, many: number) {
  return plane.db.query(
    `INSERT INTO jobs SELECT r.* FROM jobs j CROSS JOIN generate_series(1, $3::int) n CROSS JOIN LATERAL
       jsonb_populate_record(NULL::jobs, to_jsonb(j) || jsonb_build_object('job_id', 'job_' || $4::text || n, 'topic', $4::text,
         'priority', n % 10)) r
     WHERE j.tenant = $1 AND j.job_id = $2`,
    [t.tenant, job_id, many, topic],
  )
}

test('due jobs and the age of the oldest, by topic; what is for later, running or done is not counted', async () => {
  const t = await plane.tenant(ALLOW)
  await t.submit({ topic: 'job.b', priority: 1 })
  plane.clock.advance(MINUTE)
  await t.submit({ topic: 'job.b', priority: 9 })
  await t.submit({ topic: 'job.a', not_before: plane.clock.now() + 5 * MINUTE })
  await t.lease({ topic: 'job.c' })
  plane.clock.advance(1000)
  expect(await count(t)).toMatchObject({
    topics: [{ topic: 'job.b', depth: 2, oldest_ms: MINUTE + 1000 }],
    more: false,
    pending: 0,
  })
  plane.clock.advance(5 * MINUTE)
  expect((await count(t)).topics.map(({ topic }) => topic)).toEqual(['job.a', 'job.b'])
})

test('open questions and what waits for a person', async () => {
  const t = await plane.tenant(ASK)
  await t.submit({ topic: 'job.a' })
  plane.clock.advance(MINUTE)
  await t.submit({ topic: 'job.a' })
  await t.activate(ALLOW)
  const dead = await t.lease({ topic: 'job.b' })
  await t.fail(dead.lease, 'terminal')
  const doubt = await t.lease({ topic: 'job.c' })
  await t.begin(doubt.lease, 'pay')
  await t.fail(doubt.lease)
  expect(await count(t)).toMatchObject({
    pending: 2,
    pending_oldest_ms: MINUTE,
    parked: { ambiguous: 1, dead_letter: 1, quarantined: 0 },
    topics: [],
  })
  await t.lease({ topic: 'job.d' })
  expect(await new Census(plane.db, plane.clock).live()).toBeGreaterThan(0)
})

test('a long queue is counted up to the bound and no further', async () => {
  const t = await plane.tenant(ALLOW)
  const { job_id } = await t.submit({ topic: 'job.first' })
  await copies(t, job_id, 'job.long', 12_000)
  plane.clock.advance(MINUTE)
  const found = await count(t)
  expect(found.bound).toBe(10_000)
  expect(found.topics).toEqual([
    { topic: 'job.first', depth: 1, oldest_ms: MINUTE },
    { topic: 'job.long', depth: 10_000, oldest_ms: MINUTE },
  ])
})

test('an agent that invents topics costs a bounded number of looks', async () => {
  const t = await plane.tenant(ALLOW)
  const { job_id } = await t.submit({ topic: 'job.a' })
  await plane.db.query(
    `INSERT INTO jobs SELECT r.* FROM jobs j CROSS JOIN generate_series(1, 300) n CROSS JOIN LATERAL
       jsonb_populate_record(NULL::jobs, to_jsonb(j) || jsonb_build_object('job_id', 'job_t' || n, 'topic', 'job.t' || n)) r
     WHERE j.tenant = $1 AND j.job_id = $2`,
    [t.tenant, job_id],
  )
  let statements = 0
  plane.db.tap = (_, send) => {
    statements++
    return send()
  }
  const found = await count(t)
  plane.db.tap = null
  expect(found).toMatchObject({ more: true, bound: 200 })
  expect(found.topics).toHaveLength(200)
  expect(statements).toBeLessThan(210)
})

test('is asked once in a while, however often it is looked at, and again after a fault', async () => {
  const t = await plane.tenant(ALLOW)
  const census = new Census(plane.db, plane.clock)
  await t.submit({ topic: 'job.a' })
  let statements = 0
  plane.db.tap = (_, send) => {
    statements++
    return statements === 1 ? Promise.reject(new Error('away')) : send()
  }
  await expect(census.tenant(t.tenant)).rejects.toThrow('away')
  const before = statements
  await Promise.all(Array.from({ length: 50 }, () => census.tenant(t.tenant)))
  const first = statements - before
  await census.tenant(t.tenant)
  expect(statements - before).toBe(first)
  plane.clock.advance(3000)
  await census.tenant(t.tenant)
  plane.db.tap = null
  expect(statements - before).toBe(2 * first)
})
