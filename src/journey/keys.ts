import type { CreateKey } from '../contract/keys.js'
import { hashSecret, KEY_FORM, type Role } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import { joined } from '../core/audit.js'
import { kindOf, type Principal, type Team } from '../core/principal.js'
import { Problem } from '../errors.js'
import { getPrincipal } from '../store/directory.js'
import { findKey, type KeyRow, listKeys } from '../store/keys.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

export function newKeyText(world: Pick<World, 'ids' | 'clock'>): string {
  return `sp_${world.ids.id('key', world.clock.now()).slice(4)}_${Buffer.from(world.ids.bytes(32)).toString('base64url')}`
}

const TRIES = 6
const unsettled = (what: string) => new Problem('overloaded', what, { retry_after_ms: 200 })

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
  for (let tries = 0; tries < TRIES; tries++) {
    const made = await stored(world, tenant, actor, body, text ?? newKeyText(world))
    if (made !== null) return made
    if (text !== undefined) throw new Problem('invalid', 'There is a key of this id already, with another secret')
  }
  throw unsettled('Every id that was tried is taken')
}

/** Null: another key has this id. Nothing was written, so there is no key to hand out. */
async function stored(
  world: World,
  tenant: string,
  actor: string,
  body: CreateKey,
  text: string,
): Promise<{ row: KeyRow; key: string } | null> {
  const [, id, secret] = KEY_FORM.exec(text) ?? []
  if (id === undefined || secret === undefined)
    throw new Problem('invalid', 'The key is not of the form sp_<id>_<secret>')
  // A key is stored as it is revoked, by its id: of the same tenant the older one would stay, and stand again if it was revoked.
  if ((await findKey(world.db, `key_${id}`)) !== null) return null
  const now = world.clock.now()
  const role = body.role as Role
  const principal = body.principal ?? `${role}:${id.slice(-8)}`
  const known = await getPrincipal(world.db, tenant, principal)
  if (known !== null) refuseOther(known, body)
  const row: KeyRow = {
    tenant,
    key_id: `key_${id}`,
    hash: hashSecret(secret),
    role,
    principal,
    team: known === null ? (body.team ?? null) : known.team,
    topics: body.topics ?? null,
    act_as: body.act_as ?? [],
    note: body.note ?? null,
    created_at: now,
    created_by: actor,
    expires_at: body.expires_at ?? null,
    revoked_at: null,
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
  }
  const receipt = await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { keys: [row], ...(known === null ? declaredBy(row) : {}) },
    facts: [fact],
  })
  return receipt.ok ? { row, key: text } : null
}

/** A key is for what its principal is: to make it more, the principal is changed. */
function refuseOther({ principal, role, team, disabled_at }: Principal, body: CreateKey): void {
  const fault = (path: string, message: string) => new Problem('invalid', message, { faults: [{ path, message }] })
  if (disabled_at !== null) throw fault('/principal', `${principal} is disabled`)
  if (role !== body.role) throw fault('/role', `${principal} is ${role}, so a key of it cannot be ${body.role}`)
  if (body.team !== undefined && body.team !== team)
    throw fault('/team', `${principal} is in ${team === null ? 'no team' : `team ${team}`}, not in ${body.team}`)
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
 * From its return the key opens nothing more: the gate's epoch moves, so what it had under way does not commit either.
 * Throws Problem `not_found`, `overloaded`.
 */
export async function revokeKey(world: World, tenant: string, actor: string, key_id: string): Promise<KeyRow> {
  for (let tries = 0; tries < TRIES; tries++) {
    const row = (await listKeys(world.db, tenant)).find((k) => k.key_id === key_id)
    if (row === undefined) throw new Problem('not_found')
    if (row.revoked_at !== null) return row
    const gate = await getGate(world.db, tenant)
    const now = world.clock.now()
    const revoked = { ...row, revoked_at: now }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        keys: [revoked],
        gates: [
          {
            tenant,
            snapshot: gate?.snapshot ?? null,
            epoch: (gate?.epoch ?? 0) + 1,
            file_digest: gate?.file_digest ?? null,
          },
        ],
      },
      facts: [{ kind: 'key.revoked', tenant, at: now, actor, key_id, principal: row.principal }],
    })
    if (receipt.ok) {
      await world.policies.refresh(tenant)
      return revoked
    }
  }
  throw unsettled('The policy changed faster than the key could be revoked')
}
