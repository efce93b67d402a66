import type { CreateKey } from '../contract/keys.js'
import { type Caller, hashSecret, KEY_FORM, type Permission, ROLES, type Role } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import { joined } from '../core/audit.js'
import { type Asked, beyondMaker, endOf, isWhole, permissionsOf } from '../core/key.js'
import { isReserved, kindOf, type Principal, RESERVED, type Team } from '../core/principal.js'
import { Problem } from '../errors.js'
import { getPrincipal } from '../store/directory.js'
import {
  type FoundKey,
  findKey,
  type KeyRow,
  keepUses,
  type ListedKey,
  listKeys,
  recordBeyond,
  standingUnder,
} from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

export function newKeyText(world: Pick<World, 'ids' | 'clock'>): string {
  return `sp_${world.ids.id('key', world.clock.now()).slice(4)}_${Buffer.from(world.ids.bytes(32)).toString('base64url')}`
}

const TRIES = 6
const unsettled = (what: string) => new Problem('overloaded', what, { retry_after_ms: 200 })

/**
 * As `createKey`, for somebody who asks. Throws Problem `forbidden` where it would be for more than the caller may do: who may make
 * keys with a narrowed one would else make a whole one.
 */
export async function makeKey(world: World, caller: Caller, body: CreateKey): Promise<{ row: KeyRow; key: string }> {
  const permissions = narrowing(body)
  await assertMaker(world, caller, {
    permissions: permissionsOf({ role: body.role as Role, permissions }),
    topics: body.topics ?? null,
    act_as: body.act_as ?? [],
  })
  return settled(world, caller.tenant, caller.principal, body, { caller })
}

/**
 * Makes a key; its text is returned once and kept nowhere. `text` is given only for keys that a start makes, which puts them into files.
 * The first key of a principal declares it. Throws Problem `invalid` for one that is no key, has the id of another, or is for another
 * role or team than its principal has; `overloaded`.
 */
export async function createKey(
  world: World,
  tenant: string,
  actor: string,
  body: CreateKey,
  text?: string,
): Promise<{ row: KeyRow; key: string }> {
  return settled(world, tenant, actor, body, { text })
}

/** The gate moves with it: who a first key declares is asked from then on, and routed by their team, on every node. */
async function settled(
  world: World,
  tenant: string,
  actor: string,
  body: CreateKey,
  { text, caller }: { text?: string | undefined; caller?: Caller },
): Promise<{ row: KeyRow; key: string }> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    if (caller !== undefined) await standingUnder(world, gate, caller)
    const made = await stored(world, tenant, actor, body, text ?? newKeyText(world), [moved(tenant, gate)])
    if (typeof made !== 'string') {
      await world.policies.refresh(tenant).catch(() => {})
      return made
    }
    if (made === 'taken' && text !== undefined)
      throw new Problem('invalid', 'There is a key of this id already, with another secret')
  }
  throw unsettled('The policy changed faster than the key could be made')
}

/** `taken`: another key has this id; `overtaken`: the gate moved. Nothing was written, so there is no key to hand out. */
async function stored(
  world: World,
  tenant: string,
  actor: string,
  body: CreateKey,
  text: string,
  gates: AdminRows['gates'],
): Promise<{ row: KeyRow; key: string } | 'taken' | 'overtaken'> {
  const [, id, secret] = KEY_FORM.exec(text) ?? []
  if (id === undefined || secret === undefined)
    throw new Problem('invalid', 'The key is not of the form sp_<id>_<secret>')
  // A key is stored as it is revoked, by its id: of the same tenant the older one would stay, and stand again if it was revoked.
  if ((await findKey(world.db, `key_${id}`)) !== null) return 'taken'
  refuseReserved(body)
  const now = world.clock.now()
  const role = body.role as Role
  const principal = body.principal ?? `${role}:${id.slice(-8)}`
  const known = await getPrincipal(world.db, tenant, principal)
  if (known !== null) refuseOther(known, body)
  const permissions = narrowing(body)
  const row: KeyRow = {
    tenant,
    key_id: `key_${id}`,
    hash: hashSecret(secret),
    role,
    principal,
    team: known === null ? (body.team ?? null) : known.team,
    topics: body.topics ?? null,
    act_as: body.act_as ?? [],
    permissions,
    note: body.note ?? null,
    created_at: now,
    created_by: actor,
    expires_at: body.expires_at ?? null,
    revoked_at: null,
    rotated_to: null,
  }
  const fact: Fact = {
    kind: 'key.created',
    tenant,
    at: now,
    actor,
    key_id: row.key_id,
    role,
    principal: row.principal,
    team: row.team,
    act_as: joined(row.act_as),
    expires_at: row.expires_at,
    topics: row.topics === null ? null : joined(row.topics),
    permissions: permissions === null ? null : joined(permissions),
  }
  const receipt = await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { keys: [row], gates, ...(known === null ? declaredBy(row) : {}) },
    facts: [fact],
  })
  return receipt.ok ? { row, key: text } : 'overtaken'
}

