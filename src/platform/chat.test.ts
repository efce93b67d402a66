import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type PagerDuty, ROUTING, type Slack, startPagerDuty, startSlack, TOKEN } from '../../test/support/chat.js'
import type { PageCall, Sent, SlackCall } from './courier.js'
import { callPagerDuty } from './pagerduty.js'
import { callSlack } from './slack.js'

/** What the two say, and whom that stops: one message, or all of them. */
let slack: Slack
let duty: PagerDuty
beforeAll(async () => {
  ;[slack, duty] = await Promise.all([startSlack(), startPagerDuty()])
})
afterAll(() => Promise.all([slack.stop(), duty.stop()]))
beforeEach(() => {
  slack.instead = null
  duty.instead = null
})

const blocks = [{ type: 'section', text: { type: 'plain_text', text: 'x', emoji: false } }]
const message = { channel: 'C0ROOM', text: 'x', blocks }
const say = (more: Partial<SlackCall> = {}, token = TOKEN, hosts = [slack.host], wholeMs?: number) =>
  callSlack(
    { token_env: 'X', api_url: slack.url, allow_private: true, method: 'chat.postMessage', body: message, ...more },
    token,
    { privateHosts: hosts, wholeMs },
  )
const event = {
  event_action: 'trigger',
  dedup_key: 'x',
  payload: { summary: 'x', source: 'x', severity: 'error' },
}
const page = (more: Partial<PageCall> = {}, key = ROUTING, hosts = [duty.host]) =>
  callPagerDuty({ routing_key_env: 'X', api_url: duty.url, allow_private: true, event, ...more }, key, {
    privateHosts: hosts,
  })
const fault = (sent: Sent) => (sent.ok ? 'ok' : `${sent.fault}${sent.final ? ' for good' : ''}: ${sent.why}`)

describe('Slack', () => {
  test('takes a message and names it, and takes its change', async () => {
    const sent = await say()
    expect(sent).toEqual({ ok: true, posted: '1700000000.000001' })
    const changed = { ...message, ts: '1700000000.000001', text: 'y' }
    expect(await say({ method: 'chat.update', body: changed })).toEqual(sent)
    expect(slack.messages.get('1700000000.000001')).toEqual(changed)
    expect(await say({ method: 'chat.postEphemeral', body: { ...message, user: 'U1' } })).toMatchObject({ ok: true })
  })

  test.each([
    ['a token it does not know', () => say({}, 'xoxb-other'), 'channel: 127.0.0.1 refused: invalid_auth'],
    [
      'a conversation there is not',
      () => say({ body: { ...message, channel: 'X' } }),
      'channel: 127.0.0.1 refused: channel_not_found',
    ],
    [
      'blocks it cannot show',
      () => say({ body: { ...message, blocks: [{ type: 'image' }] } }),
      'delivery for good: 127.0.0.1 refused: invalid_blocks',
    ],
    [
      'too much at once',
      () =>
        say({
          body: {
            ...message,
            blocks: Array(40).fill({ ...blocks[0], text: { type: 'plain_text', text: 'x'.repeat(400) } }),
          },
        }),
      'delivery for good: 127.0.0.1 refused: msg_blocks_too_long',
    ],
    [
      'a change of what is gone',
      () => say({ method: 'chat.update', body: { ...message, ts: '1.1' } }),
      'delivery for good: 127.0.0.1 refused: message_not_found',
    ],
  ])('%s: %#', async (_, call, said) => expect(fault(await call())).toBe(said))

  test.each([
    [200, '{"ok":false,"error":"ratelimited"}', 'channel: 127.0.0.1 refused: ratelimited'],
    [200, '{"ok":false,"error":"<b>"}', 'channel: 127.0.0.1 refused: no reason'],
    [200, '{"ok":false,"error":"something_new"}', 'channel: 127.0.0.1 refused: something_new'],
    [200, '{"ok":true}', 'channel: 127.0.0.1 named no message'],
    [200, '{"ok":true,"ts":"x"}', 'channel: 127.0.0.1 named no message'],
    [200, 'null', 'channel: 127.0.0.1 answered no JSON'],
    [200, '<html>', 'channel: 127.0.0.1 answered no JSON'],
    [500, '', 'channel: 127.0.0.1 answered 500'],
    [302, '', 'channel: 127.0.0.1 answered 302'],
  ])('that answers %i %s', async (status, body, said) => {
    slack.instead = (response) => Boolean(response.writeHead(status, { location: '/' }).end(body))
    expect(fault(await say())).toBe(said)
  })

  test('that has too many calls says for how long', async () => {
    slack.instead = (response) => Boolean(response.writeHead(429, { 'retry-after': '30' }).end())
    expect(await say()).toMatchObject({ fault: 'channel', retry_ms: 30_000 })
    slack.instead = (response) => Boolean(response.writeHead(429, { 'retry-after': 'Fri, 20 Nov 2026' }).end())
    expect(await say()).not.toHaveProperty('retry_ms')
  })

  test('that hangs is given up', async () => {
    slack.instead = () => true
    expect(fault(await say({}, TOKEN, [slack.host], 100))).toBe('channel: 127.0.0.1 did not answer in 100 ms')
  })
})

describe('PagerDuty', () => {
  test('takes an event, and refuses one that is none for good', async () => {
    expect(await page()).toEqual({ ok: true })
    expect(duty.events.at(-1)).toEqual({ ...event, routing_key: ROUTING })
    expect(fault(await page({ event: { ...event, dedup_key: 'x'.repeat(256) } }))).toBe(
      'delivery for good: 127.0.0.1 answered 400',
    )
  })

  test.each([
    [429, 'channel: 127.0.0.1 answered 429'],
    [500, 'channel: 127.0.0.1 answered 500'],
    [403, 'channel: 127.0.0.1 answered 403'],
    [200, 'channel: 127.0.0.1 answered 200'],
  ])('that answers %i', async (status, said) => {
    duty.instead = (response) => Boolean(response.writeHead(status, { 'retry-after': '60' }).end())
    const sent = await page()
    expect(fault(sent)).toBe(said)
    expect(sent).toMatchObject({ retry_ms: 60_000 })
  })
})

test('a token or key goes to Slack and PagerDuty, or to a host that the server lists, and to no other', async () => {
  const calls = [slack.calls.length, duty.events.length]
  expect(fault(await say({}, TOKEN, []))).toMatch(/is not listed, so it is told no token$/)
  expect(fault(await page({}, ROUTING, []))).toMatch(/is not listed, so it is told no token$/)
  expect(fault(await say({ allow_private: false }))).toMatch(/is not listed, so it is told no token$/)
  expect(fault(await say({ api_url: 'https://93.184.216.34/api' }, TOKEN, []))).toMatch(/is told no token$/)
  expect([slack.calls.length, duty.events.length]).toEqual(calls)
})
