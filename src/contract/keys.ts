import { type Static, Type } from 'typebox'
import { Instant, Name, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
export const Role = Type.Union(
  ['admin', 'operator', 'approver', 'auditor', 'viewer', 'agent', 'worker'].map((r) => Type.Literal(r)) as [
    ReturnType<typeof Type.Literal<string>>,
  ],
)
export const TopicPattern = Type.String({
  pattern: '^([a-z0-9_-]+|\\*)(\\.([a-z0-9_-]+|\\*))*(\\.>)?$',
  maxLength: 200,
})
export const CreateKey = Type.Object(
  {
    role: Role,
    principal: Type.Optional(Name),
    team: Type.Optional(Name),
    topics: Type.Optional(Type.Array(TopicPattern, { maxItems: 100 })),
    act_as: Type.Optional(Type.Array(Name, { maxItems: 100 })),
    expires_at: Type.Optional(Instant),
    note: Type.Optional(Type.String({ maxLength: 200 })),
  },
  closed,
)
export type CreateKey = Static<typeof CreateKey>
export const Key = Type.Object({
  key_id: Type.String(),
  role: Type.String(),
  principal: Type.String(),
  team: Nullable(Type.String()),
  topics: Nullable(Type.Array(Type.String())),
  act_as: Type.Array(Type.String()),
  note: Nullable(Type.String()),
  created_at: Instant,
  created_by: Type.String(),
  expires_at: Nullable(Instant),
  revoked_at: Nullable(Instant),
})
export type Key = Static<typeof Key>
export const KeyPage = Type.Object({ items: Type.Array(Key), next_cursor: Nullable(Type.String()) })
export type KeyPage = Static<typeof KeyPage>
export const CreatedKey = Type.Object({ ...Key.properties, key: Type.String({ description: 'Shown once' }) })
export type CreatedKey = Static<typeof CreatedKey>
