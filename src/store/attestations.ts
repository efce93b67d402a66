import type { Attestation } from '../core/readiness/facts.js'
import type { Db } from '../platform/db/seam.js'

export const ATTESTATION_COLUMNS = 'tenant, attestation_id, subject, attested_by, key_id, note, link, at, expires_at'
/**
 * People write them by hand, a few in a quarter: all of a tenant are read. Ids sort by time. A word stands while who said it does: a person,
 * not disabled, whose key nobody took away. A key that has a successor was put aside in good order, and a session ends with every day.
 */
const STANDING = `SELECT DISTINCT ON (a.subject, a.attested_by) ${ATTESTATION_COLUMNS.replace(/\w+/g, 'a.$&')} FROM attestations a
  CROSS JOIN LATERAL (SELECT 1 FROM principals WHERE tenant = $1 AND principal = a.attested_by AND kind = 'person' AND disabled_at IS NULL OFFSET 0) p
  LEFT JOIN LATERAL (SELECT revoked_at, rotated_to, session FROM keys WHERE tenant = $1 AND key_id = a.key_id OFFSET 0) k ON true
  WHERE a.tenant = $1 AND (k.revoked_at IS NULL OR k.rotated_to IS NOT NULL OR k.session IS NOT NULL)
  ORDER BY a.subject, a.attested_by, a.attestation_id DESC`

/** Of each subject the newest of each person who stands by it, expired ones too. */
export function standingAttestations(db: Db, tenant: string): Promise<Attestation[]> {
  return db.query<Attestation>(STANDING, [tenant])
}
