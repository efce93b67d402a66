import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import { systemClock } from '../../platform/clock.js'
import { startSallyport, type TestPlane } from '../../testing.js'

/** Counts are kept for some seconds; a test jumps over them. */
const jump = { ms: 0 }
let plane: TestPlane
beforeAll(async () => {
  plane = await startSallyport({
    seams: { clock: { ...systemClock, now: () => Date.now() + jump.ms } },
  })
})
afterAll(() => plane.stop())

async function ask<T>(role: keyof TestPlane['keys'], method: string, path: string, body?: unknown): Promise<T> {
  const headers = {
    'x-api-key': plane.keys[role],
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  const answer = await fetch(plane.url + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return (await answer.json()) as T
}
const scrape = async (headers = {}) => (await fetch(`${plane.url}/metrics`, { headers })).text()

describe(`${proves('O1')} /metrics`, () => {
  test('counts requests by route, never by path', async () => {
    for (let i = 0; i < 20; i++) await ask('admin', 'GET', `/api/v1/jobs/job_0000000000000000000000000${i % 10}`)
    for (let i = 0; i < 20; i++) await ask('admin', 'GET', `/api/v1/invented/${i}`)
    const text = await scrape()
    const count = (labels: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`sallyport_http_request_duration_seconds_count{${labels}}`))
          ?.split(' ')
          .at(-1),
      )
    expect(count('route="/api/v1/jobs/:job_id",method="GET",status="404"')).toBe(20)
    expect(count('route="unknown",method="GET",status="404"')).toBe(20)
    expect(text).not.toContain('invented')
  })

  test('what waits, who waits, and that the parts are up', async () => {
    for (let i = 0; i < 3; i++) await ask('agent', 'POST', '/api/v1/jobs', { topic: 'job.repo.read' })
    await ask('agent', 'POST', '/api/v1/jobs', { topic: 'job.deploy.apply', labels: { env: 'prod' } })
    const hangUp = new AbortController()
    const claim = fetch(`${plane.url}/api/v1/workers/claim`, {
      method: 'POST',
      headers: { 'x-api-key': plane.keys.worker, 'content-type': 'application/json' },
      body: JSON.stringify({
        worker_id: 'w',
        claim_id: 'wait-0001',
        topics: ['job.idle'],
        capacity: 1,
        wait_ms: 30_000,
      }),
      signal: hangUp.signal,
    }).catch(() => null)
    jump.ms += 5000
    type Topics = { items: { topic: string; depth: number; waiting_workers: number }[] }
    let topics: Topics = { items: [] }
    // The claim is on its way; the route counts what this node holds.
    while (!topics.items.some(({ waiting_workers }) => waiting_workers === 1))
      topics = await ask<Topics>('admin', 'GET', '/api/v1/topics')
    expect(topics.items).toEqual([
      expect.objectContaining({ topic: 'job.idle', depth: 0, waiting_workers: 1 }),
      expect.objectContaining({ topic: 'job.repo.read', depth: 3, bounded: false, waiting_workers: 0 }),
    ])
    const text = await scrape()
    for (const line of [
      'sallyport_queue_depth{tenant="default",topic="job.repo.read"} 3',
      'sallyport_dispatcher_waiting_workers{tenant="default",topic="other"} 1',
      'sallyport_approvals_pending{tenant="default"} 1',
      'sallyport_jobs_parked{tenant="default",status="ambiguous"} 0',
      'sallyport_jobs_total{tenant="default",topic="job.repo.read",event="submitted"} 3',
      'sallyport_decisions_total{tenant="default",door="submit",decision="REQUIRE_APPROVAL"} 1',
      'sallyport_ledger_queue_depth 0',
      'sallyport_store_up 1',
      'sallyport_bus_connected 1',
    ])
      expect(text).toContain(`${line}\n`)
    expect(text).toMatch(/^sallyport_build_info\{version="[^"]+",node="[^"]+",engine="pglite"\} 1$/m)
    expect(text).toMatch(/^sallyport_queue_oldest_age_seconds\{tenant="default",topic="job.repo.read"\} [\d.]+$/m)
    expect(text).toMatch(/^sallyport_audit_integration_lag_seconds\{tenant="default"\} [\d.]+$/m)
    hangUp.abort()
    await claim
  })

  test('a key is shown its own tenant', async () => {
    expect(await scrape({ 'x-api-key': plane.keys.admin })).toContain('tenant="default"')
    expect((await fetch(`${plane.url}/metrics`, { headers: { 'x-api-key': plane.keys.agent } })).status).toBe(403)
  })

  test('every line is one that Prometheus reads', async () => {
    const label = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"'
    const sample = new RegExp(`^[a-z_:][a-z0-9_:]*(\\{${label}(,${label})*\\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$`)
    for (const line of (await scrape()).split('\n'))
      if (line !== '' && !line.startsWith('# ')) expect(line).toMatch(sample)
  })
})

test(`${proves('O2')} every number of the window at once, with why it is unknown`, async () => {
  const found = await ask<{ items: { metric: string; text: string; unknown: string | null }[] }>(
    'admin',
    'GET',
    '/api/v1/measurements?window=1h',
  )
  const of = (name: string) => found.items.find(({ metric }) => metric === name)
  expect(of('success-rate')).toMatchObject({ text: '0', unknown: 'no job ended in the window' })
  expect(of('approval-ratio')).toMatchObject({ text: '0.25', unknown: null })
  expect(of('approval-backlog')).toMatchObject({ text: '1', unknown: null })
})
