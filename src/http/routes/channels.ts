import * as Wire from '../../contract/channels.js'
import {
  type Channel,
  DEFAULT_SMTP,
  type DeclaredChannel,
  PAGERDUTY_API,
  SLACK_API,
  variablesOf,
} from '../../core/channel.js'
import { Problem } from '../../errors.js'
import { putChannel, removeChannel, retryDelivery } from '../../journey/channels.js'
import { tryChannel } from '../../journey/deliver.js'
import type { Couriers } from '../../platform/courier.js'
import { getChannel, type HealthRow, healthOfTenant, listChannels } from '../../store/channels.js'
import {
  countDeliveries,
  type Delivery,
  type DeliveryCount,
  type DeliveryFilter,
  getDelivery,
  listDeliveries,
} from '../../store/deliveries.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const NAME = new RegExp((Wire.ChannelName as unknown as { pattern: string }).pattern)

/** Who is told of what, how that fares, and the messages themselves. */
export function channelRoutes(world: World, couriers: Couriers): Route[] {
  const shown = async (tenant: string, channels: readonly Channel[]) => {
    const [health, counts] = await Promise.all([healthOfTenant(world.db, tenant), countDeliveries(world.db, tenant)])
    return channels.map((channel) => view(channel, couriers, health, counts))
  }
  const one = async (tenant: string, name: string) => {
    const channel = await getChannel(world.db, tenant, name)
    if (channel === null) throw new Problem('not_found')
    return (await shown(tenant, [channel]))[0]
  }
  return [
    {
      method: 'GET',
      path: '/channels',
      permission: ['channels:read'],
      tag: 'channels',
      summary: 'Channels with how they fare',
      success: { status: 200, schema: Wire.ChannelPage, description: 'The channels, by name' },
      errors: [],
      handler: async ({ caller }) => ({
        body: { items: await shown(caller.tenant, await listChannels(world.db, caller.tenant)), next_cursor: null },
      }),
    },
    {
      method: 'GET',
      path: '/channels/{channel}',
      permission: ['channels:read'],
      tag: 'channels',
      summary: 'One channel with how it fares',
      success: { status: 200, schema: Wire.Channel, description: 'The channel' },
      errors: ['not_found'],
      handler: async ({ caller, params }) => ({ body: await one(caller.tenant, params.channel as string) }),
    },
    {
      method: 'PUT',
      path: '/channels/{channel}',
      permission: ['channels:write'],
      tag: 'channels',
      summary: 'Declare a channel, or make it what the body says; it is told of what happens from then on',
      body: Wire.PutChannel,
      success: { status: 200, schema: Wire.Channel, description: 'The channel' },
      errors: ['invalid'],
      async handler({ caller, params, body }) {
        const name = params.channel as string
        await putChannel(world, caller, declared(name, body as Wire.PutChannel))
        return { body: await one(caller.tenant, name) }
      },
    },
    {
      method: 'DELETE',
      path: '/channels/{channel}',
      permission: ['channels:write'],
      tag: 'channels',
      summary: 'Remove a channel; what waits for it is dropped',
      success: { status: 200, schema: Wire.Channel, description: 'The channel as it was' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const was = await one(caller.tenant, params.channel as string)
        await removeChannel(world, caller, params.channel as string)
        return { body: was }
      },
    },
    {
      method: 'POST',
      path: '/channels/{channel}/test',
      permission: ['channels:write'],
      tag: 'channels',
      summary: 'Send one message about nothing now, and say what became of it',
      description: 'A mail goes to the caller’s own address in the directory, else to the channel’s first.',
      success: { status: 200, schema: Wire.ChannelTest, description: 'What became of it' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params }) {
        const sent = await tryChannel(world, couriers, caller, params.channel as string)
        return { body: { ok: sent.ok, why: sent.ok ? null : sent.why } }
      },
    },
    {
      method: 'GET',
      path: '/deliveries',
      permission: ['channels:read'],
      tag: 'channels',
      summary: 'Messages, newest first',
      query: Wire.DeliveryQuery,
      success: { status: 200, schema: Wire.DeliveryPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const page = await listDeliveries(world.db, caller.tenant, query as DeliveryFilter)
        return { body: { items: page.items.map(viewDelivery), next_cursor: page.next_cursor } }
      },
    },
    {
      method: 'GET',
      path: '/deliveries/{delivery_id}',
      permission: ['channels:read'],
      tag: 'channels',
      summary: 'One message',
      success: { status: 200, schema: Wire.Delivery, description: 'The message' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const found = await getDelivery(world.db, caller.tenant, params.delivery_id as string)
        if (found === null) throw new Problem('not_found')
        return { body: viewDelivery(found) }
      },
    },
    {
      method: 'POST',
      path: '/deliveries/{delivery_id}/retry',
      // Operators replay dead letters; a message that could not be sent is one.
      permission: ['channels:write', 'dead_letters:write'],
      tag: 'channels',
      summary: 'Give a dead message another day',
      success: { status: 200, schema: Wire.Delivery, description: 'The message, pending again' },
      errors: ['not_found', 'not_dead'],
      handler: async ({ caller, params }) => ({
        body: viewDelivery(await retryDelivery(world, caller, params.delivery_id as string)),
      }),
    },
  ]
}

