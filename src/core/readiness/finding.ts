import type { DrillName } from '../drill.js'
import type { Doors, Facts, Wrong } from './facts.js'

export const READY_STATES = ['pass', 'block', 'unknown'] as const
/** `unknown`: no fact shows it. It holds a launch up as `block` does, and says what would have to be done instead of what is wrong. */
export type ReadyState = (typeof READY_STATES)[number]

/** What a named person may say where no row shows it. */
export const ATTESTABLE = [
  'key_rotation',
  'egress_allowlist',
  'retry_classes',
  'cost_budgets',
  'on_call_runbook',
  'run_state',
  'on_call_answers',
] as const
export type Attestable = (typeof ATTESTABLE)[number]

/** One fact and what it says about a control. */
export interface Finding {
  state: ReadyState
  /** In words, with the figures it rests on. */
  reason: string
  /** Path of the API where the fact can be read, or a document. */
  link: string
  /** When the fact was made; null where there is none. */
  at: number | null
  expires_at: number | null
  /** Who answers for this fact, where that is known. */
  owner: string | null
  /** As what a person may attest it; null: nobody's word will do. Only of what is unknown. */
  attestable: Attestable | null
}

export type Judge = (facts: Facts, at: number) => Finding[]

type More = Partial<Pick<Finding, 'at' | 'expires_at' | 'owner'>>

const made = (
  state: ReadyState,
  reason: string,
  link: string,
  more: More & Partial<Pick<Finding, 'attestable'>>,
): Finding => ({
  state,
  reason,
  link,
  at: null,
  expires_at: null,
  owner: null,
  attestable: null,
  ...more,
})

export const pass = (reason: string, link: string, more: More = {}) => made('pass', reason, link, more)
export const block = (reason: string, link: string, more: More = {}) => made('block', reason, link, more)
export const unknown = (reason: string, link: string, more: More = {}) => made('unknown', reason, link, more)
/** Unknown to the plane, and a person may know it. */
export const askPerson = (attestable: Attestable, reason: string, link: string, more: More = {}) =>
  made('unknown', reason, link, { ...more, attestable })

/** The worst of all: what is wrong before what is not known. Nothing at all is not known. */
export function worst(findings: readonly Pick<Finding, 'state'>[]): ReadyState {
  if (findings.some(({ state }) => state === 'block')) return 'block'
  return findings.length === 0 || findings.some(({ state }) => state === 'unknown') ? 'unknown' : 'pass'
}

const DAY_MS = 86_400_000

/** `3 h`, `12 days`. */
export function spanText(ms: number): string {
  if (ms >= 2 * DAY_MS) return `${Math.floor(ms / DAY_MS)} days`
  if (ms >= 7_200_000) return `${Math.floor(ms / 3_600_000)} h`
  return ms >= 120_000 ? `${Math.floor(ms / 60_000)} min` : `${Math.floor(Math.max(0, ms) / 1000)} s`
}

export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`

/** Names shown of a longer list; the link leads to the rest. */
const SHOWN = 3

export const some = (names: readonly string[]): string =>
  names.length <= SHOWN ? names.join(', ') : `${names.slice(0, SHOWN).join(', ')} and ${names.length - SHOWN} more`

export const wrongText = (wrong: readonly Wrong[]): string => some(wrong.map(({ id, why }) => `${id} (${why})`))

/** A drill that passed and has not expired; what failed blocks, until it passes. */
export function drillFinding({ drills }: Facts, at: number, drill: DrillName): Finding {
  const link = `/api/v1/drills/${drill}`
  const last = drills[drill]
  const mend = `sallyport drill run ${drill}`
  if (last === null) return unknown(`the ${drill} drill was never run: ${mend}`, link)
  const since = `${spanText(at - last.at)} ago (${last.drill_id})`
  const of = { at: last.at, expires_at: last.valid_until, owner: last.owner ?? null }
  if (!last.passed) return block(`the ${drill} drill failed ${since}`, link, of)
  if (last.valid_until <= at) return unknown(`the ${drill} drill passed ${since} and has expired: ${mend}`, link, of)
  return pass(`the ${drill} drill passed ${since}`, link, of)
}

/** Only what a drill shows to be broken: where its freshness is another control's matter. */
export const failedDrill = (facts: Facts, at: number, drill: DrillName): Finding[] =>
  [drillFinding(facts, at, drill)].filter(({ state }) => state === 'block')

interface DoorWords {
  /** `job` */
  one: string
  /** What each of them was found to hold. */
  holds: string
  link: string
}

/** A sample of rows of which each was asked the same. */
export function doorsFinding(
  { sampled, newest_at, oldest_at, wrong }: Doors,
  { one, holds, link }: DoorWords,
): Finding {
  if (wrong.length > 0)
    return block(
      `${wrong.length} of the ${count(sampled, `newest ${one}`)} are not in order: ${wrongText(wrong)}`,
      link,
      {
        at: newest_at,
      },
    )
  if (sampled === 0) return unknown(`there is no ${one} yet that would show it`, link)
  const span = newest_at !== null && oldest_at != null ? `, of ${spanText(newest_at - oldest_at)},` : ''
  return pass(`all of the ${count(sampled, `newest ${one}`)}${span} ${holds}`, link, { at: newest_at })
}
