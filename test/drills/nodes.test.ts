import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { type Cluster, call, type Node, startCluster } from '../support/cluster.js'
import { endAll, until } from '../support/server.js'

/** Several nodes on one database and one bus: which of them is asked must make no difference. */

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.nodes.beat, attempts: 3, timeout_ms: 60000, heartbeat_ms: 500 }
  - { topic: job.nodes.>, attempts: 3, timeout_ms: 60000, heartbeat_ms: 5000 }
rules:
  - { id: allow, match: { topic: [job.nodes.work, job.nodes.beat, job.nodes.order, job.nodes.idle] }, decision: ALLOW }
  - { id: ask, match: { topic: [job.nodes.ask, job.nodes.ask2] }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: rated, match: { topic: job.nodes.rated }, decision: ALLOW, limits: { rate: 40/hour, per: rule } }
  - { id: three, match: { topic: job.nodes.three.* }, decision: ALLOW, limits: { concurrent: 3, per: rule } }
`

let cluster: Cluster
let [a, b, c] = [] as unknown as [Node, Node, Node]
beforeAll(async () => {
  cluster = await startCluster('nodes', { nodes: 3, policy: POLICY })
  ;[a, b, c] = cluster.nodes as [Node, Node, Node]
})
afterAll(async () => {
  await endAll()
  await cluster?.gone()
})

let claims = 0
const claim = (node: Node, topic: string, { capacity = 1, wait_ms = 0 } = {}) =>
  node.client('worker').worker.claim({
    worker_id: 'drill',
    claim_id: `claim-nodes-${++claims}`,
    topics: [topic],
    capacity,
    wait_ms,
  })
const submit = (node: Node, body: Record<string, unknown>) =>
  call(node.url, 'POST', '/api/v1/jobs', { key: cluster.key('agent'), body })

describe('any node takes any request', () => {
  test(`${proves('W1', 'L2')} submitted on one, approved on another, worked on a third, settled on the first, read on all`, async () => {
    const job = await a.client('agent').jobs.submit({ topic: 'job.nodes.ask', input: { n: 1 } })
    expect(job.status).toBe('pending_approval')
    const asked = await b.client('approver').approvals.get(job.approval_id as string)
    await b.client('approver').approvals.approve(asked.approval_id, { grant_hash: asked.grant_hash })
    const [leased] = (await claim(c, 'job.nodes.ask', { wait_ms: 5000 })).leases
    expect(leased?.job).toMatchObject({ job_id: job.job_id, input: { n: 1 } })
    const lease = leased?.lease as string
    await b.client('worker').worker.effect({ lease, key: 'once', phase: 'begin' })
    await c.client('worker').worker.effect({ lease, key: 'once', phase: 'commit', result: { did: 'it' } })
    const again = await a.client('worker').worker.effect({ lease, key: 'once', phase: 'begin' })
    expect(again).toMatchObject({ status: 'committed', result: { did: 'it' } })
    expect((await b.client('worker').worker.heartbeat({ leases: [{ lease }] })).leases[0]?.answer).toBe('ok')
    await a.client('worker').worker.complete([{ lease, outcome: 'succeeded', result: { fine: true } }])
    for (const node of [a, b, c]) {
      expect(await node.client('agent').jobs.get(job.job_id)).toMatchObject({ status: 'succeeded', attempt: 1 })
      const { items } = await node.client('admin').jobs.timeline(job.job_id)
      expect(items.map(({ kind }) => kind)).toContain('job.succeeded')
    }
  })
})

describe('limits hold exactly across nodes', () => {
  test(`${proves('D7')} a rate lets through what it says, of submits that come to all nodes at once`, async () => {
    const answers = await Promise.all(
      Array.from({ length: 150 }, (_, n) => submit(cluster.nodes[n % 3] as Node, { topic: 'job.nodes.rated' })),
    )
    const counted = (status: number) => answers.filter((answer) => answer.status === status).length
    expect([counted(202), counted(429)]).toEqual([40, 110])
    for (const { status, headers } of answers) if (status === 429) expect(headers['retry-after']).toMatch(/^\d+$/)
    // Each node counts what it refused and writes it down after some seconds, whichever of them sweeps.
    await until('every refusal is in the log', async () => {
      const { items } = await a.client('admin').audit.list({ kind: 'limit.refused', limit: 50 })
      return items.reduce((sum, { facts }) => sum + Number((facts as { count?: number }).count), 0) === 110
    })
  })

  test(`${proves('D7')} a number of leases at a time is never exceeded, and its places are given again`, async () => {
    const jobs = 30
    // A topic for each node: asking for the same jobs they would be in each other's way before they came to the limit.
    const topic = (n: number) => `job.nodes.three.of${n % 3}`
    for (let n = 0; n < jobs; n++) await submit(cluster.nodes[n % 3] as Node, { topic: topic(n) })
    let done = 0
    let most = 0
    while (done < jobs) {
      const rounds = await Promise.all(cluster.nodes.map((node, n) => claim(node, topic(n), { capacity: 4 })))
      const leases = rounds.flatMap((round) => round.leases)
      most = Math.max(most, leases.length)
      expect(leases.length).toBeLessThanOrEqual(3)
      // All places are taken now, whoever asks.
      if (leases.length === 3) expect((await claim(b, topic(0))).leases).toEqual([])
      await c.client('worker').worker.complete(leases.map(({ lease }) => ({ lease, outcome: 'succeeded' })))
      done += leases.length
    }
    expect([done, most]).toEqual([jobs, 3])
  })
})

describe('a key revoked on one node', () => {
  test(`${proves('S1')} commits nothing on another from that moment, and reads nothing a second later`, async () => {
    const made = await a.client('admin').keys.create({ role: 'agent', principal: 'agent:gone' })
    const ask = (node: Node, method: 'GET' | 'POST', path: string, body?: unknown) =>
      call(node.url, method, path, { key: made.key, ...(body === undefined ? {} : { body }) })
    // Known on every node, as the key of an agent at work would be.
    for (const node of cluster.nodes) expect((await ask(node, 'GET', '/api/v1/jobs')).status).toBe(200)
    await a.client('admin').keys.revoke(made.key_id)
    const at = performance.now()
    const submits = cluster.nodes.map((node) => ask(node, 'POST', '/api/v1/jobs', { topic: 'job.nodes.idle' }))
    for (const { status } of await Promise.all(submits)) expect(status).toBe(401)
    const read: { node: string; at: number }[] = []
    for (const node of cluster.nodes) {
      for (;;) {
        const sent = performance.now() - at
        if ((await ask(node, 'GET', '/api/v1/jobs')).status === 401) break
        read.push({ node: node.name, at: Math.round(sent) })
        await pause(20)
      }
    }
    for (const each of read) expect(each.at).toBeLessThanOrEqual(1000)
    expect(read.filter(({ node }) => node === a.name)).toEqual([])
    const left = await a.client('admin').jobs.list({ topic: 'job.nodes.idle', limit: 10 })
    expect(left.items).toEqual([])
  })

  test(`${proves('S1')} is given no work by a poll that was open on another, and its stream of events there ends`, async () => {
    const worker = await a.client('admin').keys.create({ role: 'worker', principal: 'worker:gone' })
    const auditor = await a.client('admin').keys.create({ role: 'auditor', principal: 'person:gone' })
    const poll = call(b.url, 'POST', '/api/v1/workers/claim', {
      key: worker.key,
      body: {
        worker_id: 'gone',
        claim_id: 'claim-of-the-gone',
        topics: ['job.nodes.idle'],
        capacity: 1,
        wait_ms: 20_000,
      },
    })
    const events = await fetch(`${b.url}/api/v1/events`, { headers: { 'x-api-key': auditor.key } })
    expect(events.status).toBe(200)
    let ended = false
    const reading = (async () => {
      for await (const _ of events.body as unknown as AsyncIterable<Uint8Array>);
      ended = true
    })()
    await pause(100) // not a wait for something: the poll is to be open before its key goes
    await a.client('admin').keys.revoke(auditor.key_id)
    await a.client('admin').keys.revoke(worker.key_id)
    const { job_id } = await c.client('agent').jobs.submit({ topic: 'job.nodes.idle' })
    // 401 when it was asked for work first, an empty answer when it was ended first.
    expect((await poll).body.leases ?? []).toEqual([])
    await until('the stream ends', () => ended, 5000)
    await reading
    expect(await a.client('agent').jobs.get(job_id)).toMatchObject({ status: 'queued' })
  })
})

describe('order', () => {
  test(`${proves('L3')} higher priority goes first, then age, whichever node is asked`, async () => {
    const priorities = [1, 5, 9, 5, 1, 9, 0]
    for (const [n, priority] of priorities.entries())
      await submit(cluster.nodes[n % 3] as Node, { topic: 'job.nodes.order', priority, input: { n } })
    const got: number[] = []
    for (let n = 0; n < priorities.length; n++) {
      const [leased] = (await claim(cluster.nodes[(n + 1) % 3] as Node, 'job.nodes.order', { wait_ms: 2000 })).leases
      got.push((leased?.job.input as { n: number } | undefined)?.n ?? -1)
    }
    expect(got).toEqual([2, 5, 1, 3, 0, 4, 6])
  })
})
