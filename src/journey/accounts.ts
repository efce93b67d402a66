import { type Caller, hashSecret, may, ROLES } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import type { Principal } from '../core/principal.js'
import { type Account, INVITATION_MS, passwordFault, passwordText } from '../core/sign-on.js'
import { Problem } from '../errors.js'
import type { Passwords } from '../platform/passwords.js'
import { accountInvitedBy, getAccount } from '../store/accounts.js'
import { getPrincipal } from '../store/directory.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import { endingSessions } from '../store/sign-on.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/** What goes into the link: 256 random bits, as of a key. */
const INVITATION = /^[A-Za-z0-9_-]{43}$/

export interface Invitation {
  principal: string
  /** Shown once. */
  token: string
  expires_at: number
}

/**
 * Lets a person set a password, whether or not they have one. What an earlier invitation said ends.
 * Throws Problem `not_found`, `invalid` (no person, disabled), `forbidden`, `overloaded`.
 */
export async function invite(world: World, caller: Caller, principal: string): Promise<Invitation> {
  await assertNoToken(world, caller)
  const token = Buffer.from(world.ids.bytes(32)).toString('base64url')
  const now = world.clock.now()
  const until = now + INVITATION_MS
  const { tenant } = caller
  await change(world, tenant, caller, async () => {
    const person = await personFor(world, caller, principal)
    if (person.kind !== 'person' || person.disabled_at !== null) {
      const fault = { path: '/principal', message: `${principal} is no person, or disabled` }
      throw new Problem('invalid', fault.message, { faults: [fault] })
    }
    const known = await getAccount(world.db, tenant, principal)
    const by = { updated_at: now, updated_by: caller.principal }
    const account: Account = {
      tenant,
      principal,
      password: known?.password ?? null,
      invitation: hashSecret(token),
      invitation_until: until,
      ...by,
    }
    const fact: Fact = { kind: 'account.invited', tenant, at: now, actor: caller.principal, principal, until }
    return { admin: { accounts: [account] }, facts: [fact] }
  })
  return { principal, token, expires_at: until }
}

/**
 * From its return neither a password nor a subject of a provider signs on as this person, until somebody invites them or they come
 * again with their e-mail address; what is open ends. Throws Problem `not_found`, `forbidden`, `overloaded`.
 */
export async function closeAccount(world: World, caller: Caller, principal: string): Promise<void> {
  const { tenant } = caller
  await change(world, tenant, caller, async (now) => {
    const person = await personFor(world, caller, principal)
    const known = await getAccount(world.db, tenant, principal)
    const gone = { password: null, invitation: null, invitation_until: null }
    const accounts = known === null ? [] : [{ ...known, ...gone, updated_at: now, updated_by: caller.principal }]
    const ended = await endingSessions(world.db, person, 'account_closed', now)
    const fact: Fact = { kind: 'account.closed', tenant, at: now, actor: caller.principal, principal }
    return {
      admin: { accounts, removedSubjects: [{ tenant, principal }], keys: ended.keys },
      facts: [fact, ...ended.facts],
    }
  })
  await endLeftOver(world, { tenant, principal }, 'account_closed')
}

/** Whom an invitation is for. Throws Problem `invitation_closed`. */
export async function invited(world: World, token: string): Promise<Principal> {
  return (await standing(world, token)).person
}

/** Sets the password; the invitation is used up by it. Throws Problem `invitation_closed`, `invalid` (a poor password), `overloaded`. */
export async function acceptInvitation(
  world: World,
  passwords: Passwords,
  token: string,
  typed: string,
): Promise<Principal> {
  const { person } = await standing(world, token)
  assertGood(typed, person)
  const password = await passwords.hash(passwordText(typed))
  await change(world, person.tenant, null, async (now) => {
    // Under the gate: of two who use it at once the second finds it gone.
    const { account } = await standing(world, token)
    return withPassword(world, account, password, now)
  })
  await endLeftOver(world, person, 'password_changed')
  return person
}

/** The same password under the parameters of now, for who just proved to know it; nothing where its hash has them, or changed meanwhile. */
export async function renewHash(
  world: World,
  passwords: Passwords,
  person: Pick<Principal, 'tenant' | 'principal'>,
  typed: string,
): Promise<void> {
  const { tenant, principal } = person
  const known = await getAccount(world.db, tenant, principal)
  if (known?.password == null || !passwords.isStale(known.password)) return
  const password = await passwords.hash(passwordText(typed))
  await change(world, tenant, null, async (now) => {
    const account = await getAccount(world.db, tenant, principal)
    if (account?.password !== known.password) return { admin: {}, facts: [] }
    return { admin: { accounts: [{ ...account, password, updated_at: now, updated_by: principal }] }, facts: [] }
  })
}

