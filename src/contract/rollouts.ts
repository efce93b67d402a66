import { type Static, Type } from 'typebox'
import { described, Hash, Instant, Nullable, PageQuery } from './scalars.js'

const closed = { additionalProperties: false }
const Words = Type.String({ minLength: 1, maxLength: 2000 })
const Ms = Type.Integer({ minimum: 0 })
const Percent = Type.Number({ minimum: 0, maximum: 100 })

export const RolloutStatus = Type.Union([
  Type.Literal('draft'),
  Type.Literal('running'),
  Type.Literal('paused'),
  Type.Literal('promoted'),
  Type.Literal('rolled_back'),
])
export type RolloutStatus = Static<typeof RolloutStatus>

const Risk = Type.Union([Type.Literal('read_only'), Type.Literal('low_risk'), Type.Literal('mixed')], {
  description: 'Which work the candidate may do at all',
})
const Variant = Type.Union(
  [Type.Literal('candidate'), Type.Literal('stable'), Type.Literal('shadow'), Type.Literal('manual')],
  { description: 'Who does it: `shadow`: nobody, it is only recorded; `manual`: people' },
)

export const DeclareRollout = Type.Object(
  {
    declaration: Type.Unknown({
      description: 'The declaration as JSON (docs/rollouts.md); every fault of it is told with its path',
    }),
  },
  closed,
)
export type DeclareRollout = Static<typeof DeclareRollout>

export const PauseRollout = Type.Object({ reason: described(Words, 'Kept in the audit log') }, closed)
export type PauseRollout = Static<typeof PauseRollout>

export const RollBackRollout = Type.Object(
  { reason: described(Words, 'Kept with the rollout, and told to its stakeholders') },
  closed,
)
export type RollBackRollout = Static<typeof RollBackRollout>

export const PromoteRollout = Type.Object(
  { evidence_hash: described(Hash, 'Of evidence of this phase that says pass, at most ten minutes old') },
  closed,
)
export type PromoteRollout = Static<typeof PromoteRollout>

export const OverrideRollout = Type.Object(
  {
    reason: described(Words, 'Why to go on without the gate; stays on the rollout for good'),
    evidence_hash: Type.Optional(
      Nullable(described(Hash, 'What the gate said, where it was asked; both say the same')),
    ),
  },
  closed,
)
export type OverrideRollout = Static<typeof OverrideRollout>

export const RolloutSubject = Type.Object({
  kind: Type.Union([Type.Literal('agent'), Type.Literal('workflow'), Type.Literal('policy')]),
  name: Nullable(Type.String({ description: 'Agent or workflow; null of a policy' })),
  candidate: Type.String({ description: 'Version; of a policy the full digest of a snapshot' }),
  stable: Nullable(Type.String({ description: 'What it takes the place of; null where nothing did this work' })),
})
export type RolloutSubject = Static<typeof RolloutSubject>

export const RolloutPhase = Type.Object({
  n: Type.Integer({ minimum: 0, description: 'From 0, as evidence names it' }),
  of: Type.Integer({ minimum: 1, description: 'Phases of the rollout' }),
  name: Type.String(),
  risk: Risk,
  began_at: Nullable(Instant),
  served_ms: { ...Ms, description: 'How long it has run, pauses left out' },
  left_ms: Nullable({
    ...Ms,
    description: 'Of its minimum duration; null where the rollout neither runs nor is paused',
  }),
})
export type RolloutPhase = Static<typeof RolloutPhase>

export const RolloutStep = Type.Object({
  phase: Type.Integer({ minimum: 0, description: 'The one that was left' }),
  at: Instant,
  by: Type.String({ description: 'A principal, or `system:rollouts` where it went by itself' }),
  how: Type.Union([Type.Literal('evidence'), Type.Literal('override')]),
  evidence_hash: Nullable(Type.String()),
  asked_by: Nullable(Type.String({ description: 'Of an override: who asked for it' })),
  reason: Nullable(Type.String()),
})
export type RolloutStep = Static<typeof RolloutStep>

