import { afterAll, beforeAll, expect, test } from 'vitest'
import { startSallyport, type TestPlane } from '../../src/testing.js'

/** What a key has open when it is revoked ends with it: from the answer of the revocation on it is given nothing. */
let plane: TestPlane
beforeAll(async () => {
  plane = await startSallyport()
})
afterAll(() => plane.stop())

async function call(key: string, method: string, path: string, body?: unknown) {
  const headers = { 'x-api-key': key, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
  const answer = await fetch(`${plane.url}/api/v1${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: answer.status, body: (await answer.json()) as Record<string, string> & { leases?: unknown[] } }
}

async function key(role: string): Promise<{ key: string; key_id: string }> {
  const { body } = await call(plane.keys.admin, 'POST', '/keys', { role })
  return { key: body.key as string, key_id: body.key_id as string }
}

test('a long poll opened before the revocation is given no job submitted after it', async () => {
  const worker = await key('worker')
  const claim = { worker_id: 'w', claim_id: 'revoked-poll', topics: ['job.repo.read'], capacity: 5, wait_ms: 20_000 }
  const poll = call(worker.key, 'POST', '/workers/claim', claim)
  // The claim waits once it is counted among the waiting: its first look is over.
  await expect
    .poll(() =>
      call(plane.keys.worker, 'POST', '/workers/claim', {
        ...claim,
        claim_id: `probe-${Math.random()}`,
        wait_ms: 0,
      }).then((a) => a.status),
    )
    .toBe(200)
  expect((await call(plane.keys.admin, 'DELETE', `/keys/${worker.key_id}`)).status).toBe(200)
  const { job_id } = (await call(plane.keys.agent, 'POST', '/jobs', { topic: 'job.repo.read' })).body
  const answer = await poll
  expect(answer.body.leases ?? []).toEqual([])
  expect((await call(plane.keys.agent, 'GET', `/jobs/${job_id}`)).body.status).toBe('queued')
  expect((await call(worker.key, 'POST', '/workers/claim', { ...claim, claim_id: 'revoked-again' })).status).toBe(401)
})

test('a stream of events ends when its auditor has another role', async () => {
  const { key } = (await call(plane.keys.admin, 'POST', '/keys', { role: 'auditor', principal: 'person:aud' })).body
  const stream = await fetch(`${plane.url}/api/v1/events`, { headers: { 'x-api-key': key as string } })
  const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
  await reader.read()
  await call(plane.keys.admin, 'PUT', '/principals/person:aud', { kind: 'person', role: 'viewer' })
  for (;;) {
    const { done } = await reader.read()
    if (done) break
  }
  expect((await call(key as string, 'GET', '/audit/head')).status).toBe(403)
  expect((await call(key as string, 'GET', '/principals')).status).toBe(200)
})

test('a stream of events opened before the revocation ends', async () => {
  const auditor = await key('auditor')
  const stream = await fetch(`${plane.url}/api/v1/events`, { headers: { 'x-api-key': auditor.key } })
  const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
  await reader.read()
  await call(plane.keys.admin, 'DELETE', `/keys/${auditor.key_id}`)
  for (;;) {
    const { done } = await reader.read()
    if (done) break
  }
  expect(stream.status).toBe(200)
})
