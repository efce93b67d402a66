import type { Completion } from '../contract/workers.js'
import type { Caller } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import { canonical, sha256 } from '../core/canonical.js'
import { jobFact } from '../core/facts.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Effect, Lease } from '../core/lease.js'
import { screenText } from '../core/output.js'
import { type Report, settle as step } from '../core/settle.js'
import { Problem } from '../errors.js'
import { getJobs } from '../store/jobs.js'
import { effectsOfJobs, getLeases } from '../store/leases.js'
import { releases } from '../store/ledger/write.js'
import type { PayloadRow } from '../store/payloads.js'
import { outputRules, screenedText } from '../store/results.js'
import type { World } from '../store/world.js'

export interface Settlement {
  lease: string
  answer: 'ok' | 'lost' | 'conflict'
  job_id: string | null
  status: string | null
}

const TRIES = 6

/**
 * A worker's reports of its attempts: each checked against its fence, screened, and committed in one piece; read together,
 * because one query for 64 costs about what one for a single lease does. Answers stand in the order of the reports.
 */
export async function settle(world: World, caller: Caller, completions: readonly Completion[]): Promise<Settlement[]> {
  const answers = new Map<number, Settlement>()
  let open = [...completions.keys()]
  for (let tries = 0; tries < TRIES && open.length > 0; tries++) {
    const read = await load(
      world,
      caller,
      open.map((i) => (completions[i] as Completion).lease),
      tries === 0,
    )
    const settled = await Promise.all(open.map((i) => one(world, caller, completions[i] as Completion, read)))
    for (const [n, answer] of settled.entries()) if (answer !== null) answers.set(open[n] as number, answer)
    open = open.filter((i) => !answers.has(i))
  }
  // Not `lost`: the lease may be live and the work done. The same reports sent again are answered as if they had come once.
  if (open.length > 0)
    throw new Problem('overloaded', 'A job changed faster than its report could be settled', { retry_after_ms: 200 })
  return completions.map((_, i) => answers.get(i) as Settlement)
}

interface Read {
  leases: Map<string, Lease>
  jobs: Map<string, Job>
  effects: Effect[]
}

/** @param first what this node granted itself is taken as it was then; who loses with that reads the rows */
async function load(world: World, caller: Caller, lease_ids: readonly string[], first: boolean): Promise<Read> {
  const read: Read = { leases: new Map(), jobs: new Map(), effects: [] }
  const isOwn = (lease: Lease) => lease.tenant === caller.tenant && lease.principal === caller.principal
  const wanted = lease_ids.filter((lease_id) => {
    const granted = first ? world.granted.take(lease_id) : null
    if (granted === null || !isOwn(granted.lease)) return true
    read.leases.set(lease_id, granted.lease)
    read.jobs.set(granted.job.job_id, granted.job)
    return false
  })
  if (wanted.length === 0) return read
  const leases = (await getLeases(world.db, caller.tenant, wanted)).filter(isOwn)
  const ids = leases.map((l) => l.job_id)
  // Jobs first: their versions then vouch for the effects. Side by side an effect begun between the two reads would be missed.
  const jobs = await getJobs(world.db, caller.tenant, ids)
  read.effects = await effectsOfJobs(world.db, caller.tenant, ids)
  for (const lease of leases) read.leases.set(lease.lease_id, lease)
  for (const job of jobs) read.jobs.set(job.job_id, job)
  return read
}

