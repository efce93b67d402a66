import type { Claim, Job, JobVariant } from '../job.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { evaluate, heldAction } from '../policy/evaluate.js'
import { assign, routingKey, type Slice, workOf } from './assign.js'
import type { OnRollback, RiskFilter, RolloutDocument, Subject } from './document.js'

/** What the doors know of a rollout: what is assigned by, and what the variants are called. */
export interface RolloutSlice extends Slice {
  kind: Subject['kind']
  /** Agent or workflow; null of a policy. */
  name: string | null
  candidate: string
  stable: string | null
  routing: RolloutDocument['routing']
  on_rollback: OnRollback
}

/**
 * What a draw said of a piece of work. Beside the variants of a job: `stable`, in no comparison; `shadow` and `manual`, as declared;
 * `refused`, it comes from a version that is not the one for it; `withdrawn`, the candidate was taken back since.
 */
export interface Drawn {
  rollout_id: string
  variant: JobVariant | 'stable' | 'shadow' | 'manual' | 'refused' | 'withdrawn'
  bucket: number | null
  reason: string
  /** Of the agent or workflow that does it; null where it has none. */
  version: string | null
  /** At later doors, what the phase admits: work that has become more than that since is the candidate's no longer. */
  risk?: RiskFilter
  /** What a worker has to declare to be given it: `agent:support-bot@2.0`; null where any that is current may. */
  serves: string | null
}

/** What tells a worker of the candidate from others: `agent:support-bot@2.0`, `workflow:refunds@7`. */
export const servesText = (kind: 'agent' | 'workflow', name: string, version: string): string =>
  `${kind === 'workflow' ? 'workflow:' : ''}${name}@${version}`

/**
 * Draws who does a new piece of work. Once, at the first door: what it says is kept with the job, because a worker of the other version
 * cannot finish what this one has begun, and because approvals bind the version.
 * @param said what the submitting process says it is; it can only get the work refused
 */
export function draw(
  policy: CompiledPolicy,
  claim: Claim,
  slice: RolloutSlice,
  { run_id, said, now }: { run_id: string | null; said: string | null; now: number },
): Drawn {
  const { rollout_id, kind, name, candidate, stable } = slice
  const evaluation = evaluate(policy, claim, now)
  const key = routingKey(slice.routing, run_id, evaluation.effective)
  const work = workOf(claim, evaluation, heldAction(policy, claim, now), key)
  const { variant, bucket, reason } = assign(slice, work)
  const drawn: Drawn = { rollout_id, variant: 'stable', bucket, reason, version: stable, serves: null }
  if (slice.status === 'promoted') drawn.version = candidate
  else if (variant === 'candidate') {
    drawn.variant = 'candidate'
    drawn.version = candidate
    if (kind !== 'policy' && name !== null) drawn.serves = servesText(kind, name, candidate)
  } else if (variant === 'stable') drawn.variant = bucket === null ? 'stable' : 'control'
  else drawn.variant = variant
  if (kind !== 'agent' || said === null || said === drawn.version) return drawn
  return {
    ...drawn,
    variant: 'refused',
    reason: `${said} is not the version for this: ${drawn.version ?? 'none'} is`,
    serves: null,
  }
}

/**
 * What a later door holds of a job that was drawn. Of a rollout that was taken back, or that nobody knows any more, the candidate's work
 * goes no further; under a policy rollout it goes on by the policy that is active instead.
 */
export function drawnOf(
  job: Pick<Job, 'rollout_id' | 'variant' | 'serves' | 'agent_version'>,
  slice: RolloutSlice | undefined,
): Drawn | null {
  const { rollout_id, variant, agent_version } = job
  if (rollout_id === null || variant === null) return null
  const drawn: Drawn = {
    rollout_id,
    variant,
    bucket: null,
    reason: 'drawn',
    version: agent_version,
    serves: job.serves,
  }
  if (variant === 'control') return drawn
  if (slice?.status === 'running' || slice?.status === 'paused') return { ...drawn, risk: slice.risk }
  if (slice?.status === 'promoted') return { ...drawn, serves: null }
  if (slice?.kind === 'policy') return { ...drawn, variant: 'stable', reason: 'rolled_back', serves: null }
  return { ...drawn, variant: 'withdrawn', reason: slice?.status ?? 'unknown', serves: null }
}

/** Whether a snapshot other than the active one decides: that of a policy rollout that runs. */
export const isUnderCandidate = (slice: RolloutSlice | undefined, drawn: Drawn | null): boolean =>
  slice?.kind === 'policy' &&
  drawn?.variant === 'candidate' &&
  (slice.status === 'running' || slice.status === 'paused')

/** Whether a worker that declares this version does ordinary work: the stable version of a rollout, or one that no rollout speaks of. */
export function isCurrent(
  version: string,
  { status, candidate, stable }: Pick<RolloutSlice, 'status' | 'candidate' | 'stable'>,
): boolean {
  if (status === 'promoted') return version === candidate
  return status === 'draft' ? version !== candidate : version === stable
}
