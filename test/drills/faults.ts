import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { balanced } from '../support/balance.mjs'
import { type Cluster, type Node, startCluster } from '../support/cluster.js'
import { type Dice, dice, sallyport, track, until } from '../support/server.js'
import { isOver, judge, type Observed } from './faults-judge.js'

/**
 * A fault round: nodes, workers, Postgres and NATS, all of them processes, under a load of submits and recorded effects. Each of
 * them is killed and frozen, alone and several at once, in an order that the seed decides. When it is quiet again, everything that
 * was acknowledged is looked for.
 */
export interface RoundReport {
  seed: number
  /** What was done to whom, in order; those of one hand at the same time. */
  hands: string[][]
  submitted: number
  statuses: Record<string, number>
  effects: number
  /** Entries of the verified log, and heads kept outside while it ran. */
  entries: number
  heads: number
  /** From the last repair to the moment when no job was under way. */
  quiet_ms: number
  ms: number
  /** What went wrong, a sentence each; none when the round held. */
  violations: string[]
}

export interface RoundOptions {
  nodes?: number
  workers?: number
  /** The longest a process stands still. Past 10 s the others take a frozen node for dead. */
  frozenMs?: number
  /** How often each fault is in the deck. */
  decks?: number
  log?: (line: string) => void
}

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.fault.*, attempts: 10, timeout_ms: 60000, heartbeat_ms: 1000 }
rules:
  - { id: work, match: { topic: job.fault.work }, decision: ALLOW }
  - { id: ask, match: { topic: job.fault.work, labels: { ask: [yes] } }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
const TOPIC = 'job.fault.work'

export async function faultRound(seed: number, options: RoundOptions = {}): Promise<RoundReport> {
  const from = performance.now()
  const log = options.log ?? (() => {})
  const chance = dice('faults', seed)
  const cluster = await startCluster('faults', { nodes: options.nodes ?? 2, policy: POLICY })
  const outside = await outsideWorld()
  const load = startLoad(cluster)
  const workers = Array.from({ length: options.workers ?? 2 }, () => new DrillWorker(cluster, outside.url))
  const heads = keepHeads(cluster)
  const violations: string[] = []
  const hands: string[][] = []
  try {
    await Promise.all(workers.map((worker) => worker.start()))
    await until('the load runs', () => load.acknowledged.size > 20)
    for (const hand of deal(chance, options.decks ?? 1)) {
      hands.push(hand)
      const began = performance.now()
      await Promise.all(
        hand.map((fault) => FAULTS[fault]?.({ cluster, workers, chance, frozenMs: options.frozenMs ?? 2_500 })),
      )
      violations.push(...(await revived(cluster, workers)))
      const reached = load.acknowledged.size
      const undone = performance.now()
      await until('submits are taken again', () => load.acknowledged.size > reached, 60_000)
      const [during, after] = [undone - began, performance.now() - undone].map(Math.round)
      log(`  ${hand.join(' + ')}: ${during} ms, submits taken ${after} ms later`)
    }
    const repaired = performance.now()
    log(`  ${load.acknowledged.size} jobs`)
    await load.stop()
    const statuses = await until('every job ends or is parked', () => quiet(cluster), 90_000).catch(async (error) => {
      violations.push(`${(error as Error).message}: ${JSON.stringify(await standing(cluster))}`)
      return standing(cluster)
    })
    const quiet_ms = Math.round(performance.now() - repaired)
    await Promise.all(workers.map((worker) => worker.stop()))
    await heads.stop()
    const verified = await check(cluster, load, workers, outside.executed, heads.file, violations)
    return {
      seed,
      hands,
      submitted: load.acknowledged.size,
      statuses: counted(statuses.values()),
      effects: outside.executed.size,
      entries: verified,
      heads: heads.kept(),
      quiet_ms,
      ms: Math.round(performance.now() - from),
      violations,
    }
  } catch (error) {
    violations.push((error as Error).message)
    throw error
  } finally {
    if (violations.length > 0) keepTraces(seed, cluster, violations)
    await load.stop(true)
    await heads.stop()
    for (const worker of workers) worker.kill()
    outside.close()
    await cluster.gone()
  }
}

type Fault = (at: { cluster: Cluster; workers: DrillWorker[]; chance: Dice; frozenMs: number }) => Promise<void>

/** What can happen, each undone by itself; a process that was killed is started again. */
export const FAULTS: Record<string, Fault> = {
  'node killed': async ({ cluster, chance }) => {
    const node = oneOf(cluster.nodes, chance)
    await node.kill()
    await pause(chance.whole(0, 800))
    await startAgain(node)
  },
  'node frozen': ({ cluster, chance, frozenMs }) => frozen(oneOf(cluster.nodes, chance), chance, frozenMs),
  'node stopped': async ({ cluster, chance }) => {
    const node = oneOf(cluster.nodes, chance)
    await node.stop()
    await startAgain(node)
  },
  'worker killed': async ({ workers, chance }) => {
    const worker = oneOf(workers, chance)
    worker.kill()
    await pause(chance.whole(0, 800))
    await worker.start()
  },
  'worker frozen': ({ workers, chance, frozenMs }) => frozen(oneOf(workers, chance), chance, Math.max(frozenMs, 4_000)),
  'postgres killed': async ({ cluster, chance }) => {
    await cluster.postgres.kill()
    await pause(chance.whole(0, 800))
    await cluster.postgres.start()
  },
  'postgres frozen': ({ cluster, chance, frozenMs }) => frozen(cluster.postgres, chance, frozenMs),
  'nats killed': async ({ cluster, chance }) => {
    await cluster.nats?.kill()
    await pause(chance.whole(0, 800))
    await cluster.nats?.start()
  },
  'nats wiped': async ({ cluster, chance }) => {
    await cluster.nats?.kill()
    cluster.nats?.wipe()
    await pause(chance.whole(0, 800))
    await cluster.nats?.start()
  },
  'nats frozen': ({ cluster, chance, frozenMs }) =>
    cluster.nats ? frozen(cluster.nats, chance, frozenMs) : Promise.resolve(),
}

async function frozen(what: { freeze(): void; thaw(): void }, chance: Dice, longest: number): Promise<void> {
  what.freeze()
  try {
    await pause(chance.whole(300, longest))
  } finally {
    what.thaw()
  }
}

/** A start beside a Postgres that is away ends; an operator's supervisor starts it again. */
async function startAgain(node: Node): Promise<void> {
  if (node.alive) return
  await until(
    `${node.name} starts again`,
    () =>
      node.start().then(
        () => true,
        () => false,
      ),
    60_000,
  )
}

/** Every fault, shuffled, dealt in hands of one to three that happen at the same time. What shares a process is not in one hand. */
function deal(chance: Dice, decks: number): string[][] {
  const deck = Array.from({ length: decks }, () => Object.keys(FAULTS)).flat()
  for (let n = deck.length - 1; n > 0; n--) {
    const other = chance.whole(0, n)
    ;[deck[n], deck[other]] = [deck[other] as string, deck[n] as string]
  }
  const hands: string[][] = []
  while (deck.length > 0) {
    const hand: string[] = []
    for (let size = chance.whole(1, 3); size > 0; size--) {
      const subject = (fault: string) => fault.split(' ')[0]
      const next = deck.findIndex((fault) => !hand.some((held) => subject(held) === subject(fault)))
      if (next === -1) break
      hand.push(...deck.splice(next, 1))
    }
    hands.push(hand)
  }
  return hands
}

const oneOf = <T>(things: readonly T[], chance: Dice): T => things[chance.whole(0, things.length - 1)] as T

/** Nobody may be down now: who is, fell by itself. */
async function revived(cluster: Cluster, workers: DrillWorker[]): Promise<string[]> {
  const down: string[] = []
  for (const node of cluster.nodes)
    if (!node.alive) {
      down.push(`${node.name} ended by itself`)
      await startAgain(node)
    }
  for (const worker of workers)
    if (!worker.alive) {
      down.push('a worker ended by itself')
      await worker.start()
    }
  return down
}

/** Counts what is done to it, by idempotency key. It knows no repeats: each call is an execution. */
async function outsideWorld() {
  const executed = new Map<string, { times: number; where: string }>()
  const server = createServer((request, response) => {
    const key = String(request.headers['idempotency-key'])
    const known = executed.get(key) ?? { times: 0, where: String(request.url).slice(1) }
    executed.set(key, { ...known, times: known.times + 1 })
    request.resume()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ n: executed.size }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    executed,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

interface Load {
  /** Job id by run id, of every submit that was answered 202. */
  acknowledged: Map<string, string>
  /** More than one job for one idempotency key. */
  doubled: string[]
  /** Ends when what was sent has its answer; `now` does not wait for that. */
  stop(now?: boolean): Promise<void>
}

/** Submits one after another, each repeated under its key until it is taken, and a reviewer who says yes to every question. */
function startLoad(cluster: Cluster, submitters = 4): Load {
  const urls = cluster.nodes.map((node) => node.url)
  const send = balanced(urls, { timeoutMs: 6_000 })
  const acknowledged = new Map<string, string>()
  const doubled: string[] = []
  let stopping = false
  let abandoned = false
  const one = async (run_id: string, ask: boolean) => {
    const body = JSON.stringify({ topic: TOPIC, run_id, input: { run_id }, labels: ask ? { ask: 'yes' } : {} })
    const headers = { 'content-type': 'application/json', 'x-api-key': cluster.key('agent'), 'idempotency-key': run_id }
    while (!abandoned) {
      try {
        const answer = await send('http://any/api/v1/jobs', { method: 'POST', headers, body })
        const { job_id } = (await answer.json()) as { job_id: string }
        if (answer.status === 202) {
          acknowledged.set(run_id, job_id)
          return
        }
      } catch {
        // no answer: nobody knows, so it is asked again under the same key
      }
      await pause(50)
    }
  }
  const submitter = async (name: number) => {
    for (let n = 0; !stopping; n++) {
      await one(`run-${name}-${n}`, n % 8 === 7)
      // The same again now and then, as a caller does whose answer was lost: it must be the same job.
      if (n % 16 === 3) {
        const first = acknowledged.get(`run-${name}-${n}`)
        await one(`run-${name}-${n}`, false)
        if (first !== acknowledged.get(`run-${name}-${n}`)) doubled.push(`run-${name}-${n}`)
      }
      await pause(25)
    }
  }
  const reviewer = async () => {
    const headers = { 'content-type': 'application/json', 'x-api-key': cluster.key('approver') }
    while (!stopping) {
      try {
        const list = await send('http://any/api/v1/approvals?status=pending&limit=20', { headers })
        const { items } = (await list.json()) as { items: { approval_id: string; grant_hash: string }[] }
        for (const { approval_id, grant_hash } of items) {
          const body = JSON.stringify({ grant_hash })
          await (
            await send(`http://any/api/v1/approvals/${approval_id}/approve`, { method: 'POST', headers, body })
          ).text()
        }
      } catch {
        // asked again
      }
      await pause(200)
    }
  }
  const all = Promise.all([...Array.from({ length: submitters }, (_, n) => submitter(n)), reviewer()])
  return {
    acknowledged,
    doubled,
    async stop(now = false) {
      stopping = true
      abandoned = now
      await all
    },
  }
}

class DrillWorker {
  readonly said: Observed['said'] = []
  readonly #cluster: Cluster
  readonly #outside: string
  #child: ChildProcess | null = null

  constructor(cluster: Cluster, outside: string) {
    this.#cluster = cluster
    this.#outside = outside
  }

  get alive(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null
  }

  async start(): Promise<void> {
    if (this.alive) return
    const about = {
      urls: this.#cluster.nodes.map((node) => node.url),
      key: this.#cluster.key('worker'),
      outside: this.#outside,
      topic: TOPIC,
      concurrency: 8,
    }
    const file = fileURLToPath(new URL('./faults-worker.mjs', import.meta.url))
    const env = { PATH: process.env.PATH, DRILL_WORKER: JSON.stringify(about) }
    const child = track(spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] }))
    let rest = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.said.push(JSON.parse(line))
    })
    this.#child = child
  }

  kill(): void {
    this.#child?.kill('SIGKILL')
  }
  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }
  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    if (!this.alive) return
    const ended = once(this.#child as ChildProcess, 'close')
    this.#child?.kill('SIGTERM')
    await ended
  }
}

