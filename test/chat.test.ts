import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { APPROVE, REJECT } from '../src/core/slack.js'
import { createKey } from '../src/journey/keys.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call, expectProblem } from './hostile/attacker.js'
import { proves } from './requirements.js'
import {
  type Clicked,
  clickOn,
  type PagerDuty,
  ROUTING,
  SIGNING,
  type Slack,
  type SlackCall,
  signedAsSlack,
  startPagerDuty,
  startSlack,
  TOKEN,
} from './support/chat.js'
import { until } from './support/server.js'

/** Whole servers: people are asked in Slack and click there, whoever is on call is woken by PagerDuty. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: asks, match: { topic: job.ask.> }, decision: REQUIRE_APPROVAL, reason: money leaves, approval: { from: [role:approver], within: 1h } }
  - { id: turns, match: { topic: job.turns.> }, decision: REQUIRE_APPROVAL, approval: { from: ['principal:person:ben'], within: 1h } }
`
let plane: TestPlane
let slack: Slack
let duty: PagerDuty

beforeAll(async () => {
  ;[slack, duty] = await Promise.all([startSlack(), startPagerDuty()])
  plane = await startSallyport({
    policy: POLICY,
    env: {
      SALLYPORT_PUBLIC_URL: 'https://sallyport.test',
      SALLYPORT_CHANNEL_BOT: TOKEN,
      SALLYPORT_CHANNEL_SIGNING: SIGNING,
      SALLYPORT_CHANNEL_PAGER: ROUTING,
      SALLYPORT_WEBHOOK_PRIVATE_HOSTS: `${slack.host},${duty.host}`,
    },
  })
  await admin('PUT', '/principals/person:ann', { kind: 'person', role: 'approver', slack: 'U0ANN' })
  await admin('PUT', '/principals/person:ben', { kind: 'person', role: 'approver', slack: 'U0BEN' })
  expect((await admin('PUT', '/channels/room', room())).status).toBe(200)
})
afterAll(async () => {
  await plane?.stop()
  await Promise.all([slack?.stop(), duty?.stop()])
})

const admin = (method: string, path: string, body?: unknown) => call(plane, plane.keys.admin, method, API + path, body)
const room = (settings: object = {}) => ({
  kind: 'slack',
  settings: {
    conversation: 'C0ROOM',
    workspace: 'T0HOUSE',
    token_env: 'SALLYPORT_CHANNEL_BOT',
    signing_env: 'SALLYPORT_CHANNEL_SIGNING',
    api_url: slack.url,
    allow_private: true,
    ...settings,
  },
  events: ['approval.requested'],
})
const submit = async (topic: string, input: object = {}) =>
  (await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic, input })).body
const statusOf = async (job_id: string) => (await admin('GET', `/jobs/${job_id}`)).body.status
const messageAbout = ({ approval_id }: { approval_id: string }) =>
  until('the message', () =>
    slack.calls.find(({ method, body }) => method === 'chat.postMessage' && JSON.stringify(body).includes(approval_id)),
  )
const arrives = ({ body, headers }: ReturnType<typeof signedAsSlack>, at = 'default/room') =>
  call(plane, null, 'POST', `/slack/${at}`, body, headers)
const click = (message: SlackCall, action = APPROVE, more: Partial<Clicked> = {}) =>
  arrives(clickOn(message.body, action, { at: Date.now(), ...more }))
const refused = async () =>
  (
    (await admin('GET', '/audit?limit=500&kind=chat.refused')).body.items as {
      actor: string
      facts: { reason: string }
    }[]
  ).map(({ actor, facts }) => `${actor} ${facts.reason}`)

describe('an approval in Slack', () => {
  test(`${proves('A6')} is asked there, answered by a click, and says so there`, async () => {
    const job = await submit('job.ask.refund', { amount: 70 })
    const message = await messageAbout(job)
    const answer = await click(message, APPROVE, { reason: 'looked twice' })
    expect([answer.status, answer.text, answer.headers.get('content-type')]).toEqual([
      200,
      '',
      'text/plain; charset=utf-8',
    ])
    expect(await statusOf(job.job_id)).toBe('queued')
    const [yes] = (await admin('GET', `/audit?kind=approval.approved&job_id=${job.job_id}`)).body.items
    expect(yes).toMatchObject({ actor: 'person:ann', facts: { via: 'slack', note: 'looked twice' } })
    const now = await until('the change', () => {
      const found = slack.messages.get(message.ts)
      return JSON.stringify(found).includes('Approved') && found
    })
    expect(JSON.stringify(now)).not.toContain(APPROVE)
    expect((await admin('GET', '/channels/room')).body.health).toMatchObject({ status: 'ok', error: null })
  })

  test('is rejected with a reason, or without one', async () => {
    for (const [reason, note] of [
      ['not today', 'not today'],
      [undefined, 'Rejected in Slack, without a reason'],
    ] as const) {
      const job = await submit('job.ask.refund')
      const sent = await click(await messageAbout(job), REJECT, reason === undefined ? {} : { reason })
      expect([sent.status, await statusOf(job.job_id)]).toEqual([200, 'rejected'])
      const [no] = (await admin('GET', `/audit?kind=approval.rejected&job_id=${job.job_id}`)).body.items
      expect(no.facts).toMatchObject({ note, via: 'slack' })
    }
  })

  test(`${proves('A6')} of who is not asked, of a forger, of a replay: refused as a problem, and on record`, async () => {
    const job = await submit('job.turns.refund')
    const message = await messageAbout(job)
    // A Slack that hangs keeps no click waiting, though there is something to tell.
    let release = () => {}
    slack.hold = () => new Promise((go) => (release = go))
    expectProblem(await click(message), 'not_an_approver')
    await until('it is told', () => slack.told.length > 0)
    slack.hold = null
    release()
    expectProblem(await click(message, APPROVE, { user: 'U0NOBODY' }), 'chat_refused')
    expectProblem(await click(message, APPROVE, { secret: 'forged' }), 'chat_unsigned')
    expectProblem(await click(message, APPROVE, { at: Date.now() - 360_000 }), 'chat_unsigned')
    const sent = clickOn(message.body, APPROVE, { user: 'U0BEN', at: Date.now() })
    for (const path of ['default/none', 'nobody/room', 'default/%00'])
      expect([401, 404]).toContain((await arrives(sent, path)).status)
    expect((await arrives(sent)).status).toBe(200)
    expectProblem(await arrives(sent), 'chat_replayed')
    expect(await statusOf(job.job_id)).toBe('queued')
    await expect
      .poll(refused)
      .toEqual(
        expect.arrayContaining([
          'person:ann not_an_approver',
          'anonymous unknown_person',
          'anonymous forged',
          'anonymous late',
          'anonymous no_channel',
          'anonymous replayed',
        ]),
      )
    await until('who clicked is told', () => slack.told.find(({ user }) => user === 'U0NOBODY'))
  })

  test('takes only what Slack sends: a form, of 64 KB at most, and no key opens more', async () => {
    const large = signedAsSlack(`payload=${'x'.repeat(70_000)}`, Date.now())
    expectProblem(await arrives(large), 'too_large')
    const most = signedAsSlack(`payload=${'x'.repeat(60_000)}`, Date.now())
    expectProblem(await arrives(most), 'chat_refused')
    const json = signedAsSlack('{}', Date.now())
    expectProblem(
      await arrives({ ...json, headers: { ...json.headers, 'content-type': 'application/json' } }),
      'chat_unsigned',
    )
    expectProblem(await call(plane, plane.keys.admin, 'POST', '/slack/default/room'), 'chat_unsigned')
  })

  test('of another tenant is none of ours, with the same app and the same people', async () => {
    const { key } = await createKey(plane.world, 'rival', 'test', { role: 'admin', principal: 'person:root' })
    const settings = { token_env: 'SALLYPORT_CHANNEL_RIVAL__BOT', signing_env: 'SALLYPORT_CHANNEL_SIGNING' }
    const put = (body: unknown) => call(plane, key, 'PUT', `${API}/channels/room`, body)
    expect((await put(room(settings))).body.faults[0].path).toBe('channels.room.signing_env')
    expect((await put(room({ ...settings, signing_env: 'SALLYPORT_CHANNEL_RIVAL__SIGNING' }))).status).toBe(200)
    const job = await submit('job.ask.refund')
    expectProblem(
      await arrives(clickOn((await messageAbout(job)).body, APPROVE, { at: Date.now() }), 'rival/room'),
      'chat_unsigned',
    )
    const { body } = await call(plane, key, 'GET', `${API}/channels/room`)
    expect(body.health).toMatchObject({
      status: 'unconfigured',
      error: expect.stringContaining('SALLYPORT_CHANNEL_RIVAL__BOT'),
    })
    expect(await statusOf(job.job_id)).toBe('pending_approval')
  })
})

test('a channel says what is wrong with it, and its file form is the same', async () => {
  for (const [wrong, path] of [
    [{ conversation: '#general' }, 'conversation'],
    [{ workspace: 'house' }, 'workspace'],
    [{ api_url: 'https://evil.example/api', allow_private: false }, 'api_url'],
    [{ token_env: 'HOME' }, 'token_env'],
  ] as const) {
    const { status, body } = await admin('PUT', '/channels/wrong', room(wrong))
    expect([status, body.faults[0].path]).toEqual([422, `channels.wrong.${path}`])
  }
  const text = `version: v1
channels:
  - { channel: night, kind: pagerduty, routing_key_env: SALLYPORT_CHANNEL_PAGER, events: [approval.escalated] }
  - channel: chat
    kind: slack
    conversation: C012AB3CD
    workspace: T0HOUSE
    token_env: SALLYPORT_CHANNEL_BOT
    signing_env: SALLYPORT_CHANNEL_SIGNING
    events: [approval.requested]
`
  const file = (more = '') => ({ path: 'sallyport.yaml', text: text + more })
  const { body } = await admin('POST', '/directory/apply', file())
  expect(body.changes.map(({ change, id }: { change: string; id: string }) => `${change} ${id}`)).toEqual([
    'added night',
    'added chat',
  ])
  expect((await admin('POST', '/directory/diff', file())).body.changes).toEqual([])
  const shown = (await admin('GET', '/channels/night')).body
  expect(shown.settings).toEqual({
    routing_key_env: 'SALLYPORT_CHANNEL_PAGER',
    severity: 'error',
    api_url: 'https://events.pagerduty.com',
    allow_private: false,
  })
  const { status } = await admin(
    'POST',
    '/directory/apply',
    file(`people: [{ principal: person:x, role: viewer, slack: U0ANN }]\n`),
  )
  expect(status).toBe(422)
})

test(`${proves('O5')} PagerDuty is told of what it is for, and of its end`, async () => {
  const settings = {
    routing_key_env: 'SALLYPORT_CHANNEL_PAGER',
    api_url: duty.url,
    allow_private: true,
    severity: 'critical',
  }
  await admin('PUT', '/channels/pager', { kind: 'pagerduty', settings, events: ['stop.raised'] })
  expect((await admin('POST', '/channels/pager/test')).body).toEqual({ ok: true, why: null })
  const stop = await admin('POST', '/stops', { scope: { topic: 'job.never.>' }, reason: 'it pays twice', wait_ms: 0 })
  const raised = await until('the incident', () =>
    duty.events.find(({ dedup_key }) => dedup_key.includes(stop.body.stop_id)),
  )
  expect(raised).toMatchObject({
    event_action: 'trigger',
    payload: { severity: 'critical', class: 'stop.raised', summary: expect.stringContaining('it pays twice') },
    client_url: 'https://sallyport.test',
  })
  await until('it is marked', async () => {
    const { items } = (await admin('GET', '/deliveries?channel=pager')).body
    return items[0]?.status === 'sent' && items[0].recipient === 'trigger'
  })
})
