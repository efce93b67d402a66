import type { Caller, Permission, Role } from '../core/access.js'
import { type Fact, joined } from '../core/audit.js'
import { type DueStage, type KnownNow, LAPSED, type Lapse, lapseOf, NOTICE_MS, ROTATE_MS } from '../core/key.js'
import { isReserved } from '../core/principal.js'
import type { SignOnWay } from '../core/sign-on.js'
import { Problem } from '../errors.js'
import type { Clock } from '../platform/clock.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import type { Active, Policies } from './policies.js'
import type { Refusals } from './refusals.js'
import type { Gate } from './standing.js'

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
/** Of callers, in their order: what is known now of their key or link, and of who they are. */
const KNOWN = `SELECT own.key_id IS NOT NULL OR link.link_id IS NOT NULL AS has_row, own.revoked_at, p.disabled_at,
    coalesce(own.expires_at, link.expires_at) AS expires_at, coalesce(p.role, own.role) AS role,
    CASE WHEN p.principal IS NULL THEN own.team ELSE p.team END AS team,
    CASE WHEN p.kind = 'person' THEN
      (SELECT coalesce(json_agg(t.team ORDER BY t.team), '[]'::json) FROM teams t WHERE t.tenant = k.tenant AND t.leads ? k.principal) ELSE '[]'::json END AS leads
  FROM json_to_recordset($1::json) AS k(n int, tenant text, principal text, key_id text)
  LEFT JOIN LATERAL (SELECT key_id, role, team, revoked_at, expires_at FROM keys WHERE key_id = k.key_id OFFSET 0) own ON true
  LEFT JOIN LATERAL (SELECT link_id, expires_at FROM links WHERE link_id = k.key_id OFFSET 0) link ON true
  LEFT JOIN LATERAL (SELECT principal, kind, role, team, disabled_at FROM principals WHERE tenant = k.tenant AND principal = k.principal OFFSET 0) p ON true
  ORDER BY k.n`
const LIST = `SELECT ${COLUMNS} FROM ${FROM} WHERE k.tenant = $1 ORDER BY k.created_at, k.key_id`
/** $1: now, $2: made by then is old, $3: what expires by then expires soon. The stages themselves are `dueOf`'s. */
const IS_DUE = `k.session IS NULL AND k.revoked_at IS NULL AND k.rotated_to IS NULL AND p.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $1::bigint)
  AND (k.created_at <= $2::bigint OR k.expires_at <= $3::bigint)`
const DUE = `SELECT ${COLUMNS}, (SELECT coalesce(json_agg(r.stage), '[]'::json) FROM key_reminders r
    WHERE r.tenant = k.tenant AND r.key_id = k.key_id) AS reminded FROM ${FROM} WHERE ${IS_DUE} ORDER BY k.tenant, k.key_id`
const PAGE = `SELECT ${COLUMNS} FROM ${FROM} WHERE k.tenant = $4 AND (k.created_at, k.key_id) > ($5::bigint, $6::text)
  AND (NOT $7::boolean OR (${IS_DUE}))
  AND (k.session IS NOT NULL) = $9::boolean ORDER BY k.created_at, k.key_id LIMIT $8::int`
/** Those that open nothing any more count where there are no others: a key that was revoked in an incident keeps nothing from being undone. */
const TOPICS = `SELECT topics FROM (
    SELECT topics, rank() OVER (ORDER BY revoked_at IS NULL AND coalesce(expires_at > $3, true) DESC) AS nth FROM keys WHERE principal = $2 AND tenant = $1) k
  WHERE nth = 1`
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

/** Who asks, as their key or token said when it was presented; of the plane's own steps the name they go by alone. */
export type Presented = Pick<Caller, 'tenant' | 'key_id' | 'checked'> &
  Partial<Pick<Caller, 'principal' | 'role' | 'team' | 'leads' | 'expires_at'>>

/**
 * Of these callers those who may not go on, and why: with every key that was revoked, has expired or is gone, and everybody who was
 * disabled or has another role than was looked at when they came. Team and teams led are read from the caller only after this, so they
 * are brought up to date instead: who moves to another team must not be turned away for it.
 */
export async function lapsedOf<Who extends Presented>(
  { db, clock }: { db: Db; clock: Clock },
  presented: readonly Who[],
): Promise<Map<Who, Lapse>> {
  // The plane has no key, and nothing that somebody declares under its name ends what it does.
  const callers = presented.filter(({ key_id }) => !isReserved(key_id))
  if (callers.length === 0) return new Map()
  const asked = callers.map(({ tenant, principal, key_id }, n) => ({ n, tenant, principal, key_id }))
  const known = await db.query<KnownNow & Pick<Caller, 'team' | 'leads'>>(KNOWN, [JSON.stringify(asked)])
  const now = clock.now()
  const lapsed = new Map<Who, Lapse>()
  for (const [n, caller] of callers.entries()) {
    const { team, leads, ...of } = known[n] as (typeof known)[number]
    const why = lapseOf(caller, of, now)
    if (why !== null) lapsed.set(caller, why)
    else if (of.role !== null) Object.assign(caller, { team, leads })
  }
  return lapsed
}

