import { type Static, Type } from 'typebox'
import { Constraints } from './jobs.js'
import { AnyJson, described, Hash, HashOrShort, Id, Instant, Note, Nullable, PageQuery } from './scalars.js'

const closed = { additionalProperties: false }
export const ApprovalStatus = Type.Union([
  Type.Literal('pending'),
  Type.Literal('approved'),
  Type.Literal('rejected'),
  Type.Literal('expired'),
  Type.Literal('void'),
])
export type ApprovalStatus = Static<typeof ApprovalStatus>

const RemindAfter = Type.Integer({ description: 'Absent: half of the time, at most a day' })
const ApprovalLevel = Type.Object({
  from: Type.Array(Type.String()),
  need: Type.Integer(),
  within_ms: Type.Integer(),
  remind_after_ms: Type.Optional(RemindAfter),
})
export const ApprovalFlow = Type.Object({
  from: Type.Array(Type.String(), { description: 'Who is asked; of a flow of several levels, by all of them' }),
  need: Type.Integer(),
  within_ms: Type.Integer(),
  remind_after_ms: Type.Optional(RemindAfter),
  then: Type.String(),
  valid_for_ms: Type.Integer(),
  levels: Type.Optional(Type.Array(ApprovalLevel)),
  order: Type.Optional(Type.Literal('parallel', { description: 'Absent: one level after the other' })),
  kind: Type.Optional(Type.Literal('confirmation', { description: 'Absent: four eyes' })),
  ladder: Type.Optional(Type.Array(Type.Object({ from: Type.Array(Type.String()), after_ms: Type.Integer() }))),
})

export const Approval = Type.Object({
  approval_id: Type.String(),
  status: ApprovalStatus,
  job_id: Type.String(),
  topic: Type.String(),
  agent: Type.String(),
  requested_by: Type.String(),
  requested_at: Instant,
  expires_at: Instant,
  valid_until: Nullable(Instant),
  reason: Type.String({ description: 'Why policy asks' }),
  rules: Type.Array(Type.String()),
  constraints: Constraints,
  policy_snapshot: Type.String(),
  job_hash: Hash,
  grant_hash: Hash,
  short_hash: Type.String({ description: 'For people, e.g. v1:7f93d2c; lengthens until unique among pending ones' }),
  specs: Type.Array(ApprovalFlow, { description: 'Flows, one for each rule that asks: all of them must be satisfied' }),
  asked_of: Type.Array(Type.String(), { description: 'Principals who are asked now, where the directory knows them' }),
  open: Type.Array(
    Type.Object({
      flow: Type.Integer(),
      level: Type.Integer(),
      since: Instant,
      missing: Type.Integer(),
      unanswerable_since: Type.Optional(described(Instant, 'Since when too few are left who may answer')),
    }),
    { description: 'Levels that may be answered now, by their places in specs, and how many people each still lacks' },
  ),
  escalations: Type.Array(
    Type.Object({ flow: Type.Integer(), level: Type.Integer(), rung: Type.Integer(), at: Instant }),
    { description: 'Rungs of the ladder that were asked in addition' },
  ),
  reminders: Type.Array(Type.Object({ flow: Type.Integer(), level: Type.Integer(), at: Instant }), {
    description: 'Levels whose people were asked once more',
  }),
  answers: Type.Array(
    Type.Object({
      by: Type.String(),
      for: Type.Optional(Type.String({ description: 'Who is away, and gave this say to `by`' })),
      via: Type.Optional(Type.String({ description: 'The channel it came through, where not by a key' })),
      answer: Type.String(),
      at: Instant,
      note: Nullable(Type.String()),
    }),
  ),
  edits: Type.Array(
    Type.Object({
      by: Type.String(),
      at: Instant,
      note: Nullable(Type.String()),
      paths: Type.Array(Type.String()),
      before: Type.Optional(AnyJson),
      after: Type.Optional(AnyJson),
    }),
    {
      description: 'Inputs that reviewers replaced, oldest first; before and after of each where one approval is read',
    },
  ),
  job: Type.Optional(
    Type.Object(
      {
        agent_version: Nullable(Type.String()),
        labels: Type.Record(Type.String(), Type.String()),
        risk_tags: Type.Array(Type.String()),
        environment: Nullable(Type.String()),
        action_type: Nullable(Type.String()),
        capability: Nullable(Type.String()),
        action: Nullable(Type.String()),
        workflow: Nullable(Type.String()),
        timeout_ms: Nullable(Type.Integer()),
        max_attempts: Nullable(Type.Integer()),
        not_before: Nullable(Instant),
        effective: Type.Unknown({
          description: 'labels, risk_tags, environment and action_type as the server holds them true; bound as well',
        }),
        input: AnyJson,
        context: AnyJson,
      },
      { description: 'Everything job_hash binds, as it was submitted' },
    ),
  ),
})
export type Approval = Static<typeof Approval>
export const ApprovalPage = Type.Object({ items: Type.Array(Approval), next_cursor: Nullable(Type.String()) })
export type ApprovalPage = Static<typeof ApprovalPage>
export const ApprovalQuery = Type.Object(
  {
    ...PageQuery.properties,
    status: Type.Optional(ApprovalStatus),
    job_id: Type.Optional(Id),
    mine: Type.Optional(Type.Boolean({ description: 'Only pending ones that you are asked now' })),
  },
  closed,
)
export type ApprovalQuery = Static<typeof ApprovalQuery>

/** What the reviewer saw: the grant hash, or job hash and snapshot together. */
export const Approve = Type.Object(
  {
    grant_hash: Type.Optional(HashOrShort),
    job_hash: Type.Optional(HashOrShort),
    policy_snapshot: Type.Optional(HashOrShort),
    note: Type.Optional(Note),
  },
  closed,
)
export type Approve = Static<typeof Approve>
export const Reject = Type.Object(
  { reason: Type.String({ minLength: 1, maxLength: 2000 }), grant_hash: Type.Optional(HashOrShort) },
  closed,
)
export type Reject = Static<typeof Reject>

/** The echo of what was seen, and what its input is to be instead. */
export const Edit = Type.Object({ ...Approve.properties, input: AnyJson }, closed)
export type Edit = Static<typeof Edit>
