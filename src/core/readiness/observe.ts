import type { Approval } from '../approval.js'
import { parseEntry } from '../audit.js'
import { boundHash, grantHash } from '../binding.js'
import { fold, type Job, LIFECYCLE } from '../job.js'
import type { Json } from '../json.js'
import { ROTATE_MS } from '../key.js'
import { isOwn } from '../policy/change.js'
import type { Kind } from '../principal.js'
import type {
  ApprovalFacts,
  CostFacts,
  CredentialFacts,
  Doors,
  EgressFacts,
  FailureFacts,
  OutputFacts,
  RecordFacts,
  SubmitterFact,
  Wrong,
} from './facts.js'

/*
 * From rows to facts. Rows are believed in nothing that can be worked out from them again.
 */

/** Wrong rows that are kept; the count of what was looked at stands beside them. */
const MOST_WRONG = 20
/** What drills work on unless somebody names a topic; another below `job.drill.` is somebody's real work. */
const DRILL_TOPIC = 'job.drill.effect'
/** What the plane asks for in its own name, as whichever agent: no credential of anybody's is behind it. */
const PLANE = /^system:/
/** What the plane does itself, and what drills play. */
export const isPlayed = (topic: string) => isOwn(topic) || topic === DRILL_TOPIC

export interface DoorJob {
  job_id: string
  agent: string
  requested_by: string
  topic: string
  created_at: number
  decision: string | null
  snapshot: string | null
  decided_at: number | null
}

const LETS_IN = ['ALLOW', 'ALLOW_WITH_CONSTRAINTS', 'REQUIRE_APPROVAL']

export function submitDoor(jobs: readonly DoorJob[]): Doors {
  const wrong = jobs.flatMap(({ job_id, decision, snapshot, decided_at, created_at }): Wrong[] => {
    if (decision === null || snapshot === null) return [{ id: job_id, why: 'no decision' }]
    if (!LETS_IN.includes(decision)) return [{ id: job_id, why: `was decided ${decision}` }]
    return decided_at === null || decided_at > created_at
      ? [{ id: job_id, why: 'was decided after it was stored' }]
      : []
  })
  const [newest_at, oldest_at] = [jobs[0]?.created_at ?? null, jobs.at(-1)?.created_at ?? null]
  return { sampled: jobs.length, newest_at, oldest_at, wrong: wrong.slice(0, MOST_WRONG) }
}

export interface DoorLease {
  lease_id: string
  granted_at: number
  topic: string
  decision: string | null
  snapshot: string | null
  /** Whether a list of hosts bound it. */
  hosts: boolean
  outcome: string | null
  error_class: string | null
  /** Of its job. */
  rollout_id: string | null
  /** Of a policy rollout, the snapshot that may decide beside the active one; null of any other, and of none. */
  candidate: string | null
  risk_tags: string[]
}

/** A decision and an activation that cross each other are decided by the gate; their clocks may say it the other way round. */
const CROSSING_MS = 60_000

/** @param activated when each snapshot became active last */
export function dispatchDoor(leases: readonly DoorLease[], activated: ReadonlyMap<string, number>): Doors {
  const instants = [...activated.values()].sort((a, b) => a - b)
  const wrong = leases.flatMap((lease): Wrong[] => {
    const why = leaseFault(lease, activated, instants)
    return why === null ? [] : [{ id: lease.lease_id, why }]
  })
  const [newest_at, oldest_at] = [leases[0]?.granted_at ?? null, leases.at(-1)?.granted_at ?? null]
  return { sampled: leases.length, newest_at, oldest_at, wrong: wrong.slice(0, MOST_WRONG) }
}

function leaseFault(
  { decision, snapshot, granted_at, candidate }: DoorLease,
  activated: ReadonlyMap<string, number>,
  instants: readonly number[],
): string | null {
  if (decision === null || snapshot === null) return 'no decision'
  if (!LETS_IN.includes(decision)) return `was decided ${decision}`
  if (snapshot === candidate) return null
  const since = activated.get(snapshot)
  if (since === undefined) return `decided under ${snapshot.slice(0, 7)}, which was never active`
  const next = instants.find((at) => at > since)
  const isStale = next !== undefined && next < granted_at - CROSSING_MS
  return isStale ? `decided under ${snapshot.slice(0, 7)} after another was active` : null
}

