import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Cluster, type Node, startCluster } from '../support/cluster.js'
import { dice, sallyport, until } from '../support/server.js'
import { DrillWorker, outsideWorld } from './faults-crew.js'
import { deal, FAULTS, revived } from './faults-deck.js'
import { isOver, judge, type Observed } from './faults-judge.js'
import { keepHeads, type Load, startLoad } from './faults-load.js'

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
    await Promise.all(workers.map((worker) => worker.kill()))
    outside.close()
    await cluster.gone()
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
