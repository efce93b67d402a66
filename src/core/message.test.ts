import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Role } from './access.js'
import type { Approval } from './approval.js'
import type { Channel } from './channel.js'
import type { Job } from './job.js'
import { addressed, asked, type Directory, noticeLetter, questionLetter, teamOf } from './message.js'
import type { Principal } from './principal.js'
import { html, plain } from './text.js'

const person = (name: string, role: Role, more: Partial<Principal> = {}) =>
  ({
    principal: `person:${name}`,
    kind: 'person',
    role,
    team: null,
    email: `${name}@example.com`,
    disabled_at: null,
    ...more,
  }) as Principal
const directory: Directory = {
  principals: [
    person('ann', 'approver', { team: 'finance' }),
    person('ben', 'approver'),
    person('root', 'admin'),
    person('vera', 'viewer', { team: 'finance' }),
    person('gone', 'approver', { disabled_at: 1 }),
    person('mute', 'approver', { email: null }),
    person('lead', 'viewer'),
    person('bot', 'agent', { principal: 'agent:bot', kind: 'agent', team: 'support', email: null }),
  ],
  teams: [{ team: 'support', leads: ['person:lead'] } as never],
}
const approval = (from: string[], more: Partial<Approval> = {}) =>
  ({
    approval_id: 'apr_1',
    status: 'pending',
    agent: 'agent:bot',
    topic: 'job.pay',
    requested_by: 'agent:bot',
    raised_by: 'agent:bot',
    specs: [{ from }],
    asked_of: [],
    due_at: null,
    ...more,
  }) as unknown as Approval
const names = (people: readonly Principal[]) => people.map(({ principal }) => principal.replace('person:', ''))

describe('who is asked', () => {
  test('is whom the words name, who may answer, and who did not ask', () => {
    expect(names(asked(approval(['role:approver']), directory))).toEqual(['ann', 'ben', 'mute'])
    expect(names(asked(approval(['team:finance']), directory))).toEqual(['ann'])
    expect(names(asked(approval(['principal:person:root', 'team:finance']), directory))).toEqual(['ann', 'root'])
    expect(names(asked(approval(['role:approver'], { raised_by: 'person:ann' }), directory))).toEqual(['ben', 'mute'])
    expect(names(asked(approval(['role:agent', 'nothing', 'constructor:x', '__proto__:y']), directory))).toEqual([])
  })
  test('is whom it was worked out to ask, where that is known', () => {
    expect(names(asked(approval(['role:approver'], { asked_of: ['person:root'] }), directory))).toEqual(['root'])
    expect(names(asked(approval(['role:approver'], { due_at: 1 }), directory))).toEqual([])
  })
})