/** The built-in worker's calls to the outside. */
export const EGRESS_TOPIC = 'job.integrations.call'

export function egressOf(leases: readonly DoorLease[]): EgressFacts {
  const real = leases.filter(({ topic }) => !isPlayed(topic))
  const open = real.filter(({ hosts }) => !hosts)
  const isCall = ({ topic, risk_tags }: DoorLease) => topic === EGRESS_TOPIC || risk_tags.includes('egress')
  return {
    leases: real.length,
    unbound: open
      .filter(isCall)
      .slice(0, MOST_WRONG)
      .map(({ lease_id, topic }) => ({ id: lease_id, why: topic })),
    unlisted: [...new Set(open.filter((lease) => !isCall(lease)).map(({ topic }) => topic))].sort(),
    newest_at: real[0]?.granted_at ?? null,
  }
}

export function failuresOf(leases: readonly DoorLease[]): FailureFacts {
  const failed = (error_class: string) =>
    leases.filter((lease) => lease.outcome === 'failed' && lease.error_class === error_class).length
  return {
    leases: leases.length,
    transient: failed('transient'),
    terminal: failed('terminal'),
    lost: leases.filter(({ outcome }) => outcome === 'lost').length,
    newest_at: leases[0]?.granted_at ?? null,
  }
}

export interface SampledApproval {
  approval: Approval
  /** Null where it is not the one that its job goes by now: then what it was shown is not in the row any more. */
  job: { effective: Job['effective']; job_hash: string | null } | null
}

/** Each hash is worked out again, and nobody said yes to what they asked for. */
export function approvalsOf(sample: readonly SampledApproval[], approvers: number): ApprovalFacts {
  const wrong = sample.flatMap(({ approval, job }): Wrong[] => {
    const why = approvalFault(approval, job)
    return why === null ? [] : [{ id: approval.approval_id, why }]
  })
  return {
    sampled: sample.length,
    newest_at: sample[0]?.approval.requested_at ?? null,
    wrong: wrong.slice(0, MOST_WRONG),
    answered: sample.filter(({ approval }) => approval.answers.length > 0).length,
    approvers,
  }
}

function approvalFault(approval: Approval, job: SampledApproval['job']): string | null {
  const { snapshot, job_hash, rules, requested_by, raised_by, agent, answers } = approval
  const barred = [requested_by, raised_by, agent]
  if (answers.some(({ answer, by }) => answer === 'approve' && barred.includes(by)))
    return 'was approved by who asked for it'
  if (snapshot === '' || job_hash === '') return 'names no policy or no job'
  if (job === null) return null
  if (job.job_hash !== job_hash) return 'is of another job hash than its job has'
  const of = {
    job_hash,
    rules,
    constraints: approval.constraints as Json,
    approval: approval.specs as unknown as Json,
    effective: job.effective as unknown as Json,
  }
  if (boundHash(of) !== approval.bound_hash || grantHash({ ...of, snapshot }) !== approval.grant_hash)
    return 'binds something else'
  return null
}

export interface FinishedJob {
  job: Job
  /** Names of the tiles that speak of it. */
  tiles: string
}

export interface EndedJob {
  job_id: string
  status: string
  verdict: string | null
  finished_at: number
  has_result: boolean
  has_ptr: boolean
  cost: number | null
}

/** What a finished job's entries do not say of it; empty where its row follows from them. */
function recordFault(job: Job, entries: readonly Record<string, unknown>[]): string | null {
  const own = entries.filter((entry) => entry.job_id === job.job_id)
  if (!own.some(({ kind, decision_id }) => kind === 'job.submitted' && typeof decision_id === 'string'))
    return 'no entry of its request and decision'
  if (
    job.approval_id !== null &&
    !own.some(({ kind, approval_id }) => String(kind).startsWith('approval.') && approval_id === job.approval_id)
  )
    return 'no entry of its approval'
  const row = fold(own)
  const other = LIFECYCLE.find((column) => row[column] !== job[column])
  return other === undefined ? null : `its entries say another ${other}`
}

/**
 * @param lines of every tile that any of them names; null of one whose body is not to be had here
 */
