import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { ROUND } from '../journey/prune.js'
import { silentLog } from '../platform/log.js'
import type { World } from '../store/world.js'
import { pruner } from './pruner.js'

const DAY = 86_400_000
const MINUTE = 60_000
const POLICY = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'

let plane: TestPlane
let t: Tenancy
beforeAll(async () => {
  plane = await openPlane()
})
beforeEach(async () => {
  t = await plane.tenant(POLICY)
})
afterAll(() => plane.close())

async function oldJobs(copies: number): Promise<void> {
  const { job, lease } = await t.lease({ topic: 'job.it' })
  await t.succeed(lease, 1)
  await plane.db.query(
    `INSERT INTO jobs SELECT r.* FROM jobs j CROSS JOIN generate_series(1, $3::int) n CROSS JOIN LATERAL
       jsonb_populate_record(NULL::jobs, to_jsonb(j) || jsonb_build_object('job_id', $2::text || n, 'finished_at', j.finished_at + n)) r
     WHERE j.tenant = $1 AND j.job_id = $2`,
    [t.tenant, job.job_id, copies],
  )
  plane.clock.advance(2 * DAY)
}

function begin(world: World, keepMs: number | null) {
  const it = { removed: 0, looks: 0 }
  const loop = pruner(world, keepMs, plane.clock, silentLog, (tenant, count) => {
    if (tenant === t.tenant) it.removed += count
  })
  return { it, stop: loop.stop }
}
/** Sees the looks for tables to vacuum, with which a round ends that has nothing more to remove. */
function watched(): () => number {
  let looks = 0
  plane.db.tap = async (sql, send) => {
    const rows = await send()
    if (sql.includes('pg_stat_user_tables')) looks++
    return rows
  }
  return () => looks
}

test('more than a round is removed without waiting for the next minute, and counted', async () => {
  await oldJobs(2 * ROUND)
  const looks = watched()
  const { it, stop } = begin(plane.world, DAY)
  plane.clock.advance(MINUTE)
  for (const removed of [ROUND, 2 * ROUND, 2 * ROUND + 1]) {
    await turns(() => it.removed >= removed, 100_000)
    expect(it.removed).toBe(removed)
    plane.clock.advance(50)
  }
  await turns(() => looks() === 1, 100_000)
  await stop()
  expect(await t.rows('jobs')).toEqual([])
})

test('of two nodes one removes; when it stops the other goes on', async () => {
  const [first, second] = [begin(plane.world, DAY), begin(plane.node(), DAY)]
  await oldJobs(10)
  plane.clock.advance(MINUTE)
  await turns(() => first.it.removed + second.it.removed === 11, 100_000)
  const one = first.it.removed > 0 ? first : second
  const other = one === first ? second : first
  expect(other.it.removed).toBe(0)
  expect((await t.kinds()).filter((kind) => kind === 'jobs.pruned')).toHaveLength(1)
  await one.stop()
  await oldJobs(4)
  await turns(() => {
    plane.clock.advance(MINUTE)
    return other.it.removed === 5
  }, 100_000)
  await other.stop()
})

test('where everything is kept nothing goes, and room is still made', async () => {
  await oldJobs(3)
  const looks = watched()
  const { it, stop } = begin(plane.world, null)
  plane.clock.advance(4000 * DAY)
  await turns(() => looks() > 0, 100_000)
  await stop()
  expect(it.removed).toBe(0)
  expect(await t.rows('jobs')).toHaveLength(4)
})
