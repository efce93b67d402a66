import type { Fact } from '../audit.js'
import type { Compensation, Recovery, Standing } from './compensation.js'

/** Who takes back by itself. */
export const TAKER = 'system:rollouts'

/** A step of a compensation, with what the log says of it. */
export interface Undone {
  row: Compensation
  facts: Fact[]
}

const fact = (kind: Fact['kind'], row: Compensation, at: number, actor: string, more: Partial<Fact> = {}): Fact => ({
  kind,
  tenant: row.tenant,
  at,
  actor,
  ...more,
  rollout_id: row.rollout_id,
  job_id: row.job_id,
  run_id: row.run_id,
  agent: row.agent,
  topic: row.topic,
  effect_key: row.effect_key,
})

const moved = (row: Compensation, patch: Partial<Compensation>): Compensation => ({
  ...row,
  ...patch,
  version: row.version + 1,
})

/** It became a job, in the commit that made that. */
export function asked(
  row: Compensation,
  job: { job_id: string; status: string; decision: string; decision_id: string; approval_id?: string },
  at: number,
): Undone {
  const { job_id: comp_job_id, decision_id, decision, approval_id } = job
  const waits = job.status === 'pending_approval'
  const next = moved(row, {
    status: 'asked',
    reason: waits ? 'pending_approval' : null,
    next_at: null,
    tries: row.tries + 1,
    comp_job_id,
    decision_id,
    asked_at: at,
    ended_at: null,
  })
  const about = { compensation_job_id: comp_job_id, decision, decision_id, tries: next.tries, waits_for_people: waits }
  const more = approval_id === undefined ? about : { ...about, approval_id }
  return { row: next, facts: [fact('rollout.compensation_asked', next, at, TAKER, more)] }
}

/** It is not asked again by itself. */
export function blocked(row: Compensation, reason: string, at: number, more: Partial<Fact> = {}): Undone {
  const next = moved(row, {
    status: 'blocked',
    reason,
    next_at: null,
    ended_at: at,
    ...(typeof more.decision_id === 'string' ? { decision_id: more.decision_id } : {}),
  })
  const about = { ...more, ...ofJob(next), reason, waits: false }
  return { row: next, facts: [fact('rollout.compensation_blocked', next, at, TAKER, about)] }
}

/** Something that passes keeps it back. Said once for each reason; without a fact it is only asked later. */
export function waiting(row: Compensation, reason: string, next_at: number, at: number): Undone {
  const next = moved(row, { reason, next_at, tries: row.tries + 1 })
  if (row.reason === reason) return { row: next, facts: [] }
  return { row: next, facts: [fact('rollout.compensation_blocked', next, at, TAKER, { reason, waits: true })] }
}

/** What its job has come to; null where that is known. */
export function followed(row: Compensation, standing: Standing, at: number): Undone | null {
  if (standing.kind === 'done') {
    const next = moved(row, { status: 'done', reason: null, ended_at: at })
    return { row: next, facts: [fact('rollout.compensated', next, at, TAKER, ofJob(next))] }
  }
  if (standing.kind === 'failed') return row.status === 'blocked' ? null : blocked(row, standing.reason, at)
  if (row.status === 'asked' && row.reason === standing.reason) return null
  const next = moved(row, { status: 'asked', reason: standing.reason, ended_at: null })
  // People are waited for: a question that came up later, or a doubt that only they can end.
  const isNews = standing.reason !== null
  const about = { ...ofJob(next), reason: standing.reason, waits: true }
  return { row: next, facts: isNews ? [fact('rollout.compensation_blocked', next, at, TAKER, about)] : [] }
}

/** Its effect did not happen: somebody said so. */
export function voided(row: Compensation, at: number): Undone {
  return { row: moved(row, { status: 'void', reason: 'not_happened', ended_at: at }), facts: [] }
}

/** Somebody wants it asked again; they do not approve it. */
export function retried(row: Compensation, by: string, at: number): Undone {
  const next = moved(row, {
    status: 'registered',
    reason: null,
    next_at: null,
    tries: 0,
    raised_by: by,
    barred: [...new Set([...row.barred, by])],
    ended_at: null,
  })
  return { row: next, facts: [fact('rollout.compensation_retried', next, at, by, { was: row.reason })] }
}

/** Somebody says that it was done by hand, or need not be. */
export function settled(row: Compensation, by: string, note: string, at: number): Undone {
  const next = moved(row, { status: 'settled', reason: null, next_at: null, ended_at: at, settled_by: by })
  return { row: next, facts: [fact('rollout.compensation_settled', next, at, by, { note, was: row.reason })] }
}

const ofJob = ({ comp_job_id }: Compensation) => (comp_job_id === null ? {} : { compensation_job_id: comp_job_id })

/** What is left of a candidate's work, as it was looked at. */
export interface Left {
  /** Leases that run. */
  running: number
  /** Jobs that wait, or of which it is not known whether what they began has happened. */
  waiting: number
  /** Jobs that were denied in this look. */
  refused: number
}

/** How far the rollback has come; null where nothing is new. @param open compensations that are neither done nor settled */
export function recover(
  before: Recovery,
  { running, waiting, refused }: Left,
  open: number,
  counts: ReadonlyMap<string, number>,
  at: number,
): { row: Recovery; facts: Fact[] } | null {
  const { tenant, rollout_id, rolled_back_at, rolled_back_by } = before
  const about = (kind: Fact['kind'], more: Partial<Fact>): Fact => ({
    kind,
    tenant,
    at,
    actor: TAKER,
    rollout_id,
    ...more,
  })
  const took_ms = Math.max(0, at - rolled_back_at)
  const row: Recovery = { ...before, version: before.version + 1, refused: before.refused + refused }
  const facts: Fact[] = []
  if (row.leases_ended_at === null && running === 0) {
    row.leases_ended_at = at
    facts.push(about('rollout.leases_ended', { leases: row.leases.length, refused: row.refused, took_ms }))
  }
  const isOver = running === 0 && waiting === 0 && open === 0
  row.recovered_at = isOver ? (before.recovered_at ?? at) : null
  if (isOver && before.recovered_at === null) {
    const [done = 0, settled = 0, nothing = 0] = ['done', 'settled', 'void'].map((word) => counts.get(word) ?? 0)
    facts.push(about('rollout.recovered', { rolled_back_by, took_ms, compensated: done, settled, void: nothing }))
  }
  const isSame = facts.length === 0 && refused === 0 && row.recovered_at === before.recovered_at
  return isSame ? null : { row, facts }
}
