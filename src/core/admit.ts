import type { Accepted, SubmitJob } from '../contract/jobs.js'
import type { Approval, Lacking } from './approval.js'
import { type Fact, joined } from './audit.js'
import type { Decision, Standing } from './door.js'
import { jobFact } from './facts.js'
import { advance, NOBODY, type People } from './flow.js'
import { birth, type Claim, type Job } from './job.js'
import type { Json } from './json.js'
import type { Compensation } from './rollout/compensation.js'

/** A submitted body as a claim: one shape, nothing missing, tags in one order, so that hashing and matching agree. */
export function claimFrom(by: Pick<Claim, 'tenant' | 'agent' | 'agent_version' | 'team'>, body: SubmitJob): Claim {
  return {
    tenant: by.tenant,
    agent: by.agent,
    team: by.team,
    agent_version: by.agent_version,
    topic: body.topic,
    labels: body.labels ?? {},
    risk_tags: [...(body.risk_tags ?? [])].sort(),
    environment: body.environment ?? null,
    action_type: body.action_type ?? null,
    capability: body.capability ?? null,
    action: body.action ?? null,
    workflow: body.workflow ?? null,
    input: (body.input ?? null) as Json,
    context: (body.context ?? null) as Json,
    timeout_ms: body.timeout_ms ?? null,
    max_attempts: body.max_attempts ?? null,
    not_before: body.not_before ?? null,
  }
}

/** Ids and places the shell made for a new job. */
export interface NewJob {
  job_id: string
  run_id: string
  decision_id: string
  approval_id: string
  requested_by: string
  priority: number
  input_ptr: string | null
  context_ptr: string | null
  /** Salted hash of the input, for the log. */
  input_hash: string | null
  revises?: string | undefined
  people?: People
  /** Who wants it, where it is asked for in another's name: they do not answer for it. */
  raised_by?: string | null
}

/** What the plane asks for in an agent's name: no rollout draws it, and what it is for is written in the commit that makes it. */
export interface OnBehalf {
  /** Owner team of the agent. */
  team: string | null
  /** The person who wants it. */
  raised_by: string | null
  /** Whose standing grants do not answer for it. */
  barred: readonly string[]
  /** What no other step in the same batch may change. */
  alone: string
  beside(answer: Accepted, now: number): { compensations: Compensation[]; facts: Fact[] }
}

/** Which rollout's numbers it counts for: work that cannot be compared counts for none. */
function comparedAs(drawn: Decision['drawn']): Pick<Job, 'rollout_id' | 'variant' | 'serves'> {
  if (drawn?.variant !== 'candidate' && drawn?.variant !== 'control')
    return { rollout_id: null, variant: null, serves: null }
  const { rollout_id, variant, serves } = drawn
  return { rollout_id, variant, serves }
}

/** What the door's yes, or its question, makes of a claim: a queued job, or a parked one with its approval. */
export function admit(
  claim: Claim,
  decision: Decision,
  standing: Standing,
  made: NewJob,
): { job: Job; approval: Approval | null; facts: Fact[] } {
  const now = standing.now
  const { job_class } = decision.evaluation
  const parked = decision.outcome === 'park'
  const due_at = Math.max(now, claim.not_before ?? 0)
  const job: Job = {
    tenant: claim.tenant,
    job_id: made.job_id,
    version: 1,
    run_id: made.run_id,
    workflow: claim.workflow,
    agent: claim.agent,
    agent_version: claim.agent_version,
    team: claim.team,
    requested_by: made.requested_by,
    topic: claim.topic,
    labels: claim.labels,
    risk_tags: claim.risk_tags,
    environment: claim.environment,
    action_type: claim.action_type,
    capability: claim.capability,
    action: claim.action,
    asked_timeout_ms: claim.timeout_ms,
    asked_attempts: claim.max_attempts,
    not_before: claim.not_before,
    priority: made.priority,
    revises: made.revises ?? null,
    ...comparedAs(decision.drawn),
    input_ptr: made.input_ptr,
    context_ptr: made.context_ptr,
    job_hash: decision.job_hash,
    created_at: now,
    status: parked ? 'pending_approval' : 'queued',
    status_reason: null,
    attempt: 0,
    budget_from: 0,
    ...terms(claim, decision),
    due_at,
    queue_deadline: parked ? null : due_at + job_class.queue_timeout_ms,
    ...verdictOf(decision, made.decision_id),
    approval_id: parked ? made.approval_id : null,
    edits: [],
    held_limits: [],
    lease_id: null,
    cancel_requested: false,
    verdict: null,
    findings: null,
    result_ptr: null,
    released_by: null,
    error_class: null,
    error_code: null,
    error_message: null,
    tokens: null,
    cost: null,
    owner: job_class.owner,
    respond_within_ms: job_class.respond_within_ms,
    respond_by: null,
    reminded_at: null,
    replayed_by: made.raised_by ?? null,
    asked_at: parked ? now : null,
    asked_ms: 0,
    doubts: 0,
    updated_at: now,
    finished_at: null,
  }
  const submitted = jobFact('job.submitted', job, now, made.requested_by, {
    agent: job.agent,
    ...birth(job),
    job_hash: job.job_hash,
    rules: joined(job.rules),
    reason: job.reason,
    ...(made.input_hash === null ? {} : { input_hash: made.input_hash }),
    ...(decision.granted_by === null ? {} : { granted_by: decision.granted_by }),
  })
  if (!parked) return { job, approval: null, facts: [submitted] }
  const approval = ask(job, decision, made, now)
  return { job, approval, facts: [submitted, ...asked(approval, job, now)] }
}

