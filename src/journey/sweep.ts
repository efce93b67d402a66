import { unanswerableFacts } from '../core/admit.js'
import type { Approval } from '../core/approval.js'
import { type Fact, type FactKind, joined } from '../core/audit.js'
import { jobFact } from '../core/facts.js'
import { advance, remind } from '../core/flow.js'
import type { Halts } from '../core/halt.js'
import { type Job, move, touch } from '../core/job.js'
import { expiryAfterBeat } from '../core/lease.js'
import { settle } from '../core/settle.js'
import { dueApprovals, lookLater } from '../store/approvals.js'
import { deadlines } from '../store/deadlines.js'
import { pruneIdempotency } from '../store/idempotency.js'
import { getJob, overdueInQueue, unansweredDeadLetters } from '../store/jobs.js'
import { effectsOfJob, leasesAhead, lostLeases } from '../store/leases.js'
import { pruneBatches } from '../store/ledger/resolve.js'
import { releases } from '../store/ledger/write.js'
import { expiredPayloads } from '../store/payloads.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

/** A clock that went back by more than this was set, not disciplined. */
export const CLOCK_STEP_MS = 1000

/** What nobody reports: lost leases, queues without a worker, approvals and dead letters nobody answered, expired texts. Safe to run anywhere, at any time. */
export async function sweep(world: World): Promise<void> {
  const due = await deadlines(world.db)
  const over = (at: number | null) => at !== null && at <= world.clock.now()
  if (over(due.lease)) await endLostLeases(world)
  if (over(due.queue)) await expireQueued(world)
  if (over(due.approval)) await climbOrExpire(world)
  if (over(due.response)) await remindOfDeadLetters(world)
  if (over(due.payload)) await eraseExpired(world)
  if (over(due.idempotency)) await pruneIdempotency(world.db, world.clock.now())
  if (over(due.batch)) await pruneBatches(world.db, world.clock.now())
  await writeRefusals(world)
}

/**
 * After a clock was set back: leases granted under the later time would end at a date far off. They get three heartbeats from
 * now, like everyone who was just heard of.
 */
export async function rebaseLeases(world: World): Promise<void> {
  const now = world.clock.now()
  const ahead = await leasesAhead(world.db, now + CLOCK_STEP_MS)
  for (const tenant of new Set(ahead.map((lease) => lease.tenant))) {
    const beats = ahead
      .filter((lease) => lease.tenant === tenant)
      .map(({ lease_id, heartbeat_ms, hard_end }) => ({
        tenant,
        lease_id,
        beat_at: now,
        expires_at: expiryAfterBeat({ heartbeat_ms, hard_end }, now),
        progress: null,
      }))
    await world.ledger.commit({ tenant, gate: null, alone: beats.map((b) => b.lease_id), rows: { beats }, facts: [] })
  }
}

async function endLostLeases(world: World): Promise<void> {
  await Promise.all(
    (await lostLeases(world.db, world.clock.now())).map(async (lease) => {
      const job = await getJob(world.db, lease.tenant, lease.job_id)
      if (job === null || job.lease_id !== lease.lease_id) return
      const effects = await effectsOfJob(world.db, job.tenant, job.job_id)
      const now = world.clock.now()
      const why = now >= lease.hard_end ? 'timeout' : 'heartbeat'
      const result = settle(job, lease, effects, { outcome: 'lost', why }, now, 'system:sweeper', world.ids.fraction())
      const receipt = await world.ledger.commit({
        tenant: job.tenant,
        gate: null,
        alone: [job.job_id, lease.lease_id],
        rows: {
          updateJobs: [result.job],
          updateLeases: [result.lease],
          effects: result.effect === null ? [] : [result.effect],
        },
        spends: releases(job.tenant, result.released, now),
        facts: result.facts,
      })
      if (receipt.ok) world.bus.hint(job.tenant, job.topic)
    }),
  )
}

async function expireQueued(world: World): Promise<void> {
  const overdue = await overdueInQueue(world.db, world.clock.now())
  const haltsOf = await haltsOfAll(world, overdue)
  await Promise.all(
    overdue.map(async (job) => {
      const now = world.clock.now()
      // The time runs on while work is stopped: what was asked for hours ago must not run in another world than it was meant for.
      const status_reason = haltsOf(job).stops === undefined ? 'no_worker' : 'stopped'
      const moved = move(job, 'queue_timeout', now, { status_reason, queue_deadline: null })
      await world.ledger.commit({
        tenant: job.tenant,
        gate: null,
        alone: [job.job_id],
        rows: { updateJobs: [moved.job] },
        facts: [jobFact('job.expired', moved.job, now, 'system:sweeper', moved.changed)],
      })
    }),
  )
}

/** What keeps each of these back: one look at the gate of each tenant, however many of its jobs there are. */
async function haltsOfAll(world: World, jobs: readonly Job[]): Promise<(job: Job) => Halts> {
  const tenants = [...new Set(jobs.map(({ tenant }) => tenant))]
  const known = await Promise.all(
    tenants.map(async (tenant) => {
      const gate = await getGate(world.db, tenant)
      const own = jobs.filter((job) => job.tenant === tenant)
      return [tenant, gate === null ? () => ({}) : await world.halts.ofAll(gate, own)] as const
    }),
  )
  const byTenant = new Map(known)
  return (job) => byTenant.get(job.tenant)?.(job) ?? {}
}

