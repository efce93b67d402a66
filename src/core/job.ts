import type { Json } from './json.js'
import type { DataUse } from './policy/data-use.js'

/**
 * What an agent says it wants to do, after validation and before any server value is applied.
 * Every field is a claim: the door derives and overrides labels, tags, environment and action_type (job classes).
 * `null` means the caller left it out; a key is never missing, so hashing and matching see one shape.
 */
export interface Claim {
  tenant: string
  /** Principal the action is done as, e.g. `agent:support-bot`. */
  agent: string
  agent_version: string | null
  /** Owner team of that principal, from the server's records, never from the body. */
  team: string | null
  topic: string
  labels: Record<string, string>
  risk_tags: string[]
  environment: string | null
  action_type: string | null
  capability: string | null
  action: string | null
  workflow: string | null
  input: Json
  context: Json
  /** ms for one attempt, as asked; the door may only shorten it. */
  timeout_ms: number | null
  max_attempts: number | null
  /** Epoch ms before which no worker may have it. */
  not_before: number | null
}

export const JOB_STATUSES = [
  'pending_approval',
  'queued',
  'running',
  'retrying',
  'ambiguous',
  'succeeded',
  'quarantined',
  'rejected',
  'expired',
  'cancelled',
  'dead_letter',
  'discarded',
  'denied',
] as const
export type JobStatus = (typeof JOB_STATUSES)[number]

/** Everything that can happen to a job that exists. Submit is its birth and has no prior state. */
export const JOB_EVENTS = [
  'approve', // a person said yes and the door did not say no
  'reject',
  'approval_expired',
  'approval_voided', // a snapshot change made the grant void: parked again
  'lease', // a worker got it
  'park', // the second door wants an approval that is missing or void
  'deny', // the second door said no
  'succeed',
  'quarantine', // the output screen held the result back
  'retry', // transient failure with attempts left
  'exhaust', // terminal failure, or transient with none left
  'doubt', // the lease ended with an effect begun and not committed
  'cancel',
  'queue_timeout',
  'settle_succeeded', // a person: the effect happened and the job is done
  'settle_cancelled', // the last doubt is gone and somebody had asked to cancel: the rest is not run
  'requeue', // a person: the effect is settled, run the rest
  'replay', // a dead letter gets a new attempt budget
  'replay_park', // ... and the door wants a fresh approval first
  'discard',
  'release', // a quarantined result is let out by a person
] as const
export type JobEvent = (typeof JOB_EVENTS)[number]

/**
 * The only state table. Total over status × event: what is not listed is illegal and answers 409 `illegal_transition`.
 * The CHECK constraint on jobs.status and the diagram in ARCHITECTURE.md are generated from it, so neither can drift.
 */
export const TRANSITIONS: Record<JobStatus, Partial<Record<JobEvent, JobStatus>>> = {
  pending_approval: {
    approve: 'queued',
    reject: 'rejected',
    approval_expired: 'expired',
    approval_voided: 'pending_approval',
    deny: 'denied',
    cancel: 'cancelled',
  },
  queued: { lease: 'running', park: 'pending_approval', deny: 'denied', cancel: 'cancelled', queue_timeout: 'expired' },
  retrying: {
    lease: 'running',
    park: 'pending_approval',
    deny: 'denied',
    cancel: 'cancelled',
    queue_timeout: 'expired',
  },
  running: {
    succeed: 'succeeded',
    quarantine: 'quarantined',
    retry: 'retrying',
    exhaust: 'dead_letter',
    doubt: 'ambiguous',
    cancel: 'cancelled',
  },
  ambiguous: {
    settle_succeeded: 'succeeded',
    settle_cancelled: 'cancelled',
    quarantine: 'quarantined',
    requeue: 'retrying',
    exhaust: 'dead_letter',
  },
  quarantined: { release: 'succeeded', discard: 'discarded' },
  dead_letter: { replay: 'queued', replay_park: 'pending_approval', discard: 'discarded' },
  succeeded: {},
  rejected: {},
  expired: {},
  cancelled: {},
  discarded: {},
  denied: {},
}

/** The status after `event`, or null where the event is illegal in this status. */
export function transition(status: JobStatus, event: JobEvent): JobStatus | null {
  return TRANSITIONS[status][event] ?? null
}

