import type { Caller, Permission, Role } from '../core/access.js'
import { type Fact, joined } from '../core/audit.js'
import { type DueStage, NOTICE_MS, ROTATE_MS } from '../core/key.js'
import type { SignOnWay } from '../core/sign-on.js'
import { Problem } from '../errors.js'
import type { Clock } from '../platform/clock.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import type { Active, Policies } from './policies.js'
import type { Refusals } from './refusals.js'
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
  /** Of what the role may; null = all of it. */
  permissions: Permission[] | null
  note: string | null
  created_at: number
  created_by: string
  expires_at: number | null
  revoked_at: number | null
  /** The key that was made in its place. */
  rotated_to: string | null
  /** Of a session: how its person signed on. Other keys have none. */
  session?: SignOnWay | null
}

/** A key has the role and the team of its principal as they are now; its own columns say what they were when it was made. */
const COLUMNS = `k.tenant, k.key_id, k.hash, coalesce(p.role, k.role) AS role, k.principal,
  CASE WHEN p.principal IS NULL THEN k.team ELSE p.team END AS team, k.topics, k.act_as, k.permissions, k.note, k.created_at, k.created_by, k.expires_at,
  k.revoked_at, k.rotated_to, k.session, k.last_used_at, p.disabled_at`
const FROM = 'keys k LEFT JOIN principals p ON p.tenant = k.tenant AND p.principal = k.principal'
const GET = `SELECT ${COLUMNS}, (SELECT coalesce(json_agg(t.team ORDER BY t.team), '[]'::json) FROM teams t
    WHERE t.tenant = k.tenant AND t.leads ? k.principal) AS leads FROM ${FROM} WHERE k.key_id = $1`
const GET_LINK = `SELECT l.tenant, l.link_id AS key_id, l.hash, p.role, l.principal, p.team, NULL AS topics, '[]'::json AS act_as, NULL AS permissions,
    NULL AS note, l.created_at, '' AS created_by, l.expires_at, NULL AS revoked_at, NULL AS rotated_to, NULL AS last_used_at, p.disabled_at, '[]'::json AS leads
  FROM links l LEFT JOIN principals p ON p.tenant = l.tenant AND p.principal = l.principal WHERE l.link_id = $1`
const ENDED = `SELECT k.key_id FROM ${FROM} WHERE k.key_id = ANY($1::text[]) 
  AND (k.revoked_at IS NOT NULL OR p.disabled_at IS NOT NULL OR k.expires_at <= $2::bigint)`
const LIST = `SELECT ${COLUMNS} FROM ${FROM} WHERE k.tenant = $1 ORDER BY k.created_at, k.key_id`
/** $1: now, $2: made by then is old, $3: what expires by then expires soon. The stages themselves are `dueOf`'s. */
const IS_DUE = `k.session IS NULL AND k.revoked_at IS NULL AND k.rotated_to IS NULL AND p.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $1::bigint)
  AND (k.created_at <= $2::bigint OR k.expires_at <= $3::bigint)`
const DUE = `SELECT ${COLUMNS}, (SELECT coalesce(json_agg(r.stage), '[]'::json) FROM key_reminders r
    WHERE r.tenant = k.tenant AND r.key_id = k.key_id) AS reminded FROM ${FROM} WHERE ${IS_DUE} ORDER BY k.tenant, k.key_id`
const PAGE = `SELECT ${COLUMNS} FROM ${FROM} WHERE k.tenant = $4 AND (k.created_at, k.key_id) > ($5::bigint, $6::text)
  AND (NOT $7::boolean OR (${IS_DUE}))
  AND (k.session IS NOT NULL) = $9::boolean ORDER BY k.created_at, k.key_id LIMIT $8::int`
const REMINDED = `INSERT INTO key_reminders (tenant, key_id, stage, at)
  SELECT $1, x.key_id, x.stage, $2::bigint FROM json_to_recordset($3::json) AS x(key_id text, stage text) ON CONFLICT (tenant, key_id, stage) DO NOTHING`
const USED = `UPDATE keys k SET last_used_at = x.at FROM json_to_recordset($1::json) AS x(key_id text, at bigint)
  WHERE k.key_id = x.key_id AND coalesce(k.last_used_at, 0) < x.at`

/** A key as it is read: with what is known of its principal. */
export interface FoundKey extends KeyRow {
  /** Since when the principal may do nothing. */
  disabled_at: number | null
  /** Written within a minute or two of the use, by a loop. */
  last_used_at: number | null
  leads: string[]
}

