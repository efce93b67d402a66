import { type Static, Type } from 'typebox'
import { Instant, Name, Nullable } from './scalars.js'

const closed = { additionalProperties: false }

/** Approvals given beforehand. */
export const CreateGrant = Type.Object(
  {
    agent: Name,
    topic: Type.String({
      maxLength: 200,
      description: 'A topic pattern: * is one segment, > one or more at the end',
      examples: ['job.tickets.close'],
    }),
    when: Type.Optional(
      Type.String({
        maxLength: 4096,
        description: 'CEL over `input`, as `when` of a rule; what it fails on is not covered',
        examples: ['input.amount <= 20'],
      }),
    ),
    uses: Type.Integer({ minimum: 1, maximum: 10_000 }),
    expires_at: Instant,
    reason: Type.String({ minLength: 1, maxLength: 2000 }),
  },
  closed,
)
export type CreateGrant = Static<typeof CreateGrant>

export const Grant = Type.Object({
  grant_id: Type.String(),
  agent: Type.String(),
  topic: Type.String(),
  when: Nullable(Type.String()),
  uses: Type.Integer(),
  used: Type.Integer({ description: 'Jobs that took one; a retry takes no further one' }),
  expires_at: Instant,
  reason: Type.String(),
  granted_by: Type.String(),
  created_at: Instant,
  revoked_at: Nullable(Instant),
  revoked_by: Nullable(Type.String()),
  state: Type.Union([
    Type.Literal('active'),
    Type.Literal('used_up'),
    Type.Literal('expired'),
    Type.Literal('revoked'),
  ]),
})
export type Grant = Static<typeof Grant>
export const GrantPage = Type.Object({ items: Type.Array(Grant), next_cursor: Nullable(Type.String()) })
export type GrantPage = Static<typeof GrantPage>
