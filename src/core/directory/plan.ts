import { type Caller, may, ROLES } from '../access.js'
import { type Fact, joined } from '../audit.js'
import { digestOf } from '../canonical.js'
import type { Channel } from '../channel.js'
import type { Json, JsonObject } from '../json.js'
import { fieldChanges } from '../policy/diff.js'
import type { Principal, Source, Team } from '../principal.js'
import type { GroupRule } from '../sign-on.js'
import type { DeclaredPrincipal, DeclaredTeam, DirectoryDocument } from './document.js'
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
  facts: Fact[]
}

/** Who asks, when, and on whose behalf the result stands. */
export interface Asking {
  caller: Pick<Caller, 'tenant' | 'principal' | 'role' | 'permissions'>
  now: number
  source: Source
  /** What an earlier file declared and this document does not name is disabled (principals) or removed (teams). */
  whole: boolean
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
  refuseStrangers(plan, document.teams, after)
  refuseLockout(plan, standing.principals, [...after.values()])
  return plan
}

function fault(plan: DirectoryPlan, path: string, message: string): void {
  plan.faults.push({ path, message })
}

const PRINCIPAL_FIELDS = ['kind', 'role', 'team', 'name', 'email', 'terms'] as const
const TEAM_FIELDS = ['name', 'leads', 'on_call'] as const

function planPrincipal(
  plan: DirectoryPlan,
  found: Principal | undefined,
  declared: DeclaredPrincipal,
  { caller, now, source }: Asking,
): void {
  const path = `principals.${declared.principal}`
  const next: Principal = {
    tenant: caller.tenant,
    ...declared,
    source,
    created_at: found?.created_at ?? now,
    updated_at: now,
    updated_by: caller.principal,
    disabled_at: null,
  }
  if (found === undefined) {
    if (!mayGrant(caller, declared)) fault(plan, `${path}.role`, beyond(caller, declared.role))
    record(plan, { change: 'added', what: 'principal', id: declared.principal, fields: [] }, next, asked(next))
    return
  }
  const fields = fieldChanges(picked(found, PRINCIPAL_FIELDS), picked(next, PRINCIPAL_FIELDS))
  const enabled = found.disabled_at !== null
  if (fields.length === 0 && !enabled && found.source === source) return
  if (found.kind !== next.kind) fault(plan, `${path}.kind`, `is a ${found.kind}; declare another principal`)
  if (found.principal === caller.principal && (found.role !== next.role || found.team !== next.team))
    fault(plan, path, 'nobody changes their own role or team')
  // Also of who has more: to bring an admin down one must be able to make one. Who has the e-mail address of somebody can sign on as them.
  const isOther = found.role !== next.role || found.email !== next.email || enabled
  if (isOther && !(mayGrant(caller, next) && mayGrant(caller, found)))
    fault(plan, `${path}.role`, beyond(caller, mayGrant(caller, next) ? found.role : next.role))
  const change = enabled ? 'enabled' : 'changed'
  record(plan, { change, what: 'principal', id: declared.principal, fields }, next, asked(next))
}

function planTeam(
  plan: DirectoryPlan,
  found: Team | undefined,
  declared: DeclaredTeam,
  { caller, now, source }: Asking,
): void {
  const next: Team = { tenant: caller.tenant, ...declared, source, updated_at: now, updated_by: caller.principal }
  const fields = found === undefined ? [] : fieldChanges(picked(found, TEAM_FIELDS), picked(next, TEAM_FIELDS))
  if (found !== undefined && fields.length === 0 && found.source === source) return
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
  for (const found of standing.teams) {
    if (found.source !== 'file' || teams.has(found.team)) continue
    const members = standing.principals.filter(({ team, disabled_at }) => team === found.team && disabled_at === null)
    const staying = members.filter(({ principal }) => !plan.principals.some((each) => each.principal === principal))
    if (staying.length > 0) {
      const names = staying.slice(0, 3).map(({ principal }) => principal)
      fault(plan, `teams.${found.team}`, `is left out, but ${names.join(', ')} would still be in it`)
    }
    plan.removedTeams.push(found.team)
    plan.changes.push({ change: 'removed', what: 'team', id: found.team, fields: [] })
    plan.facts.push({ kind: 'team.removed', tenant: caller.tenant, at: now, actor: caller.principal, team: found.team })
  }
}

/** From the commit on this principal may do nothing. */
export function planDisabled(plan: DirectoryPlan, found: Principal, { caller, now, source }: Asking): void {
  if (found.principal === caller.principal) fault(plan, `principals.${found.principal}`, 'nobody disables themselves')
  if (!mayGrant(caller, found)) fault(plan, `principals.${found.principal}`, beyond(caller, found.role))
  const next = { ...found, source, disabled_at: now, updated_at: now, updated_by: caller.principal }
  record(plan, { change: 'disabled', what: 'principal', id: found.principal, fields: [] }, next, {
    kind: 'principal.disabled',
    tenant: caller.tenant,
    at: now,
    actor: caller.principal,
    principal: found.principal,
  })
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
  facts: [],
})

/** A tenant that nobody administers any more could never be mended from inside. */
export function refuseLockout(plan: DirectoryPlan, before: readonly Principal[], after: readonly Principal[]): void {
  const isAdmin = ({ role, disabled_at }: Principal) => role === 'admin' && disabled_at === null
  if (before.some(isAdmin) && !after.some(isAdmin)) fault(plan, 'principals', 'no admin would be left')
}

/** Leads and those on call are people that there are. */
function refuseStrangers(
  plan: DirectoryPlan,
  teams: readonly DeclaredTeam[],
  after: ReadonlyMap<string, Principal>,
): void {
  for (const { team, leads, on_call } of teams)
    for (const [key, names] of [
      ['leads', leads],
      ['on_call', on_call],
    ] as const)
      for (const name of names) {
        const found = after.get(name)
        if (found?.kind !== 'person' || found.disabled_at !== null)
          fault(plan, `teams.${team}.${key}`, `'${name}' is no person that is declared and not disabled`)
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
    ...(next.terms === null ? {} : { terms_hash: digestOf('terms', next.terms as unknown as Json) }),
  }
}
