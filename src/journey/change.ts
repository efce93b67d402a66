import type { SubmitJob } from '../contract/jobs.js'
import { type Fact, joined } from '../core/audit.js'
import { aboutSnapshot, jobFact } from '../core/facts.js'
import type { Job } from '../core/job.js'
import type { Lease } from '../core/lease.js'
import { CHANGE_TOPICS, CHANGES, type Change, type ChangeKind, changeFault, changeOf } from '../core/policy/change.js'
import { type Report, settle } from '../core/settle.js'
import { getApproval } from '../store/approvals.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { getLease } from '../store/leases.js'
import { type Conflict, type Rows, releases } from '../store/ledger/write.js'
import type { PayloadRow } from '../store/payloads.js'
import { outputRules } from '../store/results.js'
import { findSnapshot, type SnapshotRow, snapshotBefore } from '../store/snapshots.js'
import type { Gate } from '../store/standing.js'
import type { World } from '../store/world.js'

/** Who does it; the log says beside it who asked and who said yes. */
export const CHANGER = 'system:changer'
/** What it does. No worker is given these. */
export const TOPICS = CHANGE_TOPICS
const NO_USAGE = { tokens: null, cost: null }

/** The job that asks for a stored snapshot in the place of the active one. */
export function changeJob(kind: ChangeKind, snapshot: SnapshotRow, before: string): SubmitJob {
  const { digest, source, rules, author, source_commit, reviewers, note } = snapshot
  const input: Change = { snapshot: digest, before, source, rules, author, source_commit, reviewers, note }
  return { topic: CHANGES[kind], input }
}

/**
 * Does what a job of the plane's own was let through to do, in the commit that ends it: the policy is active and the job has succeeded, or
 * neither, whatever dies in between.
 * @param gate as it was read before the door was asked. Has it moved since, nothing is activated, and the door is asked again.
 */
export async function change(world: World, gate: Gate, leased: { lease: string; job_id: string }): Promise<void> {
  const { tenant } = gate
  const [lease, job] = await Promise.all([
    getLease(world.db, tenant, leased.lease),
    getJob(world.db, tenant, leased.job_id),
  ])
  if (lease === null || job === null || job.lease_id !== lease.lease_id || lease.ended_at !== null) return
  const asked = changeOf((await loadPayload(world.db, job)).input)
  const snapshot = asked === null ? null : await findSnapshot(world.db, tenant, asked.snapshot)
  // Compiled before it decides anything: what was changed in the table is refused here, and stays as it is.
  const fault =
    changeFault(asked, gate.snapshot) ??
    (snapshot === null ? 'The snapshot is no longer stored' : null) ??
    (isRollback(job) ? await notBefore(world, gate, asked) : null) ??
    (snapshot === null ? null : await unreadable(world, snapshot))
  if (fault !== null || snapshot === null || job.cancel_requested)
    return fail(world, job, lease, 'terminal', 'change_void', fault ?? 'It was cancelled')
  const became = await succeed(world, job, lease, snapshot, gate)
  if (became === 'ok') await world.policies.refresh(tenant)
  else if (became === 'gate')
    await fail(world, job, lease, 'transient', 'gate_moved', 'What it was let through under has changed')
}

const isRollback = ({ topic }: Job) => topic === CHANGES.rollback

/** A way back leads to what was active before, and to nothing else: rules that let it through had that in mind. */
async function notBefore(
  world: World,
  { tenant, snapshot }: Gate,
  asked: { snapshot: string } | null,
): Promise<string | null> {
  const before = snapshot === null ? null : await snapshotBefore(world.db, tenant, snapshot)
  return before !== null && before.digest === asked?.snapshot ? null : 'It is not what was active before'
}

async function unreadable(world: World, { tenant, digest }: SnapshotRow): Promise<string | null> {
  return world.policies.compiled(tenant, digest).then(
    () => null,
    (error: Error) => error.message,
  )
}

async function succeed(
  world: World,
  job: Job,
  lease: Lease,
  snapshot: SnapshotRow,
  gate: Gate,
): Promise<'ok' | Conflict> {
  const now = world.clock.now()
  const { tenant } = job
  const { digest, source } = snapshot
  const result = { snapshot: digest, before: gate.snapshot, activated_at: now }
  const kept = await world.screener.keep(job, 'result', result, await outputRules(world, job), now)
  const { verdict, findings, payload } = kept
  const approval = job.approval_id === null ? null : await getApproval(world.db, tenant, job.approval_id)
  const yes = approval?.answers.filter(({ answer }) => answer === 'approve') ?? []
  const activated = jobFact('policy.activated', job, now, CHANGER, {
    ...aboutSnapshot(snapshot),
    before: gate.snapshot,
    source,
    requested_by: job.requested_by,
    ...(approval === null ? {} : { approval_id: approval.approval_id, approved_by: joined(yes.map(({ by }) => by)) }),
  })
  const report: Report = { outcome: 'succeeded', verdict, findings, result_ptr: payload.ptr, usage: NO_USAGE }
  return commit(world, job, lease, report, {
    payloads: [payload],
    activations: [{ tenant, digest, replaced: isRollback(job) ? null : gate.snapshot, epoch: gate.epoch + 1, at: now }],
    facts: [activated],
  })
}

async function fail(world: World, job: Job, lease: Lease, kind: 'transient' | 'terminal', code: string, why: string) {
  const report: Report = { outcome: 'failed', class: kind, code, message: why, usage: NO_USAGE }
  await commit(world, job, lease, report, { payloads: [], activations: [], facts: [] })
}

async function commit(
  world: World,
  job: Job,
  lease: Lease,
  report: Report,
  { facts, ...rows }: { payloads: PayloadRow[]; activations: NonNullable<Rows['activations']>; facts: Fact[] },
): Promise<'ok' | Conflict> {
  const now = world.clock.now()
  const ended = settle(job, lease, [], report, now, CHANGER, world.ids.fraction())
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate: null,
    alone: [job.job_id, lease.lease_id],
    rows: { ...rows, updateJobs: [ended.job], updateLeases: [ended.lease] },
    spends: releases(job.tenant, ended.released, now),
    facts: [...facts, ...ended.facts],
  })
  return receipt.ok ? 'ok' : receipt.why
}
