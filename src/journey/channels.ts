import type { Caller } from '../core/access.js'
import type { Channel, DeclaredChannel } from '../core/channel.js'
import { type ChannelPlan, planChannels, planRemoved } from '../core/directory/plan-channels.js'
import { Problem } from '../errors.js'
import { getChannel, listChannels } from '../store/channels.js'
import { type Delivery, getDelivery, reviveDelivery } from '../store/deliveries.js'
import type { World } from '../store/world.js'

/** Makes one channel as the body says. Throws Problem `invalid` with every fault. */
export async function putChannel(world: World, caller: Caller, declared: DeclaredChannel): Promise<Channel> {
  const standing = await listChannels(world.db, caller.tenant)
  const asking = { caller, now: world.clock.now(), source: 'api' as const, whole: false }
  const plan = planChannels(standing, [declared], asking)
  if (plan.faults.length > 0) throw new Problem('invalid', 'The channel may not be made so', { faults: plan.faults })
  await commit(world, caller, plan)
  return getOwn(world, caller, declared.channel)
}

/** What waits for it is dropped. Throws Problem `not_found`. */
export async function removeChannel(world: World, caller: Caller, channel: string): Promise<void> {
  await getOwn(world, caller, channel)
  const plan: ChannelPlan = { changes: [], faults: [], channels: [], removed: [], facts: [] }
  planRemoved(plan, channel, { caller, now: world.clock.now(), source: 'api', whole: false })
  await commit(world, caller, plan)
}

/** A dead message gets another day. Throws Problem `not_found`, `not_dead`. */
export async function retryDelivery(world: World, caller: Caller, delivery_id: string): Promise<Delivery> {
  const found = await getDelivery(world.db, caller.tenant, delivery_id)
  if (found === null) throw new Problem('not_found')
  if (found.status !== 'dead') throw new Problem('not_dead', `The delivery is ${found.status}`)
  const at = world.clock.now()
  const { tenant, channel } = found
  // Said first: whoever dies in between leaves an entry about nothing, never a change without an entry.
  await world.ledger.record(tenant, [
    { kind: 'delivery.retried', tenant, at, actor: caller.principal, delivery_id, channel, event: found.event },
  ])
  const revived = await reviveDelivery(world.db, tenant, delivery_id, at)
  if (revived === null) throw new Problem('not_dead', 'Somebody else retried it')
  return revived
}

async function getOwn(world: World, { tenant }: Caller, channel: string): Promise<Channel> {
  const found = await getChannel(world.db, tenant, channel)
  if (found === null) throw new Problem('not_found')
  return found
}

async function commit(world: World, { tenant }: Caller, plan: ChannelPlan): Promise<void> {
  if (plan.facts.length === 0) return
  // No gate: nothing that the door reads is changed.
  const receipt = await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { channels: plan.channels, removedChannels: plan.removed.map((channel) => ({ tenant, channel })) },
    facts: plan.facts,
  })
  if (!receipt.ok) throw new Problem('overloaded', 'The channel changed meanwhile', { retry_after_ms: 200 })
}
