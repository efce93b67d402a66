import type { Channel } from '../core/channel.js'
import type { Db } from '../platform/db/seam.js'

/** How a channel fares. */
export interface HealthRow {
  tenant: string
  channel: string
  /** In a row. */
  failures: number
  /** Not tried before. */
  next_at: number
  /** Since when the log says that it is down. */
  down_at: number | null
  error: string | null
  tried_at: number
  sent_at: number | null
}

const ALL = 'SELECT * FROM channels ORDER BY tenant, channel'
const OF_TENANT = 'SELECT * FROM channels WHERE tenant = $1 ORDER BY channel'
const GET = 'SELECT * FROM channels WHERE tenant = $1 AND channel = $2'
/** Settings that were changed since are a new chance. One look into the index for each channel: joined, all that waits was read every second. */
const DUE = `SELECT c.* FROM channels c LEFT JOIN channel_health h ON h.tenant = c.tenant AND h.channel = c.channel
  CROSS JOIN LATERAL (SELECT 1 FROM deliveries d WHERE d.channel = c.channel AND d.tenant = c.tenant AND d.status = 'pending' AND d.next_at <= $1 LIMIT 1) due
  WHERE h.next_at IS NULL OR h.next_at <= $1 OR h.tried_at <= c.updated_at
  ORDER BY coalesce(h.tried_at, 0), c.tenant, c.channel LIMIT $2`
/** Not of another channel that had its name. */
const HEALTH_OF_TENANT = `SELECT h.* FROM channel_health h JOIN channels c ON c.tenant = h.tenant AND c.channel = h.channel
  WHERE h.tenant = $1 AND h.tried_at >= c.created_at`
const HEALTH = `${HEALTH_OF_TENANT} AND h.channel = $2`
const SET_HEALTH = `INSERT INTO channel_health (tenant, channel, failures, next_at, down_at, error, tried_at, sent_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
  ON CONFLICT (tenant, channel) DO UPDATE SET (failures, next_at, down_at, error, tried_at, sent_at) =
    ROW(excluded.failures, excluded.next_at, excluded.down_at, excluded.error, excluded.tried_at, coalesce(excluded.sent_at, channel_health.sent_at))`

export function allChannels(db: Db): Promise<Channel[]> {
  return db.query<Channel>(ALL)
}
export function listChannels(db: Db, tenant: string): Promise<Channel[]> {
  return db.query<Channel>(OF_TENANT, [tenant])
}
export async function getChannel(db: Db, tenant: string, channel: string): Promise<Channel | null> {
  return (await db.query<Channel>(GET, [tenant, channel]))[0] ?? null
}
/** Channels with something due that are not waiting out a failure, the one tried longest ago first. */
export function dueChannels(db: Db, now: number, limit: number): Promise<Channel[]> {
  return db.query<Channel>(DUE, [now, limit])
}
export async function getHealth(db: Db, tenant: string, channel: string): Promise<HealthRow | null> {
  return (await db.query<HealthRow>(HEALTH, [tenant, channel]))[0] ?? null
}
export function healthOfTenant(db: Db, tenant: string): Promise<HealthRow[]> {
  return db.query<HealthRow>(HEALTH_OF_TENANT, [tenant])
}
/** `sent_at: null` leaves what stands. */
export async function setHealth(db: Db, h: HealthRow): Promise<void> {
  await db.query(SET_HEALTH, [h.tenant, h.channel, h.failures, h.next_at, h.down_at, h.error, h.tried_at, h.sent_at])
}
