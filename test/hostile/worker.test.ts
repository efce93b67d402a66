import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pointerTo } from '../../src/store/payloads.js'
import {
  type Answer,
  API,
  call,
  dump,
  expectProblem,
  faultsLogged,
  makeKey,
  startTarget,
  type Target,
  verifyAudit,
} from './attacker.js'

/**
 * A worker whose key is good and whose intent is not: it tries to get secrets out through everything it may send, and to
 * end, repeat and invent work. No secret it planted may be readable anywhere but in a sealed payload.
 */
const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.try.*, attempts: 3, timeout_ms: 60000, heartbeat_ms: 20000 }
rules:
  - { id: tries, match: { topic: job.try.* }, decision: ALLOW }
  - { id: others, match: { topic: job.others.* }, decision: ALLOW }
`
let plane: Target
let serial = 0

beforeAll(async () => {
  plane = await startTarget(POLICY)
})
afterAll(() => plane?.stop())

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const word = (n: number) => Array.from({ length: n }, () => LETTERS[randomInt(LETTERS.length)]).join('')
/** A fresh token in the form of a known provider each time, so that one leak names the field it leaked through. */
const secret = () => `ghp_${word(36)}`
const keyBlock = () =>
  [
    '-----BEGIN RSA PRIVATE KEY-----',
    ...Array.from({ length: 6 }, () => word(64)),
    '-----END RSA PRIVATE KEY-----',
  ].join('\n')

/** A live lease on a job of a topic nobody else uses. */
async function lease(topic = `job.try.t${++serial}`): Promise<{ lease: string; job_id: string }> {
  const { body } = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic })
  const claimed = await claim({ topics: [topic] })
  const [own] = claimed.body.leases
  expect(own?.job.job_id, claimed.text).toBe(body.job_id)
  return { lease: own.lease, job_id: body.job_id }
}
const claim = (more: object = {}) =>
  call(plane, plane.keys.worker, 'POST', `${API}/workers/claim`, {
    worker_id: 'w',
    claim_id: `claim-${String(++serial).padStart(8, '0')}`,
    topics: ['job.try.x'],
    capacity: 1,
    ...more,
  })
/** The next lease of a topic, waited for: a retry is due some time later. */
async function next(topic: string): Promise<string> {
  let found: string | undefined
  await expect
    .poll(async () => (found ??= (await claim({ topics: [topic], wait_ms: 1000 })).body.leases[0]?.lease), {
      timeout: 20_000,
    })
    .toBeDefined()
  return found as string
}
const post = (path: string, body: unknown): Promise<Answer> =>
  call(plane, plane.keys.worker, 'POST', `${API}/leases/${path}`, body)
const complete = (each: object) => post('complete', [each])
const failed = (message: string, code = 'x', kind = 'terminal') => ({
  outcome: 'failed',
  error: { class: kind, code, message },
})

/** Everything everybody but the store's owner can read, by following every id there is. */
async function readable(): Promise<string> {
  const admin = plane.keys.admin
  const get = async (path: string) => (await call(plane, admin, 'GET', `${API}/${path}`)).text
  const jobs = (await call(plane, admin, 'GET', `${API}/jobs?limit=500`)).body.items as {
    job_id: string
    run_id: string
    decision_id: string
    input_ptr: string | null
  }[]
  const parts = [
    await get('audit?limit=500'),
    await get('audit/export'),
    await get('dead-letters?limit=500'),
    await get('approvals'),
    await get('keys'),
    await events(),
  ]
  for (const job of jobs)
    for (const path of [
      `jobs/${job.job_id}`,
      `jobs/${job.job_id}/timeline`,
      `jobs/${job.job_id}/result`,
      `runs/${job.run_id}`,
      `decisions/${job.decision_id}`,
    ])
      parts.push(await get(path))
  const payloads = await plane.world.db.query<{ ptr: string }>('SELECT ptr FROM payloads')
  const own = jobs.flatMap(({ job_id }) =>
    (['input', 'context', 'result'] as const).map((kind) => ({ ptr: pointerTo(job_id, kind) })),
  )
  for (const { ptr } of [...payloads, ...own]) parts.push(await get(`pointers/${ptr}`))
  return parts.join('\n')
}

async function events(): Promise<string> {
  const hangUp = new AbortController()
  const { size } = (await call(plane, plane.keys.admin, 'GET', `${API}/audit/head`)).body
  const response = await fetch(`${plane.url}${API}/events`, {
    headers: { 'x-api-key': plane.keys.admin, 'last-event-id': '-1' },
    signal: hangUp.signal,
  })
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  let text = ''
  while (!text.includes(`id: ${size - 1}\n`)) text += Buffer.from((await reader.read()).value ?? []).toString()
  hangUp.abort()
  return text
}

async function expectNowhere(secrets: Record<string, string>): Promise<void> {
  await verifyAudit(plane)
  const places = { api: await readable(), store: await dump(plane), log: plane.logged.join('\n') }
  const leaks: string[] = []
  for (const [field, text] of Object.entries(secrets))
    for (const [place, all] of Object.entries(places))
      if (all.includes(text)) leaks.push(`${field} is readable in ${place}`)
  expect(leaks).toEqual([])
}

describe('secrets in what a worker sends', () => {
  test('results, errors, progress and effects in every form', { timeout: 60_000 }, async () => {
    const planted: Record<string, string> = {}
    const plant = (field: string, text = secret()) => {
      planted[field] = text
      return text
    }
    const results: [string, (text: string) => unknown][] = [
      ['result text', (text) => `token ${text} end`],
      ['result value', (text) => ({ a: { b: [1, text] } })],
      ['result key', (text) => ({ [text]: 1 })],
      ['result deep', (text) => JSON.parse(`${'['.repeat(55)}${JSON.stringify(text)}${']'.repeat(55)}`)],
      ['result in a URL', (text) => `https://x.example/?t=${text}&u=1`],
      ['result in JSON in text', (text) => JSON.stringify({ token: text })],
      ['result escaped twice', (text) => JSON.stringify(JSON.stringify({ token: text }))],
      ['result with a surrounding word', (text) => `x\n${text}\ny`],
    ]
    for (const [field, form] of results) {
      const own = await lease()
      expect(
        (await complete({ lease: own.lease, outcome: 'succeeded', result: form(plant(field)) })).body.leases[0].answer,
      ).toBe('ok')
    }
    const split = plant('result split over two strings')
    await complete({
      lease: (await lease()).lease,
      outcome: 'succeeded',
      result: [split.slice(0, 15), split.slice(15)],
    })
    const encoded = plant('result in base64')
    await complete({
      lease: (await lease()).lease,
      outcome: 'succeeded',
      result: Buffer.from(`the token is ${encoded} indeed`).toString('base64'),
    })
    planted['result in base64, encoded'] = Buffer.from(`the token is ${encoded} indeed`).toString('base64')
    const block = keyBlock()
    planted['private key'] = block.split('\n')[3] as string
    await complete({ lease: (await lease()).lease, outcome: 'succeeded', result: { pem: block } })
    const lines = keyBlock()
    planted['private key by lines'] = lines.split('\n')[3] as string
    await complete({ lease: (await lease()).lease, outcome: 'succeeded', result: lines.split('\n') })

    await complete({ lease: (await lease()).lease, ...failed(`could not log in with ${plant('error message')}`) })
    await complete({ lease: (await lease()).lease, ...failed('x', plant('error code')) })
    await complete({
      lease: (await lease()).lease,
      ...failed(`could not ${plant('error of a retry')}`, 'x', 'transient'),
    })
    const inBlock = keyBlock()
    planted['private key in an error'] = inBlock.split('\n')[3] as string
    await complete({ lease: (await lease()).lease, ...failed(inBlock) })
    // Fields the outcome does not use.
    await complete({ lease: (await lease()).lease, ...failed('x'), result: plant('result of a failure') })
    await complete({
      lease: (await lease()).lease,
      outcome: 'succeeded',
      result: 1,
      error: { class: 'terminal', code: 'x', message: plant('error of a success') },
    })

    const running = await lease()
    await post('heartbeat', { leases: [{ lease: running.lease, progress: { at: plant('progress') } }] })
    await post('heartbeat', { leases: [{ lease: running.lease, progress: { [plant('progress key')]: 1 } }] })
    const bar = keyBlock()
    planted['private key in progress'] = bar.split('\n')[3] as string
    await post('heartbeat', { leases: [{ lease: running.lease, progress: bar }] })
    for (const [key, result] of Object.entries({ a: plant('effect result'), b: { [plant('effect result key')]: 1 } })) {
      await post('effects', {
        lease: running.lease,
        key,
        phase: 'begin',
        result: plant(`result at the beginning of effect ${key}`),
      })
      expect((await post('effects', { lease: running.lease, key, phase: 'commit', result })).status).toBe(200)
    }
    const held = keyBlock()
    planted['private key in an effect'] = held.split('\n')[3] as string
    await post('effects', { lease: running.lease, key: 'c', phase: 'begin' })
    const committed = await post('effects', { lease: running.lease, key: 'c', phase: 'commit', result: held })
    expect(committed.text).not.toContain(planted['private key in an effect'])
    await expectNowhere(planted)
    await complete({ lease: running.lease, outcome: 'succeeded', result: 'done' })

    // Late: from a lease that has ended.
    const late = await lease()
    await complete({ lease: late.lease, ...failed('x') })
    expect(
      (await complete({ lease: late.lease, outcome: 'succeeded', result: plant('result of a stale lease') })).body
        .leases[0].answer,
    ).toBe('conflict')
    await post('heartbeat', { leases: [{ lease: late.lease, progress: plant('progress of a stale lease') }] })
    await expectNowhere(planted)
  })

  test('names a worker chooses: effect keys, worker ids, claim ids, what it enforces', async () => {
    const planted: Record<string, string> = {
      'effect key': secret(),
      'worker id': secret(),
      'claim id': secret(),
      enforces: secret(),
    }
    const own = await lease()
    expectProblem(await post('effects', { lease: own.lease, key: planted['effect key'], phase: 'begin' }), 'invalid')
    expectProblem(await claim({ worker_id: planted['worker id'] }), 'invalid')
    expectProblem(await claim({ claim_id: planted['claim id'] }), 'invalid')
    await claim({ enforces: [planted.enforces] })
    await expectNowhere(planted)
    await complete({ lease: own.lease, outcome: 'succeeded' })
  })

  test('what is refused as malformed is not repeated back or logged', async () => {
    const text = secret()
    const own = await lease()
    for (const answer of [
      await complete({ lease: own.lease, outcome: text }),
      await complete({ lease: own.lease, outcome: 'succeeded', [text]: 1 }),
      await post('complete', `[{"lease":"${own.lease}","result":"${text}" oops}]`),
      await post('complete', { text }),
      await complete({ lease: own.lease, ...failed(text.repeat(300)) }),
    ]) {
      expectProblem(answer, 'invalid', 'malformed')
      // A field's name is said back to the one who sent it and to nobody else.
      expect(plane.logged.join('\n')).not.toContain(text)
    }
    await complete({ lease: own.lease, outcome: 'succeeded' })
    await expectNowhere({ text })
  })
})

