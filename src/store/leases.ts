import type { Effect, Lease } from '../core/lease.js'
import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

const GET = 'SELECT * FROM leases WHERE tenant = $1 AND lease_id = $2'
const MANY = 'SELECT * FROM leases WHERE tenant = $1 AND lease_id = ANY($2::text[])'
const OF_CLAIM = 'SELECT * FROM leases WHERE tenant = $1 AND principal = $2 AND claim_id = $3'
const OF_JOB = 'SELECT * FROM leases WHERE tenant = $1 AND job_id = $2 ORDER BY attempt'
const ENDED = 'SELECT * FROM leases WHERE ended_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT 200'
const AHEAD = 'SELECT * FROM leases WHERE ended_at IS NULL AND beat_at > $1'
const EFFECTS = 'SELECT * FROM effects WHERE tenant = $1 AND job_id = $2 ORDER BY begun_at, effect_key'
const EFFECTS_OF =
  'SELECT * FROM effects WHERE tenant = $1 AND job_id = ANY($2::text[]) ORDER BY job_id, begun_at, effect_key'

export async function getLease(db: Db, tenant: string, lease_id: string): Promise<Lease | null> {
  return (await db.query<Lease>(GET, [tenant, lease_id]))[0] ?? null
}

export function getLeases(db: Db, tenant: string, ids: readonly string[]): Promise<Lease[]> {
  return db.query<Lease>(MANY, [tenant, textArray(ids)])
}

/** What a claim was answered with, for a repeat of it. */
export function leasesOfClaim(db: Db, tenant: string, principal: string, claim_id: string): Promise<Lease[]> {
  return db.query<Lease>(OF_CLAIM, [tenant, principal, claim_id])
}

export function leasesOfJob(db: Db, tenant: string, job_id: string): Promise<Lease[]> {
  return db.query<Lease>(OF_JOB, [tenant, job_id])
}

/** Live by their row, lost by the clock: expires_at is never past hard_end, so one index serves both ends. */
export function lostLeases(db: Db, now: number): Promise<Lease[]> {
  return db.query<Lease>(ENDED, [now])
}

/** Live leases whose last sign of life lies in the future: the clock was set back. Walks all live leases. */
export function leasesAhead(db: Db, now: number): Promise<Lease[]> {
  return db.query<Lease>(AHEAD, [now])
}

export function effectsOfJob(db: Db, tenant: string, job_id: string): Promise<Effect[]> {
  return db.query<Effect>(EFFECTS, [tenant, job_id])
}

export function effectsOfJobs(db: Db, tenant: string, ids: readonly string[]): Promise<Effect[]> {
  return db.query<Effect>(EFFECTS_OF, [tenant, textArray(ids)])
}
