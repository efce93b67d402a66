import type { ApprovalLevel, ApprovalRung, ApprovalSpec } from './policy/document.js'

/** A question to people, bound to exactly what they are shown. */
export interface Approval {
  tenant: string
  approval_id: string
  version: number
  job_id: string
  status: 'pending' | 'approved' | 'rejected' | 'expired' | 'void'
  requested_by: string
  /** Who caused this question: the requester, or whoever replayed the job. May no more answer it than the requester. */
  raised_by: string
  agent: string
  topic: string
  requested_at: number
  /** When it expires if nobody answers any more: a level's time, and that of the rungs left to it. */
  expires_at: number
  valid_until: number | null
  decision_id: string
  reason: string
  rules: string[]
  constraints: Record<string, import('./json.js').Json>
  specs: ApprovalSpec[]
  snapshot: string
  job_hash: string
  grant_hash: string
  bound_hash: string
  answers: Answer[]
  /** Principals who are asked now, as the directory was when that was last worked out. */
  asked_of: string[]
  escalations: Escalation[]
  /** Levels whose people were asked once more. */
  reminders: Reminder[]
  /** What reviewers changed before they said yes, oldest first. */
  edits: Edit[]
  /** When somebody has to look again: a level's time is over, or its people are to be reminded. Null on rows from before: `expires_at`. */
  due_at: number | null
  /** Open levels for which too few people are left, as the log was told; null on rows from before, and where there is none. */
  lacking?: Lacking[] | null
}

export interface Answer {
  by: string
  role: string
  team: string | null
  /** The key it was given with: an answer of a key that was revoked since counts no more. */
  key_id: string
  answer: 'approve' | 'reject'
  at: number
  note: string | null
  /** Of the words that are asked, those that the directory alone can tell: `lead:x` and `oncall:x`. */
  as?: string[]
  /** Who is away and gave this say to `by`: role, team and `as` are then theirs. */
  for?: string
  /** Through which channel it came, where not by a key. */
  via?: string
}

/** A rung of the ladder of one level of one flow was asked. */
export interface Escalation {
  spec: number
  level: number
  rung: number
  at: number
}

/** Who is asked by one level of one flow, and had not answered, was asked once more. */
export interface Reminder {
  spec: number
  level: number
  at: number
}

/** Of those whom one level of one flow asks, and its ladder, too few are left: more people are `missing` than may still answer. */
export interface Lacking {
  spec: number
  level: number
  at: number
}

/** The job's input was replaced. The texts are payloads and go with them. */
export interface Edit {
  by: string
  at: number
  note: string | null
  /** JSON pointers that changed. */
  paths: string[]
  before: string | null
  after: string | null
  /** Keys and links of the answers that it made void; absent where there was none. */
  voided?: string[]
}

/** Somebody with what may make them one of those who are asked. */
export interface Reviewer {
  principal: string
  role: string
  team: string | null
  as?: readonly string[]
}

/** Who may confirm what they did not ask for themselves: the lead of whoever did. */
export const OWN_LEAD = 'lead:requester'

/** Whether this reviewer is one of those these words name. An admin stands in for a role, never for a team or a named person. */
export function mayAnswer({ from }: Pick<ApprovalLevel, 'from'>, reviewer: Reviewer): boolean {
  return from.some((who) => {
    const at = who.indexOf(':')
    const name = who.slice(at + 1)
    switch (who.slice(0, at)) {
      case 'role':
        return reviewer.role === name || reviewer.role === 'admin'
      case 'team':
        return reviewer.team === name
      case 'principal':
        return reviewer.principal === name
      case 'lead':
      case 'oncall':
        return reviewer.as?.includes(who) ?? false
      default:
        return false
    }
  })
}

export const levelsOf = (spec: ApprovalSpec): readonly ApprovalLevel[] => spec.levels ?? [spec]

const MOST_REMIND_MS = 86_400_000

/** How long people have before they are reminded: half of their time where the flow does not say, and never more than a day. */
export const remindAfter = ({ within_ms, remind_after_ms }: ApprovalLevel): number =>
  remind_after_ms ?? Math.min(Math.floor(within_ms / 2), MOST_REMIND_MS)

/** Who is asked after whom, where nobody answers. */
export function ladderOf({ then, ladder }: ApprovalSpec, { within_ms }: ApprovalLevel): readonly ApprovalRung[] {
  if (then !== 'escalate') return []
  return (
    ladder ?? [
      { from: ['oncall:owner'], after_ms: within_ms },
      { from: ['role:admin'], after_ms: within_ms },
    ]
  )
}

/** Everybody a level asks, counting the rungs that had been asked by `at`. */
export function wordsOf(
  spec: ApprovalSpec,
  place: Pick<Escalation, 'spec' | 'level'>,
  escalations: readonly Escalation[],
  at = Number.POSITIVE_INFINITY,
): string[] {
  const level = levelsOf(spec)[place.level]
  if (level === undefined) return []
  const rungs = ladderOf(spec, level)
  const climbed = escalations.filter((e) => e.spec === place.spec && e.level === place.level && e.at <= at)
  const own = spec.kind === 'confirmation' ? [...level.from, OWN_LEAD] : level.from
  return [...own, ...climbed.flatMap(({ rung }) => rungs[rung]?.from ?? [])]
}

/** A level that still lacks people and may be answered. */
export interface OpenLevel {
  spec: number
  level: number
  /** Since when it is asked. */
  since: number
  missing: number
  /** Levels that have their people, of whom somebody would take this place if another came: whoever comes there helps here. */
  via?: number[]
}

export interface Tally {
  open: OpenLevel[]
  /** Answers that serve a level; the others were given by somebody whom no open level asked. */
  counted: ReadonlySet<Answer>
}

