import type { Fact } from '../core/audit.js'
import { dueOf } from '../core/key.js'
import { dueKeys, keepReminders } from '../store/keys.js'
import type { World } from '../store/world.js'

/**
 * Says in the log which keys near 90 days, are past them or expire within a week: once for each key and stage. From there channels
 * tell people. The entries come first: whoever dies in between leaves a reminder that is given twice, never one that is not given.
 * Throws what `record` throws, after every tenant had its turn.
 */
export async function remindOfKeys(world: World): Promise<Fact[]> {
  const at = world.clock.now()
  const due = (await dueKeys(world.db, at)).flatMap((key) =>
    dueOf(key, at).flatMap((stage) => (key.reminded.includes(stage) ? [] : [{ key, stage }])),
  )
  const facts: Fact[] = []
  let fault: unknown = null
  for (const tenant of new Set(due.map(({ key }) => key.tenant))) {
    const own = due.filter(({ key }) => key.tenant === tenant)
    const said = own.map(
      ({ key, stage }): Fact => ({
        kind: 'key.due',
        tenant,
        at,
        actor: 'system:reminders',
        key_id: key.key_id,
        stage,
        principal: key.principal,
        team: key.team,
        created_at: key.created_at,
        expires_at: key.expires_at,
        last_used_at: key.last_used_at,
      }),
    )
    try {
      await world.ledger.record(tenant, said)
      await keepReminders(
        world.db,
        tenant,
        own.map(({ key, stage }) => ({ key_id: key.key_id, stage })),
        at,
      )
      facts.push(...said)
    } catch (error) {
      fault ??= error
    }
  }
  if (fault !== null) throw fault
  return facts
}
