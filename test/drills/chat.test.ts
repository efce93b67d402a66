import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { APPROVE } from '../../src/core/slack.js'
import { type Plane, start } from '../../src/main.js'
import { silentLog } from '../../src/platform/log.js'
import { API, call } from '../hostile/attacker.js'
import { proves } from '../requirements.js'
import { clickOn, SIGNING, type Slack, startSlack, TOKEN } from '../support/chat.js'
import { database, signingKeyFile } from '../support/engines.js'
import { scratch, until } from '../support/server.js'

/** Two nodes on one Postgres: a click may arrive at any of them, and a stolen one at all of them. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: two, match: { topic: job.two }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 1h } }
`
const place = scratch('chat')
let slack: Slack
let nodes: Plane[] = []

beforeAll(async () => {
  slack = await startSlack()
  writeFileSync(place.at('policy.yaml'), POLICY)
  const env = {
    SALLYPORT_SIGNING_KEY: signingKeyFile(place.at('signing.key')),
    SALLYPORT_CHANNEL_BOT: TOKEN,
    SALLYPORT_CHANNEL_SIGNING: SIGNING,
    SALLYPORT_WEBHOOK_PRIVATE_HOSTS: slack.host,
  }
  const databaseUrl = await database()
  const up = (name: string) =>
    start(
      loadConfig(env, {
        dataDir: place.at(name),
        databaseUrl,
        port: 0,
        policy: place.at('policy.yaml'),
        logLevel: 'silent',
      }),
      { log: silentLog },
    )
  // The first makes the tables and the first keys.
  const first = await up('n0')
  nodes = [first, await up('n1')]
})
afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()))
  await slack?.stop()
  place.gone()
})

test(`${proves('A6')} the same click at two nodes, many times at once, is one answer`, async () => {
  const [first, second] = nodes as [Plane, Plane]
  const key = (role: string) => readFileSync(first.keyFiles[role] as string, 'utf8').trim()
  const admin = (method: string, path: string, body?: unknown) => call(first, key('admin'), method, API + path, body)
  for (const name of ['ann', 'ben'])
    await admin('PUT', `/principals/person:${name}`, {
      kind: 'person',
      role: 'approver',
      slack: `U0${name.toUpperCase()}`,
    })
  const settings = {
    conversation: 'C0ROOM',
    workspace: 'T0HOUSE',
    token_env: 'SALLYPORT_CHANNEL_BOT',
    signing_env: 'SALLYPORT_CHANNEL_SIGNING',
    api_url: slack.url,
    allow_private: true,
  }
  await admin('PUT', '/channels/room', { kind: 'slack', settings, events: ['approval.requested'] })
  const job = (await call(first, key('agent'), 'POST', `${API}/jobs`, { topic: 'job.two' })).body
  const message = await until('the message', () => slack.calls[0])
  const arrives = (node: Plane, { body, headers }: ReturnType<typeof clickOn>) =>
    call(node, null, 'POST', '/slack/default/room', body, headers).then(({ status }) => status)
  const ann = clickOn(message.body, APPROVE, { at: Date.now() })
  const statuses = await Promise.all([first, second, second, first, second].map((node) => arrives(node, ann)))
  expect(statuses.sort()).toEqual([200, 409, 409, 409, 409])
  expect((await admin('GET', `/approvals/${job.approval_id}`)).body.answers.length).toBe(1)
  expect(await arrives(second, clickOn(message.body, APPROVE, { at: Date.now(), user: 'U0BEN' }))).toBe(200)
  expect((await admin('GET', `/jobs/${job.job_id}`)).body.status).toBe('queued')
  await until('the message says so', () => JSON.stringify(slack.messages.get(message.ts)).includes('"Approved"'))
})
