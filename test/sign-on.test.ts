import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../src/platform/clock.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'
import { Browser } from './support/browser.js'
import { CLIENT, type TestProvider } from './support/provider.js'
import { applyFile, asked, factsOf, invite, planeWithProvider, signOnWith } from './support/signing-on.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: job.free.> }, decision: ALLOW }
  - { id: two, match: { topic: job.ask.two }, decision: REQUIRE_APPROVAL, approval: { need: 2 } }
`
const FILE = (groups = '') => `
version: v1
teams:
  - { team: support, leads: [person:ada] }
  - { team: finance }
people:
  - { principal: person:ada, role: approver, team: support, email: ada@example.com }
  - { principal: person:bob, role: operator, email: bob@example.com }
${groups}`
const GROUPS = `sign_on:
  groups:
    - { group: plane-admins, role: admin }
    - { group: finance-leads, role: approver, team: finance }
    - { group: everyone, role: viewer }
`

describe('a provider', () => {
  let plane: TestPlane
  let provider: TestProvider
  const logged: string[] = []
  const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) })
  const users: Record<string, object> = {
    ada: { sub: 'sub-ada', email: 'ADA@example.com', email_verified: true, name: 'Ada' },
    bob: { sub: 'sub-bob', email: 'bob@example.com', email_verified: false },
    carl: { sub: 'sub-carl', email: 'carl@example.com', email_verified: true, groups: ['everyone', 'finance-leads'] },
    dora: { sub: 'sub-dora', groups: ['everyone'] },
    eve: { sub: 'sub-eve', email: 'eve@example.com', email_verified: true, groups: ['strangers'] },
  }
  beforeAll(async () => {
    ;({ plane, provider } = await planeWithProvider(POLICY, { log }))
    for (const [name, user] of Object.entries(users)) provider.users.set(name, user as { sub: string })
    await applyFile(plane, FILE(GROUPS))
  })
  afterAll(async () => {
    await plane?.stop()
    await provider?.stop()
  })
  const signOn = async (user: string, path = '/sign-on/oidc', browser = new Browser()) => {
    provider.user = user
    return { browser, seen: await browser.open(plane.url + path) }
  }

  test(`${proves('S7')} signs on a declared person by the address it verified, and the session is theirs`, async () => {
    const { browser, seen } = await signOn('ada', '/sign-on/oidc?return_to=/docs')
    expect([seen.status, seen.url]).toEqual([200, `${plane.url}/docs`])
    const { status, body } = await asked(plane, browser, 'GET', '/session')
    expect(status).toBe(200)
    expect(body).toMatchObject({ principal: 'person:ada', role: 'approver', team: 'support', leads: ['support'] })
    expect(body.csrf).toMatch(/^[A-Za-z0-9_-]{43}$/)
    const [opened] = await factsOf(plane, 'session.opened')
    expect(opened).toMatchObject({ actor: 'person:ada', way: 'oidc' })
    expect((await factsOf(plane, 'account.linked'))[0]).toMatchObject({ principal: 'person:ada', subject: 'sub-ada' })
    expect((await browser.open(`${plane.url}/sign-on`)).text).toContain('person:ada')
  })

  test('and from then on the subject decides: an address that changes hands does not', async () => {
    const ada = provider.users.get('ada') as { email: string }
    ada.email = 'countess@example.com'
    const moved = await signOn('ada')
    expect((await asked(plane, moved.browser, 'GET', '/session')).body.principal).toBe('person:ada')
    provider.users.set('mallory', { sub: 'sub-mallory', email: 'ada@example.com', email_verified: true })
    const { browser, seen } = await signOn('mallory')
    expect(seen.status).toBe(403)
    expect((await asked(plane, browser, 'GET', '/session')).status).toBe(401)
    expect(await factsOf(plane, 'session.refused')).toContainEqual(
      expect.objectContaining({ actor: 'person:ada', reason: 'email_of_another' }),
    )
  })

  test('lets in nobody whose address it did not verify, and nobody it knows and we do not', async () => {
    for (const [user, reason] of [
      ['bob', 'email_unverified'],
      ['eve', 'no_group'],
    ] as const) {
      const { seen, browser } = await signOn(user)
      expect([seen.status, seen.text.includes('nobody here is you')]).toEqual([403, true])
      expect((await asked(plane, browser, 'GET', '/session')).status).toBe(401)
      expect((await factsOf(plane, 'session.refused')).map((fact) => fact.reason)).toContain(reason)
    }
  })

  test(`${proves('S7')} makes people of groups, whose role and team follow them at every sign-on`, async () => {
    const first = await signOn('carl')
    const session = async () => (await asked(plane, first.browser, 'GET', '/session')).body
    expect(await session()).toMatchObject({ principal: 'person:carl@example.com', role: 'approver', team: 'finance' })
    const carl = provider.users.get('carl') as { groups: string[] }
    carl.groups = ['everyone']
    await signOn('carl')
    // Also what was open already.
    expect(await session()).toMatchObject({ role: 'viewer', team: null })
    carl.groups = []
    expect((await signOn('carl')).seen.status).toBe(403)
    expect((await asked(plane, first.browser, 'GET', '/session')).status).toBe(401)
    // One without an address is known by the subject.
    const dora = await signOn('dora')
    expect((await asked(plane, dora.browser, 'GET', '/session')).body.principal).toMatch(/^person:oidc-[0-9a-f]{24}$/)
  })

  test('a person whom somebody declares keeps what is declared', async () => {
    const carl = provider.users.get('carl') as { groups: string[] }
    carl.groups = ['everyone']
    await signOn('carl')
    const body = { kind: 'person', role: 'auditor', email: 'carl@example.com' }
    expect((await call(plane, plane.keys.admin, 'PUT', `${API}/principals/person:carl@example.com`, body)).status).toBe(
      200,
    )
    const { browser } = await signOn('carl')
    expect((await asked(plane, browser, 'GET', '/session')).body.role).toBe('auditor')
  })

  test('a person who is disabled loses the session at once and gets no other, whatever group they are in', async () => {
    provider.users.set('fay', { sub: 'sub-fay', email: 'fay@example.com', email_verified: true, groups: ['everyone'] })
    const { browser } = await signOn('fay')
    expect((await asked(plane, browser, 'GET', '/session')).status).toBe(200)
    const gone = await call(plane, plane.keys.admin, 'DELETE', `${API}/principals/person:fay@example.com`)
    expect(gone.status).toBe(200)
    expect((await asked(plane, browser, 'GET', '/session')).status).toBe(401)
    expect((await signOn('fay')).seen.status).toBe(403)
  })

  test('that does not answer is named, and whoever is signed on goes on', async () => {
    const { browser } = await signOn('ada')
    const late = new Browser()
    const back = await late.open(`${plane.url}/sign-on/oidc`, {}, (url) => url.pathname === '/sign-on/callback')
    await provider.stop()
    const seen = await late.open(back.url)
    expect([seen.status, seen.text.includes('does not answer')]).toEqual([503, true])
    expect(seen.headers.get('retry-after')).toBe('1')
    expect(logged.join()).toContain('does not answer as one')
    expect(provider.codes.length).toBeGreaterThan(5)
    // No code or secret is in the log, whatever went wrong.
    expect(logged.join()).not.toMatch(new RegExp([...provider.codes.slice(-20), CLIENT.secret].join('|')))
    expect((await asked(plane, browser, 'GET', '/session')).status).toBe(200)
  })
})

describe('a password', () => {
  let plane: TestPlane
  let shift = 0
  const clock = { ...systemClock, now: () => Date.now() + shift }
  beforeAll(async () => {
    plane = await startSallyport({ policy: POLICY, seams: { clock } })
    await applyFile(plane, FILE())
  })
  afterAll(() => plane?.stop())
  const choose = async (link: string, password: string, again = password) => {
    const browser = new Browser()
    return browser.submit(await browser.open(link), { password, again })
  }
  const signOn = async (name: string, password: string, browser = new Browser()) => {
    return { browser, seen: await signOnWith(plane, browser, name, password) }
  }
  const own = async (browser: Browser) => (await asked(plane, browser, 'GET', '/session')).status

  test(`${proves('S7')} is chosen with an invitation, which is good once, and signs on by name or address`, async () => {
    const link = await invite(plane, 'person:ada')
    expect((await choose(link, 'short')).status).toBe(422)
    expect((await choose(link, 'a long enough one', 'and another one')).text).toContain('not the same')
    const set = await choose(link, 'a long enough one')
    expect([set.status, set.text.includes('password is set')]).toEqual([200, true])
    expect((await choose(link, 'of somebody else')).status).toBe(410)
    for (const name of ['person:ada', 'ada', 'Ada@Example.com']) {
      const { browser, seen } = await signOn(name, 'a long enough one')
      expect([seen.status, seen.text.includes('You are signed on')]).toEqual([200, true])
      expect((await asked(plane, browser, 'GET', '/session')).body).toMatchObject({ principal: 'person:ada' })
    }
    const log =
      JSON.stringify(await factsOf(plane, 'account.invited')) + JSON.stringify(await factsOf(plane, 'account.changed'))
    expect(log).not.toContain(link.slice(-43))
  })

  test('is refused in the same words whoever is named, and a name does not sign on without an account', async () => {
    const answers = await Promise.all(
      [
        ['person:ada', 'wrong wrong wrong'],
        ['person:bob', 'a long enough one'],
        ['person:nobody', 'a long enough one'],
        ['agent:first', 'a long enough one'],
      ].map(async ([name = '', password = '']) => {
        const { seen, browser } = await signOn(name, password)
        const text = seen.text.replaceAll(name, 'NAME').replaceAll(/value="[^"]{43}"/g, '')
        return { status: seen.status, text, own: await own(browser) }
      }),
    )
    expect(new Set(answers.map((each) => JSON.stringify(each))).size).toBe(1)
    expect(answers[0]).toMatchObject({ status: 401, own: 401 })
  })

  test('is changed with the old one, and every session ends with it', async () => {
    await choose(await invite(plane, 'person:bob'), 'the first of bob')
    const [one, two] = [await signOn('bob', 'the first of bob'), await signOn('bob', 'the first of bob')]
    const { body } = await asked(plane, one.browser, 'GET', '/session')
    const change = (old_password: string, password: string) =>
      asked(plane, one.browser, 'POST', '/session/password', {
        headers: { 'x-csrf-token': body.csrf, 'content-type': 'application/json' },
        body: JSON.stringify({ old_password, password }),
      })
    expect((await change('not the old one', 'the second of bob')).status).toBe(401)
    expect((await change('the first of bob', 'person:bob')).status).toBe(422)
    expect((await change('the first of bob', 'the second of bob')).status).toBe(200)
    expect([await own(one.browser), await own(two.browser)]).toEqual([401, 401])
    expect((await signOn('bob', 'the first of bob')).seen.status).toBe(401)
    expect(await own((await signOn('bob', 'the second of bob')).browser)).toBe(200)
    const closed = (await factsOf(plane, 'session.closed')).filter((fact) => fact.reason === 'password_changed')
    expect(closed).toHaveLength(2)
  })

  test('an invitation is over after a day, replaced by the next, and none for who is disabled or no person', async () => {
    const [first, second] = [await invite(plane, 'person:bob'), await invite(plane, 'person:bob')]
    expect((await new Browser().open(first)).status).toBe(410)
    shift += 24 * 3_600_000 + 1
    expect((await new Browser().open(second)).status).toBe(410)
    expect((await call(plane, plane.keys.admin, 'POST', `${API}/accounts/agent:first/invite`)).status).toBe(422)
    expect((await call(plane, plane.keys.admin, 'POST', `${API}/accounts/person:x/invite`)).status).toBe(404)
  })

  test('a session is a key: over after twelve hours, revoked like one, and in the list of its own', async () => {
    const { browser } = await signOn('ada', 'a long enough one')
    const list = async (query = '') =>
      // biome-ignore lint/suspicious/noExplicitAny: whatever the server says
      (await call(plane, plane.keys.admin, 'GET', `${API}/keys${query}`)).body.items as any[]
    const sessions = (await list('?sessions=true')).filter((key) => key.principal === 'person:ada')
    expect((await list()).filter((key) => key.principal === 'person:ada')).toEqual([])
    const newest = sessions.at(-1)
    expect([newest.expires_at - newest.created_at, newest.due]).toEqual([12 * 3_600_000, []])
    expect((await call(plane, plane.keys.admin, 'POST', `${API}/keys/${newest.key_id}/rotate`)).status).toBe(404)
    expect((await call(plane, plane.keys.admin, 'DELETE', `${API}/keys/${newest.key_id}`)).status).toBe(200)
    expect(await own(browser)).toBe(401)
    const late = await signOn('ada', 'a long enough one')
    expect(await own(late.browser)).toBe(200)
    shift += 12 * 3_600_000
    expect(await own(late.browser)).toBe(401)
  })

  test('a twenty-first session ends the first', async () => {
    const first = await signOn('ada', 'a long enough one')
    for (let n = 0; n < 20; n++) await signOn('ada', 'a long enough one', first.browser.fresh())
    expect(await own(first.browser)).toBe(401)
    expect((await factsOf(plane, 'session.closed')).map((fact) => fact.reason)).toContain('too_many')
  })

  test('signing off ends the session and lets its answers stand', async () => {
    const { browser } = await signOn('ada', 'a long enough one')
    const job = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.ask.two' })
    const { approval_id, grant_hash } = job.body
    const { body } = await asked(plane, browser, 'GET', '/session')
    const yes = await asked(plane, browser, 'POST', `/approvals/${approval_id}/approve`, {
      headers: { 'x-csrf-token': body.csrf, 'content-type': 'application/json' },
      body: JSON.stringify({ grant_hash }),
    })
    expect([yes.status, yes.body.status]).toEqual([200, 'pending'])
    const off = await browser.submit(await browser.open(`${plane.url}/sign-on`), {})
    expect([off.status, browser.cookie(plane.url, 'sallyport_session')]).toEqual([200, undefined])
    expect((await factsOf(plane, 'session.closed')).map((fact) => fact.reason)).toContain('signed_off')
    const other = await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${approval_id}/approve`, {
      grant_hash,
    })
    expect(other.body.status).toBe('approved')
  })

  test('a closed account signs nobody on, until somebody is invited again', async () => {
    const { browser } = await signOn('ada', 'a long enough one')
    expect((await call(plane, plane.keys.admin, 'DELETE', `${API}/accounts/person:ada`)).status).toBe(200)
    expect([await own(browser), (await signOn('ada', 'a long enough one')).seen.status]).toEqual([401, 401])
    await choose(await invite(plane, 'person:ada'), 'yet another one')
    expect(await own((await signOn('ada', 'yet another one')).browser)).toBe(200)
  })
})
