import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'

export const DELIVERY_STATUSES = ['pending', 'sent', 'dead', 'dropped'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** One message to one recipient. */
export interface Delivery {
  tenant: string
  delivery_id: string
  channel: string
  /** Of the entry that is told. */
  tree_index: number
  /** `principal:…` by name, `mailto:…`, `endpoint`, `conversation`, `update:…` by the message it changes, `trigger` or `resolve`. */
  recipient: string
  /** It puts the approval's question; else it only tells. */
  asks: boolean
  event: string
  /** Its line of the log. */
  entry: string
  approval_id: string | null
  /** `dropped`: it had become pointless before it was sent. */
  status: DeliveryStatus
  attempts: number
  next_at: number
  /** From then it has a day. */
  since_at: number
  error: string | null
  created_at: number
  finished_at: number | null
  /** Of a question in a conversation that was put: where it stands, and the hash it shows. */
  posted: Posted | null
  /** What an incident is of; null for all else. */
  about: string | null
}

export interface Posted {
  conversation: string
  ts: string
  grant_hash: string
}

/** How far a tenant's log was looked at. */
export interface NotifiedRow {
  tenant: string
  /** Entries under the newest signed head. */
  size: number
  /** Null where nothing was looked at yet. */
  next: number | null
}

const NOTIFIED = `SELECT g.tenant, h.size, n.next FROM gates g
  CROSS JOIN LATERAL (SELECT size FROM audit_heads a WHERE a.tenant = g.tenant ORDER BY a.size DESC LIMIT 1) h
  LEFT JOIN notified n ON n.tenant = g.tenant WHERE n.next IS NULL OR n.next < h.size ORDER BY g.tenant`
const COLUMNS = `tenant, delivery_id, channel, tree_index, recipient, asks, event, entry, approval_id, status, attempts, next_at, since_at,
  error, created_at, finished_at, posted, about`
const ASKED =
  'SELECT DISTINCT recipient FROM deliveries WHERE approval_id = $2 AND tenant = $1 AND channel = $3 AND asks'
/** Messages that put this question, and were not given up. In no order: asked for one, the planner walks the tenant by its primary key. */
const QUESTIONS = `SELECT delivery_id FROM deliveries WHERE approval_id = $2 AND tenant = $1 AND channel = $3 AND asks AND status IN ('pending', 'sent')`
const RAISED = `SELECT 1 FROM deliveries WHERE about = $2 AND tenant = $1 AND channel = $3 AND recipient = 'trigger' AND status <> 'dropped' LIMIT 1`
/** What is told and how far was looked, together: a crash leaves neither, and whoever was slow moves nothing back. */
const ENQUEUE = `WITH made AS (INSERT INTO deliveries (${COLUMNS})
    SELECT ${COLUMNS} FROM json_populate_recordset(NULL::deliveries, $1::json)
    ON CONFLICT (tenant, tree_index, channel, recipient) DO NOTHING RETURNING 1)
  INSERT INTO notified AS n (tenant, next) VALUES ($2, $3)
  ON CONFLICT (tenant) DO UPDATE SET next = greatest(n.next, excluded.next) RETURNING (SELECT count(*)::int FROM made) AS made`
const DUE = `SELECT * FROM deliveries WHERE channel = $1 AND tenant = $2 AND status = 'pending' AND next_at <= $3
  ORDER BY tree_index, delivery_id LIMIT $4`
/** Only what was read: a node that was frozen while another went on says nothing. */
const FINISH = `UPDATE deliveries SET status = $3, attempts = $4, error = $5, finished_at = $6, posted = coalesce($7::text::jsonb, posted)
  WHERE tenant = $1 AND delivery_id = $2 AND status = 'pending'`
const PUT_OFF = `UPDATE deliveries SET attempts = $3, next_at = $4, error = $5
  WHERE tenant = $1 AND delivery_id = $2 AND status = 'pending'`
const TOO_OLD = `SELECT * FROM deliveries WHERE channel = $1 AND tenant = $2 AND status = 'pending' AND since_at <= $3
  ORDER BY tree_index, delivery_id LIMIT $4`
const RETRY = `UPDATE deliveries SET status = 'pending', attempts = 0, next_at = $3, since_at = $3, error = NULL, finished_at = NULL
  WHERE tenant = $1 AND delivery_id = $2 AND status = 'dead' RETURNING *`
const GET = 'SELECT * FROM deliveries WHERE tenant = $1 AND delivery_id = $2'
const LIST = `SELECT * FROM deliveries WHERE tenant = $1 AND delivery_id < $2 AND ($3::text IS NULL OR channel = $3) ORDER BY delivery_id DESC LIMIT $4`
const LIST_STATUS = `SELECT * FROM deliveries WHERE status = $5 AND tenant = $1 AND delivery_id < $2 AND ($3::text IS NULL OR channel = $3)
  ORDER BY delivery_id DESC LIMIT $4`
/** Counted no further than a bound: it is asked at every scrape. */
const COUNTS = `SELECT c.channel, s.status, (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.status = s.status AND d.tenant = $1
      AND d.channel = c.channel LIMIT $2) n)::int AS n,
    (SELECT min(d.created_at) FROM (SELECT created_at FROM deliveries d WHERE d.status = s.status AND d.tenant = $1 AND d.channel = c.channel
      ORDER BY d.delivery_id LIMIT 1) d) AS oldest_at
  FROM channels c CROSS JOIN (VALUES ('pending'), ('dead')) AS s(status) WHERE c.tenant = $1 ORDER BY c.channel, s.status`
const ORPHANS = `UPDATE deliveries d SET status = 'dropped', error = 'the channel is gone', finished_at = $1
  WHERE d.status = 'pending' AND NOT EXISTS (SELECT 1 FROM channels c WHERE c.tenant = d.tenant AND c.channel = d.channel)`
const FORGET = `DELETE FROM deliveries WHERE (tenant, delivery_id) IN
  (SELECT tenant, delivery_id FROM deliveries WHERE finished_at <= $1 ORDER BY finished_at LIMIT $2)`
/** Sorts after every id. */
const LAST = '~'
const COUNTED = 1000

export function notifiedRows(db: Db): Promise<NotifiedRow[]> {
  return db.query<NotifiedRow>(NOTIFIED)
}
/** Who was asked this by a message of the channel, as far as messages were made. */
export async function askedByMail(
  db: Db,
  { tenant, approval_id }: { tenant: string; approval_id: string },
  channel: string,
): Promise<string[]> {
  return (await db.query<{ recipient: string }>(ASKED, [tenant, approval_id, channel])).map((row) => row.recipient)
}
/** Ids of the messages of a conversation that put this question. */
export async function questionsIn(
  db: Db,
  { tenant, approval_id }: { tenant: string; approval_id: string },
  channel: string,
): Promise<string[]> {
  const rows = await db.query<{ delivery_id: string }>(QUESTIONS, [tenant, approval_id, channel])
  return rows.map((row) => row.delivery_id).sort()
}
/** Whether an incident of this was raised by the channel. */
export async function wasRaised(db: Db, tenant: string, channel: string, about: string): Promise<boolean> {
  return (await db.query(RAISED, [tenant, about, channel])).length > 0
}
/** How many were new. */
export async function enqueue(db: Db, tenant: string, next: number, rows: readonly Delivery[]): Promise<number> {
  return (await db.query<{ made: number }>(ENQUEUE, [JSON.stringify(rows), tenant, next]))[0]?.made ?? 0
}
/** In the order of the log. Ids of one millisecond have none, and an incident must not be ended before it was raised. */
export function dueDeliveries(
  db: Db,
  tenant: string,
  channel: string,
  now: number,
  limit: number,
): Promise<Delivery[]> {
  return db.query<Delivery>(DUE, [channel, tenant, now, limit])
}
export async function finishDelivery(
  db: Db,
  { tenant, delivery_id }: Delivery,
  end: Pick<Delivery, 'attempts' | 'error'> & { status: Exclude<DeliveryStatus, 'pending'> },
  at: number,
  posted: Posted | null = null,
): Promise<void> {
  const where = posted === null ? null : JSON.stringify(posted)
  await db.query(FINISH, [tenant, delivery_id, end.status, end.attempts, end.error, at, where])
}
export async function putOff(
  db: Db,
  { tenant, delivery_id }: Delivery,
  { attempts, next_at, error }: Pick<Delivery, 'attempts' | 'next_at' | 'error'>,
): Promise<void> {
  await db.query(PUT_OFF, [tenant, delivery_id, attempts, next_at, error])
}
/** Those whose day is over. */
export function agedDeliveries(
  db: Db,
  tenant: string,
  channel: string,
  before: number,
  limit: number,
): Promise<Delivery[]> {
  return db.query<Delivery>(TOO_OLD, [channel, tenant, before, limit])
}
/** Null where it is not dead. */
export async function reviveDelivery(
  db: Db,
  tenant: string,
  delivery_id: string,
  now: number,
): Promise<Delivery | null> {
  return (await db.query<Delivery>(RETRY, [tenant, delivery_id, now]))[0] ?? null
}
export async function getDelivery(db: Db, tenant: string, delivery_id: string): Promise<Delivery | null> {
  return (await db.query<Delivery>(GET, [tenant, delivery_id]))[0] ?? null
}

export interface DeliveryFilter {
  status?: DeliveryStatus
  channel?: string
  cursor?: string
  limit?: number
}

/** Newest first. */
export async function listDeliveries(db: Db, tenant: string, filter: DeliveryFilter): Promise<Page<Delivery>> {
  const limit = filter.limit ?? 50
  const after = decodeCursor(filter.cursor)?.[1] ?? LAST
  const shared = [tenant, after, filter.channel ?? null, limit + 1]
  const rows =
    filter.status === undefined
      ? await db.query<Delivery>(LIST, shared)
      : await db.query<Delivery>(LIST_STATUS, [...shared, filter.status])
  return page(rows, limit, ({ created_at, delivery_id }) => [created_at, delivery_id])
}

/** What waits and what is dead, by channel; 1,000 means "or more". */
export interface DeliveryCount {
  channel: string
  status: 'pending' | 'dead'
  n: number
  oldest_at: number | null
}

export function countDeliveries(db: Db, tenant: string): Promise<DeliveryCount[]> {
  return db.query<DeliveryCount>(COUNTS, [tenant, COUNTED])
}

/** Ends what waits for channels that are gone, and forgets what ended before. */
export async function tidyDeliveries(db: Db, now: number, before: number): Promise<void> {
  await db.query(ORPHANS, [now])
  await db.query(FORGET, [before, 1000])
}
