import { setTimeout as pause } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createWorker } from '../../src/sdk/worker.js'
import { proves } from '../requirements.js'
import { balanced } from '../support/balance.mjs'
import { type Cluster, call, type Node, startCluster } from '../support/cluster.js'
import { endAll, until } from '../support/server.js'

/** Nodes leave and come back: by a rolling restart, which nobody notices, and by a blow, which costs seconds. */

const ALLOW = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.roll.beat.*, attempts: 5, timeout_ms: 60000, heartbeat_ms: 500, idempotent: true }
  - { topic: job.roll.*, attempts: 5, timeout_ms: 60000, heartbeat_ms: 5000 }
rules:
  - { id: work, match: { topic: [job.roll.work, job.roll.beat.*, job.roll.none, job.roll.after-killed, job.roll.after-frozen] }, decision: ALLOW }
  - { id: ask, match: { topic: job.roll.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
/** Another snapshot with the same rules: every open question is put again under it. */
const AGAIN = (name: string) => `${ALLOW}  - { id: ${name}, match: { topic: job.roll.${name} }, decision: ALLOW }\n`

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster('rolling', { nodes: 2, policy: ALLOW })
})
afterAll(async () => {
  await endAll()
  await cluster?.gone()
})

/** A drain waits for what is under way, and nothing here takes long. On a busy machine a stop takes a second or two. */
const DRAIN_MS = 9_000

test(`${proves('W1', 'L3')} a rolling restart under load loses no submit and no lease, and every stop is a clean one`, async () => {
  const urls = cluster.nodes.map((node) => node.url)
  const send = balanced(urls, { timeoutMs: 20_000 })
  const seen: number[] = []
  const workers = [0, 1].map(() =>
    createWorker({
      url: urls[0] as string,
      apiKey: cluster.key('worker'),
      fetch: balanced(urls, { timeoutMs: 30_000 }),
      concurrency: 4,
      waitMs: 20_000,
      log: () => {},
      topics: {
        'job.roll.work': async (job, ctx) => {
          await ctx.effect('done', () => pause(100, seen.push((job.input as { n: number }).n)))
          return 'well'
        },
      },
    }),
  )
  await Promise.all(workers.map((worker) => worker.start()))
  let sent = 0
  let stopping = false
  const jobs: string[] = []
  const submitter = async () => {
    while (!stopping) {
      const n = sent++
      const headers = {
        'x-api-key': cluster.key('agent'),
        'idempotency-key': `roll-${n}`,
        'content-type': 'application/json',
      }
      const body = JSON.stringify({ topic: 'job.roll.work', input: { n } })
      for (;;) {
        const answer = await send('http://any/api/v1/jobs', { method: 'POST', headers, body }).catch(() => null)
        if (answer?.status === 202) {
          jobs.push(((await answer.json()) as { job_id: string }).job_id)
          break
        }
        // Refused or drained: another node takes it.
        await pause(20)
      }
      await pause(20)
    }
  }
  const submitters = [0, 1, 2].map(submitter)
  await until('work is done', () => seen.length > 20)
  for (const node of cluster.nodes) {
    const poll = call(node.url, 'POST', '/api/v1/workers/claim', {
      key: cluster.key('worker'),
      body: {
        worker_id: 'w',
        claim_id: `poll-of-${node.name}`,
        topics: ['job.roll.none'],
        capacity: 1,
        wait_ms: 60_000,
      },
    })
    await until('the poll is open', async () => (await fetch(`${node.url}/healthz`)).ok)
    await pause(100) // the poll is to wait when the stop comes; nothing tells from outside that it does
    const end = await node.stop()
    expect(end, end.err.slice(-2000)).toMatchObject({ code: 0, signal: null })
    expect(end.ms).toBeLessThan(DRAIN_MS)
    expect(end.err).not.toMatch(/"level":(50|60)/)
    expect((await poll).body.leases).toEqual([])
    const before = jobs.length
    await until('the other node takes the load', () => jobs.length > before + 5)
    await node.start()
  }
  stopping = true
  await Promise.all(submitters)
  const admin = (cluster.nodes[0] as Node).client('admin')
  const found = await until('all is done', async () => {
    const all = new Map<string, { status: string; attempt: number }>()
    for await (const job of admin.jobs.all({ topic: 'job.roll.work', limit: 500 })) all.set(job.job_id, job)
    return [...all.values()].every(({ status }) => status === 'succeeded') && all
  })
  await Promise.all(workers.map((worker) => worker.stop()))
  expect(new Set(found.keys())).toEqual(new Set(jobs))
  expect(jobs).toHaveLength(sent)
  expect([...found.values()].filter(({ attempt }) => attempt !== 1)).toEqual([])
  expect(seen.sort((one, other) => one - other)).toEqual(Array.from({ length: sent }, (_, n) => n))
  console.log(`${sent} jobs over ${cluster.nodes.length} restarts, each done once, at the first attempt`)
}, 120_000)

