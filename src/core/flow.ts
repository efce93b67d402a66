import { may, type Role } from './access.js'
import {
  type Answer,
  type Approval,
  type Escalation,
  ladderOf,
  levelsOf,
  mayAnswer,
  type OpenLevel,
  type Reviewer,
  tally,
  wordsOf,
} from './approval.js'
import type { ApprovalSpec } from './policy/document.js'
import type { Kind, Team } from './principal.js'

/** Somebody whose role lets them answer questions at all, and who is not disabled. */
export interface Person {
  principal: string
  kind: Kind
  role: Role
  team: string | null
}

/** Somebody is away from `from_at` until before `until_at`, epoch ms. */
export interface Absence {
  tenant: string
  principal: string
  from_at: number
  until_at: number
  /** Who may answer meanwhile where the principal may; null: nobody. */
  delegate: string | null
  updated_at: number
  updated_by: string
}

/** What a question is routed by: who there is and who is away, under one epoch of the gate. */
export interface People {
  persons: ReadonlyMap<string, Person>
  teams: ReadonlyMap<string, Pick<Team, 'leads' | 'on_call'>>
  /** Teams of the agents and requesters that were looked up. */
  teamsOf: ReadonlyMap<string, string | null>
  absences: ReadonlyMap<string, Absence>
  /** Somebody declared people who may answer: more is known than who has a key. */
  declared: boolean
}

/** Nothing is known of anybody: every question is asked by its words alone. */
export const NOBODY: People = {
  persons: new Map(),
  teams: new Map(),
  teamsOf: new Map(),
  absences: new Map(),
  declared: false,
}

type Question = Pick<Approval, 'agent' | 'requested_by'>

/** The principals that a word names now, those who are away among them. */
export function named(word: string, question: Question, people: People): string[] {
  const at = word.indexOf(':')
  const name = word.slice(at + 1)
  const those = (fits: (person: Person) => boolean) =>
    [...people.persons.values()].filter((each) => each.kind === 'person' && fits(each)).map((each) => each.principal)
  switch (word.slice(0, at)) {
    case 'role':
      return those(({ role }) => role === name)
    case 'team':
      return those(({ team }) => team === name)
    case 'principal':
      return those(({ principal }) => principal === name)
    case 'lead':
      return ofTeam(name, question, people, 'leads')
    case 'oncall':
      return ofTeam(name, question, people, 'on_call')
    default:
      return []
  }
}

function ofTeam(name: string, question: Question, people: People, which: 'leads' | 'on_call'): string[] {
  const team =
    name === 'owner'
      ? people.teamsOf.get(question.agent)
      : name === 'requester'
        ? people.teamsOf.get(question.requested_by)
        : name
  const those = team == null ? [] : (people.teams.get(team)?.[which] ?? [])
  return those.filter((principal) => people.persons.get(principal)?.kind === 'person')
}

export const isAway = (people: People, principal: string, now: number): boolean => {
  const absence = people.absences.get(principal)
  return absence !== undefined && absence.from_at <= now && now < absence.until_at
}

/** Who may not answer whatever they are: nobody approves what they requested, raised, or could have requested. */
export function barredFrom(
  { requested_by, raised_by, agent }: Pick<Approval, 'requested_by' | 'raised_by' | 'agent'>,
  keyMakers: readonly string[] = [],
): string[] {
  return [requested_by, raised_by, agent, ...keyMakers]
}

/** Who these words reach now: those who are away are stood in for by their delegates, or not at all. */
function reached(words: readonly string[], question: Approval, people: People, now: number): string[] {
  const barred = barredFrom(question)
  const all = words.flatMap((word) => named(word, question, people))
  const present = all.flatMap((principal) => {
    if (barred.includes(principal)) return []
    if (!isAway(people, principal, now)) return [principal]
    const delegate = people.absences.get(principal)?.delegate ?? null
    const stands = delegate !== null && people.persons.get(delegate)?.kind === 'person'
    return stands && !barred.includes(delegate) && !isAway(people, delegate, now) ? [delegate] : []
  })
  return [...new Set(present)].sort()
}

/** In which capacity somebody answers; `for` where it is that of who is away. */
export type Capacity = Reviewer & { for?: string }

export type Standing =
  | { capacity: Capacity }
  | { refused: 'self_approval' | 'not_an_approver' | 'answered'; why: string }

/**
 * Whether this person is asked now, and as what. A yes is taken from those whom an open level asks, a no from anybody whom any level
 * asks: it can only make things safer. In the place of who is away their delegate is, unless either may not answer at all; nobody
 * stands in for somebody who stands in.
 * @param keyMakers who made keys of the requester or the agent, and so could have asked as them
 */
