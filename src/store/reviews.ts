import type { Db } from '../platform/db/seam.js'
import { idAt } from './metrics.js'

/** Pending questions have an index of their own. */
const PENDING = `SELECT count(*)::int AS pending, min(requested_at) AS oldest_at FROM approvals WHERE tenant = $1 AND status = 'pending'`
const ASKED = `SELECT p.principal, count(*)::int AS pending FROM approvals a CROSS JOIN LATERAL jsonb_array_elements_text(a.asked_of) AS p(principal)
  WHERE a.tenant = $1 AND a.status = 'pending' GROUP BY p.principal ORDER BY count(*) DESC, p.principal LIMIT 500`
/** From the question to its last answer. */
const WAITS = `SELECT count(*)::int AS answered,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY (answers -> -1 ->> 'at')::bigint - requested_at) AS median_ms,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY (answers -> -1 ->> 'at')::bigint - requested_at) AS p95_ms
  FROM approvals WHERE tenant = $1 AND approval_id >= $2 AND status IN ('approved', 'rejected') AND answers <> '[]'`
const GIVEN = `SELECT e.answer ->> 'by' AS principal, count(*)::int AS answered,
    count(*) FILTER (WHERE e.answer ->> 'answer' = 'approve')::int AS approved,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY (e.answer ->> 'at')::bigint - a.requested_at) AS median_ms
  FROM approvals a CROSS JOIN LATERAL jsonb_array_elements(a.answers) AS e(answer)
  WHERE a.tenant = $1 AND a.approval_id >= $2 GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 500`

export interface Reviewing {
  principal: string
  /** Questions that ask this person now. */
  pending: number
  answered: number
  approved: number
  median_wait_ms: number | null
}

export interface Reviews {
  pending: number
  oldest_at: number | null
  answered: number
  median_wait_ms: number | null
  p95_wait_ms: number | null
  reviewers: Reviewing[]
}

/** What waits for people now, and how they answered what was asked since. */
export async function reviewsSince(db: Db, tenant: string, since: number): Promise<Reviews> {
  const from = idAt('apr', since)
  const [waiting, asked, waits, given] = await Promise.all([
    db.query<{ pending: number; oldest_at: number | null }>(PENDING, [tenant]),
    db.query<{ principal: string; pending: number }>(ASKED, [tenant]),
    db.query<{ answered: number; median_ms: number | null; p95_ms: number | null }>(WAITS, [tenant, from]),
    db.query<{ principal: string; answered: number; approved: number; median_ms: number | null }>(GIVEN, [
      tenant,
      from,
    ]),
  ])
  const pendingOf = new Map(asked.map((row) => [row.principal, row.pending]))
  const answeredBy = new Map(given.map((row) => [row.principal, row]))
  const reviewers = [...new Set([...answeredBy.keys(), ...pendingOf.keys()])].map((principal): Reviewing => {
    const { answered = 0, approved = 0, median_ms = null } = answeredBy.get(principal) ?? {}
    return { principal, pending: pendingOf.get(principal) ?? 0, answered, approved, median_wait_ms: median_ms }
  })
  const { pending = 0, oldest_at = null } = waiting[0] ?? {}
  const { answered = 0, median_ms = null, p95_ms = null } = waits[0] ?? {}
  return { pending, oldest_at, answered, median_wait_ms: median_ms, p95_wait_ms: p95_ms, reviewers }
}
