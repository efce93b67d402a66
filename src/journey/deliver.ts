import type { Approval } from '../core/approval.js'
import { parseEntry } from '../core/audit.js'
import { type Channel, DELIVERY, DOWN_AFTER, retryDelay } from '../core/channel.js'
import type { Json } from '../core/json.js'
import { hashLink, linkToken } from '../core/link.js'
import { type Entry, type Letter, noticeLetter, questionLetter, toldApproval } from '../core/message.js'
import { defaultOutputPolicy, screenOrQuarantine } from '../core/output.js'
import { Problem } from '../errors.js'
import type { Couriers, Sent } from '../platform/courier.js'
import { getApproval, pendingHashesLike } from '../store/approvals.js'
import { getChannel, getHealth, type HealthRow, setHealth } from '../store/channels.js'
import {
  agedDeliveries,
  type Delivery,
  dueDeliveries,
  finishDelivery,
  putOff,
  tidyDeliveries,
} from '../store/deliveries.js'
import { getPrincipal } from '../store/directory.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { insertLink, tidyLinks } from '../store/links.js'
import { isLarge } from '../store/screener.js'
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
    const result = await attempt(world, couriers, channel, delivery)
    if (result === 'dropped') continue
    if (!result.ok && result.fault === 'channel') {
      await channelFailed(world, channel, delivery, result.why)
      return { sent, more: false }
    }
    await channelAnswered(world, channel, result.ok)
    if (result.ok) {
      sent++
      const end = { status: 'sent' as const, attempts: delivery.attempts + 1, error: null }
      await finishDelivery(world.db, delivery, end, world.clock.now())
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
}

async function attempt(
  world: World,
  couriers: Couriers,
  channel: Channel,
  delivery: Delivery,
): Promise<Sent | 'dropped'> {
  const { tenant, delivery_id, approval_id, event } = delivery
  const entry = parseEntry(delivery.entry) ?? {}
  const approval = approval_id === null ? null : await getApproval(world.db, tenant, approval_id)
  if (channel.kind === 'webhook') {
    const alike = approval === null ? [] : await pendingHashesLike(world.db, tenant, [approval.grant_hash])
    const told = approval === null ? {} : { approval: toldApproval(approval, alike) }
    const body = JSON.stringify({ delivery_id, event, tenant, index: delivery.tree_index, entry, ...told })
    return couriers.post({ ...channel.settings, delivery_id, body, at: world.clock.now() })
  }
  const asks = delivery.asks && approval !== null
  if (asks && approval.status !== 'pending') return dropped(world, delivery, `the approval is ${approval.status}`)
  const to = await addressOf(world, delivery)
  if (to === null) return dropped(world, delivery, 'nobody by that name has an address any more')
  const letter = asks ? await question(world, couriers, delivery, approval) : noticeLetter(entry)
  return letter === null
    ? dropped(world, delivery, 'the job is no longer kept')
    : mail(couriers, channel, to, delivery_id, letter)
}

async function dropped(world: World, delivery: Delivery, error: string): Promise<'dropped'> {
  const end = { status: 'dropped' as const, attempts: delivery.attempts, error }
  await finishDelivery(world.db, delivery, end, world.clock.now())
  return 'dropped'
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
  const { tenant, recipient } = delivery
  const job = await getJob(world.db, tenant, approval.job_id)
  if (job === null) return null
  const alike = await pendingHashesLike(world.db, tenant, [approval.grant_hash])
  const { input } = await loadPayload(world.db, job)
  const link =
    couriers.publicUrl !== null && recipient.startsWith('principal:')
      ? `${couriers.publicUrl}/links/${await newLink(world, delivery, approval)}`
      : null
  return questionLetter({ approval, job, ...shownInput(input), alike, link, now: world.clock.now() })
}

/** A mail leaves the house: secrets in an input are taken out, and what could not be shown to a reader of results is not mailed either. */
function shownInput(input: Json): { input: Json | undefined; withheld: string | null } {
  const withheld = (why: string) => ({ input: undefined, withheld: `${why}: look at it where you answer` })
  if (isLarge(input)) return withheld('The input is large')
  const { verdict, output } = screenOrQuarantine(input, defaultOutputPolicy)
  return verdict === 'QUARANTINE' ? withheld('The input is withheld') : { input: output, withheld: null }
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
async function channelFailed(world: World, channel: Channel, delivery: Delivery, why: string): Promise<void> {
  const { tenant, channel: name } = channel
  const now = world.clock.now()
  const error = why.slice(0, MOST_ERROR)
  const known = (await getHealth(world.db, tenant, name)) ?? healthy(tenant, name, now)
  const failures = known.failures + 1
  const isNews = known.down_at === null && failures >= DOWN_AFTER
  if (isNews) await tell(world, 'channel.down', channel, now, { failures, error })
  const next_at = now + retryDelay(failures, world.ids.fraction())
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
