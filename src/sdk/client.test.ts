import { inspect } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { problem, type Reply, type Seen, type StandIn, startStandIn } from '../../test/stand-in.js'
import { createClient } from './client.js'
import { SallyportError } from './errors.js'
import { JobFailedError } from './jobs.js'
import { retryAfterMs, segment } from './transport.js'

const KEY = 'sp_secret_key_of_a_test'
const ACCEPTED = { job_id: 'job_1', status: 'queued', decision: 'ALLOW' }
const servers: StandIn[] = []

/** A server that gives these replies in turn, and the last one from then on. */
async function serve(...replies: (Reply | ((request: Seen) => Reply | Promise<Reply>))[]) {
  const server = await startStandIn((request) => {
    const reply = replies.length > 1 ? replies.shift() : replies[0]
    return (typeof reply === 'function' ? reply(request) : reply) ?? { body: null }
  })
  servers.push(server)
  return { server, client: createClient({ url: server.url, apiKey: KEY, tenant: 'acme' }) }
}

async function thrown(promise: Promise<unknown>): Promise<SallyportError> {
  const error = await promise.then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(SallyportError)
  return error
}

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

describe('submit', () => {
  test('carries key, tenant and an idempotency key of its own', async () => {
    const { server, client } = await serve({ status: 202, body: ACCEPTED })
    expect(await client.jobs.submit({ topic: 'job.a', input: { n: 1 } })).toEqual(ACCEPTED)
    await client.jobs.submit({ topic: 'job.a' }, { idempotencyKey: 'mine' })
    const [first, second] = server.seen
    expect(first).toMatchObject({ method: 'POST', path: '/api/v1/jobs', body: { topic: 'job.a', input: { n: 1 } } })
    expect(first?.headers).toMatchObject({ 'x-api-key': KEY, 'x-tenant-id': 'acme' })
    expect(first?.headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/)
    expect(second?.headers['idempotency-key']).toBe('mine')
  })

  test('repeats lost answers and refusals that pass with the same key, waiting as asked', async () => {
    const { server, client } = await serve(
      'drop',
      problem(503, 'outcome_unknown', { retry_after: 1 }),
      problem(429, 'rate_limited', { retry_after: 0 }),
      { status: 202, body: ACCEPTED },
    )
    const began = performance.now()
    expect(await client.jobs.submit({ topic: 'job.a' })).toEqual(ACCEPTED)
    expect(performance.now() - began).toBeGreaterThanOrEqual(990)
    expect(server.seen).toHaveLength(4)
    expect(new Set(server.seen.map((request) => request.headers['idempotency-key'])).size).toBe(1)
  })

  test('throws a denial with everything the server said', async () => {
    const { server, client } = await serve(
      problem(403, 'policy_denied', { decision: 'DENY', rules: ['no-prod'], reason: 'no', request_id: 'req_1' }),
    )
    const error = await thrown(client.jobs.submit({ topic: 'job.a' }))
    expect(error).toMatchObject({ code: 'policy_denied', status: 403, request_id: 'req_1' })
    expect(error.problem).toMatchObject({ decision: 'DENY', rules: ['no-prod'], reason: 'no' })
    expect(server.seen).toHaveLength(1)
  })

  test('does not wait longer than a minute by itself', async () => {
    const { server, client } = await serve(problem(429, 'rate_limited', { retry_after: 3600 }))
    expect((await thrown(client.jobs.submit({ topic: 'job.a' }))).retry_after_ms).toBe(3_600_000)
    expect(server.seen).toHaveLength(1)
  })

  test('gives up after the retries it was given', async () => {
    const { server } = await serve(problem(503, 'overloaded', { retry_after: 0 }))
    const client = createClient({ url: server.url, apiKey: KEY, retries: 2 })
    expect((await thrown(client.jobs.submit({ topic: 'job.a' }))).code).toBe('overloaded')
    expect(server.seen).toHaveLength(3)
  })

  test('names every item of a batch, the same in a repeat', async () => {
    const items = [{ status: 202, body: ACCEPTED }]
    const { server, client } = await serve('drop', { body: { items } })
    expect(await client.jobs.submitBatch([{ topic: 'job.a' }, { topic: 'job.b', idempotency_key: 'b' }])).toEqual(items)
    const [first, second] = server.seen
    expect(first?.body).toEqual(second?.body)
    expect(first?.body.jobs[0].idempotency_key).toMatch(/^[0-9a-f-]{36}$/)
    expect(first?.body.jobs[1].idempotency_key).toBe('b')
  })
})

describe('what must not be done twice', () => {
  const saw = { grant_hash: '0'.repeat(64) }

  test('is not repeated when it is not known what became of it', async () => {
    for (const reply of ['drop', problem(503, 'outcome_unknown'), { status: 503 }] as Reply[]) {
      const { server, client } = await serve(reply, { body: {} })
      await thrown(client.approvals.approve('apr_1', saw))
      expect(server.seen).toHaveLength(1)
    }
  })

  test('is repeated when the server says that nothing was done', async () => {
    const { server, client } = await serve(problem(503, 'overloaded', { retry_after: 0 }), {
      body: { status: 'approved' },
    })
    expect(await client.approvals.approve('apr_1', saw)).toEqual({ status: 'approved' })
    expect(server.seen).toHaveLength(2)
  })
})

