import type { Job } from '../core/job.js'
import type { Lease } from '../core/lease.js'

/** About 2 KB each; a node with more leases out reads the rest again. */
const KEPT = 4096

/**
 * What this node has just leased, so that a report that comes back here needs no reading: three queries less for each. It may be
 * out of date, and that is harmless: the commit carries the job's version, and effects, cancels and lost leases all move it.
 * Only first attempts are kept; a later one may have effects of those before it.
 */
export class Granted {
  readonly #kept = new Map<string, { lease: Lease; job: Job }>()

  add(lease: Lease, job: Job): void {
    if (lease.attempt > 1) return
    this.#kept.set(lease.lease_id, { lease, job })
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value as string)
  }

  /** Once: whoever loses with it reads what is so. */
  take(lease_id: string): { lease: Lease; job: Job } | null {
    const found = this.#kept.get(lease_id) ?? null
    this.#kept.delete(lease_id)
    return found
  }
}
