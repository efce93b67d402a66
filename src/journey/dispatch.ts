import type { LeasedJob } from '../contract/workers.js'
import type { Approval } from '../core/approval.js'
import type { Fact } from '../core/audit.js'
import { shortForm } from '../core/binding.js'
import { dispatch as step, type Waiter } from '../core/dispatch.js'
import { type Decision, decide, limitKeys, type Standing } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { type Claim, claimOf, decisionIdOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Lease } from '../core/lease.js'
import { type Counter, FRESH } from '../core/limits.js'
import { getApproval } from '../store/approvals.js'
import { decisionAbout } from '../store/decisions.js'
import { type DueJob, dueJobs, getJobs } from '../store/jobs.js'
import { activeFor, gateMoved } from '../store/keys.js'
import { effectsOfJobs, leasesOfClaim } from '../store/leases.js'
import type { Spend } from '../store/ledger/write.js'
import { loadTexts, loadValues, smallTexts } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import { loadCounters, loadGrants } from '../store/standing.js'
import type { World } from '../store/world.js'

/** One worker's open claim. */
export interface Claiming extends Waiter {
  tenant: string
  /** The key that asks: once it is revoked, the claim is given nothing more. */
  key_id: string
  /** Gate epoch under which that key was last seen to stand. Revoking any key moves the epoch. */
  checked?: number
  topics: string[]
  capacity: number
  enforces: string[]
}

export interface Dispatched {
  leases: LeasedJob[]
  /** When a job of these topics could be had that a full limit held back now, ms from now; null = only a hint or due time. */
  retry_in_ms: number | null
}

/** Rows of each topic looked at beyond the capacity, doubled with every round: what waits behind a full limit hides nothing for long. */
const LOOK_AHEAD = 4
/** Jobs decided in one look at most: a backlog behind one full limit must not turn a look into a scan. */
const LOOK_MAX = 1000
/** Payload text in one answer: past it the claim gets what it has. 300 jobs of 2 MiB once made an answer no string could hold. */
const ANSWER_BYTES = 16 * 1024 * 1024
/** Recorded effects sent along with a lease, for all leases of an answer: 280 results of 2 MB took a node's memory. */
const EFFECTS_SHOWN = { count: 1000, bytes: 8192 }
/** Jobs decided together: enough to share the reads, few enough not to read payloads that no room is left for. */
const CHUNK = 32

/**
 * The second door. Due jobs of the claim's topics pass through the same `decide` under the snapshot that is active now; those
 * that pass get a fenced lease in the same commit, before the worker hears of them. Allowed an hour ago and denied now is denied.
 * Throws Problem `no_policy`, and `unauthenticated` when the claim's key was revoked meanwhile.
 */
export async function dispatch(world: World, claiming: Claiming): Promise<Dispatched> {
  const look: Look = { decided: [], full: [], counters: {}, bytes: 0, retry_in_ms: null }
  const granted: Granted[] = []
  for (
    let ahead = LOOK_AHEAD;
    granted.length < claiming.capacity && look.decided.length < LOOK_MAX && look.bytes < ANSWER_BYTES;
    ahead *= 2
  ) {
    const room = claiming.capacity - granted.length
    const due = await dueJobs(
      world.db,
      claiming.tenant,
      claiming.topics,
      world.clock.now(),
      room + ahead,
      look.decided,
      look.full,
    )
    if (due.length === 0) break
    const active = await activeFor(world, claiming)
    const plans = await planned(world, claiming, active, due, room, look)
    for (const lease of await Promise.all(plans.map((plan) => carryOut(world, claiming, active, plan)))) {
      if (lease === 'full') look.retry_in_ms ??= FULL_RETRY_MS
      else if (lease !== null) granted.push(lease)
    }
  }
  return { leases: await shown(world, claiming.tenant, granted), retry_in_ms: look.retry_in_ms }
}

/** What one look has learnt: jobs asked about, counters as read and as spent by its own plans, and when a full limit may open. */
interface Look {
  decided: string[]
  /** Limits found full: what they bind is passed over in the store, so that a backlog behind one hides nothing. */
  full: string[]
  /** Payload text of what is granted so far. */
  bytes: number
  counters: Record<string, Counter>
  retry_in_ms: number | null
}

/** A limit that another dispatcher filled first is looked at again after this. */
const FULL_RETRY_MS = 1000

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
  const committed =
    again.length === 0 ? [] : (await effectsOfJobs(world.db, tenant, again)).filter((e) => e.status === 'committed')
  const texts = await smallTexts(
    world.db,
    tenant,
    committed.map((e) => (e.verdict === 'QUARANTINE' ? null : e.result_ptr)),
    EFFECTS_SHOWN,
  )
  // What is left out is not forgotten: a worker that begins it is answered with what was recorded.
  const effects = committed.filter(
    (e) => e.verdict === 'QUARANTINE' || e.result_ptr === null || texts.has(e.result_ptr),
  )
  const values = new Map([...texts].map(([ptr, text]) => [ptr, JSON.parse(text) as Json]))
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

interface Plan {
  job: Job
  claim: Claim
  decision: Decision
  standing: Standing
}

