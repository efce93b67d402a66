import type { Approval } from '../approval.js'
import type { Fact } from '../audit.js'
import { isFinished, type Job, type JobVariant } from '../job.js'
import type { Lease } from '../lease.js'
import { type EndRow, isByHand, isOutcome, latency } from '../metrics.js'

/**
 * `decided`: the first door said something. `leased`: an attempt began. `attempt`: one ended. `outcome`: a job ended or fell into doubt.
 * `asked` and `answered`: a question was put to people, and is closed.
 */
export const SAMPLE_KINDS = ['decided', 'leased', 'attempt', 'outcome', 'asked', 'answered'] as const
export type SampleKind = (typeof SAMPLE_KINDS)[number]

/**
 * One thing that happened to work of a rollout, and never changes: what is said later of the same job is a sample of its own. Numbers of a
 * gate are made of these alone, so the same samples give the same numbers for ever.
 */
export interface WorkSample {
  tenant: string
  rollout_id: string
  variant: JobVariant
  kind: SampleKind
  /** When it happened, epoch ms; of an attempt when it ended, so that one which takes longer than a window is in one too. */
  at: number
  /** Job, lease, approval or decision. */
  ref: string
  /** Decision, outcome or status. */
  word: string
  /** Of an outcome: whether it says how well the work went, and is the first that was said of its job. Of an answer: whether people gave it or let it expire. */
  counts: boolean
  /** Of a lease: how long the job was due. Of an outcome: its latency, null where a person ended it. Of an answer: how long it took. */
  ms: number | null
  verdict: string | null
  /** Millionths, rounded up: whole, so that sums do not depend on the order in which they are made. */
  cost: number | null
  run_id: string | null
}

/** What a step wants written, as far as samples are made of it. */
export interface SampledRows {
  insertJobs?: readonly Job[]
  updateJobs?: readonly Job[]
  insertLeases?: readonly Lease[]
  updateLeases?: readonly Lease[]
  updateApprovals?: readonly Approval[]
}

const NONE: readonly WorkSample[] = Object.freeze([])

/**
 * The samples of one step, by what its facts say: a job's facts name its rollout and variant. Of work in no rollout, which is nearly all,
 * this is a look at one field of each fact.
 */
export function samplesOf(rows: SampledRows, facts: readonly Fact[]): readonly WorkSample[] {
  const own = facts.filter((fact) => fact.rollout_id !== undefined && isVariant(fact.variant))
  if (own.length === 0) return NONE
  const byJob = new Map<string, Fact>()
  const samples: WorkSample[] = []
  for (const fact of own) {
    if (typeof fact.job_id === 'string') byJob.set(fact.job_id, fact)
    samples.push(...ofFact(rows, fact))
  }
  for (const lease of rows.updateLeases ?? []) {
    const fact = byJob.get(lease.job_id)
    if (fact === undefined || lease.ended_at === null || lease.outcome === null) continue
    const { lease_id: ref, granted_at, ended_at: at, outcome: word } = lease
    samples.push(sample('attempt', fact, { at, ref, word, ms: Math.max(0, at - granted_at) }))
  }
  for (const approval of rows.updateApprovals ?? []) {
    const fact = byJob.get(approval.job_id)
    if (fact !== undefined) samples.push(...ofAnswered(approval, fact))
  }
  return samples
}

const isVariant = (variant: unknown): variant is JobVariant => variant === 'candidate' || variant === 'control'

function sample(kind: SampleKind, fact: Fact, more: Partial<WorkSample>): WorkSample {
  return {
    tenant: fact.tenant,
    rollout_id: fact.rollout_id as string,
    variant: fact.variant as JobVariant,
    kind,
    at: fact.at,
    ref: '',
    word: '',
    counts: true,
    ms: null,
    verdict: null,
    cost: null,
    run_id: typeof fact.run_id === 'string' ? fact.run_id : null,
    ...more,
  }
}

