import { type Static, Type } from 'typebox'
import { SubmitJob } from './jobs.js'
import { AnyJson, Instant, Note, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
export const Snapshot = Type.Object({
  policy_snapshot: Type.String({ description: 'Short form, e.g. v1:7f93d2c' }),
  digest: Type.String(),
  active: Type.Boolean(),
  source: Type.String({ description: 'file or api' }),
  created_by: Type.String(),
  created_at: Instant,
  activated_at: Nullable(Instant),
  rules: Type.Integer(),
  warnings: Type.Array(AnyJson),
  files: Type.Optional(Type.Array(Type.Object({ path: Type.String(), text: Type.String() }))),
})
export type Snapshot = Static<typeof Snapshot>
export const SnapshotPage = Type.Object({ items: Type.Array(Snapshot), next_cursor: Nullable(Type.String()) })
export type SnapshotPage = Static<typeof SnapshotPage>
export const CreateSnapshot = Type.Object(
  {
    files: Type.Array(Type.Object({ path: Type.String({ minLength: 1, maxLength: 400 }), text: Type.String({ maxLength: 1_048_576 }) }, closed), { minItems: 1, maxItems: 200 }),
    note: Type.Optional(Note),
    activate: Type.Optional(Type.Boolean()),
  },
  closed,
)
export type CreateSnapshot = Static<typeof CreateSnapshot>
export const Evaluate = Type.Object({ job: SubmitJob, policy_snapshot: Type.Optional(Type.String({ maxLength: 80 })) }, closed)
export type Evaluate = Static<typeof Evaluate>
export const Evaluated = Type.Object({
  decision: Type.String(),
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Type.Record(Type.String(), Type.Unknown()),
  high_risk: Type.Boolean(),
  policy_snapshot: Type.String(),
  effective: AnyJson,
  why: AnyJson,
})
export type Evaluated = Static<typeof Evaluated>