describe('who is told', () => {
  const mail = (events: string[], to: string[] = []) =>
    ({ channel: 'mail', kind: 'email', events, settings: { to } }) as unknown as Channel
  const told = (channel: Channel, kind: string, about: Approval | null, entry: object = {}, mailed: string[] = []) =>
    addressed(channel, { kind, ...entry } as never, about, directory, new Set(mailed)).map(
      ({ recipient, asks }) => `${recipient.replace('principal:person:', '')}${asks ? '?' : ''}`,
    )
  const question = approval(['role:approver'])

  test('of a question: who is asked and has an address, and the channel’s own', () => {
    expect(told(mail(['approval.requested']), 'approval.requested', question)).toEqual(['ann?', 'ben?'])
    expect(told(mail(['approval.requested'], ['ops@x']), 'approval.requested', question)).toEqual([
      'ann?',
      'ben?',
      'mailto:ops@x?',
    ])
    expect(told(mail(['approval.requested']), 'approval.requested', { ...question, status: 'rejected' })).toEqual([])
  })
  test('again, when it changed; and when more are asked, only they', () => {
    const channel = mail(['approval.requested'])
    expect(told(channel, 'approval.rebound', question, {}, ['principal:person:ann'])).toEqual(['ann?', 'ben?'])
    expect(told(channel, 'approval.escalated', question, {}, ['principal:person:ann'])).toEqual(['ben?'])
    expect(told(channel, 'approval.approved', { ...question, status: 'approved' })).toEqual([])
  })
  test('again, when they are reminded: those whom it names, though they have the mail; and nobody else', () => {
    const channel = mail(['approval.requested'], ['ops@x'])
    const had = ['principal:person:ann', 'principal:person:ben']
    const names = { asked_of: 'person:ben,person:gone,person:nobody' }
    expect(told(channel, 'approval.reminded', question, names, had)).toEqual(['ben?'])
    expect(told(channel, 'approval.reminded', question, { asked_of: '' }, had)).toEqual([])
    expect(told(channel, 'approval.reminded', { ...question, status: 'approved' }, names, had)).toEqual([])
    expect(told(mail(['key.due']), 'approval.reminded', question, names, had)).toEqual([])
  })
  test('in Slack: once for everybody, and what stands there is changed before another question is put', () => {
    const room = (events: string[]) => ({ channel: 'room', kind: 'slack', events }) as unknown as Channel
    const own = room(['approval.requested'])
    expect(told(own, 'approval.requested', question)).toEqual(['conversation?'])
    expect(told(own, 'approval.requested', { ...question, status: 'approved' })).toEqual([])
    expect(told(own, 'approval.reminded', question, {}, ['dlv_1'])).toEqual(['conversation?'])
    expect(told(own, 'approval.rebound', question, {}, ['dlv_1'])).toEqual(['update:dlv_1', 'conversation?'])
    for (const kind of [
      'approval.approved',
      'approval.rejected',
      'approval.expired',
      'approval.voided',
      'approval.escalated',
    ])
      expect(told(own, kind, question, {}, ['dlv_1', 'dlv_2']), kind).toEqual(['update:dlv_1', 'update:dlv_2'])
    expect(told(own, 'breaker.opened', null)).toEqual([])
    expect(told(room(['breaker.opened', 'approval.rejected']), 'breaker.opened', null)).toEqual(['conversation'])
    expect(told(room(['breaker.opened', 'approval.rejected']), 'approval.rejected', question)).toEqual(['conversation'])
  })
  test('at PagerDuty: what is to be told, and the end of what was', () => {
    const pager = (events: string[]) => ({ channel: 'pager', kind: 'pagerduty', events }) as unknown as Channel
    const duty = pager(['breaker.opened', 'channel.up', 'channel.down'])
    expect(told(duty, 'breaker.opened', null)).toEqual(['trigger'])
    expect(told(duty, 'breaker.closed', null)).toEqual([])
    expect(told(duty, 'breaker.closed', null, {}, ['agent:x'])).toEqual(['resolve'])
    expect(told(duty, 'channel.up', null, {}, ['channel:x'])).toEqual(['resolve'])
    expect(told(duty, 'channel.up', null)).toEqual(['trigger'])
    expect(told(duty, 'policy.activated', null)).toEqual([])
  })
  test('of anything else: whom it names, else who leads the owner’s team; or the channel’s own addresses alone', () => {
    expect(told(mail(['breaker.opened']), 'breaker.opened', null, { agent: 'agent:bot' })).toEqual(['lead'])
    expect(told(mail(['job.overdue']), 'job.overdue', null, { team: 'support', agent: 'agent:x' })).toEqual(['lead'])
    expect(told(mail(['key.due']), 'key.due', null, { principal: 'person:ben' })).toEqual(['ben'])
    expect(told(mail(['key.due'], ['ops@x']), 'key.due', null, { principal: 'person:ben' })).toEqual(['mailto:ops@x'])
    expect(told(mail(['approval.expired']), 'approval.expired', { ...question, status: 'expired' })).toEqual([
      'ann',
      'ben',
    ])
    expect(told(mail(['key.due']), 'key.revoked', null, { principal: 'person:ben' })).toEqual([])
  })
  test('by a webhook: its receiver, of what it asked for and nothing more', () => {
    const hook = { channel: 'hook', kind: 'webhook', events: ['approval.requested'] } as unknown as Channel
    expect(told(hook, 'approval.requested', question)).toEqual(['endpoint'])
    expect(told(hook, 'approval.rebound', question)).toEqual([])
  })
  test('the team is the one that is named, or that of the agent', () => {
    expect(teamOf({ team: 'x', agent: 'agent:bot' }, null, directory)).toBe('x')
    expect(teamOf({ agent: 'agent:bot' }, null, directory)).toBe('support')
    expect(teamOf({ actor: 'system:x' }, question, directory)).toBe('support')
    expect(teamOf({ actor: 'system:x' }, null, directory)).toBeNull()
  })
})

