import type { Json } from './json.js'

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
  'settle_succeeded', // a person or reconcile hook: the effect happened and the job is done
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
  retrying: { lease: 'running', park: 'pending_approval', deny: 'denied', cancel: 'cancelled', queue_timeout: 'expired' },
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
    quarantine: 'quarantined',
    requeue: 'retrying',
    exhaust: 'dead_letter',
    cancel: 'cancelled',
  },
  quarantined: { release: 'succeeded', discard: 'discarded' },
  dead_letter: { replay: 'queued', replay_park: 'pending_approval', discard: 'discarded', deny: 'denied' },
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
