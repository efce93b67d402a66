import type { Caller } from '../core/access.js'
import type { Channel, DeclaredChannel } from '../core/channel.js'
import { type ChannelPlan, planChannels, planRemoved } from '../core/directory/plan-channels.js'
import { Problem } from '../errors.js'
import { getChannel, listChannels } from '../store/channels.js'
import { type Delivery, getDelivery, reviveDelivery } from '../store/deliveries.js'
import { standingUnder } from '../store/keys.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/** Makes one channel as the body says. Throws Problem `invalid` with every fault. */
export async function putChannel(world: World, caller: Caller, declared: DeclaredChannel): Promise<Channel> {
  await change(world, caller, async (now) => {
    const standing = await listChannels(world.db, caller.tenant)
    const plan = planChannels(standing, [declared], { caller, now, source: 'api', whole: false })
    if (plan.faults.length === 0) return plan
    throw new Problem('invalid', 'The channel may not be made so', { faults: plan.faults })
  })
  return getOwn(world, caller, declared.channel)
}

/** What waits for it is dropped. Throws Problem `not_found`. */
export async function removeChannel(world: World, caller: Caller, channel: string): Promise<void> {
  await change(world, caller, async (now) => {
    await getOwn(world, caller, channel)
    const plan: ChannelPlan = { changes: [], faults: [], channels: [], removed: [], facts: [] }
    planRemoved(plan, channel, { caller, now, source: 'api', whole: false })
    return plan
  })
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

/**
 * The gate moves with it, though the door reads nothing of channels: that is what lets no key change one after it was revoked.
 * Throws what `planOf` throws, Problem `overloaded`.
 */
async function change(world: World, caller: Caller, planOf: (now: number) => Promise<ChannelPlan>): Promise<void> {
  const { tenant } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const plan = await planOf(world.clock.now())
    if (plan.facts.length === 0) return
    const read = gate ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        channels: plan.channels,
        removedChannels: plan.removed.map((channel) => ({ tenant, channel })),
        gates: [{ ...read, epoch: read.epoch + 1 }],
      },
      facts: plan.facts,
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) return
  }
  throw new Problem('overloaded', 'The channel changed meanwhile', { retry_after_ms: 200 })
}