/** The event of this topic's newest submit, read past every node. */
async function published(topic: string): Promise<string | null> {
  const connection = await connect({ port: (cluster.nats as { port: number }).port, timeout: 5000 })
  try {
    const { streams } = await jetstreamManager(connection)
    const found = await streams.getMessage('SALLYPORT_EVENTS', {
      last_by_subj: `sallyport.events.default.job.submitted.${topic}`,
    })
    return found?.string() ?? null
  } catch {
    return null
  } finally {
    await connection.close()
  }
}

describe('the loops of a node that is gone are another’s within', () => {
  /** Killed, its locks go with its connections. Frozen, they are taken from it 10 s after its last sign of life. */
  const cases = [
    { how: 'killed', bound: 15_000, blow: (node: Node) => node.kill(), mend: (node: Node) => node.start() },
    {
      how: 'frozen',
      bound: 30_000,
      blow: async (node: Node) => node.freeze(),
      mend: async (node: Node) => node.thaw(),
    },
  ]
  for (const { how, bound, blow, mend } of cases)
    test(`${proves('W1', 'L3', 'R4', 'L6')} ${bound / 1000} s when it was ${how}: signed heads, lost leases, open questions, events`, async () => {
      // The loops are where the last stop left them: on the first node after the rolling restart, on the second after its death.
      const [gone, stays] = (how === 'killed' ? cluster.nodes : cluster.nodes.toReversed()) as [Node, Node]
      const [agent, admin] = [stays.client('agent'), stays.client('admin')]
      const leased = await agent.jobs.submit({ topic: `job.roll.beat.${how}` })
      const claim = {
        worker_id: 'lost',
        claim_id: `claim-${how}`,
        topics: [`job.roll.beat.${how}`],
        capacity: 1,
        wait_ms: 5000,
      }
      const { leases } = await gone.client('worker').worker.claim(claim)
      expect(leases[0]?.job.job_id).toBe(leased.job_id)
      const asked = await agent.jobs.submit({ topic: 'job.roll.ask' })
      await blow(gone)
      const took: Record<string, number> = {}
      const from = performance.now()
      const within = async (what: string, look: () => Promise<boolean>) => {
        await until(what, look, bound)
        took[what] = Math.round(performance.now() - from)
      }
      const topic = `job.roll.after-${how}`
      const after = await agent.jobs.submit({ topic })
      const files = [{ path: 'policy.yaml', text: AGAIN(how) }]
      const { policy_snapshot } = await admin.policy.create({ files, activate: true })
      await Promise.all([
        within('a head is signed', async () => (await admin.jobs.timeline(after.job_id)).items[0]?.index !== null),
        within('the lost lease is noticed', async () => (await admin.jobs.get(leased.job_id)).status !== 'running'),
        within('the question is put again', async () => {
          const { policy_snapshot: under } = await stays.client('approver').approvals.get(asked.approval_id as string)
          return under === policy_snapshot
        }),
        within('the event is published', async () => (await published(topic))?.includes(after.job_id) === true),
      ])
      console.log(`${how}: ${JSON.stringify(took)} ms`)
      await mend(gone)
      await until('it works on', async () => {
        const body = { topic: 'job.roll.none' }
        return (await call(gone.url, 'POST', '/api/v1/jobs', { key: cluster.key('agent'), body })).status === 202
      })
    }, 120_000)
})
