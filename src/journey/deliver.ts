import type { Approval } from '../core/approval.js'
import { parseEntry } from '../core/audit.js'
import { type Channel, DELIVERY, DOWN_AFTER, retryDelay } from '../core/channel.js'
import { SEEN_MS } from '../core/click.js'
import { hashLink, linkToken } from '../core/link.js'
import {
  type Entry,
  type Letter,
  noticeLetter,
  questionLetter,
  RESOLVE,
  toldApproval,
  UPDATE,
} from '../core/message.js'
import { aboutOf, pageEvent } from '../core/pagerduty.js'
import { rolloutLetter } from '../core/rollout/told.js'
import { type SlackMessage, slackEnded, slackNotice, slackQuestion } from '../core/slack.js'
import { Problem } from '../errors.js'
import type { Couriers, Sent } from '../platform/courier.js'
import { getApproval, pendingHashesLike } from '../store/approvals.js'
import { getChannel, getHealth, type HealthRow, setHealth } from '../store/channels.js'
import {
  agedDeliveries,
  type Delivery,
  dueDeliveries,
  finishDelivery,
  getDelivery,
  type Posted,
  putOff,
  tidyDeliveries,
} from '../store/deliveries.js'
import { getPrincipal } from '../store/directory.js'
import { tidyInteractions } from '../store/interactions.js'
import { insertLink, tidyLinks } from '../store/links.js'
import { leavingQuestion } from '../store/question.js'
import { getRollout } from '../store/rollouts.js'
import type { World } from '../store/world.js'

/** Messages of one look; between two looks another channel may have become due. */
const BATCH = 20
/** What ended, and links that lead nowhere any more, are kept this long. */
const KEPT_MS = 30 * 86_400_000
/** Characters of a reason that is kept. */
const MOST_ERROR = 300
const ACTOR = 'system:deliverer'

export interface Delivered {
  sent: number
  /** Something is left that could be sent now. */
  more: boolean
}

/**
 * Sends what is due on one channel, oldest first, until something stands in the way. What that is decides who waits: when the channel
 * itself fails, all of it, and no other; when one message is refused, that message alone. A message is sent before that is written
 * down, so a crash in between sends it again, under the same delivery id.
 */
export async function deliver(world: World, couriers: Couriers, channel: Channel): Promise<Delivered> {
  const { tenant } = channel
  const due = await dueDeliveries(world.db, tenant, channel.channel, world.clock.now(), BATCH)
  let sent = 0
  for (const delivery of due) {
    const outcome = await attempt(world, couriers, channel, delivery)
    if ('dropped' in outcome) {
      const end = { status: 'dropped' as const, attempts: delivery.attempts, error: outcome.dropped }
      await finishDelivery(world.db, delivery, end, world.clock.now())
      continue
    }
    const { sent: result, posted = null } = outcome
    if (!result.ok && result.fault === 'channel') {
      await channelFailed(world, channel, delivery, result)
      return { sent, more: false }
    }
    await channelAnswered(world, channel, result.ok)
    if (result.ok) {
      sent++
      const end = { status: 'sent' as const, attempts: delivery.attempts + 1, error: null }
      await finishDelivery(world.db, delivery, end, world.clock.now(), posted)
    } else await refused(world, delivery, result)
  }
  return { sent, more: due.length === BATCH }
}

/** Sends one message about nothing, now, and says what became of it. Throws Problem `not_found`, `invalid` (nobody to write to). */
export async function tryChannel(
  world: World,
  couriers: Couriers,
  caller: { tenant: string; principal: string },
  name: string,
): Promise<Sent> {
  const channel = await getChannel(world.db, caller.tenant, name)
  if (channel === null) throw new Problem('not_found')
  const at = world.clock.now()
  const entry: Entry = { kind: 'channel.tested', tenant: caller.tenant, at, actor: caller.principal, channel: name }
  await world.ledger.record(caller.tenant, [
    { ...entry, kind: 'channel.tested', tenant: caller.tenant, at, actor: caller.principal },
  ])
  const delivery_id = world.ids.id('dlv', at)
  if (channel.kind === 'webhook') {
    const body = JSON.stringify({ delivery_id, event: 'channel.tested', tenant: caller.tenant, entry })
    return couriers.post({ ...channel.settings, delivery_id, body, at })
  }
  if (channel.kind === 'slack') return post(couriers, channel, slackNotice(entry))
  if (channel.kind === 'pagerduty') {
    const about = `test:${delivery_id}`
    const page = { tenant: caller.tenant, about, entry, index: 0, severity: 'info' as const }
    const event = (action: 'trigger' | 'resolve') =>
      couriers.page({
        ...channel.settings,
        event: pageEvent({ ...page, action, publicUrl: couriers.publicUrl }),
      })
    const raised = await event('trigger')
    // Ended at once: nobody has to be woken by a test.
    return raised.ok ? event('resolve') : raised
  }
  const own = await getPrincipal(world.db, caller.tenant, caller.principal)
  // Never an address of the caller's choice: a test must not be a way to write to anybody.
  const to = own?.email ?? channel.settings.to[0]
  if (to === undefined) {
    const faults = [{ path: '/', message: 'you have no e-mail address here, and the channel has none of its own' }]
    throw new Problem('invalid', 'There is nobody to write to', { faults })
  }
  return mail(couriers, channel, to, delivery_id, noticeLetter(entry))
}

