import type { Attestation } from '../core/readiness/facts.js'
import type { Db } from '../platform/db/seam.js'

export const ATTESTATION_COLUMNS = 'tenant, attestation_id, subject, attested_by, key_id, note, link, at, expires_at'
/** People write them by hand, a few in a quarter: all of a tenant are read. Ids sort by time. */
const NEWEST = `SELECT DISTINCT ON (subject) ${ATTESTATION_COLUMNS} FROM attestations WHERE tenant = $1 ORDER BY subject, attestation_id DESC`

/** The newest of each subject, expired ones too. */
export function newestAttestations(db: Db, tenant: string): Promise<Attestation[]> {
  return db.query<Attestation>(NEWEST, [tenant])
}
