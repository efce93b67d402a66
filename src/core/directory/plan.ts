import { type Caller, may, ROLES } from '../access.js'
import { type Fact, joined } from '../audit.js'
import { digestOf } from '../canonical.js'
import type { Channel } from '../channel.js'
import type { Json, JsonObject } from '../json.js'
import { fieldChanges } from '../policy/diff.js'
import type { Rule } from '../policy/document.js'
import { isReserved, type Principal, RESERVED, type Source, type Team } from '../principal.js'
import type { GroupRule } from '../sign-on.js'
import { type DeclaredPrincipal, type DeclaredTeam, type DirectoryDocument, NAME } from './document.js'
import { notesOn } from './notes.js'
import { planChannels } from './plan-channels.js'
import { planSignOn } from './plan-sign-on.js'

/** Everybody there is. */
export interface Directory {
  teams: readonly Team[]
  principals: readonly Principal[]
  channels?: readonly Channel[]
  groups?: readonly GroupRule[]
}

export interface DirectoryChange {
  change: 'added' | 'changed' | 'disabled' | 'enabled' | 'removed'
  what: 'team' | 'principal' | 'channel' | 'sign_on'
  id: string
  fields: { path: string; before: Json; after: Json }[]
}

/** Something that may not be made so, and why. */
export interface DirectoryFault {
  path: string
  message: string
  /** Somebody reached for more than they may hand out or take away. */
  beyond?: true
}

export interface DirectoryPlan {
  changes: DirectoryChange[]
  faults: DirectoryFault[]
  teams: Team[]
  principals: Principal[]
  removedTeams: string[]
  channels: Channel[]
  removedChannels: string[]
  /** Null: as before. */
  groups: GroupRule[] | null
  removedGroups: string[]
  /** What whoever asks should know, and may want all the same. */
  notes: string[]
  facts: Fact[]
}

/** Who asks, when, and on whose behalf the result stands. */
export interface Asking {
  caller: Pick<Caller, 'tenant' | 'principal' | 'role' | 'permissions'>
  now: number
  source: Source
  /** What an earlier file declared and this document does not name is disabled (principals) or removed (teams). */
  whole: boolean
  /** Of the active policy: whose people must not be lost unnoticed. */
  rules?: readonly Rule[]
}

/**
 * What makes the directory as the document wants it. Nothing is changed by the plan itself; where it has faults none of it may be.
 * Nobody hands out more than they may do themselves, and nobody changes what they are: else `directory:write` would be every permission.
 */
export function planDirectory(standing: Directory, document: DirectoryDocument, asking: Asking): DirectoryPlan {
  const plan = emptyPlan()
  const teams = new Map(standing.teams.map((team) => [team.team, team]))
  const principals = new Map(standing.principals.map((each) => [each.principal, each]))
  for (const declared of document.principals) planPrincipal(plan, principals.get(declared.principal), declared, asking)
  for (const declared of document.teams) planTeam(plan, teams.get(declared.team), declared, asking)
  const named = new Set([...document.teams.map(({ team }) => team), ...teams.keys()])
  for (const { principal, team } of document.principals)
    if (team !== null && !named.has(team))
      fault(plan, `principals.${principal}.team`, `there is no team '${team}': declare it under teams`)
  const signOn = planSignOn(standing.groups ?? [], document.groups, named, asking)
  plan.groups = signOn.groups
  plan.removedGroups = signOn.removed
  if (signOn.change !== null) plan.changes.push(signOn.change)
  plan.faults.push(...signOn.faults)
  plan.facts.push(...signOn.facts)
  const told = planChannels(standing.channels ?? [], document.channels, asking)
  plan.channels.push(...told.channels)
  plan.removedChannels.push(...told.removed)
  plan.changes.push(...told.changes)
  plan.faults.push(...told.faults)
  plan.facts.push(...told.facts)
  if (asking.whole) planAbsent(plan, standing, document, asking)
  const after = new Map(principals)
  for (const each of plan.principals) after.set(each.principal, each)
  refuseStrangers(plan, document, after)
  refuseDoubles(plan, [...after.values()])
  refuseLockout(plan, standing.principals, [...after.values()])
  for (const { team } of plan.teams) teams.delete(team)
  for (const team of plan.removedTeams) teams.delete(team)
  const made = { teams: [...teams.values(), ...plan.teams], principals: [...after.values()] }
  plan.notes.push(...notesOn(standing, made, asking.rules ?? []))
  return plan
}

