import { type Static, Type } from 'typebox'
import { Constraints } from './jobs.js'
import { AnyJson, described, Labels, Millis, Name, Nullable, RiskTags, Topic } from './scalars.js'

const closed = { additionalProperties: false }
const Lease = Type.String({ pattern: '^lease_[0-9a-z]{10,40}$' })
const EffectKey = Type.String({ pattern: '^[!-~]{1,200}$' })

export const Claim = Type.Object(
  {
    worker_id: Name,
    claim_id: Type.String({
      pattern: '^[A-Za-z0-9_.:-]{8,100}$',
      description: 'Chosen by the worker; a repeat returns the same leases',
    }),
    topics: Type.Array(Topic, { minItems: 1, maxItems: 100, uniqueItems: true }),
    capacity: Type.Integer({ minimum: 1, maximum: 1000 }),
    wait_ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 60_000, default: 0 })),
    enforces: Type.Optional(
      Type.Array(Name, {
        maxItems: 50,
        description: 'Constraints this worker enforces; jobs with others are not given to it',
      }),
    ),
    serves: Type.Optional(
      Type.Array(Type.String({ pattern: '^[!-~]{1,300}@[!-~]{1,100}$' }), {
        maxItems: 8,
        uniqueItems: true,
        description:
          'Versions it does the work of, NAME@VERSION: `agent:support-bot@2.0`. One that is the candidate of a rollout gets its slice and nothing else',
      }),
    ),
    effects: Type.Optional(
      Type.Union([Type.Literal('recorded'), Type.Literal('none')], {
        description: 'none: a lost lease leaves the job ambiguous unless its class is idempotent',
      }),
    ),
  },
  closed,
)
export type Claim = Static<typeof Claim>

export const LeasedJob = Type.Object({
  lease: Type.String(),
  attempt: Type.Integer(),
  remaining_ms: Type.Integer({ description: 'Of this attempt, from the answer on; a duration, because clocks differ' }),
  heartbeat_ms: Type.Integer({ description: 'Send a heartbeat at least this often; three missed lose the lease' }),
  constraints: Constraints,
  job: Type.Object({
    job_id: Type.String(),
    run_id: Type.String(),
    tenant: Type.String(),
    agent: Type.String(),
    topic: Type.String(),
    labels: Type.Record(Type.String(), Type.String()),
    risk_tags: Type.Array(Type.String()),
    environment: Nullable(Type.String()),
    action_type: Nullable(Type.String()),
    capability: Nullable(Type.String()),
    action: Nullable(Type.String()),
    workflow: Nullable(Type.String()),
    input: AnyJson,
    context: AnyJson,
    job_hash: Type.String(),
    policy_snapshot: Type.String(),
    max_attempts: Type.Integer(),
  }),
  effects: Type.Array(Type.Object({ key: Type.String(), status: Type.String(), result: AnyJson }), {
    description: 'Effects of earlier attempts that are committed: do not repeat them',
  }),
})
export type LeasedJob = Static<typeof LeasedJob>
export const Claimed = Type.Object({
  leases: Type.Array(LeasedJob),
  head: Nullable(Type.String({ description: 'Newest signed audit head; keep the highest' })),
})
export type Claimed = Static<typeof Claimed>

export const Heartbeat = Type.Object(
  {
    leases: Type.Array(Type.Object({ lease: Lease, progress: Type.Optional(AnyJson) }, closed), {
      minItems: 1,
      maxItems: 1000,
    }),
  },
  closed,
)
export type Heartbeat = Static<typeof Heartbeat>
export const HeartbeatAnswer = Type.Object({
  leases: Type.Array(
    Type.Object({
      lease: Type.String(),
      answer: Type.Union([Type.Literal('ok'), Type.Literal('cancel'), Type.Literal('lost')]),
      remaining_ms: Type.Integer(),
    }),
  ),
})
export type HeartbeatAnswer = Static<typeof HeartbeatAnswer>

/** What undoes an effect. Agent, run and workflow are those of the job; its labels, tags and environment hold here too. */
export const Compensation = Type.Object(
  {
    topic: Topic,
    input: Type.Optional(AnyJson),
    labels: Type.Optional(described(Labels, 'Beside those of the job, which win')),
    risk_tags: Type.Optional(described(RiskTags, 'Beside those of the job')),
    environment: Type.Optional(described(Name, 'That of the job where left out')),
    action_type: Type.Optional(Name),
    capability: Type.Optional(Name),
    action: Type.Optional(Name),
    timeout_ms: Type.Optional(Millis),
    max_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  },
  {
    additionalProperties: false,
    description:
      'The job that undoes this effect. Kept where a rollout gave the work to its candidate, and asked for through both doors when that is rolled back, last first. At most 32 KiB',
  },
)
export type Compensation = Static<typeof Compensation>

export const Effect = Type.Object(
  {
    lease: Lease,
    key: EffectKey,
    phase: Type.Union([Type.Literal('begin'), Type.Literal('commit')]),
    result: Type.Optional(AnyJson),
    compensation: Type.Optional(Compensation),
  },
  closed,
)
export type Effect = Static<typeof Effect>
export const EffectAnswer = Type.Object({
  key: Type.String(),
  status: Type.Union([Type.Literal('begun'), Type.Literal('committed')]),
  idempotency_key: Type.String({
    description: 'From job and key, the same in every attempt: send it to the outside system',
  }),
  remaining_ms: Type.Integer(),
  result: Type.Optional(AnyJson),
  verdict: Type.Optional(Type.String()),
})
export type EffectAnswer = Static<typeof EffectAnswer>

/** Bounded because attempts are summed into int8 and double columns: one value past them would fail a whole commit. */
const Usage = Type.Object(
  {
    tokens: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000_000_000 })),
    cost: Type.Optional(Type.Number({ minimum: 0, maximum: 1_000_000_000_000 })),
  },
  closed,
)

export const Completion = Type.Object(
  {
    lease: Lease,
    outcome: Type.Union([Type.Literal('succeeded'), Type.Literal('failed')]),
    result: Type.Optional(AnyJson),
    error: Type.Optional(
      Type.Object(
        {
          class: Type.Union([Type.Literal('transient'), Type.Literal('terminal')]),
          code: Type.String({ pattern: '^[A-Za-z0-9_.-]{1,100}$' }),
          message: Type.String({ maxLength: 8192 }),
        },
        closed,
      ),
    ),
    usage: Type.Optional(Usage),
  },
  closed,
)
export type Completion = Static<typeof Completion>
export const Complete = Type.Array(Completion, { minItems: 1, maxItems: 1000 })
export const CompleteAnswer = Type.Object({
  leases: Type.Array(
    Type.Object({
      lease: Type.String(),
      answer: Type.String({ description: 'ok | lost | conflict' }),
      job_id: Nullable(Type.String()),
      status: Nullable(Type.String()),
    }),
  ),
})
export type CompleteAnswer = Static<typeof CompleteAnswer>
