import { type Static, Type } from 'typebox'
import { Constraints, SubmitJob } from './jobs.js'
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
/** No control characters: the name is printed at terminals beside every fault. */
const FilePath = Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f]+$', maxLength: 400 })
export const CreateSnapshot = Type.Object(
  {
    files: Type.Array(Type.Object({ path: FilePath, text: Type.String({ maxLength: 1_048_576 }) }, closed), {
      minItems: 1,
      maxItems: 200,
    }),
    note: Type.Optional(Note),
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
export const Evaluated = Type.Object({
  decision: Type.String(),
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  high_risk: Type.Boolean(),
  policy_snapshot: Type.String(),
  effective: AnyJson,
  why: AnyJson,
})
export type Evaluated = Static<typeof Evaluated>
