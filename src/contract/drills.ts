import { type Static, Type } from 'typebox'
import { Hash, Id, Instant, Nullable, PageQuery, RunId } from './scalars.js'

const closed = { additionalProperties: false }
const words = <Word extends string>(...all: Word[]) =>
  Type.Unsafe<Word>(Type.Union(all.map((word) => Type.Literal(word))))
const Ms = Type.Integer({ minimum: 0, maximum: 31_536_000_000 })

export const DrillName = words('deny', 'approval', 'worker-crash', 'rollback', 'incident-replay', 'stop', 'restore')
export type DrillName = Static<typeof DrillName>

const Note = Type.String({ minLength: 1, maxLength: 20_000 })
export const DrillMade = Type.Object(
  {
    decision_id: Type.Optional(Id),
    job_id: Type.Optional(Id),
    approval_id: Type.Optional(Id),
    stop_id: Type.Optional(Id),
    run_id: Type.Optional(RunId),
    rollout_id: Type.Optional(Id),
    head: Type.Optional({ ...Note, description: 'Signed head of this log, kept outside before the loss' }),
    restored_head: Type.Optional({ ...Note, description: 'Signed head of the copy that was brought up' }),
    proof: Type.Optional(
      Type.Array(Hash, { maxItems: 64, description: 'That the tree of the copy begins with the head, hex' }),
    ),
  },
  { ...closed, description: 'What the drill made; the server looks at it itself' },
)
export type DrillMade = Static<typeof DrillMade>

export const DrillFigures = Type.Object(
  {
    detection_ms: Type.Optional(Ms),
    stop_ms: Type.Optional(Ms),
    compensation_ms: Type.Optional(Ms),
    recovery_ms: Type.Optional(Ms),
    rto_ms: Type.Optional({ ...Ms, description: 'From the loss until it served again' }),
    rpo_ms: Type.Optional({ ...Ms, description: 'How old at the loss what was restored is' }),
  },
  { ...closed, description: 'Measured, in ms' },
)
export type DrillFigures = Static<typeof DrillFigures>

const check = {
  name: Type.String({ minLength: 1, maxLength: 120 }),
  pass: Type.Boolean(),
  detail: Type.String({ maxLength: 500 }),
}

export const ReportDrill = Type.Object(
  {
    took_ms: Ms,
    made: DrillMade,
    checks: Type.Array(Type.Object(check, closed), { minItems: 1, maxItems: 50 }),
    figures: Type.Optional(DrillFigures),
  },
  closed,
)
export type ReportDrill = Static<typeof ReportDrill>

export const DrillRun = Type.Object({
  drill_id: Type.String(),
  drill: DrillName,
  outcome: words('passed', 'failed'),
  at: Instant,
  valid_until: { ...Instant, description: 'Until then a gate counts it' },
  took_ms: Type.Integer(),
  made: DrillMade,
  checks: Type.Array(
    Type.Object({
      by: words('reporter', 'server'),
      name: Type.String(),
      pass: Type.Boolean(),
      detail: Type.String(),
    }),
    { description: 'Of who played it, and what the server saw for itself; one that does not hold fails the run' },
  ),
  figures: DrillFigures,
  recorded_by: Type.String(),
})
export type DrillRun = Static<typeof DrillRun>
export const DrillRunPage = Type.Object({ items: Type.Array(DrillRun), next_cursor: Nullable(Type.String()) })
export type DrillRunPage = Static<typeof DrillRunPage>

export const Drill = Type.Object({
  drill: DrillName,
  title: Type.String(),
  owner: Nullable(Type.String({ description: 'Who answers for it; null: nobody' })),
  every_ms: Type.Integer({ description: 'How often it is to be run' }),
  due_at: Nullable({ ...Instant, description: 'When it is to be run next; null where nobody ran or owns it' }),
  stands: Type.Boolean({ description: 'Whether the newest result is a pass that has not expired' }),
  newest: Nullable(DrillRun),
})
export type Drill = Static<typeof Drill>
export const DrillList = Type.Object({ items: Type.Array(Drill), next_cursor: Type.Null() })
export type DrillList = Static<typeof DrillList>

export const DrillHistory = Type.Object({ ...Drill.properties, runs: DrillRunPage })
export type DrillHistory = Static<typeof DrillHistory>

export const ScheduleDrill = Type.Object(
  {
    owner: Type.String({ pattern: '^[!-~]([ -~]*[!-~])?$', maxLength: 200, description: 'A person, team or duty' }),
    every_ms: Type.Optional({
      ...Type.Integer({ minimum: 3_600_000, maximum: 2_592_000_000 }),
      description: 'As often as usual when left out; more often, never less',
    }),
  },
  closed,
)
export type ScheduleDrill = Static<typeof ScheduleDrill>

export const DrillQuery = PageQuery
export type DrillQuery = Static<typeof DrillQuery>
