import type { Fact } from '../core/audit.js'
import { backlogChange } from '../core/backlog.js'
import { backlogsOf, beginBacklogs, endBacklogs } from '../store/backlogs.js'
import type { TenantCount } from '../store/census.js'
import type { World } from '../store/world.js'

/**
 * Says in the log which queues of a tenant became backlogged and which recovered since it was last said; from there subscribers hear
 * of it. The entries come first: whoever dies in between leaves a change that is said twice, never one that is not said. Throws what
 * `record` throws.
 * @param waiting open claims by topic, as far as this node knows
 */
export async function noteBacklogs(
  world: World,
  { tenant, topics, more }: Pick<TenantCount, 'tenant' | 'topics' | 'more'>,
  waiting: ReadonlyMap<string, number>,
): Promise<Fact[]> {
  const at = world.clock.now()
  const counted = new Map(topics.map((each) => [each.topic, each]))
  const known = new Map((await backlogsOf(world.db, tenant)).map(({ topic, since }) => [topic, since]))
  const facts: Fact[] = []
  for (const topic of new Set([...counted.keys(), ...known.keys()])) {
    // Not every topic was counted: of one that is not among them nobody knows whether its queue is empty.
    if (more && !counted.has(topic)) continue
    const since = known.get(topic) ?? null
    const { depth = 0, oldest_ms = 0 } = counted.get(topic) ?? {}
    const kind = backlogChange(since, oldest_ms)
    if (kind === null) continue
    const waiting_workers = waiting.get(topic) ?? 0
    const lasted_ms = since === null ? undefined : Math.max(0, at - since)
    facts.push({ kind, tenant, at, actor: 'system:backlogs', topic, depth, oldest_ms, waiting_workers, lasted_ms })
  }
  if (facts.length === 0) return []
  await world.ledger.record(tenant, facts)
  const named = (kind: Fact['kind']) => facts.flatMap((fact) => (fact.kind === kind ? [String(fact.topic)] : []))
  await beginBacklogs(
    world.db,
    tenant,
    named('queue.backlogged').map((topic) => ({ topic, since: at })),
  )
  await endBacklogs(world.db, tenant, named('queue.recovered'))
  return facts
}
