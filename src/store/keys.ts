import type { Caller, Role } from '../core/access.js'
import { Problem } from '../errors.js'
import type { Db } from '../platform/db/seam.js'
import type { Policies } from './policies.js'

export interface KeyRow {
  tenant: string
  key_id: string
  /** sha256 of the secret part, hex. The secret has 256 random bits: a slow hash would add nothing but load. */
  hash: string
  role: Role
  principal: string
  team: string | null
  topics: string[] | null
  act_as: string[]
  note: string | null
  created_at: number
  created_by: string
  expires_at: number | null
  revoked_at: number | null
}

const GET = 'SELECT * FROM keys WHERE key_id = $1'
const LIST = 'SELECT * FROM keys WHERE tenant = $1 ORDER BY created_at, key_id'

/** By id alone: whoever presents a key does not say its tenant, the row does. */
export async function findKey(db: Db, key_id: string): Promise<KeyRow | null> {
  return (await db.query<KeyRow>(GET, [key_id]))[0] ?? null
}

/** Throws Problem `unauthenticated` for a key that was revoked since it was presented. */
export async function assertStanding(db: Db, { key_id }: Pick<Caller, 'key_id'>): Promise<void> {
  const row = await findKey(db, key_id)
  if (row !== null && row.revoked_at !== null) throw new Problem('unauthenticated', 'The key was revoked')
}

/**
 * What the gate sent back is decided again: under its new values, and only while the key still stands, because revoking one
 * moves the gate. Throws Problem `unauthenticated`.
 */
export async function gateMoved(
  world: { db: Db; policies: Policies },
  caller: Pick<Caller, 'tenant' | 'key_id'>,
): Promise<void> {
  await world.policies.refresh(caller.tenant)
  await assertStanding(world.db, caller)
}

export function listKeys(db: Db, tenant: string): Promise<KeyRow[]> {
  return db.query<KeyRow>(LIST, [tenant])
}
