import type { DrillName } from '../drill.js'
import type { Reading } from './check.js'
import { type GateMetricName, metricOf } from './metric.js'
import type { ReviewStanding } from './review.js'

/** What the newest replay of a candidate found. */
export interface ReplayStanding {
  scenarios: number
  critical_bypasses: number
  unsafe_duplicates: number
  at: number
  valid_until: number
  replay_id: string
}

export interface Drilled {
  passed: boolean
  at: number
  valid_until: number
  drill_id: string
}

/** What stands at an instant, whatever the traffic: null where nobody ever looked. */
export interface Standings {
  drills: Partial<Record<DrillName, Drilled | null>>
  replay: ReplayStanding | null
  reviews: ReviewStanding | null
}

const DRILL_OF: Partial<Record<GateMetricName, DrillName>> = {
  deny_drill_passed: 'deny',
  approval_drill_passed: 'approval',
  worker_crash_drill_passed: 'worker-crash',
  rollback_drill_passed: 'rollback',
  incident_replay_drill_passed: 'incident-replay',
  stop_drill_passed: 'stop',
  restore_drill_passed: 'restore',
}
const REPLAY_OF: Partial<Record<GateMetricName, 'scenarios' | 'critical_bypasses' | 'unsafe_duplicates'>> = {
  replay_scenarios: 'scenarios',
  replay_critical_bypasses: 'critical_bypasses',
  replay_unsafe_duplicates: 'unsafe_duplicates',
}

/** Whether it is found by a drill, a replay or a review, and not by counting work. */
export const isStanding = (metric: GateMetricName): boolean => ['count', 'flag'].includes(metricOf(metric).form)

/** What drills, replays and reviews say to these metrics; of one that nobody looked into that it is not known. */
export function standingReadings(
  metrics: readonly GateMetricName[],
  { drills, replay, reviews }: Standings,
  rollout_id: string,
): Reading[] {
  return metrics.filter(isStanding).map((metric): Reading => {
    const drill = DRILL_OF[metric]
    const unknown = (query: string, why: string): Reading => ({ kind: 'unknown', metric, query, why })
    if (drill !== undefined) {
      const found = drills[drill] ?? null
      if (found === null) return unknown(`drills/${drill}`, `the ${drill} drill was never run`)
      const { at, valid_until, passed: value, drill_id } = found
      return { kind: 'standing', metric, query: `drills/${drill} ${drill_id}`, at, valid_until, value }
    }
    const counted = REPLAY_OF[metric]
    if (counted !== undefined) {
      if (replay === null) return unknown('replays', 'nothing was replayed for this candidate')
      const { at, valid_until, replay_id } = replay
      return { kind: 'standing', metric, query: `replays/${replay_id}`, at, valid_until, value: replay[counted] }
    }
    const query = `rollouts/${rollout_id}/reviews`
    if (metric !== 'clean_weekly_reviews') return unknown('none', 'nothing here says it')
    if (reviews === null) return unknown(query, 'no week was reviewed')
    const { at, valid_until, clean_weekly_reviews: value } = reviews
    return { kind: 'standing', metric, query, at, valid_until, value }
  })
}
