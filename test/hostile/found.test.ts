import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createWorker, type HandlerContext } from '../../src/sdk.js'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { proves } from '../requirements.js'

/** What attackers of our own got through once, each as they did it. */
let plane: TestPlane
const POLICY = (extra = '', environment = '"dev"') => `
version: v1
job_classes:
  - { topic: job.derived.*, derive: { environment: '${environment}' } }
rules:
  - { id: asks, match: { topic: job.derived.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
  - { id: two, match: { topic: job.two }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2 } }
  - { id: does, match: { topic: job.does.* }, decision: ALLOW }
  - { id: one, match: { topic: job.held }, decision: ALLOW, limits: { concurrent: 1, per: agent } }
  - { id: asked, match: { topic: job.asked }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
${extra}`

beforeAll(async () => {
  plane = await startSallyport({ policy: POLICY() })
})
afterAll(() => plane.stop())

type Body = Record<string, string> & {
  leases: { lease: string; job: Record<string, unknown>; answer: string }[]
  items: Body[]
}
async function call(
  key: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Body }> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const headers = { 'x-api-key': key, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
  const answer = await fetch(`${plane.url}/api/v1${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: text }),
  })
  return { status: answer.status, body: (await answer.json()) as Body }
}
const submit = async (job: unknown, key = plane.keys.agent) => (await call(key, 'POST', '/jobs', job)).body
const activate = (policy: string) =>
  call(plane.keys.admin, 'POST', '/policy/snapshots', { files: [{ path: 'p.yaml', text: policy }], activate: true })
const newKey = async (role: string, principal: string) =>
  (await call(plane.keys.admin, 'POST', '/keys', { role, principal })).body
let claims = 0
const claim = async (topic: string, capacity = 1) =>
  (
    await call(plane.keys.worker, 'POST', '/workers/claim', {
      worker_id: 'w',
      claim_id: `found-claim-${++claims}`,
      topics: [topic],
      capacity,
    })
  ).body.leases

test(`${proves('A4', 'D4')} a yes binds what the server derives: another derivation is another question`, async () => {
  const job = await submit({ topic: 'job.derived.a', environment: 'staging' })
  const shown = (await call(plane.keys.approver, 'GET', `/approvals/${job.approval_id}`)).body
  expect((shown.job as unknown as { effective: unknown }).effective).toMatchObject({ environment: 'dev' })
  const yes = await call(plane.keys.approver, 'POST', `/approvals/${job.approval_id}/approve`, {
    grant_hash: shown.grant_hash,
  })
  expect(yes.status).toBe(200)
  await activate(POLICY('', '"production"'))
  expect(await claim('job.derived.a')).toEqual([])
  expect((await call(plane.keys.agent, 'GET', `/jobs/${job.job_id}`)).body.status).toBe('pending_approval')
  await activate(POLICY())
})

test(`${proves('L4')} no effect begins under a policy that denies by now, and the worker is told to stop`, async () => {
  await submit({ topic: 'job.does.effects' })
  const [leased] = await claim('job.does.effects')
  const begin = (key: string) =>
    call(plane.keys.worker, 'POST', '/leases/effects', { lease: leased?.lease, key, phase: 'begin' })
  expect((await begin('first')).status).toBe(200)
  await activate(POLICY('  - { id: no, match: { topic: job.does.effects }, decision: DENY }\n'))
  expect((await begin('second')).body.code).toBe('effect_refused')
  expect((await begin('first')).body.code).toBe('effect_refused')
  const beat = await call(plane.keys.worker, 'POST', '/leases/heartbeat', { leases: [{ lease: leased?.lease }] })
  expect(beat.body.leases[0]?.answer).toBe('cancel')
  await activate(POLICY())
})

test('thousands of jobs behind a full limit hide nobody', async () => {
  const greedy = (await newKey('agent', 'agent:greedy')).key as string
  const batch = (n: number) =>
    call(greedy, 'POST', '/jobs/batch', { jobs: Array.from({ length: n }, () => ({ topic: 'job.held', priority: 9 })) })
  await batch(1)
  expect(await claim('job.held')).toHaveLength(1)
  for (const n of [1000, 1000, 600]) await batch(n)
  const { job_id } = await submit({ topic: 'job.held', priority: 1 })
  const [leased] = await claim('job.held')
  expect(leased?.job.job_id).toBe(job_id)
})

test('large inputs come in answers that can be held, and all of them come', async () => {
  const text = 'x'.repeat(1_900_000)
  for (let i = 0; i < 12; i++) await submit({ topic: 'job.does.large', input: text })
  const first = await claim('job.does.large', 1000)
  expect(first.length).toBeLessThan(12)
  expect((await claim('job.does.large', 1000)).length + first.length).toBe(12)
})

test(`${proves('A4')} the yes of a key that was revoked since counts no more`, async () => {
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => newKey('approver', `person:${name}`)))
  const job = await submit({ topic: 'job.two' })
  const yes = (key: string) =>
    call(key, 'POST', `/approvals/${job.approval_id}/approve`, { grant_hash: job.grant_hash })
  expect((await yes(a?.key as string)).body.status).toBe('pending')
  await call(plane.keys.admin, 'DELETE', `/keys/${a?.key_id}`)
  expect((await yes(b?.key as string)).body.status).toBe('pending')
  expect((await yes(c?.key as string)).body.status).toBe('approved')
})

test('who replays a dead letter does not approve the replay', async () => {
  const job = await submit({ topic: 'job.asked' })
  await call(plane.keys.approver, 'POST', `/approvals/${job.approval_id}/approve`, { grant_hash: job.grant_hash })
  const [leased] = await claim('job.asked')
  const error = { class: 'terminal', code: 'broken', message: 'no' }
  await call(plane.keys.worker, 'POST', '/leases/complete', [{ lease: leased?.lease, outcome: 'failed', error }])
  const replayed = (await call(plane.keys.admin, 'POST', `/dead-letters/${job.job_id}/replay`, {})).body
  expect(replayed.status).toBe('pending_approval')
  const answer = await call(plane.keys.admin, 'POST', `/approvals/${replayed.approval_id}/approve`, {
    grant_hash: replayed.grant_hash,
  })
  expect(answer.body.code).toBe('self_approval')
})

test(`${proves('D10')} while a node drains, a number is still answered in a form that a gate blocks on`, async () => {
  const draining = await startSallyport({ policy: POLICY() })
  const port = Number(new URL(draining.url).port)
  const [spare, busy] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1').setEncoding('utf8')]
  let got = ''
  const first = new Promise<void>((heard) =>
    busy.on('data', (text: string) => {
      got += text
      if (got.includes('200 OK')) heard()
    }),
  )
  // Whole, and the beginning of the next in the same packet: with the answer to one, the other has begun.
  const host = `Host: 127.0.0.1:${port}\r\n`
  busy.write(`GET /healthz HTTP/1.1\r\n${host}\r\nGET /metrics/success-rate HTTP/1.1\r\n`)
  await first
  got = ''
  const stopped = draining.stop()
  // A connection on which nothing was asked is closed as soon as the server closes.
  await once(spare, 'close')
  busy.write(`${host}\r\n`)
  await once(busy, 'close')
  await stopped
  expect(got).toMatch(/x-sallyport-unknown: 1\r\n/i)
  expect(got).toMatch(/\r\n\r\n0\n$/)
})

test('a number of four hundred digits is refused as what it is', async () => {
  const answer = await call(
    plane.keys.agent,
    'POST',
    '/jobs',
    `{"topic":"job.does.numbers","input":${'1'.repeat(400)}}`,
  )
  expect(answer).toMatchObject({ status: 400, body: { code: 'malformed' } })
})

test(`${proves('R5')} an answer that holds a lease twice starts it once`, async () => {
  let twice = 0
  const doubling: typeof fetch = async (url, init) => {
    const answer = await fetch(url, init)
    if (!String(url).endsWith('/workers/claim')) return answer
    const body = (await answer.json()) as Body
    twice += body.leases.length
    return Response.json({ ...body, leases: [...body.leases, ...body.leases] })
  }
  let acted = 0
  const topics = {
    'job.does.once': (_job: unknown, context: HandlerContext) => context.effect('pay', async () => ++acted),
  }
  const worker = createWorker({ url: plane.url, apiKey: plane.keys.worker, fetch: doubling, log: () => {}, topics })
  await worker.start()
  const { body } = await call(plane.keys.agent, 'POST', '/jobs', { topic: 'job.does.once' })
  const status = async () => (await call(plane.keys.admin, 'GET', `/jobs/${body.job_id}`)).body.status
  await expect.poll(status, { timeout: 10_000 }).toBe('succeeded')
  await worker.stop()
  expect([twice, acted]).toEqual([1, 1])
})
