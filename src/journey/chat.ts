import { type Caller, may } from '../core/access.js'
import type { Approval } from '../core/approval.js'
import type { Channel } from '../core/channel.js'
import {
  type Click,
  hashRequest,
  isSignedForm,
  isSignedWith,
  isTimely,
  readClick,
  type SignedRequest,
} from '../core/click.js'
import type { Principal } from '../core/principal.js'
import { slackTold } from '../core/slack.js'
import { type ErrorCode, Problem } from '../errors.js'
import type { Couriers } from '../platform/courier.js'
import { getApproval } from '../store/approvals.js'
import { getChannel } from '../store/channels.js'
import { getDelivery } from '../store/deliveries.js'
import { principalsInSlack } from '../store/directory.js'
import { takeInteraction } from '../store/interactions.js'
import type { World } from '../store/world.js'

export interface ChatRequest extends SignedRequest {
  tenant: string
  channel: string
}

/** A click that may be answered for. */
export interface OpenClick {
  /** Whoever clicked, with the role and team they have now. */
  caller: Caller
  click: Click
  channel: SlackChannel
}

type SlackChannel = Channel & { kind: 'slack' }

/** Where a request names no channel of ours, it is the operator who should know. */
const NOBODYS = 'default'

/**
 * Who clicked on what. Nothing of a request is read before its signature was found good. It is taken before it acts, so that the same
 * one never acts twice on any node; whoever dies in between has taken a click that did nothing, and the person clicks again, which is
 * another request. Throws Problem `chat_unsigned`, `chat_replayed`, `chat_refused`, `approval_closed`, `approval_stale`.
 */
export async function openClick(world: World, couriers: Couriers, request: ChatRequest): Promise<OpenClick> {
  const { tenant } = request
  const now = world.clock.now()
  const channel = await getChannel(world.db, tenant, request.channel)
  // The same answer as to a forged one: who asks learns of no tenant and no channel.
  if (channel?.kind !== 'slack') return refuse(world, NOBODYS, 'no_channel', new Problem('chat_unsigned'))
  const about = { channel: channel.channel }
  const isSigned =
    isSignedForm(request) && couriers.isSigned(channel.settings.signing_env, (secret) => isSignedWith(secret, request))
  if (!isSigned) return refuse(world, tenant, 'forged', new Problem('chat_unsigned'), about)
  if (!isTimely(request, now)) return refuse(world, tenant, 'late', new Problem('chat_unsigned'), about)
  if (!(await takeInteraction(world.db, tenant, hashRequest(request), now)))
    return refuse(world, tenant, 'replayed', new Problem('chat_replayed'), about)
  const click = readClick(request.body)
  if (click === null) return refuse(world, tenant, 'not_ours', new Problem('chat_refused'), about)
  const who = { ...about, slack: click.user }
  if (click.workspaces.some((each) => each !== channel.settings.workspace))
    return refuse(world, tenant, 'other_workspace', new Problem('chat_refused'), who)
  const put = await channelOf(world, channel, click)
  const person = await personOf(world, tenant, click.user)
  if (typeof person === 'string') {
    tell(couriers, put ?? channel, click, SAID[person])
    return refuse(world, tenant, person, new Problem('chat_refused', SAID[person]), who)
  }
  const open = { caller: callerOf(person, click), click, channel: put ?? channel }
  const fault = !may(open.caller, 'approvals:answer')
    ? 'not_allowed'
    : put === null
      ? 'no_message'
      : endOf(await getApproval(world.db, tenant, click.approval_id), click, now)
  return fault === null ? open : refuseClick(world, couriers, open, fault, problemOf(fault, click))
}

/** Puts on record that this click was refused, tells whoever clicked as far as Slack lets us, and throws the problem. */
export async function refuseClick(
  world: World,
  couriers: Couriers,
  { caller, click, channel }: OpenClick,
  reason: string,
  problem: Problem,
): Promise<never> {
  tell(couriers, channel, click, `${problem.message}.`)
  // What is broken here is in the server's log; they click again.
  if (problem.status >= 500) throw problem
  const { approval_id, user } = click
  const about = { channel: channel.channel, slack: user, approval_id }
  return refuse(world, caller.tenant, reason, problem, about, caller.principal)
}

