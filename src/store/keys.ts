import type { Caller, Role } from '../core/access.js'
import { Problem } from '../errors.js'
import type { Db } from '../platform/db/seam.js'
import type { Active, Policies } from './policies.js'
import { textArray } from './text-array.js'

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
const REVOKED = 'SELECT key_id FROM keys WHERE key_id = ANY($1::text[]) AND revoked_at IS NOT NULL'
const LIST = 'SELECT * FROM keys WHERE tenant = $1 ORDER BY created_at, key_id'

/** By id alone: whoever presents a key does not say its tenant, the row does. */
export async function findKey(db: Db, key_id: string): Promise<KeyRow | null> {
  return (await db.query<KeyRow>(GET, [key_id]))[0] ?? null
}

/** Which of these keys were revoked. */
export async function revokedOf(db: Db, key_ids: readonly string[]): Promise<string[]> {
  return (await db.query<{ key_id: string }>(REVOKED, [textArray(key_ids)])).map((row) => row.key_id)
}

/** Throws Problem `unauthenticated` for a key that was revoked since it was presented. */
export async function assertStanding(db: Db, { key_id }: Pick<Caller, 'key_id'>): Promise<void> {
  const row = await findKey(db, key_id)
  if (row !== null && row.revoked_at !== null) throw new Problem('unauthenticated', 'The key was revoked')
}

/**
 * What a step of this caller decides under. The gate carries a revocation into every commit, but only to who still holds the gate
 * of before: one that was read anew since the key was presented lets the revoked key through. So under another epoch than it was
 * last seen to stand, the key is looked at again, after the gate was. Throws Problem `unauthenticated`, `no_policy`.
 */
export async function activeFor(
  world: { db: Db; policies: Policies },
  caller: Pick<Caller, 'tenant' | 'key_id' | 'checked'>,
): Promise<Active> {
  const active = await world.policies.active(caller.tenant)
  if (caller.checked !== active.gate.epoch) {
    await assertStanding(world.db, caller)
    caller.checked = active.gate.epoch
  }
  return active
}

/**
 * As `activeFor`, for several callers of one tenant at once; which of their keys were revoked. Throws Problem `no_policy`.
 */
export async function activeForAll(
  world: { db: Db; policies: Policies },
  tenant: string,
  callers: readonly Pick<Caller, 'key_id' | 'checked'>[],
): Promise<{ active: Active; revoked: ReadonlySet<string> }> {
  const active = await world.policies.active(tenant)
  const { epoch } = active.gate
  const unseen = callers.filter(({ checked }) => checked !== epoch)
  const ids = [...new Set(unseen.map(({ key_id }) => key_id))]
  const revoked = new Set(ids.length === 0 ? [] : await revokedOf(world.db, ids))
  for (const caller of unseen) if (!revoked.has(caller.key_id)) caller.checked = epoch
  return { active, revoked }
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
