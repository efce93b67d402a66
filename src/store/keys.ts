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

/** A key has the role and the team of its principal as they are now; its own columns say what they were when it was made. */
const COLUMNS = `k.tenant, k.key_id, k.hash, coalesce(p.role, k.role) AS role, k.principal,
  CASE WHEN p.principal IS NULL THEN k.team ELSE p.team END AS team, k.topics, k.act_as, k.note, k.created_at, k.created_by, k.expires_at,
  k.revoked_at, p.disabled_at`
const FROM = 'keys k LEFT JOIN principals p ON p.tenant = k.tenant AND p.principal = k.principal'
const GET = `SELECT ${COLUMNS}, (SELECT coalesce(json_agg(t.team ORDER BY t.team), '[]'::json) FROM teams t
    WHERE t.tenant = k.tenant AND t.leads ? k.principal) AS leads FROM ${FROM} WHERE k.key_id = $1`
const ENDED = `SELECT k.key_id FROM ${FROM} WHERE k.key_id = ANY($1::text[]) AND (k.revoked_at IS NOT NULL OR p.disabled_at IS NOT NULL)`
const LIST = `SELECT ${COLUMNS} FROM ${FROM} WHERE k.tenant = $1 ORDER BY k.created_at, k.key_id`

/** A key as it is read: with what is known of its principal. */
export interface FoundKey extends KeyRow {
  /** Since when the principal may do nothing. */
  disabled_at: number | null
  leads: string[]
}

/** By id alone: whoever presents a key does not say its tenant, the row does. */
export async function findKey(db: Db, key_id: string): Promise<FoundKey | null> {
  return (await db.query<FoundKey>(GET, [key_id]))[0] ?? null
}

/** Whether it opens nothing any more, whenever it would have expired. */
export const isEnded = ({ revoked_at, disabled_at }: Pick<FoundKey, 'revoked_at' | 'disabled_at'>) =>
  revoked_at !== null || disabled_at !== null

/** Which of these keys were revoked, or are of principals that were disabled. */
export async function revokedOf(db: Db, key_ids: readonly string[]): Promise<string[]> {
  return (await db.query<{ key_id: string }>(ENDED, [textArray(key_ids)])).map((row) => row.key_id)
}

/** Throws Problem `unauthenticated` for a key that was revoked since it was presented, or whose principal was disabled. */
export async function assertStanding(db: Db, { key_id }: Pick<Caller, 'key_id'>): Promise<void> {
  const row = await findKey(db, key_id)
  if (row !== null && isEnded(row)) throw new Problem('unauthenticated', 'The key was revoked')
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

export function listKeys(db: Db, tenant: string): Promise<Omit<FoundKey, 'leads'>[]> {
  return db.query<Omit<FoundKey, 'leads'>>(LIST, [tenant])
}
