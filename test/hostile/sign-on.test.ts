import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createKey } from '../../src/journey/keys.js'
import { systemClock } from '../../src/platform/clock.js'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { proves } from '../requirements.js'
import { Browser, type Seen } from '../support/browser.js'
import type { TestProvider } from '../support/provider.js'
import { applyFile, asked, factsOf, invite, planeWithProvider, signOnWith } from '../support/signing-on.js'
import { API, call } from './attacker.js'

/** Whoever wants to be somebody else: at the provider, with another's browser, or with another's name. */
const POLICY = `
version: v1
default_decision: DENY
rules: [{ id: all, match: { topic: job.> }, decision: ALLOW }]
`
const FILE = `
version: v1
people:
  - { principal: person:ada, role: approver, email: ada@example.com }
  - { principal: person:bob, role: operator, email: bob@example.com }
  - { principal: person:root, role: admin }
sign_on:
  groups: [{ group: admins, role: admin }]
`
const reasons = async (plane: TestPlane) =>
  (await factsOf(plane, 'session.refused')).map((fact) => fact.reason as string)
const isSignedOn = async (plane: TestPlane, browser: Browser) =>
  (await asked(plane, browser, 'GET', '/session')).status === 200

describe('at the provider', () => {
  let plane: TestPlane
  let provider: TestProvider
  beforeAll(async () => {
    ;({ plane, provider } = await planeWithProvider(POLICY))
    await applyFile(plane, FILE)
    provider.users.set('ada', { sub: 'sub-ada', email: 'ada@example.com', email_verified: true })
    provider.users.set('mallory', { sub: 'sub-mallory', email: 'mallory@example.com', email_verified: true })
  })
  afterAll(async () => {
    await plane?.stop()
    await provider?.stop()
  })
  beforeEach(() => {
    provider.user = 'ada'
    provider.forge = null
    provider.signer = 'own'
  })
  const atCallback = (url: URL) => url.pathname === '/sign-on/callback'
  const begun = async (query = '') => {
    const browser = new Browser()
    const { url } = await browser.open(`${plane.url}/sign-on/oidc${query}`, {}, atCallback)
    return { browser, answer: new URL(url) }
  }
  const copy = (browser: Browser) => {
    const other = new Browser()
    for (const [host, cookies] of browser.jar) other.jar.set(host, new Map(cookies))
    return other
  }

  test(`${proves('S7')} an answer that comes twice opens one session`, async () => {
    const { browser, answer } = await begun()
    const thief = copy(browser)
    expect((await browser.open(answer.href)).status).toBe(200)
    expect((await thief.open(answer.href)).status).toBe(401)
    expect([await isSignedOn(plane, browser), await isSignedOn(plane, thief)]).toEqual([true, false])
    expect(await reasons(plane)).toContain('came back twice')
  })

  test('a code that was used opens nothing under a state that was not', async () => {
    const [first, second] = [await begun(), await begun()]
    await first.browser.open(first.answer.href)
    second.answer.searchParams.set('code', first.answer.searchParams.get('code') as string)
    expect((await second.browser.open(second.answer.href)).status).toBe(401)
    expect(await isSignedOn(plane, second.browser)).toBe(false)
  })

  test('what was begun in another browser is finished in no other', async () => {
    const [mine, theirs] = [await begun(), await begun()]
    expect((await mine.browser.open(theirs.answer.href)).status).toBe(401)
    expect((await new Browser().open(theirs.answer.href)).status).toBe(401)
    expect(await isSignedOn(plane, mine.browser)).toBe(false)
    // The code of another behind one's own state: PKCE.
    const [a, b] = [await begun(), await begun()]
    a.answer.searchParams.set('code', b.answer.searchParams.get('code') as string)
    expect((await a.browser.open(a.answer.href)).status).toBe(401)
    expect(await reasons(plane)).toContain('not begun in this browser')
  })

  test('what the cookie holds cannot be written by others', async () => {
    const { browser, answer } = await begun()
    const jar = browser.jar.get(new URL(plane.url).host) as Map<string, string>
    const sealed = jar.get('sallyport_sign_on') as string
    jar.set('sallyport_sign_on', `${sealed.slice(0, -3)}${sealed.endsWith('AAA') ? 'BBB' : 'AAA'}`)
    expect((await browser.open(answer.href)).status).toBe(401)
    // Nor is what was sealed for something else taken for it.
    const other = await begun()
    const forged = plane.world.sealer.seal(JSON.stringify({ state: 'x', at: Date.now() }), 'cookie browser')
    other.browser.jar.get(new URL(plane.url).host)?.set('sallyport_sign_on', forged.replaceAll(/[+/=]/g, '_'))
    expect((await other.browser.open(other.answer.href)).status).toBe(401)
  })

  const now = () => Math.floor(Date.now() / 1000)
  test.each<[string, TestProvider['signer'], (claims: Record<string, unknown>) => object]>([
    ['signed by another', 'other', (claims) => claims],
    ['not signed', 'none', (claims) => claims],
    ['for another audience', 'own', (claims) => ({ ...claims, aud: 'another' })],
    ['for several, and of another party', 'own', (claims) => ({ ...claims, aud: ['sallyport', 'b'], azp: 'b' })],
    ['of another sign-on', 'own', (claims) => ({ ...claims, nonce: 'another' })],
    ['without a nonce', 'own', ({ nonce: _, ...claims }) => claims],
    ['expired', 'own', (claims) => ({ ...claims, iat: now() - 700, exp: now() - 60 })],
    ['of another issuer', 'own', (claims) => ({ ...claims, iss: 'https://evil.example' })],
    ['of another subject than the user-info', 'own', (claims) => ({ ...claims, sub: 'sub-mallory' })],
  ])('a token that is %s signs nobody on', async (_, signer, change) => {
    const { browser, answer } = await begun()
    provider.signer = signer
    provider.forge = (claims) => change(claims) as Record<string, unknown>
    const seen = await browser.open(answer.href)
    expect([seen.status, await isSignedOn(plane, browser)]).toEqual([401, false])
    expect(seen.headers.get('content-security-policy')).toContain("default-src 'none'")
  })

  test('an address that the token names is not verified by what the user-info says of another', async () => {
    await applyFile(
      plane,
      `${FILE.replace('sign_on:', '  - { principal: person:carl, role: operator, email: carl@example.com }\nsign_on:')}`,
    )
    provider.user = 'nemo'
    provider.users.set('nemo', { sub: 'sub-nemo', email: 'nemo@example.com', email_verified: true })
    const signedOn = async (claims: object) => {
      const { browser, answer } = await begun()
      provider.forge = (own) => ({ ...own, ...claims })
      return [(await browser.open(answer.href)).status, await isSignedOn(plane, browser)]
    }
    expect(await signedOn({ email: 'carl@example.com' })).toEqual([403, false])
    expect(await reasons(plane)).toContain('email_unverified')
    // Nor the other way round.
    provider.users.set('nemo', { sub: 'sub-nemo', email: 'carl@example.com' })
    expect(await signedOn({ email_verified: true })).toEqual([403, false])
    // One that both name may be verified by either.
    provider.users.set('nemo', { sub: 'sub-nemo', email: 'carl@example.com', email_verified: true })
    expect(await signedOn({ email: 'carl@example.com', email_verified: false })).toEqual([403, false])
    expect(await signedOn({ email: 'carl@example.com' })).toEqual([200, true])
  })

  test('the same token, signed again and not changed, does: the others fail by what they change', async () => {
    const { browser, answer } = await begun()
    provider.forge = (claims) => claims
    expect((await browser.open(answer.href)).status).toBe(200)
    expect(await isSignedOn(plane, browser)).toBe(true)
  })

  test('an address that only looks like another’s in capitals is another', async () => {
    provider.users.set('kelvin', { sub: 'sub-kelvin', email: 'boo\u212A@example.com', email_verified: true })
    await applyFile(plane, FILE.replace('bob@', 'book@'))
    provider.user = 'kelvin'
    const { browser, answer } = await begun()
    expect([(await browser.open(answer.href)).status, await isSignedOn(plane, browser)]).toEqual([403, false])
    provider.users.set('book', { sub: 'sub-book', email: 'BOOK@example.com', email_verified: true })
    provider.user = 'book'
    const own = await begun()
    await own.browser.open(own.answer.href)
    expect(await isSignedOn(plane, own.browser)).toBe(true)
  })

  test.each([
    '//evil.example',
    '/\\evil.example',
    'https://evil.example/',
    '\t//evil.example',
    '/a\r\nset-cookie: x=y',
    'javascript:alert(1)',
    '/\u00a0',
  ])('goes on to no other place: %j', async (to) => {
    const { browser, answer } = await begun(`?return_to=${encodeURIComponent(to)}`)
    const { url } = await browser.open(answer.href)
    expect(url).toBe(`${plane.url}/sign-on`)
    const again = await browser.open(`${plane.url}/sign-on?return_to=${encodeURIComponent(to)}`)
    expect(again.url.startsWith(`${plane.url}/sign-on`)).toBe(true)
  })

  test('a session that was planted is not taken over', async () => {
    const { browser, answer } = await begun()
    const jar = browser.jar.get(new URL(plane.url).host) as Map<string, string>
    const planted = `sp_${'0'.repeat(26)}_${'A'.repeat(43)}`
    jar.set('sallyport_session', planted)
    await browser.open(answer.href)
    expect(jar.get('sallyport_session')).not.toBe(planted)
    // Nor is another's key, planted as a session.
    const victim = new Browser()
    victim.jar.set(new URL(plane.url).host, new Map([['sallyport_session', plane.keys.admin]]))
    expect(await isSignedOn(plane, victim)).toBe(false)
  })

  test('nobody has a password where there is a provider', async () => {
    const browser = new Browser()
    const page = await browser.open(`${plane.url}/sign-on`)
    expect(page.text).not.toContain('<input')
    const body = 'name=ada&password=anything+long+enough'
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    expect((await browser.open(`${plane.url}/sign-on`, { method: 'POST', headers, body })).status).toBe(404)
    expect((await call(plane, plane.keys.admin, 'POST', `${API}/accounts/person:ada/invite`)).status).toBe(404)
  })
})

