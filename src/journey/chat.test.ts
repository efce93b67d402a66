import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import {
  type Clicked,
  clickOn,
  livesIn,
  type PagerDuty,
  ROUTING,
  SIGNING,
  type Slack,
  type SlackCall,
  signedAsSlack,
  startPagerDuty,
  startSlack,
  TOKEN,
} from '../../test/support/chat.js'
import { type MailServer, startMailServer } from '../../test/support/post-office.js'
import { DELIVERY, type DeclaredChannel, type SlackSettings } from '../core/channel.js'
import { SEEN_MS, WINDOW_MS } from '../core/click.js'
import type { DeclaredPrincipal } from '../core/directory/document.js'
import type { Json } from '../core/json.js'
import { APPROVE, REJECT } from '../core/slack.js'
import { DbError } from '../errors.js'
import type { Couriers } from '../platform/courier.js'
import { openCouriers } from '../platform/open-couriers.js'
import { dueChannels, getHealth } from '../store/channels.js'
import { listDeliveries } from '../store/deliveries.js'
import { leavingQuestion } from '../store/question.js'
import type { World } from '../store/world.js'
import { approve, edit, reject } from './approve.js'
import { putChannel } from './channels.js'
import { openClick, refuseClick } from './chat.js'
import { deliver, tidy, tryChannel } from './deliver.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { integrate } from './integrate.js'
import { notify } from './notify.js'

