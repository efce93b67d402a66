import type { Decision, Door, Standing } from '../core/door.js'
import { type Claim, decisionIdOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Db } from '../platform/db/seam.js'
import { getJobRow, type JobRow, type Verdict } from './jobs.js'
import { getLeaseRow, type LeaseRow } from './leases.js'

export interface DecisionRow {
  tenant: string
  decision_id: string
  door: Door
  job_id: string | null
  at: number
  agent: string
  topic: string
  decision: string
  reason: string
  rules: string[]
  constraints: Record<string, Json>
  high_risk: boolean
  snapshot: string
  job_hash: string
  standing: Standing
  /** Without input and context, which are payloads; null where a job row holds the claim. */
  claim: Omit<Claim, 'input' | 'context'> | null
  input_ptr: string | null
  context_ptr: string | null
  /** Of a denial: the run it was asked in, which no job says. */
  run_id: string | null
}

/** The row of a decision about a stored job; a denial at the first door adds the claim, which no job row holds. */
export function decisionRow(claim: Claim, decision: Decision, standing: Standing, decision_id: string): DecisionRow {
  return {
    tenant: claim.tenant,
    decision_id,
    door: standing.door,
    job_id: null,
    at: standing.now,
    agent: claim.agent,
    topic: claim.topic,
    decision: decision.decision,
    reason: decision.reason,
    rules: decision.rules,
    constraints: decision.evaluation.constraints as Record<string, Json>,
    high_risk: decision.evaluation.high_risk,
    snapshot: decision.snapshot,
    job_hash: decision.job_hash,
    standing,
    claim: null,
    input_ptr: null,
    context_ptr: null,
    run_id: null,
  }
}

/** The same, of a job that is stored: its row holds the claim and its pointers. */
export function decisionAbout(
  job: Pick<Job, 'job_id' | 'input_ptr' | 'context_ptr'>,
  claim: Claim,
  decision: Decision,
  standing: Standing,
  decision_id: string,
): DecisionRow {
  const { job_id, input_ptr, context_ptr } = job
  return { ...decisionRow(claim, decision, standing, decision_id), job_id, input_ptr, context_ptr }
}

/** What a row of a job or a lease keeps of the decision that made it. */
export function verdictOf(row: DecisionRow): Verdict {
  const { decision, reason, rules, constraints, high_risk, snapshot, standing } = row
  return { decision, reason, rules, constraints, high_risk, snapshot, standing }
}

export const DECISION_COLUMNS = `tenant, decision_id, door, job_id, at, agent, topic, decision, reason, rules, constraints, high_risk, snapshot, job_hash,
  standing, claim, input_ptr, context_ptr, run_id`
const GET = `SELECT ${DECISION_COLUMNS} FROM decisions WHERE tenant = $1 AND decision_id = $2`

export async function getDecision(db: Db, tenant: string, decision_id: string): Promise<DecisionRow | null> {
  const own = (await db.query<DecisionRow>(GET, [tenant, decision_id]))[0]
  if (own !== undefined) return own
  const id = decision_id.slice('dec_'.length)
  const job = await getJobRow(db, tenant, `job_${id}`)
  if (job !== null) return decisionOfJob(job)
  const lease = await getLeaseRow(db, tenant, `lease_${id}`)
  const leased = lease === null ? null : await getJobRow(db, tenant, lease.job_id)
  return lease === null || leased === null ? null : decisionOfLease(lease, leased)
}

/** The decision of the first door, which stands with its job. */
export function decisionOfJob(row: JobRow): DecisionRow {
  const { tenant, job_id, created_at: at, agent, topic, claim } = row
  return {
    ...about(row),
    tenant,
    job_id,
    at,
    agent,
    topic,
    ...claim.first,
    door: 'submit',
    decision_id: decisionIdOf(job_id),
  }
}

/** The decision of the second door, which stands with the lease it granted. */
export function decisionOfLease(row: LeaseRow, job: JobRow): DecisionRow {
  const { tenant, job_id, granted_at: at, lease_id } = row
  const { agent, topic } = job
  return {
    ...about(job),
    // Edited before it was first leased, or never: a lease is of the last edit.
    input_ptr: job.state.edits?.at(-1)?.input_ptr ?? job.claim.input_ptr ?? null,
    ...{ tenant, job_id, at, agent, topic },
    ...row.made.decided,
    door: 'dispatch',
    decision_id: decisionIdOf(lease_id),
  }
}

function about({ claim }: JobRow): Pick<DecisionRow, 'job_hash' | 'claim' | 'input_ptr' | 'context_ptr' | 'run_id'> {
  const { job_hash = '', input_ptr = null, context_ptr = null } = claim
  return { job_hash, claim: null, input_ptr, context_ptr, run_id: null }
}
