import { type Approval, isSatisfied } from '../src/core/approval.js'
import { recordsOf } from '../src/core/audit/export.js'
import { tileLines } from '../src/core/audit/tile.js'
import { verifyLog } from '../src/core/audit/verify.js'
import { canonical } from '../src/core/canonical.js'
import { fold, isFinished, type Job, LIFECYCLE } from '../src/core/job.js'
import type { Json } from '../src/core/json.js'
import type { Effect, Lease } from '../src/core/lease.js'
import { integrate } from '../src/journey/integrate.js'
import type { StoredTile } from '../src/store/audit.js'
import { auditSource } from '../src/store/audit-source.js'
import { type DecisionRow, decisionRow } from '../src/store/decisions.js'
import { reproduce } from '../src/store/remade.js'
import { type TestPlane, tileName } from './plane.js'
import { tableOf } from './tables.js'

/** What must hold of a tenant whatever happened to it. Each gives one sentence for everything it finds wrong. */
export type Checker = (plane: TestPlane, tenant: string) => Promise<string[]>

const rowsOf = <Row>(plane: TestPlane, table: string, tenant: string) => tableOf<Row>(plane.db, table, tenant)

export type LoggedFact = Record<string, unknown>

/** Facts in the order they were committed, as the store saw it: the clocks of several nodes cannot say it. */
export async function factsOf(plane: TestPlane, tenant: string): Promise<LoggedFact[]> {
  const { committed } = plane.db
  const place = (tile: StoredTile) => committed.get(tileName(tile)) ?? Number.POSITIVE_INFINITY
  const tiles = (await rowsOf<StoredTile>(plane, 'audit_tiles', tenant)).sort((a, b) => place(a) - place(b))
  return tiles.flatMap((tile) => tileLines(tile).map((line) => JSON.parse(line) as Record<string, unknown>))
}

export const auditVerifies: Checker = async (plane, tenant) => {
  await integrate(plane.world, plane.key)
  const source = await auditSource(plane.db, tenant, plane.key.publicKey, plane.clock.now())
  const report = await verifyLog(recordsOf(source), { tenant, keys: [plane.key.publicKey] })
  return report.ok ? [] : report.faults.map((fault) => `audit: ${JSON.stringify(fault)}`)
}

export const factsFoldToRows: Checker = async (plane, tenant) => {
  const facts = await factsOf(plane, tenant)
  const wrong: string[] = []
  for (const job of await rowsOf<Job>(plane, 'jobs', tenant)) {
    const row = fold(facts.filter((fact) => fact.job_id === job.job_id))
    for (const column of LIFECYCLE)
      if (row[column] !== job[column])
        wrong.push(`fold: ${job.job_id} has ${column} ${job[column]}, its facts say ${row[column]}`)
  }
  return wrong
}

export const decisionsReproduce: Checker = async (plane, tenant) => {
  const wrong: string[] = []
  for (const row of await rowsOf<DecisionRow>(plane, 'decisions', tenant)) {
    const again = await reproduce(plane.world, row)
    if (again === null) {
      wrong.push(`decision: ${row.decision_id} cannot be made again`)
      continue
    }
    const { job_id, claim, input_ptr, context_ptr, run_id } = row
    const made = {
      ...decisionRow(again.claim, again.decision, row.standing, row.decision_id),
      job_id,
      claim,
      input_ptr,
      context_ptr,
      run_id,
    }
    if (canonical(made as unknown as Json) !== canonical(row as unknown as Json))
      wrong.push(`decision: ${row.decision_id} made again is another`)
  }
  return wrong
}

