import { type Static, Type } from 'typebox'
import { Job } from './jobs.js'
import { Instant, Nullable } from './scalars.js'

export const DeadLetter = Type.Object({
  job_id: Type.String(),
  topic: Type.String(),
  agent: Type.String(),
  owner: Nullable(Type.String()),
  respond_by: Nullable(Instant),
  overdue: Type.Boolean(),
  dead_at: Instant,
  attempt: Type.Integer(),
  error: Nullable(Type.Object({ class: Type.String(), code: Type.String(), message: Type.String() })),
  job: Job,
})
export type DeadLetter = Static<typeof DeadLetter>
export const DeadLetterPage = Type.Object({ items: Type.Array(DeadLetter), next_cursor: Nullable(Type.String()) })
export type DeadLetterPage = Static<typeof DeadLetterPage>