export function recordOf(
  finished: readonly FinishedJob[],
  lines: ReadonlyMap<string, readonly string[] | null>,
  ends: readonly EndedJob[],
  log: Pick<RecordFacts, 'head' | 'waiting_since'>,
): RecordFacts {
  let unreadable = 0
  const wrong = finished.flatMap(({ job, tiles }): Wrong[] => {
    const names = tiles.split(' ').filter((name) => name !== '')
    if (names.some((name) => lines.get(name) === null)) {
      unreadable++
      return []
    }
    const entries = names.flatMap((name) => lines.get(name) ?? []).map((line) => parseEntry(line) ?? {})
    const why = recordFault(job, entries)
    return why === null ? [] : [{ id: job.job_id, why }]
  })
  const results = ends.filter(({ has_result }) => has_result)
  return {
    sampled: finished.length,
    newest_at: finished[0]?.job.finished_at ?? null,
    wrong,
    unreadable,
    newest_run: finished[0]?.job.run_id ?? null,
    results: results.length,
    pointed: results.filter(({ has_ptr }) => has_ptr).length,
    ...log,
  }
}

export function outputOf(ends: readonly EndedJob[]): OutputFacts {
  const screened = ends.filter(({ has_ptr, has_result, verdict }) => has_ptr || has_result || verdict !== null)
  const of = (word: string) => screened.filter(({ verdict }) => verdict === word).length
  const wrong = screened
    .filter(({ verdict }) => verdict === null)
    .map(({ job_id, status }) => ({ id: job_id, why: status }))
  return {
    sampled: screened.length,
    ALLOW: of('ALLOW'),
    REDACT: of('REDACT'),
    QUARANTINE: of('QUARANTINE'),
    wrong: wrong.slice(0, MOST_WRONG),
    newest_at: screened[0]?.finished_at ?? null,
  }
}

export function costsOf(ends: readonly EndedJob[]): CostFacts {
  const told = ends.flatMap(({ cost }) => cost ?? [])
  return { sampled: ends.length, told: told.length, cost: told.reduce((sum, each) => sum + each, 0) }
}

export interface LiveKey {
  key_id: string
  principal: string
  role: SubmitterFact['role']
  /** Null where the directory does not know its principal. */
  kind: Kind | null
  scoped: boolean | null
  act_as: string[]
  created_at: number
  rotated: boolean
}

/** @param kinds of those who asked for work and may have no key any more */
export function credentialsOf(
  keys: readonly LiveKey[],
  jobs: readonly DoorJob[],
  kinds: ReadonlyMap<string, Kind>,
  rotation: Pick<CredentialFacts, 'rotated' | 'rotated_at'>,
  at: number,
): CredentialFacts {
  const byPrincipal = new Map<string, LiveKey[]>()
  for (const key of keys) byPrincipal.set(key.principal, [...(byPrincipal.get(key.principal) ?? []), key])
  const asked = new Map<string, Set<string>>()
  for (const { requested_by, agent, topic } of jobs)
    if (!isPlayed(topic) && !PLANE.test(requested_by))
      asked.set(requested_by, (asked.get(requested_by) ?? new Set()).add(agent))
  const submitting = [...new Set([...byPrincipal.keys(), ...asked.keys()])]
    .sort()
    .flatMap((principal): SubmitterFact[] => {
      const own = byPrincipal.get(principal) ?? []
      const kind = own[0]?.kind ?? kinds.get(principal) ?? 'service'
      const others = [...own.flatMap(({ act_as }) => act_as), ...(asked.get(principal) ?? [])].filter(
        (agent) => agent !== principal,
      )
      const agents = [...new Set([...(kind === 'agent' ? [principal] : []), ...others])].sort()
      if (agents.length === 0) return []
      const scoped = own.every((key) => key.scoped === true)
      return [{ principal, kind, role: own[0]?.role ?? 'agent', keys: own.length, agents, scoped }]
    })
  const overdue = keys.filter(({ created_at, rotated }) => !rotated && created_at <= at - ROTATE_MS)
  return {
    submitting,
    keys: keys.length,
    overdue: overdue.map(({ key_id, principal }) => `${key_id} of ${principal}`),
    oldest_at: keys[0]?.created_at ?? null,
    ...rotation,
  }
}