/** A key is for what its principal is: to make it more, the principal is changed. */
function refuseOther({ principal, role, team, disabled_at }: Principal, body: CreateKey): void {
  const fault = (path: string, message: string) => new Problem('invalid', message, { faults: [{ path, message }] })
  if (disabled_at !== null) throw fault('/principal', `${principal} is disabled`)
  if (role !== body.role) throw fault('/role', `${principal} is ${role}, so a key of it cannot be ${body.role}`)
  if (body.team !== undefined && body.team !== team)
    throw fault('/team', `${principal} is in ${team === null ? 'no team' : `team ${team}`}, not in ${body.team}`)
}

function refuseReserved({ principal, act_as = [] }: CreateKey): void {
  const named = [
    ...(principal === undefined ? [] : [['/principal', principal]]),
    ...act_as.map((name, n) => [`/act_as/${n}`, name]),
  ]
  const faults = named.flatMap(([path = '', name = '']) => (isReserved(name) ? [{ path, message: RESERVED }] : []))
  if (faults.length > 0) throw new Problem('invalid', RESERVED, { faults })
}

/** What the key is narrowed to, of what its role may. Throws Problem `invalid` for what the role may not. */
function narrowing({ role, permissions }: Pick<CreateKey, 'role' | 'permissions'>): Permission[] | null {
  if (permissions === undefined) return null
  const faults = permissions.flatMap((permission, i) =>
    (ROLES[role as Role] as readonly string[]).includes(permission)
      ? []
      : [{ path: `/permissions/${i}`, message: `${role} has no ${permission}, so no key of it has` }],
  )
  if (faults.length > 0) throw new Problem('invalid', 'A key is for less than its role, never for more', { faults })
  return permissions as Permission[]
}

/** Throws Problem `forbidden`; that somebody asked for more than they have is in the log before they hear of it. */
async function assertMaker(world: World, caller: Caller, asked: Asked): Promise<void> {
  // What lasts minutes must not make what lasts.
  const missing = caller.jti === undefined ? beyondMaker(caller, asked) : ['a key']
  if (missing.length === 0) return
  await recordBeyond(world, caller, missing)
  throw new Problem('forbidden', 'Nobody makes a key for more than they may do themselves', { needs: missing })
}

/** The principal and the team that a first key names. */
function declaredBy({ tenant, principal, role, team, created_at, created_by }: KeyRow): {
  principals: Principal[]
  teams: Team[]
} {
  const by = { tenant, source: 'key' as const, updated_at: created_at, updated_by: created_by }
  const unknown = { name: null, email: null, terms: null, disabled_at: null }
  return {
    principals: [{ ...by, ...unknown, principal, kind: kindOf(role), role, team, created_at }],
    teams: team === null ? [] : [{ ...by, team, name: null, leads: [], on_call: [] }],
  }
}

/**
 * As `revokeKey`, for somebody who asks. With a narrowed key any key is revoked, because it has leaked perhaps, but for the last whole one of
 * an admin: after it nobody could make another. Throws Problem `forbidden` too, `unauthenticated`.
 */
export function takeKey(world: World, caller: Caller, key_id: string): Promise<KeyRow> {
  return revoked(world, caller.tenant, caller.principal, key_id, async (gate, keys, row) => {
    await standingUnder(world, gate, caller)
    const now = world.clock.now()
    if (isWhole(caller) || !isLasting(row, now) || keys.some((each) => each !== row && isLasting(each, now))) return
    await recordBeyond(world, caller, ['a whole key'])
    throw new Problem('forbidden', 'The last whole key of an admin is revoked with such a key only', {
      needs: ['a whole key'],
    })
  })
}

/** Opens all that an admin may, and goes on to: neither a session nor on its way out. */
const isLasting = (key: ListedKey, now: number) =>
  isWhole(key) && !key.session && key.expires_at === null && endOf(key, now) === null

/**
 * From its return the key opens nothing more: the gate's epoch moves, so what it had under way does not commit either.
 * Throws Problem `not_found`, `overloaded`.
 */
export function revokeKey(world: World, tenant: string, actor: string, key_id: string): Promise<KeyRow> {
  return revoked(world, tenant, actor, key_id, async () => {})
}

