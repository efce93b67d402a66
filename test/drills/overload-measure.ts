import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Answer, type Cluster, call, type Node, usage } from '../support/cluster.js'

/**
 * What a node does past its capacity, measured. The same code with small sizes is a test (that it holds at all) and with large ones
 * a run whose table is worth reading: `node test/drills/overload-run.mjs`.
 */
export interface Row {
  scenario: string
  what: string
  value: number
  unit: string
}

export const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.load.beat, attempts: 5, timeout_ms: 60000, heartbeat_ms: 500 }
  - { topic: job.load.*, attempts: 3, timeout_ms: 300000, heartbeat_ms: 60000, queue_timeout_ms: 86400000 }
rules: [{ id: all, match: { topic: job.load.* }, decision: ALLOW }]
`

export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

function latencies(scenario: string, what: string, list: number[]): Row[] {
  const sorted = list.toSorted((one, other) => one - other)
  const row = (name: string, value: number): Row => ({
    scenario,
    what: `${what} ${name}`,
    value: Math.round(value * 10) / 10,
    unit: 'ms',
  })
  return [row('p50', quantile(sorted, 0.5)), row('p99', quantile(sorted, 0.99)), row('most', sorted.at(-1) ?? 0)]
}

export async function agentKeys(cluster: Cluster, count: number): Promise<string[]> {
  const admin = (cluster.nodes[0] as Node).client('admin')
  const make = async (n: number) => (await admin.keys.create({ role: 'agent', principal: `agent:load-${n}` })).key
  return Promise.all(Array.from({ length: count }, (_, n) => make(n)))
}

/** One claim; `wait_ms` 0 only looks. */
let claims = 0
export const claim = (
  node: Node,
  key: string,
  topic: string,
  options: { capacity?: number; wait_ms?: number; agent?: Agent } = {},
): Promise<Answer> =>
  call(node.url, 'POST', '/api/v1/workers/claim', {
    key,
    ...(options.agent === undefined ? {} : { agent: options.agent }),
    body: {
      worker_id: 'load',
      claim_id: `claim-load-${++claims}`,
      topics: [topic],
      capacity: options.capacity ?? 1,
      wait_ms: options.wait_ms ?? 0,
    },
  })

export const submit = (
  node: Node,
  key: string,
  topic: string,
  more: Record<string, unknown> = {},
  agent?: Agent,
): Promise<Answer> =>
  call(node.url, 'POST', '/api/v1/jobs', { key, body: { topic, ...more }, ...(agent === undefined ? {} : { agent }) })

export interface Flood {
  accepted: number[]
  refused: number
  /** Refusals without Retry-After, and answers that are neither 202 nor 503: none is right. */
  wrong: string[]
  rss: number[]
  /** Slowest /healthz, and whether /readyz ever said no. */
  health: number
  unready: boolean
}

/** So many callers at once, each sending again as soon as it is answered: more than the queue holds, for so long. */
export async function flood(cluster: Cluster, callers: number, ms: number): Promise<Flood> {
  const node = cluster.nodes[0] as Node
  const keys = await agentKeys(cluster, 4)
  const agents = Array.from({ length: callers }, () => new Agent({ keepAlive: true, maxSockets: 1 }))
  const seen: Flood = { accepted: [], refused: 0, wrong: [], rss: [], health: 0, unready: false }
  /**
   * A connection for each, made beforehand and a few at a time: Node accepts about one at every turn of its loop, some 130 a
   * second while those that stand keep it busy, and that wait would be all that is seen.
   */
  for (let n = 0; n < callers; n += 200)
    await Promise.all(agents.slice(n, n + 200).map((agent) => call(node.url, 'GET', '/healthz', { agent })))
  const end = performance.now() + ms
  const one = async (n: number) => {
    while (performance.now() < end) {
      const answer = await submit(node, keys[n % keys.length] as string, 'job.load.flood', {}, agents[n]).catch(
        (error: Error) => error,
      )
      if (answer instanceof Error) {
        seen.wrong.push(answer.message)
        await pause(100)
      } else if (answer.status === 202) seen.accepted.push(answer.ms)
      else if (answer.status === 503) {
        seen.refused++
        if (!/^\d+$/.test(String(answer.headers['retry-after']))) seen.wrong.push('503 without Retry-After')
        // A tenth of what it was asked to wait: callers that do as they are told would make no overload.
        await pause(100)
      } else seen.wrong.push(`${answer.status} ${answer.body?.code}`)
    }
  }
  const watch = async () => {
    const own = new Agent({ keepAlive: true })
    while (performance.now() < end) {
      const alive = await call(node.url, 'GET', '/healthz', { agent: own })
      seen.health = Math.max(seen.health, alive.ms)
      if (alive.status !== 200) seen.wrong.push(`/healthz ${alive.status}`)
      if ((await call(node.url, 'GET', '/readyz', { agent: own })).status === 503) seen.unready = true
      seen.rss.push(usage(node.pid).rss)
      await pause(200)
    }
    own.destroy()
  }
  await Promise.all([watch(), ...Array.from({ length: callers }, (_, n) => one(n))])
  for (const agent of agents) agent.destroy()
  return seen
}

export function floodRows(seen: Flood, callers: number, ms: number): Row[] {
  const scenario = `${callers} callers at once`
  const half = seen.rss.slice(Math.floor(seen.rss.length / 2))
  const mib = (bytes: number) => Math.round(bytes / 2 ** 20)
  return [
    { scenario, what: 'accepted', value: Math.round(seen.accepted.length / (ms / 1000)), unit: '/s' },
    { scenario, what: 'refused with 503', value: Math.round(seen.refused / (ms / 1000)), unit: '/s' },
    ...latencies(scenario, 'accepted after', seen.accepted),
    { scenario, what: 'slowest /healthz', value: Math.round(seen.health), unit: 'ms' },
    { scenario, what: '/readyz said no', value: Number(seen.unready), unit: '' },
    {
      scenario,
      what: 'memory, first half at most',
      value: mib(Math.max(...seen.rss.slice(0, half.length))),
      unit: 'MiB',
    },
    { scenario, what: 'memory, second half at most', value: mib(Math.max(...half)), unit: 'MiB' },
  ]
}

/** Holds `count` long polls open at once and gives work to some of them; each key may hold 2,000 on a node. */
export async function longPolls(cluster: Cluster, count: number, jobs: number, ms: number) {
  const node = cluster.nodes[0] as Node
  const admin = node.client('admin')
  const keys = await Promise.all(
    Array.from(
      { length: Math.ceil(count / 2000) },
      async (_, n) => (await admin.keys.create({ role: 'worker', principal: `worker:poll-${n}` })).key,
    ),
  )
  const agent = new Agent({ keepAlive: true, maxSockets: count + 10 })
  const before = usage(node.pid)
  const leases: string[] = []
  // Those that got nothing are hung up in the end.
  const hungUp = { body: {} } as Answer
  const polls = Array.from({ length: count }, async (_, n) => {
    const { body } = await claim(node, keys[n % keys.length] as string, 'job.load.poll', {
      wait_ms: 60_000,
      agent,
    }).catch(() => hungUp)
    for (const { job } of body.leases ?? []) leases.push(job.job_id)
    return body.leases?.length ?? -1
  })
  let ended = 0
  for (const poll of polls) void poll.then(() => ended++)
  const open = async () => Number(await waitingOn(node))
  for (const end = performance.now() + 50_000; (await open()) < count && performance.now() < end; ) await pause(50)
  const held = await open()
  const idle = usage(node.pid)
  await pause(ms) // what they cost while nothing happens
  const rested = usage(node.pid)
  const key = cluster.key('agent')
  const from: number[] = []
  const submitted: string[] = []
  for (let n = 0; n < jobs; n++) {
    const sent = performance.now()
    submitted.push((await submit(node, key, 'job.load.poll')).body.job_id)
    while (ended <= n && performance.now() - sent < 20_000) await pause(1)
    from.push(performance.now() - sent)
  }
  const busy = usage(node.pid)
  agent.destroy()
  const scenario = `${count} long polls`
  const rows: Row[] = [
    { scenario, what: 'held open', value: held, unit: '' },
    { scenario, what: 'memory each', value: Math.round((idle.rss - before.rss) / count / 102.4) / 10, unit: 'KiB' },
    {
      scenario,
      what: 'CPU to open each',
      value: Math.round(((idle.cpu_ms - before.cpu_ms) / count) * 100) / 100,
      unit: 'ms',
    },
    {
      scenario,
      what: 'CPU while idle',
      value: Math.round(((rested.cpu_ms - idle.cpu_ms) / ms) * 1000) / 10,
      unit: '% of a core',
    },
    ...latencies(scenario, 'submit to lease', from),
    { scenario, what: 'CPU per job', value: Math.round((busy.cpu_ms - rested.cpu_ms) / Math.max(1, jobs)), unit: 'ms' },
  ]
  return { held, leases, submitted, rows }
}

/** Claims that wait, as the node itself counts them. */
async function waitingOn(node: Node): Promise<number> {
  const { body } = await call(node.url, 'GET', '/metrics')
  let sum = 0
  for (const [, value] of String(body).matchAll(/^sallyport_dispatcher_waiting_workers\{[^}]*\} (\d+)/gm))
    sum += Number(value)
  return sum
}

/** A backlog, made of one real job: its row again with numbers from `from` to `to`, each with an id and an age of its own. */
export async function fillBacklog(cluster: Cluster, topic: string, from: number, to: number): Promise<void> {
  const [job] = await cluster.sql<{ job_id: string }>(
    `SELECT job_id FROM jobs WHERE topic = $1 AND status = 'queued' LIMIT 1`,
    [topic],
  )
  const step = 100_000
  for (let at = from; at <= to; at += step)
    await cluster.sql(
      `INSERT INTO jobs SELECT r.* FROM jobs j CROSS JOIN generate_series($2::int, $3::int) g
       CROSS JOIN LATERAL jsonb_populate_record(j, jsonb_build_object(
         'job_id', left(j.job_id, 16) || lpad(g::text, 14, '0'), 'due_at', j.due_at + g % 1000)) r
       WHERE j.tenant = 'default' AND j.job_id = $1`,
      [job?.job_id, at, Math.min(to, at + step - 1)],
    )
}

/** Submits and claims, one after another on a few lines, beside whatever is queued. */
export async function besideBacklog(cluster: Cluster, topic: string, rounds: number, queued: number): Promise<Row[]> {
  const node = cluster.nodes[0] as Node
  const [submits, claimed, scrapes]: [number[], number[], number[]] = [[], [], []]
  const lines = Array.from({ length: 4 }, async () => {
    for (let n = 0; n < rounds / 4; n++) {
      const sent = await submit(node, cluster.key('agent'), topic)
      if (sent.status !== 202) throw new Error(`a submit was answered ${sent.status}`)
      submits.push(sent.ms)
      const got = await claim(node, cluster.key('worker'), topic)
      if (got.body.leases?.length !== 1) throw new Error(`a claim got ${JSON.stringify(got.body)}`)
      claimed.push(got.ms)
      await call(node.url, 'POST', '/api/v1/leases/complete', {
        key: cluster.key('worker'),
        body: [{ lease: got.body.leases[0].lease, outcome: 'succeeded' }],
      })
    }
  })
  await Promise.all(lines)
  for (let n = 0; n < 3; n++) scrapes.push((await call(node.url, 'GET', '/metrics')).ms)
  const scenario = `${queued} jobs queued`
  return [
    ...latencies(scenario, 'submit', submits),
    ...latencies(scenario, 'claim', claimed),
    { scenario, what: 'slowest of 3 scrapes', value: Math.round(Math.max(...scrapes)), unit: 'ms' },
  ]
}

/** Between two jobs of the small tenant. */
const SMALL_EVERY_MS = 100
/** Alone and beside take turns: a slow moment of the machine is then one of both. */
const PHASE_MS = 1000

/**
 * How long a small tenant's jobs wait for their lease: alone, and beside one with so many times its load.
 * @param name no other call's: it is of the tenants' names
 */
export async function fairness(
  cluster: Cluster,
  name: string,
  times: number,
  ms: number,
): Promise<{ alone: number; beside: number; rows: Row[] }> {
  const node = cluster.nodes[0] as Node
  const [small, loud] = [await cluster.tenant(`small${name}`, POLICY), await cluster.tenant(`loud${name}`, POLICY)]
  const waits = async (): Promise<number[]> => {
    const list: number[] = []
    const from = performance.now()
    while (performance.now() - from < PHASE_MS) {
      const poll = claim(node, small.worker, 'job.load.small', { wait_ms: 20_000 })
      await pause(Math.max(20, from + list.length * SMALL_EVERY_MS - performance.now()))
      const sent = performance.now()
      await submit(node, small.agent, 'job.load.small')
      const { body } = await poll
      list.push(performance.now() - sent)
      const [lease] = body.leases ?? []
      if (lease === undefined) continue
      const done = [{ lease: lease.lease, outcome: 'succeeded' }]
      await call(node.url, 'POST', '/api/v1/leases/complete', { key: small.worker, body: done })
    }
    return list
  }
  const noise = loudTenant(node, loud, times)
  const [alone, beside]: [number[], number[]] = [[], []]
  // The first of each is not counted: code that runs for the first time runs slowly.
  for (let round = -1; round * PHASE_MS < ms; round++) {
    const one = await waits()
    await noise.on()
    await pause(PHASE_MS / 4)
    const other = await waits()
    await noise.off()
    if (round < 0) continue
    alone.push(...one)
    beside.push(...other)
  }
  await noise.end()
  const p95 = (list: number[]) =>
    quantile(
      list.toSorted((one, other) => one - other),
      0.95,
    )
  const scenario = `a tenant with ${times} times the load`
  const row = (what: string, value: number, unit: string): Row => ({
    scenario,
    what,
    value: Math.round(value * 100) / 100,
    unit,
  })
  return {
    alone: p95(alone),
    beside: p95(beside),
    rows: [
      row('small tenant’s jobs, alone', alone.length, ''),
      row('small tenant’s jobs, beside it', beside.length, ''),
      row('the other’s jobs', noise.sent, ''),
      row('P95 wait alone', p95(alone), 'ms'),
      row('P95 wait beside it', p95(beside), 'ms'),
      row('P95 beside / alone', p95(beside) / p95(alone), 'times'),
    ],
  }
}

const LOUD = fileURLToPath(new URL('overload-loud.mjs', import.meta.url))

/** The other tenant's submitters and workers, which sleep while it is off. */
function loudTenant(node: Node, keys: { agent: string; worker: string }, times: number) {
  const rate = String((times * 1000) / SMALL_EVERY_MS)
  const child = fork(LOUD, [node.url, keys.agent, keys.worker, rate], { stdio: 'inherit' })
  const state = { sent: 0 }
  const say = async (word: 'on' | 'off') => {
    child.send(word)
    const [{ sent }] = (await once(child, 'message')) as [{ sent: number }]
    state.sent = sent
  }
  return {
    get sent() {
      return state.sent
    },
    on: () => say('on'),
    /** Until its work is done. */
    off: () => say('off'),
    async end() {
      child.kill()
      await once(child, 'exit')
    },
  }
}