export function mayAnswerNow(
  approval: Approval,
  said: Answer['answer'],
  caller: Reviewer,
  people: People,
  keyMakers: readonly string[],
  now: number,
): Standing {
  const barred = barredFrom(approval, keyMakers)
  if (barred.includes(caller.principal)) {
    const why =
      caller.principal === approval.requested_by
        ? 'Nobody approves what they requested'
        : 'Nobody approves what they raised, what is done in their name, or for whom they made a key'
    return { refused: 'self_approval', why }
  }
  const known = people.persons.get(caller.principal)
  if (known !== undefined && known.kind !== 'person')
    return { refused: 'not_an_approver', why: `${caller.principal} is a ${known.kind}; people approve` }
  const words = said === 'approve' ? openWords(approval) : allWords(approval)
  const own = capacityOf(words, known ?? caller, approval, people)
  const heard = approval.answers.filter(({ answer }) => answer === 'approve')
  if (own !== null) {
    const earlier = heard.find((answer) => answer.by === caller.principal || answer.for === caller.principal)
    if (said === 'reject' || earlier === undefined) return { capacity: own }
    const why =
      earlier.by === caller.principal
        ? 'You have approved this already; another person is needed'
        : `${earlier.by} has answered in your place; another person is needed`
    return { refused: 'answered', why }
  }
  for (const { principal, delegate } of people.absences.values()) {
    if (delegate !== caller.principal || barred.includes(principal) || !isAway(people, principal, now)) continue
    const absent = people.persons.get(principal)
    if (absent?.kind !== 'person') continue
    if (said === 'approve' && heard.some(({ by, for: other }) => [by, other].includes(principal))) continue
    const capacity = capacityOf(words, absent, approval, people)
    if (capacity === null) continue
    if (said === 'approve' && heard.some(({ by }) => by === caller.principal))
      return { refused: 'answered', why: 'You have approved this already; another person is needed' }
    return { capacity: { ...capacity, for: principal } }
  }
  const why = capacityOf(allWords(approval), known ?? caller, approval, people)
    ? 'Another level is asked now'
    : 'The approval asks for somebody else'
  return { refused: 'not_an_approver', why }
}

/** What makes this person one of those the words name; null for nothing. */
function capacityOf(words: readonly string[], who: Reviewer, question: Approval, people: People): Reviewer | null {
  const { principal, role, team } = who
  const as = directoryWords(allWords(question), principal, question, people)
  const reviewer: Reviewer = { principal, role, team, ...(as.length > 0 ? { as } : {}) }
  return mayAnswer({ from: [...words] }, reviewer) ? reviewer : null
}

/** Of these words, those that only the directory can say of somebody. */
export function directoryWords(
  words: readonly string[],
  principal: string,
  question: Question,
  people: People,
): string[] {
  const told = words.filter((word) => word.startsWith('lead:') || word.startsWith('oncall:'))
  return [...new Set(told)].filter((word) => named(word, question, people).includes(principal)).sort()
}

function openWords(approval: Approval): string[] {
  return tally(approval).open.flatMap((place) =>
    wordsOf(approval.specs[place.spec] as ApprovalSpec, place, approval.escalations),
  )
}

/** Everybody whom the question asks, or asked, or may still ask. */
export function allWords({ specs, escalations }: Pick<Approval, 'specs' | 'escalations'>): string[] {
  return specs.flatMap((spec, n) =>
    levelsOf(spec).flatMap((level, place) => [
      ...wordsOf(spec, { spec: n, level: place }, escalations),
      ...ladderOf(spec, level).flatMap(({ from }) => from),
    ]),
  )
}

/** Who is asked from the start. */
export const askedWords = ({ specs }: Pick<Approval, 'specs'>): string[] =>
  specs.flatMap((spec, n) => levelsOf(spec).flatMap((_, level) => wordsOf(spec, { spec: n, level }, [])))

export interface Advanced {
  approval: Approval
  /** Rungs that are asked from now on. */
  climbed: Escalation[]
}

/**
 * The question as it stands at `now`: rungs whose time has come are asked too, at once where a level would else have nobody, and who
 * is asked is named. Whether it has expired is `expires_at`; nothing here lets anything through.
 */
