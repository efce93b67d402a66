import type { Absence } from '../core/flow.js'
import type { Db } from '../platform/db/seam.js'

const ALL = 'SELECT * FROM absences WHERE tenant = $1 ORDER BY principal'

export function listAbsences(db: Db, tenant: string): Promise<Absence[]> {
  return db.query<Absence>(ALL, [tenant])
}