describe('with the browser of somebody who is signed on', () => {
  let plane: TestPlane
  let browser: Browser
  let csrf: string
  let shift = 0
  const clock = { ...systemClock, now: () => Date.now() + shift }
  const password = 'the password of ada'
  beforeAll(async () => {
    plane = await startSallyport({ policy: POLICY, seams: { clock } })
    await applyFile(plane, FILE)
    for (const who of ['ada', 'bob', 'root']) {
      const link = await invite(plane, `person:${who}`)
      const choosing = new Browser()
      const text = `the password of ${who}`
      await choosing.submit(await choosing.open(link), { password: text, again: text })
    }
    browser = new Browser()
    await signOnWith(plane, browser, 'ada', password)
    csrf = (await asked(plane, browser, 'GET', '/session')).body.csrf
  })
  afterAll(() => plane?.stop())
  const host = () => new URL(plane.url).host
  const evaluate = (headers: Record<string, string>) =>
    asked(plane, browser, 'POST', '/policy/evaluate', {
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ job: { topic: 'job.x' } }),
    })

  test(`${proves('S7')} no other site changes anything`, async () => {
    expect((await evaluate({ 'x-csrf-token': csrf })).status).toBe(200)
    expect((await evaluate({ 'x-csrf-token': csrf, origin: plane.url })).status).toBe(200)
    const forged: Record<string, string>[] = [
      {},
      { 'x-csrf-token': '' },
      { 'x-csrf-token': `${csrf.slice(0, -1)}!` },
      { 'x-csrf-token': csrf, origin: 'https://evil.example' },
      { 'x-csrf-token': csrf, origin: 'null' },
      { 'x-csrf-token': csrf, origin: plane.url.replace('127.0.0.1', 'localhost') },
    ]
    for (const headers of forged) {
      const { status, body } = await evaluate(headers)
      expect([status, body.code]).toEqual([403, 'csrf'])
    }
    expect(await factsOf(plane, 'session.refused')).toContainEqual(
      expect.objectContaining({ actor: 'person:ada', reason: 'no page of ours' }),
    )
    // Looking needs none, and changes nothing.
    expect((await asked(plane, browser, 'GET', '/jobs')).status).toBe(200)
  })

  test('a form is no request to the API', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'x-csrf-token': csrf }
    const { status } = await asked(plane, browser, 'POST', '/policy/evaluate', { headers, body: 'job=x' })
    expect(status).toBe(415)
    const text = await asked(plane, browser, 'POST', '/policy/evaluate', {
      headers: { 'content-type': 'text/plain', 'x-csrf-token': csrf },
      body: '{"job":{"topic":"job.x"}}',
    })
    expect(text.status).toBe(415)
  })

  test('nobody signs the reader off from elsewhere', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: 'https://evil.example' }
    const off = (body: string) => browser.open(`${plane.url}/sign-off`, { method: 'POST', headers, body })
    expect([(await off('')).status, (await off(`csrf=${csrf}`)).status]).toEqual([403, 403])
    expect(await isSignedOn(plane, browser)).toBe(true)
  })

  test('a worker’s routes take no session', async () => {
    const claim = { worker_id: 'w', claim_id: 'c-1', topics: ['job.x'], capacity: 1, wait_ms: 0 }
    for (const [path, body] of [
      ['/workers/claim', claim],
      ['/leases/heartbeat', { leases: [] }],
      ['/leases/complete', []],
    ] as const) {
      const headers = { 'content-type': 'application/json', 'x-csrf-token': csrf }
      const { status } = await asked(plane, browser, 'POST', path, { headers, body: JSON.stringify(body) })
      expect([path, status]).toEqual([path, 401])
    }
  })

  test('two sessions in one request are none, and a key beside one counts alone', async () => {
    const own = browser.cookie(plane.url, 'sallyport_session')
    const twice = { cookie: `sallyport_session=${own}; sallyport_session=${own}` }
    expect((await call(plane, null, 'GET', `${API}/session`, undefined, twice)).status).toBe(401)
    const beside = { cookie: `sallyport_session=${own}` }
    const { body } = await call(plane, plane.keys.admin, 'GET', `${API}/session`, undefined, beside)
    expect(body).toMatchObject({ principal: 'admin:first', csrf: null })
    expect((await call(plane, 'sp_none', 'GET', `${API}/session`, undefined, beside)).status).toBe(401)
  })

  test('nobody signs the reader on as somebody else', async () => {
    const attacker = new Browser()
    const page = await attacker.open(`${plane.url}/sign-on`)
    const form = /name="form" value="([^"]+)"/.exec(page.text)?.[1] as string
    const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: plane.url }
    const body = new URLSearchParams({ form, name: 'bob', password: 'the password of bob' }).toString()
    const victim = new Browser()
    const post = (more: Record<string, string> = {}) =>
      victim.open(`${plane.url}/sign-on`, { method: 'POST', headers: { ...headers, ...more }, body })
    expect((await post()).status).toBe(403)
    await victim.open(`${plane.url}/sign-on`)
    expect((await post()).status).toBe(403)
    victim.jar.set(host(), new Map(attacker.jar.get(host())))
    expect((await post({ origin: 'https://evil.example' })).status).toBe(403)
    expect(await isSignedOn(plane, victim)).toBe(false)
    expect(await reasons(plane)).toContain('form of another page')
  })

  test('guessing ends after five, however many at once, and does not lock out the browser that knows', async () => {
    const known = browser.fresh()
    const guess = (who: string, text: string, from = new Browser()) => signOnWith(plane, from, who, text)
    const pages = await Promise.all(
      Array.from({ length: 12 }, async (): Promise<[Browser, Seen]> => {
        const from = new Browser()
        return [from, await from.open(`${plane.url}/sign-on`)]
      }),
    )
    const seen = await Promise.all(
      pages.map(([from, page], n) => from.submit(page, { name: 'ada', password: `guess ${n}` })),
    )
    expect(seen.filter(({ status }) => status === 401)).toHaveLength(5)
    const late = seen.find(({ status }) => status === 429) as Seen
    expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(800)
    // Under another spelling too, and also who is right waits.
    expect((await guess('PERSON:Ada', password)).status).toBe(429)
    // An address is a name of its own, and the name of nobody is counted the same way: else the sixth try would say who is who.
    for (let n = 0; n < 5; n++) expect((await guess('ADA@example.com', 'x')).status).toBe(401)
    expect((await guess('ada@example.com', password)).status).toBe(429)
    for (let n = 0; n < 5; n++) expect((await guess('nobody', 'x')).status).toBe(401)
    expect((await guess('person:nobody', 'x')).status).toBe(429)
    // Whoever is signed on goes on, and so does the browser they used.
    expect(await isSignedOn(plane, browser)).toBe(true)
    expect((await guess('ada', password, known)).status).toBe(200)
    // It may guess no more than others, though, and only at the one it knows.
    for (let n = 0; n < 5; n++) expect((await guess('ada', 'x', browser.fresh())).status).toBe(401)
    expect((await guess('ada', 'x', browser.fresh())).status).toBe(429)
    shift += 15 * 60_000
    expect((await guess('ada', password)).status).toBe(200)
  })

  test('guessing at many from one place ends after twenty', async () => {
    shift += 15 * 60_000
    const statuses: number[] = []
    for (let n = 0; n < 22; n++) statuses.push((await signOnWith(plane, new Browser(), `name-${n}`, 'x')).status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(20)
    expect(statuses.slice(20)).toEqual([429, 429])
    shift += 15 * 60_000
  })

  test('what is no form of ours costs nothing: too large, no form, not text', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const post = (body: string, type = headers) =>
      fetch(`${plane.url}/sign-on`, { method: 'POST', headers: type, body })
    expect((await post(`name=${'x'.repeat(20_000)}`)).status).toBe(413)
    const json = { 'content-type': 'application/json' }
    expect((await post(JSON.stringify({ name: 'x'.repeat(20_000) }), json)).status).toBe(413)
    expect((await post('{"name":{"a":1},"password":["x"]}', json)).status).toBe(403)
    expect((await post('__proto__=1&name=ada')).status).toBe(403)
  })

  test('an invitation is not guessed, not used up by looking, and not taken twice at once', async () => {
    expect((await new Browser().open(`${plane.url}/invitations/${'A'.repeat(43)}`)).status).toBe(410)
    const link = await invite(plane, 'person:bob')
    for (let n = 0; n < 3; n++) expect((await new Browser().open(link)).status).toBe(200)
    const pages = await Promise.all(
      ['one', 'two'].map(async (which): Promise<[Browser, Seen, string]> => {
        const from = new Browser()
        return [from, await from.open(link), `the ${which} of two at once`]
      }),
    )
    const seen = await Promise.all(
      pages.map(([from, page, text]) => from.submit(page, { password: text, again: text })),
    )
    expect(seen.map(({ status }) => status).sort()).toEqual([200, 410])
    const won = pages[seen.findIndex(({ status }) => status === 200)]?.[2] as string
    expect((await signOnWith(plane, new Browser(), 'bob', won)).status).toBe(200)
  })
})

