import { decisionIdOf } from '../core/job.js'
import type { Effect, Lease } from '../core/lease.js'
import type { Db } from '../platform/db/seam.js'
import type { Verdict } from './jobs.js'
import { textArray } from './text-array.js'

type Columns = Pick<
  Lease,
  | 'tenant'
  | 'lease_id'
  | 'job_id'
  | 'attempt'
  | 'principal'
  | 'claim_id'
  | 'granted_at'
  | 'beat_at'
  | 'expires_at'
  | 'progress'
  | 'ended_at'
>
type Made = Pick<Lease, 'topic' | 'worker' | 'effects' | 'heartbeat_ms' | 'hard_end'>
type Ended = Pick<Lease, 'outcome' | 'report_hash' | 'error_class' | 'error_code' | 'error_message' | 'verdict'>

export interface LeaseRow extends Columns {
  /** The rest of the grant, and the decision of the second door about the job as it was asked. */
  made: Made & { decided: Verdict & { job_hash: string } }
  ended: Ended | null
}

const OPEN: Ended = {
  outcome: null,
  report_hash: null,
  error_class: null,
  error_code: null,
  error_message: null,
  verdict: null,
}

export const LEASE_COLUMNS =
  'tenant, lease_id, job_id, attempt, principal, claim_id, granted_at, beat_at, expires_at, made, progress, ended_at, ended'

export function leaseOf(row: LeaseRow): Lease {
  const { made, ended, ...columns } = row
  const { decided: _decided, ...rest } = made
  return { ...columns, ...rest, ...(ended ?? OPEN), decision_id: decisionIdOf(row.lease_id) }
}

export function leaseRow(lease: Lease, decided: LeaseRow['made']['decided']): LeaseRow {
  const { tenant, lease_id, job_id, attempt, principal, claim_id, granted_at, beat_at, expires_at, progress } = lease
  const { topic, worker, effects, heartbeat_ms, hard_end } = lease
  return {
    made: { topic, worker, effects, heartbeat_ms, hard_end, decided },
    ...{ tenant, lease_id, job_id, attempt, principal, claim_id, granted_at, beat_at, expires_at, progress },
    ...leaseEnd(lease),
  }
}

/** What the end of an attempt writes. */
export function leaseEnd(lease: Lease): Pick<LeaseRow, 'tenant' | 'lease_id' | 'ended_at' | 'ended'> {
  const { tenant, lease_id, ended_at, outcome, report_hash, error_class, error_code, error_message, verdict } = lease
  const ended = ended_at === null ? null : { outcome, report_hash, error_class, error_code, error_message, verdict }
  return { tenant, lease_id, ended_at, ended }
}

const L = LEASE_COLUMNS
const GET = `SELECT ${L} FROM leases WHERE tenant = $1 AND lease_id = $2`
const MANY = `SELECT l.* FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT ${L} FROM leases WHERE tenant = $1 AND lease_id = wanted.id OFFSET 0) l`
const OF_CLAIMS = `SELECT l.* FROM json_to_recordset($2::json) AS w(principal text, claim_id text) CROSS JOIN LATERAL (
  SELECT ${L} FROM leases WHERE tenant = $1 AND principal = w.principal AND claim_id = w.claim_id AND ended_at IS NULL OFFSET 0) l`
const ENDED = `SELECT ${L} FROM leases WHERE ended_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT 200`
const AHEAD = `SELECT ${L} FROM leases WHERE ended_at IS NULL AND beat_at > $1`
const EFFECTS = 'SELECT * FROM effects WHERE tenant = $1 AND job_id = $2 ORDER BY begun_at, effect_key'
const EFFECTS_OF = `SELECT e.* FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT * FROM effects WHERE tenant = $1 AND job_id = wanted.id OFFSET 0) e
  ORDER BY e.job_id, e.begun_at, e.effect_key`

const leases = (rows: readonly LeaseRow[]) => rows.map(leaseOf)

/** The row as it is stored, with the decision of the second door. */
export async function getLeaseRow(db: Db, tenant: string, lease_id: string): Promise<LeaseRow | null> {
  return (await db.query<LeaseRow>(GET, [tenant, lease_id]))[0] ?? null
}

export async function getLease(db: Db, tenant: string, lease_id: string): Promise<Lease | null> {
  const row = await getLeaseRow(db, tenant, lease_id)
  return row === null ? null : leaseOf(row)
}

export async function getLeases(db: Db, tenant: string, ids: readonly string[]): Promise<Lease[]> {
  return ids.length === 0 ? [] : leases(await db.query<LeaseRow>(MANY, [tenant, textArray(ids)]))
}

/** The live leases that claims were answered with, for repeats of them. */
export async function leasesOfClaims(
  db: Db,
  tenant: string,
  claims: readonly Pick<Lease, 'principal' | 'claim_id'>[],
): Promise<Lease[]> {
  // Each name once: of a claim that was repeated n times in one look, every repeat got every lease n times.
  const names = new Map(
    claims.map(({ principal, claim_id }) => [JSON.stringify([principal, claim_id]), { principal, claim_id }]),
  )
  const wanted = [...names.values()]
  return wanted.length === 0 ? [] : leases(await db.query<LeaseRow>(OF_CLAIMS, [tenant, JSON.stringify(wanted)]))
}

/** Live by their row, lost by the clock: expires_at is never past the hard end, so one index serves both ends. */
export async function lostLeases(db: Db, now: number): Promise<Lease[]> {
  return leases(await db.query<LeaseRow>(ENDED, [now]))
}

/** Live leases whose last sign of life lies in the future: the clock was set back. Walks all live leases. */
export async function leasesAhead(db: Db, now: number): Promise<Lease[]> {
  return leases(await db.query<LeaseRow>(AHEAD, [now]))
}

export function effectsOfJob(db: Db, tenant: string, job_id: string): Promise<Effect[]> {
  return db.query<Effect>(EFFECTS, [tenant, job_id])
}

export async function effectsOfJobs(db: Db, tenant: string, ids: readonly string[]): Promise<Effect[]> {
  return ids.length === 0 ? [] : db.query<Effect>(EFFECTS_OF, [tenant, textArray(ids)])
}