/** Decides in order until `room` leases are planned. What must leave the queue (denied, parked) is planned on the way. */
async function planned(
  world: World,
  claiming: Claiming,
  active: Active,
  due: readonly DueJob[],
  room: number,
  look: Look,
): Promise<Plan[]> {
  const plans: Plan[] = []
  let leases = 0
  for (let from = 0; from < due.length && leases < room && look.bytes < ANSWER_BYTES; from += CHUNK) {
    const chunk = due.slice(from, from + CHUNK)
    const { claims, sizes, grants, keys } = await load(world, claiming.tenant, active, chunk, look)
    for (const [n, { job }] of chunk.entries()) {
      if (leases === room || look.bytes >= ANSWER_BYTES) break
      look.decided.push(job.job_id)
      const claim = claims[n] as Claim
      const counters = Object.fromEntries((keys[n] ?? []).map((key) => [key, { ...(look.counters[key] ?? FRESH) }]))
      const standing: Standing = {
        door: 'dispatch',
        now: world.clock.now(),
        counters,
        grant: grants.get(job.approval_id ?? '') ?? null,
      }
      const decision = decide(active.policy, claim, standing)
      if (decision.outcome === 'wait') {
        look.retry_in_ms = Math.min(
          look.retry_in_ms ?? Number.POSITIVE_INFINITY,
          decision.wait?.retry_after_ms ?? FULL_RETRY_MS,
        )
        if (decision.wait !== null && !look.full.includes(decision.wait.limit)) look.full.push(decision.wait.limit)
        continue
      }
      if (decision.outcome === 'pass') {
        if (decision.enforcers.some((name) => !claiming.enforces.includes(name))) continue
        leases++
        look.bytes += sizes[n] ?? 0
        for (const { key, concurrent } of decision.evaluation.limits) {
          if (concurrent === undefined) continue
          const counter = look.counters[key] ?? FRESH
          look.counters[key] = { ...counter, held: counter.held + 1 }
        }
      }
      plans.push({ job, claim, decision, standing })
    }
  }
  return plans
}

/** What deciding these jobs reads beside their rows, in at most three queries for all of them. */
async function load(world: World, tenant: string, active: Active, due: readonly DueJob[], look: Look) {
  const missing = due.flatMap(({ job, input, context }) => [
    input === null ? job.input_ptr : null,
    context === null ? job.context_ptr : null,
  ])
  const texts = await loadTexts(world.db, tenant, missing)
  const read = due.map(({ job, input, context }) => ({
    job,
    input: input ?? texts.get(job.input_ptr ?? '') ?? 'null',
    context: context ?? texts.get(job.context_ptr ?? '') ?? 'null',
  }))
  const sizes = read.map(({ input, context }) => input.length + context.length)
  const claims = read.map(({ job, input, context }) =>
    claimOf(job, { input: JSON.parse(input) as Json, context: JSON.parse(context) as Json }),
  )
  const keys = claims.map((claim) => limitKeys(active.policy, claim, world.clock.now()))
  const unread = [...new Set(keys.flat())].filter((key) => look.counters[key] === undefined)
  Object.assign(look.counters, await loadCounters(world.db, tenant, unread))
  const grants = await loadGrants(
    world.db,
    tenant,
    due.map(({ job }) => job.approval_id),
  )
  return { claims, sizes, grants, keys }
}

/** Commits one plan: the lease it granted, null where none was (or a race was lost), 'full' where a limit was filled meanwhile. */
async function carryOut(
  world: World,
  claiming: Claiming,
  active: Active,
  { job, claim, decision, standing }: Plan,
): Promise<Granted | null | 'full'> {
  const now = standing.now
  const lease_id = world.ids.id('lease', now)
  const made = {
    lease_id,
    decision_id: decisionIdOf(lease_id),
    approval_id: world.ids.id('apr', now),
  }
  const result = step(job, claim, decision, standing, made, claiming)
  const overtaken = result.approval === null ? null : await overtakenApproval(world, job)
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate: active.gate,
    alone: [job.job_id],
    rows: {
      updateJobs: [result.job],
      decisions: [decisionAbout(job, claim, decision, standing, made.decision_id)],
      insertLeases: result.lease === null ? [] : [result.lease],
      insertApprovals: result.approval === null ? [] : [result.approval],
      updateApprovals: overtaken === null ? [] : [{ ...overtaken, version: overtaken.version + 1, status: 'void' }],
    },
    spends: result.lease === null ? [] : holds(job.tenant, decision, now),
    facts: overtaken === null ? result.facts : [voided(job, overtaken, decision.snapshot, now), ...result.facts],
  })
  if (receipt.ok) {
    if (result.lease === null) return null
    world.granted.add(result.lease, result.job)
    return { lease: result.lease, job: result.job, input: claim.input, context: claim.context }
  }
  if (receipt.why === 'gate') await gateMoved(world, claiming)
  return receipt.why === 'limit' ? 'full' : null
}

/** A place under each concurrency limit that binds. */
function holds(tenant: string, decision: Decision, at: number): Spend[] {
  return decision.evaluation.limits.flatMap(({ key, concurrent }): Spend[] =>
    concurrent === undefined ? [] : [{ tenant, key, kind: 'held', max: concurrent, window_start: 0, period_ms: 1, at }],
  )
}

/** The answered approval that no longer binds, because rules, constraints or specification changed, or its time is over. */
async function overtakenApproval(world: World, job: Job): Promise<Approval | null> {
  const approval = job.approval_id === null ? null : await getApproval(world.db, job.tenant, job.approval_id)
  return approval?.status === 'approved' ? approval : null
}

function voided(job: Job, approval: Approval, snapshot: string, now: number): Fact {
  return jobFact('approval.voided', job, now, 'system:dispatcher', { approval_id: approval.approval_id, snapshot })
}