export type Counted = Pick<Approval, 'specs' | 'answers'> &
  Partial<Pick<Approval, 'escalations' | 'requested_at' | 'edits'>>

/** Since when the question stands as it is: an edit asks it anew. */
export const askedAt = ({ requested_at = 0, edits = [] }: Partial<Pick<Approval, 'requested_at' | 'edits'>>) =>
  edits.at(-1)?.at ?? requested_at

/**
 * What the answers come to. One person serves several flows, never one level twice: neither by two keys nor by a delegate. With four
 * eyes a person serves one level of a flow; levels in sequence take only answers that were given while they were open.
 */
export function tally(approval: Counted): Tally {
  const { specs, answers, escalations = [] } = approval
  const yes = answers.filter(({ answer }) => answer === 'approve')
  const counted = new Set<Answer>()
  const since = askedAt(approval)
  const open = specs.flatMap((spec, n) => {
    const serves = (answer: Answer, level: number) =>
      mayAnswer(
        { from: wordsOf(spec, { spec: n, level }, escalations, answer.at) },
        {
          principal: answer.for ?? answer.by,
          role: answer.role,
          team: answer.team,
          ...(answer.as && { as: answer.as }),
        },
      )
    const missing = spec.order === 'parallel' ? abreast(spec, yes, serves) : inTurn(spec, yes, since, serves)
    for (const answer of missing.counted) counted.add(answer)
    return missing.open.map((each) => ({ spec: n, since, ...each }))
  })
  return { open, counted }
}

/** Every level of every flow has its number of distinct people. */
export const isSatisfied = (approval: Counted): boolean => tally(approval).open.length === 0

type Serves = (answer: Answer, level: number) => boolean
interface OfSpec {
  open: { level: number; missing: number; since?: number; via?: number[] }[]
  counted: Answer[]
}

/** Names that an answer uses up: who gave it, and for whom. */
const voices = ({ by, for: absent }: Answer): string[] => (absent === undefined ? [by] : [by, absent])

function inTurn(spec: ApprovalSpec, yes: readonly Answer[], asked: number, serves: Serves): OfSpec {
  const counted: Answer[] = []
  const used = new Set<string>()
  let since = asked
  let from = 0
  for (const [level, { need }] of levelsOf(spec).entries()) {
    const names = new Set<string>()
    let people = 0
    for (let n = from; n < yes.length && people < need; n++) {
      const answer = yes[n] as Answer
      if (voices(answer).some((name) => names.has(name) || used.has(name)) || !serves(answer, level)) continue
      for (const name of voices(answer)) names.add(name)
      counted.push(answer)
      people++
      since = Math.max(since, people === need ? answer.at : since)
      // With a confirmation one yes may do for the levels that follow too.
      if (people === need && spec.kind !== 'confirmation') from = n + 1
    }
    if (people < need) return { open: [{ level, missing: need - people, since }], counted }
    if (spec.kind !== 'confirmation') for (const name of names) used.add(name)
  }
  return { open: [], counted }
}

/**
 * With four eyes each person takes one place, and it must not matter in which order they came: somebody who could serve either of two
 * levels makes room for who can serve only one (augmenting paths; at most 10 levels of 50 people).
 */
function abreast(spec: ApprovalSpec, yes: readonly Answer[], serves: Serves): OfSpec {
  const levels = levelsOf(spec)
  if (spec.kind === 'confirmation') {
    const each = levels.map((level, n) => inTurn({ ...spec, ...level, levels: [level] }, yes, 0, (a) => serves(a, n)))
    return {
      open: each.flatMap(({ open }, level) => open.map(({ missing }) => ({ level, missing }))),
      counted: each.flatMap(({ counted }) => counted),
    }
  }
  const people = distinct(yes)
  const taken = levels.map((): Answer[] => [])
  const seat = (answer: Answer, seen: Set<number>): boolean => {
    for (const [n, { need }] of levels.entries()) {
      if (seen.has(n) || !serves(answer, n)) continue
      seen.add(n)
      const seats = taken[n] as Answer[]
      const moved = seats.length < need ? -1 : seats.findIndex((other) => seat(other, seen))
      if (seats.length >= need && moved < 0) continue
      if (moved >= 0) seats.splice(moved, 1)
      seats.push(answer)
      return true
    }
    return false
  }
  for (const answer of people) seat(answer, new Set())
  return {
    open: levels.flatMap(({ need }, level) => {
      const missing = need - (taken[level] as Answer[]).length
      if (missing <= 0) return []
      const via = makingRoom(level, taken, serves)
      return [via.length > 0 ? { level, missing, via } : { level, missing }]
    }),
    counted: taken.flat(),
  }
}

/** Levels from which somebody would move here, or to where somebody would move on from. */
function makingRoom(open: number, taken: readonly (readonly Answer[])[], serves: Serves): number[] {
  const via: number[] = []
  for (let grew = true; grew; ) {
    const found = taken.findIndex(
      (seats, n) =>
        n !== open && !via.includes(n) && seats.some((who) => [open, ...via].some((level) => serves(who, level))),
    )
    grew = found >= 0
    if (grew) via.push(found)
  }
  return via.sort((a, b) => a - b)
}

/** The first answer of everybody; who is away and gave their say to another has spoken. */
function distinct(answers: readonly Answer[]): Answer[] {
  const names = new Set<string>()
  return answers.filter((answer) => {
    if (voices(answer).some((name) => names.has(name))) return false
    for (const name of voices(answer)) names.add(name)
    return true
  })
}

/** How long the answer of all of them counts, from when it is complete. */
export function validUntil(specs: readonly ApprovalSpec[], now: number): number {
  return now + Math.min(...specs.map((s) => s.valid_for_ms))
}
