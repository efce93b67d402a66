import { type Static, Type } from 'typebox'
import { described, Instant, Name, Nullable, PageQuery } from './scalars.js'

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
/** One of those in docs/permissions.md; which a role has is decided by the server. */
export const Permission = Type.String({ pattern: '^[a-z_]+:[a-z_]+$', maxLength: 40, examples: ['jobs:submit'] })
export const CreateKey = Type.Object(
  {
    role: Role,
    principal: Type.Optional(Name),
    team: Type.Optional(Name),
    topics: Type.Optional(Type.Array(TopicPattern, { maxItems: 100 })),
    act_as: Type.Optional(Type.Array(Name, { maxItems: 100 })),
    permissions: Type.Optional(
      Type.Array(Permission, {
        minItems: 1,
        maxItems: 50,
        uniqueItems: true,
        description: 'Of what the role may; left out, all of it',
      }),
    ),
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
  permissions: Nullable(Type.Array(Type.String(), { description: 'What it is narrowed to; null: all of its role' })),
  note: Nullable(Type.String()),
  created_at: Instant,
  created_by: Type.String(),
  expires_at: Nullable(Instant),
  revoked_at: Nullable(Instant),
  rotated_to: Nullable(Type.String({ description: 'The key that was made in its place' })),
  disabled_at: Nullable(described(Instant, 'Since when its principal may do nothing; the key opens nothing then')),
  last_used_at: Nullable(described(Instant, 'When it last opened something, to a minute or two')),
  due: Type.Array(
    Type.Union([Type.Literal('rotation'), Type.Literal('overdue'), Type.Literal('expiry')], {
      description: 'It nears 90 days, is past them, or expires within a week',
    }),
  ),
})
export type Key = Static<typeof Key>
export const KeyPage = Type.Object({ items: Type.Array(Key), next_cursor: Nullable(Type.String()) })
export type KeyPage = Static<typeof KeyPage>
export const KeyQuery = Type.Object(
  {
    ...PageQuery.properties,
    due: Type.Optional(
      Type.Boolean({ description: 'Only keys that near 90 days, are past them or expire within a week' }),
    ),
    sessions: Type.Optional(Type.Boolean({ description: 'Sessions of people instead: keys that a sign-on made' })),
  },
  closed,
)
export type KeyQuery = Static<typeof KeyQuery>
export const RotateKey = Type.Object(
  {
    overlap: Type.Optional(
      Type.Integer({
        minimum: 60_000,
        maximum: 2_592_000_000,
        default: 86_400_000,
        description: 'Milliseconds that the old key still opens; a day by default, 30 at most',
      }),
    ),
  },
  closed,
)
export type RotateKey = Static<typeof RotateKey>
export const CreatedKey = Type.Object({ ...Key.properties, key: Type.String({ description: 'Shown once' }) })
export type CreatedKey = Static<typeof CreatedKey>
export const RotatedKey = Type.Object({
  ...CreatedKey.properties,
  rotates: Type.Object({ key_id: Type.String(), expires_at: Instant }, { description: 'The old key, and its end' }),
})
export type RotatedKey = Static<typeof RotatedKey>
