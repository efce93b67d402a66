import type { LeasedJob } from '../contract/workers.js'
import type { Approval } from '../core/approval.js'
import type { Fact } from '../core/audit.js'
import { shortForm } from '../core/binding.js'
import { dispatch as step, type Waiter } from '../core/dispatch.js'
import { decide, limitKeys, type Standing } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { claimOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Lease } from '../core/lease.js'
import { getApproval } from '../store/approvals.js'
import { decisionRow } from '../store/decisions.js'
import { dueJobs, getJobs } from '../store/jobs.js'
import { effectsOfJobs, leasesOfClaim } from '../store/leases.js'
import type { Intent } from '../store/ledger/queue.js'
import { loadValues } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import { loadCounters, loadGrant } from '../store/standing.js'
import type { World } from '../store/world.js'

/** One worker's open claim. */
export interface Claiming extends Waiter {
  tenant: string
  topics: string[]
  capacity: number
  enforces: string[]
}

export interface Dispatched {
  leases: LeasedJob[]
  /** When a job of these topics could be had that a full limit held back now, ms from now; null = only a hint or due time. */
  retry_in_ms: number | null
}

/** Rows looked at beyond the capacity, so that jobs behind a full limit do not hide the ones after them. */
const LOOK_AHEAD = 32
/** Rows asked about in one look at most: a backlog behind one full limit must not turn a look into a scan. */
const LOOK_MAX = 1000

/**
 * The second door. Due jobs of the claim's topics pass through the same `decide` under the snapshot that is active now; those
 * that pass get a fenced lease in the same commit, before the worker hears of them. Allowed an hour ago and denied now is denied.
 */
export async function dispatch(world: World, claiming: Claiming): Promise<Dispatched> {
  const skip: string[] = []
  const granted: Granted[] = []
  let retry_in_ms: number | null = null
  while (granted.length < claiming.capacity && skip.length < LOOK_MAX) {
    const room = claiming.capacity - granted.length
    const due = (
      await dueJobs(world.db, claiming.tenant, claiming.topics, world.clock.now(), room + LOOK_AHEAD, skip)
    ).slice(0, room)
    if (due.length === 0) break
    // Asked about once in this call, whatever comes of it: what a full limit holds back must not hide what is behind it.
    skip.push(...due.map((job) => job.job_id))
    for (const outcome of await passThrough(world, claiming, due)) {
      if (outcome.kind === 'leased') granted.push(outcome.granted)
      if (outcome.kind === 'wait') retry_in_ms = Math.min(retry_in_ms ?? Number.POSITIVE_INFINITY, outcome.retry_in_ms)
    }
    if (due.length < room) break
  }
  return { leases: await shown(world, claiming.tenant, granted), retry_in_ms }
}

/** A lease with the job and payload it was decided on. */
interface Granted {
  lease: Lease
  job: Job
  input: Json
  context: Json
}

/** What this claim was given already: the answer to a repeat, so that a lost answer loses no lease. */
export async function leasesFor(
  world: World,
  claiming: Pick<Claiming, 'tenant' | 'principal' | 'claim_id' | 'topics'>,
): Promise<LeasedJob[]> {
  const leases = (await leasesOfClaim(world.db, claiming.tenant, claiming.principal, claiming.claim_id)).filter(
    // By topic too: another key of this worker may be bound to others.
    (l) => l.ended_at === null && claiming.topics.includes(l.topic),
  )
  if (leases.length === 0) return []
  const jobs = new Map(
    (
      await getJobs(
        world.db,
        claiming.tenant,
        leases.map((l) => l.job_id),
      )
    ).map((j) => [j.job_id, j]),
  )
  const values = await loadValues(
    world.db,
    claiming.tenant,
    [...jobs.values()].flatMap((j) => [j.input_ptr, j.context_ptr]),
  )
  const value = (ptr: string | null): Json => (ptr === null ? null : (values.get(ptr) ?? null))
  const granted = leases.flatMap((lease): Granted[] => {
    const job = jobs.get(lease.job_id)
    return job === undefined ? [] : [{ lease, job, input: value(job.input_ptr), context: value(job.context_ptr) }]
  })
  return shown(world, claiming.tenant, granted)
}

