import { hash } from 'node:crypto'
import type { Claim } from './job.js'
import type { Counter } from './limits.js'
import type { CompiledPolicy } from './policy/compile.js'
import { type ApprovalSpec, DEFAULT_APPROVAL } from './policy/document.js'
import { type Evaluation, heldAction } from './policy/evaluate.js'

/** From evaluated only to trusted with what policy allows. Each asks people about less than the one before it. */
export const STAGES = ['shadow', 'advisor', 'supervised', 'assisted', 'autonomous'] as const
export type Stage = (typeof STAGES)[number]

/** What the door reads of an agent that is managed; stored with the decision. */
export interface StageStanding {
  stage: Stage
  /** Percent of what would run in `assisted` that a person sees first. */
  spot_check: number
  /** Who is asked: words as in `approval: {from}`. */
  asks: string[]
}

/** What a person declares of an agent beside its stage. */
export interface Settings {
  spot_check?: number | undefined
  least?: number | undefined
  most?: number | undefined
  asks?: string[] | undefined
}

export interface Proposal {
  to: Stage
  by: string
  /** With which they proposed: what a revoked key proposed counts no more. */
  key_id?: string
  at: number
  note: string | null
  /** Not a stage but these, because they loosen; `to` is the stage it has then. */
  settings?: Settings
}

export interface Autonomy extends StageStanding {
  tenant: string
  agent: string
  since: number
  /** Bounds of spot_check that a person declared. */
  least: number
  most: number
  moved_at: number | null
  proposal: Proposal | null
  alerted_at: number | null
  offered_at: number | null
  updated_at: number
  updated_by: string
}

/** Whether people would see less of the agent's work, or others than before would: `asks` is who was set over it. */
export function loosens(before: Autonomy, after: Autonomy): boolean {
  const isLower = (['spot_check', 'least', 'most'] as const).some((each) => after[each] < before[each])
  return isLower || !isSame(before.asks, after.asks)
}

/** Whether two declare the same, word for word. */
export function isSameSettings(one: Settings, other: Settings): boolean {
  const isEqual = (['spot_check', 'least', 'most'] as const).every((each) => one[each] === other[each])
  return isEqual && isSame(one.asks ?? [], other.asks ?? [])
}

/** Words hold no blanks. */
const isSame = (one: readonly string[], other: readonly string[]) =>
  [...one].sort().join(' ') === [...other].sort().join(' ')

export const SPOT_CHECK = { spot_check: 5, least: 2, most: 20 }

/**
 * A fraction in [0, 1) for the spot check of this job. From its id, of which 80 bits are drawn by the server after the agent has said
 * all it says: no agent chooses it, and every door draws the same for the same job without a column for it.
 */
export function drawOf(job_id: string): number {
  return Number.parseInt(hash('sha256', `spot-check ${job_id}`, 'hex').slice(0, 12), 16) / 2 ** 48
}

/** So many ids are tried for one that is drawn: at 1 % none is among them once in 10^17 times. */
const DRAWS = 4000

/** An id of which the draw is a spot check, so that every door draws the same for it later, as for any other. */
export function checkedId(next: () => string, spot_check: number): string {
  let job_id = next()
  if (spot_check <= 0) return job_id
  for (let draws = 1; draws < DRAWS && drawOf(job_id) * 100 >= spot_check; draws++) job_id = next()
  return job_id
}

/** Counts, beside the limits, the spot checks that the agent cancelled before anybody had seen them: its next jobs are checked instead. */
export const owedKey = (agent: string) => `check|${agent}`

export const owesCheck = (agent: string, counters: Readonly<Record<string, Pick<Counter, 'held'>>>) =>
  (counters[owedKey(agent)]?.held ?? 0) > 0

const CHECK = 'a spot check'
const because = (agent: string, stage: Stage, why: string) => `${agent} is ${stage}: ${why}`

/** Whether nothing but the draw has people asked about it. */
export const isSpotCheck = ({ agent, rules, reason }: { agent: string; rules: readonly string[]; reason: string }) =>
  rules.includes('stage:assisted') && reason === because(agent, 'assisted', CHECK)

const DAY_MS = 86_400_000

/** One yes of those who answer for the agent; who is on call and then an admin where they let a day pass. */
export const asking = (from: readonly string[]): ApprovalSpec => ({
  ...DEFAULT_APPROVAL,
  from: [...from].sort(),
  within_ms: DAY_MS,
  then: 'escalate',
})