/** Slack and PagerDuty on real sockets, a clock in the test’s hand, and every way in which a click is not an answer. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: asks, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, reason: money leaves, approval: { from: [role:approver], within: 72h } }
  - { id: two, match: { topic: job.two }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 72h } }
  - { id: night, match: { topic: job.night }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h, then: escalate, ladder: [{ from: [role:admin], after: 2h }] } }
`

let plane: TestPlane
let couriers: Couriers
let slack: Slack
let duty: PagerDuty
let office: MailServer

beforeAll(async () => {
  ;[plane, slack, duty, office] = await Promise.all([openPlane(), startSlack(), startPagerDuty(), startMailServer()])
  const secrets: Record<string, string> = { TOKEN, SIGNING, ROUTING, OTHER: 'xoxb-nobody' }
  const own = (name: string) => (name === 'SALLYPORT_SMTP_URL' ? office.url : secrets[name.split('__')[1] ?? ''])
  couriers = openCouriers({
    variables: new Proxy({} as Record<string, string>, {
      get: (_, name) => own(String(name)),
      getOwnPropertyDescriptor: (_, name) => ({ value: own(String(name)), configurable: true }),
    }),
    publicUrl: 'https://sallyport.test',
    privateHosts: [slack.host, duty.host, '127.0.0.1:1'],
  })
})
afterAll(async () => {
  await plane.close()
  await Promise.all([slack.stop(), duty.stop(), office.stop()])
})
beforeEach(() => {
  plane.db.tap = null
  slack.instead = null
  slack.hold = null
  slack.calls.length = 0
  slack.told.length = 0
  slack.messages.clear()
  duty.instead = null
  duty.events.length = 0
  duty.incidents.clear()
  office.mails.length = 0
})

const variable = (t: Tenancy, name: string) => `SALLYPORT_CHANNEL_${t.tenant.toUpperCase()}__${name}`
const room = (t: Tenancy, settings: Partial<SlackSettings> = {}, more: object = {}): DeclaredChannel => ({
  channel: 'room',
  kind: 'slack',
  settings: {
    conversation: 'C0ROOM',
    workspace: 'T0HOUSE',
    token_env: variable(t, 'TOKEN'),
    signing_env: variable(t, 'SIGNING'),
    api_url: slack.url,
    allow_private: true,
    ...settings,
  },
  events: ['approval.requested'],
  topics: null,
  teams: null,
  ...more,
})
const pager = (t: Tenancy, events: string[], more: object = {}): DeclaredChannel => ({
  channel: 'pager',
  kind: 'pagerduty',
  settings: { routing_key_env: variable(t, 'ROUTING'), severity: 'critical', api_url: duty.url, allow_private: true },
  events,
  topics: null,
  teams: null,
  ...more,
})
const mails: DeclaredChannel = {
  channel: 'mail',
  kind: 'email',
  settings: { from: 'sallyport@example.com', to: [], url_env: 'SALLYPORT_SMTP_URL' },
  events: ['approval.requested'],
  topics: null,
  teams: null,
}

const person = (name: string, more: Partial<DeclaredPrincipal> = {}): DeclaredPrincipal => ({
  principal: `person:${name}`,
  kind: 'person',
  role: 'approver',
  team: null,
  name: null,
  email: null,
  slack: `U0${name.toUpperCase()}`,
  terms: null,
  ...more,
})
const declare = (t: Tenancy, ...principals: DeclaredPrincipal[]) =>
  applyDirectory(t.world, t.admin, { teams: [], principals }, 'api')

async function tenancy(...channels: ((t: Tenancy) => DeclaredChannel)[]): Promise<Tenancy> {
  const t = await plane.tenant(POLICY)
  await declare(
    t,
    person('ann', { email: 'ann@example.com' }),
    person('ben'),
    person('vera', { role: 'viewer' }),
    person('root', { role: 'admin' }),
  )
  for (const each of channels.length === 0 ? [(at: Tenancy) => room(at)] : channels)
    await putChannel(t.world, t.admin, each(t))
  plane.clock.advance(1)
  return t
}

async function tell(t: Tenancy, on: World = t.world): Promise<void> {
  await integrate(t.world, plane.key)
  while ((await notify(on)).behind > 0) {
    // some tiles at a time
  }
  await round(t, on)
}
async function round(t: Tenancy, on: World = t.world): Promise<void> {
  const due = (await dueChannels(on.db, plane.clock.now(), 100)).filter(({ tenant }) => tenant === t.tenant)
  await Promise.all(
    due.map(async (channel) => {
      while ((await deliver(on, couriers, channel)).more) {
        // a batch at a time
      }
    }),
  )
}
async function asked(t: Tenancy, topic = 'job.ask', input: Json = { amount: 70 }) {
  const { job_id, approval_id = '' } = await t.submit({ topic, input })
  await tell(t)
  return { job_id, approval_id: approval_id as string, put: slack.calls.at(-1) as SlackCall }
}

type Sent = { body: string; headers: Record<string, string> }
const requestOf = (t: Tenancy, { body, headers }: Sent) => ({
  tenant: t.tenant,
  channel: 'room',
  timestamp: headers['x-slack-request-timestamp'] ?? '',
  signature: headers['x-slack-signature'] ?? '',
  body,
})
/** As the route does it: opened, answered, and refused on record. */
async function arrives(t: Tenancy, sent: Sent, world: World = t.world) {
  const open = await openClick(world, couriers, requestOf(t, sent))
  const { caller, click } = open
  const { approval_id, grant_hash, reason } = click
  const via = { via: 'slack' }
  const answer =
    click.answer === 'approve'
      ? approve(world, caller, approval_id, { grant_hash }, via)
      : reject(world, caller, approval_id, { grant_hash, reason: reason || 'no' }, via)
  return answer.catch((error) => refuseClick(world, couriers, open, error.code, error))
}
const clickedOn = (message: SlackCall['body'], action = APPROVE, more: Partial<Clicked> = {}) =>
  clickOn(message, action, { at: plane.clock.now(), ...more })
const click = (t: Tenancy, message: SlackCall['body'], action = APPROVE, more: Partial<Clicked> = {}) =>
  arrives(t, clickedOn(message, action, more))
const buttonsOf = ({ blocks }: SlackCall['body']): string[] =>
  blocks.flatMap(({ elements = [] }: { elements?: { action_id: string }[] }) => elements.map((each) => each.action_id))
const wordsOf = ({ blocks }: SlackCall['body']): string =>
  blocks.map(({ text }: { text?: { text: string } }) => text?.text ?? '').join('\n')
const refusals = async (t: Tenancy) =>
  (await t.facts()).filter(({ kind }) => kind === 'chat.refused').map(({ actor, reason }) => `${actor} ${reason}`)
const statuses = async (t: Tenancy) =>
  (await listDeliveries(t.world.db, t.tenant, { limit: 100 })).items
    .sort((a, b) => a.tree_index - b.tree_index)
    .map(({ channel, recipient, status }) => `${channel} ${recipient.replace(/dlv_.*/, '')} ${status}`)