const sorted = (items: readonly string[]) => [...new Set(items)].sort()

/** In the one form that a file has too, so that the same is the same. */
function declared(channel: string, body: Wire.PutChannel): DeclaredChannel {
  if (!NAME.test(channel)) {
    const message = 'a channel’s name is lower-case letters, digits, - and _, at most 60'
    throw new Problem('invalid', message, { faults: [{ path: '/channel', message }] })
  }
  const { events, topics = null, teams = null } = body
  const shared = {
    channel,
    events: sorted(events),
    topics: topics === null ? null : sorted(topics),
    teams: teams === null ? null : sorted(teams),
  }
  switch (body.kind) {
    case 'email': {
      const { from, to = [], url_env = DEFAULT_SMTP } = body.settings
      return { ...shared, kind: 'email', settings: { from, to: sorted(to), url_env } }
    }
    case 'webhook':
      return { ...shared, kind: 'webhook', settings: { allow_private: false, ...body.settings } }
    case 'slack':
      return { ...shared, kind: 'slack', settings: { api_url: SLACK_API, allow_private: false, ...body.settings } }
    case 'pagerduty': {
      const usual = { severity: 'error' as const, api_url: PAGERDUTY_API, allow_private: false }
      return { ...shared, kind: 'pagerduty', settings: { ...usual, ...body.settings } }
    }
  }
}

function view(
  { tenant: _tenant, ...channel }: Channel,
  couriers: Couriers,
  healths: readonly HealthRow[],
  counts: readonly DeliveryCount[],
): Wire.Channel {
  const health = healths.find((each) => each.channel === channel.channel)
  const count = (status: 'pending' | 'dead') =>
    counts.find((each) => each.channel === channel.channel && each.status === status)
  const missing =
    variablesOf(channel)
      .map((variable) => couriers.missing(variable))
      .find((why) => why !== null) ?? null
  const failures = health?.failures ?? 0
  const status = missing !== null ? 'unconfigured' : health?.down_at ? 'down' : failures > 0 ? 'failing' : 'ok'
  return {
    ...channel,
    health: {
      status,
      since: health?.down_at ?? null,
      error: missing ?? health?.error ?? null,
      failures,
      next_at: failures > 0 ? (health?.next_at ?? null) : null,
      last_sent_at: health?.sent_at ?? null,
      pending: count('pending')?.n ?? 0,
      dead: count('dead')?.n ?? 0,
      oldest_pending_at: count('pending')?.oldest_at ?? null,
    },
  }
}

function viewDelivery(row: Delivery): Wire.Delivery {
  const {
    tenant: _tenant,
    entry: _entry,
    asks: _asks,
    tree_index,
    since_at: _since,
    next_at,
    posted: _posted,
    ...rest
  } = row
  const { about: _about, ...shown } = rest
  return { ...shown, index: tree_index, next_at: row.status === 'pending' ? next_at : null }
}
