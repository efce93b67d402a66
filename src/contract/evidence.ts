import { type Static, Type } from 'typebox'
import { described, Hash, Instant, Note, Nullable, PageQuery } from './scalars.js'

const closed = { additionalProperties: false }
const words = <Word extends string>(...all: Word[]) =>
  Type.Unsafe<Word>(Type.Union(all.map((word) => Type.Literal(word))))

export const GateOutcome = Type.Unsafe<'pass' | 'fail' | 'inconclusive' | 'error'>(
  Type.Union([Type.Literal('pass'), Type.Literal('fail'), Type.Literal('inconclusive'), Type.Literal('error')], {
    description: 'Only `pass` promotes',
  }),
)
const Form = words('gate', 'launch')

export const AskGate = Type.Object(
  { form: Type.Optional(described(Form, '`gate`: the deployment guide’s form; `launch`: the launch checklist’s')) },
  closed,
)
export type AskGate = Static<typeof AskGate>

/** What hash and signature are made of is all of the document but this, as canonical JSON (RFC 8785). */
export const EvidenceSeal = Type.Object({
  evidence_hash: described(Hash, 'What a promotion points at'),
  form: Form,
  signature: Type.String({ description: 'Ed25519 by the key of the audit log, base64' }),
  public_key: Type.String({ description: 'name+id+base64' }),
})
export type EvidenceSeal = Static<typeof EvidenceSeal>

const Value = Nullable(Type.Union([Type.Number(), Type.Boolean()]))
const Checks = Type.Record(
  Type.String(),
  Type.Object({
    value: Value,
    target_gte: Type.Optional(Value),
    target_lte: Type.Optional(Value),
    target_eq: Type.Optional(Value),
    pass: Type.Boolean(),
  }),
)

export const GateEvidence = Type.Object({
  gate_id: Type.String(),
  traffic_slice: Type.Optional(Type.String()),
  window: Type.Optional(Type.String()),
  checks: Type.Optional(Checks),
  blockers: Type.Optional(Checks),
  owners: Type.Optional(Type.Record(Type.String(), Type.String())),
  policy_snapshot: Type.Optional(Type.String()),
  reviewed_by: Type.Optional(Nullable(Type.String())),
  decision: Type.String(),
  outcome: GateOutcome,
  reason: Type.String(),
  window_from: Instant,
  window_to: Instant,
  details: Type.Array(Type.Unknown(), { description: 'Each check with bound, baseline, samples and reason' }),
  basis: Type.Unknown({
    description:
      'All that it rests on: gate, readings with their queries, earlier looks, tree head. Asked again it gives this document',
  }),
  seal: EvidenceSeal,
})
export type GateEvidence = Static<typeof GateEvidence>

export const EvidenceItem = Type.Object({
  evidence_hash: Hash,
  rollout_id: Type.String(),
  declaration: Hash,
  phase: Type.Integer(),
  form: Form,
  outcome: GateOutcome,
  evaluated_at: Instant,
  reviewed_by: Type.Array(Type.String(), { description: 'Who had signed under the phase' }),
})
export type EvidenceItem = Static<typeof EvidenceItem>
export const EvidencePage = Type.Object({ items: Type.Array(EvidenceItem), next_cursor: Nullable(Type.String()) })
export type EvidencePage = Static<typeof EvidencePage>
export const EvidenceQuery = PageQuery
export type EvidenceQuery = PageQuery

export const ReviewRollout = Type.Union([
  Type.Object(
    {
      review: Type.Literal('signature'),
      phase: Type.Integer({ minimum: 0, maximum: 100, description: 'The one that the rollout is in' }),
      evidence_hash: Type.Optional(described(Hash, 'The evidence that was seen')),
      note: Type.Optional(Note),
    },
    closed,
  ),
  Type.Object(
    {
      review: Type.Literal('week'),
      clean: Type.Boolean(),
      critical_incidents: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
      note: Note,
    },
    closed,
  ),
])
export type ReviewRollout = Static<typeof ReviewRollout>

export const RolloutReview = Type.Object({
  review_id: Type.String(),
  rollout_id: Type.String(),
  review: words('signature', 'week'),
  phase: Type.Integer({ description: 'In which it was said' }),
  by: Type.String(),
  at: Instant,
  valid_until: described(Instant, 'From then on it counts no more'),
  clean: Nullable(Type.Boolean()),
  critical_incidents: Nullable(Type.Integer()),
  evidence_hash: Nullable(Type.String()),
  note: Nullable(Type.String()),
})
export type RolloutReview = Static<typeof RolloutReview>
export const RolloutReviewPage = Type.Object({
  items: Type.Array(RolloutReview),
  next_cursor: Nullable(Type.String()),
})
export type RolloutReviewPage = Static<typeof RolloutReviewPage>