/** Statuses that nothing but a person's deliberate act (or nothing at all) ever leaves; a worker never gets these. */
export function isFinished(status: JobStatus): boolean {
  return !['pending_approval', 'queued', 'retrying', 'running', 'ambiguous'].includes(status)
}

/** What the server holds true about a job after set and derive, whatever the agent claimed. */
export type View = Pick<Claim, 'labels' | 'risk_tags' | 'environment' | 'action_type'> & { data?: DataUse[] }

/**
 * Of a job in a rollout. `control`: the phase admits it, and the draw left it to the stable version; what the candidate's work is
 * compared with.
 */
export type JobVariant = 'candidate' | 'control'

/** A job as it stands in its row: the claim, and the lifecycle that its audit facts fold to. Instants are epoch ms. */
export interface Job {
  tenant: string
  job_id: string
  version: number
  run_id: string
  workflow: string | null
  agent: string
  agent_version: string | null
  team: string | null
  requested_by: string
  topic: string
  labels: Record<string, string>
  risk_tags: string[]
  environment: string | null
  action_type: string | null
  capability: string | null
  action: string | null
  asked_timeout_ms: number | null
  asked_attempts: number | null
  not_before: number | null
  priority: number
  /** The job it says it takes the place of; shown, and nothing else. */
  revises: string | null
  /** The rollout whose numbers it counts for, and which side of the comparison it is; both null where it is in none. */
  rollout_id: string | null
  variant: JobVariant | null
  /** Version that its worker must declare to serve. */
  serves: string | null
  input_ptr: string | null
  context_ptr: string | null
  job_hash: string
  created_at: number
  status: JobStatus
  status_reason: string | null
  attempt: number
  budget_from: number
  max_attempts: number
  timeout_ms: number
  heartbeat_ms: number
  queue_timeout_ms: number
  idempotent: boolean
  due_at: number
  queue_deadline: number | null
  decision: string
  decision_id: string
  reason: string
  rules: string[]
  constraints: Record<string, Json>
  enforcers: string[]
  snapshot: string
  high_risk: boolean
  effective: View
  grant_hash: string | null
  approval_id: string | null
  /** The grant whose use it took, where that let it through instead of an answer. */
  granted_by: string | null
  /** Inputs that reviewers put in the place of what was submitted, oldest first: the last one is what `input_ptr` and `job_hash` are of. */
  edits: { input_ptr: string; job_hash: string }[]
  limit_keys: string[]
  held_limits: string[]
  lease_id: string | null
  cancel_requested: boolean
  verdict: 'ALLOW' | 'REDACT' | 'QUARANTINE' | null
  findings: Json
  result_ptr: string | null
  released_by: string | null
  error_class: string | null
  error_code: string | null
  error_message: string | null
  tokens: number | null
  cost: number | null
  owner: string | null
  respond_within_ms: number | null
  respond_by: number | null
  /** When it was said that nobody had answered for it by then. */
  reminded_at: number | null
  /** Who last had it run again as a dead letter: what is asked about it since, they raised. */
  replayed_by: string | null
  /** Since when it waits for people, and ms that it has waited for them before. */
  asked_at: number | null
  asked_ms: number
  /** How often it fell into doubt. */
  doubts: number
  updated_at: number
  finished_at: number | null
}

/** Columns that audit facts carry: folding a job's facts over these gives its row back. No text an agent or worker wrote. */
export const LIFECYCLE = [
  'status',
  'status_reason',
  'attempt',
  'budget_from',
  'due_at',
  'decision',
  'decision_id',
  'snapshot',
  'high_risk',
  'grant_hash',
  'approval_id',
  'lease_id',
  'cancel_requested',
  'verdict',
  'released_by',
  'error_class',
  'error_code',
  'finished_at',
] as const satisfies readonly (keyof Job)[]

/** The claim a stored job was submitted with, for asking the door again. `payload` holds what its pointers point at. */
export function claimOf(job: Job, payload: { input: Json; context: Json }): Claim {
  return {
    tenant: job.tenant,
    agent: job.agent,
    agent_version: job.agent_version,
    team: job.team,
    topic: job.topic,
    labels: job.labels,
    risk_tags: job.risk_tags,
    environment: job.environment,
    action_type: job.action_type,
    capability: job.capability,
    action: job.action,
    workflow: job.workflow,
    input: payload.input,
    context: payload.context,
    timeout_ms: job.asked_timeout_ms,
    max_attempts: job.asked_attempts,
    not_before: job.not_before,
  }
}

