import type { Waiter } from '../core/dispatch.js'
import type { Json } from '../core/json.js'
import type { Lease } from '../core/lease.js'
import { type Granted, leasedJob } from '../core/leased.js'
import { getJobs } from './jobs.js'
import { effectsOfJobs, leasesOfClaims } from './leases.js'
import { jobsWithin, loadValues, smallTexts } from './payloads.js'
import type { World } from './world.js'

/** A lease as its worker gets it. */
type LeasedJob = ReturnType<typeof leasedJob>

/** Recorded effects sent along with a lease, for all leases told of together: 280 results of 2 MB took a node's memory. */
const EFFECTS_SHOWN = { count: 1000, bytes: 8192 }

/**
 * Payload text of all that is told again in one look, four times what one look grants. Leases past it run out, and their jobs are
 * tried again: claims that one name was used for, topic after topic, made an answer of 86 MB.
 */
const TOLD_BYTES = 64 * 1024 * 1024

/** By what a claim is known again. */
interface Repeat extends Pick<Waiter, 'principal' | 'claim_id'> {
  tenant: string
  topics: readonly string[]
}

/** What this claim was given already: the answer to a repeat, so that a lost answer loses no lease. */
export async function leasesFor(world: World, claim: Repeat): Promise<LeasedJob[]> {
  return (await leasesForAll(world, claim.tenant, [claim])).get(claim) ?? []
}

/** Of these claims of one tenant, those that were given something already. Read together: a node that comes back meets all its claims at once. */
export async function leasesForAll<Of extends Repeat>(
  world: World,
  tenant: string,
  claims: readonly Of[],
): Promise<Map<Of, LeasedJob[]>> {
  const leases = await leasesOfClaims(world.db, tenant, claims)
  const found = new Map<Of, LeasedJob[]>()
  if (leases.length === 0) return found
  const told = new Map((await grantedBefore(world, tenant, leases)).map((each) => [each.lease, each]))
  const byName = grouped(leases, nameOf)
  for (const claim of claims) {
    // By topic too: another key of this worker may be bound to others.
    const own = (byName.get(nameOf(claim)) ?? []).filter(({ topic }) => claim.topics.includes(topic))
    if (own.length > 0)
      found.set(
        claim,
        own.flatMap(({ lease_id }) => told.get(lease_id) ?? []),
      )
  }
  return found
}

/** Leases that were granted before, with what they are about. */
async function grantedBefore(world: World, tenant: string, leases: readonly Lease[]): Promise<LeasedJob[]> {
  const wanted = leases.map((l) => l.job_id)
  const near = await jobsWithin(world.db, tenant, wanted, TOLD_BYTES)
  const read = await getJobs(
    world.db,
    tenant,
    wanted.filter((id) => near.has(id)),
  )
  const jobs = new Map(read.map((j) => [j.job_id, j]))
  const values = await loadValues(
    world.db,
    tenant,
    read.flatMap((j) => [j.input_ptr, j.context_ptr]),
  )
  const value = (ptr: string | null): Json => (ptr === null ? null : (values.get(ptr) ?? null))
  const granted = leases.flatMap((lease): Granted[] => {
    const job = jobs.get(lease.job_id)
    return job === undefined ? [] : [{ lease, job, input: value(job.input_ptr), context: value(job.context_ptr) }]
  })
  return asTold(world, tenant, granted)
}

/** Leases as the worker gets them, with the committed effects of earlier attempts. */
export async function asTold(world: World, tenant: string, granted: readonly Granted[]): Promise<LeasedJob[]> {
  const later = granted
    .filter(({ lease, job }) => lease.attempt > 1 || job.budget_from > 0)
    .map(({ job }) => job.job_id)
  const committed =
    later.length === 0 ? [] : (await effectsOfJobs(world.db, tenant, later)).filter((e) => e.status === 'committed')
  const texts = await smallTexts(
    world.db,
    tenant,
    committed.map((e) => (e.verdict === 'QUARANTINE' ? null : e.result_ptr)),
    EFFECTS_SHOWN,
  )
  // What is left out is not forgotten: a worker that begins it is answered with what was recorded.
  const effects = committed.filter(
    (e) => e.verdict === 'QUARANTINE' || e.result_ptr === null || texts.has(e.result_ptr),
  )
  const byJob = grouped(effects, ({ job_id }) => job_id)
  const values = new Map([...texts].map(([ptr, text]) => [ptr, JSON.parse(text) as Json]))
  const now = world.clock.now()
  return granted.map((each) => leasedJob(each, byJob.get(each.job.job_id) ?? [], values, now))
}

/** `Map.groupBy` came after Node 20. */
function grouped<Of>(all: readonly Of[], by: (each: Of) => string): Map<string, Of[]> {
  const groups = new Map<string, Of[]>()
  for (const each of all) {
    const group = groups.get(by(each))
    if (group === undefined) groups.set(by(each), [each])
    else group.push(each)
  }
  return groups
}

const nameOf = ({ principal, claim_id }: Pick<Lease, 'principal' | 'claim_id'>) => JSON.stringify([principal, claim_id])
