import { writeFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { startMailServer, startReceiver } from '../support/post-office.js'
import { endAll, type Server, scratch, startServer, until } from '../support/server.js'

/** A process that is killed after a message left it and before it could write that down. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: asks, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
const { at, gone } = scratch('channels')
afterAll(async () => {
  await endAll()
  gone()
})

test(`${proves('A6')} kill -9 between sending and writing it down: sent again under the same id, by mail and by webhook`, async () => {
  const [office, receiver] = await Promise.all([startMailServer(), startReceiver()])
  const env = {
    SALLYPORT_SMTP_URL: office.url,
    SALLYPORT_CHANNEL_HOOK: 'a key',
    SALLYPORT_WEBHOOK_PRIVATE_HOSTS: receiver.host,
    SALLYPORT_PUBLIC_URL: 'https://sallyport.test',
  }
  writeFileSync(at('policy.yaml'), POLICY)
  const up = () => startServer({ dataDir: at('data'), policy: at('policy.yaml'), env })
  let server: Server = await up()
  const { channels, principals } = server.client('admin')
  await principals.put('person:ann', { kind: 'person', role: 'approver', email: 'ann@example.com' })
  await channels.put('mail', {
    kind: 'email',
    settings: { from: 'sallyport@example.com' },
    events: ['approval.requested'],
  })
  await channels.put('hook', {
    kind: 'webhook',
    settings: { url: receiver.url, secret_env: 'SALLYPORT_CHANNEL_HOOK', allow_private: true },
    events: ['approval.requested'],
  })
  // Neither receiver says that it has the message: what they got is there, and the sender does not know.
  receiver.answer = () => {}
  const mailed = new Promise<void>((taken) => {
    office.hold = () => {
      taken()
      return new Promise(() => {})
    }
  })
  await server.client('agent').jobs.submit({ topic: 'job.ask' })
  await Promise.all([mailed, until('the post', () => receiver.posts.length > 0)])
  await server.end('SIGKILL')
  office.hold = null
  receiver.answer = (response) => void response.writeHead(204).end()
  server = await up()
  const { deliveries } = server.client('admin')
  const sent = await until('both are sent', async () => {
    const { items } = await deliveries.list()
    return items.length === 2 && items.every(({ status }) => status === 'sent') && items
  })
  const ids = new Set(receiver.posts.map(({ headers }) => headers['sallyport-delivery']))
  expect([receiver.posts.length, ids.size]).toEqual([2, 1])
  const messages = office.mails.map(({ headers }) => headers['message-id']?.[0])
  expect([messages.length, new Set(messages).size]).toEqual([2, 1])
  expect(sent.map(({ attempts }) => attempts)).toEqual([1, 1])
  await server.end('SIGTERM')
  await Promise.all([office.stop(), receiver.stop()])
})