function fault(plan: DirectoryPlan, path: string, message: string): void {
  plan.faults.push({ path, message })
}

/** A fault of rank: not a mistake in a file but a reach for more. */
function reach(plan: DirectoryPlan, path: string, message: string): void {
  plan.faults.push({ path, message, beyond: true })
}

const PRINCIPAL_FIELDS = ['kind', 'role', 'team', 'name', 'email', 'slack', 'terms'] as const
const TEAM_FIELDS = ['name', 'leads', 'on_call'] as const

function planPrincipal(
  plan: DirectoryPlan,
  found: Principal | undefined,
  declared: DeclaredPrincipal,
  { caller, now, source }: Asking,
): void {
  const path = `principals.${declared.principal}`
  if (isReserved(declared.principal)) fault(plan, path, RESERVED)
  const { disabled, ...wanted } = declared
  const was = found?.disabled_at ?? null
  // Whom a file left out is back when a file names them. Whoever was disabled by a call was so for a reason that no file knows of.
  const stays = was !== null && disabled !== false && !(found?.source === 'file' && source === 'file')
  const next: Principal = {
    tenant: caller.tenant,
    ...wanted,
    slack: wanted.slack ?? null,
    source: stays ? (found?.source ?? source) : source,
    created_at: found?.created_at ?? now,
    updated_at: now,
    updated_by: caller.principal,
    disabled_at: stays ? was : null,
  }
  if (stays) plan.notes.push(staysDisabled(declared.principal))
  if (found === undefined) {
    if (!NAME.test(declared.principal)) fault(plan, path, NO_NAME)
    if (!mayGrant(caller, declared)) reach(plan, `${path}.role`, beyond(caller, declared.role))
    record(plan, { change: 'added', what: 'principal', id: declared.principal, fields: [] }, next, asked(next))
    return
  }
  const fields = fieldChanges(picked(found, PRINCIPAL_FIELDS), picked(next, PRINCIPAL_FIELDS))
  const enabled = was !== null && !stays
  if (fields.length === 0 && !enabled && found.source === next.source) return
  if (found.kind !== next.kind) fault(plan, `${path}.kind`, `is a ${found.kind}; declare another principal`)
  if (found.principal === caller.principal && (found.role !== next.role || found.team !== next.team))
    reach(plan, path, 'nobody changes their own role or team')
  // Also of who has more: to bring an admin down one must be able to make one. Who has the e-mail address of somebody can sign on as them, who has their Slack account answers as them.
  const isOther =
    found.role !== next.role || found.email !== next.email || (found.slack ?? null) !== next.slack || enabled
  if (isOther && !(mayGrant(caller, next) && mayGrant(caller, found)))
    reach(plan, `${path}.role`, beyond(caller, mayGrant(caller, next) ? found.role : next.role))
  const change = enabled ? 'enabled' : 'changed'
  const fact = enabled ? { ...asked(next), enabled } : asked(next)
  record(plan, { change, what: 'principal', id: declared.principal, fields }, next, fact)
}

const NO_NAME = 'is no name: printable ASCII, at most 200 characters'

const staysDisabled = (principal: string) =>
  `${principal} stays disabled: say \`disabled: false\`, or \`sallyport principals enable ${principal}\``