/** Now and then: what waits for channels that are gone ends, and what is over is forgotten. */
export async function tidy(world: World): Promise<void> {
  const now = world.clock.now()
  await tidyDeliveries(world.db, now, now - KEPT_MS)
  await tidyLinks(world.db, now - KEPT_MS)
  await tidyInteractions(world.db, now - SEEN_MS)
}

/** What became of an attempt, or why there was nothing to attempt any more. */
type Outcome = { sent: Sent; posted?: Posted } | { dropped: string }

async function attempt(world: World, couriers: Couriers, channel: Channel, delivery: Delivery): Promise<Outcome> {
  const { tenant, approval_id } = delivery
  const entry = parseEntry(delivery.entry) ?? {}
  const approval = approval_id === null ? null : await getApproval(world.db, tenant, approval_id)
  if (delivery.asks && approval !== null && approval.status !== 'pending')
    return { dropped: `the approval is ${approval.status}` }
  switch (channel.kind) {
    case 'webhook':
      return { sent: await hook(world, couriers, channel, delivery, approval) }
    case 'email':
      return letter(world, couriers, channel, delivery, approval)
    case 'slack':
      return delivery.recipient.startsWith(UPDATE)
        ? amend(world, couriers, channel, delivery, approval)
        : say(world, couriers, channel, delivery, approval)
    case 'pagerduty': {
      const { severity } = channel.settings
      const index = delivery.tree_index
      const about = delivery.about ?? aboutOf(entry, index)
      const action = delivery.recipient === RESOLVE ? 'resolve' : 'trigger'
      const asked: Entry =
        approval === null ? {} : { agent: approval.agent, topic: approval.topic, reason: approval.reason }
      const event = pageEvent({
        action,
        tenant,
        about,
        entry: { ...asked, ...entry },
        index,
        severity,
        publicUrl: couriers.publicUrl,
      })
      return { sent: await couriers.page({ ...channel.settings, event }) }
    }
  }
}

async function hook(
  world: World,
  couriers: Couriers,
  { settings }: Channel & { kind: 'webhook' },
  { tenant, delivery_id, event, tree_index, entry }: Delivery,
  approval: Approval | null,
): Promise<Sent> {
  const alike = approval === null ? [] : await pendingHashesLike(world.db, tenant, [approval.grant_hash])
  const told = approval === null ? {} : { approval: toldApproval(approval, alike) }
  const parsed = parseEntry(entry) ?? {}
  const body = JSON.stringify({ delivery_id, event, tenant, index: tree_index, entry: parsed, ...told })
  return couriers.post({ ...settings, delivery_id, body, at: world.clock.now() })
}

async function letter(
  world: World,
  couriers: Couriers,
  channel: Channel & { kind: 'email' },
  delivery: Delivery,
  approval: Approval | null,
): Promise<Outcome> {
  const to = await addressOf(world, delivery)
  if (to === null) return { dropped: 'nobody by that name has an address any more' }
  const written =
    delivery.asks && approval !== null
      ? await question(world, couriers, delivery, approval)
      : await noticeOf(world, couriers, delivery)
  return written === null
    ? { dropped: GONE }
    : { sent: await mail(couriers, channel, to, delivery.delivery_id, written) }
}

const GONE = 'the job is no longer kept'

