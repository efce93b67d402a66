import type { Decision, Door, Standing } from '../core/door.js'
import type { Claim, Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Db } from '../platform/db/seam.js'

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

const GET = 'SELECT * FROM decisions WHERE tenant = $1 AND decision_id = $2'
const OF_JOB = 'SELECT * FROM decisions WHERE tenant = $1 AND job_id = $2 ORDER BY at, decision_id'

export async function getDecision(db: Db, tenant: string, decision_id: string): Promise<DecisionRow | null> {
  return (await db.query<DecisionRow>(GET, [tenant, decision_id]))[0] ?? null
}

export function decisionsOfJob(db: Db, tenant: string, job_id: string): Promise<DecisionRow[]> {
  return db.query<DecisionRow>(OF_JOB, [tenant, job_id])
}
