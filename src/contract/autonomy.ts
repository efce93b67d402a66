import { type Static, Type } from 'typebox'
import { Instant, Note, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
const words = <Word extends string>(...all: Word[]) =>
  Type.Unsafe<Word>(Type.Union(all.map((word) => Type.Literal(word))))

export const Stage = words('shadow', 'advisor', 'supervised', 'assisted', 'autonomous')
const Percent = Type.Integer({ minimum: 0, maximum: 100 })
const Rate = Nullable(Type.Number({ description: 'From 0 to 1; null where there is nothing to take it of' }))
const Asked = Type.String({ pattern: '^(team|role|principal|lead|oncall):[^\\s]{1,128}$' })
const settings = {
  spot_check: Type.Optional(Percent),
  least: Type.Optional(Percent),
  most: Type.Optional(Percent),
  asks: Type.Optional(Type.Array(Asked, { minItems: 1, maxItems: 20, uniqueItems: true })),
}

export const Autonomy = Type.Object({
  agent: Type.String(),
  stage: Stage,
  since: Instant,
  spot_check: Type.Integer({ description: 'Percent of what would run in `assisted` that a person sees first' }),
  least: Type.Integer({ description: 'Reviewer load moves spot_check not below' }),
  most: Type.Integer({ description: 'and not above' }),
  asks: Type.Array(Type.String(), { description: 'Who is asked' }),
  proposal: Nullable(
    Type.Object({
      to: Stage,
      by: Type.String(),
      at: Instant,
      note: Nullable(Type.String()),
      settings: Type.Optional(
        Type.Object(settings, {
          description:
            'Not a stage but these, because they loosen: another person who declares the same carries it out',
        }),
      ),
    }),
  ),
  numbers: Type.Object(
    {
      in_stage_ms: Type.Integer(),
      actions: Type.Integer({
        description: 'Jobs that ended well or badly in the last two weeks of the stage; in shadow, evaluations',
      }),
      error_rate: Rate,
      answered: Type.Integer({ description: 'Questions asked in the last two weeks of the stage that were answered' }),
      approval_rate: Rate,
      answered_week: Type.Integer(),
      approval_rate_week: Rate,
      denial_rate: Rate,
    },
    { description: 'Worked out from rows when asked' },
  ),
  criteria: Type.Array(
    Type.Object({
      criterion: Type.String(),
      needs: Type.Number(),
      is: Nullable(Type.Number({ description: 'Null: nothing to take it of, which is never a pass' })),
      holds: Type.Boolean(),
    }),
    { description: 'What the next stage needs; empty at the top' },
  ),
})
export type Autonomy = Static<typeof Autonomy>

const { numbers: _numbers, criteria: _criteria, ...stands } = Autonomy.properties
/** How it stands, without what is worked out from rows. */
export const AutonomyItem = Type.Object(stands)
export type AutonomyItem = Static<typeof AutonomyItem>
export const AutonomyList = Type.Object({ items: Type.Array(AutonomyItem), next_cursor: Nullable(Type.String()) })
export type AutonomyList = Static<typeof AutonomyList>

export const PutAutonomy = Type.Object(
  {
    stage: Stage,
    ...settings,
  },
  closed,
)
export type PutAutonomy = Static<typeof PutAutonomy>

export const Promote = Type.Object({ to: Stage, note: Type.Optional(Note) }, closed)
export type Promote = Static<typeof Promote>
export const Demote = Type.Object({ to: Stage, note: Note }, closed)
export type Demote = Static<typeof Demote>

export const ReviewLoadQuery = Type.Object(
  {
    days: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 90, description: 'Questions asked in the last days; 1 when left out' }),
    ),
  },
  closed,
)
export type ReviewLoadQuery = Static<typeof ReviewLoadQuery>

const Wait = Nullable(Type.Integer({ description: 'From the question to its last answer, ms' }))
export const ReviewLoad = Type.Object({
  window_ms: Type.Integer(),
  pending: Type.Integer(),
  oldest_at: Nullable(Instant),
  answered: Type.Integer(),
  median_wait_ms: Wait,
  p95_wait_ms: Wait,
  burden: Type.Unsafe<'over' | 'light' | 'even'>(
    Type.Union([Type.Literal('over'), Type.Literal('light'), Type.Literal('even')], {
      description: 'over: a median wait past an hour, or more than 20 questions a head',
    }),
  ),
  reviewers: Type.Array(
    Type.Object({
      principal: Type.String(),
      pending: Type.Integer({ description: 'Questions that ask this person now' }),
      answered: Type.Integer(),
      approved: Type.Integer(),
      median_wait_ms: Wait,
    }),
  ),
})
export type ReviewLoad = Static<typeof ReviewLoad>

const Scope = Type.Object({
  system: Type.String(),
  tables: Type.Array(Type.String()),
  fields: Nullable(Type.Array(Type.String())),
  access: words('read', 'write'),
})
export const Workflow = Type.Object({
  workflow: Type.String({ description: 'What jobs say in `workflow`' }),
  topics: Type.Array(Type.String()),
  starts: Type.String({ description: 'CEL: true of the cases that belong to it' }),
  ends: Type.String({ description: 'CEL: true of a case that is over' }),
  data: Type.Array(Scope, { description: 'All that it may touch' }),
  state: Type.Unsafe<'closed' | 'trial' | 'proven'>(
    Type.Union([Type.Literal('closed'), Type.Literal('trial'), Type.Literal('proven')], {
      description: 'proven: ran well for a week',
    }),
  ),
  opened_at: Nullable(Instant),
  opened_by: Nullable(Type.String()),
  closed_at: Nullable(Instant),
  succeeded: Nullable(Type.Integer({ description: 'Jobs since it was opened' })),
  failed: Nullable(Type.Integer()),
})
export type Workflow = Static<typeof Workflow>
export const WorkflowList = Type.Object({ items: Type.Array(Workflow), next_cursor: Nullable(Type.String()) })
export type WorkflowList = Static<typeof WorkflowList>