describe('a letter', () => {
  const job = { effective: { environment: null, action_type: null } } as unknown as Job
  const letter = (text: string) =>
    questionLetter({
      approval: approval([], {
        agent: text,
        topic: text,
        reason: text,
        rules: [text],
        requested_by: text,
        grant_hash: 'ab'.repeat(32),
        expires_at: 3_600_000,
      } as never),
      job,
      input: { [text]: text },
      withheld: null,
      alike: [],
      link: 'https://sallyport.test/links/x',
      now: 0,
    })

  test('lets nothing that others wrote become a line, a link, a tag or a header', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 300 }),
          fc.constantFrom(
            'a\r\nBcc: x@y',
            'http://evil.example',
            'WWW.evil.example',
            '<a href="x">',
            '\u202e\u2028\u0085\u200b',
            '\ud800',
          ),
        ),
        (text) => {
          const { subject, text: body, html: page } = letter(text)
          expect(subject).not.toMatch(/[\r\n\p{Cc}\p{Cf}]/u)
          expect(subject.length).toBeLessThan(250)
          // Ours: as many lines as the letter of a plain word has, and its one address.
          expect(body.split('\n').length).toBe(letter('word').text.split('\n').length)
          expect(body.match(/:\/\//g)?.length).toBe(1)
          expect(body).not.toMatch(/www\./i)
          expect(page.match(/<a /g)?.length).toBe(1)
          expect(page).not.toMatch(/[\p{Cf}\p{Cs}]/u)
          expect([...page.matchAll(/<([a-z]+)/g)].length).toBe([...letter('word').html.matchAll(/<([a-z]+)/g)].length)
        },
      ),
    )
  })

  test('abridges an input and says by how much', () => {
    const long = questionLetter({
      approval: approval([], { rules: [], reason: 'r', grant_hash: 'ab'.repeat(32), expires_at: 1 } as never),
      job,
      input: 'z'.repeat(20_000),
      withheld: null,
      alike: [],
      link: null,
      now: 0,
    })
    expect(long.text.length).toBeLessThan(3000)
    expect(long.text).toMatch(/… 18502 more characters/)
    expect(long.text).toContain('sallyport approvals approve apr_1')
  })

  test('of an entry names what happened and its fields', () => {
    const { subject, text } = noticeLetter({ kind: 'queue.backlogged', at: 0, topic: 'job.x', depth: 7, note: null })
    expect(subject).toBe('queue.backlogged: job.x')
    expect(text).toMatch(/depth: +7/)
    expect(text).not.toContain('note')
  })
})

test('text of others is one line of visible characters, of bounded length, and safe in HTML', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 500 }), fc.integer({ min: 2, max: 300 }), (text, most) => {
      const shown = plain(text, most)
      expect(shown.length).toBeLessThanOrEqual(most)
      expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u)
      expect(html(shown)).not.toMatch(/[<>"']/)
    }),
  )
  expect(plain('abc', 3)).toBe('abc')
  expect(plain('abcd', 3)).toBe('ab…')
})