const settled = (until: () => boolean) => expect.poll(until, { interval: 5 }).toBe(true)

describe('a question in Slack', () => {
  test(`${proves('A6')} is put once, answered by a click, and then says who answered`, async () => {
    const t = await tenancy()
    const { job_id, put } = await asked(t)
    expect(slack.calls.map(({ method, body }) => [method, body.channel])).toEqual([['chat.postMessage', 'C0ROOM']])
    expect(wordsOf(put.body)).toContain('|   "amount": 70')
    expect(buttonsOf(put.body)).toEqual([APPROVE, REJECT])
    await click(t, put.body)
    expect((await t.job(job_id)).status).toBe('queued')
    const yes = (await t.facts()).find(({ kind }) => kind === 'approval.approved')
    expect(yes).toMatchObject({ actor: 'person:ann', via: 'slack', key_id: 'slack:U0ANN', role: 'approver' })
    await tell(t)
    const now = slack.messages.get(put.ts)
    expect([wordsOf(now).split('\n')[0], buttonsOf(now)]).toEqual(['Approved', []])
    expect(wordsOf(now)).toContain('Yes by person:ann (slack)')
    expect(slack.calls.map(({ method }) => method)).toEqual(['chat.postMessage', 'chat.update'])
    expect(await statuses(t)).toEqual(['room conversation sent', 'room update: sent'])
  })

  test('is rejected with what was typed, which the agent reads', async () => {
    const t = await tenancy()
    const { job_id, put } = await asked(t)
    await click(t, put.body, REJECT, { reason: 'not <today>' })
    expect((await t.job(job_id)).status).toBe('rejected')
    expect((await t.facts()).find(({ kind }) => kind === 'approval.rejected')).toMatchObject({ note: 'not <today>' })
  })

  test(`${proves('A4')} needs two people where four eyes do, says who said yes so far, and takes no second yes of one`, async () => {
    const t = await tenancy()
    const { job_id, put } = await asked(t, 'job.two')
    await click(t, put.body)
    await tell(t)
    const half = slack.messages.get(put.ts)
    expect(wordsOf(half)).toContain('Earlier answers: person:ann: approve')
    expect(buttonsOf(half)).toEqual([APPROVE, REJECT])
    plane.clock.advance(1000)
    expect((await problemOf(click(t, half))).code).toBe('approval_closed')
    await settled(() => slack.told.some(({ user, text }) => user === 'U0ANN' && /another person/.test(text)))
    await click(t, half, APPROVE, { user: 'U0BEN' })
    expect((await t.job(job_id)).status).toBe('queued')
    expect(await refusals(t)).toEqual(['person:ann approval_closed'])
  })

  test('answered elsewhere, expired, or withdrawn, has no buttons any more', async () => {
    const t = await tenancy()
    const [by, late, gone] = [await asked(t), await asked(t), await asked(t)]
    await t.approve(by.approval_id)
    await t.cancel(gone.job_id)
    plane.clock.advance(72 * 3_600_000)
    await t.sweep()
    await tell(t)
    const said = [by, late, gone].map(({ put }) => slack.messages.get(put.ts))
    expect(said.map((message) => wordsOf(message).split('\n')[0])).toEqual([
      'Approved',
      'Nobody answered in time',
      'This is no longer asked',
    ])
    expect(said.flatMap(buttonsOf)).toEqual([])
  })

  test('edited is put anew: the old message says so, and its button does nothing', async () => {
    const t = await tenancy()
    const { approval_id, job_id, put } = await asked(t, 'job.two')
    const { grant_hash } = await t.approval(approval_id)
    await edit(t.world, t.approver, approval_id, { grant_hash, input: { amount: 10 } })
    expect((await problemOf(click(t, put.body, APPROVE, { user: 'U0BEN' }))).code).toBe('approval_stale')
    await tell(t)
    const fresh = slack.calls.findLast(({ method }) => method === 'chat.postMessage') as SlackCall
    expect(fresh.ts).not.toBe(put.ts)
    expect(wordsOf(fresh.body)).toContain('"amount": 10')
    expect(wordsOf(slack.messages.get(put.ts))).toContain('see the newer message')
    expect(buttonsOf(slack.messages.get(put.ts))).toEqual([])
    plane.clock.advance(1000)
    expect((await problemOf(click(t, put.body, APPROVE, { user: 'U0BEN' }))).code).toBe('approval_stale')
    await click(t, fresh.body, APPROVE, { user: 'U0BEN' })
    expect((await t.job(job_id)).status).toBe('queued')
    expect(await refusals(t)).toEqual(['person:ben stale'])
  })

  test('under another snapshot is put anew as well', async () => {
    const t = await tenancy()
    const { job_id, put } = await asked(t)
    await t.activate(`${POLICY}  - { id: more, match: { topic: job.more }, decision: DENY }\n`)
    await t.rebind()
    await tell(t)
    const fresh = slack.calls.findLast(({ method }) => method === 'chat.postMessage') as SlackCall
    expect((await problemOf(click(t, put.body))).code).toBe('approval_stale')
    await click(t, fresh.body)
    expect((await t.job(job_id)).status).toBe('queued')
  })

  test('shows what it binds: read while an edit came in between, it can not be approved there', async () => {
    const t = await tenancy()
    const { approval_id } = await asked(t)
    const approval = await t.approval(approval_id)
    expect(await leavingQuestion(t.world, approval)).toMatchObject({ isWhole: true, withheld: null })
    const other = { ...approval, job_hash: approval.job_hash.replaceAll(/[0-9]/g, 'a') }
    expect(await leavingQuestion(t.world, other)).toMatchObject({ isWhole: false, withheld: null })
  })

  test('is put once more when half of its time is over', async () => {
    const t = await tenancy()
    const { put } = await asked(t)
    plane.clock.advance(36 * 3_600_000)
    await t.sweep()
    await tell(t)
    expect(slack.calls.map(({ method }) => method)).toEqual(['chat.postMessage', 'chat.postMessage'])
    await click(t, put.body)
    await tell(t)
    expect([...slack.messages.values()].flatMap(buttonsOf)).toEqual([])
  })

  test('comes back through whichever channel the app names, of those it serves', async () => {
    const lobby = (at: Tenancy, settings: Partial<SlackSettings> = {}) =>
      room(at, { conversation: 'C0LOBBY', ...settings }, { channel: 'lobby', events: ['key.due'] })
    const t = await tenancy(
      (at) => room(at),
      (at) => lobby(at),
    )
    const [first, second] = [await asked(t), await asked(t)]
    const through = async (put: SlackCall) =>
      openClick(t.world, couriers, { ...requestOf(t, clickedOn(put.body)), channel: 'lobby' })
    expect(await through(first.put)).toMatchObject({
      caller: { principal: 'person:ann' },
      channel: { channel: 'room' },
    })
    await putChannel(t.world, t.admin, lobby(t, { signing_env: `${variable(t, 'SIGNING')}__2` }))
    expect((await problemOf(through(second.put))).code).toBe('chat_refused')
  })

  test('in which the screen took something out, or that is too large, can be rejected there and no more', async () => {
    const t = await tenancy()
    const token = `ghp_${'a1B2'.repeat(9)}`
    const inputs: Json[] = [{ token }, { text: 'x'.repeat(200_000) }, { text: 'x'.repeat(20_000) }]
    for (const input of inputs) {
      const { put } = await asked(t, 'job.ask', input)
      expect(buttonsOf(put.body)).toEqual([REJECT])
      expect(wordsOf(put.body)).not.toContain(token)
      expect(wordsOf(put.body)).toContain('cannot be approved here')
      plane.clock.advance(1)
    }
  })

  test('of a hostile agent mentions nobody and links nowhere', async () => {
    const t = await tenancy()
    const input = { to: '<!channel> <@U0ANN> <https://evil.example|Approve>', '`': '```*x*``` https://evil.example' }
    const { put } = await asked(t, 'job.ask', input)
    expect(livesIn(put.body)).toEqual([])
    expect(JSON.stringify(put.body.blocks)).not.toContain('mrkdwn')
    expect(wordsOf(put.body).split('Input:')[1]).not.toMatch(/[<>]|:\/\//)
    expect(buttonsOf(put.body)).toEqual([APPROVE, REJECT])
    const large = await asked(t, 'job.ask', { text: '<!channel> '.repeat(20_000) })
    expect(livesIn(large.put.body)).toEqual([])
    expect(buttonsOf(large.put.body)).toEqual([REJECT])
  })
})

describe('a click that is no answer', () => {
  test(`${proves('A6')} forged, late, early, of another app or to no channel: refused before it is read, and on record`, async () => {
    const t = await tenancy()
    const { job_id, put } = await asked(t)
    const now = plane.clock.now()
    const signed = clickedOn(put.body)
    const other = await tenancy()
    for (const [sent, code] of [
      [clickedOn(put.body, APPROVE, { secret: 'another' }), 'chat_unsigned'],
      [{ ...signed, body: `${signed.body}&x=1` }, 'chat_unsigned'],
      [{ ...signed, headers: { 'x-slack-signature': signed.headers['x-slack-signature'] as string } }, 'chat_unsigned'],
      [{ ...signed, headers: {} }, 'chat_unsigned'],
      [clickedOn(put.body, APPROVE, { at: now - 360_000 }), 'chat_unsigned'],
      [clickedOn(put.body, APPROVE, { at: now + 360_000 }), 'chat_unsigned'],
      [signedAsSlack('payload=%7B', now), 'chat_refused'],
      [clickedOn(put.body, APPROVE, { team: 'T0OTHER' }), 'chat_refused'],
      [clickedOn(put.body, APPROVE, { home: 'T0GUEST' }), 'chat_refused'],
    ] as const)
      expect((await problemOf(arrives(t, sent as Sent))).code).toBe(code)
    const nowhere = { ...requestOf(t, signed), channel: 'none' }
    expect((await problemOf(openClick(t.world, couriers, nowhere))).code).toBe('chat_unsigned')
    // To another tenant’s channel, whose app happens to have the same secret: the message is none of theirs.
    expect((await problemOf(arrives(other, signed))).code).toBe('chat_refused')
    expect((await t.job(job_id)).status).toBe('pending_approval')
    expect(new Set(await refusals(t))).toEqual(
      new Set(['anonymous forged', 'anonymous late', 'anonymous not_ours', 'anonymous other_workspace']),
    )
    expect(await refusals(other)).toEqual(['person:ann no_message'])
    expect(slack.told.filter(({ user }) => user !== 'U0ANN')).toEqual([])
    await arrives(t, signed)
    expect((await t.job(job_id)).status).toBe('queued')
  })

  test(`${proves('A6')} replayed does nothing, on this node or another, at once or later`, async () => {
    const t = await tenancy()
    const { put, approval_id } = await asked(t, 'job.two')
    const sent = clickedOn(put.body)
    const second = plane.node()
    const both = await Promise.allSettled([arrives(t, sent), arrives(t, sent, second), arrives(t, sent, second)])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
    for (let later = 0; later <= WINDOW_MS; later += WINDOW_MS / 4) {
      expect((await problemOf(arrives(t, sent, later % 2 === 0 ? second : t.world))).code).toMatch(
        /^chat_replayed|^chat_unsigned/,
      )
      await tidy(t.world)
      plane.clock.advance(WINDOW_MS / 4)
    }
    expect((await t.approval(approval_id)).answers.length).toBe(1)
    expect(await refusals(t)).toContain('anonymous replayed')
    const seen = () => t.rows('interactions')
    expect((await seen()).length).toBe(1)
    plane.clock.advance(SEEN_MS)
    await tidy(t.world)
    expect((await seen()).length).toBe(0)
  })

  test('taken by a node that died before it acted is lost, and the next click is another one', async () => {
    const t = await tenancy()
    const { put, job_id } = await asked(t)
    const sent = clickedOn(put.body)
    await openClick(t.world, couriers, requestOf(t, sent))
    expect((await problemOf(arrives(t, sent, plane.node()))).code).toBe('chat_replayed')
    expect((await t.job(job_id)).status).toBe('pending_approval')
    plane.clock.advance(1000)
    await click(t, put.body)
    expect((await t.job(job_id)).status).toBe('queued')
  })

  test('early by nearly all of the window is remembered for as long as it would be good', async () => {
    const t = await tenancy()
    const { put } = await asked(t, 'job.two')
    const at = (Math.floor(plane.clock.now() / 1000) + WINDOW_MS / 1000) * 1000
    const sent = clickedOn(put.body, APPROVE, { at })
    await arrives(t, sent)
    while (plane.clock.now() <= at + WINDOW_MS) {
      await tidy(t.world)
      expect((await problemOf(arrives(t, sent))).code).toBe('chat_replayed')
      plane.clock.advance(60_000)
    }
    expect((await problemOf(arrives(t, sent))).code).toBe('chat_unsigned')
  })

  test('of nobody we know, of somebody disabled or not asked, or of who asked: refused, told, on record', async () => {
    const t = await tenancy()
    await declare(t, person('gone'), person('bot2', { slack: 'U0BOT2' }))
    await disablePrincipal(t.world, t.admin, 'person:gone')
    const { put } = await asked(t)
    const by = async (user: string) => (await problemOf(click(t, put.body, APPROVE, { user }))).code
    expect([await by('U0NOBODY'), await by('U0GONE'), await by('U0VERA')]).toEqual(Array(3).fill('chat_refused'))
    // Who asked for it, as a person who may act as the agent.
    const own = await t.submit({ topic: 'job.ask' }, null, { ...t.agent, principal: 'person:bot2' })
    await tell(t)
    const theirs = slack.calls.at(-1) as SlackCall
    expect((await problemOf(click(t, theirs.body, APPROVE, { user: 'U0BOT2' }))).code).toBe('self_approval')
    expect((await t.job(own.job_id)).status).toBe('pending_approval')
    await settled(() => slack.told.length === 4)
    expect(slack.told.map(({ user }) => user)).toEqual(
      expect.arrayContaining(['U0NOBODY', 'U0GONE', 'U0VERA', 'U0BOT2']),
    )
    expect(await refusals(t)).toEqual([
      'anonymous unknown_person',
      'anonymous disabled',
      'person:vera not_allowed',
      'person:bot2 self_approval',
    ])
  })

  test('is of the person who has the account now', async () => {
    const t = await tenancy()
    const { put, job_id } = await asked(t)
    await declare(t, person('ann', { slack: null }), person('ben', { slack: 'U0ANN' }))
    await click(t, put.body)
    expect((await t.job(job_id)).status).toBe('queued')
    expect((await t.facts()).find(({ kind }) => kind === 'approval.approved')).toMatchObject({ actor: 'person:ben' })
  })

  test('on a button of another message, or of a question that is closed, is none', async () => {
    const t = await tenancy()
    const [first, second] = [await asked(t), await asked(t)]
    const swapped = (payload: Record<string, unknown>) => {
      const [action] = payload.actions as [{ value: string }]
      const [, hash] = action.value.split(' ')
      return {
        ...payload,
        actions: [{ ...action, value: `${second.approval_id} ${hash} ${action.value.split(' ')[2]}` }],
      }
    }
    expect((await problemOf(click(t, first.put.body, APPROVE, { change: swapped }))).code).toBe('chat_refused')
    await t.reject(second.approval_id)
    expect((await problemOf(click(t, second.put.body))).code).toBe('approval_closed')
    expect(await refusals(t)).toEqual(['person:ann no_message', 'person:ann closed'])
  })
})

describe('when Slack fails', () => {
  test(`${proves('A6')} dead, mail goes on; it comes back, and all of it is there`, async () => {
    const t = await tenancy(
      (at) => room(at, { api_url: 'http://127.0.0.1:1/api' }),
      () => mails,
    )
    await asked(t)
    await asked(t)
    expect(office.mails.map(({ to }) => to[0])).toEqual(['ann@example.com', 'ann@example.com'])
    for (let n = 0; n < 3; n++) {
      await round(t)
      plane.clock.advance(DELIVERY.longest)
    }
    expect(await getHealth(t.world.db, t.tenant, 'room')).toMatchObject({ failures: 3, down_at: expect.any(Number) })
    await putChannel(t.world, t.admin, room(t))
    plane.clock.advance(1)
    await round(t)
    expect(slack.calls.map(({ method }) => method)).toEqual(['chat.postMessage', 'chat.postMessage'])
    const log = (await t.kinds()).filter((kind) => kind.startsWith('channel.'))
    expect(log.slice(-3)).toEqual(['channel.down', 'channel.declared', 'channel.up'])
  })

  test('with too many calls it is left alone for as long as it says, and no longer than ever', async () => {
    const t = await tenancy()
    slack.instead = (response) => Boolean(response.writeHead(429, { 'retry-after': '120' }).end())
    await asked(t)
    const until = async () => ((await getHealth(t.world.db, t.tenant, 'room'))?.next_at ?? 0) - plane.clock.now()
    expect(await until()).toBe(120_000)
    plane.clock.advance(120_000)
    slack.instead = (response) => Boolean(response.writeHead(429, { 'retry-after': '999999' }).end())
    await round(t)
    expect(await until()).toBe(DELIVERY.longest)
    plane.clock.advance(DELIVERY.longest)
    slack.instead = null
    await round(t)
    expect(slack.calls.length).toBe(1)
  })

  test('a token that is revoked loses nothing; a message it will not have is dead, and said to be', async () => {
    const t = await tenancy((at) => room(at, { token_env: variable(at, 'OTHER') }))
    await asked(t)
    expect(await statuses(t)).toEqual(['room conversation pending'])
    await putChannel(t.world, t.admin, room(t))
    slack.instead = (response) => Boolean(response.writeHead(200).end('{"ok":false,"error":"invalid_blocks"}'))
    plane.clock.advance(1)
    await round(t)
    expect(await statuses(t)).toEqual(['room conversation dead'])
    expect(await t.kinds()).toContain('delivery.failed')
  })

  test('a node that dies after posting posts again; either message answers, and neither does so twice', async () => {
    const t = await tenancy()
    plane.db.tap = async (sql, send) => {
      if (sql.startsWith('UPDATE deliveries SET status')) throw new DbError('gone', '08006')
      return send()
    }
    await asked(t).catch(() => {})
    plane.db.tap = null
    await round(t, plane.node())
    const [first, second] = slack.calls as [SlackCall, SlackCall]
    expect(slack.calls.length).toBe(2)
    await click(t, first.body)
    expect((await problemOf(click(t, second.body, APPROVE, { user: 'U0BEN' }))).code).toBe('approval_closed')
    await tell(t)
    expect(buttonsOf(slack.messages.get(second.ts))).toEqual([])
  })

  test('a message that somebody deleted is not changed, and nobody is woken for that', async () => {
    const t = await tenancy()
    const { put, approval_id } = await asked(t)
    slack.messages.delete(put.ts)
    await t.reject(approval_id)
    await tell(t)
    expect(await statuses(t)).toEqual(['room conversation sent', 'room update: dropped'])
    expect(await t.kinds()).not.toContain('delivery.failed')
  })

  test('a question that was answered before it was put is not put', async () => {
    const t = await tenancy()
    slack.instead = (response) => Boolean(response.writeHead(503).end())
    const { approval_id } = await asked(t)
    await t.reject(approval_id)
    slack.instead = null
    plane.clock.advance(DELIVERY.longest)
    await tell(t)
    expect(slack.calls).toEqual([])
    expect(await statuses(t)).toEqual(['room conversation dropped', 'room update: dropped'])
  })
})

describe('PagerDuty', () => {
  const key = (t: Tenancy, about: string) => `sallyport/${t.tenant}/${about}`

  test(`${proves('O5')} is raised when a question climbs to whom is on call, and ends with the answer`, async () => {
    const t = await tenancy((at) => pager(at, ['approval.escalated']))
    const [{ approval_id }, quick] = [await asked(t, 'job.night'), await asked(t, 'job.night')]
    await t.reject(quick.approval_id)
    plane.clock.advance(3_600_000)
    await t.sweep()
    await tell(t)
    const dedup = key(t, `approval_id:${approval_id}`)
    expect(duty.incidents.get(dedup)).toMatchObject({
      summary: expect.stringMatching(/^An approval nobody answered was escalated · agent:bot · job\.night · /),
      severity: 'critical',
      custom_details: { approval_id },
    })
    await t.approve(approval_id, t.admin)
    await tell(t)
    expect([...duty.incidents]).toEqual([[dedup, null]])
    // Nothing is ended that was not raised.
    expect(duty.events.map(({ event_action }) => event_action)).toEqual(['trigger', 'resolve'])
  })

  test('is told in the order of the log, though all of it happened in one millisecond', async () => {
    const t = await tenancy((at) => pager(at, ['approval.requested']))
    for (let n = 0; n < 8; n++)
      await t.reject((await t.submit({ topic: 'job.ask', input: { n } })).approval_id as string)
    await tell(t)
    expect(duty.events.length).toBe(16)
    expect([...duty.incidents.values()]).toEqual(Array(8).fill(null))
  })

  test('one yes of two ends nothing', async () => {
    const t = await tenancy((at) => pager(at, ['approval.requested']))
    const { approval_id } = await asked(t, 'job.two')
    await t.approve(approval_id)
    await tell(t)
    expect(duty.events.map(({ event_action }) => event_action)).toEqual(['trigger'])
    await t.approve(approval_id, t.otherApprover)
    await tell(t)
    expect(duty.events.map(({ event_action }) => event_action)).toEqual(['trigger', 'resolve'])
  })

  test('hears of another channel that is down, and of its end', async () => {
    const t = await tenancy(
      (at) => room(at, { api_url: 'http://127.0.0.1:1/api' }),
      (at) => pager(at, ['channel.down']),
    )
    await asked(t)
    for (let n = 0; n < 3; n++) {
      plane.clock.advance(DELIVERY.longest)
      await round(t)
    }
    await tell(t)
    expect(duty.incidents.get(key(t, 'channel:room'))).toMatchObject({ class: 'channel.down' })
    await putChannel(t.world, t.admin, room(t))
    plane.clock.advance(1)
    await round(t)
    await tell(t)
    expect(duty.incidents.get(key(t, 'channel:room'))).toBeNull()
  })

  test('ends what it raised for a team, though the end names none', async () => {
    const t = await tenancy((at) => pager(at, ['breaker.opened'], { teams: ['support'] }))
    const of = { tenant: t.tenant, actor: 'system:breaker' }
    const happens = async (kind: 'breaker.opened' | 'breaker.closed', agent: string, team: string | null) => {
      await t.world.ledger.record(t.tenant, [{ ...of, kind, at: plane.clock.now(), agent, team }])
      await tell(t)
    }
    await happens('breaker.opened', 'agent:theirs', 'support')
    await happens('breaker.opened', 'agent:other', 'sales')
    await happens('breaker.closed', 'agent:theirs', null)
    await happens('breaker.closed', 'agent:other', null)
    expect([...duty.incidents]).toEqual([[key(t, 'agent:agent:theirs'), null]])
  })

  test('with too many events waits, and what it will never take is dead', async () => {
    const t = await tenancy((at) => pager(at, ['approval.requested']))
    duty.instead = (response) => Boolean(response.writeHead(429).end())
    await asked(t)
    expect(await statuses(t)).toEqual(['pager trigger pending'])
    duty.instead = (response) => Boolean(response.writeHead(400).end())
    plane.clock.advance(DELIVERY.longest)
    await round(t)
    expect(await statuses(t)).toEqual(['pager trigger dead'])
  })
})

test('a channel is tried with one message, and wakes nobody', async () => {
  const t = await tenancy(
    (at) => room(at),
    (at) => pager(at, ['stop.raised']),
  )
  expect(await tryChannel(t.world, couriers, t.admin, 'room')).toMatchObject({ ok: true })
  expect(slack.calls.map(({ body }) => body.text)).toEqual(['channel.tested: room'])
  expect(await tryChannel(t.world, couriers, t.admin, 'pager')).toEqual({ ok: true })
  expect(duty.events.map(({ event_action, payload }) => [event_action, payload?.severity])).toEqual([
    ['trigger', 'info'],
    ['resolve', undefined],
  ])
  expect([...duty.incidents.values()]).toEqual([null])
  slack.instead = (response) => Boolean(response.writeHead(200).end('{"ok":false,"error":"not_in_channel"}'))
  expect(await tryChannel(t.world, couriers, t.admin, 'room')).toMatchObject({
    ok: false,
    why: '127.0.0.1 refused: not_in_channel',
  })
})
