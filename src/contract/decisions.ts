import { type Static, Type } from 'typebox'
import { Constraints } from './jobs.js'
import { AnyJson, DecisionWord, Instant, Nullable } from './scalars.js'

export const Decision = Type.Object({
  decision_id: Type.String(),
  door: Type.Union([Type.Literal('submit'), Type.Literal('approve'), Type.Literal('dispatch'), Type.Literal('replay')]),
  job_id: Nullable(Type.String({ description: 'null where a denial left no job behind' })),
  at: Instant,
  agent: Type.String(),
  topic: Type.String(),
  decision: DecisionWord,
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  high_risk: Type.Boolean(),
  policy_snapshot: Type.String(),
  snapshot_digest: Type.String(),
  why: Nullable(AnyJson),
  reproduced: Nullable(
    Type.Boolean({
      description: 'Decided again from what it read, it comes out byte for byte the same; null: its input was erased',
    }),
  ),
})
export type Decision = Static<typeof Decision>
