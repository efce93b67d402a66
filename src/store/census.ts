import type { Clock } from '../platform/clock.js'
import type { Db } from '../platform/db/seam.js'
import { countDeliveries, type DeliveryCount } from './deliveries.js'
import { streamLag } from './published.js'

/** What waits now, counted no further than a bound: with a million queued jobs it costs what it costs with ten thousand. */
export interface TopicCount {
  topic: string
  /** Jobs due now; at most `bound`, which then means "or more". */
  depth: number
  /** How long the one that is due for longest has waited, ms; 0 without any. */
  oldest_ms: number
}

export interface TenantCount {
  tenant: string
  topics: TopicCount[]
  /** More topics have work than were looked at. */
  more: boolean
  bound: number
  pending: number
  pending_oldest_ms: number
  parked: Record<'ambiguous' | 'dead_letter' | 'quarantined', number>
  /** Messages to channels. */
  deliveries: DeliveryCount[]
  /** Age of the oldest audit entry without a signed head. */
  lag_ms: number
  /** Entries that are signed and not in the event stream, and the age of the oldest; null without a stream. */
  unpublished: { entries: number; oldest_ms: number } | null
}

/** Nothing is counted twice within this time, however many ask. */
const FRESH_MS = 3000
const MOST_TENANTS = 50
const MOST_TOPICS = 200
/** Rows of the queue's index walked for one tenant at most: 20,000 take about 10 ms. */
const WALKED = 20_000
const BOUND = { most: 10_000, least: 200 }
/** Of approvals, parked jobs and live leases. */
const COUNTED = 10_000

const TENANTS = 'SELECT tenant FROM gates ORDER BY tenant LIMIT $1'
/**
 * Topics that have work, by leaping over the index from one topic to the next: DISTINCT would walk every queued row. A topic that
 * has only work for later counts too; it is one step of the walk.
 */
const TOPICS = `WITH RECURSIVE t AS (
    (SELECT topic FROM jobs WHERE tenant = $1 AND status IN ('queued', 'retrying') AND topic > '' ORDER BY topic LIMIT 1)
    UNION ALL
    SELECT (SELECT j.topic FROM jobs j WHERE j.tenant = $1 AND j.status IN ('queued', 'retrying') AND j.topic > t.topic
            ORDER BY j.topic LIMIT 1) FROM t WHERE t.topic IS NOT NULL)
  SELECT topic FROM t WHERE topic IS NOT NULL LIMIT $2`
/** By need and priority, as the index is ordered: within them it is by when jobs are due, so the first of each is its oldest. */
const due = (
  limit: string,
) => `SELECT q.due_at FROM n CROSS JOIN generate_series(0, 9) AS p(priority) CROSS JOIN LATERAL (
      SELECT j.due_at FROM jobs j WHERE j.tenant = $1 AND j.topic = $2 AND j.needs = n.needs AND j.priority = p.priority
        AND j.status IN ('queued', 'retrying') AND j.due_at <= $3 ORDER BY j.due_at LIMIT ${limit}) q`
const DUE = `WITH RECURSIVE n AS (
    (SELECT needs FROM jobs WHERE tenant = $1 AND topic = $2 AND status IN ('queued', 'retrying') AND needs >= '' ORDER BY needs LIMIT 1)
    UNION ALL
    SELECT (SELECT j.needs FROM jobs j WHERE j.tenant = $1 AND j.topic = $2 AND j.status IN ('queued', 'retrying') AND j.needs > n.needs
            ORDER BY j.needs LIMIT 1) FROM n WHERE n.needs IS NOT NULL)
  SELECT (SELECT min(o.due_at) FROM (${due('1')}) o) AS oldest,
    (SELECT count(*)::int FROM (${due('$4')} LIMIT $4) d) AS depth`
const PENDING = `SELECT count(*)::int AS n, min(p.requested_at) AS oldest FROM (
    SELECT requested_at FROM approvals WHERE tenant = $1 AND status = 'pending' AND approval_id > '' ORDER BY approval_id LIMIT $2) p`
const PARKED = `SELECT s.status, (SELECT count(*) FROM (
      SELECT 1 FROM jobs j WHERE j.tenant = $1 AND j.status = s.status AND j.job_id > ''
        AND j.status IN ('pending_approval', 'ambiguous', 'dead_letter', 'quarantined') LIMIT $2) c)::int AS n
  FROM (VALUES ('ambiguous'), ('dead_letter'), ('quarantined')) AS s(status)`
