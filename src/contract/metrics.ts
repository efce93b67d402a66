import { type Static, Type } from 'typebox'
import { Instant, Name, Nullable, Topic } from './scalars.js'

const Window = Type.String({ pattern: '^[1-9][0-9]{0,6}[smhd]$', description: 'At most 31 days', examples: ['10m'] })

export const MetricQuery = Type.Object(
  { window: Type.Optional(Window), tenant: Type.Optional(Name) },
  { additionalProperties: false },
)
export type MetricQuery = Static<typeof MetricQuery>

export const MeasurementQuery = Type.Object({ window: Type.Optional(Window) }, { additionalProperties: false })

export const Measurement = Type.Object({
  metric: Type.String(),
  /** As /metrics/{metric} writes it: where the number is unknown, the worst it could be. */
  text: Type.String({ pattern: '^[0-9]+(\\.[0-9]+)?$' }),
  value: Nullable(Type.Number()),
  unknown: Nullable(Type.String({ description: 'Why there is no number; null where there is one' })),
  samples: Type.Integer({ minimum: 0 }),
  sampled: Type.Boolean({ description: 'More rows than are read at once: of a sample spread over the window' }),
})
export type Measurement = Static<typeof Measurement>

export const Measurements = Type.Object({
  window_ms: Type.Integer({ minimum: 1 }),
  at: Instant,
  items: Type.Array(Measurement),
})
export type Measurements = Static<typeof Measurements>

export const TopicState = Type.Object({
  topic: Topic,
  depth: Type.Integer({ minimum: 0, description: 'Jobs that are due and wait for a worker' }),
  bounded: Type.Boolean({ description: 'Counting stopped there: there may be more' }),
  oldest_ms: Type.Integer({ minimum: 0, description: 'How long the one that is due for longest has waited' }),
  waiting_workers: Type.Integer({ minimum: 0, description: 'Open claims for this topic on the node that answers' }),
})
export type TopicState = Static<typeof TopicState>
export const TopicStates = Type.Object({
  items: Type.Array(TopicState),
  more: Type.Boolean({ description: 'More topics have work than were looked at: the first 200 by name' }),
})
export type TopicStates = Static<typeof TopicStates>