describe('secrets', () => {
  test('are in no error, and an unreachable server is named by its origin', async () => {
    const { server } = await serve({ body: {} })
    await server.close()
    const client = createClient({ url: `${server.url}/prefix`, apiKey: KEY, retries: 0 })
    const error = await thrown(client.request('GET', '/api/v1/jobs', { query: { token: 'query-secret' } }))
    expect(error).toMatchObject({ code: 'unreachable', status: 0 })
    expect(error.message).toBe(`${server.url} gave no answer: ECONNREFUSED`)
    const everything = inspect([error, client], { depth: null, showHidden: true })
    expect(everything).not.toContain(KEY)
    expect(everything).not.toContain('query-secret')
  })

  test('a bad key is refused without being quoted', () => {
    expect(() => createClient({ url: 'http://localhost', apiKey: `${KEY}\n` })).toThrow(/^((?!sp_secret).)*$/)
    expect(() => createClient({ url: 'http://user:pw@localhost', apiKey: KEY })).toThrow('no user or password')
    expect(() => createClient({ url: 'ftp://localhost', apiKey: KEY })).toThrow('only http and https')
  })

  test('are not carried along a redirect, nor to another host by a path', async () => {
    const { server: other } = await serve({ body: {} })
    const { client } = await serve({ status: 302, headers: { location: other.url } })
    expect(await thrown(client.jobs.get('job_1'))).toMatchObject({ code: 'unexpected_answer', status: 302 })
    await expect(client.request('GET', '@evil.example/')).rejects.toThrow(TypeError)
    await expect(client.request('GET', `//${new URL(other.url).host}/`)).rejects.toThrow()
    expect(other.seen).toHaveLength(0)
  })

  test('an id is one path segment', () => {
    expect(segment('a/../b?c')).toBe('a%2F..%2Fb%3Fc')
    for (const id of ['', '.', '..']) expect(() => segment(id)).toThrow(TypeError)
  })
})