/**
 * A new password for who knows the old one. Every session of the person ends, also the one that asks.
 * Throws Problem `sign_on_failed`, `invalid` (a poor password), `not_found` (there is none to change), `overloaded`.
 */
export async function changePassword(
  world: World,
  passwords: Passwords,
  caller: Caller,
  { old_password, password }: { old_password: string; password: string },
): Promise<void> {
  const { tenant, principal } = caller
  const [person, known] = await Promise.all([
    getPrincipal(world.db, tenant, principal),
    getAccount(world.db, tenant, principal),
  ])
  if (person === null || known?.password == null) throw new Problem('not_found')
  if (!(await passwords.verify(known.password, passwordText(old_password)))) {
    const at = world.clock.now()
    const refused = { kind: 'session.refused', tenant, actor: principal, reason: 'wrong old password' } as const
    await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at }]))
    throw new Problem('sign_on_failed', 'That is not the old password')
  }
  assertGood(password, person)
  const hashed = await passwords.hash(passwordText(password))
  await change(world, tenant, caller, async (now) => {
    const account = await getAccount(world.db, tenant, principal)
    if (account?.password !== known.password) throw new Problem('sign_on_failed', 'The password changed meanwhile')
    return withPassword(world, account, hashed, now)
  })
  await endLeftOver(world, person, 'password_changed')
}

/** Throws Problem `not_found`, `forbidden` (on record): whoever lets a person in could be that person. */
async function personFor(world: World, caller: Caller, principal: string): Promise<Principal> {
  const { tenant } = caller
  const found = await getPrincipal(world.db, tenant, principal)
  if (found === null) throw new Problem('not_found')
  const missing = ROLES[found.role].filter((permission) => !may(caller, permission))
  if (missing.length === 0) return found
  const at = world.clock.now()
  const refused = {
    kind: 'session.refused',
    tenant,
    actor: caller.principal,
    reason: 'account of who may more',
  } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at, principal }]))
  throw new Problem('forbidden', 'Nobody lets in who may more than they do themselves', { needs: missing })
}

/** Throws Problem `invitation_closed`: one answer for one that never was, was used, or is too old. */
async function standing(world: World, token: string): Promise<{ account: Account; person: Principal }> {
  const account = INVITATION.test(token) ? await accountInvitedBy(world.db, hashSecret(token)) : null
  if (account === null || (account.invitation_until ?? 0) <= world.clock.now()) throw new Problem('invitation_closed')
  const person = await getPrincipal(world.db, account.tenant, account.principal)
  if (person === null || person.kind !== 'person' || person.disabled_at !== null) throw new Problem('invitation_closed')
  return { account, person }
}

function assertGood(typed: string, person: Principal): void {
  const message = passwordFault(typed, person)
  if (message !== null)
    throw new Problem('invalid', `The password ${message}`, { faults: [{ path: '/password', message }] })
}

/** Sessions that an old password opened end with it. */
async function withPassword(world: World, account: Account, password: string, now: number) {
  const { tenant, principal } = account
  const next = {
    ...account,
    password,
    invitation: null,
    invitation_until: null,
    updated_at: now,
    updated_by: principal,
  }
  const ended = await endingSessions(world.db, account, 'password_changed', now)
  const fact: Fact = { kind: 'account.changed', tenant, at: now, actor: principal, principal }
  return { admin: { accounts: [next], keys: ended.keys }, facts: [fact, ...ended.facts] }
}

/** Whoever came in with the old while it was being changed: an opening does not wait for the gate, so it is looked at again. */
async function endLeftOver(
  world: World,
  person: Pick<Principal, 'tenant' | 'principal'>,
  reason: string,
): Promise<void> {
  const { tenant } = person
  const { keys, facts } = await endingSessions(world.db, person, reason, world.clock.now())
  if (keys.length > 0) await world.ledger.commit({ tenant, gate: null, alone: [], rows: {}, admin: { keys }, facts })
}

/** Reads and writes under one gate: whatever else changes the directory or an account in between, this is decided again. */
async function change(
  world: World,
  tenant: string,
  caller: Caller | null,
  planOf: (now: number) => Promise<{ admin: AdminRows; facts: Fact[] }>,
): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    if (caller !== null) await standingUnder(world, gate, caller)
    const { admin, facts } = await planOf(world.clock.now())
    const moved = {
      tenant,
      snapshot: gate?.snapshot ?? null,
      epoch: (gate?.epoch ?? 0) + 1,
      file_digest: gate?.file_digest ?? null,
    }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { ...admin, gates: [moved] },
      facts,
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) return
  }
  throw new Problem('overloaded', 'Too much changed meanwhile', { retry_after_ms: 200 })
}
