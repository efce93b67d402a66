import { type Autonomy, burden, rebalanced } from '../core/autonomy.js'
import { getAutonomy, listAutonomy } from '../store/autonomy.js'
import { type Reviews, reviewsSince } from '../store/reviews.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const DAY_MS = 86_400_000

export interface ReviewReport extends Reviews {
  window_ms: number
  burden: ReturnType<typeof burden>
}

/** What waits for people, and how those fare who answer: over the last day unless said. */
export async function reviewReport(world: World, tenant: string, window_ms = DAY_MS): Promise<ReviewReport> {
  const reviews = await reviewsSince(world.db, tenant, world.clock.now() - window_ms)
  return { ...reviews, window_ms, burden: burden(loadOf(reviews)) }
}

const loadOf = ({ pending, median_wait_ms, reviewers }: Reviews) => ({
  pending,
  median_wait_ms,
  reviewers: reviewers.filter(({ answered }) => answered > 0).length,
})

/**
 * Moves the spot check of agents in `assisted` by what reviewers can bear, inside the bounds a person declared, an hour apart. What is
 * high risk, and what a rule asks about, is asked about all the same. Returns those it moved.
 */
export async function rebalanceReviews(world: World): Promise<Autonomy[]> {
  const moved: Autonomy[] = []
  const loads = new Map<string, Reviews>()
  for (const { tenant, agent, stage } of await listAutonomy(world.db)) {
    if (stage !== 'assisted') continue
    const now = world.clock.now()
    const reviews = loads.get(tenant) ?? (await reviewsSince(world.db, tenant, now - DAY_MS))
    loads.set(tenant, reviews)
    const gate = await getGate(world.db, tenant)
    const found = await getAutonomy(world.db, tenant, agent)
    const load = loadOf(reviews)
    const spot_check = found === null ? null : rebalanced(found, load, now)
    if (found === null || spot_check === null || gate === null) continue
    const next: Autonomy = { ...found, spot_check, moved_at: now, updated_at: now, updated_by: 'system:autonomy' }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { autonomy: [next], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
      facts: [
        {
          ...{ kind: 'autonomy.adjusted', tenant, at: now, actor: 'system:autonomy', agent },
          ...{ from_spot_check: found.spot_check, spot_check, least: found.least, most: found.most },
          ...{ burden: burden(load), pending: load.pending, reviewers: load.reviewers },
          ...(load.median_wait_ms === null ? {} : { median_wait_ms: load.median_wait_ms }),
        },
      ],
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) moved.push(next)
  }
  return moved
}
