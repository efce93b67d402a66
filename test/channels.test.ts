import { createHmac } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { storeSnapshot } from '../src/journey/activate.js'
import { createKey } from '../src/journey/keys.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { type Answer, API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'
import {
  type MailServer,
  type ReceivedMail,
  type Receiver,
  startMailServer,
  startReceiver,
} from './support/post-office.js'
import { until } from './support/server.js'

/** People are asked by mail and answer by its link; machines are told by signed webhooks. Real servers on both ends. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: asks, match: { topic: job.ask.> }, decision: REQUIRE_APPROVAL, reason: money leaves the house, approval: { from: [role:approver], within: 1h } }
  - { id: two, match: { topic: job.two.> }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 1h } }
  - { id: turns, match: { topic: job.turns.> }, decision: REQUIRE_APPROVAL, approval: { levels: [{ from: ['principal:person:ann'], need: 1, within: 1h }, { from: ['principal:person:ben'], need: 1, within: 1h }] } }
  - { id: runs, match: { topic: job.run.> }, decision: ALLOW }
`
const PUBLIC = 'https://sallyport.test/base'
const FORM = 'application/x-www-form-urlencoded'

let plane: TestPlane
let office: MailServer
let receiver: Receiver

beforeAll(async () => {
  office = await startMailServer()
  receiver = await startReceiver()
  plane = await startSallyport({
    policy: POLICY,
    env: {
      SALLYPORT_PUBLIC_URL: `${PUBLIC}/`,
      SALLYPORT_SMTP_URL: office.url,
      SALLYPORT_CHANNEL_HOOK: 'a key that both ends know',
      SALLYPORT_WEBHOOK_PRIVATE_HOSTS: receiver.host,
    },
  })
  for (const [principal, email, role] of [
    ['person:ann', 'ann@example.com', 'approver'],
    ['person:ben', 'ben@example.com', 'approver'],
    ['person:vera', 'vera@example.com', 'viewer'],
  ])
    await admin('PUT', `/principals/${principal}`, { kind: 'person', role, email })
  await admin('PUT', '/channels/mail', {
    kind: 'email',
    settings: { from: 'Sallyport <sallyport@example.com>' },
    events: ['approval.requested', 'approval.rebound'],
  })
})
afterAll(async () => {
  await plane?.stop()
  await office?.stop()
  await receiver?.stop()
})

const admin = (method: string, path: string, body?: unknown) => call(plane, plane.keys.admin, method, API + path, body)
const submit = async (topic: string, input: object = {}) =>
  (await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic, input })).body
const statusOf = async (job_id: string) => (await admin('GET', `/jobs/${job_id}`)).body.status
const entries = async (kind: string) =>
  (await admin('GET', `/audit?limit=500&kind=${kind}`)).body.items as {
    actor: string
    facts: Record<string, unknown>
  }[]

/** The newest mail to this address about this question. */
const mailTo = (address: string, { approval_id }: { approval_id: string }, not?: ReceivedMail) =>
  until(`a mail to ${address}`, () =>
    office.mails.findLast((mail) => mail !== not && mail.to.includes(address) && mail.text.includes(approval_id)),
  )
const tokenIn = (mail: ReceivedMail) => {
  const [, token] = new RegExp(`${PUBLIC}/links/(\\S+)`).exec(mail.text) ?? []
  if (token === undefined) throw new Error(`no link in ${mail.text}`)
  return token
}
const open = (token: string) => call(plane, null, 'GET', `/links/${token}`)
const nonceIn = (page: Answer) => /name="nonce" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
const send = (token: string, fields: Record<string, string>) =>
  call(plane, null, 'POST', `/links/${token}`, new URLSearchParams(fields).toString(), { 'content-type': FORM })
const yes = async (token: string, more: Record<string, string> = {}) =>
  send(token, { nonce: nonceIn(await open(token)), answer: 'approve', read: 'yes', ...more })

