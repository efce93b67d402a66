import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { channelFaults, concerns, DELIVERY, type DeclaredChannel, EVENTS, retryDelay } from './channel.js'

const hook = (settings: object = {}, more: object = {}): DeclaredChannel =>
  ({
    channel: 'siem',
    kind: 'webhook',
    settings: {
      url: 'https://siem.example.com/x',
      secret_env: 'SALLYPORT_CHANNEL_SIEM',
      allow_private: false,
      ...settings,
    },
    events: ['approval.requested'],
    topics: null,
    teams: null,
    ...more,
  }) as DeclaredChannel
const mail = (settings: object = {}): DeclaredChannel =>
  ({
    ...hook(),
    kind: 'email',
    settings: { from: 'Sallyport <a@example.com>', to: [], url_env: 'SALLYPORT_SMTP_URL', ...settings },
  }) as DeclaredChannel
const paths = (declared: DeclaredChannel, tenant = 'default') => channelFaults(declared, tenant).map(({ path }) => path)

describe('what a channel may be', () => {
  test('is said field by field', () => {
    expect(paths(hook())).toEqual([])
    expect(paths(mail())).toEqual([])
    expect(paths(hook({}, { events: [] }))).toEqual(['events'])
    expect(paths(hook({}, { events: ['job.leased', 'nothing'] }))).toEqual(['events', 'events'])
    expect(paths(hook({}, { topics: ['job.*', 'Job'] }))).toEqual(['topics'])
    for (const url of [
      'http://siem.example.com',
      'https://a:b@c.example',
      'https://c.example/#x',
      'javascript:1',
      '/x',
      '',
    ])
      expect(paths(hook({ url })), url).toEqual(['url'])
    expect(paths(hook({ url: 'http://siem.internal:8080/', allow_private: true }))).toEqual([])
  })

  test('in a mail’s addresses is nothing that could become a second header or recipient', () => {
    for (const from of [
      'a@example.com\r\nBcc: b@example.com',
      'a@b, c@d',
      '"x" <a@b>, <c@d>',
      'A <a@b> <c@d>',
      '@',
      'x',
    ])
      expect(paths(mail({ from })), from).toEqual(['from'])
    for (const to of ['a@b\r\nx', 'a@b,c@d', '<a@b>', 'a b@c', 'a@b@c', '-@'])
      expect(paths(mail({ to: [to] })), to).toEqual(['to'])
  })

  test('Slack is written to by ids, PagerDuty by a key; what they are told as it is goes to nobody else', () => {
    const slack = (settings: object = {}) =>
      paths({
        ...hook(),
        kind: 'slack',
        settings: {
          conversation: 'C012AB3CD',
          workspace: 'T0HOUSE',
          token_env: 'SALLYPORT_CHANNEL_BOT',
          signing_env: 'SALLYPORT_CHANNEL_SIGNING',
          api_url: 'https://slack.com/api',
          allow_private: false,
          ...settings,
        },
      } as DeclaredChannel)
    const pager = (settings: object = {}) =>
      paths({
        ...hook(),
        kind: 'pagerduty',
        settings: {
          routing_key_env: 'SALLYPORT_CHANNEL_PAGER',
          severity: 'error',
          api_url: 'https://events.eu.pagerduty.com',
          allow_private: false,
          ...settings,
        },
      } as DeclaredChannel)
    expect([slack(), pager()]).toEqual([[], []])
    for (const conversation of ['#general', 'general', 'U012AB3CD', 'C012\n', ''])
      expect(slack({ conversation }), conversation).toEqual(['conversation'])
    for (const workspace of ['house', 'E012AB3CD', '']) expect(slack({ workspace })).toEqual(['workspace'])
    for (const api_url of [
      'https://slack.com/api/',
      'https://evil.example/api',
      'https://slack.com.evil.example/api',
    ]) {
      expect(slack({ api_url }), api_url).toEqual(['api_url'])
      expect(pager({ api_url }), api_url).toEqual(['api_url'])
      expect(slack({ api_url, allow_private: true })).toEqual([])
    }
    expect(slack({ api_url: 'ftp://x', allow_private: true })).toEqual(['api_url'])
    expect([slack({ token_env: 'HOME' }), slack({ signing_env: 'SALLYPORT_SIGNING_KEY' })]).toEqual([
      ['token_env'],
      ['signing_env'],
    ])
    expect(pager({ routing_key_env: 'SALLYPORT_SMTP_URL' })).toEqual(['routing_key_env'])
  })

  test('a tenant names its own secrets alone', () => {
    const of = (secret_env: string, tenant: string) => paths(hook({ secret_env }), tenant)
    expect(of('SALLYPORT_CHANNEL_X', 'default')).toEqual([])
    for (const name of [
      'PATH',
      'SALLYPORT_SIGNING_KEY',
      'SALLYPORT_CHANNEL_',
      'sallyport_channel_x',
      'SALLYPORT_SMTP_URL',
    ])
      expect(of(name, 'default'), name).toEqual(['secret_env'])
    expect(of('SALLYPORT_CHANNEL_ACME__HOOK', 'acme')).toEqual([])
    for (const name of ['SALLYPORT_CHANNEL_X', 'SALLYPORT_CHANNEL_RIVAL__HOOK', 'SALLYPORT_CHANNEL_ACME__'])
      expect(of(name, 'acme'), name).toEqual(['secret_env'])
  })

  test('what happens several times in every job is on no channel', () => {
    for (const kind of ['job.submitted', 'job.leased', 'job.succeeded', 'effect.begun'])
      expect(EVENTS as readonly string[]).not.toContain(kind)
    for (const kind of [
      'approval.requested',
      'approval.expired',
      'queue.backlogged',
      'policy.activated',
      'job.dead_lettered',
    ])
      expect(EVENTS as readonly string[]).toContain(kind)
  })
})

test('a channel for some topics or teams hears nothing of others, nor what has none', () => {
  const of = (more: object) => hook({}, more)
  const about = (topic: string | null, team: string | null) => ({ topic, team })
  expect(concerns(of({}), about(null, null))).toBe(true)
  const topics = of({ topics: ['job.pay.>'] })
  expect(
    [about('job.pay.refund', null), about('job.mail', null), about(null, null)].map((a) => concerns(topics, a)),
  ).toEqual([true, false, false])
  const teams = of({ teams: ['support'] })
  expect([about(null, 'support'), about(null, 'other'), about('job.x', null)].map((a) => concerns(teams, a))).toEqual([
    true,
    false,
    false,
  ])
})

test('waits double from five seconds to fifteen minutes, half of it by chance', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (failures, chance) => {
        const wait = retryDelay(failures, chance)
        const whole =
          failures > 20 ? DELIVERY.longest : Math.min(DELIVERY.longest, DELIVERY.first * 2 ** (failures - 1))
        expect(wait).toBeGreaterThanOrEqual(whole / 2)
        expect(wait).toBeLessThanOrEqual(whole)
      },
    ),
  )
  expect([1, 2, 8, 9].map((n) => retryDelay(n, 1))).toEqual([5_000, 10_000, 640_000, 900_000])
})