/** Of a rollout in words, because people read it who never saw this log; else field by field. */
async function noticeOf(world: World, { publicUrl }: Couriers, { tenant, entry: line }: Delivery): Promise<Letter> {
  const entry = parseEntry(line) ?? {}
  const { kind, rollout_id } = entry
  const isRollout = String(kind).startsWith('rollout.') && typeof rollout_id === 'string'
  const rollout = isRollout ? await getRollout(world.db, tenant, String(rollout_id)) : null
  return rollout === null ? noticeLetter(entry) : rolloutLetter(entry, rollout, publicUrl)
}

/** Puts a question into the conversation, or tells of something. */
async function say(
  world: World,
  couriers: Couriers,
  channel: Channel & { kind: 'slack' },
  delivery: Delivery,
  approval: Approval | null,
): Promise<Outcome> {
  const { asks, delivery_id, entry } = delivery
  if (!asks || approval === null) {
    const notice = slackNotice(parseEntry(entry) ?? {}, await noticeOf(world, couriers, delivery))
    return { sent: await post(couriers, channel, notice) }
  }
  const message = await inSlack(world, couriers, approval, delivery_id)
  if (message === null) return { dropped: GONE }
  const sent = await post(couriers, channel, message)
  const { conversation } = channel.settings
  // Should this process die before that is written down, the question is put a second time, and both messages answer it.
  return sent.ok && sent.posted !== undefined
    ? { sent, posted: { conversation, ts: sent.posted, grant_hash: approval.grant_hash } }
    : { sent }
}

/** Changes a message that puts a question into what there is to say of it now. */
async function amend(
  world: World,
  couriers: Couriers,
  { settings }: Channel & { kind: 'slack' },
  delivery: Delivery,
  approval: Approval | null,
): Promise<Outcome> {
  const put = await getDelivery(world.db, delivery.tenant, delivery.recipient.slice(UPDATE.length))
  if (approval === null || put === null || put.posted === null) return { dropped: 'the question was not put there' }
  const { conversation, ts, grant_hash } = put.posted
  const isOpen = approval.status === 'pending' && approval.grant_hash === grant_hash
  const message = isOpen ? await inSlack(world, couriers, approval, put.delivery_id) : slackEnded(approval, grant_hash)
  if (message === null) return { dropped: GONE }
  const body = { channel: conversation, ts, ...message }
  const sent = await couriers.slack({ ...settings, method: 'chat.update', body })
  // Somebody deleted the message, or the workspace closes old ones: its buttons are refused here all the same.
  return !sent.ok && sent.fault === 'delivery' && sent.final ? { dropped: sent.why } : { sent }
}

async function inSlack(
  world: World,
  couriers: Couriers,
  approval: Approval,
  delivery_id: string,
): Promise<SlackMessage | null> {
  const leaving = await leavingQuestion(world, approval)
  if (leaving === null) return null
  const { isWhole, withheld, ...shown } = leaving
  const why = isWhole ? null : `${withheld ?? 'Something in it is taken out here'}.`
  return slackQuestion({ approval, ...shown, withheld: why, delivery_id, publicUrl: couriers.publicUrl })
}

function post(couriers: Couriers, { settings }: Channel & { kind: 'slack' }, message: SlackMessage): Promise<Sent> {
  const body = { channel: settings.conversation, ...message }
  return couriers.slack({ ...settings, method: 'chat.postMessage', body })
}

function mail(
  couriers: Couriers,
  { settings }: Channel & { kind: 'email' },
  to: string,
  delivery_id: string,
  letter: Letter,
): Promise<Sent> {
  const host = /@([A-Za-z0-9.-]+)>?$/.exec(settings.from)?.[1] ?? 'sallyport.invalid'
  const { from, url_env } = settings
  return couriers.mail({ url_env, from, to, ...letter, message_id: `${delivery_id}@${host}` })
}

/** As the directory has it now: who was disabled meanwhile is told nothing. */
async function addressOf(world: World, { tenant, recipient }: Delivery): Promise<string | null> {
  const at = recipient.indexOf(':')
  const name = recipient.slice(at + 1)
  if (recipient.slice(0, at) === 'mailto') return name
  const found = await getPrincipal(world.db, tenant, name)
  return found === null || found.disabled_at !== null ? null : found.email
}

async function question(
  world: World,
  couriers: Couriers,
  delivery: Delivery,
  approval: Approval,
): Promise<Letter | null> {
  const leaving = await leavingQuestion(world, approval)
  if (leaving === null) return null
  const link =
    couriers.publicUrl !== null && delivery.recipient.startsWith('principal:')
      ? `${couriers.publicUrl}/links/${await newLink(world, delivery, approval)}`
      : null
  return questionLetter({ approval, ...leaving, link, now: world.clock.now() })
}

