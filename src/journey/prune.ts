import { sha256 } from '../core/canonical.js'
import { type OldJob, oldJobs, removeJobs } from '../store/prune.js'
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
      await say(world, tenant, over)
      const ids = over.map((job) => job.job_id)
      pruned.removed.set(tenant, await removeJobs(world.db, tenant, ids, before))
    }
    const last = found.at(-1)
    if (last !== undefined) places.set(tenant, last.finished_at)
    if (found.length >= ROUND) pruned.more = true
  }
  return pruned
}

/** In aggregate: an entry a job would make the log grow by what the tables lose. Throws what `commit` throws. */
async function say(world: World, tenant: string, jobs: readonly OldJob[]): Promise<void> {
  const ids = jobs.map((job) => job.job_id).sort()
  await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    facts: [
      {
        kind: 'jobs.pruned',
        tenant,
        at: world.clock.now(),
        actor: 'system:pruner',
        count: jobs.length,
        oldest_finished_at: jobs[0]?.finished_at ?? null,
        newest_finished_at: jobs.at(-1)?.finished_at ?? null,
        jobs_hash: sha256(ids.join('\n')),
      },
    ],
  })
}
