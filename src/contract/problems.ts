import { type Static, Type } from 'typebox'

/** RFC 9457. `status` is the number here and nowhere else; a job's state is the word. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'about:blank or a link into the error catalogue' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.Optional(Type.String()),
    code: Type.String({ description: 'Stable, from the error catalogue' }),
    help: Type.Optional(Type.String()),
    retryable: Type.Boolean(),
    request_id: Type.Optional(Type.String()),
    faults: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
    decision: Type.Optional(Type.String()),
    decision_id: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String()),
    rules: Type.Optional(Type.Array(Type.String())),
    policy_snapshot: Type.Optional(Type.String()),
  },
  { description: 'application/problem+json' },
)
export type Problem = Static<typeof Problem>
