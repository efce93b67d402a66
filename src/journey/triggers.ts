import type { Fact } from '../core/audit.js'
import type { Sample, TriggerName } from '../core/gates/trigger.js'
import { BLIND_MS, keepVigil, type Vigil } from '../core/gates/vigil.js'
import type { Rollout } from '../core/rollout/step.js'
import { type Blindness, dropSeen, keepSeen, keepWatch, seenOf, watchOf } from '../store/looks.js'
import type { RolloutRow } from '../store/rollouts.js'
import type { World } from '../store/world.js'

/** What the triggers of a rollout are fed with, as it is now. */
export type TriggerSamples = (world: World, rollout: Rollout, now: number) => Promise<Record<TriggerName, Sample>>

/**
 * Looks at every trigger of a rollout. All that it knows of earlier looks it reads from rows, so whoever makes the next one goes on where
 * this one stood. What sees nothing for ten minutes is said once, and once more when it saw something in between.
 * @returns the first trigger that is too much for long enough
 */
export async function watchTriggers(
  world: World,
  samples: TriggerSamples,
  rollout: RolloutRow,
): Promise<Vigil['tripped']> {
  const { tenant, rollout_id, document } = rollout
  const of = [tenant, rollout_id] as const
  const { seen, fault } = await seeing(() => samples(world, rollout, world.clock.now()))
  await keepSeen(world.db, of, seen)
  // After the samples: one that is later than the watching would wait for the next.
  const now = world.clock.now()
  const names = document.triggers.map(({ trigger }) => trigger)
  const series = await seenOf(world.db, of, names)
  const { tripped, blind, breaching, clear } = keepVigil(document.triggers, series, rollout.started_at ?? now, now)
  if (tripped !== null) {
    // Until it is taken back nothing goes on by itself. What tripped it stays: the report of the rollback says when it was first seen.
    const { blind: before } = await watchOf(world.db, of)
    await keepWatch(world.db, of, { watched_at: null, blind: before, breaching })
    return tripped
  }
  await tellBlind(world, rollout, { blind, breaching }, now)
  const newest = (trigger: TriggerName) => Math.max(0, ...(series[trigger] ?? []).map(({ at }) => at))
  const over = clear.map((trigger) => ({ trigger, at: newest(trigger) }))
  await dropSeen(
    world.db,
    of,
    over.filter(({ trigger }) => (series[trigger] ?? []).length > 1),
  )
  // Only now: what is broken for one trigger keeps no other from seeing, and is known as blindness too.
  if (fault !== undefined) throw fault
  return null
}

/** What was seen, and the first that broke: of that nothing is seen. */
async function seeing(
  look: () => Promise<Partial<Record<TriggerName, Sample>>>,
): Promise<{ seen: Partial<Record<TriggerName, Sample>>; fault: unknown }> {
  try {
    const seen = await look()
    return { seen, fault: Object.values(seen).find(({ fault }) => fault !== undefined)?.fault }
  } catch (fault) {
    return { seen: {}, fault }
  }
}

/** The entry comes first: whoever dies in between leaves one that is said twice, never one that is not said. */
async function tellBlind(
  world: World,
  { tenant, rollout_id, phase }: RolloutRow,
  { blind, breaching }: Pick<Vigil, 'blind' | 'breaching'>,
  now: number,
): Promise<void> {
  const before = (await watchOf(world.db, [tenant, rollout_id])).blind
  const next: Partial<Record<TriggerName, Blindness>> = {}
  const facts: Fact[] = []
  for (const [name, since] of Object.entries(blind)) {
    const trigger = name as TriggerName
    const said = before[trigger]?.since === since && before[trigger]?.said === true
    const isLong = now - since >= BLIND_MS
    next[trigger] = { since, said: said || isLong }
    if (isLong && !said)
      facts.push({
        ...{ kind: 'rollout.blind', tenant, at: now, actor: 'system:rollouts' },
        ...{ rollout_id, phase, trigger, since },
      })
  }
  if (facts.length > 0) await world.ledger.record(tenant, facts)
  await keepWatch(world.db, [tenant, rollout_id], { watched_at: now, blind: next, breaching })
}