test('under https the session is this very host’s, and its forms are', async () => {
  const origin = 'https://plane.example.com'
  const plane = await startSallyport({ policy: POLICY, env: { SALLYPORT_PUBLIC_URL: origin } })
  await applyFile(plane, FILE)
  const browser = new Browser()
  const own = { origin }
  const { body } = await call(plane, plane.keys.admin, 'POST', `${API}/accounts/person:ada/invite`)
  expect(body.link).toContain(`${origin}/invitations/`)
  const password = 'the password of ada'
  const choosing = await browser.open(body.link.replace(origin, plane.url))
  expect((await browser.submit(choosing, { password, again: password }, own)).status).toBe(200)
  // As whoever reaches it past the proxy would send it.
  expect((await signOnWith(plane, browser, 'ada', password)).status).toBe(403)
  await browser.submit(await browser.open(`${plane.url}/sign-on`), { name: 'ada', password }, own)
  const key = browser.cookie(plane.url, '__Host-sallyport_session') as string
  expect(await isSignedOn(plane, browser)).toBe(true)
  const neighbour = { cookie: `sallyport_session=${key}` }
  expect((await call(plane, null, 'GET', `${API}/session`, undefined, neighbour)).status).toBe(401)
  await plane.stop()
})

describe('escalation', () => {
  let plane: TestPlane
  let narrow: string
  beforeAll(async () => {
    plane = await startSallyport({ policy: POLICY })
    await applyFile(plane, FILE)
    const body = { role: 'admin', principal: 'person:root', permissions: ['directory:read', 'directory:write'] }
    narrow = (await createKey(plane.world, 'default', 'test', body as never)).key
  })
  afterAll(() => plane?.stop())

  test(`${proves('S7')} who may only write the directory lets in nobody who may more`, async () => {
    const as = (method: string, path: string, body?: unknown) => call(plane, narrow, method, API + path, body)
    expect((await as('POST', '/accounts/admin:first/invite')).status).toBe(403)
    expect((await as('DELETE', '/accounts/admin:first')).status).toBe(403)
    expect(await factsOf(plane, 'session.refused')).toContainEqual(
      expect.objectContaining({ actor: 'person:root', reason: 'account of who may more', principal: 'admin:first' }),
    )
    // An address is a way to sign on: who may write it into another's record would be that other.
    const mine = { kind: 'person', role: 'admin', email: 'mallory@example.com' }
    expect((await as('PUT', '/principals/admin:first', mine)).status).toBe(422)
    // And so is a group.
    const file = (text: string) => ({ path: 'sallyport.yaml', text })
    const wide = FILE.replace('group: admins', 'group: everybody')
    expect((await as('POST', '/directory/apply', file(wide))).status).toBe(422)
    expect((await as('POST', '/directory/apply', file(FILE.replace(/sign_on:[\s\S]*/, '')))).status).toBe(422)
    expect((await as('POST', '/directory/apply', file(FILE))).status).toBe(200)
  })

  test('another tenant’s admin invites nobody here', async () => {
    const { key } = await createKey(plane.world, 'other', 'test', { role: 'admin', principal: 'admin:other' })
    expect((await call(plane, key, 'POST', `${API}/accounts/person:ada/invite`)).status).toBe(404)
    expect((await call(plane, key, 'DELETE', `${API}/accounts/person:ada`)).status).toBe(404)
  })
})
