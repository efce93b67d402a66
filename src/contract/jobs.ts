import { type Static, Type } from 'typebox'
import {
  AnyJson,
  DecisionWord,
  described,
  Hash,
  Id,
  Instant,
  Labels,
  Millis,
  Name,
  Note,
  Nullable,
  PageQuery,
  RiskTags,
  RunId,
  Topic,
  Verdict,
} from './scalars.js'

const closed = { additionalProperties: false }

export const SubmitJob = Type.Object(
  {
    topic: Topic,
    labels: Type.Optional(Labels),
    risk_tags: Type.Optional(RiskTags),
    input: Type.Optional(AnyJson),
    context: Type.Optional(AnyJson),
    run_id: Type.Optional(described(RunId, 'The task this belongs to; made for you when left out')),
    workflow: Type.Optional(described(Name, 'Name of the task’s kind, for matching and for people')),
    capability: Type.Optional(described(Name, 'Area the action belongs to, e.g. payments')),
    action: Type.Optional(described(Name, 'The action within it, e.g. refund')),
    action_type: Type.Optional(described(Name, 'e.g. read, write, delete, deploy, refund; some count as high risk')),
    environment: Type.Optional(described(Name, 'e.g. production; the policy may derive it from the input')),
    agent: Type.Optional(described(Name, 'Must be the principal of the key, unless the key may act as this agent')),
    agent_version: Type.Optional(
      described(Name, 'Version of the agent that asks; refused where a rollout gives this work to another'),
    ),
    timeout_ms: Type.Optional(described(Millis, 'For one attempt; policy may only shorten it')),
    max_attempts: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100, description: 'Including the first; policy may lower it' }),
    ),
    priority: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 9, description: 'Higher goes first; 5 when left out' }),
    ),
    not_before: Type.Optional(described(Instant, 'No worker gets it before, milliseconds since 1970-01-01 UTC')),
    revises: Type.Optional(described(Id, 'A job that it takes the place of; shown to reviewers, and nothing else')),
  },
  closed,
)
export type SubmitJob = Static<typeof SubmitJob>

/** The key goes with the item here because one header cannot serve a thousand. */
export const SubmitBatch = Type.Object(
  {
    jobs: Type.Array(
      Type.Object(
        { ...SubmitJob.properties, idempotency_key: Type.Optional(Type.String({ pattern: '^[!-~]{1,200}$' })) },
        closed,
      ),
      { minItems: 1, maxItems: 1000 },
    ),
  },
  closed,
)
export type SubmitBatch = Static<typeof SubmitBatch>

export const JobStatus = Type.Union(
  [
    Type.Literal('pending_approval'),
    Type.Literal('queued'),
    Type.Literal('running'),
    Type.Literal('retrying'),
    Type.Literal('ambiguous'),
    Type.Literal('succeeded'),
    Type.Literal('quarantined'),
    Type.Literal('rejected'),
    Type.Literal('expired'),
    Type.Literal('cancelled'),
    Type.Literal('dead_letter'),
    Type.Literal('discarded'),
    Type.Literal('denied'),
  ],
  { description: 'The state of a job; the same word in the row, on the wire and in the audit log' },
)
export type JobStatus = Static<typeof JobStatus>

export const Constraints = Type.Record(Type.String(), Type.Unknown(), {
  description: 'Constraints of every matching rule, merged to the tightest',
})

export const Accepted = Type.Object({
  job_id: Type.String(),
  status: JobStatus,
  decision: DecisionWord,
  decision_id: Type.String(),
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  policy_snapshot: Type.String({ description: 'Short form, e.g. v1:7f93d2c' }),
  job_hash: Hash,
  run_id: Type.String(),
  approval_id: Type.Optional(Type.String()),
  granted_by: Type.Optional(Type.String({ description: 'The grant that let it through in the place of an answer' })),
  grant_hash: Type.Optional(Hash),
})
export type Accepted = Static<typeof Accepted>

/** Of an agent in the shadow: decided and recorded, and nothing of it runs. */
export const Shadowed = Type.Object({
  status: Type.Literal('shadowed'),
  decision: DecisionWord,
  decision_id: Type.String(),
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  policy_snapshot: Type.String({ description: 'Short form, e.g. v1:7f93d2c' }),
  job_hash: Hash,
})
export type Shadowed = Static<typeof Shadowed>

export const BatchAnswer = Type.Object({
  items: Type.Array(
    Type.Object({ status: Type.Integer({ description: 'HTTP status of this item' }), body: Type.Unknown() }),
  ),
})
export type BatchAnswer = Static<typeof BatchAnswer>

