import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Stop, StopScope } from '../../src/contract/stops.js'
import { createWorker, type HandlerContext, type Worker } from '../../src/sdk/worker.js'
import { proves } from '../requirements.js'
import { type Cable, openCable } from '../support/cable.js'
import { type Answer, type Cluster, call, type Node, startCluster } from '../support/cluster.js'
import { endAll, until } from '../support/server.js'

/**
 * The stop button on three nodes and real workers: what it refuses and from when on, what it says of leases, effects and nodes, and
 * what it says where a node is frozen or cut off from the store. Each test stops an agent of its own. Times are printed, not judged.
 */

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.stop.*, attempts: 1, timeout_ms: 60000, heartbeat_ms: 500 }
rules:
  - { id: work, match: { topic: job.stop.* }, decision: ALLOW }
`

let cluster: Cluster
let cable: Cable
let [a, b, c] = [] as unknown as [Node, Node, Node]
const workers: Worker[] = []
beforeAll(async () => {
  cluster = await startCluster('stop', { nodes: 2, nats: false, policy: POLICY })
  ;[a, b] = cluster.nodes as [Node, Node]
  cable = await openCable(cluster.postgres.port)
  c = await cluster.add({ databaseUrl: cluster.through(cable.port) })
  await until('three nodes said that they live', async () => (await cluster.sql('SELECT 1 FROM nodes')).length === 3)
})
afterAll(async () => {
  c?.thaw()
  await Promise.all(workers.map((worker) => worker.stop({ graceMs: 0 }).catch(() => {})))
  await endAll()
  await cluster?.gone()
  await cable?.close()
})

let names = 0
/** An agent with a key of its own. */
async function agent() {
  const principal = `agent:drill-${++names}`
  const { key } = await a.client('admin').keys.create({ role: 'agent', principal })
  const submit = (node: Node, topic: string, run_id = `run-${names}`): Promise<Answer> =>
    call(node.url, 'POST', '/api/v1/jobs', { key, body: { topic, run_id, input: { mark: run_id } }, timeoutMs: 60_000 })
  return { principal, key, submit }
}

/** A worker on a node, whose handler begins an effect, if asked to, and then waits until it is told to end. */
async function worker(node: Node, topic: string, { effect = false, ends = true } = {}) {
  const aborted: string[] = []
  const started: string[] = []
  const handler = async (job: { job_id: string }, ctx: HandlerContext) => {
    const told = new Promise<void>((end) => ctx.signal.addEventListener('abort', () => end(), { once: true }))
    const act = async () => {
      started.push(job.job_id)
      await told
      aborted.push(job.job_id)
      if (ends) throw new Error('told to end')
    }
    if (effect) await ctx.effect('pay', act)
    else await act()
    return {}
  }
  const made = createWorker({
    url: node.url,
    apiKey: cluster.key('worker'),
    concurrency: 16,
    waitMs: 2_000,
    log: () => {},
    topics: { [topic]: handler as never },
  })
  workers.push(made)
  await made.start()
  return { started, aborted }
}

const stop = async (node: Node, scope: StopScope, wait_ms = 10_000): Promise<Stop> => {
  const body = { scope, reason: 'the drill', wait_ms }
  const answer = await call(node.url, 'POST', '/api/v1/stops', { key: cluster.key('admin'), body, timeoutMs: 60_000 })
  expect(answer.status, JSON.stringify(answer.body)).toBe(201)
  return answer.body
}
const status = async (node: Node, stop_id: string): Promise<Stop> =>
  (await call(node.url, 'GET', `/api/v1/stops/${stop_id}`, { key: cluster.key('admin') })).body
const ofNode = (stop: Stop, node: Node) => stop.nodes.find((each) => each.node.endsWith(`/${node.pid}`))

describe('under load', () => {
  test(`${proves('A10')} from its answer on no node lets anything of it through, leases end with their next heartbeat`, async () => {
    const { principal, submit } = await agent()
    const hands = await Promise.all([a, b, c].map((node) => worker(node, 'job.stop.busy')))
    for (const node of [a, b, c, a, b, c]) await submit(node, 'job.stop.busy')
    await until('six jobs run', () => hands.reduce((sum, { started }) => sum + started.length, 0) === 6)
    let over = false
    const answers: { status: number; code?: string; from: number; to: number }[] = []
    const load = [a, b, c, a, b, c].map(async (node) => {
      while (!over) {
        const from = performance.now()
        const { status, body } = await submit(node, 'job.stop.load')
        answers.push({ status, code: body.code, from, to: performance.now() })
      }
    })
    await pause(300)
    const called = performance.now()
    const raised = await stop(b, { agent: principal })
    const returned = performance.now()
    // A little more than one answer of each: what began after the return.
    await until('refusals on all sides', () => answers.filter(({ from }) => from > returned).length >= 12)
    over = true
    await Promise.all(load)
    expect(answers.filter(({ from, status }) => from > returned && status === 202)).toEqual([])
    expect(
      answers.filter(({ status, code }) => status !== 202 && code !== 'stopped' && code !== 'rate_limited'),
    ).toEqual([])
    const last = Math.max(...answers.filter(({ status }) => status === 202).map(({ to }) => to - called))
    expect(raised).toMatchObject({ state: 'confirmed', leases: { total: 6, ended: 6, open: 0 }, open_effects: [] })
    expect(raised.nodes).toHaveLength(3)
    for (const node of [a, b, c]) expect(ofNode(raised, node)?.confirmed_ms).toBeTypeOf('number')
    expect(hands.flatMap(({ aborted }) => aborted)).toHaveLength(6)
    for (const node of [a, b, c]) expect((await submit(node, 'job.stop.busy')).body).toMatchObject({ code: 'stopped' })
    console.log(
      `stop under load: the last job was accepted ${last.toFixed(0)} ms after the call; refused_ms ${raised.refused_ms}, nodes ${raised.nodes.map((n) => n.confirmed_ms)} ms, leases ${raised.leases.ended_ms} ms (heartbeat 500 ms), confirmed_ms ${raised.confirmed_ms}`,
    )
  }, 60_000)

  test(`${proves('A10')} what waits is given to nobody, on no node`, async () => {
    const { principal, submit } = await agent()
    const { job_id } = (await submit(a, 'job.stop.waits')).body
    await stop(a, { agent: principal })
    for (const node of [a, b, c]) {
      const claim = { worker_id: 'w', claim_id: `claim-${node.name}-waits`, topics: ['job.stop.waits'], capacity: 5 }
      expect((await node.client('worker').worker.claim({ ...claim, wait_ms: 1500 })).leases).toEqual([])
    }
    expect(await a.client('admin').jobs.get(job_id)).toMatchObject({ status: 'queued', attempt: 0 })
  }, 30_000)

  test(`${proves('A10')} an effect that was begun is listed, also when no lease is open any more`, async () => {
    const { principal, submit } = await agent()
    const hand = await worker(b, 'job.stop.pays', { effect: true })
    const { job_id } = (await submit(a, 'job.stop.pays')).body
    await until('the effect is begun', () => hand.started.length === 1)
    const raised = await stop(c, { agent: principal })
    expect(raised).toMatchObject({ state: 'confirmed', leases: { total: 1, ended: 1, open: 0 }, open_effects_total: 1 })
    expect(raised.open_effects).toEqual([
      expect.objectContaining({ job_id, effect_key: 'pay', agent: principal, job_status: 'ambiguous' }),
    ])
  }, 30_000)
})

describe('a node that stands still', () => {
  test(`${proves('A10')} is unconfirmed, commits nothing of what it had decided before, and confirms when it goes on`, async () => {
    const { principal, submit } = await agent()
    expect((await submit(c, 'job.stop.frozen', 'warm')).status).toBe(202)
    const run = `frozen-${process.pid}`
    const hold = cable.holdAt(run)
    const answer = submit(c, 'job.stop.frozen', run)
    await hold.reached
    c.freeze()
    const raised = await stop(a, { agent: principal }, 1500)
    expect(raised).toMatchObject({ state: 'unconfirmed', confirmed_ms: null })
    expect(ofNode(raised, c)?.confirmed_ms).toBeNull()
    for (const node of [a, b]) expect(ofNode(raised, node)?.confirmed_ms).toBeTypeOf('number')
    c.thaw()
    hold.release()
    expect(await answer).toMatchObject({ status: 403, body: { code: 'stopped', stop_id: raised.stop_id } })
    const jobs = (await a.client('admin').jobs.list({ run_id: run, limit: 10 })).items
    expect(jobs).toEqual([])
    const after = await until('it confirms', async () => {
      const now = await status(a, raised.stop_id)
      return now.state === 'confirmed' && now
    })
    expect(ofNode(after, c)?.confirmed_ms).toBeGreaterThanOrEqual(1500)
  }, 60_000)
})

describe('a node that is cut off from the store', () => {
  test(`${proves('A10')} refuses by itself, is unconfirmed, and its workers end when their leases do`, async () => {
    const { principal, submit } = await agent()
    const hand = await worker(c, 'job.stop.cut')
    await submit(a, 'job.stop.cut')
    await until('its job runs', () => hand.started.length === 1)
    cable.unplug()
    const raised = await stop(a, { agent: principal }, 500)
    expect(raised.state).toBe('unconfirmed')
    expect(ofNode(raised, c)?.confirmed_ms).toBeNull()
    const from = performance.now()
    const claim = { worker_id: 'w', claim_id: 'claim-cut-off', topics: ['job.stop.cut'], capacity: 5, wait_ms: 0 }
    const [refused, claimed] = await Promise.all([
      submit(c, 'job.stop.cut').catch((error: Error) => ({ status: 0, body: { code: error.message } })),
      call(c.url, 'POST', '/api/v1/workers/claim', {
        key: cluster.key('worker'),
        body: claim,
        timeoutMs: 60_000,
      }).catch(() => ({ body: {} as Answer['body'] })),
    ])
    const waited = performance.now() - from
    expect([refused.status, ['store_unavailable', 'outcome_unknown'].includes(refused.body.code)]).toEqual([503, true])
    expect(claimed.body.leases ?? []).toEqual([])
    await until('the handler was told to end', () => hand.aborted.length === 1, 60_000)
    expect((await status(a, raised.stop_id)).state).toBe('unconfirmed')
    console.log(`cut off: submit answered ${refused.status} after ${waited.toFixed(0)} ms`)
    cable.mend()
    cable.cut()
    const after = await until(
      'it is back and has confirmed',
      async () => {
        const now = await status(a, raised.stop_id)
        return now.state === 'confirmed' && now
      },
      60_000,
    )
    expect(after.leases).toMatchObject({ total: 1, open: 0 })
    expect((await submit(c, 'job.stop.cut')).body.code).toBe('stopped')
  }, 150_000)
})

describe('resuming', () => {
  test(`${proves('A10')} takes two people, on whichever node they are`, async () => {
    const { principal, submit } = await agent()
    // Two for whom a third made keys: who made a key of the other is no second.
    const keyOf = async (principal: string) => (await a.client('admin').keys.create({ role: 'admin', principal })).key
    const [first, second] = [await keyOf('person:first'), await keyOf('person:second')]
    const { stop_id } = await stop(a, { agent: principal })
    const resume = (node: Node, key: string, stage: string) =>
      call(node.url, 'POST', `/api/v1/stops/${stop_id}/resume`, { key, body: { stage, note: 'looked', trial_ms: 0 } })
    expect((await resume(a, first, 'trial')).body).toMatchObject({ stage: 'stopped', resume: { stage: 'trial' } })
    expect((await resume(b, first, 'trial')).status).toBe(403)
    expect((await submit(c, 'job.stop.again')).status).toBe(403)
    expect((await resume(c, cluster.key('admin'), 'trial')).status).toBe(403)
    expect((await resume(c, second, 'trial')).body).toMatchObject({ stage: 'trial', resume: null })
    for (const node of [a, b, c]) expect((await submit(node, 'job.stop.again')).status).toBe(202)
    expect((await resume(b, second, 'full')).body).toMatchObject({ stage: 'trial' })
    expect((await resume(c, first, 'full')).body).toMatchObject({ stage: 'full' })
    for (const node of [a, b, c]) expect((await submit(node, 'job.stop.again')).status).toBe(202)
  }, 30_000)
})

/** Last: nothing of this installation goes after it. */
test(`${proves('A10')} everything stops every tenant on every node, and only an admin of the home tenant may`, async () => {
  const other = await cluster.tenant('drill-other', POLICY)
  const submit = (node: Node) =>
    call(node.url, 'POST', '/api/v1/jobs', { key: other.agent, body: { topic: 'job.stop.other' } })
  for (const node of [a, b, c]) expect((await submit(node)).status).toBe(202)
  const body = { scope: { everything: true }, reason: 'the drill', wait_ms: 0 }
  expect((await call(b.url, 'POST', '/api/v1/stops', { key: other.admin, body })).status).toBe(403)
  for (const node of [a, b, c]) expect((await submit(node)).status).toBe(202)
  expect(await stop(b, { everything: true })).toMatchObject({ state: 'confirmed' })
  for (const node of [a, b, c]) expect((await submit(node)).body.code).toBe('stopped')
  const claim = { worker_id: 'w', claim_id: 'claim-everything', topics: ['job.stop.other'], capacity: 5, wait_ms: 0 }
  const claimed = await call(c.url, 'POST', '/api/v1/workers/claim', { key: other.worker, body: claim })
  expect(claimed.body.leases).toEqual([])
}, 30_000)