/**
 * Every step on somebody's behalf asks this between reading its gate and deciding. A request is authorised when its head is read; by the
 * time its body is there (30 s), or on another node that read the key a second ago, who asks may be no admin any more. What takes that
 * from them moves the gate, so one of two holds: it is seen here, or the commit that carries this gate is refused. (What ends by its
 * time, and a session that its own person leaves, is seen here alone.)
 * Throws Problem `unauthenticated`.
 */
export async function standingUnder(
  world: { db: Db; clock: Clock },
  gate: Pick<Gate, 'epoch'> | null,
  caller: Presented,
): Promise<void> {
  const why = (await lapsedOf(world, [caller])).get(caller)
  if (why !== undefined) throw new Problem('unauthenticated', LAPSED[why])
  caller.checked = gate?.epoch ?? 0
}

/** For who submits and works, a thousand times a second: looked at once under each epoch. Throws Problem `unauthenticated`, `no_policy`. */
export async function activeFor(
  world: { db: Db; policies: Policies; clock: Clock },
  caller: Presented,
): Promise<Active> {
  const active = await world.policies.active(caller.tenant)
  const isOver = (caller.expires_at ?? Number.POSITIVE_INFINITY) <= world.clock.now()
  if (isOver || caller.checked !== active.gate.epoch) await standingUnder(world, active.gate, caller)
  return active
}

/**
 * As `activeFor`, for several callers of one tenant at once; which of their keys may not go on. Throws Problem `no_policy`.
 */
export async function activeForAll(
  world: { db: Db; policies: Policies; clock: Clock },
  tenant: string,
  callers: readonly Presented[],
): Promise<{ active: Active; revoked: ReadonlySet<string> }> {
  const active = await world.policies.active(tenant)
  const { epoch } = active.gate
  const unseen = callers.filter(({ checked }) => checked !== epoch)
  const lapsed = await lapsedOf(world, unseen)
  for (const caller of unseen) if (!lapsed.has(caller)) caller.checked = epoch
  return { active, revoked: new Set([...lapsed.keys()].map(({ key_id }) => key_id)) }
}

/** What the gate sent back is decided again under its new values, by who still stands. Throws Problem `unauthenticated`. */
export async function gateMoved(world: { db: Db; policies: Policies; clock: Clock }, caller: Presented): Promise<void> {
  await standingUnder(world, await world.policies.refresh(caller.tenant), caller)
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

/** What the keys of this principal reach, as topic patterns; null where one of them is bound to none, or none is known. */
export async function topicsOfKeys(db: Db, tenant: string, principal: string, now: number): Promise<string[] | null> {
  const rows = await db.query<{ topics: string[] | null }>(TOPICS, [tenant, principal, now])
  if (rows.length === 0 || rows.some(({ topics }) => topics === null)) return null
  return [...new Set(rows.flatMap(({ topics }) => topics ?? []))]
}

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

interface Recording {
  clock: Clock
  ledger: { record(tenant: string, facts: Fact[]): Promise<void> }
  refusals: Refusals
}

/**
 * Somebody asked to hand on more than they have, as a key or as a token: in the log before they hear of it, repeats counted.
 * Throws what `record` throws.
 */
export async function recordBeyond(
  { clock, ledger, refusals }: Recording,
  { tenant, principal: actor, key_id }: Pick<Caller, 'tenant' | 'principal' | 'key_id'>,
  missing: readonly string[],
): Promise<void> {
  const at = clock.now()
  const refused = { kind: 'key.refused', tenant, actor, key_id, error_code: 'forbidden', reason: 'beyond' } as const
  await refusals.onRecord(refused, at, () => ledger.record(tenant, [{ ...refused, at, missing: joined(missing) }]))
}

/**
 * What lasts minutes makes nothing that lasts: no way in, no office, no approval beforehand. Who found a token in a log would else be
 * there when it has long expired. Throws Problem `forbidden`, on record.
 */
export async function assertNoToken(world: Recording, caller: Caller): Promise<void> {
  if (caller.jti === undefined) return
  await recordBeyond(world, caller, ['a key'])
  throw new Problem('forbidden', 'A token makes nothing that outlasts it', { needs: ['a key'] })
}
