import type { Fact } from '../core/audit.js'
import { sha256 } from '../core/canonical.js'
import { oldDecisions, oldJobs, removeDenials, removeJobs } from '../store/prune.js'
import { forgetEnded, type OldRecord, oldRecords, RECORDS, removeRecords } from '../store/prune-records.js'
import { oldSamples, removeSamples } from '../store/samples.js'
import { listGates } from '../store/standing.js'
import type { World } from '../store/world.js'

/** Jobs of one tenant at once, and those that ended in the same millisecond as the last. The two statements take the engine about 10 ms each (docs/decisions/0012). */
export const ROUND = 500

/** Samples of one tenant at once: of each job there are some five, each a row of one table. */
const SAMPLES = 2000

/** How far each tenant was looked through, by `finished_at`. What was passed over finishes anew, and so later, before it can go. */
export type Places = Map<string, number>

export interface Pruned {
  /** Jobs removed, by tenant. */
  removed: Map<string, number>
  /** Some tenant may have more. */
  more: boolean
}

/**
 * Removes up to ROUND jobs of every tenant that finished longer than `keepMs` ago and to which nothing can happen any more, with
 * their leases, effects, approvals, decisions and payloads. The audit log is not touched.
 * The log says so first, and a fact that cannot be written keeps the jobs: nothing ever goes unsaid. A node that dies in
 * between leaves jobs that were said to go; they are said again when they do, under the same `jobs_hash`.
 */
export async function prune(world: World, keepMs: number, places: Places): Promise<Pruned> {
  const pruned: Pruned = { removed: new Map(), more: false }
  const before = world.clock.now() - keepMs
  for (const { tenant } of await listGates(world.db)) {
    const found = await oldJobs(world.db, tenant, places.get(tenant) ?? 0, before, ROUND)
    const over = found.filter((job) => job.over)
    if (over.length > 0) {
      const ids = over.map((job) => job.job_id)
      await commitFact(world, 'jobs.pruned', tenant, {
        count: ids.length,
        oldest_finished_at: over[0]?.finished_at ?? null,
        newest_finished_at: over.at(-1)?.finished_at ?? null,
        jobs_hash: hashOf(ids),
      })
      pruned.removed.set(tenant, await removeJobs(world.db, tenant, ids, before))
    }
    const last = found.at(-1)
    if (last !== undefined) places.set(tenant, last.finished_at)
    if (found.length >= ROUND) pruned.more = true
  }
  return pruned
}

/** How far each tenant was looked through for denials, by decision id. */
export type DenialPlaces = Map<string, string>

/**
 * The same of submits that were denied, with their inputs: up to ROUND decisions of every tenant, and said before in the same way.
 * @returns whether some tenant may have more
 */
export async function pruneDenials(world: World, keepMs: number, places: DenialPlaces): Promise<boolean> {
  let more = false
  const before = world.clock.now() - keepMs
  for (const { tenant } of await listGates(world.db)) {
    const found = await oldDecisions(world.db, tenant, places.get(tenant) ?? '', before, ROUND)
    const alone = found.filter((decision) => decision.alone)
    if (alone.length > 0) {
      const ids = alone.map((decision) => decision.decision_id)
      await commitFact(world, 'decisions.pruned', tenant, {
        count: ids.length,
        oldest_at: alone[0]?.at ?? null,
        newest_at: alone.at(-1)?.at ?? null,
        decisions_hash: hashOf(ids),
      })
      await removeDenials(world.db, tenant, ids, before)
    }
    const last = found.at(-1)
    if (last !== undefined) places.set(tenant, last.decision_id)
    if (found.length >= ROUND) more = true
  }
  return more
}

/** As long as a person's own sessions, which go when they sign on again; no grant lasts longer. */
const ENDED_KEPT_MS = 90 * 86_400_000

/**
 * The same of grants, stops, absences and revoked sessions that were over that long ago: of each up to ROUND of all tenants. They go whether or
 * not a job that is kept names one: what the door read of it stands in the decision, and what was done in the log.
 * @returns whether there may be more
 */
export async function pruneRecords(world: World, keepMs: number): Promise<boolean> {
  const now = world.clock.now()
  const before = now - keepMs
  const sessionsBefore = now - Math.max(keepMs, ENDED_KEPT_MS)
  const old = await oldRecords(world.db, before, sessionsBefore, ROUND)
  for (const tenant of new Set(old.map((record) => record.tenant))) {
    const own = old.filter((record) => record.tenant === tenant)
    const idsOf = (what: OldRecord['what']) => own.flatMap((record) => (record.what === what ? [record.id] : []))
    await commitFact(world, 'records.pruned', tenant, {
      ...Object.fromEntries(RECORDS.map((what) => [`${what}s`, idsOf(what).length])),
      records_hash: hashOf(own.map(({ what, id }) => `${what} ${id}`)),
    })
    for (const what of RECORDS)
      await removeRecords(world.db, tenant, what, idsOf(what), what === 'session' ? sessionsBefore : before)
  }
  const more = await pruneSamples(world, sessionsBefore)
  return more || RECORDS.some((what) => old.filter((record) => record.what === what).length >= ROUND)
}

/** The same of what rollouts were measured by. No window reaches as far back; who works old evidence out again finds it gone after that. */
async function pruneSamples(world: World, before: number): Promise<boolean> {
  let more = false
  for (const { tenant } of await listGates(world.db)) {
    const { n, oldest_at, newest_at } = await oldSamples(world.db, tenant, before, SAMPLES)
    if (n === 0) continue
    await commitFact(world, 'records.pruned', tenant, { samples: n, oldest_at, newest_at })
    await removeSamples(world.db, tenant, before, n)
    if (n >= SAMPLES) more = true
  }
  return more
}

/** Sessions that expired, and what was said of keys that have ended since, whatever else is kept: they are in the log, and nothing reads them. */
export async function forget(world: World): Promise<void> {
  await forgetEnded(world.db, world.clock.now() - ENDED_KEPT_MS, ROUND)
}

const hashOf = (ids: readonly string[]) => sha256([...ids].sort().join('\n'))

/** In aggregate: an entry for each would make the log grow by what the tables lose. Throws what `record` throws. */
async function commitFact(world: World, kind: Fact['kind'], tenant: string, fields: Partial<Fact>): Promise<void> {
  const fact: Fact = { ...fields, kind, tenant, at: world.clock.now(), actor: 'system:pruner' }
  await world.ledger.record(tenant, [fact])
}
