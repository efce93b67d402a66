import type { Fact } from '../core/audit.js'
import { sha256 } from '../core/canonical.js'
import { oldDecisions, oldJobs, removeDenials, removeJobs } from '../store/prune.js'
import { listGates } from '../store/standing.js'
import type { World } from '../store/world.js'

/** Jobs of one tenant at once, and those that ended in the same millisecond as the last. The two statements take the engine about 10 ms each (docs/decisions/0012). */
export const ROUND = 500

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

const hashOf = (ids: readonly string[]) => sha256([...ids].sort().join('\n'))

/** In aggregate: an entry for each would make the log grow by what the tables lose. Throws what `record` throws. */
async function commitFact(world: World, kind: Fact['kind'], tenant: string, fields: Partial<Fact>): Promise<void> {
  const fact: Fact = { ...fields, kind, tenant, at: world.clock.now(), actor: 'system:pruner' }
  await world.ledger.record(tenant, [fact])
}
