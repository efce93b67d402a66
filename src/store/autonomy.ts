import type { Autonomy } from '../core/autonomy.js'
import type { Db } from '../platform/db/seam.js'
import { idAt } from './metrics.js'
import { textArray } from './text-array.js'

const SOME = 'SELECT * FROM autonomy WHERE tenant = $1 AND agent = ANY($2::text[])'
const ALL = 'SELECT * FROM autonomy ORDER BY tenant, agent'

/**
 * How jobs ended by the index of ends, so as many rows as ended in the window are read: for people and for a loop of minutes, never on
 * the way of a job. A quarantined result is a failure, a lost worker is not the agent's.
 */
const ENDED = `SELECT count(*) FILTER (WHERE status = 'succeeded')::int AS succeeded, count(*) FILTER (WHERE status <> 'succeeded')::int AS failed
  FROM jobs WHERE tenant = $1 AND finished_at >= $3 AND agent = $2
    AND (status IN ('succeeded', 'quarantined') OR (status = 'dead_letter' AND (state ->> 'error_code') IS DISTINCT FROM 'lease_lost'))`
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

/** Of every tenant. */
export function listAutonomy(db: Db): Promise<Autonomy[]> {
  return db.query<Autonomy>(ALL)
}

type Of = readonly [tenant: string, agent: string]

export async function endedSince(db: Db, [tenant, agent]: Of, since: number) {
  const rows = await db.query<{ succeeded: number; failed: number }>(ENDED, [tenant, agent, since])
  return rows[0] ?? { succeeded: 0, failed: 0 }
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
