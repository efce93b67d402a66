import { hash } from 'node:crypto'
import type { Claim } from '../job.js'
import type { Evaluation } from '../policy/evaluate.js'
import type { Rest, RiskFilter, RolloutDocument } from './document.js'
import type { RolloutStatus } from './step.js'

/** Who does a piece of work: the candidate, the stable version, nobody (it is only recorded), or people. */
export type Variant = 'candidate' | Rest

/** One for each hundredth of a percent, the finest share that can be declared. */
export const BUCKETS = 10_000

/**
 * Which of 10,000 buckets a routing key falls into, the same for good (G1): whoever is in at 5 % is in at 25 %, because a share takes
 * the buckets below it.
 *
 * From 48 bits of SHA-256, the most that a number holds exactly, by the remainder. Scaling by 10,000 / 2^48 would need 62 bits and so round
 * some keys across a border. 2^48 is no multiple of 10,000: the first 656 buckets get 28,147,497,672 of the values, the others one less, a
 * difference of 4e-11 that would take some 10^20 keys to see. The rollout's id is part of it, or the same customers would always come first.
 */
export function bucketOf(rollout_id: string, routing_key: string): number {
  // An id holds no line break, so no two pairs are the same text.
  const digest = hash('sha256', `sallyport/rollout-bucket/v1\n${rollout_id}\n${routing_key}`, 'hex')
  return Number.parseInt(digest.slice(0, 12), 16) % BUCKETS
}

/** What a filter looks at. All of it is what the server holds true; what the agent said can only make it look riskier (D0). */
export interface Work {
  /** Null: nothing to tell it from other work by. */
  routing_key: string | null
  /** The file's `high_risk` matchers name it. */
  high_risk: boolean
  /** Action type that the server itself derives or sets (`heldAction`); null where only the agent says one. */
  held_action: string | null
  /** Claimed and held ones. */
  risk_tags: readonly string[]
}

/** @param held_action of `heldAction` in core/policy/evaluate.ts */
export function workOf(
  claim: Pick<Claim, 'risk_tags'>,
  { high_risk, effective }: Pick<Evaluation, 'high_risk' | 'effective'>,
  held_action: string | null,
  routing_key: string | null,
): Work {
  return { routing_key, high_risk, held_action, risk_tags: [...claim.risk_tags, ...effective.risk_tags] }
}

/** What the slice is drawn by. A label counts as the server holds it; a job without it cannot be told from others. */
export function routingKey(
  routing: RolloutDocument['routing'],
  run_id: string | null,
  { labels }: Pick<Evaluation['effective'], 'labels'>,
): string | null {
  if (routing === 'run') return run_id
  const name = routing.slice('label:'.length)
  return Object.hasOwn(labels, name) ? (labels[name] as string) : null
}

/**
 * Whether work of this kind may be the candidate's. What nobody but the agent calls harmless is not, so leaving a label out lets nothing
 * in: low risk takes an action type of the server's and no risk tag at all. `read_only` asks for both, as phase 1 of the guide does.
 */
export function admits(filter: RiskFilter, { high_risk, held_action, risk_tags }: Omit<Work, 'routing_key'>): boolean {
  if (filter === 'mixed') return true
  if (high_risk || held_action === null || risk_tags.length > 0) return false
  return filter === 'low_risk' || held_action === 'read'
}

/** What assignment reads of a rollout; stored with the decision. */
export interface Slice {
  rollout_id: string
  status: RolloutStatus
  /** Of the phase it is in. */
  share_bp: number
  risk: RiskFilter
  rest: Rest
  has_stable: boolean
}

export interface Assignment {
  variant: Variant
  /** Null where nothing was drawn. */
  bucket: number | null
  reason: string
}

/** Who does this work (G1). Pure: the same slice and work always give the same. A pause keeps the slice as it is. */
export function assign(slice: Slice, work: Work): Assignment {
  const { rollout_id, status, share_bp, risk, rest } = slice
  if (status === 'promoted') return { variant: 'candidate', bucket: null, reason: 'promoted' }
  if (status === 'draft' || status === 'rolled_back')
    return { variant: slice.has_stable ? 'stable' : 'manual', bucket: null, reason: status }
  if (!admits(risk, work)) return { variant: rest, bucket: null, reason: `not ${risk}` }
  if (share_bp >= BUCKETS) return { variant: 'candidate', bucket: null, reason: 'all of it' }
  if (work.routing_key === null || work.routing_key === '')
    return { variant: rest, bucket: null, reason: 'no routing key' }
  const bucket = bucketOf(rollout_id, work.routing_key)
  const within = `bucket ${bucket} of ${share_bp}`
  return bucket < share_bp
    ? { variant: 'candidate', bucket, reason: within }
    : { variant: rest, bucket, reason: within }
}