export function advance(approval: Approval, people: People, now: number): Advanced {
  const { open } = tally(approval)
  const escalations = [...approval.escalations]
  const climbed: Escalation[] = []
  const names = new Set<string>()
  let due_at = Number.POSITIVE_INFINITY
  let expires_at = Number.POSITIVE_INFINITY
  const spoken = new Set(approval.answers.flatMap(({ by, for: absent }) => [by, absent]))
  for (const place of open) {
    const spec = approval.specs[place.spec] as ApprovalSpec
    const asked = () => reached(wordsOf(spec, place, escalations), approval, people, now)
    let clock = clockOf(spec, place, escalations)
    while (clock.next !== null && (clock.due_at <= now || (people.persons.size > 0 && asked().length === 0))) {
      const rung = { spec: place.spec, level: place.level, rung: clock.next, at: now }
      escalations.push(rung)
      climbed.push(rung)
      clock = clockOf(spec, place, escalations)
    }
    for (const principal of asked()) if (!spoken.has(principal)) names.add(principal)
    const comes = comingOrGoing(wordsOf(spec, place, escalations), approval, people, now)
    due_at = Math.min(due_at, clock.due_at, ...comes)
    expires_at = Math.min(expires_at, clock.expires_at)
  }
  if (open.length === 0) return { approval: { ...approval, asked_of: [], due_at: null }, climbed }
  return { approval: { ...approval, escalations, asked_of: [...names].sort(), due_at, expires_at }, climbed }
}

/** When somebody whom these words name leaves or is back: who is asked is another then. */
function comingOrGoing(words: readonly string[], question: Approval, people: People, now: number): number[] {
  if (people.absences.size === 0) return []
  return words
    .flatMap((word) => named(word, question, people))
    .flatMap((principal) => {
      const absence = people.absences.get(principal)
      if (absence === undefined || absence.until_at <= absence.from_at) return []
      return [absence.from_at, absence.until_at].filter((at) => at > now)
    })
}

/** When an open level's present people run out of time, which rung is next, and when the last one's time is over. */
function clockOf(
  spec: ApprovalSpec,
  place: OpenLevel,
  escalations: readonly Escalation[],
): { due_at: number; next: number | null; expires_at: number } {
  const level = levelsOf(spec)[place.level] ?? spec
  const rungs = ladderOf(spec, level)
  const last = escalations.filter((e) => e.spec === place.spec && e.level === place.level).at(-1)
  const due_at =
    last === undefined
      ? place.since + level.within_ms
      : Math.max(last.at, place.since) + (rungs[last.rung]?.after_ms ?? 0)
  const next = last === undefined ? 0 : last.rung + 1
  const left = rungs.slice(next).reduce((sum, { after_ms }) => sum + after_ms, 0)
  return { due_at, next: next < rungs.length ? next : null, expires_at: due_at + left }
}

/** What keeps a flow from ever being answered, in words; empty where nothing is known against it. Only of a directory that was declared. */
export function unsatisfiable(spec: ApprovalSpec, people: People): string[] {
  if (!people.declared) return []
  const faults: string[] = []
  const places = levelsOf(spec).map(({ from, need }) => ({ from, need, what: 'level' }))
  const rungs = (spec.ladder ?? []).map(({ from }) => ({ from, need: 1, what: 'rung' }))
  const everybody = new Set<string>()
  let seats = 0
  let isKnown = true
  for (const { from, need, what } of [...places, ...rungs]) {
    // Whom these name depends on who asks.
    const isOpen = spec.kind === 'confirmation' || from.some((word) => /^(lead|oncall):(owner|requester)$/.test(word))
    for (const word of from) {
      const fault = nobodyIn(word, people)
      if (fault !== null) faults.push(fault)
    }
    const able = new Set(from.flatMap((word) => ableAs(word, people)))
    if (!isOpen && able.size < need)
      faults.push(`a ${what} needs ${need} of ${from.join(', ')}, which ${able.size === 1 ? 'is' : 'are'} ${able.size}`)
    if (what === 'rung') continue
    isKnown &&= !isOpen
    seats += need
    for (const each of able) everybody.add(each)
  }
  if (isKnown && spec.levels !== undefined && spec.kind === undefined && everybody.size < seats && faults.length === 0)
    faults.push(`with four eyes it needs ${seats} people, and names ${everybody.size}`)
  return [...new Set(faults)]
}

function nobodyIn(word: string, people: People): string | null {
  if (/:(owner|requester)$/.test(word) || ableAs(word, people).length > 0) return null
  const [kind, name] = [word.slice(0, word.indexOf(':')), word.slice(word.indexOf(':') + 1)]
  if (kind === 'lead') return `team '${name}' has no lead who may approve`
  if (kind === 'oncall') return `team '${name}' has nobody on call who may approve`
  if (kind === 'team') return `team '${name}' has no member who may approve`
  return `there is no ${kind} '${name}' who may approve`
}

/** Those a word names, and admins where it is a role. */
function ableAs(word: string, people: People): string[] {
  const nobody = { agent: '', requested_by: '' }
  const admins = word.startsWith('role:') ? named('role:admin', nobody, people) : []
  return [...named(word, nobody, people), ...admins]
}

/** Roles that let a principal answer questions. */
export const mayApprove = (role: Role): boolean => may({ role, permissions: null }, 'approvals:answer')
