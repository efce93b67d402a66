import { type Static, Type } from 'typebox'
import { TimelineEntry } from './jobs.js'
import { Name } from './scalars.js'

/** A change that a subscriber could trip over gets the next number, and a subject of its own while both are published. */
export const EVENT_VERSION = 1

/** What stands in one message of the event stream: an audit entry as `GET /api/v1/audit` shows it, its tenant and its place. */
export const Event = Type.Object(
  {
    v: Type.Literal(EVENT_VERSION, { description: 'Version of this schema; within one, fields are only ever added' }),
    tenant: Name,
    ...TimelineEntry.properties,
    index: Type.Integer({
      minimum: 0,
      description: 'Place in the tenant’s audit tree: goes up by one, so a jump is a gap and a repeat can be told',
    }),
  },
  { $id: 'Event', title: 'Event', description: 'One audit entry, as published on sallyport.events.>' },
)
export type Event = Static<typeof Event>
