import { terms, verdictOf } from './admit.js'
import { type Approval, askedAt } from './approval.js'
import { canonical } from './canonical.js'
import type { Decision } from './door.js'
import type { Claim, Job } from './job.js'
import type { Json, JsonObject } from './json.js'
import { fieldChanges } from './policy/diff.js'

export interface InputChange {
  path: string
  before: Json
  after: Json
}

const isMap = (value: Json): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Leaves that differ, by dotted path; lists are compared whole, and so is an input that is no map. */
export function inputChanges(before: Json, after: Json): InputChange[] {
  if (isMap(before) && isMap(after)) return fieldChanges(before, after)
  return canonical(before) === canonical(after) ? [] : [{ path: '', before, after }]
}

/** A job whose input a reviewer replaced: what it is from now on, beside what its newest decision says. */
export function withInput(job: Job, decision: Decision, input_ptr: string): Job {
  const { job_hash } = decision
  return { ...job, input_ptr, job_hash, edits: [...job.edits, { input_ptr, job_hash }] }
}

/** All that an edit changes of the row. */
export function editedPatch(
  job: Job,
  claim: Claim,
  decision: Decision,
  made: { decision_id: string; input_ptr: string },
): Partial<Job> {
  const { input_ptr, job_hash, edits } = withInput(job, decision, made.input_ptr)
  return { input_ptr, job_hash, edits, ...terms(claim, decision), ...verdictOf(decision, made.decision_id) }
}

/**
 * The question about the edited job, as the door puts it now: nobody has answered it, and its levels begin anew. Rungs that were asked
 * stay asked.
 */
export function askedAnew(
  approval: Approval,
  decision: Decision,
  edit: { by: string; note: string | null; paths: string[]; before: string | null; after: string },
  decision_id: string,
  now: number,
): Approval {
  if (decision.grant_hash === null || decision.bound_hash === null)
    throw new Error('an approval needs a decision that requires one')
  const { evaluation, reason, rules, snapshot, job_hash, grant_hash, bound_hash } = decision
  const voided = approval.answers.map(({ key_id }) => key_id)
  const sameFlow = canonical(evaluation.approval as unknown as Json) === canonical(approval.specs as unknown as Json)
  return {
    ...approval,
    decision_id,
    reason,
    rules,
    constraints: evaluation.constraints as Record<string, Json>,
    specs: evaluation.approval,
    snapshot,
    job_hash,
    grant_hash,
    bound_hash,
    answers: [],
    lacking: null,
    escalations: sameFlow ? approval.escalations : [],
    // One edit at an instant: a level counts from the last one.
    edits: [
      ...approval.edits,
      { ...edit, at: Math.max(now, askedAt(approval)), ...(voided.length > 0 ? { voided } : {}) },
    ],
  }
}