/** Null: the job changed meanwhile; read and try again. */
async function one(world: World, caller: Caller, completion: Completion, read: Read): Promise<Settlement | null> {
  const lease = read.leases.get(completion.lease)
  const job = lease === undefined ? undefined : read.jobs.get(lease.job_id)
  if (lease === undefined || job === undefined)
    return { lease: completion.lease, answer: 'lost', job_id: null, status: null }
  if (lease.ended_at !== null) return stale(world, caller, lease, job, completion)
  // Read before and after the commit that ended it: the lease row will say how.
  if (job.lease_id !== lease.lease_id) return null
  const now = world.clock.now()
  const { report, payloads, facts, digest } = await screened(world, job, completion, now)
  const effects = read.effects.filter((e) => e.job_id === job.job_id)
  const result = step(job, lease, effects, report, now, caller.principal, world.ids.fraction())
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate: null,
    alone: [job.job_id, lease.lease_id],
    rows: {
      updateJobs: [result.job],
      updateLeases: [{ ...result.lease, report_hash: reportHash(world, completion, digest) }],
      // A result that ended in doubt is nobody's result yet: nothing points at it.
      payloads: payloads.filter((p) => p.ptr === result.job.result_ptr),
      effects: result.effect === null ? [] : [result.effect],
    },
    spends: releases(job.tenant, result.released, now),
    facts: [...facts, ...result.facts],
  })
  if (!receipt.ok) return null
  // A place under a limit is free: whoever waits behind it should look.
  if (result.released.length > 0) world.bus.hint(job.tenant, job.topic)
  return { lease: lease.lease_id, answer: 'ok', job_id: job.job_id, status: result.job.status }
}

/** A report from a lease that has ended moves nothing. The same report again is answered as before; another one is evidence. */
function stale(world: World, caller: Caller, lease: Lease, job: Job, completion: Completion): Settlement {
  const digest = completion.outcome === 'succeeded' ? sha256(canonical((completion.result ?? null) as Json)) : ''
  if (lease.report_hash === reportHash(world, completion, digest))
    return { lease: lease.lease_id, answer: 'ok', job_id: job.job_id, status: job.status }
  // Counted, not written one by one: a worker may report a lost lease as often as it likes.
  const refused = {
    kind: 'lease.refused' as const,
    tenant: job.tenant,
    actor: caller.principal,
    lease_id: lease.lease_id,
    job_id: job.job_id,
  }
  world.refusals.add(refused, world.clock.now())
  return {
    lease: lease.lease_id,
    answer: lease.report_hash === null ? 'lost' : 'conflict',
    job_id: job.job_id,
    status: job.status,
  }
}

/** Tells a repeat from another report. By the digest of its result, which was worked out where that was screened. */
function reportHash(world: World, completion: Completion, digest: string): string {
  return world.sealer.mark({ ...completion, result: digest } as unknown as Json)
}

async function screened(
  world: World,
  job: Job,
  completion: Completion,
  now: number,
): Promise<{ report: Report; payloads: PayloadRow[]; facts: Fact[]; digest: string }> {
  const policy = await outputRules(world, job)
  const usage = { tokens: completion.usage?.tokens ?? null, cost: completion.usage?.cost ?? null }
  if (completion.outcome === 'failed') {
    const error = completion.error ?? {
      class: 'terminal' as const,
      code: 'unspecified',
      message: 'The worker gave no error',
    }
    const code = screenText(error.code, policy).verdict === 'ALLOW' ? error.code : 'redacted'
    return {
      report: { outcome: 'failed', class: error.class, code, message: screenedText(error.message, policy), usage },
      payloads: [],
      facts: [],
      digest: '',
    }
  }
  const limit = job.constraints.max_output_bytes
  const kept = await world.screener.keep(job, 'result', (completion.result ?? null) as Json, policy, now)
  const { bytes, digest } = kept
  if (typeof limit === 'number' && bytes > limit)
    return {
      report: {
        outcome: 'failed',
        class: 'terminal',
        code: 'result_too_large',
        message: `The result has ${bytes} bytes, the policy allows ${limit}`,
        usage,
      },
      payloads: [],
      facts: [],
      digest,
    }
  const facts =
    kept.verdict === 'REDACT' ? [jobFact('result.redacted', job, now, 'system:screen', { findings: kept.summary })] : []
  return {
    report: {
      outcome: 'succeeded',
      verdict: kept.verdict,
      findings: kept.findings,
      result_ptr: kept.payload.ptr,
      usage,
    },
    payloads: [kept.payload],
    facts,
    digest,
  }
}
