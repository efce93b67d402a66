import type { RolloutDocument } from '../rollout/document.js'
import { mostOf, type Sample, type TriggerName, type TriggerTerms, type Watched, watch } from './trigger.js'

/** What was seen of a rollout's triggers, as it stands. */
export interface Vigil {
  /** The first that is too much for long enough. */
  tripped: { trigger: TriggerName; reason: string; tripped_at: number } | null
  /** Triggers of which nothing is seen, each with since when. */
  blind: Partial<Record<TriggerName, number>>
  /** Of which the newest look says too much, though not for long enough yet. */
  breaching: TriggerName[]
  /** Of which the newest look says that all is well: what was before it counts no more. */
  clear: TriggerName[]
}

/**
 * @param series by trigger, what was seen
 * @param since when the rollout began: nobody looked before
 */
export function keepVigil(
  triggers: readonly TriggerTerms[],
  series: Partial<Record<TriggerName, readonly Sample[]>>,
  since: number,
  now: number,
): Vigil {
  const vigil: Vigil = { tripped: null, blind: {}, breaching: [], clear: [] }
  for (const terms of triggers) {
    const { trigger } = terms
    const seen = series[trigger] ?? []
    const watched = watch(terms, seen, now)
    if (watched.state === 'clear') vigil.clear.push(trigger)
    if (watched.state === 'breaching') vigil.breaching.push(trigger)
    if (watched.state === 'blind')
      vigil.blind[trigger] = seen.reduce((last, { at }) => Math.max(last, Math.min(at, now)), since)
    const { tripped_at } = watched
    if (tripped_at === null || (vigil.tripped !== null && vigil.tripped.tripped_at <= tripped_at)) continue
    vigil.tripped = { trigger, reason: reasonOf(terms, seen, watched), tripped_at }
  }
  return vigil
}

/** The look that tripped it, in figures. */
function reasonOf(terms: TriggerTerms, seen: readonly Sample[], found: Watched): string {
  const { trigger, rule, times, limit, floor, for_ms } = terms
  const look = seen.find(({ at, value }) => at === found.tripped_at && value !== null)
  const value = round(look?.value ?? 0)
  const lasted = for_ms === 0 ? '' : ` for ${for_ms / 60_000} min`
  if (rule === 'expired') return `${trigger}: expired at ${new Date(value).toISOString()}`
  if (rule === 'over') return `${trigger}: ${value} is over ${limit}${lasted}`
  const baseline = Math.max(look?.baseline ?? 0, floor)
  const most = look === undefined ? null : mostOf(terms, look)
  if (most !== null && most < baseline * times)
    return `${trigger}: ${value} is over ${most}, whatever the baseline${lasted}`
  return `${trigger}: ${value} is over ${times} × ${round(baseline)}${lasted}`
}

const round = (value: number) => Math.round(value * 1e6) / 1e6

/** Nothing is seen for so long in quiet hours too, but then somebody should know. */
export const BLIND_MS = 600_000

/**
 * Whether nothing goes on by itself while this trigger sees nothing. Where there is nothing that it could see it holds nothing: of a candidate
 * without traffic, against a stable version that does not run, or of replays that no gate of this rollout asks for.
 */
export function holdsWhileBlind({ phases, subject }: RolloutDocument, phase: number, terms: TriggerTerms): boolean {
  const share_bp = phases[phase]?.share_bp ?? 0
  if (terms.rule === 'over_baseline')
    return share_bp > 0 && (terms.floor > 0 || (subject.stable !== null && share_bp < 10_000))
  if (terms.trigger !== 'replay_bypass' && terms.trigger !== 'replay_duplicate') return true
  return phases.some(({ gate }) => gate.checks.some(({ metric }) => metric.startsWith('replay_')))
}
