import type { Party } from '../core/four-eyes.js'
import type { Db } from '../platform/db/seam.js'

const PARTY = `SELECT $1::text AS tenant, $2::text AS principal, p.kind, p.role, p.disabled_at IS NOT NULL OR EXISTS (SELECT FROM keys WHERE key_id = $3 AND revoked_at IS NOT NULL) AS ended, NULL AS permissions,
    (SELECT coalesce(json_agg(t.team ORDER BY t.team), '[]'::json) FROM teams t WHERE t.tenant = $1 AND t.leads ? $2::text) AS leads,
    (SELECT coalesce(json_agg(DISTINCT created_by), '[]'::json) FROM keys WHERE principal = $2 AND tenant = $1) AS makers
  FROM (SELECT 1) one LEFT JOIN principals p ON p.tenant = $1 AND p.principal = $2`

/**
 * Read it under the gate that the commit carries: who somebody is may change, and changes move it.
 * @param key_id with which they said what is to count
 */
export async function partyOf(
  db: Db,
  tenant: string,
  { by, key_id = null }: { by: string; key_id?: string | null },
): Promise<Party> {
  return (await db.query<Party>(PARTY, [tenant, by, key_id]))[0] as Party
}
