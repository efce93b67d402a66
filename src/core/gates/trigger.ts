/**
 * When a candidate is taken back without asking anybody: the rollback trigger matrix of the launch checklist (G4). Pure: a series of what
 * was seen comes in, whether and since when it is too much goes out.
 */

/** What is too much. */
interface TriggerRule {
  /** `over_baseline`: more than so many `times` what the stable version does. `over`: more than `limit`. `expired`: the value is an instant that has come. */
  rule: 'over_baseline' | 'over' | 'expired'
  times: number
  limit: number
  /** A baseline below it counts as this: twice an error rate of 0 would be the first error. So does one that is not known. */
  floor: number
  /** How long it has to last; 0 acts on the first. */
  for_ms: number
  /** What fewer samples say is not known. */
  min_samples: number
}

const MINUTE_MS = 60_000
const term = (rule: TriggerRule['rule'], terms: Partial<TriggerRule> = {}): TriggerRule => ({
  rule,
  times: 1,
  limit: 0,
  floor: 0,
  for_ms: 0,
  min_samples: 0,
  ...terms,
})

/** The numbers of guide and checklist. A rollout may ask for tighter ones, never for looser. */
export const TRIGGER_MATRIX = {
  // Canary 1: error rate > 2x baseline for 10 minutes. The floor is what its own target of 99 % leaves.
  error_rate: term('over_baseline', { times: 2, floor: 0.01, for_ms: 10 * MINUTE_MS, min_samples: 20 }),
  // Control 17 asks for latency too and the guide lets it drift 20 %, which holds a promotion; twice as slow is no drift.
  p95_latency: term('over_baseline', { times: 2, for_ms: 10 * MINUTE_MS, min_samples: 20 }),
  // Canary 2: backlog over its limit for 30 minutes. Seconds that the oldest open question has waited; 15 min is what the median may be.
  approval_backlog: term('over', { limit: 900, for_ms: 30 * MINUTE_MS }),
  // General, and the guide's phase 1: any of these, at once.
  policy_bypass: term('over'),
  unapproved_high_risk: term('over'),
  // General: quarantine spike > 3x.
  quarantine: term('over_baseline', { times: 3, floor: 0.01, min_samples: 20 }),
  // Replay gate: any critical bypass or duplicate that is not idempotent.
  replay_bypass: term('over'),
  replay_duplicate: term('over'),
  // A rollback that was last tried too long ago is none.
  drill_expired: term('expired'),
} satisfies Record<string, TriggerRule>
export type TriggerName = keyof typeof TRIGGER_MATRIX
export const TRIGGER_NAMES = Object.keys(TRIGGER_MATRIX) as TriggerName[]

export interface TriggerTerms extends TriggerRule {
  trigger: TriggerName
}

export const termsOf = (trigger: TriggerName): TriggerTerms => ({ trigger, ...TRIGGER_MATRIX[trigger] })

/** What was seen at an instant; null: it could not be seen. A rate is a share, not a percentage. */
export interface Sample {
  at: number
  value: number | null
  samples?: number
  /** Of the stable version in the same window, and of how many samples. */
  baseline?: number | null
  baseline_samples?: number
  /** Why it could not be seen, where something broke. */
  fault?: unknown
}

export interface Watched {
  /** `blind`: nothing was seen lately, so nobody knows. Then nothing is promoted either. */
  state: 'tripped' | 'blind' | 'breaching' | 'clear'
  /** The first time it was too much for long enough; that it got better since does not matter. */
  tripped_at: number | null
  /** How long it has been seen to be too much, up to the newest sample. */
  held_ms: number
  /** Since when; null while it is not. */
  since: number | null
}

/** Looks are 10 s apart. Each looks back over ten minutes, so two that are a minute apart, as where rounds are slow, speak of one time. */
export const MAX_GAP_MS = 60_000
/** Looks are 10 s apart; one that came late still belongs. What was seen before says nothing of now. */
export const UNSEEN_MS = 15_000
/**
 * Of rates, whatever the stable version does: beside one that fails half of the time, twice as often would be everything, and over everything
 * there is nothing. Not part of the terms, so no declaration changes it.
 */
const CEILINGS: Partial<Record<TriggerName, number>> = { error_rate: 0.5, quarantine: 0.5 }

/**
 * Whether it was too much for long enough. Time counts between two samples that both say so and are at most MAX_GAP_MS apart. A longer gap
 * adds nothing, however long it is, and takes nothing away: only a sample that says it is over does.
 * @param series in any order; what is later than `now` is not looked at
 */
export function watch(terms: TriggerTerms, series: readonly Sample[], now: number): Watched {
  let held_ms = 0
  let since: number | null = null
  let tripped_at: number | null = null
  /** When the sample before was, if it said too much. */
  let before: number | null = null
  let seen_at = Number.NEGATIVE_INFINITY
  for (const { at, breach } of looksIn(terms, series, now)) {
    if (breach !== null) seen_at = at
    if (breach === true) {
      if (before !== null && at - before <= MAX_GAP_MS) held_ms += at - before
      since ??= at
      if (held_ms >= terms.for_ms) tripped_at ??= at
    } else if (breach === false) {
      held_ms = 0
      since = null
    }
    before = breach === true ? at : null
  }
  const state =
    tripped_at !== null ? 'tripped' : now - seen_at > UNSEEN_MS ? 'blind' : since !== null ? 'breaching' : 'clear'
  return { state, tripped_at, held_ms, since }
}

interface Look {
  at: number
  breach: boolean | null
}

/** In order, one for each instant. Where two nodes looked at once and disagree, the worse one counts. */
function looksIn(terms: TriggerTerms, series: readonly Sample[], now: number): Look[] {
  const byInstant = new Map<number, boolean | null>()
  for (const sample of series) {
    if (!Number.isSafeInteger(sample.at) || sample.at > now) continue
    const breach = breachOf(terms, sample)
    const other = byInstant.get(sample.at)
    byInstant.set(sample.at, other === undefined ? breach : worse(breach, other))
  }
  return [...byInstant].map(([at, breach]) => ({ at, breach })).sort((a, b) => a.at - b.at)
}

/** Too much before not known, not known before all is well: neither of two looks clears what the other could not see. */
function worse(a: boolean | null, b: boolean | null): boolean | null {
  if (a === true || b === true) return true
  return a === null || b === null ? null : false
}

/** Whether this sample says too much; null where it says nothing. */
function breachOf(terms: TriggerTerms, sample: Sample): boolean | null {
  const { rule, limit, min_samples } = terms
  const { value, samples = 0 } = sample
  if (!isSound(value)) return null
  if (rule === 'expired') return value <= sample.at
  if (!(samples >= min_samples)) return null
  if (rule === 'over') return value > limit
  const most = mostOf(terms, sample)
  return most === null ? null : value > most
}

/** What a value may be beside this baseline; null where nobody knows. */
export function mostOf({ trigger, times, floor, min_samples }: TriggerTerms, sample: Sample): number | null {
  const { baseline, baseline_samples = 0 } = sample
  // At 100 % nothing of the stable version runs, and a new agent has none: a floor keeps the trigger from being asleep then.
  const isKnown = isSound(baseline) && baseline_samples >= min_samples
  if (!isKnown && floor === 0) return null
  const most = Math.max(isKnown ? baseline : 0, floor) * times
  return Math.min(most, CEILINGS[trigger] ?? Number.POSITIVE_INFINITY)
}

const isSound = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0