/** The effective budget: the claim may only shorten what class and constraints allow. */
export function terms(
  claim: Pick<Claim, 'timeout_ms' | 'max_attempts'>,
  decision: Decision,
): Pick<Job, 'timeout_ms' | 'max_attempts' | 'heartbeat_ms' | 'queue_timeout_ms' | 'idempotent'> {
  const { job_class, constraints } = decision.evaluation
  const bound = typeof constraints.timeout_ms === 'number' ? constraints.timeout_ms : Number.POSITIVE_INFINITY
  const timeout_ms = Math.min(claim.timeout_ms ?? Number.POSITIVE_INFINITY, job_class.timeout_ms, bound)
  return {
    timeout_ms,
    max_attempts: Math.min(claim.max_attempts ?? job_class.attempts, job_class.attempts),
    heartbeat_ms: Math.min(job_class.heartbeat_ms, Math.max(50, Math.floor(timeout_ms / 2))),
    queue_timeout_ms: job_class.queue_timeout_ms,
    idempotent: job_class.idempotent,
  }
}

/** The columns that say what the newest decision about a job was. */
export function verdictOf(
  decision: Decision,
  decision_id: string,
): Pick<
  Job,
  | 'decision'
  | 'decision_id'
  | 'reason'
  | 'rules'
  | 'constraints'
  | 'enforcers'
  | 'snapshot'
  | 'high_risk'
  | 'effective'
  | 'limit_keys'
  | 'grant_hash'
  | 'granted_by'
> {
  return {
    decision: decision.decision,
    decision_id,
    reason: decision.reason,
    rules: decision.rules,
    constraints: decision.evaluation.constraints as Record<string, Json>,
    enforcers: decision.enforcers,
    snapshot: decision.snapshot,
    high_risk: decision.evaluation.high_risk,
    effective: decision.evaluation.effective,
    limit_keys: decision.evaluation.limits.filter((l) => l.concurrent !== undefined).map((l) => l.key),
    grant_hash: decision.grant_hash,
    granted_by: decision.granted_by,
  }
}

/**
 * The approval a parked decision asks for, put to whom its flows name. Its hashes are there, because the decision is REQUIRE_APPROVAL.
 */
export function ask(
  job: Pick<Job, 'tenant' | 'job_id' | 'requested_by' | 'replayed_by' | 'agent' | 'topic'>,
  decision: Decision,
  made: { approval_id: string; decision_id: string; people?: People },
  now: number,
): Approval {
  if (decision.grant_hash === null || decision.bound_hash === null)
    throw new Error('an approval needs a decision that requires one')
  const question: Approval = {
    tenant: job.tenant,
    approval_id: made.approval_id,
    version: 1,
    job_id: job.job_id,
    status: 'pending',
    requested_by: job.requested_by,
    raised_by: job.replayed_by ?? job.requested_by,
    agent: job.agent,
    topic: job.topic,
    requested_at: now,
    expires_at: now,
    valid_until: null,
    decision_id: made.decision_id,
    reason: decision.reason,
    rules: decision.rules,
    constraints: decision.evaluation.constraints as Record<string, Json>,
    specs: decision.evaluation.approval,
    snapshot: decision.snapshot,
    job_hash: decision.job_hash,
    grant_hash: decision.grant_hash,
    bound_hash: decision.bound_hash,
    answers: [],
    asked_of: [],
    escalations: [],
    reminders: [],
    edits: [],
    due_at: null,
  }
  return advance(question, made.people ?? NOBODY, now).approval
}

export function asked(approval: Approval, job: Job, at: number): Fact[] {
  const requested = jobFact('approval.requested', job, at, approval.raised_by, {
    approval_id: approval.approval_id,
    grant_hash: approval.grant_hash,
    snapshot: approval.snapshot,
    rules: joined(approval.rules),
    expires_at: approval.expires_at,
    ...(approval.asked_of.length > 0 ? { asked_of: joined(approval.asked_of) } : {}),
  })
  return [requested, ...unanswerableFacts(approval, approval.lacking ?? [], job, at, 'system:door')]
}

/** That nobody can complete these levels: said once of each, so that a question does not wait in silence for nobody. */
export function unanswerableFacts(
  { approval_id, asked_of, expires_at }: Approval,
  levels: readonly Lacking[],
  job: Job,
  at: number,
  actor: string,
): Fact[] {
  return levels.map(({ spec, level }) =>
    jobFact('approval.unanswerable', job, at, actor, {
      approval_id,
      flow: spec,
      level,
      asked_of: joined(asked_of),
      expires_at,
    }),
  )
}
