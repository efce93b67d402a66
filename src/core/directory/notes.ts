import { mayApprove, type People, type Person } from '../flow.js'
import type { Rule } from '../policy/document.js'
import type { Principal, Team } from '../principal.js'
import { flowFaults } from '../satisfiable.js'

/** Everybody and every team, before a change or after it. */
export interface Everybody {
  teams: readonly Team[]
  principals: readonly Principal[]
}

/**
 * What whoever makes the directory so should know, and may want all the same: leads and people on call whom questions never reach, and
 * flows of the active policy that nobody can satisfy any more.
 * @param rules of the active policy; empty where there is none
 */
export function notesOn(before: Everybody, after: Everybody, rules: readonly Rule[]): string[] {
  const lost = new Set(faultsOf(before, rules))
  const flows = faultsOf(after, rules).filter((fault) => !lost.has(fault))
  const principals = new Map(after.principals.map((each) => [each.principal, each]))
  return [...after.teams.flatMap((team) => silentOf(team, principals)), ...flows]
}

/** Leads may be whoever is to see and stop; that a flow which asks the lead asks nobody then is not to be found out by a question. */
function silentOf({ team, leads, on_call }: Team, principals: ReadonlyMap<string, Principal>): string[] {
  const silent = (names: readonly string[], what: string) =>
    names.flatMap((name) => {
      const found = principals.get(name)
      if (found === undefined || (mayApprove(found.role) && found.disabled_at === null)) return []
      const why = found.disabled_at === null ? `as ${found.role} they may not answer` : 'they are disabled'
      return [`${name} ${what} team '${team}', and no question reaches them: ${why}`]
    })
  return [...silent(leads, 'leads'), ...silent(on_call, 'is on call for')]
}

function faultsOf({ teams, principals }: Everybody, rules: readonly Rule[]): string[] {
  const owners = principals.flatMap(({ kind, team, disabled_at }) =>
    kind === 'agent' && team !== null && disabled_at === null ? [team] : [],
  )
  const found = flowFaults(rules, peopleOf(teams, principals), [...new Set(owners)].sort())
  return found.map(({ rule, why }) => `nobody can satisfy what rule '${rule}' of the active policy asks for: ${why}`)
}

/** As store/people.ts reads them. Who is away is back some day. */
function peopleOf(teams: readonly Team[], principals: readonly Principal[]): People {
  const persons = principals.filter(({ role, disabled_at }) => mayApprove(role) && disabled_at === null)
  return {
    persons: new Map(persons.map((each): [string, Person] => [each.principal, each])),
    teams: new Map(teams.map((each) => [each.team, each])),
    teamsOf: new Map(),
    absences: new Map(),
    declared: persons.some(({ kind, source }) => kind === 'person' && source !== 'key'),
  }
}
