import { type Caller, hashSecret, type Role } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import type { Principal } from '../core/principal.js'
import {
  type Admission,
  type Admitted,
  admit,
  type Identity,
  MOST_SESSIONS,
  nameFor,
  passwordText,
  SESSION_MS,
  type SignOnWay,
} from '../core/sign-on.js'
import { Problem } from '../errors.js'
import type { Passwords } from '../platform/passwords.js'
import { getAccount } from '../store/accounts.js'
import { getPrincipal } from '../store/directory.js'
import { findKey, type KeyRow } from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import {
  linkedTo,
  linkedToOthers,
  listGroupRules,
  principalsWithEmail,
  pruneSessions,
  sessionsOf,
} from '../store/sign-on.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6
/** An answer's session stays on record while anybody might still revoke it: the longest that an answer is good for, and then some. */
const KEPT_MS = 90 * 86_400_000
const SYSTEM = 'system:sign-on'

/** Somebody signed on: the text of the session's key goes into a cookie and is kept nowhere. */
export interface Opened {
  principal: string
  key_id: string
  text: string
  expires_at: number
}

/**
 * Signs on whom a provider vouches for. A person made by groups has the role and team that they say now, also in what is open already.
 * Throws Problem `not_admitted` (on record), `overloaded`.
 */
export async function signOnByProvider(
  world: World,
  tenant: string,
  identity: Identity,
  network: string,
): Promise<Opened> {
  for (let tries = 0; tries < TRIES; tries++) {
    // Before what is read under it: of two people who come with one address at once, the second is decided again.
    const gate = await getGate(world.db, tenant)
    const admission = admit(identity, await knownOf(world, tenant, identity))
    const now = world.clock.now()
    if (!admission.admitted) return turnAway(world, tenant, admission, network)
    const { person, changed, link, isNew } = admission
    const opened = async (who: Admitted) =>
      assertUnchanged(world, tenant, await openSession(world, tenant, who, 'oidc', network), async () => {
        const linked = await linkedTo(world.db, tenant, identity)
        return linked?.principal === who.principal
      })
    if (!changed && !link) return opened(person)
    const next = changed ? await declared(world, tenant, admission, now) : null
    const { issuer, subject } = identity
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        ...(next === null ? {} : { principals: [next] }),
        ...(link ? { subjects: [{ tenant, issuer, subject, principal: person.principal, linked_at: now }] } : {}),
        gates: [moved(tenant, gate)],
      },
      facts: [
        ...(next === null ? [] : [declaredFact(next, isNew)]),
        ...(link ? [linkedFact(tenant, person, identity, now)] : []),
      ],
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) return opened(person)
  }
  throw unsettled()
}

/**
 * Signs on who knows the password of an account. Costs and says the same for somebody there is not.
 * @param person whom the typed name means; null where it is nobody
 * Throws Problem `sign_on_failed` (on record), `overloaded`.
 */
export async function signOnByPassword(
  world: World,
  passwords: Passwords,
  tenant: string,
  person: Principal | null,
  typed: string,
  network: string,
): Promise<Opened> {
  // Looked for also where there is nobody: the time of the answer would else say so.
  const account = await getAccount(world.db, tenant, person?.principal ?? '')
  const password = passwordText(typed)
  const right = await passwords.verify(account?.password ?? null, password)
  if (!right || person === null || account === null || person.disabled_at !== null || person.kind !== 'person') {
    const reason = person === null ? 'nobody of that name' : right ? 'disabled' : 'wrong password'
    // Not waited for: the first of a name is written, and how long that takes would say whose names there are.
    noteForeign(world, { tenant, actor: person?.principal ?? 'anonymous', reason }, network)
    throw new Problem('sign_on_failed')
  }
  const opened = await openSession(world, tenant, person, 'password', network)
  return assertUnchanged(world, tenant, opened, async () => {
    const now = await getAccount(world.db, tenant, person.principal)
    // Another hash of the same password is no change.
    return now?.password === account.password || passwords.verify(now?.password ?? null, password)
  })
}

/** What opened is not what somebody may open any more: their password changed, or their account was closed, while they came in. */
async function assertUnchanged(
  world: World,
  tenant: string,
  opened: Opened,
  isSame: () => Promise<boolean>,
): Promise<Opened> {
  if (await isSame()) return opened
  await endSessions(world, tenant, opened.principal, 'account_changed')
  throw new Problem('sign_on_failed')
}

/** Ends a session now: the key expires and is not revoked, so that what its person answered with it goes on counting. */
export async function signOff(world: World, caller: Caller): Promise<void> {
  const now = world.clock.now()
  const row = (await sessionsOf(world.db, caller.tenant, caller.principal, now)).find(
    ({ key_id }) => key_id === caller.key_id,
  )
  if (row === undefined) return
  await commit(world, caller.tenant, { keys: [{ ...row, expires_at: now }] }, [closedFact(row, 'signed_off', now)])
}

/** Something that smells of another's hand: on record at once, its repeats counted. Throws what the ledger throws. */
export async function noteRefused(
  world: World,
  { tenant, actor, reason }: { tenant: string; actor: string; reason: string },
  network: string,
): Promise<void> {
  const at = world.clock.now()
  const refused = { kind: 'session.refused', tenant, actor, reason } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at, address: network }]))
}

/** As `noteRefused`, not waited for: the request is refused whether or not it can be told. */
export function noteForeign(
  world: World,
  { tenant, actor, reason }: { tenant: string; actor: string; reason: string },
  network: string,
): void {
  noteRefused(world, { tenant, actor, reason }, network).catch(() =>
    world.refusals.add({ kind: 'session.refused', tenant, actor, reason }, world.clock.now()),
  )
}

