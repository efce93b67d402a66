import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Param } from '../src/platform/db/seam.js'
import { startSallyport, type TestPlane } from '../src/testing.js'

/**
 * Every statement the plane sends while jobs travel, planned on tables that are as good as empty: that is when a generic plan is
 * made and kept. A look-up by id must be an index condition on the id; an index used by its tenant alone walks the tenant.
 */
let plane: TestPlane
const sent = new Map<string, readonly Param[]>()
let query: TestPlane['world']['db']['query']

beforeAll(async () => {
  plane = await startSallyport()
  query = plane.world.db.query.bind(plane.world.db)
  plane.world.db.query = (sql, params = []) => {
    sent.set(sql, params)
    return query(sql, params)
  }
})
afterAll(() => plane.stop())

async function call(role: keyof TestPlane['keys'], method: string, path: string, body?: unknown) {
  const headers = {
    'x-api-key': plane.keys[role],
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  const answer = await fetch(`${plane.url}/api/v1${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return (await answer.json()) as Record<string, never>
}

/** Statements that mean to walk: what waits or is due in a whole tenant or store, or a page of its newest. */
const WALKS = [
  /beat_at > \$1/, // after the clock was set back, all live leases

  /FROM audit_tiles WHERE first_index IS NULL/,
  /FROM audit_tiles WHERE tenant = \$1 AND first_index IS NULL/,
  /ORDER BY created_at/,
  /FROM gates ORDER BY/,
  /max\(first_index/,
  /FROM audit_writers/,
  /FROM keys WHERE tenant/,
  /FROM policy_snapshots/,
  /FROM audit_heads/,
  /DISTINCT ON \(writer\)/,
  /FROM approvals WHERE (status|tenant = \$1 AND (status|approval_id))/,
]

test('no statement walks a tenant to find a row by its id', async () => {
  const { job_id, decision_id } = await call('agent', 'POST', '/jobs', { topic: 'job.repo.read', input: { op: 'log' } })
  const parked = await call('agent', 'POST', '/jobs', { topic: 'job.deploy.apply', labels: { env: 'prod' } })
  const { leases } = await call('worker', 'POST', '/workers/claim', {
    worker_id: 'w',
    claim_id: 'plan-0001',
    topics: ['job.repo.read'],
    capacity: 5,
  })
  const { lease } = (leases as unknown as { lease: string }[])[0] ?? { lease: '' }
  await call('worker', 'POST', '/leases/heartbeat', { leases: [{ lease }] })
  await call('worker', 'POST', '/leases/effects', { lease, key: 'e', phase: 'begin' })
  await call('worker', 'POST', '/leases/effects', { lease, key: 'e', phase: 'commit', result: 1 })
  await call('worker', 'POST', '/leases/complete', [{ lease, outcome: 'succeeded', result: { ok: true } }])
  for (const path of [
    `/jobs/${job_id}`,
    `/jobs/${job_id}/timeline`,
    `/jobs/${job_id}/result`,
    `/decisions/${decision_id}`,
    '/jobs',
    '/jobs?run_id=r',
    '/jobs?status=dead_letter',
    '/approvals',
    '/approvals?status=pending',
    '/measurements?window=31d',
    '/topics',
  ])
    await call('admin', 'GET', path)
  expect((await fetch(`${plane.url}/metrics`)).status).toBe(200)
  await call('approver', 'GET', `/approvals/${parked.approval_id}`)
  await call('agent', 'POST', `/jobs/${parked.job_id}/cancel`, {})

  const faults: string[] = []
  for (const [sql, params] of sent) {
    const plan = (await query<{ 'QUERY PLAN': string }>(`EXPLAIN (COSTS OFF) ${sql}`, params)).map(
      (row) => row['QUERY PLAN'],
    )
    for (const [i, line] of plan.entries()) {
      if (/Seq Scan/.test(line)) faults.push(`${line.trim()} in ${sql.slice(0, 120)}`)
      // An index read without a condition is a walk over the whole table, in another order.
      const bare = /Index( Only)? Scan/.test(line) && !/Index Cond/.test(plan[i + 1] ?? '')
      if (bare && !WALKS.some((walk) => walk.test(sql)))
        faults.push(`${line.trim()} without a condition in ${sql.slice(0, 160)}`)
      const tenantAlone =
        /Index Cond: \(tenant = [^)]*\)$/.test(line.trim()) && /Index( Only)? Scan/.test(plan[i - 1] ?? '')
      if (tenantAlone && !/gates_pkey/.test(plan[i - 1] ?? '') && !WALKS.some((walk) => walk.test(sql)))
        faults.push(`${plan[i - 1]?.trim()} by tenant alone in ${sql.slice(0, 160)}`)
    }
  }
  expect(sent.size).toBeGreaterThan(20)
  expect(faults).toEqual([])
})
