import type { Event } from '../contract/events.js'
import type { TimelineEntry } from '../contract/jobs.js'
import { hex, leafHash } from './audit/hash.js'
import { parseEntry } from './audit.js'

const NAMED = ['at', 'kind', 'actor', 'tenant']

/** A line of the log as people are shown it. `index` is its place in the tree, null while it has none. */
export function shownEntry(line: string, writer: string, seq: number, index: number | null): TimelineEntry {
  const entry = parseEntry(line) ?? {}
  const facts = Object.fromEntries(Object.entries(entry).filter(([name]) => !NAMED.includes(name)))
  return {
    at: Number(entry.at ?? 0),
    kind: String(entry.kind ?? 'unreadable'),
    actor: String(entry.actor ?? 'unknown'),
    writer,
    seq,
    index,
    facts,
  }
}

/** An entry as it is published. */
export interface PublishedEntry {
  tenant: string
  kind: string
  topic: string | null
  id: string
  body: string
}

/**
 * The id is tenant, index and the start of the leaf's hash: the same entry has the same id whoever publishes it and how often,
 * and another entry in its place (a restored database, two installations on one server) is not taken for a repeat.
 */
export function eventOf(tenant: string, index: number, line: string, writer: string, seq: number): PublishedEntry {
  const entry = integratedEntry(line, writer, seq, index) ?? shownEntry(line, writer, seq, index)
  const event: Event = { v: 1, tenant, ...entry, index }
  const { topic } = event.facts
  return {
    tenant,
    kind: event.kind,
    topic: typeof topic === 'string' && topic !== '' ? topic : null,
    id: `${encodeURIComponent(tenant)}:${index}:${hex(leafHash(line)).slice(0, 16)}`,
    body: JSON.stringify(event),
  }
}

/**
 * As shownEntry, for a line of a tile that the integrator took for good: asking again whether it is canonical is half of what
 * publishing costs, and every entry of every job comes by here. Null where it is not even an entry.
 */
function integratedEntry(line: string, writer: string, seq: number, index: number): TimelineEntry | null {
  try {
    const { at, kind, actor, tenant: _, ...facts } = JSON.parse(line) as Record<string, unknown>
    return typeof at === 'number' && typeof kind === 'string' && typeof actor === 'string'
      ? { at, kind, actor, writer, seq, index, facts }
      : null
  } catch {
    return null
  }
}