async function revoked(
  world: World,
  tenant: string,
  actor: string,
  key_id: string,
  assertMay: (gate: Gate | null, keys: readonly ListedKey[], row: ListedKey) => Promise<void>,
): Promise<KeyRow> {
  for (let tries = 0; tries < TRIES; tries++) {
    // Before the row: a rotation in between moves the gate, and must not be written over by what stood before it.
    const gate = await getGate(world.db, tenant)
    const keys = await listKeys(world.db, tenant)
    const row = keys.find((k) => k.key_id === key_id)
    if (row === undefined) throw new Problem('not_found')
    await assertMay(gate, keys, row)
    if (row.revoked_at !== null) return row
    const now = world.clock.now()
    const ended = { ...row, revoked_at: now }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        keys: [ended],
        gates: [moved(tenant, gate)],
      },
      facts: [{ kind: 'key.revoked', tenant, at: now, actor, key_id, principal: row.principal }],
    })
    if (receipt.ok) {
      await world.policies.refresh(tenant)
      return ended
    }
  }
  throw unsettled('The policy changed faster than the key could be revoked')
}

/**
 * Another key for the same principal with the same bounds; the old one opens until the overlap is over, or until it expires if that is
 * sooner. The new one lives as long as the old one was meant to. Of two rotations at once the gate lets one through, so a key has one
 * successor. Throws Problem `not_found`, `key_closed`, `forbidden`, `overloaded`.
 * @param overlap_ms a minute at least: other nodes may look at the old row for a second more
 */
export async function rotateKey(
  world: World,
  caller: Caller,
  key_id: string,
  overlap_ms: number,
): Promise<{ row: KeyRow; key: string; old: KeyRow }> {
  const { tenant } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const now = world.clock.now()
    const old = await rotatable(world, caller, key_id, now)
    const key = newKeyText(world)
    const [, id = '', secret = ''] = KEY_FORM.exec(key) ?? []
    if ((await findKey(world.db, `key_${id}`)) !== null) continue
    const { leads: _leads, disabled_at: _disabled, last_used_at: _used, ...bounds } = old
    const row: KeyRow = {
      ...bounds,
      key_id: `key_${id}`,
      hash: hashSecret(secret),
      created_at: now,
      created_by: caller.principal,
      expires_at: old.expires_at === null ? null : now + (old.expires_at - old.created_at),
    }
    const until = Math.min(old.expires_at ?? Number.POSITIVE_INFINITY, now + overlap_ms)
    const ending = { ...old, expires_at: until, rotated_to: row.key_id }
    const { principal, role } = row
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { keys: [ending, row], gates: [moved(tenant, gate)] },
      facts: [
        {
          kind: 'key.rotated',
          tenant,
          at: now,
          actor: caller.principal,
          key_id,
          successor: row.key_id,
          until,
          principal,
          role,
          expires_at: row.expires_at,
        },
      ],
    })
    // What this node still holds of the gate loses its next commit and is read again; a key that nobody was told of would be lost.
    if (receipt.ok) await world.policies.refresh(tenant).catch(() => {})
    if (receipt.ok) return { row, key, old: ending }
  }
  throw unsettled('The policy changed faster than the key could be rotated')
}

/** The key that stands and has no successor yet. */
async function rotatable(world: World, caller: Caller, key_id: string, now: number): Promise<FoundKey> {
  const old = await findKey(world.db, key_id)
  // A session is not followed by another: its person signs on again.
  if (old === null || old.tenant !== caller.tenant || old.session) throw new Problem('not_found')
  const { topics, act_as } = old
  // Whoever rotates a key holds one like it afterwards.
  await assertMaker(world, caller, { permissions: permissionsOf(old), topics, act_as })
  const end = endOf(old, now)
  if (end !== null) throw new Problem('key_closed', `The key is ${end}`)
  if (old.rotated_to !== null)
    throw new Problem('key_closed', `${old.rotated_to} follows it already`, { rotated_to: old.rotated_to })
  return old
}

const moved = (tenant: string, gate: Awaited<ReturnType<typeof getGate>>) => ({
  tenant,
  snapshot: gate?.snapshot ?? null,
  epoch: (gate?.epoch ?? 0) + 1,
  file_digest: gate?.file_digest ?? null,
})

/**
 * Somebody presented what names this key and opened nothing: told to its tenant at once, repeats counted. It is not waited for:
 * the time of the answer would say which ids there are.
 */
export function noteRefusedKey(
  world: World,
  { tenant, key_id }: Pick<KeyRow, 'tenant' | 'key_id'>,
  reason: string,
  address: string,
): void {
  const at = world.clock.now()
  const refused = { kind: 'key.refused', tenant, actor: 'anonymous', key_id, reason } as const
  const write = () => world.ledger.record(tenant, [{ ...refused, at, address }])
  world.refusals.onRecord(refused, at, write).catch(() => world.refusals.add(refused, at))
}

/** When keys were last seen to open something. Throws DbError. */
export function noteKeyUses(world: World, uses: ReadonlyMap<string, number>): Promise<void> {
  return keepUses(world.db, uses)
}
