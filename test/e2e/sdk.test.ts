import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JobFailedError } from '../../src/sdk/jobs.js'
import { createClient, createWorker, SallyportError, TerminalError, type Worker } from '../../src/sdk.js'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { startStandIn } from '../stand-in.js'

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.try.*, attempts: 3, timeout_ms: 30000, heartbeat_ms: 200 }
rules:
  - { id: tries, match: { topic: job.try.* }, decision: ALLOW }
  - { id: asks, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: calls, match: { topic: job.call.out }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_hosts: [127.0.0.1] } }
`

let plane: TestPlane
let worker: Worker
const outside: string[] = []
const aborted: string[] = []
let began: () => void = () => {}

const as = (role: keyof TestPlane['keys']) => createClient({ url: plane.url, apiKey: plane.keys[role] })

beforeAll(async () => {
  plane = await startSallyport({ policy: POLICY })
  worker = createWorker({
    url: plane.url,
    apiKey: plane.keys.worker,
    log: () => {},
    topics: {
      'job.try.echo': (job, ctx) => ({ said: job.input, attempt: ctx.attempt }),
      'job.try.pay': async (job, ctx) => {
        const paid = await ctx.effect('pay', ({ idempotencyKey }) => {
          outside.push(idempotencyKey)
          return { receipt: outside.length }
        })
        if (ctx.attempt === 1) throw new Error('the network went away after paying')
        return { paid, of: job.input, earlier: ctx.effects }
      },
      'job.try.half': (_, ctx) =>
        ctx.effect('pay', () => {
          throw new Error('no answer from the bank')
        }),
      'job.try.never': () => {
        throw new TerminalError('no_such_thing', 'there is no such thing')
      },
      'job.try.long': (_, ctx) =>
        new Promise((_resolve, reject) => {
          ctx.progress('waiting')
          began()
          ctx.signal.addEventListener('abort', () => {
            aborted.push(ctx.signal.reason.why)
            reject(ctx.signal.reason)
          })
        }),
      'job.ask.deploy': () => 'deployed',
      'job.call.out': async (job, ctx) => {
        const { url } = job.input as { url: string }
        return await (await ctx.fetch(url)).text()
      },
    },
  })
  await worker.start()
})

afterAll(async () => {
  await worker?.stop({ graceMs: 0 })
  await plane?.stop()
})

describe('an agent and a worker on a real server', () => {
  test('what is allowed runs and comes back', async () => {
    const result = await as('agent').jobs.run({ topic: 'job.try.echo', input: { text: 'hello' } })
    expect(result).toMatchObject({ verdict: 'ALLOW', output: { said: { text: 'hello' }, attempt: 1 } })
  })

  test('a batch is answered item by item, and all of it done', async () => {
    const client = as('agent')
    const jobs = Array.from({ length: 30 }, (_, n) => ({ topic: n === 7 ? 'job.unknown' : 'job.try.echo', input: n }))
    const items = await client.jobs.submitBatch(jobs)
    expect(items.map((item) => item.status)).toEqual(jobs.map((_, n) => (n === 7 ? 403 : 202)))
    const ids = items.filter(({ status }) => status === 202).map(({ body }) => (body as { job_id: string }).job_id)
    const ended = await Promise.all(ids.map((id) => client.jobs.wait(id, { timeoutMs: 30_000 })))
    expect(new Set(ended.map((job) => job.status))).toEqual(new Set(['succeeded']))
    const listed: string[] = []
    for await (const job of client.jobs.all({ topic: 'job.try.echo', limit: 10 })) listed.push(job.job_id)
    expect(listed).toEqual(expect.arrayContaining(ids))
  })

  test('the same key twice is one job; another request under it is refused', async () => {
    const client = as('agent')
    const once = await client.jobs.submit({ topic: 'job.try.echo', input: 1 }, { idempotencyKey: 'once' })
    expect(await client.jobs.submit({ topic: 'job.try.echo', input: 1 }, { idempotencyKey: 'once' })).toEqual(once)
    const other = client.jobs.submit({ topic: 'job.try.echo', input: 2 }, { idempotencyKey: 'once' })
    await expect(other).rejects.toMatchObject({ code: 'idempotency_conflict', status: 409 })
  })

  test('what is denied throws, with the decision to look up', async () => {
    const error = await as('agent')
      .jobs.submit({ topic: 'job.unknown' })
      .catch((reason) => reason)
    expect(error).toBeInstanceOf(SallyportError)
    expect(error).toMatchObject({ code: 'policy_denied', status: 403, problem: { decision: 'DENY' } })
    expect(await as('admin').decisions.get(error.problem.decision_id)).toMatchObject({ decision: 'DENY' })
  })

  test('what needs a person waits for one', async () => {
    const { job_id, approval_id, grant_hash } = await as('agent').jobs.submit({ topic: 'job.ask.deploy' })
    const approvals = as('approver').approvals
    expect(await approvals.get(approval_id as string)).toMatchObject({ status: 'pending', grant_hash })
    await approvals.approve(approval_id as string, { grant_hash })
    expect(await as('agent').jobs.wait(job_id, { timeoutMs: 20_000 })).toMatchObject({ status: 'succeeded' })
  })

  test('an effect that was committed is not done again by the next attempt', async () => {
    const before = outside.length
    const { output } = await as('agent').jobs.run({ topic: 'job.try.pay', input: 5 })
    const receipt = { receipt: before + 1 }
    expect(output).toMatchObject({ paid: receipt, of: 5, earlier: [{ key: 'pay', result: receipt }] })
    expect(outside).toHaveLength(before + 1)
  })

  test('an effect left in doubt makes the job ambiguous until somebody says what happened', async () => {
    const { job_id } = await as('agent').jobs.submit({ topic: 'job.try.half' })
    const admin = as('admin')
    await expect.poll(async () => (await admin.jobs.get(job_id)).status, { timeout: 20_000 }).toBe('ambiguous')
    await admin.jobs.resolve(job_id, {
      effect_key: 'pay',
      happened: true,
      result: { receipt: 'by telephone' },
      note: 'the bank says yes',
      then: 'finish',
    })
    expect((await admin.jobs.wait(job_id, { timeoutMs: 20_000 })).status).toBe('succeeded')
  })

  test('a terminal failure is a dead letter, and run says so', async () => {
    const error = await as('agent')
      .jobs.run({ topic: 'job.try.never' })
      .catch((reason) => reason)
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error).toMatchObject({ code: 'job_dead_letter', job: { error: { code: 'no_such_thing' }, attempt: 1 } })
    const { items } = await as('admin').deadLetters.list()
    expect(items.map((letter) => letter.job_id)).toContain(error.job.job_id)
  })

  test('cancel reaches the handler by heartbeat', async () => {
    const running = new Promise<void>((resolve) => {
      began = resolve
    })
    const { job_id } = await as('agent').jobs.submit({ topic: 'job.try.long' })
    await running
    await as('agent').jobs.cancel(job_id, 'enough')
    expect((await as('agent').jobs.wait(job_id, { timeoutMs: 20_000 })).status).toBe('cancelled')
    expect(aborted).toEqual(['cancel'])
  })

  test('ctx.fetch holds to the hosts of the policy', async () => {
    const site = await startStandIn(({ path }) =>
      path === '/out' ? { status: 302, headers: { location: 'http://other.example/' } } : { body: 'welcome' },
    )
    try {
      const call = (path: string) => as('agent').jobs.run({ topic: 'job.call.out', input: { url: site.url + path } })
      expect((await call('/')).output).toBe('welcome')
      await expect(call('/out')).rejects.toMatchObject({
        code: 'job_dead_letter',
        job: { error: { code: 'host_not_allowed' } },
      })
    } finally {
      await site.close()
    }
  })

  test('policy, keys, audit and health can be read and used', async () => {
    const admin = as('admin')
    const active = await admin.policy.get()
    expect(await admin.policy.snapshot(active.policy_snapshot)).toMatchObject({ digest: active.digest })
    expect(await admin.policy.evaluate({ job: { topic: 'job.ask.x' } })).toMatchObject({ decision: 'REQUIRE_APPROVAL' })
    const made = await admin.keys.create({ role: 'agent', principal: 'agent:visitor' })
    const visitor = createClient({ url: plane.url, apiKey: made.key })
    expect((await visitor.jobs.run({ topic: 'job.try.echo', input: 1 })).verdict).toBe('ALLOW')
    expect(await admin.keys.revoke(made.key_id)).toMatchObject({ key_id: made.key_id })
    await expect(visitor.jobs.list()).rejects.toMatchObject({ code: 'unauthenticated', status: 401 })
    expect(await admin.health()).toMatchObject({ ready: true })
    await expect.poll(async () => (await admin.audit.head()).size, { timeout: 20_000 }).toBeGreaterThan(10)
    const { size } = await admin.audit.head()
    expect(await admin.audit.inclusion({ index: 3, size })).toMatchObject({ index: 3, size })
    expect(await admin.audit.consistency({ from: 3, to: size })).toMatchObject({ from: 3, to: size })
    const lines: string[] = []
    for await (const line of admin.audit.export()) lines.push(line)
    expect(lines.length).toBeGreaterThan(10)
    for (const line of lines) expect(JSON.parse(line)).toBeTypeOf('object')
  })

  test('the worker has kept a signed head that the log still contains', async () => {
    await as('agent').jobs.run({ topic: 'job.try.echo' })
    const kept = worker.head
    expect(kept?.origin).toBe('sallyport/default')
    const proof = await as('admin').audit.consistency({ from: kept?.size ?? 0 })
    expect(Buffer.from(proof.from_root, 'hex').toString('base64')).toBe(kept?.root)
  })

  test('a worker that stops gives its work to the next', async () => {
    const running = new Promise<void>((resolve) => {
      began = resolve
    })
    aborted.length = 0
    const { job_id } = await as('agent').jobs.submit({ topic: 'job.try.long' })
    await running
    await worker.stop({ graceMs: 0 })
    expect(aborted).toEqual(['stop'])
    const job = await as('agent').jobs.get(job_id)
    expect(job).toMatchObject({ status: 'retrying', error: { class: 'transient', code: 'worker_stopped' } })
    const topics = { 'job.try.long': () => 'finished by another' }
    const next = createWorker({ url: plane.url, apiKey: plane.keys.worker, topics, log: () => {} })
    await next.start()
    expect((await as('agent').jobs.wait(job_id, { timeoutMs: 20_000 })).status).toBe('succeeded')
    await next.stop()
  })
})
