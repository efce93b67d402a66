import type { JobStatus } from '../job.js'
import type { Json } from '../json.js'
import { isOwn } from '../policy/change.js'

/**
 * `registered`: its turn has not come. `asked`: it is a job, under way or waiting for people. `blocked`: it was refused or failed, and holds
 * up what was done before it, until somebody asks again or says how it was settled. `void`: there is nothing to undo.
 */
export const COMPENSATION_STATUSES = ['registered', 'asked', 'done', 'blocked', 'settled', 'void'] as const
export type CompensationStatus = (typeof COMPENSATION_STATUSES)[number]

/** What undoes an effect: a job, as its worker describes it. */
export interface Undoing {
  topic: string
  input?: Json
  labels?: Record<string, string>
  risk_tags?: string[]
  environment?: string
  action_type?: string
  capability?: string
  action?: string
  timeout_ms?: number
  max_attempts?: number
}

/** Instants are epoch ms. */
export interface Compensation {
  tenant: string
  job_id: string
  effect_key: string
  rollout_id: string
  run_id: string
  agent: string
  version: number
  /** When its effect was committed; before that, when it began. */
  at: number
  /** In the order of commits, as the store counts them; 0 is replaced by the next when it is written. */
  ordinal: number
  topic: string
  /** Where its description is, until that is erased. */
  ptr: string
  status: CompensationStatus
  /** Why it waits, or what it failed by: a code, never a text of a worker's. */
  reason: string | null
  next_at: number | null
  tries: number
  raised_by: string | null
  /** Who does not approve it: who registered it, who took the rollout back, and everybody who ever asked for it again. */
  barred: string[]
  comp_job_id: string | null
  decision_id: string | null
  asked_at: number | null
  ended_at: number | null
  settled_by: string | null
}

/** What a rollback has come to. */
export interface Recovery {
  tenant: string
  rollout_id: string
  version: number
  rolled_back_at: number
  rolled_back_by: string
  /** The first look in a row that said too much; null where a person took it back. */
  detected_from: number | null
  /** Leases of the candidate that ran when it was first looked at. */
  leases: string[]
  refused: number
  leases_ended_at: number | null
  recovered_at: number | null
}

/** Of its description as JSON. An input that is larger belongs elsewhere, with a reference here. */
export const MOST_UNDOING = 32_768

/** Why it cannot be registered, by path; empty where it can. Its schema is looked at before. */
export function undoingFaults({ topic }: Undoing, text: string): { path: string; message: string }[] {
  const faults: { path: string; message: string }[] = []
  // The plane does these itself, and nobody else may have them asked for in its name.
  if (isOwn(topic)) faults.push({ path: '/compensation/topic', message: 'is one of the plane’s own' })
  if (text.length > MOST_UNDOING)
    faults.push({ path: '/compensation', message: `is larger than ${MOST_UNDOING} characters as JSON` })
  return faults
}

/** How the job that undoes something stands, for the compensation it is of. */
export type Standing = { kind: 'open'; reason: string | null } | { kind: 'done' } | { kind: 'failed'; reason: string }

/**
 * A quarantined result is withheld, but what it is the result of was done. Whether it was in an ambiguous one a person says, and until
 * then nothing before it is undone.
 */
export function standingOf(job: {
  status: JobStatus
  status_reason: string | null
  error_code: string | null
}): Standing {
  switch (job.status) {
    case 'succeeded':
    case 'quarantined':
      return { kind: 'done' }
    case 'pending_approval':
    case 'ambiguous':
      return { kind: 'open', reason: job.status }
    case 'queued':
    case 'running':
    case 'retrying':
      return { kind: 'open', reason: null }
    default:
      return { kind: 'failed', reason: job.status_reason ?? job.error_code ?? job.status }
  }
}

/** Codes of refusals that pass by themselves: nothing is wrong with what was asked. */
const PASSING: ReadonlySet<string> = new Set([
  'stopped',
  'breaker_open',
  'rate_limited',
  'overloaded',
  'outcome_unknown',
  'no_policy',
  'unavailable',
])
export const isPassing = (code: string): boolean => PASSING.has(code)

/** Between two tries of what a stop, a breaker or a full limit keeps back: each leaves a decision. */
const AGAIN = { least: 15_000, most: 300_000 } as const

/** ms until it is asked again. */
export const againIn = (tries: number, retry_after_ms: number): number =>
  Math.max(retry_after_ms, Math.min(AGAIN.most, AGAIN.least * 2 ** Math.min(5, tries)))

/** Labels or tags that a job has at most. */
const MOST_WORDS = 64

/** More than a job can say: what would be cut off might be what a rule reads. */
export const isOverfull = ({ labels, risk_tags }: { labels: object; risk_tags: readonly string[] }): boolean =>
  risk_tags.length > MOST_WORDS || Object.keys(labels).length > MOST_WORDS

/** The job as the doors are asked about it: whatever was held true of what it undoes is held true of it too. */
export function bodyOf(
  undoing: Undoing,
  undone: {
    agent: string
    run_id: string
    workflow: string | null
    environment: string | null
    labels: Record<string, string>
    risk_tags: readonly string[]
  },
  about: { rollout_id: string; job_id: string; effect_key: string },
) {
  const { labels = {}, risk_tags = [], environment: said, ...rest } = undoing
  const environment = undone.environment ?? said ?? null
  return {
    ...rest,
    agent: undone.agent,
    run_id: undone.run_id,
    // Left out they would be the way round every rule that reads them.
    labels: { ...labels, ...undone.labels },
    risk_tags: [...new Set([...risk_tags, ...undone.risk_tags])].sort(),
    ...(environment === null ? {} : { environment }),
    ...(undone.workflow === null ? {} : { workflow: undone.workflow }),
    context: { compensates: about },
    priority: UNDO_FIRST,
  }
}

/** Before ordinary work: what is to be undone stands in the world meanwhile. */
const UNDO_FIRST = 8
