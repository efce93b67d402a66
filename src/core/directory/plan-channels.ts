import type { Caller } from '../access.js'
import { type Fact, joined } from '../audit.js'
import { digestOf } from '../canonical.js'
import { type Channel, channelFaults, type DeclaredChannel, MOST_CHANNELS } from '../channel.js'
import type { Json, JsonObject } from '../json.js'
import { fieldChanges } from '../policy/diff.js'
import type { Source } from '../principal.js'

export interface ChannelPlan {
  changes: {
    change: 'added' | 'changed' | 'removed'
    what: 'channel'
    id: string
    fields: { path: string; before: Json; after: Json }[]
  }[]
  faults: { path: string; message: string }[]
  channels: Channel[]
  removed: string[]
  facts: Fact[]
}

interface Asking {
  caller: Pick<Caller, 'tenant' | 'principal'>
  now: number
  source: Source
  /** What an earlier file declared and this one does not name is removed. */
  whole: boolean
}

/** What makes the channels as they are declared. Undefined: nothing is said about them, and they stay as they are. */
export function planChannels(
  standing: readonly Channel[],
  declared: readonly DeclaredChannel[] | undefined,
  asking: Asking,
): ChannelPlan {
  const plan: ChannelPlan = { changes: [], faults: [], channels: [], removed: [], facts: [] }
  if (declared === undefined && !asking.whole) return plan
  const known = new Map(standing.map((each) => [each.channel, each]))
  for (const each of declared ?? []) planChannel(plan, known.get(each.channel), each, asking)
  const named = new Set((declared ?? []).map(({ channel }) => channel))
  if (asking.whole)
    for (const { channel, source } of standing)
      if (source === 'file' && !named.has(channel)) planRemoved(plan, channel, asking)
  const after = new Set([...known.keys(), ...named])
  for (const channel of plan.removed) after.delete(channel)
  if (after.size > MOST_CHANNELS)
    plan.faults.push({ path: 'channels', message: `at most ${MOST_CHANNELS} channels of a tenant` })
  return plan
}

const shown = ({ kind, settings, events, topics, teams }: DeclaredChannel): JsonObject => ({
  kind,
  settings: settings as unknown as JsonObject,
  events,
  topics,
  teams,
})

function planChannel(
  plan: ChannelPlan,
  found: Channel | undefined,
  declared: DeclaredChannel,
  { caller, now, source }: Asking,
): void {
  for (const { path, message } of channelFaults(declared, caller.tenant))
    plan.faults.push({ path: `channels.${declared.channel}.${path}`, message })
  const fields = found === undefined ? [] : fieldChanges(shown(found), shown(declared))
  if (found !== undefined && fields.length === 0 && found.source === source) return
  plan.channels.push({
    ...declared,
    tenant: caller.tenant,
    source: source === 'file' ? 'file' : 'api',
    created_at: found?.created_at ?? now,
    updated_at: now,
    updated_by: caller.principal,
  })
  plan.changes.push({
    change: found === undefined ? 'added' : 'changed',
    what: 'channel',
    id: declared.channel,
    fields,
  })
  plan.facts.push({
    kind: 'channel.declared',
    tenant: caller.tenant,
    at: now,
    actor: caller.principal,
    channel: declared.channel,
    channel_kind: declared.kind,
    events: joined(declared.events),
    settings_hash: digestOf('channel', shown(declared)),
  })
}

export function planRemoved(plan: ChannelPlan, channel: string, { caller, now }: Asking): void {
  plan.removed.push(channel)
  plan.changes.push({ change: 'removed', what: 'channel', id: channel, fields: [] })
  plan.facts.push({ kind: 'channel.removed', tenant: caller.tenant, at: now, actor: caller.principal, channel })
}