async function knownOf(world: World, tenant: string, identity: Identity) {
  const { db } = world
  const { email } = identity
  const [linked, alike, namesake, rules] = await Promise.all([
    linkedTo(db, tenant, identity),
    email === null ? [] : principalsWithEmail(db, tenant, email),
    getPrincipal(db, tenant, nameFor(identity)),
    listGroupRules(db, tenant),
  ])
  const names = alike.map(({ principal }) => principal)
  const taken = names.length === 0 ? new Set<string>() : await linkedToOthers(db, tenant, identity, names)
  return { linked, alike, taken, namesake, rules }
}

async function turnAway(
  world: World,
  tenant: string,
  { why, principal }: Extract<Admission, { admitted: false }>,
  network: string,
): Promise<never> {
  // Who is in none of the groups any more has nothing open either.
  if (why === 'no_group' && principal !== null) await endSessions(world, tenant, principal, 'no_group')
  await noteRefused(world, { tenant, actor: principal ?? 'anonymous', reason: why }, network)
  throw new Problem('not_admitted', undefined, { reason: why })
}

/** The person as groups make them. */
async function declared(
  world: World,
  tenant: string,
  { person, isNew }: Extract<Admission, { admitted: true }>,
  now: number,
): Promise<Principal> {
  const known = isNew ? null : await getPrincipal(world.db, tenant, person.principal)
  const { principal, role, team, name, email } = person
  return {
    tenant,
    principal,
    kind: 'person',
    role,
    team,
    name: known?.name ?? name,
    email: known?.email ?? email,
    slack: known?.slack ?? null,
    terms: null,
    source: 'group',
    created_at: known?.created_at ?? now,
    updated_at: now,
    updated_by: SYSTEM,
    disabled_at: null,
  }
}

const declaredFact = ({ tenant, principal, role, team, updated_at }: Principal, isNew: boolean): Fact => ({
  kind: 'principal.declared',
  tenant,
  at: updated_at,
  actor: SYSTEM,
  principal,
  principal_kind: 'person',
  role,
  team,
  note: isNew ? 'made by a group of the provider' : 'its groups changed',
})

const linkedFact = (tenant: string, { principal }: Admitted, { issuer, subject }: Identity, at: number): Fact => ({
  kind: 'account.linked',
  tenant,
  at,
  actor: principal,
  principal,
  issuer,
  subject,
})

/** A new key for each sign-on, made here and nowhere else: what a browser brought along before is never taken over. */
async function openSession(
  world: World,
  tenant: string,
  { principal, role, team }: Admitted,
  way: SignOnWay,
  network: string,
): Promise<Opened> {
  const now = world.clock.now()
  const open = await sessionsOf(world.db, tenant, principal, now)
  const ended = open.slice(0, Math.max(0, open.length - MOST_SESSIONS + 1))
  const { row, text } = await newSession(world, { tenant, principal, role, team, way, now })
  const opened: Fact = {
    kind: 'session.opened',
    tenant,
    at: now,
    actor: principal,
    key_id: row.key_id,
    way,
    role,
    team,
    expires_at: row.expires_at,
    address: network,
  }
  await commit(world, tenant, { keys: [...ended.map((each) => ({ ...each, expires_at: now })), row] }, [
    ...ended.map((each) => closedFact(each, 'too_many', now)),
    opened,
  ])
  await pruneSessions(world.db, tenant, principal, now - KEPT_MS)
  return { principal, key_id: row.key_id, text, expires_at: row.expires_at as number }
}

interface NewSession {
  tenant: string
  principal: string
  role: Role
  team: string | null
  way: SignOnWay
  now: number
}

async function newSession(
  world: World,
  { tenant, principal, role, team, way, now }: NewSession,
): Promise<{ row: KeyRow; text: string }> {
  const id = world.ids.id('key', now).slice(4)
  const secret = Buffer.from(world.ids.bytes(32)).toString('base64url')
  // A key is stored by its id, over whatever has it: one that is taken is never written over.
  if ((await findKey(world.db, `key_${id}`)) !== null) throw unsettled()
  const row: KeyRow = {
    tenant,
    key_id: `key_${id}`,
    hash: hashSecret(secret),
    role,
    principal,
    team,
    topics: null,
    act_as: [],
    permissions: null,
    note: null,
    created_at: now,
    created_by: principal,
    expires_at: now + SESSION_MS,
    revoked_at: null,
    rotated_to: null,
    session: way,
  }
  return { row, text: `sp_${id}_${secret}` }
}

async function endSessions(world: World, tenant: string, principal: string, reason: string): Promise<void> {
  const now = world.clock.now()
  const open = await sessionsOf(world.db, tenant, principal, now)
  if (open.length === 0) return
  const keys = open.map((row) => ({ ...row, expires_at: now }))
  await commit(
    world,
    tenant,
    { keys },
    open.map((row) => closedFact(row, reason, now)),
  )
}

const closedFact = ({ tenant, principal, key_id }: KeyRow, reason: string, at: number): Fact => ({
  kind: 'session.closed',
  tenant,
  at,
  actor: principal,
  key_id,
  reason,
})

async function commit(world: World, tenant: string, admin: AdminRows, facts: Fact[]): Promise<void> {
  const receipt = await world.ledger.commit({ tenant, gate: null, alone: [], rows: {}, admin, facts })
  if (!receipt.ok) throw unsettled()
}

const moved = (tenant: string, gate: Gate | null) => ({
  tenant,
  snapshot: gate?.snapshot ?? null,
  epoch: (gate?.epoch ?? 0) + 1,
  file_digest: gate?.file_digest ?? null,
})

const unsettled = () => new Problem('overloaded', 'Too much changed meanwhile', { retry_after_ms: 200 })
