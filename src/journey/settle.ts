import type { Completion } from '../contract/workers.js'
import type { Caller } from '../core/access.js'
import { canonical, digestOf } from '../core/canonical.js'
import type { Fact } from '../core/audit.js'
import { jobFact } from '../core/facts.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Lease } from '../core/lease.js'
import { screenText } from '../core/output.js'
import { type Report, settle as step } from '../core/settle.js'
import { getJob } from '../store/jobs.js'
import { effectsOfJob, getLease } from '../store/leases.js'
import { releases } from '../store/ledger/write.js'
import type { PayloadRow } from '../store/payloads.js'
import { keep, outputRules, screenedText } from '../store/results.js'
import type { World } from '../store/world.js'

export interface Settlement {
  lease: string
  answer: 'ok' | 'lost' | 'conflict'
  job_id: string | null
  status: string | null
}

const TRIES = 6

/** A worker's report of one attempt: checked against the fence, screened, and committed in one piece. */
export async function settle(world: World, caller: Caller, completion: Completion): Promise<Settlement> {
  const report_hash = digestOf('report', completion as unknown as Json)
  for (let tries = 0; tries < TRIES; tries++) {
    const lease = await getLease(world.db, caller.tenant, completion.lease)
    if (lease === null || lease.principal !== caller.principal) return { lease: completion.lease, answer: 'lost', job_id: null, status: null }
    const job = await getJob(world.db, caller.tenant, lease.job_id)
    if (job === null) return { lease: completion.lease, answer: 'lost', job_id: null, status: null }
    if (lease.ended_at !== null || job.lease_id !== lease.lease_id) return stale(world, caller, lease, job, report_hash)
    const now = world.clock.now()
    const { report, payloads, facts } = await screened(world, job, completion, now)
    const effects = await effectsOfJob(world.db, job.tenant, job.job_id)
    const result = step(job, lease, effects, report, now, caller.principal, world.ids.fraction())
    const receipt = await world.ledger.commit({
      tenant: job.tenant,
      gate: null,
      alone: [job.job_id, lease.lease_id],
      rows: { updateJobs: [result.job], updateLeases: [{ ...result.lease, report_hash }], payloads, effects: result.effect === null ? [] : [result.effect] },
      spends: releases(job.tenant, result.released, now),
      facts: [...facts, ...result.facts],
    })
    if (!receipt.ok) continue
    // A place under a limit is free, or a retry is due soon: whoever waits should look.
    if (result.released.length > 0) world.bus.hint(job.tenant, job.topic)
    return { lease: lease.lease_id, answer: 'ok', job_id: job.job_id, status: result.job.status }
  }
  return { lease: completion.lease, answer: 'lost', job_id: null, status: null }
}

/** A report from a lease that has ended moves nothing. The same report again is answered as before; another one is evidence. */
async function stale(world: World, caller: Caller, lease: Lease, job: Job, report_hash: string): Promise<Settlement> {
  if (lease.report_hash === report_hash) return { lease: lease.lease_id, answer: 'ok', job_id: job.job_id, status: job.status }
  const now = world.clock.now()
  const fact = jobFact('lease.refused', job, now, caller.principal, { lease_id: lease.lease_id, worker: lease.worker, attempt: lease.attempt, report_hash })
  await world.ledger.commit({ tenant: job.tenant, gate: null, alone: [], rows: {}, facts: [fact] })
  return { lease: lease.lease_id, answer: lease.report_hash === null ? 'lost' : 'conflict', job_id: job.job_id, status: job.status }
}

async function screened(world: World, job: Job, completion: Completion, now: number): Promise<{ report: Report; payloads: PayloadRow[]; facts: Fact[] }> {
  const policy = await outputRules(world, job)
  const usage = { tokens: completion.usage?.tokens ?? null, cost: completion.usage?.cost ?? null }
  if (completion.outcome === 'failed') {
    const error = completion.error ?? { class: 'terminal' as const, code: 'unspecified', message: 'The worker gave no error' }
    const report: Report = { outcome: 'failed', class: error.class, code: screenText(error.code, policy).verdict === 'ALLOW' ? error.code : 'redacted', message: screenedText(error.message, policy), usage }
    return { report, payloads: [], facts: [] }
  }
  const limit = maxOutputBytes(job)
  const raw = (completion.result ?? null) as Json
  const body = canonical(raw)
  if (limit !== null && Buffer.byteLength(body) > limit)
    return { report: { outcome: 'failed', class: 'terminal', code: 'result_too_large', message: `The result has ${Buffer.byteLength(body)} bytes, the policy allows ${limit}`, usage }, payloads: [], facts: [] }
  const kept = keep(world, job, 'result', raw, body, policy, now)
  const facts = kept.verdict === 'REDACT' ? [jobFact('result.redacted', job, now, 'system:screen', { verdict: kept.verdict, findings: kept.summary })] : []
  return { report: { outcome: 'succeeded', verdict: kept.verdict, findings: kept.findings, result_ptr: kept.payload.ptr, usage }, payloads: [kept.payload], facts }
}

function maxOutputBytes(job: Job): number | null {
  const limit = job.constraints.max_output_bytes
  return typeof limit === 'number' ? limit : null
}