/** Every lease came out of a decision that allowed, or that asked and was answered, under the snapshot active at that moment. */
export const leasesWereAllowed: Checker = async (plane, tenant) => {
  const decisions = new Map(
    (await rowsOf<DecisionRow>(plane, 'decisions', tenant)).map((row) => [row.decision_id, row]),
  )
  const approvals = new Map((await rowsOf<Approval>(plane, 'approvals', tenant)).map((row) => [row.approval_id, row]))
  const leases = await rowsOf<Lease>(plane, 'leases', tenant)
  const wrong = leases.flatMap((lease) => {
    const fault = notAllowed(lease, decisions.get(lease.decision_id), approvals)
    return fault === null ? [] : [`lease: ${lease.lease_id} ${fault}`]
  })
  let active: unknown = null
  const candidates = new Map<unknown, unknown>()
  const beside = new Map<unknown, unknown>()
  const leased = new Set<unknown>()
  const answered = new Set<unknown>()
  const grants = new Set<unknown>()
  for (const fact of await factsOf(plane, tenant)) {
    if (fact.kind === 'policy.activated') active = fact.snapshot
    if (fact.kind === 'rollout.declared' && fact.subject_kind === 'policy')
      candidates.set(fact.rollout_id, fact.candidate)
    // The candidate of a policy rollout decides about the work that was drawn for it, as long as it runs.
    if (fact.kind === 'rollout.started') beside.set(fact.rollout_id, candidates.get(fact.rollout_id))
    if (fact.kind === 'rollout.rolled_back' || fact.kind === 'rollout.promoted') beside.delete(fact.rollout_id)
    if (fact.kind === 'approval.approved' && fact.complete === true) answered.add(fact.approval_id)
    if (fact.kind === 'approval.voided') answered.delete(fact.approval_id)
    if (fact.kind === 'grant.created') grants.add(fact.grant_id)
    if (fact.kind === 'grant.revoked') grants.delete(fact.grant_id)
    if (fact.kind !== 'job.leased') continue
    leased.add(fact.lease_id)
    if (fact.granted_by !== undefined && !answered.has(fact.granted_by) && !grants.has(fact.granted_by))
      wrong.push(`lease: ${fact.lease_id} was granted by an approval that nobody had answered, or that was void`)
    const decided = decisions.get(String(fact.decision_id))?.snapshot
    const isDrawn = fact.variant === 'candidate' && decided === beside.get(fact.rollout_id)
    if (decided !== active && !isDrawn)
      wrong.push(`lease: ${fact.lease_id} was decided under a snapshot that was not active`)
  }
  for (const { lease_id } of leases)
    if (!leased.has(lease_id)) wrong.push(`lease: ${lease_id} stands in no job.leased of the log`)
  return wrong
}

function notAllowed(lease: Lease, decision: DecisionRow | undefined, approvals: Map<string, Approval>): string | null {
  if (decision === undefined || decision.door !== 'dispatch' || decision.job_id !== lease.job_id)
    return 'has no decision of the second door'
  if (decision.decision === 'ALLOW' || decision.decision === 'ALLOW_WITH_CONSTRAINTS') return null
  if (decision.decision !== 'REQUIRE_APPROVAL') return `was decided ${decision.decision}`
  const grant = decision.standing.grant
  const scoped = decision.standing.grants?.[0]
  if (grant === null && scoped !== undefined)
    return scoped.expires_at > lease.granted_at && !decision.high_risk ? null : 'was granted beforehand, and not so'
  const approval = grant === null ? undefined : approvals.get(grant.approval_id)
  // Void is what an approval becomes when it is overtaken later; whether it was by then, the log says below.
  if (approval === undefined || !['approved', 'void'].includes(approval.status)) return 'has no answered approval'
  if (approval.job_id !== lease.job_id || approval.job_hash !== decision.job_hash) return 'was approved for another job'
  if (!isSatisfied(approval)) return 'was approved by too few'
  if (approval.answers.some((answer) => answer.by === approval.requested_by || answer.by === approval.agent))
    return 'was approved by who asked for it'
  if ((approval.valid_until ?? 0) <= lease.granted_at) return 'was granted after its approval had ended'
  return null
}

