import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

export const RECORDS = ['grant', 'stop', 'absence', 'session', 'replay'] as const

/** Something beside jobs that is over for good. No decision reads it any more: what one read stands in the decision. */
export interface OldRecord {
  tenant: string
  what: (typeof RECORDS)[number]
  id: string
}

const IS_OLD_GRANT = 'least(expires_at, revoked_at) < $1'
/**
 * Revoked sessions alone: one that expired takes nothing back. What was answered with a revoked one counts for nothing while its row says so,
 * so it stays while an open question has such an answer. The index is of their expiry, which comes within a day of any revocation.
 */
const isOldSession = (
  before: string,
) => `k.session IS NOT NULL AND k.expires_at < ${before} AND k.revoked_at < ${before}
  AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.tenant = k.tenant AND a.status = 'pending'
    AND a.answers @> jsonb_build_array(jsonb_build_object('key_id', k.key_id)))`
/** Each by an index of when it was over. */
const OLD = `SELECT * FROM (SELECT tenant, 'grant' AS what, grant_id AS id FROM grants WHERE ${IS_OLD_GRANT} ORDER BY least(expires_at, revoked_at) LIMIT $2) g
  UNION ALL SELECT * FROM (SELECT tenant, 'stop', stop_id FROM stops WHERE ended_at < $1 ORDER BY ended_at LIMIT $2) s
  UNION ALL SELECT * FROM (SELECT tenant, 'absence', principal FROM absences WHERE until_at < $1 ORDER BY until_at LIMIT $2) a
  UNION ALL SELECT * FROM (SELECT tenant, 'session', key_id FROM keys k WHERE ${isOldSession('$3')} ORDER BY k.expires_at LIMIT $2) k
  UNION ALL SELECT * FROM (SELECT tenant, 'replay', replay_id FROM replays WHERE finished_at < $1 ORDER BY finished_at LIMIT $2) r`

// Asked again whether it is old: somebody may have set an absence anew since. The counters of grants and stops go with them; a stop of
// everything counted in every tenant.
const REMOVE_GRANTS = `WITH gone AS (DELETE FROM grants WHERE ${IS_OLD_GRANT} AND tenant = $2 AND grant_id = ANY($3::text[]) RETURNING grant_id)
  DELETE FROM limits WHERE tenant = $2 AND key = ANY(ARRAY(SELECT 'grant|' || grant_id FROM gone))`
const REMOVE_STOPS = `WITH gone AS (DELETE FROM stops WHERE ended_at < $1 AND tenant = $2 AND stop_id = ANY($3::text[]) RETURNING stop_id),
  d_nodes AS (DELETE FROM stop_confirmations WHERE stop_id = ANY(ARRAY(SELECT stop_id FROM gone))),
  d_leases AS (DELETE FROM stop_leases WHERE stop_id = ANY(ARRAY(SELECT stop_id FROM gone)))
  DELETE FROM limits WHERE tenant IN (SELECT tenant FROM gates) AND key = ANY(ARRAY(
    SELECT unnest(ARRAY['stop|' || stop_id, 'stop-run|' || stop_id]) FROM gone))`
const REMOVE_ABSENCES = 'DELETE FROM absences WHERE until_at < $1 AND tenant = $2 AND principal = ANY($3::text[])'
const REMOVE_SESSIONS = `DELETE FROM keys k WHERE ${isOldSession('$1')} AND k.tenant = $2 AND k.key_id = ANY($3::text[])`
const REMOVE_REPLAYS = `WITH gone AS (DELETE FROM replays WHERE finished_at < $1 AND tenant = $2 AND replay_id = ANY($3::text[]) RETURNING tenant, replay_id)
  DELETE FROM replay_logs l USING gone WHERE l.tenant = gone.tenant AND l.replay_id = gone.replay_id`
const REMOVE = {
  grant: REMOVE_GRANTS,
  stop: REMOVE_STOPS,
  absence: REMOVE_ABSENCES,
  session: REMOVE_SESSIONS,
  replay: REMOVE_REPLAYS,
}

/** Sessions nobody signed off that are over: a person's own go at their next sign-on, and who does not come back leaves theirs. */
const FORGET_SESSIONS = `DELETE FROM keys WHERE (tenant, key_id) IN (SELECT tenant, key_id FROM keys
  WHERE session IS NOT NULL AND expires_at < $1 AND revoked_at IS NULL ORDER BY expires_at LIMIT $2)`
/** Of keys that are due no more, whatever becomes of them. */
const FORGET_REMINDERS = `DELETE FROM key_reminders r WHERE r.at < $1 AND EXISTS (SELECT 1 FROM keys k WHERE k.tenant = r.tenant AND k.key_id = r.key_id
  AND (k.revoked_at IS NOT NULL OR k.rotated_to IS NOT NULL OR k.expires_at < $1))`

/**
 * @param limit of each kind
 * @param sessionsBefore no later than a grant lasts: a grant of a key whose row is gone would count again
 */
export function oldRecords(db: Db, before: number, sessionsBefore: number, limit: number): Promise<OldRecord[]> {
  return db.query<OldRecord>(OLD, [before, limit, sessionsBefore])
}

export async function removeRecords(
  db: Db,
  tenant: string,
  what: OldRecord['what'],
  ids: readonly string[],
  before: number,
): Promise<void> {
  if (ids.length > 0) await db.query(REMOVE[what], [before, tenant, textArray(ids)])
}

/** What says nothing to anybody any more. */
export async function forgetEnded(db: Db, before: number, limit: number): Promise<void> {
  await db.query(FORGET_SESSIONS, [before, limit])
  await db.query(FORGET_REMINDERS, [before])
}
