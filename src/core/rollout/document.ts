import { digestOf } from '../canonical.js'
import type { Gate } from '../gates/gate.js'
import type { TriggerTerms } from '../gates/trigger.js'
import type { Json } from '../json.js'

/** What is brought in by stages. `policy` names snapshots by their full digest. */
export const SUBJECT_KINDS = ['agent', 'workflow', 'policy'] as const
export interface Subject {
  kind: (typeof SUBJECT_KINDS)[number]
  /** Agent or workflow; null of a policy. */
  name: string | null
  candidate: string
  /** What it takes the place of; null where nothing did this work before. */
  stable: string | null
}

/** Which work a phase lets the candidate do, each wider than the one before it (G1). */
export const RISK_FILTERS = ['read_only', 'low_risk', 'mixed'] as const
export type RiskFilter = (typeof RISK_FILTERS)[number]

/** What becomes of work outside the slice: the stable version does it, it is only recorded, or people do it. */
export const RESTS = ['stable', 'shadow', 'manual'] as const
export type Rest = (typeof RESTS)[number]

/** What a rollback does with leases of the candidate: let them end by themselves, or ask them to. */
export const ON_ROLLBACK = ['drain', 'cancel'] as const
export type OnRollback = (typeof ON_ROLLBACK)[number]

/** Who takes a phase whose gate passes upward: a person, or the plane by itself as soon as everything a person would need is there. */
export const PROMOTIONS = ['manual', 'auto'] as const
export type Promotion = (typeof PROMOTIONS)[number]

/** The areas that somebody has to answer for, as the launch checklist names them (G10). */
export const AREAS = ['reliability', 'governance', 'cost'] as const
export type Owners = Record<(typeof AREAS)[number], string>

/** Distinct people who have to have signed before a phase is left. */
export interface Reviewers {
  /** Words as in `approval: {from}`. */
  from: string[]
  need: number
}

export interface Phase {
  name: string
  /** Hundredths of a percent: whole, so that nothing is lost. */
  share_bp: number
  risk: RiskFilter
  min_duration_ms: number
  reviewers: Reviewers | null
  gate: Gate
}

/** A rollout as somebody declared it; never changed afterwards, so that evidence of its gates can name it by its digest. */
export interface RolloutDocument {
  rollout: string
  subject: Subject
  /** What the slice is drawn by: the run, or a label as the server holds it true. */
  routing: 'run' | `label:${string}`
  rest: Rest
  on_rollback: OnRollback
  promotion: Promotion
  owners: Owners
  /** Who is told of every step (G10). Words as in `approval: {from}`. */
  stakeholders: string[]
  phases: Phase[]
  triggers: TriggerTerms[]
}

/** Hex. */
export const declarationDigest = (document: RolloutDocument): string => digestOf('rollout', document as unknown as Json)

/** `25%`, as evidence writes a share. */
export const shareText = (share_bp: number): string => `${share_bp / 100}%`

/** Drills to pass before each increase of traffic, as the guide's deployment-drill.sh has them (G6). */
const DRILLS = {
  deny_drill_passed: { target_eq: true },
  approval_drill_passed: { target_eq: true },
  worker_crash_drill_passed: { target_eq: true },
  rollback_drill_passed: { target_eq: true },
}
const CLEAN = { unapproved_high_risk_actions: { target_eq: 0 }, policy_bypass_incidents: { target_eq: 0 } }
const WORKS = { success_rate_pct: { target_gte: 99 }, ...CLEAN, ...DRILLS }
const ASKED = { ...WORKS, approval_queue_median_sec: { target_lte: 900 } }
const REVIEWED = { ...ASKED, clean_weekly_reviews: { target_gte: 2 }, critical_incidents: { target_eq: 0 } }
const DRIFTS = { p95_latency_ms: { target_lte: '+20%' } }

/**
 * The phases of a rollout that declares none, as it would write them (G1, G2): shares, durations and targets are the guide's, its
 * 30 scenarios and 15 minutes the checklist's. A phase is measured over days of its own, since a twentieth of the traffic does not prove
 * 99 % in ten minutes: that takes 268 jobs without a failure. The last one has no latency among its checks, because nothing of the
 * stable version runs any more to hold it against; who has a number in ms declares it.
 */
export const STANDARD_PHASES: readonly Readonly<Record<string, Json>>[] = [
  {
    name: 'replay',
    share: 0,
    risk: 'read_only',
    min_duration: '3d',
    gate: {
      checks: {
        replay_scenarios: { target_gte: 30 },
        replay_critical_bypasses: { target_eq: 0 },
        replay_unsafe_duplicates: { target_eq: 0 },
        ...DRILLS,
      },
    },
  },
  {
    name: 'canary',
    share: 5,
    risk: 'read_only',
    min_duration: '3d',
    gate: { window: '3d', checks: { ...WORKS, ...DRIFTS } },
  },
  {
    name: 'quarter',
    share: 25,
    risk: 'mixed',
    min_duration: '5d',
    gate: { window: '3d', checks: { ...ASKED, ...DRIFTS } },
  },
  {
    name: 'half',
    share: 50,
    risk: 'mixed',
    min_duration: '7d',
    gate: { window: '3d', consecutive: 2, checks: { ...REVIEWED, ...DRIFTS } },
  },
  {
    name: 'all',
    share: 100,
    risk: 'mixed',
    min_duration: '7d',
    gate: { window: '3d', consecutive: 2, checks: REVIEWED },
  },
]