/** Leases as the worker gets them, with the committed effects of earlier attempts. */
async function shown(world: World, tenant: string, granted: readonly Granted[]): Promise<LeasedJob[]> {
  const again = granted
    .filter(({ lease, job }) => lease.attempt > 1 || job.budget_from > 0)
    .map(({ job }) => job.job_id)
  const effects =
    again.length === 0 ? [] : (await effectsOfJobs(world.db, tenant, again)).filter((e) => e.status === 'committed')
  const values = await loadValues(
    world.db,
    tenant,
    effects.map((e) => (e.verdict === 'QUARANTINE' ? null : e.result_ptr)),
  )
  const now = world.clock.now()
  return granted.map(({ lease, job, input, context }) => ({
    lease: lease.lease_id,
    attempt: lease.attempt,
    remaining_ms: Math.max(0, lease.hard_end - now),
    heartbeat_ms: lease.heartbeat_ms,
    constraints: job.constraints,
    job: {
      job_id: job.job_id,
      run_id: job.run_id,
      tenant: job.tenant,
      agent: job.agent,
      topic: job.topic,
      // What the server holds true, not what the agent claimed: a worker acts on these.
      ...job.effective,
      capability: job.capability,
      action: job.action,
      workflow: job.workflow,
      input,
      context,
      job_hash: job.job_hash,
      policy_snapshot: shortForm(job.snapshot),
      max_attempts: job.max_attempts,
    },
    effects: effects
      .filter((e) => e.job_id === job.job_id)
      .map((e) => ({ key: e.effect_key, status: e.status, result: values.get(e.result_ptr ?? '') ?? null })),
  }))
}

type Outcome =
  | { kind: 'leased'; granted: Granted }
  | { kind: 'moved' }
  | { kind: 'lost' }
  | { kind: 'wait'; retry_in_ms: number }
  | { kind: 'unfit' }

async function passThrough(world: World, claiming: Claiming, jobs: Job[]): Promise<Outcome[]> {
  const active = await world.policies.active(claiming.tenant)
  const values = await loadValues(
    world.db,
    claiming.tenant,
    jobs.flatMap((j) => [j.input_ptr, j.context_ptr]),
  )
  const payload = (job: Job) => ({
    input: values.get(job.input_ptr ?? '') ?? null,
    context: values.get(job.context_ptr ?? '') ?? null,
  })
  return Promise.all(jobs.map((job) => one(world, claiming, active, job, payload(job))))
}

async function one(
  world: World,
  claiming: Claiming,
  active: Active,
  job: Job,
  payload: { input: Json; context: Json },
): Promise<Outcome> {
  const claim = claimOf(job, payload)
  const now = world.clock.now()
  const standing: Standing = {
    door: 'dispatch',
    now,
    counters: await loadCounters(world.db, job.tenant, limitKeys(active.policy, claim, now)),
    grant: await loadGrant(world.db, job.tenant, job.approval_id),
  }
  const decision = decide(active.policy, claim, standing)
  if (decision.outcome === 'wait') return { kind: 'wait', retry_in_ms: decision.wait?.retry_after_ms ?? 1000 }
  if (decision.outcome === 'pass' && decision.enforcers.some((name) => !claiming.enforces.includes(name)))
    return { kind: 'unfit' }
  const made = {
    lease_id: world.ids.id('lease', now),
    decision_id: world.ids.id('dec', now),
    approval_id: world.ids.id('apr', now),
  }
  const result = step(job, claim, decision, standing, made, claiming)
  const overtaken = result.approval === null ? null : await overtakenApproval(world, job)
  const intent: Intent = {
    tenant: job.tenant,
    gate: active.gate,
    alone: [job.job_id],
    rows: {
      updateJobs: [result.job],
      decisions: [
        {
          ...decisionRow(claim, decision, standing, made.decision_id),
          job_id: job.job_id,
          input_ptr: job.input_ptr,
          context_ptr: job.context_ptr,
        },
      ],
      insertLeases: result.lease === null ? [] : [result.lease],
      insertApprovals: result.approval === null ? [] : [result.approval],
      updateApprovals: overtaken === null ? [] : [{ ...overtaken, version: overtaken.version + 1, status: 'void' }],
    },
    spends: decision.evaluation.limits.flatMap((l) =>
      result.lease !== null && l.concurrent !== undefined
        ? [
            {
              tenant: job.tenant,
              key: l.key,
              kind: 'held' as const,
              max: l.concurrent,
              window_start: 0,
              period_ms: 1,
              at: now,
            },
          ]
        : [],
    ),
    facts: overtaken === null ? result.facts : [voided(job, overtaken, decision.snapshot, now), ...result.facts],
  }
  const receipt = await world.ledger.commit(intent)
  if (receipt.ok)
    return result.lease === null
      ? { kind: 'moved' }
      : { kind: 'leased', granted: { lease: result.lease, job: result.job, ...payload } }
  if (receipt.why === 'gate') await world.policies.refresh(job.tenant)
  return receipt.why === 'limit' ? { kind: 'wait', retry_in_ms: 1000 } : { kind: 'lost' }
}

/** The answered approval that no longer binds, because rules, constraints or specification changed, or its time is over. */
async function overtakenApproval(world: World, job: Job): Promise<Approval | null> {
  const approval = job.approval_id === null ? null : await getApproval(world.db, job.tenant, job.approval_id)
  return approval?.status === 'approved' ? approval : null
}

function voided(job: Job, approval: Approval, snapshot: string, now: number): Fact {
  return jobFact('approval.voided', job, now, 'system:dispatcher', { approval_id: approval.approval_id, snapshot })
}
