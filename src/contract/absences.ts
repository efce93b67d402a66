import { type Static, Type } from 'typebox'
import { Instant, Name, Nullable } from './scalars.js'

const closed = { additionalProperties: false }

/** Somebody is away. */
export const PutAbsence = Type.Object(
  {
    from: Instant,
    until: Type.Integer({
      minimum: 0,
      maximum: 8_640_000_000_000_000,
      description: 'Milliseconds since 1970-01-01 UTC; at or before `from`: not away after all',
    }),
    delegate: Type.Optional(Name),
  },
  closed,
)
export type PutAbsence = Static<typeof PutAbsence>

export const Absence = Type.Object({
  principal: Type.String(),
  from: Instant,
  until: Instant,
  delegate: Nullable(Type.String()),
  away: Type.Boolean({ description: 'Now' }),
  updated_at: Instant,
  updated_by: Type.String(),
})
export type Absence = Static<typeof Absence>
export const AbsencePage = Type.Object({ items: Type.Array(Absence), next_cursor: Nullable(Type.String()) })
export type AbsencePage = Static<typeof AbsencePage>
