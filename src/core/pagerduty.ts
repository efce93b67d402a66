import type { FactKind, Scalar } from './audit.js'
import { digestOf } from './canonical.js'
import type { PagerDutySettings } from './channel.js'
import { plain } from './text.js'

type Entry = Readonly<Record<string, Scalar>>

/** Which field says what an entry is of, by the beginning of its kind: the same for what raises an incident and for what ends it. */
const OF: readonly [string, string][] = [
  ['approval.', 'approval_id'],
  ['breaker.', 'agent'],
  ['stop.', 'stop_id'],
  ['channel.', 'channel'],
  ['queue.', 'topic'],
  ['delivery.', 'delivery_id'],
  ['key.', 'key_id'],
  ['job.', 'job_id'],
  ['result.', 'job_id'],
  ['rollout.', 'rollout_id'],
]

const ANSWERED: readonly FactKind[] = ['approval.approved', 'approval.rejected', 'approval.expired', 'approval.voided']

/** What ends the incident that an entry of a kind raised. An entry of a kind that is not here raises one that people close themselves. */
export const ENDED_BY: Partial<Record<FactKind, readonly FactKind[]>> = {
  'approval.requested': ANSWERED,
  'approval.rebound': ANSWERED,
  'approval.edited': ANSWERED,
  'approval.escalated': ANSWERED,
  'approval.unanswerable': ANSWERED,
  'approval.rerouted': ANSWERED,
  'approval.reminded': ANSWERED,
  'breaker.opened': ['breaker.closed'],
  'stop.raised': ['stop.resumed'],
  'channel.down': ['channel.up'],
  'queue.backlogged': ['queue.recovered'],
  'delivery.failed': ['delivery.retried'],
  'key.due': ['key.rotated', 'key.revoked'],
  'job.ambiguous': ['job.resolved', 'job.discarded'],
  'job.quarantined': ['result.released', 'result.discarded', 'job.discarded'],
  'job.dead_lettered': ['job.replayed', 'job.discarded'],
  'job.overdue': ['job.replayed', 'job.discarded'],
  'rollout.rolled_back': ['rollout.recovered'],
  'rollout.compensation_blocked': ['rollout.recovered'],
}

/** Kinds that end what some of these raised. */
export function endsOf(events: readonly string[]): string[] {
  return [...new Set(events.flatMap((event) => ENDED_BY[event as FactKind] ?? []))]
}

/** Whether this ends what it is of: one yes of two, or a stop that is tried out, ends nothing. */
export function isEnd(entry: Entry, events: readonly string[]): boolean {
  const { kind } = entry
  if (!endsOf(events).includes(String(kind))) return false
  if (kind === 'approval.approved') return entry.complete !== false
  return kind !== 'stop.resumed' || entry.stage === 'full'
}

/** What an entry is of, in its tenant; one that is of nothing that lasts is of itself, by its place in the log. */
export function aboutOf(entry: Entry, index: number): string {
  const [, field = ''] = OF.find(([start]) => String(entry.kind).startsWith(start)) ?? []
  return typeof entry[field] === 'string' ? `${field}:${entry[field]}` : `entry:${index}`
}

/** Characters that the Events API takes. */
const MOST_SUMMARY = 1024
const MOST_KEY = 255
/** A bound of ours: of an entry's fields the longest is 4,096, and the whole event may have 512 KB. */
const MOST_DETAIL = 1000
const MOST_DETAILS = 40

export interface Page {
  action: 'trigger' | 'resolve'
  tenant: string
  /** See `aboutOf`. */
  about: string
  entry: Entry
  index: number
  severity: PagerDutySettings['severity']
  /** Where people reach the plane. */
  publicUrl: string | null
}

/** An event as the Events API v2 takes it, but for its routing key. */
export function pageEvent({ action, tenant, about, entry, index, severity, publicUrl }: Page) {
  const event = { event_action: action, dedup_key: dedupKey(tenant, about) }
  if (action === 'resolve') return event
  const { kind, at, ...rest } = entry
  const details = Object.entries(rest)
    .filter(([, value]) => value !== null)
    .slice(0, MOST_DETAILS)
    .map(([name, value]) => [name, typeof value === 'string' ? plain(value, MOST_DETAIL) : value])
  const instant = new Date(Number(at))
  return {
    ...event,
    payload: {
      summary: plain(summaryOf(entry), MOST_SUMMARY),
      source: plain(`sallyport/${tenant}`, 200),
      severity,
      ...(Number.isNaN(instant.getTime()) ? {} : { timestamp: instant.toISOString() }),
      class: plain(String(kind), 100),
      ...(typeof entry.agent === 'string' ? { component: plain(entry.agent, 200) } : {}),
      ...(typeof entry.topic === 'string' ? { group: plain(entry.topic, 200) } : {}),
      custom_details: { ...Object.fromEntries(details), index },
    },
    client: 'Sallyport',
    ...(publicUrl === null ? {} : { client_url: publicUrl, links: [{ href: publicUrl, text: 'Sallyport' }] }),
  }
}

/** The same for the same in every process, and apart for every tenant. */
function dedupKey(tenant: string, about: string): string {
  const key = `sallyport/${tenant}/${about}`
  return key.length <= MOST_KEY ? key : `sallyport/${digestOf('incident', key)}`
}

/** Kinds that people read in the middle of the night, in words; others by their name. */
const SAID: Partial<Record<FactKind, string>> = {
  'approval.requested': 'An approval is asked',
  'approval.escalated': 'An approval nobody answered was escalated',
  'approval.unanswerable': 'An approval waits for more people than may answer',
  'approval.reminded': 'An approval still waits',
  'breaker.opened': 'An agent was taken out by its failures',
  'stop.raised': 'Somebody pressed the stop button',
  'channel.down': 'A channel is down',
  'queue.backlogged': 'Nobody takes the work of a queue',
  'job.ambiguous': 'Whether an outside action happened is not known',
  'job.dead_lettered': 'A job failed for good',
  'job.overdue': 'A dead letter is overdue',
  'job.quarantined': 'A result is withheld',
  'rollout.rolled_back': 'A rollout was rolled back',
  'rollout.compensation_blocked': 'A rollback cannot undo something',
}

function summaryOf(entry: Entry): string {
  const about = [entry.agent, entry.topic, entry.target, entry.channel, entry.principal, entry.reason]
  const words = about.filter((each) => typeof each === 'string')
  return [SAID[entry.kind as FactKind] ?? String(entry.kind), ...words].join(' · ')
}
