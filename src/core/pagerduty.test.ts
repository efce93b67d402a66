import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FACT_KINDS } from './audit.js'
import { EVENTS } from './channel.js'
import { aboutOf, ENDED_BY, endsOf, isEnd, pageEvent } from './pagerduty.js'

describe('what ends an incident', () => {
  test('is a kind of entry there is, that a channel may hear, and of the same thing', () => {
    for (const [raised, ends = []] of Object.entries(ENDED_BY)) {
      expect(EVENTS as readonly string[], raised).toContain(raised)
      expect(ends.length, raised).toBeGreaterThan(0)
      for (const end of ends) {
        expect(FACT_KINDS as readonly string[], end).toContain(end)
        const ids = {
          approval_id: 'a',
          agent: 'b',
          stop_id: 'c',
          channel: 'd',
          topic: 'e',
          delivery_id: 'f',
          key_id: 'g',
          job_id: 'h',
          rollout_id: 'i',
        }
        expect(aboutOf({ kind: end, ...ids }, 2), `${raised} ${end}`).toBe(aboutOf({ kind: raised, ...ids }, 1))
      }
    }
  })

  test('is asked for what was to be told only', () => {
    expect(endsOf(['key.created'])).toEqual([])
    expect(endsOf(['breaker.opened', 'channel.down'])).toEqual(['breaker.closed', 'channel.up'])
    expect(isEnd({ kind: 'channel.up' }, ['breaker.opened'])).toBe(false)
    expect(isEnd({ kind: 'channel.up' }, ['channel.down'])).toBe(true)
  })

  test('is the last yes, not the first of two, and a stop’s last stage', () => {
    const approved = (complete: boolean) => isEnd({ kind: 'approval.approved', complete }, ['approval.escalated'])
    expect([approved(false), approved(true)]).toEqual([false, true])
    const resumed = (stage: string) => isEnd({ kind: 'stop.resumed', stage }, ['stop.raised'])
    expect([resumed('trial'), resumed('full')]).toEqual([false, true])
  })
})

test('what lasts has one key, apart for every tenant; what does not has its place in the log', () => {
  expect(aboutOf({ kind: 'approval.escalated', approval_id: 'apr_1', job_id: 'job_1' }, 7)).toBe('approval_id:apr_1')
  expect(aboutOf({ kind: 'result.released', job_id: 'job_1' }, 7)).toBe('job_id:job_1')
  expect(aboutOf({ kind: 'policy.activated' }, 7)).toBe('entry:7')
  expect(aboutOf({ kind: 'approvals.low', agent: 'x' }, 7)).toBe('entry:7')
  const key = (tenant: string, about: string) =>
    pageEvent({ action: 'resolve', tenant, about, entry: {}, index: 1, severity: 'error', publicUrl: null }).dedup_key
  expect(key('default', 'topic:job.x')).toBe('sallyport/default/topic:job.x')
  expect(key('acme', 'topic:job.x')).not.toBe(key('default', 'topic:job.x'))
  const long = [key('default', `topic:${'x'.repeat(300)}`), key('default', `topic:${'x'.repeat(301)}`)]
  expect(new Set(long).size).toBe(2)
  for (const each of long) expect(each.length).toBeLessThanOrEqual(255)
})

test('an event keeps to what the Events API takes, whatever the entry says', () => {
  const value = fc.oneof(fc.string({ unit: 'binary', maxLength: 5000 }), fc.integer(), fc.boolean(), fc.constant(null))
  fc.assert(
    fc.property(fc.dictionary(fc.stringMatching(/^[a-z_]{1,20}$/), value), (fields) => {
      const entry = { kind: 'approval.escalated', at: 1_795_187_200_000, ...fields } as never
      const event = pageEvent({
        action: 'trigger',
        tenant: 'default',
        about: 'x',
        entry,
        index: 3,
        severity: 'critical',
        publicUrl: 'https://sallyport.test',
      })
      const { payload } = event as { payload: { summary: string; custom_details: object } }
      expect(payload.summary.length).toBeGreaterThan(0)
      expect(payload.summary.length).toBeLessThanOrEqual(1024)
      expect(payload.summary).not.toMatch(/\p{Cc}/u)
      expect(JSON.stringify(event).length).toBeLessThan(512 * 1024)
    }),
  )
})

test('an event says what happened, to whom, and where to look', () => {
  const entry = {
    kind: 'approval.escalated',
    at: 1_795_187_200_000,
    agent: 'agent:bot',
    topic: 'job.pay',
    approval_id: 'apr_1',
  }
  const page = { tenant: 'default', about: 'approval_id:apr_1', entry, index: 3, severity: 'error' } as const
  expect(pageEvent({ ...page, action: 'trigger', publicUrl: null })).toEqual({
    event_action: 'trigger',
    dedup_key: 'sallyport/default/approval_id:apr_1',
    payload: {
      summary: 'An approval nobody answered was escalated · agent:bot · job.pay',
      source: 'sallyport/default',
      severity: 'error',
      timestamp: '2026-11-20T15:06:40.000Z',
      class: 'approval.escalated',
      component: 'agent:bot',
      group: 'job.pay',
      custom_details: { agent: 'agent:bot', topic: 'job.pay', approval_id: 'apr_1', index: 3 },
    },
    client: 'Sallyport',
  })
  const linked = pageEvent({ ...page, action: 'trigger', publicUrl: 'https://sallyport.test' })
  expect(linked).toMatchObject({ client_url: 'https://sallyport.test', links: [{ href: 'https://sallyport.test' }] })
  expect(pageEvent({ ...page, action: 'resolve', publicUrl: 'https://x' })).toEqual({
    event_action: 'resolve',
    dedup_key: 'sallyport/default/approval_id:apr_1',
  })
})
