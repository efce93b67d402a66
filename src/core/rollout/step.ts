import type { Outcome } from '../gates/check.js'
import type { Phase, RolloutDocument } from './document.js'

export const ROLLOUT_STATUSES = ['draft', 'running', 'paused', 'promoted', 'rolled_back'] as const
export type RolloutStatus = (typeof ROLLOUT_STATUSES)[number]

/** How a phase was left. Of an override both people stand here for good. */
export interface PhaseStep {
  phase: number
  at: number
  by: string
  how: 'evidence' | 'override'
  /** Null only of an override where no gate had been asked. */
  evidence_hash: string | null
  /** Of an override: who asked for it, and why. */
  asked_by: string | null
  reason: string | null
}

export interface OverrideRequest {
  by: string
  /** With which they said it: once it is revoked the request counts no more. */
  key_id: string | null
  at: number
  reason: string
  evidence_hash: string | null
}

export interface Rollout {
  tenant: string
  rollout_id: string
  version: number
  document: RolloutDocument
  /** Of the document; evidence names it. */
  declaration: string
  declared_by: string
  status: RolloutStatus
  /** From 0; the last one it was in, where it is over. */
  phase: number
  /** When the phase began; null before the start. */
  phase_at: number | null
  /** Of the phase, before the last pause; and since when it runs again. */
  served_ms: number
  since: number | null
  steps: PhaseStep[]
  request: OverrideRequest | null
  /** Some phase was left without its gate. Never false again. */
  overridden: boolean
  ended_at: number | null
  ended_reason: string | null
  /** Who took it back, and by which trigger where it went by itself. */
  ended_by: string | null
  ended_trigger: string | null
}

/** What a promotion points at. */
export interface GateEvidence {
  rollout_id: string
  declaration: string
  phase: number
  outcome: Outcome
  evaluated_at: number
  evidence_hash: string
  /** Principals who signed and were asked to. */
  reviewed_by: readonly string[]
}

/** `by` is a principal, or `system:rollouts` where it goes by itself. */
export type RolloutEvent =
  | { event: 'start'; by: string }
  | { event: 'pause'; by: string; reason: string }
  | { event: 'resume'; by: string }
  | { event: 'promote'; by: string; evidence: GateEvidence }
  | { event: 'override'; by: string; key_id: string | null; reason: string; evidence_hash: string | null }
  | { event: 'roll_back'; by: string; reason: string; trigger: string | null }

/** Total over status × event: what is not listed is illegal. A draft that is rolled back was withdrawn; what is over stays over. */
export const ROLLOUT_TAKES: Record<RolloutStatus, readonly RolloutEvent['event'][]> = {
  draft: ['start', 'roll_back'],
  running: ['pause', 'promote', 'override', 'roll_back'],
  paused: ['resume', 'roll_back'],
  promoted: [],
  rolled_back: [],
}

export type RolloutFactKind =
  | 'rollout.started'
  | 'rollout.paused'
  | 'rollout.resumed'
  | 'rollout.advanced'
  | 'rollout.override_requested'
  | 'rollout.overridden'
  | 'rollout.promoted'
  | 'rollout.rolled_back'

/** For the audit log: flat, and an output of the step, so that none can be forgotten. */
export interface RolloutFact {
  kind: RolloutFactKind
  tenant: string
  at: number
  actor: string
  rollout_id: string
  declaration: string
  status: RolloutStatus
  phase: number
  [field: string]: string | number | boolean | null
}

/** What has to be done about it, after it is recorded. */
export type RolloutEffect =
  | { effect: 'tell'; whom: string[] }
  | { effect: 'end_leases'; how: RolloutDocument['on_rollback'] }
  | { effect: 'compensate' }

export type Stepped =
  | { kind: 'moved'; next: Rollout; facts: RolloutFact[]; effects: RolloutEffect[] }
  | { kind: 'refused'; code: 'illegal_transition' | 'gate_blocks' | 'self_approval' | 'evidence_stale'; detail: string }

