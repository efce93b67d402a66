import { type Static, Type } from 'typebox'
import { Constraints } from './jobs.js'
import { AnyJson, Hash, HashOrShort, Id, Instant, Note, Nullable, PageQuery } from './scalars.js'

const closed = { additionalProperties: false }
export const ApprovalStatus = Type.Union([
  Type.Literal('pending'),
  Type.Literal('approved'),
  Type.Literal('rejected'),
  Type.Literal('expired'),
  Type.Literal('void'),
])
export type ApprovalStatus = Static<typeof ApprovalStatus>

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
  specs: Type.Array(
    Type.Object({
      from: Type.Array(Type.String()),
      need: Type.Integer(),
      within_ms: Type.Integer(),
      then: Type.String(),
      valid_for_ms: Type.Integer(),
    }),
  ),
  answers: Type.Array(
    Type.Object({ by: Type.String(), answer: Type.String(), at: Instant, note: Nullable(Type.String()) }),
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
  { ...PageQuery.properties, status: Type.Optional(ApprovalStatus), job_id: Type.Optional(Id) },
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