function planTeam(
  plan: DirectoryPlan,
  found: Team | undefined,
  declared: DeclaredTeam,
  { caller, now, source }: Asking,
): void {
  const next: Team = { tenant: caller.tenant, ...declared, source, updated_at: now, updated_by: caller.principal }
  const fields = found === undefined ? [] : fieldChanges(picked(found, TEAM_FIELDS), picked(next, TEAM_FIELDS))
  if (found !== undefined && fields.length === 0 && found.source === source) return
  if (found === undefined && !NAME.test(declared.team)) fault(plan, `teams.${declared.team}`, NO_NAME)
  // A question to `lead:` or `oncall:` is for who was made so: an admin stands in for a role, and makes themselves no office.
  for (const office of ['leads', 'on_call'] as const)
    if (next[office].includes(caller.principal) && !found?.[office].includes(caller.principal))
      reach(plan, `teams.${declared.team}.${office}`, 'nobody names themselves: another person does')
  plan.teams.push(next)
  plan.changes.push({ change: found === undefined ? 'added' : 'changed', what: 'team', id: declared.team, fields })
  plan.facts.push({
    kind: 'team.declared',
    tenant: caller.tenant,
    at: now,
    actor: caller.principal,
    team: next.team,
    leads: joined(next.leads),
    on_call: JSON.stringify(next.on_call), // their order is who is asked first
  })
}

/** What the file before this one declared and this one leaves out. */
function planAbsent(plan: DirectoryPlan, standing: Directory, document: DirectoryDocument, asking: Asking): void {
  const { caller, now } = asking
  const named = new Set(document.principals.map(({ principal }) => principal))
  for (const found of standing.principals) {
    if (found.source !== 'file' || found.disabled_at !== null || named.has(found.principal)) continue
    planDisabled(plan, found, asking)
  }
  const teams = new Set(document.teams.map(({ team }) => team))
  const planned = new Set(plan.principals.map(({ principal }) => principal))
  const members = new Map<string, string[]>()
  for (const { principal, team, disabled_at } of standing.principals) {
    if (team === null || disabled_at !== null || planned.has(principal)) continue
    const those = members.get(team)
    if (those === undefined) members.set(team, [principal])
    else those.push(principal)
  }
  for (const found of standing.teams) {
    if (found.source !== 'file' || teams.has(found.team)) continue
    const staying = members.get(found.team) ?? []
    if (staying.length > 0) {
      fault(plan, `teams.${found.team}`, `is left out, but ${staying.slice(0, 3).join(', ')} would still be in it`)
    }
    plan.removedTeams.push(found.team)
    plan.changes.push({ change: 'removed', what: 'team', id: found.team, fields: [] })
    plan.facts.push({ kind: 'team.removed', tenant: caller.tenant, at: now, actor: caller.principal, team: found.team })
  }
}

/** From the commit on this principal may do nothing. */
export function planDisabled(plan: DirectoryPlan, found: Principal, { caller, now, source }: Asking): void {
  if (found.principal === caller.principal) fault(plan, `principals.${found.principal}`, 'nobody disables themselves')
  if (!mayGrant(caller, found)) reach(plan, `principals.${found.principal}`, beyond(caller, found.role))
  const disabled_at = found.disabled_at ?? now
  const next = { ...found, source, disabled_at, updated_at: now, updated_by: caller.principal }
  record(plan, { change: 'disabled', what: 'principal', id: found.principal, fields: [] }, next, {
    kind: 'principal.disabled',
    tenant: caller.tenant,
    at: now,
    actor: caller.principal,
    principal: found.principal,
  })
}

/** From the commit on this principal may act again, as what they were. Only who may make one of their kind says so. */
export function planEnabled(plan: DirectoryPlan, found: Principal, { caller, now, source }: Asking): void {
  if (!mayGrant(caller, found)) reach(plan, `principals.${found.principal}`, beyond(caller, found.role))
  const next = { ...found, source, disabled_at: null, updated_at: now, updated_by: caller.principal }
  const change: DirectoryChange = { change: 'enabled', what: 'principal', id: found.principal, fields: [] }
  record(plan, change, next, { ...asked(next), enabled: true })
}

/** A plan of nothing, to be filled. */
export const emptyPlan = (): DirectoryPlan => ({
  changes: [],
  faults: [],
  teams: [],
  principals: [],
  removedTeams: [],
  channels: [],
  removedChannels: [],
  groups: null,
  removedGroups: [],
  notes: [],
  facts: [],
})