/**
 * What the stage makes of an evaluation that lets work through: the same, or one that asks people. It only tightens: what policy denies
 * or asks about itself is not looked at. Pure.
 */
export function underStage(
  policy: CompiledPolicy,
  claim: Claim,
  evaluation: Evaluation,
  { stage, spot_check, asks, risk_tier }: StageStanding & { risk_tier: string | null },
  { draw, now }: { draw: number | undefined; now: number },
): Evaluation {
  if (evaluation.decision === 'DENY' || evaluation.decision === 'REQUIRE_APPROVAL') return evaluation
  const why = evaluation.high_risk
    ? 'what is high risk stays with people'
    : stage === 'advisor'
      ? 'every action is a person’s to decide'
      : stage === 'supervised' && !isRead(policy, claim, now)
        ? 'every write is a person’s to decide'
        : stage === 'assisted' && risk_tier === 'high' && !isRead(policy, claim, now)
          ? 'writes of an agent of high risk are a person’s to decide'
          : stage === 'assisted' && draw !== undefined && draw * 100 < spot_check
            ? CHECK
            : null
  if (why === null) return evaluation
  return {
    ...evaluation,
    decision: 'REQUIRE_APPROVAL',
    reason: because(claim.agent, stage, why),
    rules: [...evaluation.rules, `stage:${stage}`].sort(),
    approval: [asking(asks)],
  }
}

/** What the agent says of its own action may not make a read of a write. */
const isRead = (policy: CompiledPolicy, claim: Claim, now: number) => heldAction(policy, claim, now) === 'read'

/** What counts of an agent's work, over rows; a rate is null where there is nothing to take it of. */
export interface Numbers {
  /** In this stage, ms. */
  in_stage_ms: number
  /** Jobs that ended well or badly since the stage began, the last two weeks of it at most; in shadow, evaluations. */
  actions: number
  error_rate: number | null
  /** Questions about its work that were answered, asked in the last two weeks of the stage, and in its last week. */
  answered: number
  approval_rate: number | null
  answered_week: number
  approval_rate_week: number | null
  /** Share of evaluations that policy denied. */
  denial_rate: number | null
}

/** What must hold before a stage is left upward. */
export interface Criteria {
  days: number
  actions: number
  /** At most. */
  error_rate: number | null
  denial_rate: number | null
  answered: number
  answered_week: number
  /** At least, for the last week. */
  approval_rate: number | null
}

const NEVER = null

/** The two weeks of approval-first with 95 % in the last one stand between every write being asked about and anything running unasked. */
export const CRITERIA: Record<Stage, Criteria | null> = {
  shadow: {
    days: 3,
    actions: 20,
    error_rate: null,
    denial_rate: 0.1,
    answered: 0,
    answered_week: 0,
    approval_rate: null,
  },
  advisor: {
    days: 7,
    actions: 20,
    error_rate: 0.05,
    denial_rate: null,
    answered: 20,
    answered_week: 10,
    approval_rate: 0.9,
  },
  supervised: {
    days: 14,
    actions: 50,
    error_rate: 0.02,
    denial_rate: null,
    answered: 30,
    answered_week: 10,
    approval_rate: 0.95,
  },
  assisted: {
    days: 14,
    actions: 200,
    error_rate: 0.01,
    denial_rate: null,
    answered: 10,
    answered_week: 5,
    approval_rate: 0.95,
  },
  autonomous: NEVER,
}

/** One criterion against what is. */
export interface Checked {
  criterion: keyof Criteria
  needs: number
  /** Null: there is nothing to take it of, which is never a pass. */
  is: number | null
  holds: boolean
}

