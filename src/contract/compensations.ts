import { type Static, Type } from 'typebox'
import { TimelineEntry } from './jobs.js'
import { RolloutSubject } from './rollouts.js'
import { DecisionWord, described, Id, Instant, Name, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
const Ms = Type.Integer({ minimum: 0 })
const Words = Type.String({ minLength: 1, maxLength: 2000 })
const EffectKey = Type.String({ pattern: '^[!-~]{1,200}$' })

export const RetryCompensations = Type.Object(
  {
    job_id: Type.Optional(described(Id, 'Only those of this job; all that stand in the way where left out')),
    effect_key: Type.Optional(EffectKey),
    note: Type.Optional(described(Words, 'Kept with dead letters that are run again')),
  },
  closed,
)
export type RetryCompensations = Static<typeof RetryCompensations>

export const Retried = Type.Object({
  asked: Type.Integer({ description: 'Asked anew, each when its turn comes' }),
  replayed: Type.Array(Type.String(), { description: 'Dead letters that run again, with what they had done kept' }),
  refused: Type.Array(Type.Object({ job_id: Type.String(), code: Type.String() }), {
    description: 'Dead letters that the door, or their state, did not let run again',
  }),
})
export type Retried = Static<typeof Retried>

export const SettleCompensation = Type.Object(
  {
    job_id: described(Id, 'Whose effect it was to undo'),
    effect_key: EffectKey,
    note: described(Words, 'How it was settled; you answer for it in the audit log'),
  },
  closed,
)
export type SettleCompensation = Static<typeof SettleCompensation>

const Status = Type.Union(
  [
    Type.Literal('registered'),
    Type.Literal('asked'),
    Type.Literal('done'),
    Type.Literal('blocked'),
    Type.Literal('settled'),
    Type.Literal('void'),
  ],
  {
    description:
      '`registered`: not yet its turn. `asked`: a job. `blocked`: refused or failed; what was done before it waits. `settled`: by hand. `void`: the effect did not happen',
  },
)

export const RolloutCompensation = Type.Object({
  job_id: described(Type.String(), 'Whose effect it undoes'),
  run_id: Type.String(),
  effect_key: Type.String(),
  topic: Type.String(),
  effect_at: described(Instant, 'When the effect was committed'),
  status: Status,
  reason: Nullable(Type.String({ description: 'Why it waits, or what it failed by: a code' })),
  tries: Type.Integer(),
  asked_at: Nullable(Instant),
  ended_at: Nullable(Instant),
  took_ms: Nullable(described(Ms, 'From the rollback on')),
  settled_by: Nullable(Type.String()),
  raised_by: Nullable(Type.String({ description: 'Who asked for it again' })),
  job: Nullable(Type.Object({ job_id: Type.String(), status: Type.String() })),
  decision: Nullable(
    Type.Object({
      decision_id: Type.String(),
      decision: DecisionWord,
      reason: Type.String(),
      rules: Type.Array(Type.String()),
    }),
  ),
  approval: Nullable(
    Type.Object({
      approval_id: Type.String(),
      status: Type.String(),
      answers: Type.Array(Type.Object({ by: Type.String(), answer: Type.String(), at: Instant })),
    }),
  ),
})
export type RolloutCompensation = Static<typeof RolloutCompensation>

/** Every duration is from the rollback on, but for the detection's. */
export const RollbackReport = Type.Object({
  rollout_id: Type.String(),
  rollout: Name,
  subject: RolloutSubject,
  owners: Type.Object({ reliability: Type.String(), governance: Type.String(), cost: Type.String() }),
  stakeholders: Type.Array(Type.String()),
  rolled_back: Type.Object({
    at: Instant,
    by: Type.String(),
    trigger: Nullable(Type.String()),
    reason: Nullable(Type.String()),
  }),
  detection: Nullable(
    Type.Object(
      { from: described(Instant, 'The first look in a row that said too much'), took_ms: Ms },
      { description: 'Null where a person took it back, or nobody has looked since' },
    ),
  ),
  stop: Type.Object(
    {
      confirmed_ms: Nullable(described(Ms, 'Until the last node had read the gate; null while one has not')),
      nodes: Type.Array(
        Type.Object({
          node: Type.String(),
          confirmed_ms: Nullable(Ms),
          silent_ms: Nullable(described(Ms, 'Since when nobody has heard from it; null: it has left in order')),
        }),
      ),
    },
    {
      description: 'From the rollback on nothing of the candidate can be committed: the gate row refuses it by itself',
    },
  ),
  work: Type.Object({
    on_rollback: Type.Union([Type.Literal('drain'), Type.Literal('cancel')]),
    leases: Type.Integer({ description: 'That ran when it was first looked at' }),
    open: Type.Integer(),
    ended_ms: Nullable(Ms),
    refused: Type.Integer({ description: 'Waiting jobs that were denied' }),
  }),
  compensations: Type.Object({
    total: Type.Integer(),
    by_status: Type.Record(Type.String(), Type.Integer()),
    items: Type.Array(RolloutCompensation, { description: 'The 500 last committed, in the order of undoing' }),
  }),
  recovery: Type.Object({ recovered_at: Nullable(Instant), took_ms: Nullable(Ms) }),
  told: Type.Array(
    Type.Object({
      channel: Type.String(),
      recipient: Type.String(),
      event: Type.String(),
      index: Type.Integer({ description: 'Of the entry it tells' }),
      status: Type.String(),
      at: Nullable(Instant),
    }),
  ),
  timeline: Type.Array(TimelineEntry, { description: 'What the audit log says of the rollout, oldest first' }),
})
export type RollbackReport = Static<typeof RollbackReport>

export const Settled = Type.Object({
  job_id: Type.String(),
  effect_key: Type.String(),
  status: Status,
  settled_by: Nullable(Type.String()),
})
export type Settled = Static<typeof Settled>
