import type { Approval } from '../core/approval.js'
import { type Fact, joined } from '../core/audit.js'
import { jobFact } from '../core/facts.js'
import { advance } from '../core/flow.js'
import { type Job, move, touch } from '../core/job.js'
import { expiryAfterBeat } from '../core/lease.js'
import { settle } from '../core/settle.js'
import { dueApprovals, lookLater } from '../store/approvals.js'
import { deadlines } from '../store/deadlines.js'
import { pruneIdempotency } from '../store/idempotency.js'
import { getJob, overdueInQueue } from '../store/jobs.js'
import { effectsOfJob, leasesAhead, lostLeases } from '../store/leases.js'
import { pruneBatches } from '../store/ledger/resolve.js'
import { releases } from '../store/ledger/write.js'
import { expiredPayloads } from '../store/payloads.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

/** A clock that went back by more than this was set, not disciplined. */
export const CLOCK_STEP_MS = 1000

/** What nobody reports: lost leases, queues without a worker, approvals nobody answered, expired texts. Safe to run anywhere, at any time. */
export async function sweep(world: World): Promise<void> {
  const due = await deadlines(world.db)
  const over = (at: number | null) => at !== null && at <= world.clock.now()
  if (over(due.lease)) await endLostLeases(world)
  if (over(due.queue)) await expireQueued(world)
  if (over(due.approval)) await climbOrExpire(world)
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
  await Promise.all(
    (await overdueInQueue(world.db, world.clock.now())).map(async (job) => {
      const now = world.clock.now()
      // The time runs on while work is stopped: what was asked for hours ago must not run in another world than it was meant for.
      const gate = await getGate(world.db, job.tenant)
      const { stops } = gate === null ? {} : await world.halts.of(gate, job)
      const status_reason = stops === undefined ? 'no_worker' : 'stopped'
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

/** A timeout never allows: the next rung is asked too, and after the last the question has expired. */
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
  const { approval, climbed } = advance(asked, people, now)
  const { approval_id, expires_at, asked_of } = approval
  if (climbed.length === 0 && expires_at === asked.expires_at && asked_of.join() === asked.asked_of.join())
    return lookLater(world.db, approval)
  const moved = touch(job, now)
  const kind = climbed.length > 0 ? 'approval.escalated' : 'approval.rerouted'
  const told = { approval_id, asked_of: joined(asked_of), expires_at }
  await world.ledger.commit({
    tenant: job.tenant,
    gate,
    alone: [job.job_id],
    rows: { updateJobs: [moved.job], updateApprovals: [{ ...approval, version: approval.version + 1 }] },
    facts: [jobFact(kind, moved.job, now, 'system:sweeper', told)],
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