describe('an approval by mail', () => {
  test(`${proves('A6')} goes to whom it asks, and is answered by its link alone`, async () => {
    const job = await submit('job.ask.refund', {
      amount: 70,
      note: 'see http://evil.example/x\r\nBcc: all@example.com',
    })
    const mail = await mailTo('ann@example.com', job)
    await mailTo('ben@example.com', job)
    const about = office.mails.filter(({ text }) => text.includes(job.approval_id))
    expect(about.flatMap(({ to }) => to).sort()).toEqual(['ann@example.com', 'ben@example.com'])
    expect(mail.headers['message-id']?.[0]).toMatch(/^<dlv_[0-9a-z]{26}@example\.com>$/)
    expect(mail.headers.subject?.[0]).toMatch(/^Approval v1:[0-9a-f]{7}: agent:first asks for job\.ask\.refund$/)
    expect(mail.headers.bcc).toBeUndefined()
    expect(mail.text).toContain('money leaves the house')
    expect(mail.text).toContain('"amount": 70')
    expect(mail.text).not.toContain('http://evil')
    const token = tokenIn(mail)
    // What looks at links in mails by itself does so any number of times, by every reading method there is.
    const page = await open(token)
    for (let look = 0; look < 3; look++) expect((await open(token)).status).toBe(200)
    expect(await statusOf(job.job_id)).toBe('pending_approval')
    expect(page.text).toContain(job.grant_hash)
    expect(page.text).toContain(job.job_hash)
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'; form-action 'self'")
    expect(page.headers.get('referrer-policy')).toBe('no-referrer')
    expect(page.headers.get('cache-control')).toBe('no-store')
    const done = await yes(token, { note: 'looked <b>twice</b>' })
    expect([done.status, done.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(await statusOf(job.job_id)).toBe('queued')
    const approved = (await entries('approval.approved')).find(({ facts }) => facts.job_id === job.job_id)
    expect(approved).toMatchObject({ actor: 'person:ann', facts: { via: 'email', note: 'looked <b>twice</b>' } })
    // The other person's link is closed with the question, and this one is used.
    expect((await open(token)).status).toBe(410)
    expect((await open(token)).text).toContain('one answer was given with it')
    expect((await open(tokenIn(await mailTo('ben@example.com', job)))).status).toBe(410)
    const refused = await entries('link.refused')
    expect(refused.map(({ actor, facts }) => [actor, facts.reason])).toEqual(
      expect.arrayContaining([
        ['person:ann', 'used'],
        ['person:ben', 'closed'],
      ]),
    )
  })

  test('is rejected with a reason that the agent reads', async () => {
    const job = await submit('job.ask.refund')
    const token = tokenIn(await mailTo('ben@example.com', job))
    const nonce = nonceIn(await open(token))
    expect((await send(token, { nonce, answer: 'reject', reason: ' ' })).status).toBe(422)
    expect((await send(token, { nonce, answer: 'reject', reason: 'not today' })).status).toBe(200)
    expect(await statusOf(job.job_id)).toBe('rejected')
    expect((await entries('approval.rejected'))[0]).toMatchObject({
      actor: 'person:ben',
      facts: { via: 'email', note: 'not today' },
    })
  })

  test('of two people takes one answer of each, and never two of one', async () => {
    const job = await submit('job.two.refund')
    const [ann, ben] = [tokenIn(await mailTo('ann@example.com', job)), tokenIn(await mailTo('ben@example.com', job))]
    const nonce = nonceIn(await open(ann))
    // The same answer twice at once, as a double click is.
    const twice = await Promise.all([
      send(ann, { nonce, answer: 'approve', read: 'yes' }),
      send(ann, { nonce, answer: 'approve', read: 'yes' }),
    ])
    expect(twice.map(({ status }) => status).sort()[0]).toBe(200)
    expect(twice.map(({ status }) => status).sort()[1]).toBeGreaterThanOrEqual(409)
    expect(await statusOf(job.job_id)).toBe('pending_approval')
    expect((await send(ann, { nonce, answer: 'approve', read: 'yes' })).status).toBe(410)
    expect((await yes(ben)).status).toBe(200)
    expect(await statusOf(job.job_id)).toBe('queued')
  })
})

test('a flow of levels mails whom each asks, when it asks them', async () => {
  const job = await submit('job.turns.refund')
  const ann = await mailTo('ann@example.com', job)
  expect((await yes(tokenIn(ann))).status).toBe(200)
  expect(await statusOf(job.job_id)).toBe('pending_approval')
  const ben = await mailTo('ben@example.com', job)
  const about = office.mails.filter(({ text }) => text.includes(job.approval_id))
  expect(about.map(({ to }) => to[0])).toEqual(['ann@example.com', 'ben@example.com'])
  // Edited by who was asked first: what was mailed speaks of something else.
  const second = await submit('job.two.refund', { amount: 90 })
  const old = await mailTo('ben@example.com', second)
  const key = await createKey(plane.world, 'default', 'test', { role: 'approver', principal: 'person:ann' })
  const body = { grant_hash: second.grant_hash, input: { amount: 10 } }
  const edited = await call(plane, key.key, 'POST', `${API}/approvals/${second.approval_id}/edit`, body)
  expect(edited.status).toBe(200)
  const fresh = await mailTo('ben@example.com', second, old)
  expect(fresh.text).toContain('"amount": 10')
  expect((await open(tokenIn(old))).status).toBe(409)
  expect((await yes(tokenIn(fresh))).status).toBe(200)
  expect(await statusOf(second.job_id)).toBe('queued')
  expect((await yes(tokenIn(ben))).status).toBe(200)
  expect(await statusOf(job.job_id)).toBe('queued')
})

describe('a link', () => {
  test(`${proves('A6')} that is forged, or whose answer is not from its page, does nothing and is on record`, async () => {
    const job = await submit('job.ask.refund')
    const token = tokenIn(await mailTo('ann@example.com', job))
    const forged = [
      `${token.slice(0, 27)}${'A'.repeat(43)}`,
      `${'0'.repeat(26)}_${token.slice(27)}`,
      'x',
      '%00',
      `${token}x`,
    ]
    for (const each of forged) {
      expect((await open(each)).status, each).toBe(404)
      expect((await send(each, { answer: 'approve', read: 'yes', nonce: 'x' })).status, each).toBe(404)
    }
    const page = nonceIn(await open(token))
    for (const nonce of ['', 'x', page.slice(0, -2), `0.${page.split('.')[1]}`])
      expect((await send(token, { nonce, answer: 'approve', read: 'yes' })).status).toBe(403)
    // No tick, no answer; no form, no answer.
    expect((await send(token, { nonce: page, answer: 'approve' })).status).toBe(422)
    expect((await send(token, { nonce: page, answer: 'yes' })).status).toBe(422)
    expect((await call(plane, null, 'POST', `/links/${token}`)).status).toBe(403)
    expect(await statusOf(job.job_id)).toBe('pending_approval')
    const reasons = (await entries('link.refused')).map(({ facts }) => facts.reason)
    expect(reasons).toEqual(expect.arrayContaining(['forged', 'no_page']))
    expect((await yes(token)).status).toBe(200)
  })

  test('is stale once what is asked changed, and the next mail has another', async () => {
    const job = await submit('job.ask.refund')
    const first = await mailTo('ann@example.com', job)
    const token = tokenIn(first)
    const page = nonceIn(await open(token))
    // Another snapshot with the same rule: the question is bound anew.
    const files = [
      { path: 'policy.yaml', text: `${POLICY}  - { id: more, match: { topic: job.more }, decision: DENY }\n` },
    ]
    await admin('POST', '/policy/snapshots', { files, activate: true })
    const next = tokenIn(await mailTo('ann@example.com', job, first))
    expect((await open(token)).status).toBe(409)
    expect((await send(token, { nonce: page, answer: 'approve', read: 'yes' })).status).toBe(409)
    expect(await statusOf(job.job_id)).toBe('pending_approval')
    expect((await yes(next)).status).toBe(200)
    expect(await statusOf(job.job_id)).toBe('queued')
    expect((await entries('link.refused')).map(({ facts }) => facts.reason)).toContain('stale')
  })

  test('of somebody who may no longer answer opens nothing', async () => {
    await admin('PUT', '/principals/person:cora', { kind: 'person', role: 'approver', email: 'cora@example.com' })
    const job = await submit('job.two.refund')
    const token = tokenIn(await mailTo('cora@example.com', job))
    const nonce = nonceIn(await open(token))
    await admin('PUT', '/principals/person:cora', { kind: 'person', role: 'viewer', email: 'cora@example.com' })
    expect((await open(token)).status).toBe(403)
    await admin('PUT', '/principals/person:cora', { kind: 'person', role: 'approver', email: 'cora@example.com' })
    expect((await send(token, { nonce, answer: 'approve', read: 'yes' })).status).toBe(200)
    // Her answer counts no more once she is shut out: another one does not complete it.
    await admin('DELETE', '/principals/person:cora')
    expect((await open(token)).status).toBe(410)
    expect((await yes(tokenIn(await mailTo('ann@example.com', job)))).status).toBe(200)
    expect(await statusOf(job.job_id)).toBe('pending_approval')
  })

  test('is answered from the form of its page alone: a form of the API is refused', async () => {
    const job = await submit('job.ask.refund')
    const path = `${API}/approvals/${job.approval_id}/reject`
    const sent = await call(plane, plane.keys.approver, 'POST', path, 'reason=x', { 'content-type': FORM })
    expect(sent.status).toBe(415)
    expect(await statusOf(job.job_id)).toBe('pending_approval')
  })
})

describe('a webhook', () => {
  const settings = () => ({ url: receiver.url, secret_env: 'SALLYPORT_CHANNEL_HOOK', allow_private: true })
  test(`${proves('A6')} is signed over its time and body, and names its delivery`, async () => {
    const body = { kind: 'webhook', settings: settings(), events: ['approval.requested'], topics: ['job.ask.hook'] }
    expect((await admin('PUT', '/channels/hook', body)).status).toBe(200)
    await submit('job.ask.other')
    const job = await submit('job.ask.hook', { amount: 1 })
    const post = await until('a post', () => receiver.posts.at(-1))
    const { 'sallyport-timestamp': at, 'sallyport-signature': signature, 'sallyport-delivery': id } = post.headers
    const own = createHmac('sha256', 'a key that both ends know').update(`${at}.${post.body}`).digest('hex')
    expect(signature).toBe(`v1=${own}`)
    expect(JSON.parse(post.body)).toMatchObject({
      delivery_id: id,
      event: 'approval.requested',
      tenant: 'default',
      entry: { kind: 'approval.requested', job_id: job.job_id, topic: 'job.ask.hook' },
      approval: { approval_id: job.approval_id, grant_hash: job.grant_hash, status: 'pending' },
    })
    expect(receiver.posts.length).toBe(1)
    const sent = await until('it is marked', async () => {
      const { items } = (await admin('GET', '/deliveries?channel=hook')).body
      return items[0]?.status === 'sent' && items
    })
    expect(sent.length).toBe(1)
  })

  test('that hangs holds up no other, and both are counted', async () => {
    const declare = (name: string, path: string) =>
      admin('PUT', `/channels/${name}`, {
        kind: 'webhook',
        settings: { ...settings(), url: `http://${receiver.host}/${path}` },
        events: ['approval.requested'],
        topics: ['job.ask.hang'],
      })
    await declare('a-hangs', 'hangs')
    await declare('b-well', 'well')
    const hung: ServerResponse[] = []
    receiver.answer = (response, { path }) =>
      path === '/hangs' ? void hung.push(response) : void response.writeHead(204).end()
    for (let n = 0; n < 3; n++) {
      const job = await submit('job.ask.hang', { n })
      await until('the other has it', () =>
        receiver.posts.some(({ path, body }) => path === '/well' && body.includes(job.approval_id)),
      )
    }
    // One call is out all the while; the rest of its messages wait behind it.
    expect(hung.length).toBe(1)
    await until('they are counted', async () =>
      /sallyport_deliveries\{tenant="default",channel="a-hangs",status="pending"\} 3/.test(
        (await call(plane, null, 'GET', '/metrics')).text,
      ),
    )
    receiver.answer = (response) => void response.writeHead(204).end()
    hung[0]?.writeHead(204).end()
    await until('all are sent', async () => {
      const { items } = (await admin('GET', '/deliveries?channel=a-hangs')).body
      return items.every(({ status }: { status: string }) => status === 'sent')
    })
  })

  test('without its secret says so, and is healthy with it', async () => {
    const events = ['policy.activated']
    const absent = { ...settings(), secret_env: 'SALLYPORT_CHANNEL_ABSENT' }
    const { body } = await admin('PUT', '/channels/absent', { kind: 'webhook', settings: absent, events })
    expect(body.health).toMatchObject({ status: 'unconfigured' })
    expect(body.health.error).toContain('SALLYPORT_CHANNEL_ABSENT')
    expect((await admin('POST', '/channels/absent/test')).body.ok).toBe(false)
    expect(
      (await admin('PUT', '/channels/absent', { kind: 'webhook', settings: settings(), events })).body.health.status,
    ).toBe('ok')
    expect((await admin('POST', '/channels/absent/test')).body).toEqual({ ok: true, why: null })
    expect((await admin('DELETE', '/channels/absent')).status).toBe(200)
    expect((await admin('GET', '/channels/absent')).status).toBe(404)
  })

  test.each([
    [{ url: 'http://example.com/' }, 'url'],
    [{ url: 'https://user:pass@example.com/' }, 'url'],
    [{ url: 'file:///etc/passwd' }, 'url'],
    [{ secret_env: 'HOME' }, 'secret_env'],
    [{ secret_env: 'SALLYPORT_SIGNING_KEY' }, 'secret_env'],
  ])('is refused with %j', async (wrong, path) => {
    const given = { url: 'https://example.com/', secret_env: 'SALLYPORT_CHANNEL_HOOK', ...wrong }
    const { status, body } = await admin('PUT', '/channels/wrong', {
      kind: 'webhook',
      settings: given,
      events: ['policy.activated'],
    })
    expect([status, body.faults[0].path]).toEqual([422, `channels.wrong.${path}`])
  })
})

describe('who may', () => {
  test('look, declare and retry is said by the role', async () => {
    const key = async (role: string) =>
      (
        await createKey(plane.world, 'default', 'test', {
          role: role as never,
          principal: `person:${role}-of-channels`,
        })
      ).key
    const status = async (role: string, method: string, path: string, body?: unknown) =>
      (await call(plane, await key(role), method, API + path, body)).status
    const put = {
      kind: 'webhook',
      settings: { url: 'https://example.com/', secret_env: 'SALLYPORT_CHANNEL_X' },
      events: ['policy.activated'],
    }
    for (const role of ['operator', 'auditor']) expect(await status(role, 'GET', '/channels'), role).toBe(200)
    for (const role of ['approver', 'viewer']) expect(await status(role, 'GET', '/deliveries'), role).toBe(403)
    for (const role of ['operator', 'auditor', 'approver'])
      expect(await status(role, 'PUT', '/channels/theirs', put), role).toBe(403)
    expect(await status('operator', 'POST', '/deliveries/dlv_00000000000000000000000000/retry')).toBe(404)
    expect(await status('auditor', 'POST', '/deliveries/dlv_00000000000000000000000000/retry')).toBe(403)
  })
})

test(`${proves('O5')} an alert goes to the addresses of its channel, and without any to whom it concerns`, async () => {
  const settings = { from: 'alerts@example.com' }
  const team = { leads: ['person:vera'] }
  await admin('PUT', '/teams/support', team)
  await admin('PUT', '/principals/agent:helper', { kind: 'agent', team: 'support' })
  const put = (name: string, to: string[], events: string[]) =>
    admin('PUT', `/channels/${name}`, { kind: 'email', settings: { ...settings, to }, events })
  await put('ops', ['ops@example.com'], ['policy.stored', 'principal.disabled'])
  await put('leads', [], ['principal.disabled'])
  const files = [
    { path: 'policy.yaml', text: `${POLICY}  - { id: other, match: { topic: job.other }, decision: DENY }\n` },
  ]
  expect((await admin('POST', '/policy/snapshots', { files })).status).toBe(201)
  const stored = await until('the alert', () => office.mails.find(({ to }) => to.includes('ops@example.com')))
  expect(stored.headers.subject?.[0]).toMatch(/^policy\.stored/)
  expect(stored.text).toContain('admin:first')
  await admin('DELETE', '/principals/agent:helper')
  const lead = await until('the lead’s', () => office.mails.find(({ to }) => to.includes('vera@example.com')))
  expect(lead.headers.subject?.[0]).toBe('principal.disabled: agent:helper')
  expect(lead.text).not.toContain('/links/')
})

test('nobody reaches the channels, messages or secrets of another tenant', async () => {
  await storeSnapshot(plane.world, 'rival', 'person:rival', [{ path: 'policy.yaml', text: POLICY }], {
    source: 'api',
    activate: true,
    note: null,
  })
  const { key } = await createKey(plane.world, 'rival', 'test', { role: 'admin', principal: 'person:rival' })
  const rival = (method: string, path: string, body?: unknown) => call(plane, key, method, API + path, body)
  const { items } = (await admin('GET', '/deliveries?limit=1')).body
  expect(items.length).toBe(1)
  expect((await rival('GET', '/channels')).body.items).toEqual([])
  expect((await rival('GET', '/deliveries')).body.items).toEqual([])
  const theirs = items[0].delivery_id
  for (const [method, path] of [
    ['GET', '/channels/mail'],
    ['DELETE', '/channels/mail'],
    ['POST', '/channels/mail/test'],
    ['GET', `/deliveries/${theirs}`],
    ['POST', `/deliveries/${theirs}/retry`],
  ] as const)
    expect((await rival(method, path)).status, `${method} ${path}`).toBe(404)
  // Nor signs with what is not its own.
  const settings = { url: 'https://example.com/', secret_env: 'SALLYPORT_CHANNEL_HOOK' }
  const put = await rival('PUT', '/channels/mail', { kind: 'webhook', settings, events: ['policy.activated'] })
  expect([put.status, put.body.faults?.[0]?.path]).toEqual([422, 'channels.mail.secret_env'])
  expect((await admin('GET', '/channels/mail')).body.kind).toBe('email')
})

test('channels stand in the file with everybody else', async () => {
  const file = (channels: string) => ({
    path: 'sallyport.yaml',
    text: `version: v1\nchannels:\n${channels}`,
  })
  const own = `  - { channel: siem, kind: webhook, url: 'https://siem.example.com/', secret_env: SALLYPORT_CHANNEL_SIEM, events: [policy.activated] }\n`
  const { body } = await admin('POST', '/directory/apply', file(own))
  expect(body.changes).toEqual([{ change: 'added', what: 'channel', id: 'siem', fields: [] }])
  expect((await admin('POST', '/directory/diff', file(own))).body.changes).toEqual([])
  const wrong = await admin('POST', '/directory/apply', file(own.replace('policy.activated', 'job.leased')))
  expect([wrong.status, wrong.body.faults[0].path]).toEqual([422, 'channels.siem.events'])
  const unknown = await admin('POST', '/directory/apply', file(own.replace('secret_env', 'secret')))
  expect([unknown.status, unknown.body.faults[0].code]).toEqual([422, 'unknown_key'])
  const removed = await admin('POST', '/directory/apply', { path: 'sallyport.yaml', text: 'version: v1\n' })
  expect(removed.body.changes).toEqual([{ change: 'removed', what: 'channel', id: 'siem', fields: [] }])
  // Those that were declared by API stay.
  expect((await admin('GET', '/channels/mail')).status).toBe(200)
})