describe('results that are more than a result', () => {
  test('2 MiB and more', async () => {
    const own = await lease()
    expectProblem(
      await complete({ lease: own.lease, outcome: 'succeeded', result: 'x'.repeat(2 * 1024 * 1024) }),
      'too_large',
    )
    expect(
      (await complete({ lease: own.lease, outcome: 'succeeded', result: 'x'.repeat(2 * 1024 * 1024 - 200) })).body
        .leases[0].status,
    ).toBe('succeeded')
  })

  test('too deep, and as deep as may be', async () => {
    const own = await lease()
    const nested = (depth: number) =>
      `[{"lease":"${own.lease}","outcome":"succeeded","result":${'['.repeat(depth)}${']'.repeat(depth)}}]`
    expectProblem(await post('complete', nested(63)), 'malformed')
    expectProblem(await post('complete', nested(20_000)), 'malformed')
    expect((await post('complete', nested(62))).body.leases[0].status).toBe('succeeded')
  })

  test('keys that are long, many, and cut in the middle of a letter', async () => {
    // A find below a key whose 128th character is half of a pair: the path of the finding cuts there.
    for (const pad of [126, 127, 128]) {
      const own = await lease()
      const answer = await complete({
        lease: own.lease,
        outcome: 'succeeded',
        result: { [`${'k'.repeat(pad)}\u{1f600}rest`]: { token: secret() } },
      })
      expect(answer.status, `${pad}: ${answer.text}`).toBe(200)
      expect(answer.body.leases[0]).toMatchObject({ answer: 'ok', status: 'succeeded' })
    }
    const own = await lease()
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [`k${n}`, n % 50 ? n : secret()]))
    expect((await complete({ lease: own.lease, outcome: 'succeeded', result: many })).body.leases[0].status).toBe(
      'succeeded',
    )
    const { findings } = (await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${own.job_id}/result`)).body
    expect(findings.length).toBeLessThanOrEqual(1001)
  })

  test('numbers no counter can hold', async () => {
    for (const usage of [{ tokens: 2 ** 53 }, { tokens: 1e300 }, { tokens: -1 }, { tokens: 1.5 }, { cost: -1 }]) {
      const own = await lease()
      const answer = await complete({ lease: own.lease, outcome: 'succeeded', usage })
      expect([200, 422], `${JSON.stringify(usage)} ${answer.text}`).toContain(answer.status)
      if (answer.status === 422) await complete({ lease: own.lease, outcome: 'succeeded' })
      expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${own.job_id}`)).status).toBe(200)
    }
    // What is taken adds up over a hundred attempts to a sum that can still be read back.
    const own = await lease()
    expect(
      (await complete({ lease: own.lease, outcome: 'succeeded', usage: { tokens: Number.MAX_SAFE_INTEGER } })).status,
    ).toBe(422)
    expect((await complete({ lease: own.lease, outcome: 'succeeded', usage: { tokens: 1e12 } })).status).toBe(200)
    expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs`)).status).toBe(200)
  })
})

describe('work that is not its own', () => {
  test('topics its key is not bound to', async () => {
    const bound = await makeKey(plane, 'worker', { principal: 'worker:bound', topics: ['job.try.*'] })
    const ask = (topics: string[]) =>
      call(plane, bound, 'POST', `${API}/workers/claim`, {
        worker_id: 'w',
        claim_id: `claim-${String(++serial).padStart(8, '0')}`,
        topics,
        capacity: 1,
      })
    for (const topics of [['job.others.x'], ['job.try.x', 'job.others.x'], ['job'], ['job.try'], ['job.try.x.y']])
      expectProblem(await ask(topics), 'topic_refused')
  })

  test('a claim of 10,000, of nothing, of a hundred and one topics', async () => {
    for (const more of [
      { capacity: 10_000 },
      { capacity: 0 },
      { capacity: -1 },
      { capacity: 1.5 },
      { topics: [] },
      { topics: Array.from({ length: 101 }, (_, n) => `job.t${n}`) },
      { wait_ms: 3_600_000 },
      { wait_ms: -1 },
      { effects: 'some' },
      { claim_id: 'short' },
      { worker_id: '' },
      { enforces: Array(51).fill('x') },
    ])
      expectProblem(await claim(more), 'invalid')
  })

  test('a hundred greedy claims at once: every job goes to one of them, once', async () => {
    const topic = 'job.try.many'
    const jobs = Array.from({ length: 50 }, () => ({ topic }))
    await call(plane, plane.keys.agent, 'POST', `${API}/jobs/batch`, { jobs })
    const answers = await Promise.all(Array.from({ length: 100 }, () => claim({ topics: [topic], capacity: 1000 })))
    const given = answers.flatMap((answer) => answer.body.leases as { lease: string; job: { job_id: string } }[])
    const rest = (await claim({ topics: [topic], capacity: 1000 })).body.leases as typeof given
    const all = [...given, ...rest]
    expect(new Set(all.map(({ job }) => job.job_id)).size).toBe(50)
    expect(all).toHaveLength(50)
    await post(
      'complete',
      all.map(({ lease }) => ({ lease, outcome: 'succeeded' })),
    )
  })

  test('five hundred open claims that leave at once hold up nobody', async () => {
    const hangUp = new AbortController()
    const polls = Array.from({ length: 500 }, (_, n) =>
      fetch(`${plane.url}${API}/workers/claim`, {
        method: 'POST',
        headers: { 'x-api-key': plane.keys.worker, 'content-type': 'application/json' },
        body: JSON.stringify({
          worker_id: 'w',
          claim_id: `poll-${n}-xxxxxx`,
          topics: ['job.try.late'],
          capacity: 1,
          wait_ms: 60_000,
        }),
        signal: hangUp.signal,
      }).catch(() => null),
    )
    await lease()
    hangUp.abort()
    await Promise.all(polls)
    // The server learns of it from its sockets; by the time it answered this it has.
    for (let i = 0; i < 20; i++) await call(plane, null, 'GET', '/healthz')
    const { job_id } = await lease('job.try.late')
    expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${job_id}`)).body.status).toBe('running')
  })

  test('an effect that was never begun cannot be done; one after the end neither', async () => {
    const own = await lease()
    expectProblem(await post('effects', { lease: own.lease, key: 'a', phase: 'commit', result: 1 }), 'effect_refused')
    await complete({ lease: own.lease, outcome: 'succeeded', result: 'first' })
    expectProblem(await post('effects', { lease: own.lease, key: 'a', phase: 'begin' }), 'lease_lost')
    expectProblem(await post('effects', { lease: own.lease, key: 'a', phase: 'commit' }), 'effect_refused')
    const beat = await post('heartbeat', { leases: [{ lease: own.lease, progress: 'still here' }] })
    expect(beat.body.leases).toMatchObject([{ answer: 'lost', remaining_ms: 0 }])
  })

  test('a second report of the same lease moves nothing', async () => {
    const own = await lease()
    const first = { lease: own.lease, outcome: 'succeeded', result: 'first' }
    expect((await complete(first)).body.leases).toMatchObject([{ answer: 'ok', status: 'succeeded' }])
    expect((await complete(first)).body.leases).toMatchObject([{ answer: 'ok', status: 'succeeded' }])
    for (const other of [
      { ...first, result: 'second' },
      { lease: own.lease, ...failed('x') },
    ])
      expect((await complete(other)).body.leases).toMatchObject([{ answer: 'conflict', status: 'succeeded' }])
    expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${own.job_id}/result`)).body.output).toBe('first')
    // Two of one lease in one request: the first stands.
    const twice = await lease()
    const both = await post('complete', [
      { lease: twice.lease, outcome: 'succeeded', result: 1 },
      { lease: twice.lease, ...failed('x') },
    ])
    expect(both.body.leases.map((each: { answer: string }) => each.answer).sort()).toEqual(['conflict', 'ok'])
  })

  test('one bad report among good ones spoils none of them', async () => {
    const good = [await lease(), await lease()]
    const answer = await post('complete', [
      { lease: good[0]?.lease, outcome: 'succeeded' },
      { lease: 'lease_0000000000000', outcome: 'succeeded' },
      { lease: good[1]?.lease, outcome: 'succeeded' },
    ])
    expect(answer.body.leases.map((each: { answer: string }) => each.answer)).toEqual(['ok', 'lost', 'ok'])
  })

  test('an old lease after the job was given to another', async () => {
    const topic = 'job.try.again'
    const { job_id } = (await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic })).body
    const old = (await claim({ topics: [topic] })).body.leases[0]
    await complete({ lease: old.lease, ...failed('x', 'x', 'transient') })
    const fresh = await next(topic)
    expect(fresh).not.toBe(old.lease)
    expect((await complete({ lease: old.lease, outcome: 'succeeded', result: 'stale' })).body.leases[0].answer).toBe(
      'conflict',
    )
    expectProblem(await post('effects', { lease: old.lease, key: 'pay', phase: 'begin' }), 'lease_lost')
    expect((await post('heartbeat', { leases: [{ lease: old.lease }] })).body.leases[0].answer).toBe('lost')
    expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${job_id}`)).body).toMatchObject({
      status: 'running',
      attempt: 2,
    })
    await complete({ lease: fresh, outcome: 'succeeded' })
  })
})

