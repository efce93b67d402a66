import { type Static, Type } from 'typebox'
import { Accepted, Constraints, Shadowed, SubmitJob } from './jobs.js'
import { AnyJson, DecisionWord, Instant, Name, Note, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
export const Snapshot = Type.Object({
  policy_snapshot: Type.String({ description: 'Short form, e.g. v1:7f93d2c' }),
  digest: Type.String(),
  active: Type.Boolean(),
  source: Type.String({ description: 'file or api' }),
  note: Nullable(Type.String()),
  author: Nullable(Type.String({ description: 'Who wrote it, as whoever stored it says' })),
  source_commit: Nullable(Type.String()),
  reviewers: Type.Array(Type.String()),
  created_by: Type.String(),
  created_at: Instant,
  activated_at: Nullable(Instant),
  rules: Type.Integer(),
  warnings: Type.Array(AnyJson),
  files: Type.Optional(Type.Array(Type.Object({ path: Type.String(), text: Type.String() }))),
})
export type Snapshot = Static<typeof Snapshot>
export const PolicyChange = Type.Object({
  ...Snapshot.properties,
  asked: Nullable(
    Type.Union([Accepted, Shadowed], {
      description: 'How the doors answered, where rules of the active policy have a say in this; else null',
    }),
  ),
})
export type PolicyChange = Static<typeof PolicyChange>
export const SnapshotPage = Type.Object({ items: Type.Array(Snapshot), next_cursor: Nullable(Type.String()) })
export type SnapshotPage = Static<typeof SnapshotPage>
/** No control characters: the name is printed at terminals beside every fault. */
const FilePath = Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f]+$', maxLength: 400 })
export const CreateSnapshot = Type.Object(
  {
    files: Type.Array(Type.Object({ path: FilePath, text: Type.String({ maxLength: 1_048_576 }) }, closed), {
      minItems: 1,
      maxItems: 200,
    }),
    note: Type.Optional(Note),
    author: Type.Optional(Name),
    source_commit: Type.Optional(Type.String({ pattern: '^[0-9A-Za-z._/-]{4,100}$', examples: ['3f2c1a9'] })),
    reviewers: Type.Optional(Type.Array(Name, { maxItems: 20, uniqueItems: true })),
    activate: Type.Optional(Type.Boolean()),
  },
  closed,
)
export type CreateSnapshot = Static<typeof CreateSnapshot>
export const Evaluate = Type.Object(
  { job: SubmitJob, policy_snapshot: Type.Optional(Type.String({ pattern: '^(v1:)?[0-9a-f]{7,64}$' })) },
  closed,
)
export type Evaluate = Static<typeof Evaluate>
const WouldSubmit = Type.Object(
  {
    status: Nullable(
      Type.Union([Type.Literal('queued'), Type.Literal('pending_approval'), Type.Literal('shadowed')], {
        description: 'Null: it would be refused',
      }),
    ),
    code: Nullable(Type.String({ description: 'What it would be refused with' })),
    missing: Type.Array(Type.String(), { description: 'What the agent lacks, where it is not scoped for this' }),
    stop_id: Nullable(Type.String()),
    retry_after_ms: Nullable(Type.Integer()),
    granted_by: Nullable(Type.String({ description: 'The grant that would let it through in the place of an answer' })),
    spot_check: Nullable(
      Type.Integer({ description: 'Percent of such jobs that a person is asked about all the same, drawn at submit' }),
    ),
  },
  {
    description:
      'What a submit would be answered now: stops, breakers, limits, grants, terms and stage of the agent included',
  },
)
export const Evaluated = Type.Object({
  decision: Type.String(),
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  high_risk: Type.Boolean(),
  policy_snapshot: Type.String(),
  effective: AnyJson,
  submit: WouldSubmit,
  why: AnyJson,
})
export type Evaluated = Static<typeof Evaluated>

export const ImpactQuery = Type.Object(
  {
    files: Type.Optional(CreateSnapshot.properties.files),
    policy_snapshot: Type.Optional(Type.String({ pattern: '^(v1:)?[0-9a-f]{7,64}$' })),
    before: Type.Optional(Type.String({ pattern: '^[0-9a-z]{26}$', description: '`next` of the answer before' })),
    most: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 5000, default: 2000, description: 'Decisions to look at, newest first' }),
    ),
  },
  closed,
)
export type ImpactQuery = Static<typeof ImpactQuery>
const ImpactSide = Type.Object({ decision: DecisionWord, reason: Type.String(), rules: Type.Array(Type.String()) })
export const Impact = Type.Object({
  looked_at: Type.Integer(),
  unchanged: Type.Integer(),
  undecidable: Type.Integer({ description: 'Their payload was erased' }),
  oldest_at: Nullable(Instant),
  changes: Type.Array(
    Type.Object({
      before: DecisionWord,
      after: DecisionWord,
      effect: Type.String({ description: 'looser, tighter, or constraints: the same word, bound to something else' }),
      count: Type.Integer(),
      examples: Type.Array(
        Type.Object({
          decision_id: Type.String(),
          job_id: Nullable(Type.String()),
          at: Instant,
          agent: Type.String(),
          topic: Type.String(),
          before: ImpactSide,
          after: ImpactSide,
        }),
      ),
    }),
  ),
  next: Nullable(
    Type.String({ description: 'Where older decisions go on; null where all retained ones were looked at' }),
  ),
  share: Type.Number({
    minimum: 0,
    maximum: 1,
    description: 'How much of the time for which decisions are kept was looked at, from now back',
  }),
})
export type Impact = Static<typeof Impact>
