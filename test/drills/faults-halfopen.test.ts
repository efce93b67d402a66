import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createWorker } from '../../src/sdk/worker.js'
import { proves } from '../requirements.js'
import { type Cable, openCable } from '../support/cable.js'
import { type Answer, type Cluster, call, type Node, startCluster } from '../support/cluster.js'
import { endAll, until } from '../support/server.js'

/**
 * Half-open TCP connections: the other end is gone, and nobody said so. What was sent is not answered, what is sent next neither.
 * Each is between two parts, and none of them may hang for it.
 */

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.half.beat, attempts: 5, timeout_ms: 60000, heartbeat_ms: 1000 }
  - { topic: job.half.*, attempts: 5, timeout_ms: 60000, heartbeat_ms: 20000 }
rules: [{ id: all, match: { topic: job.half.* }, decision: ALLOW }]
`
/**
 * A statement gets 10 s of the server. A connection that is silent for 12 s while something is asked on it is given up, a second later
 * at most: 13 s, and again as much for a call whose answer takes a second connection.
 */
const STORE_BOUND_MS = 30_000

let cluster: Cluster
let [plain, toStore, toBus] = [] as unknown as [Node, Node, Node]
const cables: Cable[] = []
let [store, bus, front] = [] as unknown as [Cable, Cable, Cable]
beforeAll(async () => {
  cluster = await startCluster('half-open', { nodes: 1, policy: POLICY })
  ;[plain] = cluster.nodes as [Node]
  store = await openCable(cluster.postgres.port)
  bus = await openCable((cluster.nats as { port: number }).port)
  front = await openCable(plain.port)
  cables.push(store, bus, front)
  toStore = await cluster.add({ databaseUrl: cluster.through(store.port) })
  toBus = await cluster.add({ natsUrl: `nats://127.0.0.1:${bus.port}` })
})
afterAll(async () => {
  await endAll()
  await cluster?.gone()
  await Promise.all(cables.map((cable) => cable.close()))
})

const submit = (node: Node, run_id: string, topic = 'job.half.work'): Promise<Answer> =>
  call(node.url, 'POST', '/api/v1/jobs', {
    key: cluster.key('agent'),
    body: { topic, run_id },
    headers: { 'idempotency-key': run_id },
    timeoutMs: 60_000,
  })
const get = (node: Node, path: string): Promise<Answer> =>
  call(node.url, 'GET', path, { key: cluster.key('admin'), timeoutMs: 60_000 })
const poll = (node: Node, topic: string, wait_ms: number): Promise<Answer> =>
  call(node.url, 'POST', '/api/v1/workers/claim', {
    key: cluster.key('worker'),
    body: { worker_id: 'half', claim_id: `claim-${topic}`, topics: [topic], capacity: 1, wait_ms },
    timeoutMs: 60_000,
  })

describe.concurrent('a half-open connection', () => {
  test(`${proves('D10', 'R8')} between a node and Postgres answers every call within ${STORE_BOUND_MS / 1000} s, and the next ones at once`, async () => {
    for (let n = 0; n < 8; n++) expect((await submit(toStore, `before-${n}`)).status).toBe(202)
    store.stall()
    const runs = Array.from({ length: 12 }, (_, n) => `during-${n}`)
    const calls = [
      ...runs.map((run) => submit(toStore, run)),
      ...Array.from({ length: 6 }, () => get(toStore, '/api/v1/jobs')),
      get(toStore, '/readyz'),
      poll(toStore, 'job.half.none', 1000),
    ]
    const alive = get(toStore, '/healthz')
    expect((await alive).status).toBe(200)
    expect((await alive).ms).toBeLessThan(2000)
    const answers = await Promise.all(calls)
    const slowest = Math.max(...answers.map(({ ms }) => ms))
    expect(slowest).toBeLessThan(STORE_BOUND_MS)
    for (const { status, headers } of answers) {
      expect([200, 202, 503]).toContain(status)
      if (status === 503 && headers['content-type']?.includes('problem'))
        expect(headers['retry-after']).toMatch(/^\d+$/)
    }
    console.log(`node to Postgres: the slowest of ${answers.length} calls took ${Math.round(slowest)} ms`)
    // Whatever they were told, the same again under the same key is one job each.
    const jobs = new Set<string>()
    for (const run of runs)
      jobs.add(
        (await until(
          `${run} is taken`,
          async () => {
            const { status, body } = await submit(toStore, run)
            return status === 202 && body.job_id
          },
          10_000,
        )) as string,
      )
    expect(jobs.size).toBe(runs.length)
    for (const run of runs) expect((await get(plain, `/api/v1/jobs?run_id=${run}`)).body.items).toHaveLength(1)
    // Its queue was full for seconds, so it may say `overloaded` until its next look.
    await until('it is ready again', async () => ((await get(toStore, '/readyz')).status === 200 ? true : null))
  }, 120_000)

  test(`${proves('L1', 'L3')} between a node and NATS costs a worker that waits there seconds`, async () => {
    const topic = 'job.half.bus'
    const waiting = poll(toBus, topic, 30_000)
    await until('the node hears hints', async () => (await get(toBus, '/readyz')).status === 200)
    bus.stall()
    const from = performance.now()
    expect((await submit(plain, 'over-the-bus', topic)).status).toBe(202)
    const { body } = await waiting
    expect(body.leases[0]?.job.run_id).toBe('over-the-bus')
    const took = Math.round(performance.now() - from)
    expect(took).toBeLessThan(10_000)
    console.log(`node to NATS: the job was had after ${took} ms`)
    await until('a new connection carries hints again', async () => bus.open > 0, 60_000)
    expect((await submit(toBus, 'and-back', 'job.half.back')).status).toBe(202)
  }, 120_000)

  test(`${proves('R4', 'R5', 'L3')} between a worker and a node loses no job and repeats no effect`, async () => {
    const done: string[] = []
    const worker = createWorker({
      url: `http://127.0.0.1:${front.port}`,
      apiKey: cluster.key('worker'),
      concurrency: 2,
      waitMs: 1000,
      log: () => {},
      topics: {
        'job.half.beat': (job, ctx) =>
          ctx.effect('once', ({ idempotencyKey }) => {
            done.push(idempotencyKey)
            return { run: job.run_id }
          }),
      },
    })
    await worker.start()
    await submit(plain, 'beat-0', 'job.half.beat')
    await until('the first is done', () => done.length === 1)
    await pause(200) // the next poll is open by then, as it nearly always is
    front.stall()
    const from = performance.now()
    for (let n = 1; n < 5; n++) expect((await submit(plain, `beat-${n}`, 'job.half.beat')).status).toBe(202)
    const over = async () => {
      const { items } = (await get(plain, '/api/v1/jobs?topic=job.half.beat')).body
      return items.every(({ status }: { status: string }) => status === 'succeeded') && items
    }
    const jobs = await until('all are done', over, 90_000)
    console.log(`worker to node: all done ${Math.round(performance.now() - from)} ms after the connections went silent`)
    expect(jobs).toHaveLength(5)
    expect(new Set(done).size).toBe(done.length)
    await worker.stop({ graceMs: 0 })
  }, 120_000)
})
