/**
 * Steps of one tenant in a commit while others ask too: one of 30 takes three times one of a single step, and who asks little waits
 * for the end of the one under way. 16 gave a small tenant nothing more and took a quarter of the throughput of a loud one that
 * took all it could get; 32 takes 6 %.
 */
export const SHARE = 32
/** Tenants that asked in turn within this time ask beside one another. */
const BESIDE_MS = 1_000
/** Behind a commit with so many steps of one tenant, those of others are sent at once and by themselves: 2 ms instead of 6. */
const CROWD = 8

export const NOBODY: ReadonlySet<string> = new Set()

/** Who is in a commit that is full of one tenant's steps; nobody where it is not. */
export function crowdOf(tenants: readonly string[]): ReadonlySet<string> {
  const counts = new Map<string, number>()
  for (const tenant of tenants) counts.set(tenant, (counts.get(tenant) ?? 0) + 1)
  return Math.max(...counts.values()) < CROWD ? NOBODY : new Set(counts.keys())
}

/** Whether more than one tenant asks, without keeping a list of them. */
export class Turns {
  #tenant = ''
  /** When the last asker became another one, and the time before that. */
  #changed = Number.NEGATIVE_INFINITY
  #before = Number.NEGATIVE_INFINITY

  saw(tenant: string, at: number): void {
    if (tenant === this.#tenant) return
    this.#tenant = tenant
    this.#before = this.#changed
    this.#changed = at
  }

  /** One came, another came, and the first came again. */
  areBeside(now: number): boolean {
    return now - this.#before < BESIDE_MS
  }
}