/** As lists show it. */
export type ListedKey = Omit<FoundKey, 'leads'>

/** By id alone: whoever presents a key does not say its tenant, the row does. A link of a mail stands where a key would, while its person may act. */
export async function findKey(db: Db, key_id: string): Promise<FoundKey | null> {
  return (await db.query<FoundKey>(key_id.startsWith('link_') ? GET_LINK : GET, [key_id]))[0] ?? null
}

/** Whether it opens nothing any more, whenever it would have expired. */
export const isEnded = ({ revoked_at, disabled_at }: Pick<FoundKey, 'revoked_at' | 'disabled_at'>) =>
  revoked_at !== null || disabled_at !== null

/** Which of these keys were revoked, have expired (a rotation may have said when), or are of principals that were disabled. */
export async function endedOf(db: Db, key_ids: readonly string[], now: number): Promise<string[]> {
  return (await db.query<{ key_id: string }>(ENDED, [textArray(key_ids), now])).map((row) => row.key_id)
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
 * As `activeFor`, for several callers of one tenant at once; which of their keys have ended. Throws Problem `no_policy`.
 */
export async function activeForAll(
  world: { db: Db; policies: Policies; clock: Clock },
  tenant: string,
  callers: readonly Pick<Caller, 'key_id' | 'checked'>[],
): Promise<{ active: Active; revoked: ReadonlySet<string> }> {
  const active = await world.policies.active(tenant)
  const { epoch } = active.gate
  const unseen = callers.filter(({ checked }) => checked !== epoch)
  const ids = [...new Set(unseen.map(({ key_id }) => key_id))]
  const revoked = new Set(ids.length === 0 ? [] : await endedOf(world.db, ids, world.clock.now()))
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

export function listKeys(db: Db, tenant: string): Promise<ListedKey[]> {
  return db.query<ListedKey>(LIST, [tenant])
}

/** Oldest first. `due`: only those that want a look; `now` says which. `sessions`: those instead, which are in no list else. */
export async function pageOfKeys(
  db: Db,
  tenant: string,
  {
    cursor,
    limit = 50,
    due = false,
    sessions = false,
  }: { cursor?: string; limit?: number; due?: boolean; sessions?: boolean },
  now: number,
): Promise<Page<ListedKey>> {
  const [created_at, key_id] = decodeCursor(cursor) ?? [-1, '']
  const rows = await db.query<ListedKey>(PAGE, [...dueAt(now), tenant, created_at, key_id, due, limit + 1, sessions])
  return page(rows, limit, (row) => [row.created_at, row.key_id])
}

/** Keys of every tenant that want a look, with what was said of each. */
export function dueKeys(db: Db, now: number): Promise<(ListedKey & { reminded: DueStage[] })[]> {
  return db.query<ListedKey & { reminded: DueStage[] }>(DUE, dueAt(now))
}

const dueAt = (now: number): number[] => [now, now - (ROTATE_MS - NOTICE_MS), now + NOTICE_MS]

/** What the log says now of these keys. */
export async function keepReminders(
  db: Db,
  tenant: string,
  said: readonly { key_id: string; stage: DueStage }[],
  at: number,
): Promise<void> {
  await db.query(REMINDED, [tenant, at, JSON.stringify(said)])
}

/** When keys were last seen to open something; an earlier time changes nothing. */
export async function keepUses(db: Db, used: ReadonlyMap<string, number>): Promise<void> {
  // In one order, as two nodes that write the same keys would lock them.
  const rows = [...used].map(([key_id, at]) => ({ key_id, at })).sort((a, b) => (a.key_id < b.key_id ? -1 : 1))
  if (rows.length > 0) await db.query(USED, [JSON.stringify(rows)])
}

/**
 * Somebody asked to hand on more than they have, as a key or as a token: in the log before they hear of it, repeats counted.
 * Throws what `record` throws.
 */
export async function recordBeyond(
  {
    clock,
    ledger,
    refusals,
  }: { clock: Clock; ledger: { record(tenant: string, facts: Fact[]): Promise<void> }; refusals: Refusals },
  { tenant, principal: actor, key_id }: Pick<Caller, 'tenant' | 'principal' | 'key_id'>,
  missing: readonly string[],
): Promise<void> {
  const at = clock.now()
  const refused = { kind: 'key.refused', tenant, actor, key_id, error_code: 'forbidden', reason: 'beyond' } as const
  await refusals.onRecord(refused, at, () => ledger.record(tenant, [{ ...refused, at, missing: joined(missing) }]))
}