describe('run and wait', () => {
  const job = (status: string, more = {}) => ({ body: { job_id: 'job_1', status, error: null, ...more } })

  test('run submits, waits to the end and returns the result', async () => {
    const result = { job_id: 'job_1', verdict: 'ALLOW', output: { lines: 3 } }
    const { server, client } = await serve(
      { status: 202, body: ACCEPTED },
      job('queued'),
      job('running'),
      job('succeeded'),
      { body: result },
    )
    expect(await client.jobs.run({ topic: 'job.a' })).toEqual(result)
    expect(server.seen.map((request) => request.path)).toEqual([
      '/api/v1/jobs',
      ...Array(3).fill('/api/v1/jobs/job_1'),
      '/api/v1/jobs/job_1/result',
    ])
  })

  test.each(['quarantined', 'rejected', 'expired', 'cancelled', 'dead_letter', 'discarded', 'denied'])(
    'run throws when the job ends as %s',
    async (status) => {
      const { client } = await serve({ status: 202, body: ACCEPTED }, job(status, { reason: 'because' }))
      const error = await thrown(client.jobs.run({ topic: 'job.a' }))
      expect(error).toBeInstanceOf(JobFailedError)
      expect(error).toMatchObject({ code: `job_${status}`, job: { status } })
      expect(error.message).toContain('because')
    },
  )

  test('wait ends by its limit and by its signal; an ambiguous job has not ended', async () => {
    const { client } = await serve(job('ambiguous'))
    expect((await thrown(client.jobs.wait('job_1', { timeoutMs: 50 }))).code).toBe('wait_timeout')
    const controller = new AbortController()
    const waiting = client.jobs.wait('job_1', { signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })
})

describe('reading', () => {
  test('all() follows the cursor', async () => {
    const { server, client } = await serve(
      { body: { items: [{ job_id: 'a' }, { job_id: 'b' }], next_cursor: 'n1' } },
      { body: { items: [], next_cursor: 'n2' } },
      { body: { items: [{ job_id: 'c' }], next_cursor: null } },
    )
    const ids: string[] = []
    for await (const { job_id } of client.jobs.all({ status: 'queued' })) ids.push(job_id)
    expect(ids).toEqual(['a', 'b', 'c'])
    expect(server.seen.map((request) => request.query)).toEqual([
      { status: 'queued' },
      { status: 'queued', cursor: 'n1' },
      { status: 'queued', cursor: 'n2' },
    ])
  })

  test('export gives the log line by line', async () => {
    const { client } = await serve({ headers: { 'content-type': 'application/jsonl' }, body: '{"a":"ü"}\n\n{"b":2}' })
    const lines: string[] = []
    for await (const line of client.audit.export()) lines.push(line)
    expect(lines).toEqual(['{"a":"ü"}', '', '{"b":2}'])
  })

  test('text is text, and what is not Sallyport is told apart', async () => {
    const { client } = await serve(
      { body: '99.5' },
      { status: 404, headers: { 'content-type': 'text/html' }, body: '<h1>' },
    )
    expect(await client.request('GET', '/metrics/success-rate', { query: { window: '10m' } })).toBe('99.5')
    expect(await thrown(client.jobs.get('job_1'))).toMatchObject({ code: 'unexpected_answer', status: 404 })
  })

  test('health says ready or why not, without repeating', async () => {
    const text = { headers: { 'content-type': 'text/plain' } }
    const { server, client } = await serve({ ...text, body: 'ready\n' }, { ...text, status: 503, body: 'draining\n' })
    expect(await client.health()).toEqual({ ready: true, detail: 'ready\n' })
    expect(await client.health()).toEqual({ ready: false, detail: 'HTTP 503: draining' })
    expect(server.seen).toHaveLength(2)
  })

  test('an answer that never ends is cut off', async () => {
    const { server } = await serve(() => new Promise(() => {}))
    const client = createClient({ url: server.url, apiKey: KEY, retries: 0, timeoutMs: 50 })
    expect(await thrown(client.jobs.get('job_1'))).toMatchObject({ code: 'unreachable' })
  })

  test('Retry-After is read in both its forms', () => {
    expect(retryAfterMs('7', 0)).toBe(7_000)
    expect(retryAfterMs('Thu, 01 Jan 1970 00:00:09 GMT', 4_000)).toBe(5_000)
    expect(retryAfterMs('Thu, 01 Jan 1970 00:00:01 GMT', 4_000)).toBe(0)
    expect(retryAfterMs('soon', 0)).toBeNull()
    expect(retryAfterMs(null, 0)).toBeNull()
  })
})

describe('every method reaches its route', () => {
  test.each([
    ['POST', '/api/v1/jobs/j/cancel', (c) => c.jobs.cancel('j', 'why')],
    ['POST', '/api/v1/jobs/j/resolve', (c) => c.jobs.resolve('j', { effect_key: 'k', happened: true, note: 'n' })],
    ['POST', '/api/v1/jobs/j/result/release', (c) => c.jobs.release('j', 'why')],
    ['POST', '/api/v1/jobs/j/result/discard', (c) => c.jobs.discard('j', 'why')],
    ['GET', '/api/v1/jobs/j/timeline', (c) => c.jobs.timeline('j')],
    ['GET', '/api/v1/decisions/d', (c) => c.decisions.get('d')],
    ['GET', '/api/v1/runs/r', (c) => c.runs.get('r')],
    ['GET', '/api/v1/runs/r/timeline', (c) => c.runs.timeline('r')],
    ['GET', '/api/v1/pointers/p', (c) => c.pointers.get('p')],
    ['GET', '/api/v1/approvals', (c) => c.approvals.list({ status: 'pending' })],
    ['GET', '/api/v1/approvals/a', (c) => c.approvals.get('a')],
    ['POST', '/api/v1/approvals/a/reject', (c) => c.approvals.reject('a', { reason: 'no' })],
    ['GET', '/api/v1/policy', (c) => c.policy.get()],
    ['GET', '/api/v1/policy/snapshots', (c) => c.policy.snapshots()],
    ['GET', '/api/v1/policy/snapshots/v1%3Aabc', (c) => c.policy.snapshot('v1:abc')],
    ['POST', '/api/v1/policy/snapshots', (c) => c.policy.create({ files: [{ path: 'a', text: 'b' }] })],
    ['POST', '/api/v1/policy/snapshots/s/activate', (c) => c.policy.activate('s')],
    ['POST', '/api/v1/policy/evaluate', (c) => c.policy.evaluate({ job: { topic: 'job.a' } })],
    ['GET', '/api/v1/dead-letters', (c) => c.deadLetters.list()],
    ['POST', '/api/v1/dead-letters/j/replay', (c) => c.deadLetters.replay('j')],
    ['POST', '/api/v1/dead-letters/j/discard', (c) => c.deadLetters.discard('j', 'why')],
    ['POST', '/api/v1/keys', (c) => c.keys.create({ role: 'agent' })],
    ['GET', '/api/v1/keys', (c) => c.keys.list()],
    ['DELETE', '/api/v1/keys/k', (c) => c.keys.revoke('k')],
    ['GET', '/api/v1/audit', (c) => c.audit.list()],
    ['GET', '/api/v1/audit/head', (c) => c.audit.head()],
    ['GET', '/api/v1/audit/proof/inclusion', (c) => c.audit.inclusion({ index: 1 })],
    ['GET', '/api/v1/audit/proof/consistency', (c) => c.audit.consistency({ from: 1 })],
  ] satisfies [string, string, (client: ReturnType<typeof createClient>) => Promise<unknown>][])(
    '%s %s',
    async (method, path, call) => {
      const { server, client } = await serve({ body: {} })
      await call(client)
      expect(server.seen).toMatchObject([{ method, path }])
    },
  )
})
