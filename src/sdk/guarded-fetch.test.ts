import { afterEach, describe, expect, test } from 'vitest'
import { type Reply, type Seen, type StandIn, startStandIn } from '../../test/stand-in.js'
import { createGuardedFetch, isHostAllowed } from './guarded-fetch.js'

const servers: StandIn[] = []
const serve = async (answer: (request: Seen) => Reply) => {
  const server = await startStandIn(answer)
  servers.push(server)
  return server
}
const guarded = (allowedHosts: unknown, required = false, signal = new AbortController().signal) =>
  createGuardedFetch({ allowedHosts, required, fetch, signal })
const redirect = (to: string, status = 302): Reply => ({ status, headers: { location: to } })

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

describe('which hosts', () => {
  const list = [
    'api.example.com',
    '*.example.org',
    'ported.example.com:8443',
    '127.0.0.1',
    '[::1]:9000',
    'xn--bcher-kva.example',
  ]
  test.each([
    ['https://api.example.com/x', true],
    ['https://API.Example.COM./x', true],
    ['https://api.example.com:8443/', true],
    ['https://example.com/', false],
    ['https://evil-api.example.com/', false],
    ['https://api.example.com.evil.example/', false],
    ['https://a.b.example.org/', true],
    ['https://example.org/', false],
    ['https://badexample.org/', false],
    ['https://ported.example.com:8443/', true],
    ['https://ported.example.com/', false],
    ['http://0x7f.1/', true],
    ['http://2130706433/', true],
    ['http://127.0.0.2/', false],
    ['http://[::1]:9000/', true],
    ['http://[::1]/', false],
    ['https://bücher.example/', true],
    ['https://аpi.example.com/', false],
  ])('%s: %s', (url, expected) => {
    expect(isHostAllowed(new URL(url), list)).toBe(expected)
  })

  test('a constraint that is no list of names allows nothing, none at all everything unless required', () => {
    const url = new URL('https://api.example.com/')
    for (const odd of ['api.example.com', [], {}, [['api.example.com']], ['*'], ['*.']])
      expect(isHostAllowed(url, odd)).toBe(false)
    expect(isHostAllowed(url, undefined)).toBe(true)
    expect(isHostAllowed(url, undefined, true)).toBe(false)
    expect(isHostAllowed(new URL('http://10.0.0.1/'), ['*.0.0.1'])).toBe(false)
  })
})

describe('requests', () => {
  test('go to an allowed host, and a refused one hears nothing', async () => {
    const server = await serve(() => ({ body: { ok: true } }))
    const answer = await guarded(['127.0.0.1'])(`${server.url}/a?b=c`, { method: 'POST', body: '{"n":1}' })
    expect(await answer.json()).toEqual({ ok: true })
    expect(server.seen).toMatchObject([{ method: 'POST', path: '/a', query: { b: 'c' }, body: { n: 1 } }])
    await expect(guarded(['other.example'])(`${server.url}/a?token=s3cret`)).rejects.toMatchObject({
      code: 'host_not_allowed',
      message: expect.not.stringContaining('s3cret'),
    })
    expect(server.seen).toHaveLength(1)
  })

  test.each([
    'file:///etc/passwd',
    'data:text/plain,x',
    'http://user:pw@127.0.0.1/',
    'http://user@127.0.0.1/',
    '/relative',
  ])('%s is refused', async (url) => {
    await expect(guarded(undefined)(url)).rejects.toMatchObject({ name: 'TerminalError', code: 'address_refused' })
  })

  test('end with the attempt', async () => {
    const server = await serve(() => 'drop')
    const controller = new AbortController()
    controller.abort(new Error('cancelled'))
    await expect(guarded(undefined, false, controller.signal)(server.url)).rejects.toThrow('cancelled')
    expect(server.seen).toHaveLength(0)
  })
})

describe('redirects', () => {
  test('are followed to allowed hosts only', async () => {
    const hidden = await serve(() => ({ body: 'secret' }))
    const port = new URL(hidden.url).port
    const server = await serve(({ path }) =>
      path === '/out' ? redirect(`http://localhost:${port}/`) : redirect('/out'),
    )
    await expect(guarded(['127.0.0.1'])(`${server.url}/in`)).rejects.toMatchObject({ code: 'host_not_allowed' })
    expect(server.seen.map((request) => request.path)).toEqual(['/in', '/out'])
    expect(hidden.seen).toHaveLength(0)
  })

  test.each(['file:///etc/passwd', 'http://user:pw@127.0.0.1/', 'http://'])('to %s are refused', async (target) => {
    const server = await serve(() => redirect(target))
    await expect(guarded(undefined)(server.url)).rejects.toMatchObject({ name: 'TerminalError' })
  })

  test('leave credentials behind at another origin, and keep them at the same', async () => {
    const other = await serve(() => ({ body: 'there' }))
    const server = await serve(({ path }) => (path === '/a' ? redirect('/b') : redirect(`${other.url}/c`)))
    const headers = { authorization: 'Bearer t', cookie: 'a=b', 'x-api-key': 'k', 'x-kept': 'yes' }
    await guarded(['127.0.0.1'])(`${server.url}/a`, { headers })
    expect(server.seen[1]?.headers).toMatchObject(headers)
    const carried = other.seen[0]?.headers
    expect(carried).toMatchObject({ 'x-kept': 'yes' })
    for (const name of ['authorization', 'cookie', 'x-api-key']) expect(carried).not.toHaveProperty(name)
  })

  test('stop after five', async () => {
    const server = await serve(() => redirect('/again'))
    await expect(guarded(undefined)(server.url)).rejects.toMatchObject({ code: 'too_many_redirects' })
    expect(server.seen).toHaveLength(6)
  })

  test.each([
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [302, 'PUT', 'PUT'],
    [303, 'PUT', 'GET'],
    [307, 'POST', 'POST'],
    [308, 'POST', 'POST'],
  ])('%i turns %s into %s', async (status, method, expected) => {
    const server = await serve(({ path }) => (path === '/a' ? redirect('/b', status) : { body: 'end' }))
    await guarded(undefined)(`${server.url}/a`, { method, body: '{}', headers: { 'content-type': 'application/json' } })
    const [, second] = server.seen
    expect(second?.method).toBe(expected)
    expect(second?.body).toEqual(expected === 'GET' ? undefined : {})
  })

  test('are handed over or refused where the caller says so', async () => {
    const server = await serve(() => redirect('/b'))
    expect((await guarded(undefined)(server.url, { redirect: 'manual' })).status).toBe(302)
    await expect(guarded(undefined)(server.url, { redirect: 'error' })).rejects.toMatchObject({
      code: 'redirect_refused',
    })
  })
})