/** A decision that made a job or a lease stands in that row and has its id in other letters, so it is found without a row of its own. */
export function decisionIdOf(id: string): string {
  return `dec_${id.slice(id.indexOf('_') + 1)}`
}

/** The state table says no. The edge answers 409 `illegal_transition` with the status the job is in. */
export class IllegalTransition extends Error {
  readonly status: JobStatus
  readonly event: JobEvent
  constructor(status: JobStatus, event: JobEvent) {
    super(`A job that is ${status} takes no ${event}`)
    this.name = 'IllegalTransition'
    this.status = status
    this.event = event
  }
}

export interface Moved {
  job: Job
  /** The lifecycle columns this step changed, for its audit fact. */
  changed: Record<string, string | number | boolean | null>
  /** Concurrency limits given back, because the job left `running`. */
  released: string[]
}

/**
 * The only way a stored job changes state. Version, lease, held limits and finish time follow from the transition, so no
 * use case can forget one of them.
 */
export function move(job: Job, event: JobEvent, at: number, patch: Partial<Job> = {}): Moved {
  const status = transition(job.status, event)
  if (status === null) throw new IllegalTransition(job.status, event)
  const leaves = job.status === 'running' && status !== 'running'
  const next: Job = {
    ...job,
    status_reason: null,
    ...patch,
    status,
    version: job.version + 1,
    updated_at: at,
    finished_at: isFinished(status) ? at : null,
  }
  if (leaves) {
    next.lease_id = null
    next.held_limits = []
  }
  if (status === 'ambiguous') next.doubts = job.doubts + 1
  if (status === 'pending_approval') next.asked_at = job.asked_at ?? at
  else if (job.status === 'pending_approval') {
    next.asked_ms = job.asked_ms + Math.max(0, at - (job.asked_at ?? at))
    next.asked_at = null
  }
  // A cancel that was asked is owed until the job has left: through the doubt about an effect too.
  if (status !== 'running' && status !== 'ambiguous') next.cancel_requested = false
  return { job: next, changed: changes(job, next), released: leaves ? job.held_limits : [] }
}

/** A change that is no transition: cancel requested, an effect begun. The version still moves, so a stale step loses. */
export function touch(job: Job, at: number, patch: Partial<Job> = {}): Moved {
  const next: Job = { ...job, ...patch, status: job.status, version: job.version + 1, updated_at: at }
  return { job: next, changed: changes(job, next), released: [] }
}

/** What a fact of a new job carries: every lifecycle column. */
export function birth(job: Job): Pick<Job, 'version' | (typeof LIFECYCLE)[number]> {
  return {
    version: job.version,
    status: job.status,
    status_reason: job.status_reason,
    attempt: job.attempt,
    budget_from: job.budget_from,
    due_at: job.due_at,
    decision: job.decision,
    decision_id: job.decision_id,
    snapshot: job.snapshot,
    high_risk: job.high_risk,
    grant_hash: job.grant_hash,
    approval_id: job.approval_id,
    lease_id: job.lease_id,
    cancel_requested: job.cancel_requested,
    verdict: job.verdict,
    released_by: job.released_by,
    error_class: job.error_class,
    error_code: job.error_code,
    finished_at: job.finished_at,
  }
}

function changes(before: Job, after: Job): Record<string, string | number | boolean | null> {
  const changed: Record<string, string | number | boolean | null> = { version: after.version }
  for (const column of LIFECYCLE) if (before[column] !== after[column]) changed[column] = after[column]
  return changed
}

/**
 * Lifecycle columns from a job's facts. Only facts that carry the row's version changed it; others name a lease or a verdict
 * of their own. The version orders them, because two writers' tiles may stand in the log in another order.
 */
export function fold(facts: readonly Record<string, unknown>[]): Record<string, unknown> {
  const row: Record<string, unknown> = {}
  const steps = facts
    .filter((fact) => typeof fact.version === 'number')
    .sort((a, b) => Number(a.version) - Number(b.version))
  for (const fact of steps) for (const column of LIFECYCLE) if (column in fact) row[column] = fact[column]
  return row
}
