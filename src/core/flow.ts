import { may, type Role } from './access.js'
import {
  type Answer,
  type Approval,
  type Escalation,
  type Lacking,
  ladderOf,
  levelsOf,
  mayAnswer,
  type OpenLevel,
  type Reviewer,
  remindAfter,
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
 * @param keyMakers who made keys of the requester or the agent, and so could have asked as them; and who wanted undone what it undoes
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
  // Whom no directory knows speaks as their key does: store/keys.ts `standingUnder` has just looked whether it still does.
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
    asking(approval.specs[place.spec] as ApprovalSpec, place, approval.escalations),
  )
}

/** Everybody who would bring an open level nearer to its people. */
function asking(spec: ApprovalSpec, { spec: n, level, via = [] }: OpenLevel, escalations: readonly Escalation[]) {
  return [level, ...via].flatMap((each) => wordsOf(spec, { spec: n, level: each }, escalations))
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
  /** Levels that nobody can complete from now on, and could before: what waits for them waits for its end. */
  unanswerable: Lacking[]
}

/**
 * The question as it stands at `now`: rungs whose time has come are asked too, at once where a level would else have nobody, or fewer
 * than it still needs, and who is asked is named. Whether it has expired is `expires_at`; nothing here lets anything through.
 */
export function advance(approval: Approval, people: People, now: number): Advanced {
  const { open } = tally(approval)
  const escalations = [...approval.escalations]
  const climbed: Escalation[] = []
  const names = new Set<string>()
  let due_at = Number.POSITIVE_INFINITY
  let expires_at = Number.POSITIVE_INFINITY
  const waited = unheard(approval)
  const told = approval.lacking ?? []
  const lacking: Lacking[] = []
  for (const place of open) {
    const spec = approval.specs[place.spec] as ApprovalSpec
    const all = () => reached(asking(spec, place, escalations), approval, people, now)
    // Where nobody declared people, more may have keys tomorrow than have one today: only that there is nobody at all is known then, and
    // that the one there is has answered puts nobody else in the place of the second.
    const enough = people.declared ? place.missing : Math.min(1, people.persons.size)
    const tooFew = () => (people.declared ? all().filter(waited) : all()).length < enough
    let clock = clockOf(spec, place, escalations)
    while (clock.next !== null && (clock.due_at <= now || tooFew())) {
      const rung = { spec: place.spec, level: place.level, rung: clock.next, at: now }
      escalations.push(rung)
      climbed.push(rung)
      clock = clockOf(spec, place, escalations)
    }
    const left = all().filter(waited)
    const isOf = (each: Lacking) => each.spec === place.spec && each.level === place.level
    const standIns = standingIn(asking(spec, place, escalations), approval, people, now).filter(waited)
    if (new Set([...left, ...standIns]).size < enough)
      lacking.push(told.find(isOf) ?? { spec: place.spec, level: place.level, at: now })
    for (const principal of left) names.add(principal)
    const comes = comingOrGoing(asking(spec, place, escalations), approval, people, now)
    due_at = Math.min(due_at, clock.due_at, remindAt({ ...approval, escalations }, place), ...comes)
    expires_at = Math.min(expires_at, clock.expires_at)
  }
  const unanswerable = lacking.filter((each) => !told.includes(each))
  if (open.length === 0)
    return { approval: { ...approval, asked_of: [], due_at: null, lacking: null }, climbed, unanswerable }
  const asked_of = [...names].sort()
  const stands = { escalations, asked_of, due_at, expires_at, lacking: lacking.length > 0 ? lacking : null }
  return { approval: { ...approval, ...stands }, climbed, unanswerable }
}

/** Admins, where a role is asked: they are not asked by name, and may answer all the same. */
function standingIn(words: readonly string[], question: Approval, people: People, now: number): string[] {
  return words.some((word) => word.startsWith('role:')) ? reached(['role:admin'], question, people, now) : []
}

/** Of whom nothing has been heard yet, neither by themselves nor by who answered for them. */
function unheard({ answers }: Pick<Approval, 'answers'>): (principal: string) => boolean {
  const spoken = new Set(answers.flatMap(({ by, for: absent }) => [by, absent]))
  return (principal) => !spoken.has(principal)
}

/** When those whom an open level asks are to be reminded; never where they were, or where others are asked too by now. */
function remindAt(
  { specs, reminders, escalations }: Pick<Approval, 'specs' | 'reminders' | 'escalations'>,
  { spec, level, since }: OpenLevel,
): number {
  const isOf = (each: { spec: number; level: number }) => each.spec === spec && each.level === level
  // One from before an edit was of another question.
  if (reminders.some((each) => isOf(each) && each.at >= since) || escalations.some(isOf))
    return Number.POSITIVE_INFINITY
  const flow = specs[spec] as ApprovalSpec
  return since + remindAfter(levelsOf(flow)[level] ?? flow)
}

export interface Reminded {
  approval: Approval
  /** Whom it reminds: who is asked by a level that has waited long enough, and has not answered. */
  asked_of: string[]
}

/**
 * Whom to ask once more: half of a level's time is over, or what its flow says. Null where nobody is to be. A level whose whole time is over
 * is no matter of this: others are asked then, or it has expired.
 */
export function remind(approval: Approval, people: People, now: number): Reminded | null {
  const due = tally(approval).open.filter((place) => {
    const spec = approval.specs[place.spec] as ApprovalSpec
    return remindAt(approval, place) <= now && now < clockOf(spec, place, approval.escalations).due_at
  })
  if (due.length === 0) return null
  const words = due.flatMap((place) => asking(approval.specs[place.spec] as ApprovalSpec, place, approval.escalations))
  const reminders = [...approval.reminders, ...due.map(({ spec, level }) => ({ spec, level, at: now }))]
  const asked_of = reached(words, approval, people, now).filter(unheard(approval))
  return { approval: { ...approval, reminders }, asked_of }
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

/** Roles that let a principal answer questions. */
export const mayApprove = (role: Role): boolean => may({ role, permissions: null }, 'approvals:answer')