/** Every criterion of leaving this stage upward. */
export function checked(stage: Stage, numbers: Numbers): Checked[] {
  const criteria = CRITERIA[stage]
  if (criteria === null) return []
  const least = (criterion: keyof Criteria, needs: number, is: number | null): Checked => ({
    criterion,
    needs,
    is,
    holds: is !== null && is >= needs,
  })
  const most = (criterion: keyof Criteria, needs: number | null, is: number | null): Checked[] =>
    needs === null ? [] : [{ criterion, needs, is, holds: is !== null && is <= needs }]
  const { days, actions, error_rate, denial_rate, answered, answered_week, approval_rate } = criteria
  return [
    least('days', days, Math.floor(numbers.in_stage_ms / DAY_MS)),
    least('actions', actions, numbers.actions),
    ...most('error_rate', error_rate, numbers.error_rate),
    ...most('denial_rate', denial_rate, numbers.denial_rate),
    ...(answered === 0 ? [] : [least('answered', answered, numbers.answered)]),
    ...(answered_week === 0 ? [] : [least('answered_week', answered_week, numbers.answered_week)]),
    ...(approval_rate === null ? [] : [least('approval_rate', approval_rate, numbers.approval_rate_week)]),
  ]
}

/** The stage above this one; null at the top. */
export const stageAbove = (stage: Stage): Stage | null => STAGES[STAGES.indexOf(stage) + 1] ?? null
export const isBelow = (stage: Stage, other: Stage): boolean => STAGES.indexOf(stage) < STAGES.indexOf(other)

/** Where an agent is put that does badly: what runs unasked is asked about again. Null where people decide about everything already. */
const FALLS_TO: Record<Stage, Stage | null> = {
  shadow: null,
  advisor: null,
  supervised: 'advisor',
  assisted: 'supervised',
  autonomous: 'supervised',
}

/** Failures above this put an agent back, and so few ends say nothing yet. */
const ERRORS: Record<Stage, number> = { shadow: 1, advisor: 1, supervised: 0.1, assisted: 0.05, autonomous: 0.02 }
const ENOUGH = 10
/** Under it people disagree with the agent too often. */
export const LOW_APPROVAL = 0.9

/** Why the agent is put back, and where; null where it stays. `broken`: its breaker opened since it was put here. */
export function fallOf(stage: Stage, numbers: Numbers, broken: boolean): { to: Stage; reason: string } | null {
  const to = FALLS_TO[stage]
  if (to === null) return null
  const { actions, error_rate } = numbers
  const percent = (rate: number) => `${Math.round(rate * 1000) / 10} %`
  if (broken) return { to, reason: 'its breaker opened' }
  if (error_rate !== null && actions >= ENOUGH && error_rate > ERRORS[stage])
    return { to, reason: `${percent(error_rate)} of ${actions} actions failed, at most ${percent(ERRORS[stage])} may` }
  if (isLow(numbers))
    return {
      to,
      reason: `people approved ${percent(numbers.approval_rate_week ?? 0)} of ${numbers.answered_week} in a week`,
    }
  return null
}

/** Whether people say no too often for a week. */
export function isLow({ answered_week, approval_rate_week }: Numbers): boolean {
  return approval_rate_week !== null && answered_week >= ENOUGH && approval_rate_week < LOW_APPROVAL
}

/** How reviewers fare. */
export interface ReviewLoad {
  pending: number
  /** Distinct people who answered in the window, and so bear it. */
  reviewers: number
  median_wait_ms: number | null
}

/** A question that waits longer than an hour, or more than twenty a head, is too much; a quarter of both leaves room for more. */
const BUSY = { wait_ms: 3_600_000, each: 20 }

export function burden({ pending, reviewers, median_wait_ms }: ReviewLoad): 'over' | 'light' | 'even' {
  // Nobody answers at all: fewer spot checks would not help, and nothing says that the work is good.
  if (reviewers === 0 || median_wait_ms === null) return 'even'
  const each = pending / reviewers
  if (median_wait_ms > BUSY.wait_ms || each > BUSY.each) return 'over'
  return median_wait_ms <= BUSY.wait_ms / 4 && each <= BUSY.each / 4 ? 'light' : 'even'
}

const HOUR_MS = 3_600_000

/** The spot-check share that the load calls for, inside its bounds; null where it stays. Only ever of `assisted`, and an hour apart. */
export function rebalanced(agent: Autonomy, load: ReviewLoad, now: number): number | null {
  if (agent.stage !== 'assisted' || (agent.moved_at !== null && now < agent.moved_at + HOUR_MS)) return null
  const way = burden(load)
  const { spot_check, least, most } = agent
  const next = way === 'over' ? Math.floor(spot_check / 2) : way === 'light' ? spot_check + 1 : spot_check
  const within = Math.min(most, Math.max(least, next))
  return within === spot_check ? null : within
}