/** What a gate said of a window is good for one of the guide's windows more. */
export const EVIDENCE_MS = 600_000
/** A request to override is good for so long: an old one must not be carried out by somebody who knows nothing of it. */
export const OVERRIDE_MS = 3_600_000

/** A rollout as it is declared: a draft, of which nothing runs. */
export function draft(
  given: Pick<Rollout, 'tenant' | 'rollout_id' | 'document' | 'declaration' | 'declared_by'>,
): Rollout {
  return {
    ...given,
    version: 1,
    status: 'draft',
    phase: 0,
    phase_at: null,
    served_ms: 0,
    since: null,
    steps: [],
    request: null,
    overridden: false,
    ended_at: null,
    ended_reason: null,
    ended_by: null,
    ended_trigger: null,
  }
}

/** ms that the phase has run, pauses left out. */
export const runFor = ({ served_ms, since }: Pick<Rollout, 'served_ms' | 'since'>, now: number): number =>
  served_ms + (since === null ? 0 : Math.max(0, now - since))

/**
 * The only way a rollout changes (G1, G7): `next` and the facts that say so, or why not. There are two ways out of a phase upward: evidence
 * of this very gate that passed, and two people who say that they go on without it.
 */
export function step(state: Rollout, event: RolloutEvent, now: number): Stepped {
  if (!ROLLOUT_TAKES[state.status].includes(event.event))
    return refused('illegal_transition', `A rollout that is ${state.status} takes no ${event.event}`)
  switch (event.event) {
    case 'start': {
      const next = moved(state, { status: 'running', phase_at: now, since: now })
      return done(next, fact('rollout.started', next, event.by, now))
    }
    case 'pause': {
      const next = moved(state, { status: 'paused', served_ms: runFor(state, now), since: null, request: null })
      return done(next, fact('rollout.paused', next, event.by, now, { reason: event.reason }))
    }
    case 'resume': {
      const next = moved(state, { status: 'running', since: now })
      return done(next, fact('rollout.resumed', next, event.by, now))
    }
    case 'promote':
      return promote(state, event, now)
    case 'override':
      return override(state, event, now)
    case 'roll_back':
      return rollBack(state, event, now)
  }
}

const refused = (code: Extract<Stepped, { kind: 'refused' }>['code'], detail: string): Stepped => ({
  kind: 'refused',
  code,
  detail,
})

const moved = (state: Rollout, patch: Partial<Rollout>): Rollout => ({ ...state, ...patch, version: state.version + 1 })

const done = (next: Rollout, fact: RolloutFact, effects: RolloutEffect[] = []): Stepped => ({
  kind: 'moved',
  next,
  facts: [fact],
  effects: [{ effect: 'tell', whom: next.document.stakeholders }, ...effects],
})

function fact(
  kind: RolloutFactKind,
  { tenant, rollout_id, declaration, status, phase }: Rollout,
  actor: string,
  at: number,
  more: Record<string, string | number | boolean | null> = {},
): RolloutFact {
  return { kind, tenant, at, actor, rollout_id, declaration, status, phase, ...more }
}

function promote(state: Rollout, { by, evidence }: Extract<RolloutEvent, { event: 'promote' }>, now: number): Stepped {
  const stale = otherThan(state, evidence, now)
  if (stale !== null) return refused('evidence_stale', stale)
  const lack = lackOf(state, evidence, now)
  if (lack !== null) return refused('gate_blocks', lack)
  const { evidence_hash } = evidence
  return advanced(state, { by, how: 'evidence', evidence_hash, asked_by: null, reason: null }, now)
}

/** Why this evidence is not of the gate that stands before the rollout now; null where it is. */
function otherThan(state: Rollout, evidence: GateEvidence, now: number): string | null {
  const { rollout_id, declaration, phase, evaluated_at } = evidence
  if (rollout_id !== state.rollout_id || declaration !== state.declaration) return 'The evidence is of another rollout'
  if (phase !== state.phase) return `The evidence is of phase ${phase}, the rollout is in ${state.phase}`
  // Written so that an instant that is none is refused.
  if (!(evaluated_at >= (state.phase_at ?? Number.POSITIVE_INFINITY))) return 'The evidence is from before the phase'
  if (!(evaluated_at <= now)) return 'The evidence is from the future'
  if (!(now - evaluated_at <= EVIDENCE_MS)) return `The evidence is ${Math.ceil((now - evaluated_at) / 60_000)} min old`
  return null
}

