import { createHmac, hash } from 'node:crypto'
import type { Role } from './access.js'
import type { Principal } from './principal.js'

/** A working day and its overtime: whoever comes tomorrow signs on again. */
export const SESSION_MS = 12 * 3_600_000
export const INVITATION_MS = 24 * 3_600_000
/** Of one person at once; another one ends the oldest. */
export const MOST_SESSIONS = 20

/** How a person signed on. */
export type SignOnWay = 'oidc' | 'password'

/** What a provider vouches for. */
export interface Identity {
  issuer: string
  subject: string
  email: string | null
  email_verified: boolean
  name: string | null
  groups: string[]
}

/** What members of a group are here. The order of rules is their rank. */
export interface GroupRule {
  group: string
  role: Role
  team: string | null
}

/** A person's password, or the invitation to set one. */
export interface Account {
  tenant: string
  principal: string
  /** argon2id, with its parameters. */
  password: string | null
  /** sha256 of the secret in the link, hex. */
  invitation: string | null
  invitation_until: number | null
  updated_at: number
  updated_by: string
}

/** Which person a subject of a provider is. */
export interface Subject {
  tenant: string
  issuer: string
  subject: string
  principal: string
  linked_at: number
}

/** What is known here about an identity. */
export interface Known {
  /** Whom its subject was linked to. */
  linked: Principal | null
  /** People with its e-mail address, whoever they are. */
  alike: readonly Principal[]
  /** Those of them who are linked to another subject of the issuer. */
  taken: ReadonlySet<string>
  /** Whoever has the name that a new person would get. */
  namesake: Principal | null
  rules: readonly GroupRule[]
}

export type Refusal =
  | 'disabled'
  | 'email_unverified'
  | 'email_ambiguous'
  | 'email_of_another'
  | 'no_group'
  | 'name_taken'

export type Admission =
  | { admitted: true; person: Admitted; isNew: boolean; changed: boolean; link: boolean }
  | { admitted: false; why: Refusal; principal: string | null }

export type Admitted = Pick<Principal, 'principal' | 'role' | 'team' | 'name' | 'email'>

/**
 * Who somebody is whom a provider vouches for. The subject decides where it is known; an e-mail address only before that, only if the
 * provider verified it, and only for a person whom nobody else of this provider is. Otherwise groups say whether there is somebody new.
 */
export function admit(identity: Identity, known: Known): Admission {
  if (known.linked !== null) return asKnown(identity, known.linked, known.rules, false)
  const [person, ...others] = known.alike
  if (person !== undefined) {
    // Also where groups would make them somebody new: a disabled person came back that way.
    if (!identity.email_verified) return refused('email_unverified', person)
    if (others.length > 0) return refused('email_ambiguous')
    if (known.taken.has(person.principal)) return refused('email_of_another', person)
    return asKnown(identity, person, known.rules, true)
  }
  const rule = ruleFor(known.rules, identity.groups)
  if (rule === null) return refused('no_group')
  if (known.namesake !== null) return refused('name_taken', known.namesake)
  const email = identity.email_verified ? identity.email : null
  const { role, team } = rule
  const made = { principal: nameFor(identity), role, team, name: identity.name, email }
  return { admitted: true, person: made, isNew: true, changed: true, link: true }
}

function asKnown(identity: Identity, person: Principal, rules: readonly GroupRule[], link: boolean): Admission {
  if (person.kind !== 'person' || person.disabled_at !== null) return refused('disabled', person)
  if (person.source !== 'group') return { admitted: true, person, isNew: false, changed: false, link }
  const rule = ruleFor(rules, identity.groups)
  if (rule === null) return refused('no_group', person)
  const changed = rule.role !== person.role || rule.team !== person.team
  return { admitted: true, person: { ...person, role: rule.role, team: rule.team }, isNew: false, changed, link }
}

const refused = (why: Refusal, person?: Pick<Principal, 'principal'>): Admission => ({
  admitted: false,
  why,
  principal: person?.principal ?? null,
})

function ruleFor(rules: readonly GroupRule[], groups: readonly string[]): GroupRule | null {
  return rules.find(({ group }) => groups.includes(group)) ?? null
}

/** As `Name` of the contract, so that the person can be named in every file and address. */
const NAME = /^[!-~]{1,190}$/

/** What a person is called whom nobody named: by address, and by a hash of the subject where none is verified. */
export function nameFor({ issuer, subject, email, email_verified }: Identity): string {
  if (email_verified && email !== null && NAME.test(email)) return `person:${email.toLowerCase()}`
  return `person:oidc-${hash('sha256', JSON.stringify([issuer, subject]), 'hex').slice(0, 24)}`
}

/**
 * What a page of ours sends back beside the cookie: another site can make a browser send the cookie, and cannot read this. From the
 * secret itself, so that nothing more is stored and it ends with the session; it says nothing about the secret.
 */
export function csrfOf(secret: string): string {
  return createHmac('sha256', secret).update('sallyport csrf v1').digest('base64url')
}

/** Where to go on after signing on: a path of this server, or null. `//host` and `/\host` are other servers to a browser. */
export function ownPath(text: string | undefined): string | null {
  return text !== undefined && text.length <= 2000 && /^\/(?:[!-.0-[\]-~][!-[\]-~]*)?$/.test(text) ? text : null
}

export const SHORTEST_PASSWORD = 12
const LONGEST_PASSWORD = 200

/** One text for what looks the same on different keyboards. */
export const passwordText = (typed: string) => typed.normalize('NFKC')

/** What is wrong with a new password, in words, or null. Length is all that helps; rules about kinds of characters do not. */
export function passwordFault(typed: string, { principal, email, name }: Admitted): string | null {
  const password = passwordText(typed)
  if ([...password].length < SHORTEST_PASSWORD) return `must have ${SHORTEST_PASSWORD} characters or more`
  if (password.length > LONGEST_PASSWORD) return `must have ${LONGEST_PASSWORD} characters or fewer`
  const own = [principal, principal.replace(/^[^:]*:/, ''), email, name]
  return own.some((each) => each?.toLowerCase() === password.toLowerCase()) ? 'must not be your name' : null
}