/** A timeout never allows: who has not answered is reminded, the next rung is asked too, and after the last the question has expired. */
async function climbOrExpire(world: World): Promise<void> {
  await Promise.all(
    (await dueApprovals(world.db, world.clock.now())).map(async (approval) => {
      const job = await getJob(world.db, approval.tenant, approval.job_id)
      if (job === null || job.status !== 'pending_approval' || job.approval_id !== approval.approval_id) return
      const now = world.clock.now()
      if (approval.expires_at <= now) await expireApproval(world, approval, job, now)
      else await climb(world, approval, job, now)
    }),
  )
}

async function climb(world: World, asked: Approval, job: Job, now: number): Promise<void> {
  const gate = await getGate(world.db, asked.tenant)
  if (gate === null) return
  const people = await world.people.of(gate, [job.agent, job.requested_by])
  const reminded = remind(asked, people, now)
  const { approval, climbed, unanswerable } = advance(reminded?.approval ?? asked, people, now)
  const { approval_id, expires_at, asked_of } = approval
  const isSame = expires_at === asked.expires_at && asked_of.join() === asked.asked_of.join()
  const isQuiet = climbed.length === 0 && isSame && unanswerable.length === 0
  if (isQuiet && reminded === null) return lookLater(world.db, approval)
  const moved = touch(job, now)
  const said = (kind: FactKind, names: readonly string[]) =>
    jobFact(kind, moved.job, now, 'system:sweeper', { approval_id, asked_of: joined(names), expires_at })
  const facts: Fact[] = []
  if (climbed.length > 0) facts.push(said('approval.escalated', asked_of))
  else if (!isSame) facts.push(said('approval.rerouted', asked_of))
  if (reminded !== null) facts.push(said('approval.reminded', reminded.asked_of))
  facts.push(...unanswerableFacts(approval, unanswerable, moved.job, now, 'system:sweeper'))
  await world.ledger.commit({
    tenant: job.tenant,
    gate,
    alone: [job.job_id],
    rows: { updateJobs: [moved.job], updateApprovals: [{ ...approval, version: approval.version + 1 }] },
    facts,
  })
}

async function expireApproval(world: World, approval: Approval, job: Job, now: number): Promise<void> {
  const moved = move(job, 'approval_expired', now, { status_reason: 'approval_expired' })
  await world.ledger.commit({
    tenant: job.tenant,
    gate: null,
    alone: [job.job_id],
    rows: {
      updateJobs: [moved.job],
      updateApprovals: [{ ...approval, version: approval.version + 1, status: 'expired' }],
    },
    facts: [
      jobFact('approval.expired', job, now, 'system:sweeper', { approval_id: approval.approval_id }),
      jobFact('job.expired', moved.job, now, 'system:sweeper', moved.changed),
    ],
  })
}

/** Once for each: `owner` did not answer in the time that its class of job gives them. */
async function remindOfDeadLetters(world: World): Promise<void> {
  await Promise.all(
    (await unansweredDeadLetters(world.db, world.clock.now())).map(async (job) => {
      const now = world.clock.now()
      const moved = touch(job, now, { reminded_at: now })
      const { agent, owner, respond_by } = job
      const told = { ...moved.changed, agent, owner, respond_by, ...ownerAs(owner) }
      await world.ledger.commit({
        tenant: job.tenant,
        gate: null,
        alone: [job.job_id],
        rows: { updateJobs: [moved.job] },
        facts: [jobFact('job.overdue', moved.job, now, 'system:sweeper', told)],
      })
    }),
  )
}

/** As entries name whom they concern: a team's leads are told, or a person. Of a role, or without an owner, who leads the agent's team. */
function ownerAs(owner: string | null): { team?: string; principal?: string } {
  const [kind, name] = owner === null ? [] : [owner.slice(0, owner.indexOf(':')), owner.slice(owner.indexOf(':') + 1)]
  if (kind === 'team') return { team: name as string }
  return kind === 'principal' ? { principal: name as string } : {}
}

async function eraseExpired(world: World): Promise<void> {
  const now = world.clock.now()
  const expired = await expiredPayloads(world.db, now)
  for (const tenant of new Set(expired.map((p) => p.tenant))) {
    const erase = expired.filter((p) => p.tenant === tenant)
    await world.ledger.commit({
      tenant,
      gate: null,
      alone: erase.map((e) => e.ptr),
      rows: { erase },
      facts: [{ kind: 'payload.erased', tenant, at: now, actor: 'system:sweeper', count: erase.length }],
    })
  }
}

/**
 * What this node refused and counted, as entries of the log: what has gathered long enough, or at a stop all of it. What could not be
 * written, or may not have been, is counted on: said twice it misleads less than not at all. Throws what `record` throws.
 */
export async function writeRefusals(world: World, all = false): Promise<void> {
  const at = world.clock.now()
  const gathered = world.refusals.take(at, all)
  const faults: unknown[] = []
  // Together, so that they share a batch: one after another each tenant would wait out a store that does not answer.
  await Promise.all(
    [...new Set(gathered.map(({ refused }) => refused.tenant))].map(async (tenant) => {
      const own = gathered.filter(({ refused }) => refused.tenant === tenant)
      const facts = own.map(({ refused, count, from }): Fact => ({ ...refused, at, count, from }))
      await world.ledger.record(tenant, facts).catch((fault: unknown) => {
        world.refusals.putBack(own)
        faults.push(fault)
      })
    }),
  )
  if (faults.length > 0) throw faults[0]
}
