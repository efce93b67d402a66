import { type Static, Type } from 'typebox'
import { TopicPattern } from './keys.js'
import { AnyJson, Instant, Name, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
const words = <Word extends string>(...all: Word[]) =>
  Type.Unsafe<Word>(Type.Union(all.map((word) => Type.Literal(word))))
const Text = Type.String({ maxLength: 2000 })

export const DataScope = Type.Object(
  {
    system: Name,
    tables: Type.Array(Name, { minItems: 1, maxItems: 500, description: '`*` is every table' }),
    fields: Type.Optional(Nullable(Type.Array(Name, { minItems: 1, maxItems: 500 }))),
    access: words('read', 'write'),
  },
  closed,
)

/** What an agent may do at all, whatever policy allows; what is left out does not bind it. */
export const AgentTerms = Type.Object(
  {
    version: Type.Optional(Nullable(Name)),
    topics: Type.Optional(Nullable(Type.Array(TopicPattern, { minItems: 1, maxItems: 500 }))),
    actions: Type.Optional(
      Nullable(
        Type.Array(Name, { minItems: 1, maxItems: 100, description: 'Action types, as the server holds them true' }),
      ),
    ),
    data: Type.Optional(Nullable(Type.Array(DataScope, { maxItems: 200 }))),
    risk_tier: Type.Optional(Nullable(words('low', 'medium', 'high'))),
    fallback: Type.Optional(Nullable(Text)),
    breaker: Type.Optional(
      Nullable(
        Type.Object(
          {
            failures: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 3, description: 'In a row' })),
            rate: Type.Optional(
              Nullable(
                Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'Share of failures among the last `of`' }),
              ),
            ),
            of: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 20 })),
            cool_down_ms: Type.Optional(Type.Integer({ minimum: 1000, maximum: 86_400_000, default: 600_000 })),
          },
          { ...closed, description: 'When failures take the agent out by themselves' },
        ),
      ),
    ),
  },
  closed,
)
export type AgentTerms = Static<typeof AgentTerms>

export const Kind = words('person', 'agent', 'worker', 'service')
const Office = words('admin', 'operator', 'approver', 'auditor', 'viewer')

export const Principal = Type.Object({
  principal: Type.String(),
  kind: Kind,
  role: Type.String(),
  team: Nullable(Type.String()),
  name: Nullable(Type.String()),
  email: Nullable(Type.String()),
  slack: Nullable(Type.String({ description: 'Id in Slack, U…' })),
  terms: Nullable(AnyJson),
  source: Type.String({ description: 'file, api, or key: declared by the making of its first key' }),
  created_at: Instant,
  updated_at: Instant,
  updated_by: Type.String(),
  disabled_at: Nullable(Instant),
})
export type Principal = Static<typeof Principal>
export const PrincipalPage = Type.Object({ items: Type.Array(Principal), next_cursor: Nullable(Type.String()) })
export type PrincipalPage = Static<typeof PrincipalPage>

export const PutPrincipal = Type.Object(
  {
    kind: Kind,
    role: Type.Optional({ ...Office, description: 'Of people and services; agents and workers have their own' }),
    team: Type.Optional(Nullable(Name)),
    name: Type.Optional(Nullable(Text)),
    email: Type.Optional(Nullable(Type.String({ maxLength: 254, pattern: '^[^@\\s]+@[^@\\s]+$' }))),
    slack: Type.Optional(
      Nullable(
        Type.String({ pattern: '^[UW][A-Z0-9]{2,30}$', description: 'Id in Slack: answers there as this person' }),
      ),
    ),
    terms: Type.Optional(Nullable(AgentTerms)),
    disabled: Type.Optional(Type.Literal(false, { description: 'One that was disabled may act again' })),
  },
  closed,
)
export type PutPrincipal = Static<typeof PutPrincipal>

export const Team = Type.Object({
  team: Type.String(),
  name: Nullable(Type.String()),
  leads: Type.Array(Type.String()),
  on_call: Type.Array(Type.String(), { description: 'Who is asked first stands first' }),
  source: Type.String(),
  updated_at: Instant,
  updated_by: Type.String(),
})
export type Team = Static<typeof Team>
export const TeamPage = Type.Object({ items: Type.Array(Team), next_cursor: Nullable(Type.String()) })
export type TeamPage = Static<typeof TeamPage>
export const PutTeam = Type.Object(
  {
    name: Type.Optional(Nullable(Text)),
    leads: Type.Optional(Type.Array(Name, { maxItems: 50, uniqueItems: true })),
    on_call: Type.Optional(Type.Array(Name, { maxItems: 50, uniqueItems: true })),
  },
  closed,
)
export type PutTeam = Static<typeof PutTeam>

/** `sallyport.yaml` as it stands in the file. */
export const DirectoryFile = Type.Object(
  {
    path: Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f]+$', maxLength: 400 }),
    text: Type.String({ maxLength: 1_048_576 }),
  },
  closed,
)
export type DirectoryFile = Static<typeof DirectoryFile>
export const DirectoryChanges = Type.Object({
  changes: Type.Array(
    Type.Object({
      change: words('added', 'changed', 'disabled', 'enabled', 'removed'),
      what: words('team', 'principal', 'channel', 'sign_on'),
      id: Type.String(),
      fields: Type.Array(Type.Object({ path: Type.String(), before: AnyJson, after: AnyJson })),
    }),
  ),
  notes: Type.Array(Type.String(), {
    description:
      'What may not be meant: who stays disabled, leads whom no question reaches, flows that lose their people',
  }),
})
export type DirectoryChanges = Static<typeof DirectoryChanges>
