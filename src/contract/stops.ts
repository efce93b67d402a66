import { type Static, Type } from 'typebox'
import { TopicPattern } from './keys.js'
import { Instant, Name, Nullable, PageQuery } from './scalars.js'

const closed = { additionalProperties: false }
const yes = Type.Literal(true)
const Words = Type.String({ minLength: 1, maxLength: 2000 })
const Ms = Type.Integer({ minimum: 0 })

/** One of them, and nothing beside it. */
export const StopScope = Type.Union(
  [
    Type.Object({ tenant: yes }, closed),
    Type.Object({ team: Name }, closed),
    Type.Object({ agent: Name }, closed),
    Type.Object({ topic: TopicPattern }, closed),
    Type.Object({ everything: yes }, closed),
  ],
  { description: 'What is stopped; `everything` is all tenants' },
)
export type StopScope = Static<typeof StopScope>

export const RaiseStop = Type.Object(
  {
    scope: StopScope,
    reason: { ...Words, description: 'Told to everyone who is refused' },
    wait_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 30_000,
        default: 5000,
        description: 'How long the answer may wait for every node and lease to confirm',
      }),
    ),
  },
  closed,
)
export type RaiseStop = Static<typeof RaiseStop>

export const ResumeStop = Type.Object(
  {
    stage: Type.Union([Type.Literal('trial'), Type.Literal('full')], {
      description: '`trial` lets a few jobs a minute through and none of high risk; `full` ends the stop after it',
    }),
    note: Words,
    trial_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 604_800_000,
        default: 600_000,
        description: 'How long the trial lasts at least',
      }),
    ),
    trial_limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        default: 10,
        description: 'Jobs a minute that the trial lets through',
      }),
    ),
  },
  closed,
)
export type ResumeStop = Static<typeof ResumeStop>

const Stage = Type.Union([Type.Literal('stopped'), Type.Literal('trial'), Type.Literal('full')])
const summary = {
  stop_id: Type.String(),
  scope: StopScope,
  reason: Type.String(),
  raised_by: Type.String(),
  raised_at: Instant,
  stage: Stage,
  trial_until: Nullable(Instant),
  trial_limit: Nullable(Type.Integer({ description: 'Jobs a minute' })),
  resume: Nullable(
    Type.Object(
      {
        stage: Type.String(),
        by: Type.String(),
        at: Instant,
        note: Type.String(),
        trial_ms: Nullable(Ms),
        trial_limit: Nullable(Type.Integer()),
      },
      { description: 'What one person asked for; another who says the same within an hour carries it out' },
    ),
  ),
  steps: Type.Array(
    Type.Object({
      stage: Type.String(),
      asked_by: Type.String(),
      by: Type.String(),
      at: Instant,
      note: Type.String(),
    }),
    { description: 'Stages that were reached, with the two who answer for each' },
  ),
  ended_at: Nullable(Instant),
}
export const StopSummary = Type.Object(summary)
export type StopSummary = Static<typeof StopSummary>
export const StopPage = Type.Object({ items: Type.Array(StopSummary), next_cursor: Nullable(Type.String()) })
export type StopPage = Static<typeof StopPage>

export const OpenEffect = Type.Object({
  tenant: Type.String(),
  job_id: Type.String(),
  effect_key: Type.String(),
  begun_at: Instant,
  agent: Type.String(),
  topic: Type.String(),
  job_status: Type.String(),
})

/** With what came of it. Every time is measured from the call. */
export const Stop = Type.Object({
  ...summary,
  state: Type.Union([Type.Literal('confirmed'), Type.Literal('unconfirmed')], {
    description: '`confirmed`: every node has read the gate since, and every lease it found has ended',
  }),
  refused_ms: Nullable({ ...Ms, description: 'Until nothing of the scope could be committed any more, on any node' }),
  confirmed_ms: Nullable({ ...Ms, description: 'Until the last node and the last lease; null while one is missing' }),
  nodes: Type.Array(
    Type.Object({
      node: Type.String(),
      confirmed_ms: Nullable(Ms),
      silent_ms: Nullable({ ...Ms, description: 'Since when nobody has heard from it; null: it has left in order' }),
    }),
  ),
  leases: Type.Object({
    total: Type.Integer({ description: 'Running when it was raised' }),
    ended: Type.Integer(),
    open: Type.Integer(),
    ended_ms: Nullable({ ...Ms, description: 'Until the last of them had ended' }),
  }),
  open_effects: Type.Array(OpenEffect, {
    description:
      'Begun and not known to have happened: no open lease is not no open effect. The 500 oldest; those of other tenants only for an admin of `default`',
  }),
  open_effects_total: Type.Integer({ description: 'All of them' }),
  warning: Nullable(
    Type.String({ description: 'What to look at twice, such as a name that the directory does not know' }),
  ),
})
export type Stop = Static<typeof Stop>

export const StopQuery = Type.Object(
  { active: Type.Optional(Type.Boolean({ description: 'Only those that have not ended' })), ...PageQuery.properties },
  closed,
)
export type StopQuery = Static<typeof StopQuery>

export const Breaker = Type.Object({
  agent: Type.String(),
  state: Type.Union([Type.Literal('open'), Type.Literal('half_open'), Type.Literal('closed')]),
  failures: Type.Integer(),
  reason: Type.String(),
  opened_at: Instant,
  retry_at: { ...Instant, description: 'From then on one job at a time is tried' },
  cool_down_ms: Ms,
  closed_at: Nullable(Instant),
  closed_by: Nullable(Type.String()),
})
export type Breaker = Static<typeof Breaker>
export const BreakerPage = Type.Object({ items: Type.Array(Breaker), next_cursor: Nullable(Type.String()) })
export type BreakerPage = Static<typeof BreakerPage>