/** A link of its own for every attempt: only its hash is kept, so the one that was mailed cannot be written again. */
async function newLink(world: World, delivery: Delivery, approval: Approval): Promise<string> {
  const now = world.clock.now()
  const link_id = world.ids.id('link', now)
  const secret = Buffer.from(world.ids.bytes(32)).toString('base64url')
  await insertLink(world.db, {
    tenant: delivery.tenant,
    link_id,
    hash: hashLink(secret),
    approval_id: approval.approval_id,
    grant_hash: approval.grant_hash,
    principal: delivery.recipient.slice('principal:'.length),
    delivery_id: delivery.delivery_id,
    created_at: now,
    expires_at: approval.expires_at,
  })
  return linkToken(link_id, secret)
}

/** The message was refused, not the way there: the others go on. */
async function refused(world: World, delivery: Delivery, { why, final }: Sent & { ok: false }): Promise<void> {
  const now = world.clock.now()
  const attempts = delivery.attempts + 1
  const error = why.slice(0, MOST_ERROR)
  if (final || attempts >= DELIVERY.attempts || now - delivery.since_at >= DELIVERY.lifetime)
    return bury(world, { ...delivery, attempts }, error)
  const next_at = now + retryDelay(attempts, world.ids.fraction())
  await putOff(world.db, delivery, { attempts, next_at, error })
}

/** Said before it is so: whoever dies in between says it again. */
async function bury(world: World, delivery: Delivery, error: string): Promise<void> {
  const at = world.clock.now()
  const { tenant, delivery_id, channel, event, recipient, attempts, approval_id } = delivery
  const about = { delivery_id, channel, event, recipient, attempts, error, approval_id: approval_id ?? undefined }
  await world.ledger.record(tenant, [{ kind: 'delivery.failed', tenant, at, actor: ACTOR, ...about }])
  await finishDelivery(world.db, delivery, { status: 'dead', attempts, error }, at)
}

/** Nothing gets through: the channel waits, its messages with it, and none of them is worn out by that. Those whose day is over die. */
async function channelFailed(
  world: World,
  channel: Channel,
  delivery: Delivery,
  { why, retry_ms = 0 }: Sent & { ok: false },
): Promise<void> {
  const { tenant, channel: name } = channel
  const now = world.clock.now()
  const error = why.slice(0, MOST_ERROR)
  const known = (await getHealth(world.db, tenant, name)) ?? healthy(tenant, name, now)
  const failures = known.failures + 1
  const isNews = known.down_at === null && failures >= DOWN_AFTER
  if (isNews) await tell(world, 'channel.down', channel, now, { failures, error })
  // As the other end asks, but no longer than ever.
  const next_at = now + Math.max(retryDelay(failures, world.ids.fraction()), Math.min(retry_ms, DELIVERY.longest))
  const down_at = isNews ? now : known.down_at
  await putOff(world.db, delivery, { attempts: delivery.attempts, next_at: delivery.next_at, error })
  await setHealth(world.db, { ...known, failures, next_at, down_at, error, tried_at: now, sent_at: null })
  for (const aged of await agedDeliveries(world.db, tenant, name, now - DELIVERY.lifetime, 100))
    await bury(world, aged, error)
}

/** Something at the other end answered, be it that it will not have this message. */
async function channelAnswered(world: World, channel: Channel, taken: boolean): Promise<void> {
  const { tenant, channel: name } = channel
  const now = world.clock.now()
  const known = await getHealth(world.db, tenant, name)
  if (known !== null && known.down_at !== null)
    await tell(world, 'channel.up', channel, now, { lasted_ms: Math.max(0, now - known.down_at) })
  await setHealth(world.db, { ...healthy(tenant, name, now), sent_at: taken ? now : null })
}

const healthy = (tenant: string, channel: string, now: number): HealthRow => ({
  tenant,
  channel,
  failures: 0,
  next_at: 0,
  down_at: null,
  error: null,
  tried_at: now,
  sent_at: null,
})

async function tell(
  world: World,
  kind: 'channel.down' | 'channel.up',
  { tenant, channel, kind: channel_kind }: Channel,
  at: number,
  more: Record<string, string | number>,
): Promise<void> {
  await world.ledger.record(tenant, [{ kind, tenant, at, actor: ACTOR, channel, channel_kind, ...more }])
}
