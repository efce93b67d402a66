import type { Autonomy } from '../core/autonomy.js'
import type { Db } from '../platform/db/seam.js'
import { idAt } from './metrics.js'
import { textArray } from './text-array.js'

const SOME = 'SELECT * FROM autonomy WHERE tenant = $1 AND agent = ANY($2::text[])'
const OF_TENANT = 'SELECT * FROM autonomy WHERE tenant = $1 ORDER BY agent'
const ALL = 'SELECT * FROM autonomy ORDER BY tenant, agent'

/**
 * How jobs of these agents ended, each since a time of its own: one walk over the ends of a tenant, however many of its agents are asked
 * about. Of 200,000 ends it took 150 ms for one agent and 220 for twenty at once, once a minute; an index by agent (20 ms for each) would be
 * paid by every job that ends. A quarantined result is a failure, a lost worker is not the agent's; as hasFailed of core/breaker.ts.
 */
const ENDED = `SELECT j.agent, count(*) FILTER (WHERE j.status = 'succeeded')::int AS succeeded, count(*) FILTER (WHERE j.status <> 'succeeded')::int AS failed
  FROM json_to_recordset($2::json) AS w(agent text, since bigint) JOIN jobs j ON j.agent = w.agent AND j.finished_at >= w.since
  WHERE j.tenant = $1 AND j.finished_at >= $3::bigint
    AND (j.status IN ('succeeded', 'quarantined') OR (j.status = 'dead_letter' AND (j.state ->> 'error_code') IS DISTINCT FROM 'lease_lost')
      OR (j.status = 'cancelled' AND (j.state ->> 'error_code') NOT IN ('lease_lost', 'cancelled'))) GROUP BY j.agent`
/** Ids sort by time, so a window of questions is a range of the primary key. What was edited is not what the agent asked for. */
const ANSWERED = `SELECT count(*)::int AS answered, count(*) FILTER (WHERE status = 'approved' AND edits = '[]')::int AS approved
  FROM approvals WHERE tenant = $1 AND approval_id >= $3 AND agent = $2 AND (status IN ('approved', 'rejected'))`
/** Decisions of the first door that left no job: denied, or in the shadow. */
const EVALUATED = `SELECT count(*)::int AS evaluated, count(*) FILTER (WHERE decision = 'DENY')::int AS denied
  FROM decisions WHERE tenant = $1 AND decision_id >= $3 AND agent = $2 AND door = 'submit' AND job_id IS NULL`
const BROKEN = `SELECT agent FROM breakers WHERE tenant = $1 AND agent = $2 AND opened_at >= $3`

export function autonomyOf(db: Db, tenant: string, agents: readonly string[]): Promise<Autonomy[]> {
  return db.query<Autonomy>(SOME, [tenant, textArray(agents)])
}

export async function getAutonomy(db: Db, tenant: string, agent: string): Promise<Autonomy | null> {
  return (await autonomyOf(db, tenant, [agent]))[0] ?? null
}

/** Those of a tenant: as many as somebody put under management one by one. */
export function autonomyIn(db: Db, tenant: string): Promise<Autonomy[]> {
  return db.query<Autonomy>(OF_TENANT, [tenant])
}

/** Of every tenant. */
export function listAutonomy(db: Db): Promise<Autonomy[]> {
  return db.query<Autonomy>(ALL)
}

type Of = readonly [tenant: string, agent: string]

export interface Ended {
  succeeded: number
  failed: number
}

/** How much of an agent's work ended since, by agent; of one that is not there nothing did. */
export async function endedSince(
  db: Db,
  tenant: string,
  windows: readonly { agent: string; since: number }[],
): Promise<Map<string, Ended>> {
  const first = Math.min(...windows.map(({ since }) => since))
  const rows = await db.query<Ended & { agent: string }>(ENDED, [tenant, JSON.stringify(windows), first])
  return new Map(rows.map(({ agent, succeeded, failed }) => [agent, { succeeded, failed }]))
}

/** Of questions asked since. */
export async function answeredSince(db: Db, [tenant, agent]: Of, since: number) {
  const rows = await db.query<{ answered: number; approved: number }>(ANSWERED, [tenant, agent, idAt('apr', since)])
  return rows[0] ?? { answered: 0, approved: 0 }
}

export async function evaluatedSince(db: Db, [tenant, agent]: Of, since: number) {
  const rows = await db.query<{ evaluated: number; denied: number }>(EVALUATED, [tenant, agent, idAt('dec', since)])
  return rows[0] ?? { evaluated: 0, denied: 0 }
}

/** Whether the agent's breaker opened since. */
export async function brokeSince(db: Db, [tenant, agent]: Of, since: number): Promise<boolean> {
  return (await db.query(BROKEN, [tenant, agent, since])).length > 0
}