function ofFact(rows: SampledRows, fact: Fact): WorkSample[] {
  switch (fact.kind) {
    case 'job.denied':
    case 'job.shadowed':
      return [sample('decided', fact, { ref: String(fact.decision_id), word: String(fact.decision) })]
    case 'job.submitted':
      return [sample('decided', fact, { ref: String(fact.job_id), word: String(fact.decision) })]
    case 'approval.requested':
      return [sample('asked', fact, { ref: String(fact.approval_id) })]
    case 'job.leased':
      return (rows.insertLeases ?? [])
        .filter(({ job_id }) => job_id === fact.job_id)
        .map(({ lease_id, granted_at }) => {
          const due_at = rows.updateJobs?.find(({ job_id }) => job_id === fact.job_id)?.due_at
          const ms = due_at === undefined ? null : Math.max(0, granted_at - due_at)
          return sample('leased', fact, { at: granted_at, ref: lease_id, ms })
        })
    default:
      return ofEnd(rows, fact)
  }
}

/** Only a fact that moved the job ends it: one that says something else of a job that has ended does not end it again. */
function ofEnd(rows: SampledRows, fact: Fact): WorkSample[] {
  if (fact.status === undefined || fact.version === undefined) return []
  const job = rows.updateJobs?.find(({ job_id, version }) => job_id === fact.job_id && version === fact.version)
  if (job === undefined || !(isFinished(job.status) || job.status === 'ambiguous')) return []
  const { job_id: ref, status: word, cost } = job
  const end = endOf(job, fact.at)
  const first = isFirst(job)
  const counts = first && (word === 'ambiguous' || isOutcome(end))
  const timed = counts && word !== 'ambiguous' && !isByHand(end)
  const said = { ref, word, counts, ms: timed ? latency(end) : null, verdict: verdictOf(job) }
  return [sample('outcome', fact, { ...said, cost: first && cost !== null ? millionths(cost) : null })]
}

/** What a worker says of itself may be any number; beyond this, a column does not hold it. */
const millionths = (cost: number): number => Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.ceil(cost * 1e6)))

/**
 * Whether nothing was said of the job before: that a person had it run again, settled its doubt, let its result out or gave it up does not
 * change how it went by itself, neither for the better nor for the worse.
 */
function isFirst({ status, doubts, budget_from, released_by }: Job): boolean {
  return (
    budget_from === 0 && released_by === null && status !== 'discarded' && doubts === (status === 'ambiguous' ? 1 : 0)
  )
}

/** A result counts once, when it is screened. What a person had run again or settled counts where it is held back, and not to thin out what was. */
function verdictOf(job: Job): string | null {
  const { status, verdict, released_by } = job
  const isScreened = (status === 'succeeded' && released_by === null) || status === 'quarantined'
  return isScreened && (verdict === 'QUARANTINE' || isFirst(job)) ? verdict : null
}

function endOf(job: Job, at: number): EndRow {
  const { status, status_reason, verdict, released_by, budget_from, attempt, created_at, not_before, asked_ms } = job
  const released = released_by !== null
  return {
    status,
    status_reason,
    verdict,
    released,
    budget_from,
    attempt,
    created_at,
    not_before,
    finished_at: at,
    asked_ms,
  }
}

/** A question is closed once. One that binds no more after it was approved was closed before. */
function ofAnswered(approval: Approval, fact: Fact): WorkSample[] {
  const { status, requested_at, expires_at, answers, valid_until, approval_id: ref } = approval
  if (status === 'pending' || (status === 'void' && valid_until !== null)) return []
  const last = answers.reduce((latest, { at }) => Math.max(latest, at), requested_at)
  const at = status === 'expired' ? expires_at : status === 'void' ? fact.at : last
  return [
    sample('answered', fact, { at, ref, word: status, counts: status !== 'void', ms: Math.max(0, at - requested_at) }),
  ]
}