function lackOf(state: Rollout, { outcome, reviewed_by }: GateEvidence, now: number): string | null {
  if (outcome !== 'pass') return `The gate says ${outcome}; only pass promotes`
  const { min_duration_ms, reviewers } = phaseOf(state)
  const left = min_duration_ms - runFor(state, now)
  if (!(left <= 0)) return `The phase lasts ${Math.ceil(left / 60_000)} min more at least`
  // Nobody signs for what they declared.
  const signed = new Set(reviewed_by.filter((who) => who !== state.declared_by)).size
  const need = reviewers?.need ?? 0
  return signed >= need ? null : `${signed} of ${need} reviewers have signed`
}

const phaseOf = ({ document, phase }: Rollout): Phase => {
  const found = document.phases[phase]
  if (found === undefined) throw new RangeError(`a rollout of ${document.phases.length} phases is in ${phase}`)
  return found
}

/** The first asks and says why, the second, who has seen the same evidence, carries it out. It is on record for good (G3). */
function override(
  state: Rollout,
  { by, key_id, reason, evidence_hash }: Extract<RolloutEvent, { event: 'override' }>,
  now: number,
): Stepped {
  const open = state.request
  if (open === null || now - open.at >= OVERRIDE_MS) {
    const next = moved(state, { request: { by, key_id, at: now, reason, evidence_hash } })
    return done(next, fact('rollout.override_requested', next, by, now, { reason, evidence_hash }))
  }
  if (open.by === by) return refused('self_approval', 'You asked for it; another person carries it out')
  if (open.evidence_hash !== evidence_hash)
    return refused('evidence_stale', 'The request is about other evidence than what you have seen')
  return advanced(state, { by, how: 'override', evidence_hash, asked_by: open.by, reason: open.reason }, now)
}

function advanced(state: Rollout, how: Omit<PhaseStep, 'phase' | 'at'>, now: number): Stepped {
  const steps = [...state.steps, { phase: state.phase, at: now, ...how }]
  const overridden = state.overridden || how.how === 'override'
  const isLast = state.phase >= state.document.phases.length - 1
  const next = moved(
    state,
    isLast
      ? {
          status: 'promoted',
          steps,
          overridden,
          request: null,
          since: null,
          served_ms: runFor(state, now),
          ended_at: now,
        }
      : { phase: state.phase + 1, phase_at: now, served_ms: 0, since: now, steps, overridden, request: null },
  )
  const { evidence_hash, asked_by, reason } = how
  const kind = how.how === 'override' ? 'rollout.overridden' : isLast ? 'rollout.promoted' : 'rollout.advanced'
  const more = {
    from_phase: state.phase,
    evidence_hash,
    overridden,
    ...(asked_by === null ? {} : { asked_by, reason }),
  }
  return done(next, fact(kind, next, how.by, now, more))
}

/** By whoever may, or by a trigger; one is enough, and nothing is asked. What it undoes goes through the same doors (R7). */
function rollBack(
  state: Rollout,
  { by, reason, trigger }: Extract<RolloutEvent, { event: 'roll_back' }>,
  now: number,
): Stepped {
  const next = moved(state, {
    status: 'rolled_back',
    served_ms: runFor(state, now),
    since: null,
    request: null,
    ended_at: now,
    ended_reason: reason,
    ended_by: by,
    ended_trigger: trigger,
  })
  const said = fact('rollout.rolled_back', next, by, now, { reason, trigger, overridden: next.overridden })
  return done(next, said, [{ effect: 'end_leases', how: state.document.on_rollback }, { effect: 'compensate' }])
}
