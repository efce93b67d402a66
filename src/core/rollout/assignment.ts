import { assign, type Slice, type Variant, type Work } from './assign.js'
import type { RolloutDocument } from './document.js'
import type { Rollout } from './step.js'

/** Who does work of a routing key, for whoever sends it there: a router has the key, and not the work. */
export interface KeyAssignment {
  bucket: number | null
  reason: string
  /** Of work that the risk filter of the phase admits. */
  variant: Variant
  version: string | null
  /** Of what it does not admit. */
  beyond: { variant: Variant; version: string | null }
}

/** Work that every filter admits, and work that only `mixed` does. */
const HARMLESS: Omit<Work, 'routing_key'> = { high_risk: false, held_action: 'read', risk_tags: [] }
const RISKY: Omit<Work, 'routing_key'> = { high_risk: true, held_action: null, risk_tags: [] }

/** By the same `assign` that the door draws with, so the two cannot say different things of a key. */
export function assignmentOf(
  rollout: Pick<Rollout, 'rollout_id' | 'status' | 'phase' | 'document'>,
  routing_key: string,
): KeyAssignment {
  const { rollout_id, status, document } = rollout
  const { share_bp = 0, risk = 'read_only' } = document.phases[rollout.phase] ?? {}
  const { subject, rest } = document
  const slice: Slice = { rollout_id, status, share_bp, risk, rest, has_stable: subject.stable !== null }
  const within = assign(slice, { ...HARMLESS, routing_key })
  const beyond = assign(slice, { ...RISKY, routing_key })
  return {
    bucket: within.bucket,
    reason: within.reason,
    variant: within.variant,
    version: versionOf(within.variant, document),
    beyond: { variant: beyond.variant, version: versionOf(beyond.variant, document) },
  }
}

function versionOf(variant: Variant, { subject }: RolloutDocument): string | null {
  if (variant === 'candidate') return subject.candidate
  return variant === 'stable' ? subject.stable : null
}

/** Hundredths of a percent of what the filter admits that the candidate does now. */
export function shareNow({ status, phase, document }: Pick<Rollout, 'status' | 'phase' | 'document'>): number {
  if (status === 'promoted') return 10_000
  return status === 'draft' || status === 'rolled_back' ? 0 : (document.phases[phase]?.share_bp ?? 0)
}