describe('a worker that asks or reports too often', () => {
  test('a worker that repeats stale reports writes fewer entries than it sends', async () => {
    const own = await lease()
    await complete({ lease: own.lease, outcome: 'succeeded', result: 'first' })
    const stale = Array.from({ length: 200 }, (_, n) => ({ lease: own.lease, outcome: 'succeeded', result: n }))
    await post('complete', stale)
    const timeline = await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${own.job_id}/timeline?limit=500`)
    const refused = timeline.body.items.filter((item: { kind: string }) => item.kind === 'lease.refused')
    expect(refused.length).toBeLessThan(50)
  })

  test('a claim id repeated with a key of the same worker bound to other topics gives none of its jobs', async () => {
    const [wide, narrow] = await Promise.all([
      makeKey(plane, 'worker', { principal: 'worker:twice', topics: ['job.try.wide'] }),
      makeKey(plane, 'worker', { principal: 'worker:twice', topics: ['job.try.narrow'] }),
    ])
    await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.try.wide', input: 'not for narrow' })
    const ask = (key: string, topic: string) =>
      call(plane, key, 'POST', `${API}/workers/claim`, {
        worker_id: 'w',
        claim_id: 'claim-twice',
        topics: [topic],
        capacity: 1,
      })
    expect((await ask(wide, 'job.try.wide')).body.leases).toHaveLength(1)
    expect((await ask(narrow, 'job.try.narrow')).body.leases).toEqual([])
  })
})

test('after all of it the audit verifies, and no fault was logged', { timeout: 30_000 }, async () => {
  await verifyAudit(plane)
  expect(faultsLogged(plane)).toEqual([])
})
