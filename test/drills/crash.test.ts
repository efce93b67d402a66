import { appendFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/sdk/client.js'
import { createWorker, type Worker } from '../../src/sdk/worker.js'
import { proves } from '../requirements.js'
import { type Dice, dice, endAll, type Server, sallyport, scratch, startServer, until } from '../support/server.js'

/** The server dies by SIGKILL in the middle of its work. Nothing it acknowledged may be lost, nothing done twice. */

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.crash.*, attempts: 10, timeout_ms: 60000, heartbeat_ms: 500 }
rules:
  - { id: allow, match: { topic: [job.crash.allow, job.crash.work] }, decision: ALLOW }
  - { id: ask, match: { topic: job.crash.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
const ROUNDS = Number(process.env.SALLYPORT_ROUNDS ?? 3)

const place = scratch('crash')
const policy = place.at('policy.yaml')
beforeAll(() => writeFileSync(policy, POLICY))
afterAll(async () => {
  await endAll()
  place.gone()
})

interface Sent {
  key: string
  topic: string
}
interface Answer extends Sent {
  status: number
  body: { job_id: string; decision_id: string; decision: string; status: string }
}

async function send(server: Server, { key, topic }: Sent): Promise<Answer & { replayed: boolean }> {
  const answer = await fetch(`${server.url}/api/v1/jobs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': server.key('agent'), 'idempotency-key': key },
    body: JSON.stringify({ topic, run_id: key, input: { key } }),
  })
  const body = (await answer.json()) as Answer['body']
  return { key, topic, status: answer.status, body, replayed: answer.headers.get('idempotency-replayed') === 'true' }
}

/** Submits one after another until the server is gone; returns what was answered, and what was left without an answer. */
async function submitting(server: Server, name: string, answers: Answer[]): Promise<Sent> {
  const topics = ['job.crash.allow', 'job.crash.allow', 'job.crash.ask', 'job.crash.no']
  for (let n = 0; ; n++) {
    const sent = { key: `${name}-${n}`, topic: topics[n % topics.length] as string }
    try {
      answers.push(await send(server, sent))
    } catch {
      return sent
    }
  }
}

/** Kills the server a few milliseconds after a random number of answers, so that commits are under way. */
async function killDuring(server: Server, chance: Dice, answered: () => number): Promise<number> {
  const [after, extra] = [chance.whole(20, 250), chance.whole(0, 15)]
  await until(`${after} answers`, () => answered() >= after)
  await new Promise((resolve) => setTimeout(resolve, extra)) // not a wait: where within a commit the blow falls
  const { signal } = await server.end('SIGKILL')
  expect(signal).toBe('SIGKILL')
  return after
}

async function keepHead(server: Server): Promise<number> {
  const head = await until('a signed head', () =>
    server
      .client('admin')
      .audit.head()
      .catch(() => null),
  )
  appendFileSync(`${server.dataDir}.heads`, head.checkpoint)
  return head.size
}

describe('the server is killed during submits', () => {
  test(`${proves('R6', 'C1', 'L2', 'L6')} everything acknowledged is there, everything else is submitted once, the log is whole`, async () => {
    const chance = dice('kill during submits')
    const dataDir = place.at('submits')
    let server = await startServer({ dataDir, policy })
    const all: Answer[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const kept = await keepHead(server)
      const answers: Answer[] = []
      const clients = [0, 1, 2, 3].map((n) => submitting(server, `r${round}-c${n}`, answers))
      const after = await killDuring(server, chance, () => answers.length)
      const unanswered = await Promise.all(clients)
      console.log(`round ${round}: killed after ${after} answers of ${answers.length}, head of ${kept} kept`)
      all.push(...answers)

      server = await startServer({ dataDir, policy })
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202, 403]))
      await everyAnswerHolds(server, answers)
      for (const sent of unanswered) {
        const again = await send(server, sent)
        expect(again.status).toBe(sent.topic === 'job.crash.no' ? 403 : 202)
        if (again.status === 202) all.push(again)
      }
      const verified = await verify(server, ['--url', server.url])
      expect(verified.json.entries + verified.json.waiting).toBeGreaterThan(answers.length)
    }
    await oneJobEach(server, all)
    await keepHead(server)
    await server.end('SIGKILL')
    await verify(server, ['--data-dir', dataDir])
  }, 120_000)
})

/** Jobs, decisions and denials as they were answered. */
async function everyAnswerHolds(server: Server, answers: readonly Answer[]): Promise<void> {
  const client = server.client('admin')
  await Promise.all(
    answers.map(async ({ status, body }) => {
      const decision = await client.decisions.get(body.decision_id)
      expect(decision).toMatchObject({ decision: body.decision })
      if (status !== 202) return
      const job = await client.jobs.get(body.job_id)
      expect(job).toMatchObject({ status: body.status, decision_id: body.decision_id })
    }),
  )
}

/** Each key names one job, and it is the one that was answered. */
async function oneJobEach(server: Server, answers: readonly Answer[]): Promise<void> {
  const expected = new Map(answers.filter(({ status }) => status === 202).map(({ key, body }) => [key, body.job_id]))
  const found: [string, string][] = []
  for await (const job of server.client('admin').jobs.all({ limit: 500 })) found.push([job.run_id, job.job_id])
  expect(found).toHaveLength(expected.size)
  expect(new Map(found)).toEqual(expected)
  const [some] = answers.filter(({ status }) => status === 202)
  const again = await send(server, some as Sent)
  expect(again).toMatchObject({ status: 202, replayed: true, body: { job_id: some?.body.job_id } })
}

async function verify(server: Server, source: readonly string[]) {
  const args = ['audit', 'verify', ...source, '--head', `${server.dataDir}.heads`, '--json']
  const ran = await sallyport(args, { SALLYPORT_API_KEY: server.key('admin') })
  expect(ran, ran.out + ran.err).toMatchObject({ exit: 0, json: { ok: true, truncation: 'CHECKED', faults: [] } })
  return ran
}

describe('the server is killed during claims, effects and completions', () => {
  let worker: Worker | undefined
  afterAll(() => worker?.stop({ graceMs: 0 }))

  test(`${proves('L3', 'R5', 'R4', 'L2')} no acknowledged end is lost, no effect runs twice, every job ends or is parked`, async () => {
    const chance = dice('kill during work')
    const dataDir = place.at('work')
    let server = await startServer({ dataDir, policy })
    const { port } = server
    const outside = new Map<string, number>()
    const acknowledged = { effects: new Set<string>(), ends: new Set<string>() }
    const jobs: string[] = []
    worker = createWorker({
      url: server.url,
      apiKey: server.key('worker'),
      concurrency: 8,
      waitMs: 2000,
      log: () => {},
      fetch: listening(acknowledged),
      topics: {
        'job.crash.work': async (job, ctx) => {
          const n = await ctx.effect('first', () => act(outside, `${job.job_id}/first`))
          await ctx.effect('second', () => act(outside, `${job.job_id}/second`))
          return { n }
        },
      },
    })
    await worker.start()
    for (let round = 0; round < ROUNDS; round++) {
      const client = server.client('agent')
      const items = await client.jobs.submitBatch(Array.from({ length: 60 }, () => ({ topic: 'job.crash.work' })))
      for (const { status, body } of items) {
        expect(status).toBe(202)
        jobs.push((body as { job_id: string }).job_id)
      }
      const already = acknowledged.effects.size
      const after = await killDuring(server, chance, () => (acknowledged.effects.size - already) * 3)
      console.log(`round ${round}: killed after ${Math.ceil(after / 3)} recorded effects`)
      server = await startServer({ dataDir, policy, port })
    }
    const admin = server.client('admin')
    const ended = await until('every job ends or is parked', () => endsOf(admin, jobs, worker), 60_000)
    const counted = (status: string) => [...ended.values()].filter((each) => each === status).length
    console.log(`of ${jobs.length} jobs ${counted('succeeded')} succeeded, ${counted('ambiguous')} are ambiguous`)
    expect([...outside].filter(([, times]) => times !== 1)).toEqual([])
    for (const job_id of acknowledged.ends) expect([job_id, ended.get(job_id)]).toEqual([job_id, 'succeeded'])
    for (const effect of acknowledged.effects) {
      const [job_id, key] = effect.split('/') as [string, string]
      const { effects = [] } = await admin.jobs.get(job_id)
      expect(effects.find((each) => each.key === key)).toMatchObject({ status: 'committed' })
    }
    await keepHead(server)
    await worker.stop({ graceMs: 0 })
    await server.end('SIGKILL')
    await verify(server, ['--data-dir', dataDir])
  }, 120_000)
})

/** How all jobs stand, once none is under way and the worker holds nothing that could still change one. */
async function endsOf(admin: Client, jobs: string[], worker: Worker | undefined): Promise<Map<string, string> | null> {
  if (worker === undefined || worker.stats.running + worker.stats.unreported > 0) return null
  const found = new Map<string, string>()
  for await (const { job_id, status } of admin.jobs.all({ topic: 'job.crash.work', limit: 500 }))
    found.set(job_id, status)
  const isOver = (job_id: string) => ['succeeded', 'ambiguous'].includes(found.get(job_id) ?? '')
  return jobs.every(isOver) && worker.stats.running + worker.stats.unreported === 0 ? found : null
}

function act(outside: Map<string, number>, name: string): number {
  outside.set(name, (outside.get(name) ?? 0) + 1)
  return outside.size
}

/** A fetch that notes what the server acknowledged: recorded effects as `job/key`, and ends by job. */
function listening(acknowledged: { effects: Set<string>; ends: Set<string> }): typeof fetch {
  const jobOf = new Map<string, string>()
  return async (input, init) => {
    const answer = await fetch(input, init)
    if (!answer.ok) return answer
    const { pathname } = new URL(String(input))
    const text = await answer.text()
    const body = JSON.parse(text)
    const asked = JSON.parse(String(init?.body ?? 'null'))
    if (pathname.endsWith('/workers/claim')) for (const { lease, job } of body.leases) jobOf.set(lease, job.job_id)
    if (pathname.endsWith('/leases/effects') && asked.phase === 'commit' && body.status === 'committed')
      acknowledged.effects.add(`${jobOf.get(asked.lease)}/${asked.key}`)
    if (pathname.endsWith('/leases/complete'))
      for (const { answer: word, job_id, status } of body.leases)
        if (word === 'ok' && status === 'succeeded') acknowledged.ends.add(job_id)
    return new Response(text, { status: answer.status, headers: answer.headers })
  }
}