const summary = {
  rollout_id: Type.String(),
  rollout: Type.String({ description: 'Its name, as declared' }),
  subject: RolloutSubject,
  status: RolloutStatus,
  share: described(
    Percent,
    'Percent of the work that the risk of the phase admits which the candidate does now: 0 before the start and after a rollback, 100 once promoted',
  ),
  phase: RolloutPhase,
  declaration: Type.String({ description: 'Digest of the document; evidence names it' }),
  declared_by: Type.String(),
  declared_at: Instant,
  started_at: Nullable(Instant),
  steps: Type.Array(RolloutStep, { description: 'How each phase was left' }),
  request: Nullable(
    Type.Object(
      {
        by: Type.String(),
        at: Instant,
        until: { ...Instant, description: 'From then on it counts no more' },
        reason: Type.String(),
        evidence_hash: Nullable(Type.String()),
      },
      { description: 'To go on without the gate; another person who says the same carries it out' },
    ),
  ),
  overridden: Type.Boolean({ description: 'Some phase was left without its gate; never false again' }),
  ended_at: Nullable(Instant),
  ended_reason: Nullable(Type.String({ description: 'Why it was rolled back' })),
}
export const RolloutSummary = Type.Object(summary)
export type RolloutSummary = Static<typeof RolloutSummary>
export const RolloutPage = Type.Object({ items: Type.Array(RolloutSummary), next_cursor: Nullable(Type.String()) })
export type RolloutPage = Static<typeof RolloutPage>

/** As it was read, with whatever it left out filled in; `declaration` is its digest. */
export const RolloutDocument = Type.Object({
  rollout: Type.String(),
  subject: RolloutSubject,
  routing: Type.String({ description: 'What the slice is drawn by: `run`, or `label:NAME`' }),
  rest: Type.Union([Type.Literal('stable'), Type.Literal('shadow'), Type.Literal('manual')], {
    description: 'What becomes of work outside the slice',
  }),
  on_rollback: Type.Union([Type.Literal('drain'), Type.Literal('cancel')]),
  promotion: Type.Union([Type.Literal('manual'), Type.Literal('auto')], {
    description: '`auto`: the plane leaves a phase upward by itself once its gate passes',
  }),
  owners: Type.Object({ reliability: Type.String(), governance: Type.String(), cost: Type.String() }),
  stakeholders: Type.Array(Type.String()),
  phases: Type.Array(
    Type.Object({
      name: Type.String(),
      share_bp: Type.Integer({ minimum: 0, maximum: 10_000, description: 'Hundredths of a percent' }),
      risk: Risk,
      min_duration_ms: Ms,
      reviewers: Nullable(Type.Object({ from: Type.Array(Type.String()), need: Type.Integer() })),
      gate: Type.Unknown({ description: 'Window and checks' }),
    }),
  ),
  triggers: Type.Array(Type.Unknown(), { description: 'What takes it back by itself' }),
})
export type RolloutDocument = Static<typeof RolloutDocument>

export const Rollout = Type.Object({ ...summary, document: RolloutDocument })
export type Rollout = Static<typeof Rollout>

export const RolloutQuery = Type.Object({ status: Type.Optional(RolloutStatus), ...PageQuery.properties }, closed)
export type RolloutQuery = Static<typeof RolloutQuery>

export const AssignmentQuery = Type.Object(
  {
    key: Type.String({
      pattern: '^[ -~]+$',
      maxLength: 256,
      description: 'What the rollout draws by: the id of a run, or the value of the label',
    }),
  },
  closed,
)
export type AssignmentQuery = Static<typeof AssignmentQuery>

const Place = {
  variant: Variant,
  version: Nullable(Type.String({ description: 'Which does it; null where nobody does' })),
}
export const Assignment = Type.Object({
  rollout_id: Type.String(),
  status: RolloutStatus,
  routing: Type.String({ description: '`run`, or `label:NAME`' }),
  key: Type.String(),
  bucket: Nullable(
    Type.Integer({
      minimum: 0,
      maximum: 9999,
      description: 'For good; in the slice while below `share` × 100. Null where nothing is drawn',
    }),
  ),
  share: Percent,
  risk: Risk,
  ...Place,
  reason: Type.String(),
  beyond: Type.Object(Place, { description: 'The same of work with this key that `risk` does not admit' }),
})
export type Assignment = Static<typeof Assignment>