export const oneLiveLease: Checker = async (plane, tenant) => {
  const live = (await rowsOf<Lease>(plane, 'leases', tenant)).filter((lease) => lease.ended_at === null)
  const jobs = await rowsOf<Job>(plane, 'jobs', tenant)
  const wrong: string[] = []
  for (const job of jobs) {
    const held = live.filter((lease) => lease.job_id === job.job_id).map((lease) => lease.lease_id)
    const wanted = job.status === 'running' ? [job.lease_id] : []
    if (held.join() !== wanted.join())
      wrong.push(`lease: ${job.job_id} is ${job.status} with lease ${job.lease_id}, live are [${held}]`)
  }
  return wrong
}

export const limitsAreHeld: Checker = async (plane, tenant) => {
  const jobs = await rowsOf<Job>(plane, 'jobs', tenant)
  const limits = await rowsOf<{ key: string; held: number }>(plane, 'limits', tenant)
  const keys = new Set([...limits.map((limit) => limit.key), ...jobs.flatMap((job) => job.held_limits)])
  return [...keys].flatMap((key) => {
    // Uses of a grant are never given back: as many as jobs took one, and no more than there are.
    if (key.startsWith('grant|')) return []
    // Spot checks that are owed are no jobs that run.
    if (key.startsWith('check|')) return []
    const held = limits.find((limit) => limit.key === key)?.held ?? 0
    const running = jobs.filter((job) => job.status === 'running' && job.held_limits.includes(key)).length
    return held === running ? [] : [`limit: ${key} holds ${held}, running are ${running}`]
  })
}

/** No grant was used more often than it says, nor less often than jobs say they took it. */
export const grantsAreHeld: Checker = async (plane, tenant) => {
  const limits = await rowsOf<{ key: string; held: number }>(plane, 'limits', tenant)
  const taken = (await factsOf(plane, tenant)).filter(({ kind }) => kind === 'job.submitted')
  return (await rowsOf<{ grant_id: string; uses: number }>(plane, 'grants', tenant)).flatMap(({ grant_id, uses }) => {
    const held = limits.find(({ key }) => key === `grant|${grant_id}`)?.held ?? 0
    const jobs = taken.filter(({ granted_by }) => granted_by === grant_id).length
    return held === jobs && held <= uses ? [] : [`grant: ${grant_id} of ${uses} uses counts ${held}, jobs took ${jobs}`]
  })
}

/** An effect begun and not settled belongs to a running attempt or to a job that waits for a person. Nothing runs it again. */
export const effectsAreNotLost: Checker = async (plane, tenant) => {
  const jobs = new Map((await rowsOf<Job>(plane, 'jobs', tenant)).map((job) => [job.job_id, job]))
  return (await rowsOf<Effect>(plane, 'effects', tenant)).flatMap((effect) => {
    const job = jobs.get(effect.job_id)
    if (effect.status !== 'begun' || job?.status === 'ambiguous') return []
    if (job?.status === 'running' && job.lease_id === effect.lease_id) return []
    return [`effect: ${effect.job_id}/${effect.effect_key} is open while the job is ${job?.status}`]
  })
}

/** Once time has run out: every job has ended, or waits for a person with a reason that says so. */
export const everyJobEnded: Checker = async (plane, tenant) =>
  (await rowsOf<Job>(plane, 'jobs', tenant)).flatMap((job) => {
    if (!isFinished(job.status) && job.status !== 'ambiguous') return [`end: ${job.job_id} is still ${job.status}`]
    if (job.status !== 'succeeded' && job.status !== 'quarantined' && job.status_reason === null)
      return [`end: ${job.job_id} is ${job.status} without a reason`]
    return []
  })

/** All that hold at any moment; `everyJobEnded` holds only once the clock has run out. */
export const CHECKERS: Checker[] = [
  auditVerifies,
  factsFoldToRows,
  decisionsReproduce,
  leasesWereAllowed,
  oneLiveLease,
  limitsAreHeld,
  grantsAreHeld,
  effectsAreNotLost,
]

export async function violations(plane: TestPlane, tenant: string, checkers: Checker[] = CHECKERS): Promise<string[]> {
  const found: string[] = []
  for (const check of checkers) found.push(...(await check(plane, tenant)))
  return found
}
