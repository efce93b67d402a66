import type { Approval } from '../core/approval.js'
import type { Counter } from '../core/limits.js'
import type { Db } from '../platform/db/seam.js'
import { getApproval } from './approvals.js'
import { textArray } from './text-array.js'

/** What the door needs to know beside snapshot and claim. */
export interface Gate {
  tenant: string
  snapshot: string | null
  epoch: number
  file_digest: string | null
}

const GATE = 'SELECT * FROM gates WHERE tenant = $1'
const GATES = 'SELECT * FROM gates ORDER BY tenant'
const COUNTERS =
  'SELECT key, window_start, current, previous, held FROM limits WHERE tenant = $1 AND key = ANY($2::text[])'

export async function getGate(db: Db, tenant: string): Promise<Gate | null> {
  return (await db.query<Gate>(GATE, [tenant]))[0] ?? null
}

export function listGates(db: Db): Promise<Gate[]> {
  return db.query<Gate>(GATES)
}

export async function loadCounters(db: Db, tenant: string, keys: readonly string[]): Promise<Record<string, Counter>> {
  if (keys.length === 0) return {}
  const rows = await db.query<Counter & { key: string }>(COUNTERS, [tenant, textArray(keys)])
  return Object.fromEntries(rows.map(({ key, ...counter }) => [key, counter]))
}

/** The grant that may let this job through, if its approval was answered with yes. */
export async function loadGrant(
  db: Db,
  tenant: string,
  approval_id: string | null,
): Promise<Pick<Approval, 'approval_id' | 'bound_hash' | 'valid_until'> | null> {
  if (approval_id === null) return null
  const approval = await getApproval(db, tenant, approval_id)
  if (approval === null || approval.status !== 'approved') return null
  return { approval_id, bound_hash: approval.bound_hash, valid_until: approval.valid_until }
}