export const Job = Type.Object({
  job_id: Type.String(),
  tenant: Type.String(),
  run_id: Type.String(),
  workflow: Nullable(Type.String()),
  agent: Type.String(),
  agent_version: Nullable(Type.String()),
  rollout_id: Nullable(Type.String({ description: 'The rollout that drew who does it' })),
  variant: Nullable(
    Type.Union([Type.Literal('candidate'), Type.Literal('control')], {
      description: '`control`: the stable version does it, and the candidate is compared with it',
    }),
  ),
  requested_by: Type.String(),
  topic: Type.String(),
  labels: Type.Record(Type.String(), Type.String()),
  risk_tags: Type.Array(Type.String()),
  environment: Nullable(Type.String()),
  action_type: Nullable(Type.String()),
  capability: Nullable(Type.String()),
  action: Nullable(Type.String()),
  priority: Type.Integer(),
  status: JobStatus,
  status_reason: Nullable(
    Type.String({ description: 'Why it is in this state, e.g. no_worker, approval_expired, cancel' }),
  ),
  attempt: Type.Integer({ description: 'Attempts started' }),
  max_attempts: Type.Integer(),
  timeout_ms: Type.Integer(),
  decision: DecisionWord,
  decision_id: Type.String(),
  reason: Type.String(),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  policy_snapshot: Type.String(),
  high_risk: Type.Boolean(),
  job_hash: Hash,
  grant_hash: Nullable(Hash),
  approval_id: Nullable(Type.String()),
  granted_by: Nullable(Type.String({ description: 'The grant that let it through in the place of an answer' })),
  revises: Nullable(Type.String({ description: 'The job it says it takes the place of' })),
  feedback: Type.Optional(Type.String({ description: 'What a reviewer asked to have changed; only where one did' })),
  context_ptr: Nullable(Type.String()),
  input_ptr: Nullable(Type.String()),
  result_ptr: Nullable(Type.String()),
  verdict: Nullable(Verdict),
  error: Nullable(Type.Object({ class: Type.String(), code: Type.String(), message: Type.String() })),
  progress: Nullable(Type.Unknown()),
  cancel_requested: Type.Boolean(),
  owner: Nullable(Type.String()),
  respond_by: Nullable(Instant),
  created_at: Instant,
  updated_at: Instant,
  due_at: Instant,
  finished_at: Nullable(Instant),
  effects: Type.Optional(
    Type.Array(
      Type.Object({
        key: Type.String(),
        status: Type.String(),
        attempt: Type.Integer(),
        begun_at: Instant,
        ended_at: Nullable(Instant),
      }),
    ),
  ),
})
export type Job = Static<typeof Job>

export const JobPage = Type.Object({ items: Type.Array(Job), next_cursor: Nullable(Type.String()) })
export type JobPage = Static<typeof JobPage>
export const JobQuery = Type.Object(
  {
    ...PageQuery.properties,
    status: Type.Optional(JobStatus),
    topic: Type.Optional(Topic),
    run_id: Type.Optional(RunId),
    agent: Type.Optional(Name),
  },
  closed,
)
export type JobQuery = Static<typeof JobQuery>

export const TimelineEntry = Type.Object({
  at: Instant,
  kind: Type.String({ description: 'Audit fact, e.g. job.submitted, approval.approved, effect.committed' }),
  actor: Type.String(),
  writer: Type.String(),
  seq: Type.Integer({ description: 'Tile of the writer this entry stands in' }),
  index: Nullable(
    Type.Integer({ description: 'Place in the tenant’s audit tree; null until integrated (about a second)' }),
  ),
  facts: Type.Record(Type.String(), Type.Unknown()),
})
export type TimelineEntry = Static<typeof TimelineEntry>
export const Timeline = Type.Object(
  { items: Type.Array(TimelineEntry), next_cursor: Nullable(Type.String()) },
  { description: 'What happened to one job or run, oldest first' },
)
export type Timeline = Static<typeof Timeline>

export const Result = Type.Object({
  job_id: Type.String(),
  verdict: Verdict,
  findings: Type.Array(Type.Unknown()),
  output: AnyJson,
  released_by: Nullable(Type.String()),
})
export type Result = Static<typeof Result>
export const CancelJob = Type.Object({ reason: Type.Optional(Note) }, closed)
export const ResolveJob = Type.Object(
  {
    effect_key: Type.String({ minLength: 1, maxLength: 200 }),
    happened: Type.Boolean(),
    result: Type.Optional(AnyJson),
    note: Type.String({ minLength: 1, maxLength: 2000 }),
    then: Type.Optional(
      Type.Union([Type.Literal('retry'), Type.Literal('finish'), Type.Literal('dead_letter')], {
        description:
          'What becomes of the job once every effect is settled. Left out: finish where the whole attempt was in doubt and happened, cancelled where a cancel was asked for, else retry',
      }),
    ),
  },
  closed,
)
export type ResolveJob = Static<typeof ResolveJob>
export const ReasonBody = Type.Object({ reason: Type.String({ minLength: 1, maxLength: 2000 }) }, closed)
export const NoteBody = Type.Object({ note: Type.Optional(Note) }, closed)
export type NoteBody = Static<typeof NoteBody>
export const Pointer = Type.Object({ ptr: Type.String(), kind: Type.String(), value: AnyJson })
export type Pointer = Static<typeof Pointer>

export const Run = Type.Object({
  run_id: Type.String(),
  workflow: Nullable(Type.String()),
  created_at: Instant,
  updated_at: Instant,
  jobs: Type.Integer(),
  by_status: Type.Record(Type.String(), Type.Integer()),
  items: Type.Array(Job),
})
export type Run = Static<typeof Run>
