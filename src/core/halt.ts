import type { BreakerStanding } from './breaker.js'
import type { AppliedLimit } from './policy/evaluate.js'
import type { StopStanding } from './stop.js'

/** What keeps work back whatever policy says of it: part of a decision's standing, absent where nothing does. */
export interface Halts {
  stops?: readonly StopStanding[]
  breaker?: BreakerStanding
}

/** Why nothing goes, as a refused caller is told it. */
export interface Halt {
  code: 'stopped' | 'approval_frozen' | 'breaker_open'
  reason: string
  stop_id: string | null
  retry_after_ms: number | null
  /** The limit that is full meanwhile: work that waits behind it is passed over in the queue. */
  limit: string
}

type Door = 'submit' | 'approve' | 'dispatch' | 'replay'

/** Of what a trial lets through at once. */
const TRIAL_AT_ONCE = 3

/** Counts what is submitted in a trial. */
export const stopKey = (stop_id: string) => `stop|${stop_id}`
/** Counts what runs in it, a retry as well: what waited in the queue was counted by nothing. */
export const stopRunKey = (stop_id: string) => `stop-run|${stop_id}`
/**
 * Of this opening alone: a counter of the one before would still weigh in a window that has grown. What its agent asks for as another is
 * kept apart, or work that never goes would be taken for the trial that shows whether it works again.
 */
export const breakerKey = (agent: string, { opened_at, of }: BreakerStanding) =>
  of === undefined ? `breaker|${opened_at}|${agent}` : `breaker-as|${opened_at}|${of}`

/** A stop as a limit with no room, a trial as one with little: so queue, counters and retries treat it as any other. */
export function haltLimits(
  { stops = [], breaker }: Halts,
  agent: string,
  high_risk: boolean,
  now: number,
): AppliedLimit[] {
  const limits = stops.flatMap(({ stop_id, trial }): AppliedLimit[] => {
    const limit = { key: stopKey(stop_id), rule: stop_id }
    if (trial === null || high_risk) return [{ ...limit, concurrent: 0 }]
    const rate = { count: trial, period_ms: 60_000 }
    const run = {
      key: stopRunKey(stop_id),
      rule: stop_id,
      rate,
      spent_at: 'dispatch',
      concurrent: TRIAL_AT_ONCE,
    } as const
    return [{ ...limit, rate }, run]
  })
  if (breaker === undefined) return limits
  const limit = { key: breakerKey(agent, breaker), rule: 'breaker' }
  limits.push(
    isOpen(breaker, now)
      ? { ...limit, concurrent: 0 }
      : { ...limit, rate: { count: 1, period_ms: breaker.cool_down_ms }, concurrent: 1 },
  )
  return limits
}

/** Keys of the counters that `haltLimits` may name. */
export function haltKeys({ stops = [], breaker }: Halts, agent: string): string[] {
  const keys = stops.flatMap(({ stop_id, trial }) => (trial === null ? [] : [stopKey(stop_id), stopRunKey(stop_id)]))
  return breaker === undefined ? keys : [...keys, breakerKey(agent, breaker)]
}

/** Null where work may go, if only a little of it. A breaker keeps nobody from answering: what is approved waits. */
export function haltAt(
  { stops = [], breaker }: Halts,
  door: Door,
  agent: string,
  high_risk: boolean,
  now: number,
): Halt | null {
  const stop = stops.find(({ trial }) => trial === null || high_risk)
  if (stop !== undefined) {
    const { stop_id, reason } = stop
    const code = door === 'approve' ? 'approval_frozen' : 'stopped'
    const why =
      stop.trial === null ? `stopped: ${reason}` : `stopped, and in its trial nothing of high risk goes: ${reason}`
    return { code, reason: why, stop_id, retry_after_ms: null, limit: stopKey(stop_id) }
  }
  if (breaker === undefined || door === 'approve' || !isOpen(breaker, now)) return null
  const retry_after_ms = Math.max(1000, breaker.retry_at - now)
  const reason = `${breaker.of ?? agent} is out after ${breaker.reason}`
  return { code: 'breaker_open', reason, stop_id: null, retry_after_ms, limit: breakerKey(agent, breaker) }
}

/** As another its agent does nothing until it is closed: it shows by work of its own that it works again. */
const isOpen = ({ retry_at, of }: BreakerStanding, now: number) => of !== undefined || now < retry_at
