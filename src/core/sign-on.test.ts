import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from './principal.js'
import { admit, csrfOf, type Identity, type Known, nameFor, ownPath, passwordFault } from './sign-on.js'

const person = (principal: string, more: Partial<Principal> = {}): Principal => ({
  tenant: 't',
  principal,
  kind: 'person',
  role: 'viewer',
  team: null,
  name: null,
  email: null,
  terms: null,
  source: 'file',
  created_at: 1,
  updated_at: 1,
  updated_by: 'test',
  disabled_at: null,
  ...more,
})
const IDENTITY: Identity = {
  issuer: 'https://login.example.com',
  subject: 's1',
  email: 'Ada@example.com',
  email_verified: true,
  name: 'Ada',
  groups: ['staff', 'finance'],
}
const NOTHING: Known = { linked: null, alike: [], taken: new Set(), namesake: null, rules: [] }
const RULES: Known['rules'] = [
  { group: 'finance', role: 'approver', team: 'finance' },
  { group: 'staff', role: 'viewer', team: null },
]
const ada = person('person:ada', { email: 'ada@example.com', role: 'operator', team: 'ops' })
const made = person('person:ada@example.com', { source: 'group', role: 'viewer' })

describe('who somebody is', () => {
  const why = (known: Partial<Known>, identity: Partial<Identity> = {}) => {
    const admission = admit({ ...IDENTITY, ...identity }, { ...NOTHING, ...known })
    return admission.admitted ? null : admission.why
  }
  test('the person of the subject, whatever their address says', () => {
    const known = { ...NOTHING, linked: ada, alike: [person('person:other')], rules: RULES }
    expect(admit({ ...IDENTITY, email_verified: false }, known)).toEqual({
      admitted: true,
      person: ada,
      isNew: false,
      changed: false,
      link: false,
    })
  })

  test('else the one person with the verified address, who is linked by it and keeps what is declared', () => {
    expect(admit(IDENTITY, { ...NOTHING, alike: [ada], rules: RULES })).toEqual({
      admitted: true,
      person: ada,
      isNew: false,
      changed: false,
      link: true,
    })
  })

  test('else whom the first matching rule makes', () => {
    expect(admit(IDENTITY, { ...NOTHING, rules: RULES })).toEqual({
      admitted: true,
      person: {
        principal: 'person:ada@example.com',
        role: 'approver',
        team: 'finance',
        name: 'Ada',
        email: 'Ada@example.com',
      },
      isNew: true,
      changed: true,
      link: true,
    })
    const unverified = admit({ ...IDENTITY, email_verified: false }, { ...NOTHING, rules: RULES })
    expect(unverified).toMatchObject({ person: { principal: expect.stringMatching(/^person:oidc-/), email: null } })
  })

  test('a person made by groups follows them; a declared one does not', () => {
    const followed = admit(IDENTITY, { ...NOTHING, linked: made, rules: RULES })
    expect(followed).toMatchObject({ person: { role: 'approver', team: 'finance' }, changed: true, isNew: false })
    expect(why({ linked: made })).toBe('no_group')
    expect(why({ linked: ada })).toBeNull()
  })

  test.each<[string, Partial<Known>, Partial<Identity>]>([
    ['no_group', {}, {}],
    ['no_group', { rules: RULES }, { groups: ['Finance', 'staffs'] }],
    ['disabled', { linked: person('person:ada', { disabled_at: 5 }) }, {}],
    ['disabled', { alike: [person('person:ada', { disabled_at: 5 })], rules: RULES }, {}],
    ['disabled', { alike: [person('service:ada', { kind: 'service' })], rules: RULES }, {}],
    ['email_unverified', { alike: [ada], rules: RULES }, { email_verified: false }],
    ['email_ambiguous', { alike: [ada, made], rules: RULES }, {}],
    ['email_of_another', { alike: [ada], taken: new Set(['person:ada']), rules: RULES }, {}],
    ['name_taken', { namesake: person('person:ada@example.com'), rules: RULES }, {}],
  ])('%s', (wanted, known, identity) => expect(why(known, identity)).toBe(wanted))

  test('a name made of an identity can be written everywhere, and two identities share none', () => {
    const text = fc.string({ unit: 'grapheme' })
    const identity = fc.record({ issuer: text, subject: text, email: fc.option(text), email_verified: fc.boolean() })
    fc.assert(
      fc.property(identity, (given) => {
        expect(nameFor({ ...IDENTITY, ...given })).toMatch(/^person:[!-~]+$/)
      }),
    )
    expect(nameFor({ ...IDENTITY, email: null, issuer: 'a', subject: 'b' })).not.toBe(
      nameFor({ ...IDENTITY, email: null, issuer: 'ab', subject: '' }),
    )
  })
})

describe('where to go on', () => {
  test('is a path of this server, however a browser reads it', () => {
    const hostile = fc.stringMatching(/^[/\\.:@?#\t\n\r a-z0-9%]{0,12}$/)
    fc.assert(
      fc.property(fc.oneof(hostile, fc.webUrl(), fc.string()), (text) => {
        const path = ownPath(text)
        if (path !== null) expect(new URL(path, 'https://own.example').origin).toBe('https://own.example')
      }),
      { numRuns: 2000 },
    )
  })

  test.each(['/', '/jobs', '/approvals/apr_1?tab=diff#top', '/a//b'])('%s is one', (path) =>
    expect(ownPath(path)).toBe(path),
  )
  test.each(['', 'jobs', '//x', '/\\x', '/a\\b', '/a b', '/é', `/${'x'.repeat(2000)}`, undefined])(
    '%s is none',
    (path) => expect(ownPath(path)).toBeNull(),
  )
})

describe('a password', () => {
  test.each([
    ['short', 'must have 12'],
    ['ÀÀÀÀÀÀÀÀÀÀÀ', 'must have 12'],
    ['x'.repeat(201), 'must have 200'],
    ['ADA@EXAMPLE.COM', 'must not be'],
    ['person:ada-lovelace', 'must not be'],
    ['ada-lovelace', 'must not be'],
  ])('%s is none', (typed, why) => {
    const who = { ...ada, principal: 'person:ada-lovelace' }
    expect(passwordFault(typed, who)).toContain(why)
  })
  test.each(['correct horse', '密码密码密码密码密码密码', '            '])('%s is one', (typed) =>
    expect(passwordFault(typed, ada)).toBeNull(),
  )
})

test('what a page sends back is the session’s own, and not the session', () => {
  const [a, b] = [csrfOf('a'.repeat(43)), csrfOf('b'.repeat(43))]
  expect(a).toMatch(/^[A-Za-z0-9_-]{43}$/)
  expect(new Set([a, b, 'a'.repeat(43)]).size).toBe(3)
})