const WAITING_TILE =
  'SELECT at FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL AND at > 0 ORDER BY at LIMIT 1'
const LIVE = `SELECT count(*)::int AS n FROM (SELECT 1 FROM leases WHERE ended_at IS NULL AND expires_at > 0 ORDER BY expires_at LIMIT $1) l`

/** Counts from the store, each at most every few seconds and once at a time. Throws DbError where the store does not answer. */
export class Census {
  readonly #db: Db
  readonly #clock: Clock
  readonly #streamPast: number | null
  readonly #kept = new Map<string, { at: number; found: Promise<unknown> }>()

  /** @param streamPast how far back publishing begins on a tenant of which nothing was published; null without an event stream */
  constructor(db: Db, clock: Clock, streamPast: number | null = null) {
    this.#db = db
    this.#clock = clock
    this.#streamPast = streamPast
  }

  /** The first tenants by name, at most 50. */
  tenants(): Promise<string[]> {
    return this.#once('', async () => {
      const rows = await this.#db.query<{ tenant: string }>(TENANTS, [MOST_TENANTS])
      return rows.map(({ tenant }) => tenant)
    })
  }

  tenant(tenant: string): Promise<TenantCount> {
    return this.#once(`tenant ${tenant}`, () => this.#count(tenant))
  }

  /** Attempts under way of all tenants; 10,000 means "or more". */
  live(): Promise<number> {
    return this.#once('live', async () => (await this.#db.query<{ n: number }>(LIVE, [COUNTED]))[0]?.n ?? 0)
  }

  async #count(tenant: string): Promise<TenantCount> {
    const now = this.#clock.now()
    const age = (at: number | null | undefined) => (at == null ? 0 : Math.max(0, now - at))
    const names = await this.#db.query<{ topic: string }>(TOPICS, [tenant, MOST_TOPICS + 1])
    const bound = Math.max(BOUND.least, Math.min(BOUND.most, Math.floor(WALKED / Math.max(1, names.length))))
    const topics: TopicCount[] = []
    // One after the other: a statement of a millisecond lets commits through, one of fifty would not.
    for (const { topic } of names.slice(0, MOST_TOPICS)) {
      const [due] = await this.#db.query<{ depth: number; oldest: number | null }>(DUE, [tenant, topic, now, bound])
      if (due !== undefined && due.depth > 0) topics.push({ topic, depth: due.depth, oldest_ms: age(due.oldest) })
    }
    const [pending] = await this.#db.query<{ n: number; oldest: number | null }>(PENDING, [tenant, COUNTED])
    const parked = await this.#db.query<{ status: keyof TenantCount['parked']; n: number }>(PARKED, [tenant, COUNTED])
    const [tile] = await this.#db.query<{ at: number }>(WAITING_TILE, [tenant])
    const unpublished = this.#streamPast === null ? null : await streamLag(this.#db, tenant, this.#streamPast)
    return {
      tenant,
      topics,
      more: names.length > MOST_TOPICS,
      bound,
      pending: pending?.n ?? 0,
      pending_oldest_ms: age(pending?.oldest),
      parked: {
        ambiguous: 0,
        dead_letter: 0,
        quarantined: 0,
        ...Object.fromEntries(parked.map(({ status, n }) => [status, n])),
      },
      deliveries: await countDeliveries(this.#db, tenant),
      lag_ms: age(tile?.at),
      unpublished: unpublished && { entries: unpublished.entries, oldest_ms: age(unpublished.at) },
    }
  }

  #once<T>(what: string, find: () => Promise<T>): Promise<T> {
    const now = this.#clock.now()
    const kept = this.#kept.get(what)
    if (kept !== undefined && now - kept.at < FRESH_MS && now >= kept.at) return kept.found as Promise<T>
    // Tenants come from keys and gates; still nothing kept here may grow with what is asked.
    if (this.#kept.size > 2 * MOST_TENANTS) this.#kept.clear()
    const found = find()
    this.#kept.set(what, { at: now, found })
    found.catch(() => {
      if (this.#kept.get(what)?.found === found) this.#kept.delete(what)
    })
    return found
  }
}
