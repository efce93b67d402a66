import { type Breaker, hasFailed, type Outcome } from '../core/breaker.js'
import type { JobStatus } from '../core/job.js'
import type { AgentTerms } from '../core/principal.js'
import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

const OPEN = `SELECT * FROM breakers WHERE tenant = $1 AND state = 'open' ORDER BY agent`
const LIST = 'SELECT * FROM breakers WHERE tenant = $1 ORDER BY agent LIMIT 500'
const SOME = `SELECT b.* FROM json_to_recordset($1::json) AS w(tenant text, agent text)
  JOIN breakers b ON b.tenant = w.tenant AND b.agent = w.agent`
/** Who failed since, and who is watched for having failed before. */
const WATCHED = `SELECT tenant, agent FROM jobs WHERE status IN ('dead_letter', 'quarantined') AND finished_at >= $1
  UNION SELECT tenant, agent FROM jobs WHERE status = 'cancelled' AND state ->> 'error_code' IS NOT NULL AND finished_at >= $1
  UNION SELECT tenant, agent FROM breaker_counts`
/**
 * Of each agent its newest ends in the window, by the index of all ends: one walk over the window of a tenant that has such agents,
 * however many they are.
 */
const ENDED = `SELECT tenant, agent, job_id, status, finished_at, error_code FROM (
    SELECT e.*, row_number() OVER (PARTITION BY e.tenant, e.agent ORDER BY e.finished_at DESC, e.job_id) AS place
    FROM (SELECT DISTINCT tenant FROM json_to_recordset($1::json) AS w(tenant text)) t CROSS JOIN LATERAL (
      SELECT tenant, agent, job_id, status, finished_at, state ->> 'error_code' AS error_code FROM jobs
      WHERE tenant = t.tenant AND finished_at >= $2 AND agent = ANY($4::text[])
        AND (status IN ('succeeded', 'quarantined', 'dead_letter') OR (status = 'cancelled' AND state ->> 'error_code' NOT IN ('lease_lost', 'cancelled'))) OFFSET 0) e) ranked WHERE place <= $3`
const COUNTS = `SELECT c.tenant, c.agent, c.recent FROM json_to_recordset($1::json) AS w(tenant text, agent text)
  JOIN breaker_counts c ON c.tenant = w.tenant AND c.agent = w.agent`
const COUNT = `INSERT INTO breaker_counts (tenant, agent, recent) SELECT x.tenant, x.agent, x.recent
  FROM json_to_recordset($1::json) AS x(tenant text, agent text, recent jsonb)
  ON CONFLICT (tenant, agent) DO UPDATE SET recent = excluded.recent`
const FORGET = `DELETE FROM breaker_counts c USING json_to_recordset($1::json) AS x(tenant text, agent text)
  WHERE c.tenant = x.tenant AND c.agent = x.agent`
const TERMS = `SELECT w.tenant, w.agent, p.team, p.terms FROM json_to_recordset($1::json) AS w(tenant text, agent text)
  JOIN principals p ON p.tenant = w.tenant AND p.principal = w.agent`

export interface Agent {
  tenant: string
  agent: string
}

export function openBreakers(db: Db, tenant: string): Promise<Breaker[]> {
  return db.query<Breaker>(OPEN, [tenant])
}

export function listBreakers(db: Db, tenant: string): Promise<Breaker[]> {
  return db.query<Breaker>(LIST, [tenant])
}

/** Of these agents, whether they are open or were closed. */
export function breakersOf(db: Db, agents: readonly Agent[]): Promise<Breaker[]> {
  return db.query<Breaker>(SOME, [JSON.stringify(agents)])
}

export async function getBreaker(db: Db, tenant: string, agent: string): Promise<Breaker | null> {
  return (await breakersOf(db, [{ tenant, agent }]))[0] ?? null
}

export function watchedAgents(db: Db, since: number): Promise<Agent[]> {
  return db.query<Agent>(WATCHED, [since])
}

/** How jobs of these agents ended since, at most `most` of each. */
export async function outcomesSince(
  db: Db,
  agents: readonly Agent[],
  since: number,
  most: number,
): Promise<(Agent & Outcome)[]> {
  const rows = await db.query<
    Agent & { job_id: string; status: JobStatus; finished_at: number; error_code: string | null }
  >(ENDED, [JSON.stringify(agents), since, most, textArray([...new Set(agents.map(({ agent }) => agent))])])
  return rows.flatMap(({ tenant, agent, job_id, status, finished_at, error_code }) => {
    const failed = hasFailed(status, error_code)
    return failed === null ? [] : [{ tenant, agent, job_id, at: finished_at, failed }]
  })
}

export function countsOf(db: Db, agents: readonly Agent[]): Promise<(Agent & { recent: Outcome[] })[]> {
  return db.query<Agent & { recent: Outcome[] }>(COUNTS, [JSON.stringify(agents)])
}

export async function keepCounts(db: Db, counts: readonly (Agent & { recent: readonly Outcome[] })[]): Promise<void> {
  if (counts.length > 0) await db.query(COUNT, [JSON.stringify(counts)])
}

export async function forgetCounts(db: Db, agents: readonly Agent[]): Promise<void> {
  if (agents.length > 0) await db.query(FORGET, [JSON.stringify(agents)])
}

export function termsOf(
  db: Db,
  agents: readonly Agent[],
): Promise<(Agent & { team: string | null; terms: AgentTerms | null })[]> {
  return db.query(TERMS, [JSON.stringify(agents)])
}
