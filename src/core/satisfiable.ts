import { ladderOf, levelsOf } from './approval.js'
import { named, type People } from './flow.js'
import type { ApprovalSpec, Rule } from './policy/document.js'

/** A rule whose question nobody could ever answer. */
export interface FlowFault {
  rule: string
  why: string
  /** No agent gets an answer; else only those of one team get none. */
  always: boolean
}

/**
 * What of these rules nobody can satisfy, of the directory as it is. A flow that asks the lead of the owner team is judged over the teams
 * that own agents: one that none of them can satisfy is as good as a denial.
 */
export function flowFaults(rules: readonly Rule[], people: People, owners: readonly string[]): FlowFault[] {
  return rules.flatMap(({ id, approval, match }) => {
    if (approval === null) return []
    const always = unsatisfiable(approval, people)
    if (always.length > 0) return always.map((why) => ({ rule: id, why, always: true }))
    if (!asksOwner(approval)) return []
    const teams = owners.filter((team) => match.team === undefined || isOneOf(team, match.team))
    const found = teams.map((team) => ({ team, whys: unsatisfiable(approval, people, team) }))
    const isNobodys = found.every(({ whys }) => whys.length > 0)
    return found.flatMap(({ team, whys }) =>
      whys.map((why) => ({ rule: id, why: `for agents of team '${team}' ${why}`, always: isNobodys })),
    )
  })
}

/** A pattern may mean any team. */
const isOneOf = (team: string, wanted: readonly string[]) => wanted.some((each) => each === team || each.includes('*'))

const asksOwner = (spec: ApprovalSpec): boolean =>
  levelsOf(spec).some((level) => level.from.some((word) => word.endsWith(':owner')))

/**
 * What keeps a flow from ever being answered, in words; empty where nothing is known against it. Only of a directory that was declared.
 * @param owner the team that owns the agent; null: not known, so what depends on it is not judged
 */
export function unsatisfiable(spec: ApprovalSpec, known: People, owner: string | null = null): string[] {
  if (!known.declared) return []
  const people: People = { ...known, teamsOf: new Map([[NOBODY.agent, owner]]) }
  const isUnknown = (word: string) => word.endsWith(':requester') || (owner === null && word.endsWith(':owner'))
  const faults: string[] = []
  const seats: ReadonlySet<string>[] = []
  let isKnown = true
  for (const level of levelsOf(spec)) {
    const { from, need } = level
    const isOpen = spec.kind === 'confirmation' || from.some(isUnknown)
    faults.push(...nobodyIn(from, people))
    // Whoever the ladder reaches helps out where a team has nobody: of words that name their people that would hide a mistake.
    const helped = from.some((word) => word.endsWith(':owner'))
      ? ladderOf(spec, level).flatMap((rung) => rung.from)
      : []
    const able = new Set([...from, ...helped].flatMap((word) => ableAs(word, people)))
    if (!isOpen && able.size < need) faults.push(tooFew('level', need, from, able.size))
    isKnown &&= !isOpen
    for (let seat = 0; seat < need; seat++) seats.push(able)
  }
  for (const { from } of spec.ladder ?? []) {
    faults.push(...nobodyIn(from, people))
    const able = new Set(from.flatMap((word) => ableAs(word, people)))
    // That a team has nobody on call is not known to matter before there is something it would be asked.
    if (!from.some((word) => /:(owner|requester)$/.test(word)) && able.size < 1) faults.push(tooFew('rung', 1, from, 0))
  }
  const isFourEyes = isKnown && spec.levels !== undefined && spec.kind === undefined && faults.length === 0
  const taken = isFourEyes ? seatsTaken(seats) : seats.length
  if (taken < seats.length) faults.push(`with four eyes it needs ${seats.length} people, and names ${taken}`)
  return [...new Set(faults)]
}

const tooFew = (what: string, need: number, from: readonly string[], are: number) =>
  `a ${what} needs ${need} of ${from.join(', ')}, which ${are === 1 ? 'is' : 'are'} ${are}`

/** How many of these seats can be taken at once, each by another person: whoever could take several makes room (augmenting paths). */
function seatsTaken(seats: readonly ReadonlySet<string>[]): number {
  const holds = new Map<string, number>()
  const seat = (n: number, tried: Set<string>): boolean => {
    for (const person of seats[n] as ReadonlySet<string>) {
      if (tried.has(person)) continue
      tried.add(person)
      const other = holds.get(person)
      if (other !== undefined && !seat(other, tried)) continue
      holds.set(person, n)
      return true
    }
    return false
  }
  return seats.filter((_, n) => seat(n, new Set())).length
}

/** Words that name nobody. Whom `owner` and `requester` mean depends on the job. */
function nobodyIn(from: readonly string[], people: People): string[] {
  return from.flatMap((word) => {
    if (/:(owner|requester)$/.test(word) || ableAs(word, people).length > 0) return []
    const [kind, name] = [word.slice(0, word.indexOf(':')), word.slice(word.indexOf(':') + 1)]
    if (kind === 'lead') return [`team '${name}' has no lead who may approve`]
    if (kind === 'oncall') return [`team '${name}' has nobody on call who may approve`]
    if (kind === 'team') return [`team '${name}' has no member who may approve`]
    return [`there is no ${kind} '${name}' who may approve`]
  })
}

const NOBODY = { agent: '', requested_by: '' }

/** Those a word names, and admins where it is a role. */
function ableAs(word: string, people: People): string[] {
  // Of the owner only the agent's team is known, never who asks.
  if (word.endsWith(':requester')) return []
  const admins = word.startsWith('role:') ? named('role:admin', NOBODY, people) : []
  return [...named(word, NOBODY, people), ...admins]
}