/** A tenant that nobody administers any more could never be mended from inside. */
export function refuseLockout(plan: DirectoryPlan, before: readonly Principal[], after: readonly Principal[]): void {
  const isAdmin = ({ role, disabled_at }: Principal) => role === 'admin' && disabled_at === null
  if (before.some(isAdmin) && !after.some(isAdmin)) fault(plan, 'principals', 'no admin would be left')
}

/** Leads and those on call are people that there are. Of whom the same file declares, one whom somebody disabled by a call may be named. */
function refuseStrangers(
  plan: DirectoryPlan,
  { teams, principals }: DirectoryDocument,
  after: ReadonlyMap<string, Principal>,
): void {
  const declared = new Set(principals.map(({ principal }) => principal))
  for (const { team, leads, on_call } of teams)
    for (const [key, names] of [
      ['leads', leads],
      ['on_call', on_call],
    ] as const)
      for (const name of names) {
        const found = after.get(name)
        if (found?.kind !== 'person' || (found.disabled_at !== null && !declared.has(name)))
          fault(plan, `teams.${team}.${key}`, `'${name}' is no person that is declared and not disabled`)
      }
}

/** A click in Slack is of one person, or it is nobody's; and who reads one mailbox is one person, with one link to answer by. */
export function refuseDoubles(plan: DirectoryPlan, after: readonly Principal[]): void {
  const known = new Map<string, string>()
  for (const { principal, kind, slack, disabled_at } of after) {
    if (slack == null || disabled_at !== null) continue
    const other = known.get(slack)
    if (kind !== 'person') fault(plan, `principals.${principal}.slack`, 'only a person has one')
    else if (other !== undefined) fault(plan, `principals.${principal}.slack`, `${slack} is ${other} already`)
    known.set(slack, principal)
  }
  refuseSharedMailboxes(plan, after)
}

/** Of those whom this plan changes: two who share one since before may still be changed one by one. */
function refuseSharedMailboxes(plan: DirectoryPlan, after: readonly Principal[]): void {
  const changed = new Set(plan.principals.map(({ principal }) => principal))
  const known = new Map<string, string>()
  for (const { principal, kind, email, disabled_at } of after) {
    if (email === null || kind !== 'person' || disabled_at !== null) continue
    const mailbox = email.toLowerCase()
    const other = known.get(mailbox)
    known.set(mailbox, principal)
    if (other === undefined) continue
    const [mine, theirs] = changed.has(principal) ? [principal, other] : [other, principal]
    if (changed.has(mine)) fault(plan, `principals.${mine}.email`, `is the address of ${theirs} already`)
  }
}

/** Nobody hands out a permission that they do not have. What agents and workers may do is nobody's office. */
function mayGrant(caller: Asking['caller'], { role }: Pick<Principal, 'role'>): boolean {
  if (role === 'agent' || role === 'worker') return true
  return ROLES[role].every((permission) => may(caller, permission))
}

const beyond = (caller: Asking['caller'], role: string) =>
  `${caller.principal} may not hand out or take away what a ${role} may do without having it`

function picked<T extends object>(of: T, keys: readonly (keyof T & string)[]): JsonObject {
  return Object.fromEntries(keys.map((key) => [key, of[key] as Json]))
}

function record(plan: DirectoryPlan, change: DirectoryChange, next: Principal, fact: Fact): void {
  plan.changes.push(change)
  plan.principals.push(next)
  plan.facts.push(fact)
}

function asked(next: Principal): Fact {
  return {
    kind: 'principal.declared',
    tenant: next.tenant,
    at: next.updated_at,
    actor: next.updated_by,
    principal: next.principal,
    principal_kind: next.kind,
    role: next.role,
    team: next.team,
    ...(next.slack == null ? {} : { slack: next.slack }),
    ...(next.terms === null ? {} : { terms_hash: digestOf('terms', next.terms as unknown as Json) }),
  }
}
