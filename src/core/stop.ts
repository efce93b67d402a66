import { type Caller, may } from './access.js'
import type { Fact } from './audit.js'
import { jobFact } from './facts.js'
import { type Job, touch } from './job.js'
import { topicMatches } from './policy/topics.js'

export const STOP_SCOPES = ['tenant', 'team', 'agent', 'topic', 'everything'] as const
export type StopScope = (typeof STOP_SCOPES)[number]

/** `stopped`: nothing goes. `trial`: a few jobs a minute, none of high risk. `full`: it is over. */
export type StopStage = 'stopped' | 'trial' | 'full'

/** What one person asked for and another has to carry out. */
export interface ResumeRequest {
  stage: 'trial' | 'full'
  by: string
  /** With which they asked: what a revoked key asked for counts no more. */
  key_id?: string
  at: number
  note: string
  trial_ms: number | null
  trial_limit: number | null
}

/** A stage that was reached, and the two who answer for it. */
export interface ResumeStep {
  stage: 'trial' | 'full'
  asked_by: string
  by: string
  at: number
  note: string
}

export interface Stop {
  tenant: string
  stop_id: string
  scope: StopScope
  /** Team, agent or topic pattern; null where the scope needs none. */
  target: string | null
  reason: string
  raised_by: string
  raised_at: number
  /** Of its tenant's gate since it was raised. */
  epoch: number
  stage: StopStage
  /** Until then it cannot end. */
  trial_until: number | null
  /** Jobs a minute that a trial lets through. */
  trial_limit: number | null
  resume: ResumeRequest | null
  steps: ResumeStep[]
  ended_at: number | null
}

/** What the door reads of a stop; stored with the decision. */
export interface StopStanding {
  stop_id: string
  reason: string
  /** Jobs a minute in a trial; null while nothing goes. */
  trial: number | null
}

/** A request to resume is good for so long: an old one must not be carried out by somebody who knows nothing of it. */
export const REQUEST_MS = 3_600_000
export const TRIAL = { limit: 10, ms: 600_000 } as const

/** Whose work a stop may be about: of the agent it is done as, and of whoever asked for it, who may be another that acts as it. */
export interface Stoppable {
  tenant: string
  agent: string
  requested_by: string
  topic: string
  /** The team that the key had. */
  team: string | null
  /** Those that the directory names for the two. */
  owners: readonly (string | null)[]
}

/** Whichever of the two it is, and whichever of their teams: too much stopped can be resumed. */
export function covers({ tenant, scope, target }: Pick<Stop, 'tenant' | 'scope' | 'target'>, work: Stoppable): boolean {
  if (scope === 'everything') return true
  if (tenant !== work.tenant) return false
  if (scope === 'tenant') return true
  if (target === null) return true // no row is so, and what cannot be told apart is stopped
  if (scope === 'agent') return target === work.agent || target === work.requested_by
  if (scope === 'team') return target === work.team || work.owners.includes(target)
  return topicMatches(target, work.topic)
}

/**
 * Whether a token that was minted before is over with this stop, for good: whoever has it submits nothing more with it, nor after a resume.
 * Of topics there are none in it to go by.
 * @param issued_at whole seconds, cut off: of one minted within the second before or after, the stop wins
 */
export function endsToken(
  stop: Pick<Stop, 'tenant' | 'scope' | 'target' | 'raised_at'>,
  whose: Pick<Stoppable, 'tenant' | 'agent' | 'team'>,
  issued_at: number,
): boolean {
  if (stop.scope === 'topic' || issued_at > stop.raised_at) return false
  return covers(stop, { ...whose, requested_by: whose.agent, topic: '', owners: [] })
}

export const stopStanding = ({ stop_id, reason, stage, trial_limit }: Stop): StopStanding => ({
  stop_id,
  reason,
  trial: stage === 'trial' ? (trial_limit ?? TRIAL.limit) : null,
})

/** Whose admins answer for the whole installation. */
export const HOME = 'default'

/** What this caller lacks to stop or resume it; null where it may. */
export function lacksToStop(
  caller: Pick<Caller, 'tenant' | 'role' | 'permissions' | 'leads'>,
  { scope, target }: Pick<Stop, 'scope' | 'target'>,
  /** Team that owns the agent of the scope. */
  owner: string | null,
): string | null {
  if (scope === 'everything')
    return caller.role === 'admin' && caller.tenant === HOME && may(caller, 'stops:write')
      ? null
      : `an admin of the tenant ${HOME}`
  if (may(caller, 'stops:write')) return null
  const team = scope === 'team' ? target : scope === 'agent' ? owner : null
  const leads = may(caller, 'stops:write_led') && team !== null && caller.leads.includes(team)
  return leads ? null : 'stops:write, or to lead the team'
}

