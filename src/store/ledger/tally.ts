import type { Log } from '../../platform/log.js'
import type { Metrics } from '../../platform/metrics.js'
import type { Intent } from './inbox.js'
import type { Ledger, Renewed } from './queue.js'

/** A fault in counting is a fault in counting: what was committed stays so, and its caller hears it. */
export function countCommits(ledger: Ledger, metrics: Metrics, log: Log): void {
  ledger.observe = () => {
    const seconds = metrics.stopwatch()
    return (committed) => {
      try {
        tally(metrics, committed, seconds())
      } catch (error) {
        log.error({ err: error }, 'a commit could not be counted')
      }
    }
  }
  ledger.renewed = (why, writer) => {
    metrics.chainsRenewed.inc({ reason: why })
    log.error({ reason: why, writer }, RENEWED[why])
  }
}

const RENEWED: Record<Renewed, string> = {
  fenced: 'others took this node for dead and closed its audit chain: it goes on under another name',
  torn: 'the store has lost commits that it had acknowledged: the audit chain is torn, and this node goes on under another name',
  unknown:
    'what became of a commit can no longer be found out: this node ends its audit chain and goes on under another name',
}

/** Of whatever topic somebody thinks up. */
const LEAVES_NO_JOB: readonly string[] = ['job.denied', 'job.shadowed']

/**
 * Counts what was committed, after it was: the one place that sees every row and every fact, so that no use case counts, forgets
 * to, or counts what was rolled back. Sums are made per commit and written once each: the library sorts and joins the labels of
 * every call, which for each step by itself cost more than all else here.
 */
export function tally(metrics: Metrics, intents: readonly Intent[], seconds: number): void {
  metrics.batchSize.observe(intents.length)
  metrics.commitSeconds.observe(seconds)
  const sums = new Sums()
  for (const { tenant: name, facts, rows } of intents) {
    const tenant = metrics.labels.tenant(name)
    for (const fact of facts) {
      sums.add(metrics.entries, { kind: fact.kind })
      if (fact.topic === undefined || !fact.kind.startsWith('job.')) continue
      const topic = metrics.labels.topic(name, fact.topic, !LEAVES_NO_JOB.includes(fact.kind))
      sums.add(metrics.jobs, { tenant, topic, event: fact.kind.slice('job.'.length) })
    }
    for (const { door, decision } of rows.decisions ?? []) sums.add(metrics.decisions, { tenant, door, decision })
    attemptsEnded(metrics, sums, name, rows)
    for (const lease of rows.insertLeases ?? []) {
      const job = rows.updateJobs?.find((each) => each.job_id === lease.job_id)
      if (job !== undefined) metrics.dispatchWait.observe(secondsOf(job.due_at, lease.granted_at))
    }
    for (const job of rows.updateJobs ?? [])
      if (job.finished_at !== null && job.finished_at === job.updated_at)
        metrics.jobSeconds.observe({ status: job.status }, secondsOf(job.created_at, job.finished_at))
    for (const { status, requested_at, expires_at, answers } of rows.updateApprovals ?? []) {
      const at = status === 'expired' ? expires_at : answers.at(-1)?.at
      if (at !== undefined && ['approved', 'rejected', 'expired'].includes(status))
        metrics.approvalWait.observe({ status }, secondsOf(requested_at, at))
    }
  }
  sums.write()
}

function attemptsEnded(metrics: Metrics, sums: Sums, name: string, rows: Intent['rows']): void {
  const tenant = metrics.labels.tenant(name)
  for (const { topic, outcome, ended_at, granted_at, error_class, verdict } of rows.updateLeases ?? []) {
    if (ended_at === null) continue
    const labels = { tenant, topic: metrics.labels.topic(name, topic, true), outcome: outcome ?? 'none' }
    sums.add(metrics.attempts, { ...labels, error_class: error_class ?? 'none' })
    metrics.attemptSeconds.observe({ outcome: outcome ?? 'none' }, secondsOf(granted_at, ended_at))
    if (verdict !== null) sums.add(metrics.results, { tenant, verdict })
  }
}

const secondsOf = (from: number, to: number) => Math.max(0, to - from) / 1000

interface Adds {
  inc(labels: Record<string, string>, value: number): void
}

class Sums {
  readonly #of = new Map<Adds, Map<string, { labels: Record<string, string>; count: number }>>()

  add(counter: Adds, labels: Record<string, string>): void {
    let sums = this.#of.get(counter)
    if (sums === undefined) {
      sums = new Map()
      this.#of.set(counter, sums)
    }
    const key = Object.values(labels).join(' ')
    const sum = sums.get(key)
    if (sum === undefined) sums.set(key, { labels, count: 1 })
    else sum.count++
  }

  write(): void {
    for (const [counter, sums] of this.#of) for (const { labels, count } of sums.values()) counter.inc(labels, count)
  }
}
