/** A worker's fenced, timed right to one attempt. Instants are epoch ms; the row stays as the attempt's history. */
export interface Lease {
  tenant: string
  lease_id: string
  job_id: string
  attempt: number
  topic: string
  worker: string
  principal: string
  claim_id: string
  effects: 'recorded' | 'none'
  heartbeat_ms: number
  granted_at: number
  beat_at: number
  /** Lost when no heartbeat has come by then. */
  expires_at: number
  /** The attempt's timeout; heartbeats never move it. */
  hard_end: number
  decision_id: string
  ended_at: number | null
  outcome: string | null
  report_hash: string | null
  error_class: string | null
  error_code: string | null
  error_message: string | null
  verdict: string | null
  progress: string | null
}

/** Three heartbeats may be missed before a lease counts as lost: one lost packet or one pause must not cost an attempt. */
export const MISSED_BEATS = 3

export function expiryAfterBeat(lease: Pick<Lease, 'heartbeat_ms' | 'hard_end'>, now: number): number {
  return Math.min(lease.hard_end, now + lease.heartbeat_ms * MISSED_BEATS)
}

/** The hard end is the attempt's timeout plus nothing: a worker gets durations and aborts itself before it. */
export function isLost(lease: Pick<Lease, 'expires_at' | 'hard_end'>, now: number): boolean {
  return now >= lease.expires_at || now >= lease.hard_end
}

/** One outside action within an attempt, recorded before and after. */
export interface Effect {
  tenant: string
  job_id: string
  effect_key: string
  version: number
  status: 'begun' | 'committed' | 'not_happened'
  lease_id: string
  attempt: number
  begun_at: number
  hard_end: number
  ended_at: number | null
  result_ptr: string | null
  verdict: string | null
  settled_by: string | null
  late: boolean
}

/** Under this much time left an effect may not begin: what starts in the last 2 s is what ends in doubt. */
export const EFFECT_FLOOR_MS = 2000