/** Signed heads in a file outside the database, from whichever node answers: what they say, the log can never unsay. */
function keepHeads(cluster: Cluster) {
  const file = cluster.at('heads.txt')
  writeFileSync(file, '')
  let stopping = false
  let kept = 0
  const running = (async () => {
    while (!stopping) {
      for (const node of cluster.nodes) {
        const head = await node
          .client('admin', { retries: 0, timeoutMs: 2_000 })
          .audit.head()
          .catch(() => null)
        if (head !== null) {
          appendFileSync(file, `${head.checkpoint}\n`)
          kept++
        }
      }
      await pause(500)
    }
  })()
  return {
    file,
    kept: () => kept,
    async stop() {
      stopping = true
      await running
    },
  }
}

async function standing(cluster: Cluster): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const [node] = cluster.nodes as [Node]
  for await (const { job_id, status } of node.client('admin').jobs.all({ limit: 500 })) found.set(job_id, status)
  return found
}

async function quiet(cluster: Cluster): Promise<Map<string, string> | null> {
  const found = await standing(cluster)
  if ([...found.values()].every(isOver)) return found
  await pause(200)
  return null
}

/** Everything that was acknowledged, looked for. Returns the entries of the verified log. */
async function check(
  cluster: Cluster,
  load: Load,
  workers: DrillWorker[],
  executed: Observed['executed'],
  heads: string,
  violations: string[],
): Promise<number> {
  const [node] = cluster.nodes as [Node]
  const admin = node.client('admin')
  const jobs: Observed['jobs'] = []
  for await (const { job_id, run_id, status } of admin.jobs.all({ limit: 500 })) jobs.push({ job_id, run_id, status })
  const committed = new Set<string>()
  for (const { job_id, status } of jobs) {
    if (status === 'succeeded') continue
    const { effects = [] } = await admin.jobs.get(job_id)
    for (const effect of effects) if (effect.status === 'committed') committed.add(`${job_id}/${effect.key}`)
  }
  const said = workers.flatMap((worker) => worker.said)
  violations.push(...judge({ jobs, acknowledged: load.acknowledged, executed, said, committed }))
  for (const run_id of load.doubled) violations.push(`a repeat was answered with another job: ${run_id}`)
  const ran = await sallyport(['audit', 'verify', '--url', node.url, '--head', heads, '--json'], {
    SALLYPORT_API_KEY: cluster.key('admin'),
  })
  if (ran.exit !== 0 || ran.json?.ok !== true || ran.json?.truncation !== 'CHECKED')
    violations.push(`the audit log does not verify: exit ${ran.exit} ${ran.out.slice(0, 2000)}${ran.err.slice(0, 500)}`)
  return (ran.json?.entries ?? 0) + (ran.json?.waiting ?? 0)
}

function counted(words: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}

/** What the processes wrote, for whoever looks into a round that did not hold. */
function keepTraces(seed: number, cluster: Cluster, violations: readonly string[]): void {
  const dir = join(tmpdir(), `sallyport-faults-${seed}`)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'violations.txt'), violations.join('\n'))
  for (const node of cluster.nodes) writeFileSync(join(dir, `${node.name}.log`), node.stderr())
  writeFileSync(join(dir, 'postgres.log'), cluster.postgres.output())
  console.error(`traces in ${dir}`)
}
