import { type Static, Type } from 'typebox'
import { described, Instant, Note, Nullable } from './scalars.js'

const words = <Word extends string>(...all: readonly Word[]) =>
  Type.Unsafe<Word>(Type.Union(all.map((word) => Type.Literal(word))))

export const ReadyState = words('pass', 'block', 'unknown')

/** What a person may attest: ids of controls and items. */
export const Attestable = words(
  'key_rotation',
  'egress_allowlist',
  'retry_classes',
  'cost_budgets',
  'on_call_runbook',
  'run_state',
  'on_call_answers',
)

/** A person's word for what no row shows. */
export const Attest = Type.Object(
  {
    subject: Attestable,
    note: { ...Note, minLength: 1, description: 'What was looked at; kept in the audit log' },
    link: Type.Optional(
      Type.String({
        pattern: '^https?://[!-~]{1,500}$',
        maxLength: 510,
        description: 'Where it can be read',
        examples: ['https://wiki.example.com/runbooks/agents'],
      }),
    ),
    expires_at: Type.Optional(described(Instant, 'Within a year; left out, 90 days from now')),
  },
  { additionalProperties: false },
)
export type Attest = Static<typeof Attest>

export const Attestation = Type.Object({
  attestation_id: Type.String(),
  subject: Type.String(),
  attested_by: Type.String(),
  note: Type.String(),
  link: Nullable(Type.String()),
  at: Instant,
  expires_at: Instant,
})
export type Attestation = Static<typeof Attestation>

export const ReadyFinding = Type.Object({
  state: ReadyState,
  reason: Type.String({ description: 'In words, with the figures it rests on' }),
  link: Type.String({
    description: 'Where the fact can be read: a path of this server, a document, or what a person named',
  }),
  at: Nullable(described(Instant, 'When the fact was made')),
  expires_at: Nullable(Instant),
  owner: Nullable(Type.String()),
  attestable: Nullable(Type.String({ description: 'As what a person may attest it, where no row shows it' })),
})

export const ReadyEntry = Type.Object({
  id: Type.String(),
  number: Type.Integer({ description: 'Its place in the list' }),
  area: Nullable(Type.String({ description: 'Of a control' })),
  title: Type.String(),
  signal: Type.String({ description: 'What would have to be seen' }),
  blocks_launch: Type.Boolean(),
  state: ReadyState,
  reason: Type.String({ description: 'What is wrong, else what is not known, else what shows it' }),
  link: Type.String(),
  findings: Type.Array(ReadyFinding),
  owner: Nullable(Type.String()),
  at: Nullable(described(Instant, 'Of the oldest fact that decided it')),
  expires_at: Nullable(described(Instant, 'When the first of its facts stops counting')),
  attestable: Nullable(Type.String()),
  attestation: Nullable(
    Type.Object({
      ...Attestation.properties,
      counts: Type.Boolean({ description: 'It fills what is unknown' }),
    }),
  ),
})
export type ReadyEntry = Static<typeof ReadyEntry>

export const Readiness = Type.Object({
  ready: Type.Boolean({ description: 'Nothing that blocks a launch is blocked or unknown' }),
  at: Instant,
  tenant: Type.String(),
  snapshot: Nullable(Type.String({ description: 'Digest of the active policy' })),
  controls: Type.Array(ReadyEntry, { description: 'The 20 controls' }),
  items: Type.Array(ReadyEntry, { description: 'The ten go-live items' }),
  blocked_by: Type.Array(Type.String(), { description: 'Ids of what holds the launch up' }),
})
export type Readiness = Static<typeof Readiness>