type Fault = 'not_allowed' | 'no_message' | 'closed' | 'expired' | 'stale'
const SAID = {
  unknown_person: 'Nobody here has your Slack account: an admin gives your person its id',
  disabled: 'You may not act here any more',
  not_allowed: 'You may not answer approvals',
  no_message: 'This message is not one of ours',
  closed: 'The question is closed',
  expired: 'The time to answer is over',
  stale: 'What is asked has changed: see the newer message',
} satisfies Record<Fault | 'unknown_person' | 'disabled', string>
const CODES: Record<Fault, ErrorCode> = {
  not_allowed: 'chat_refused',
  no_message: 'chat_refused',
  closed: 'approval_closed',
  expired: 'approval_closed',
  stale: 'approval_stale',
}

const problemOf = (fault: Fault, { approval_id }: Click) => new Problem(CODES[fault], SAID[fault], { approval_id })

async function personOf(
  world: World,
  tenant: string,
  slack: string,
): Promise<Principal | 'unknown_person' | 'disabled'> {
  const all = (await principalsInSlack(world.db, tenant, slack)).filter(({ kind }) => kind === 'person')
  const [person, ...others] = all.filter(({ disabled_at }) => disabled_at === null)
  if (person !== undefined) return others.length === 0 ? person : 'unknown_person'
  return all.length > 0 ? 'disabled' : 'unknown_person'
}

/** With the Slack account in place of a key's id. Only what a click is for. */
const callerOf = ({ tenant, principal, role, team }: Principal, { user }: Click): Caller => ({
  tenant,
  principal,
  role,
  team,
  key_id: `slack:${user}`,
  topics: null,
  act_as: [],
  permissions: ['approvals:answer'],
  leads: [],
  expires_at: null,
})

/**
 * The channel whose message it is on; null: no message of ours. An app has one address for the clicks of all its conversations, so that
 * may be another channel than the one it came to, where both are of the same app and workspace.
 */
async function channelOf(world: World, came: SlackChannel, click: Click): Promise<SlackChannel | null> {
  const put = await getDelivery(world.db, came.tenant, click.delivery_id)
  if (!put?.asks || put.approval_id !== click.approval_id) return null
  const channel = put.channel === came.channel ? came : await getChannel(world.db, came.tenant, put.channel)
  if (channel?.kind !== 'slack') return null
  const { signing_env, workspace } = channel.settings
  return signing_env === came.settings.signing_env && workspace === came.settings.workspace ? channel : null
}

function endOf(approval: Approval | null, click: Click, now: number): Fault | null {
  if (approval === null) return 'no_message'
  const { status, expires_at, grant_hash } = approval
  if (status !== 'pending') return 'closed'
  if (expires_at <= now) return 'expired'
  return grant_hash === click.grant_hash ? null : 'stale'
}

/** Nobody waits for it: Slack gives a click three seconds, and what is told may take longer than that. Never to an address that came in. */
function tell(couriers: Couriers, { settings }: SlackChannel, { user }: Click, words: string): void {
  const body = { channel: settings.conversation, user, ...slackTold(words) }
  void couriers.slack({ ...settings, method: 'chat.postEphemeral', body }).catch(() => {})
}

/** On record at once, its repeats counted. */
async function refuse(
  world: World,
  tenant: string,
  reason: string,
  problem: Problem,
  about: { channel?: string; slack?: string; approval_id?: string } = {},
  actor = 'anonymous',
): Promise<never> {
  const at = world.clock.now()
  const { approval_id } = about
  const refused = {
    kind: 'chat.refused',
    tenant,
    actor,
    reason,
    ...(approval_id === undefined ? {} : { approval_id }),
  } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, ...about, at }]))
  throw problem
}