/** As people write it, and as the log and the answers say it. */
export const scopeText = ({ scope, target }: Pick<Stop, 'scope' | 'target'>) =>
  target === null ? scope : `${scope} ${target}`

/** One entry in the log of each tenant concerned. */
export function stopFacts(
  kind: 'stop.raised' | 'stop.resume_requested' | 'stop.resumed',
  stop: Stop,
  tenants: readonly string[],
  at: number,
  actor: string,
  fields: Record<string, string | number | null> = {},
): Fact[] {
  const { stop_id, scope, target, stage } = stop
  return tenants.map((tenant) => ({ kind, tenant, at, actor, stop_id, scope, target, stage, ...fields }))
}

/** A running job in the scope: its heartbeat answers `cancel`, and it leaves by its report or its lease's end. */
export function cancelFor(stop: Stop, job: Job, now: number): { job: Job; fact: Fact } {
  const moved = touch(job, now, { cancel_requested: true })
  const { stop_id, reason } = stop
  return {
    job: moved.job,
    fact: jobFact('job.cancel_requested', moved.job, now, 'system:stop', { ...moved.changed, stop_id, reason }),
  }
}

export type Resuming =
  | { kind: 'refused'; code: 'illegal_transition' | 'self_approval'; detail: string }
  | { kind: 'requested'; stop: Stop }
  | { kind: 'carried_out'; stop: Stop; asked_by: string }

/** What is wanted of a trial, however the wish was left out. */
export const trialOf = ({ trial_ms, trial_limit }: Pick<ResumeRequest, 'trial_ms' | 'trial_limit'>) => ({
  trial_ms: trial_ms ?? TRIAL.ms,
  trial_limit: trial_limit ?? TRIAL.limit,
})

/** Two who say the same agree; one who says something else has not seen what the other asked for. */
function isSame(open: ResumeRequest, asked: Pick<ResumeRequest, 'stage' | 'trial_ms' | 'trial_limit'>): boolean {
  if (open.stage !== asked.stage) return false
  const [one, other] = [trialOf(open), trialOf(asked)]
  return asked.stage === 'full' || (one.trial_ms === other.trial_ms && one.trial_limit === other.trial_limit)
}

/**
 * The first says what is to be, the second says the same and does it; never one person alone, and never past a stage. Something else
 * takes the place of what was asked for.
 * @param mayBeOne why who asked and who asks now may be one person; null where they are two
 */
export function resume(
  stop: Stop,
  by: string,
  asked: Omit<ResumeRequest, 'by' | 'at'>,
  now: number,
  mayBeOne: string | null = null,
): Resuming {
  const refused = (detail: string): Resuming => ({ kind: 'refused', code: 'illegal_transition', detail })
  if (stop.ended_at !== null) return refused('The stop has ended')
  if (asked.stage === 'trial' && stop.stage !== 'stopped') return refused('The stop is in trial already')
  if (asked.stage === 'full' && stop.stage !== 'trial') return refused('A stop ends after a trial')
  if (asked.stage === 'full' && now < (stop.trial_until ?? 0))
    return refused(`The trial goes on for ${Math.ceil(((stop.trial_until ?? 0) - now) / 1000)} s`)
  const open = stop.resume
  const isOpen = open !== null && isSame(open, asked) && now - open.at < REQUEST_MS
  if (!isOpen) return { kind: 'requested', stop: { ...stop, resume: { ...asked, by, at: now } } }
  if (open.by === by)
    return { kind: 'refused', code: 'self_approval', detail: 'You asked for it; another person carries it out' }
  if (mayBeOne !== null) return { kind: 'refused', code: 'self_approval', detail: mayBeOne }
  const step: ResumeStep = { stage: asked.stage, asked_by: open.by, by, at: now, note: asked.note }
  const after: Stop = { ...stop, stage: asked.stage, resume: null, steps: [...stop.steps, step] }
  if (asked.stage === 'full') return { kind: 'carried_out', asked_by: open.by, stop: { ...after, ended_at: now } }
  const { trial_limit, trial_ms } = trialOf(open)
  return { kind: 'carried_out', asked_by: open.by, stop: { ...after, trial_limit, trial_until: now + trial_ms } }
}
