import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { testCertificate } from '../../test/worker/certificate.js'
import { type TestContext, type TestContextOptions, testContext, testJob } from '../../test/worker/context.js'
import { type IntegrationsCallOptions, integrationsCall } from './integrations-call.js'

const servers: (Server | TcpServer)[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
})

interface Seen {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: string
}

async function listen<S extends Server | TcpServer>(server: S): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** A service that notes what it was asked and answers with `answer`. */
async function service(
  answer: (request: Seen, response: ServerResponse) => void,
): Promise<{ port: number; seen: Seen[] }> {
  const seen: Seen[] = []
  const listener: RequestListener = async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const noted = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    }
    seen.push(noted)
    answer(noted, response)
  }
  return { port: await listen(createServer(listener)), seen }
}

/** The names of these tests, all on this machine: nothing outside is ever asked. */
const names = (answers: Record<string, string[]>) => async (host: string) => {
  const found = answers[host]
  if (found === undefined) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' })
  return found
}

function call(input: unknown, options: IntegrationsCallOptions, context: TestContextOptions | TestContext = {}) {
  return integrationsCall(options)(testJob(input), 'effect' in context ? context : testContext(context))
}

const local = (port: number) => ({ allowedHosts: ['127.0.0.1'], allowPrivate: [`127.0.0.1:${port}`] })

describe('a call that is allowed', () => {
  test('GET: answer, headers, no effect, no cookie handed on', async () => {
    const { port, seen } = await service((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'set-cookie': 'session=1', 'x-request-id': 'r1' })
      response.end('{"ok":true}')
    })
    const ctx = testContext()
    const result = await call(
      {
        url: `http://127.0.0.1:${port}/a?b=c#d`,
        headers: { 'X-Own': 'yes', Host: 'evil.test', Connection: 'upgrade', 'Proxy-Authorization': 'x' },
      },
      local(port),
      ctx,
    )
    expect(result).toMatchObject({
      status: 200,
      body: '{"ok":true}',
      encoding: 'utf8',
      truncated: false,
      redirects: 0,
      url: `http://127.0.0.1:${port}/a?b=c`,
    })
    expect(result.headers).toMatchObject({ 'content-type': 'application/json', 'x-request-id': 'r1' })
    expect(result.headers).not.toHaveProperty('set-cookie')
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatchObject({
      method: 'GET',
      url: '/a?b=c',
      headers: { 'x-own': 'yes', host: `127.0.0.1:${port}`, connection: 'close' },
    })
    expect(seen[0]?.headers).not.toHaveProperty('proxy-authorization')
    expect(ctx.begun).toEqual([])
  })

  test('POST: one effect, its idempotency key, JSON', async () => {
    const { port, seen } = await service((_, response) => response.writeHead(201).end('made'))
    const ctx = testContext()
    const input = {
      url: `http://127.0.0.1:${port}/`,
      method: 'POST',
      body: { amount: 5 },
      headers: { 'Idempotency-Key': 'chosen by the agent' },
    }
    expect(await call(input, local(port), ctx)).toMatchObject({ status: 201, body: 'made' })
    expect(seen[0]).toMatchObject({
      method: 'POST',
      body: '{"amount":5}',
      headers: { 'idempotency-key': 'idem-call', 'content-type': 'application/json', 'content-length': '12' },
    })
    expect([...ctx.committed.keys()]).toEqual(['call'])
  })

  test('a name: resolved once, connected to the very address that was checked', async () => {
    const { port, seen } = await service((_, response) => response.end('here'))
    let asked = 0
    const lookup = async () => {
      asked++
      // A second answer would lead elsewhere: where nobody listens.
      return asked === 1 ? ['127.0.0.1'] : ['127.0.0.2']
    }
    const options = { allowedHosts: ['*.internal.test'], allowPrivate: [`api.internal.test:${port}`], lookup }
    expect(await call({ url: `http://api.internal.test:${port}/` }, options)).toMatchObject({ body: 'here' })
    expect(asked).toBe(1)
    expect(seen[0]?.headers.host).toBe(`api.internal.test:${port}`)
  })

  test('a service of which the first address does not answer', async () => {
    const { port } = await service((_, response) => response.end('second'))
    const options = {
      allowedHosts: ['two.test'],
      allowPrivate: [`two.test:${port}`],
      lookup: names({ 'two.test': ['127.0.0.3', '127.0.0.1'] }),
    }
    expect(await call({ url: `http://two.test:${port}/` }, options)).toMatchObject({ body: 'second' })
  })

  test('a body past the limit is cut, and one that is no text is base64', async () => {
    const { port } = await service((request, response) =>
      response.end(request.url === '/long' ? 'x'.repeat(1_000_000) : Buffer.from([0, 255])),
    )
    const options = { ...local(port), maxBytes: 1000 }
    expect(await call({ url: `http://127.0.0.1:${port}/long` }, options)).toMatchObject({
      truncated: true,
      body: 'x'.repeat(1000),
    })
    expect(await call({ url: `http://127.0.0.1:${port}/binary` }, options)).toMatchObject({
      encoding: 'base64',
      body: 'AP8=',
    })
  })

  test('https: the certificate must be for the name and known', async () => {
    const { key, cert } = testCertificate('tls.test')
    const port = await listen(createTlsServer({ key, cert }, (_, response) => void response.end('sealed')))
    const options = (host: string, ca?: string) => ({
      allowedHosts: [host],
      allowPrivate: [`${host}:${port}`],
      lookup: names({ 'tls.test': ['127.0.0.1'], 'other.test': ['127.0.0.1'] }),
      ...(ca === undefined ? {} : { ca }),
    })
    expect(await call({ url: `https://tls.test:${port}/` }, options('tls.test', cert))).toMatchObject({
      body: 'sealed',
    })
    await expect(call({ url: `https://other.test:${port}/` }, options('other.test', cert))).rejects.toMatchObject({
      name: 'TerminalError',
      code: 'tls_refused',
    })
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    try {
      await expect(call({ url: `https://tls.test:${port}/` }, options('tls.test'))).rejects.toMatchObject({
        code: 'tls_refused',
      })
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    }
  })
})

describe('a call that is refused, and nobody hears of it', () => {
  test('both lists bind, and without any there is no call', async () => {
    const { port, seen } = await service((_, response) => response.end())
    const url = `http://127.0.0.1:${port}/`
    const allowPrivate = [`127.0.0.1:${port}`]
    const constraints = (allowed_hosts: unknown) => ({ constraints: { allowed_hosts } })
    await expect(call({ url }, { allowPrivate })).rejects.toMatchObject({ code: 'no_allow_list' })
    await expect(call({ url }, { allowPrivate }, constraints(['api.example.com']))).rejects.toMatchObject({
      code: 'host_not_allowed',
    })
    await expect(
      call({ url }, { allowPrivate, allowedHosts: ['api.example.com'] }, constraints(['127.0.0.1'])),
    ).rejects.toMatchObject({ code: 'host_not_allowed' })
    await expect(call({ url }, { allowPrivate }, constraints('127.0.0.1'))).rejects.toMatchObject({
      code: 'host_not_allowed',
    })
    await expect(call({ url }, { allowPrivate }, constraints([{}]))).rejects.toMatchObject({ code: 'host_not_allowed' })
    expect(seen).toEqual([])
    expect(await call({ url }, { allowPrivate }, constraints(['127.0.0.1']))).toMatchObject({ status: 200 })
  })

  test('an allowed name that leads to a private address, or to one among public ones', async () => {
    const { port, seen } = await service((_, response) => response.end())
    const lookup = names({
      'inside.test': ['127.0.0.1'],
      'mixed.test': ['93.184.216.34', '10.0.0.1'],
      'mapped.test': ['::ffff:127.0.0.1'],
      'zone.test': ['fe80::1%lo'],
    })
    for (const host of ['inside.test', 'mixed.test', 'mapped.test', 'zone.test']) {
      const ctx = testContext()
      const attempt = call(
        { url: `http://${host}:${port}/`, method: 'POST', body: 'x' },
        { allowedHosts: [host], lookup },
        ctx,
      )
      await expect(attempt, host).rejects.toMatchObject({ name: 'TerminalError', code: 'address_refused' })
      expect(ctx.begun).toEqual([])
    }
    expect(seen).toEqual([])
  })

  test('a private address by number, whatever the notation, unless this very host and port are let in', async () => {
    const { port, seen } = await service((_, response) => response.end())
    for (const host of ['127.0.0.1', '2130706433', '0x7f.1', '017700000001', 'localhost', '[::ffff:127.0.0.1]']) {
      const options = {
        allowedHosts: ['127.0.0.1', 'localhost', '::ffff:7f00:1'],
        allowPrivate: [`127.0.0.1:${port + 1}`, `127.0.0.2:${port}`],
      }
      await expect(call({ url: `http://${host}:${port}/` }, options), host).rejects.toMatchObject({
        code: 'address_refused',
      })
    }
    expect(seen).toEqual([])
  })

  test.each([
    ['a GET with a body', { method: 'GET', body: 'x' }],
    ['another method', { method: 'CONNECT' }],
    ['a line break in a header', { headers: { 'x-a': 'b\r\nHost: evil' } }],
    ['a header name that is none', { headers: { 'x a': 'b' } }],
    ['an unknown field', { proxy: 'http://evil.test' }],
    ['no time', { timeout_ms: 0 }],
  ])('%s', async (_, more) => {
    await expect(call({ url: 'http://127.0.0.1:1/', ...more }, local(1))).rejects.toMatchObject({
      name: 'TerminalError',
      code: 'invalid_input',
    })
  })
})

describe('redirects', () => {
  test('are followed, up to five, and each is checked', async () => {
    const { port, seen } = await service((request, response) => {
      const left = Number(request.url.slice(1))
      if (left === 0) response.end('there')
      else response.writeHead(302, { location: `/${left - 1}` }).end()
    })
    const url = (n: number) => `http://127.0.0.1:${port}/${n}`
    expect(await call({ url: url(5) }, local(port))).toMatchObject({ body: 'there', redirects: 5, url: url(0) })
    seen.length = 0
    await expect(call({ url: url(6) }, local(port))).rejects.toMatchObject({ code: 'too_many_redirects' })
    expect(seen).toHaveLength(6)
  })

  test.each([
    ['a host that is not allowed', 'http://evil.test/', 'host_not_allowed'],
    ['the metadata service', 'http://169.254.169.254/latest', 'host_not_allowed'],
    ['an allowed name that leads inside', 'http://inside.test/', 'address_refused'],
    ['another scheme', 'file:///etc/passwd', 'url_refused'],
    ['a user in the URL', 'http://a@127.0.0.1/', 'url_refused'],
  ])('to %s are refused', async (_, location, code) => {
    const { port } = await service((__, response) => response.writeHead(302, { location }).end())
    const options = {
      allowedHosts: ['127.0.0.1', 'inside.test'],
      allowPrivate: [`127.0.0.1:${port}`],
      lookup: names({ 'inside.test': ['10.1.2.3'] }),
    }
    await expect(call({ url: `http://127.0.0.1:${port}/` }, options)).rejects.toMatchObject({
      name: 'TerminalError',
      code,
    })
  })

  test('from https to http are refused', async () => {
    const plain = await service((_, response) => response.end('open'))
    const { key, cert } = testCertificate('tls.test')
    const location = `http://127.0.0.1:${plain.port}/`
    const listener: RequestListener = (_, response) => void response.writeHead(302, { location }).end()
    const port = await listen(createTlsServer({ key, cert }, listener))
    const options = {
      allowedHosts: ['tls.test', '127.0.0.1'],
      allowPrivate: [`tls.test:${port}`, `127.0.0.1:${plain.port}`],
      lookup: names({ 'tls.test': ['127.0.0.1'] }),
      ca: cert,
    }
    const attempt = call({ url: `https://tls.test:${port}/` }, options)
    await expect(attempt).rejects.toMatchObject({ name: 'TerminalError', code: 'redirect_refused' })
    expect(plain.seen).toEqual([])
  })

  test('to another origin lose their credentials, within one keep them', async () => {
    const target = await service((_, response) => response.end('target'))
    const origin = await service((request, response) =>
      request.url === '/first'
        ? response.writeHead(307, { location: '/second' }).end()
        : response.writeHead(307, { location: `http://127.0.0.1:${target.port}/` }).end(),
    )
    const options = {
      allowedHosts: ['127.0.0.1'],
      allowPrivate: [`127.0.0.1:${origin.port}`, `127.0.0.1:${target.port}`],
    }
    const headers = { Authorization: 'Bearer x', Cookie: 'a=b', 'X-Api-Key': 'k', 'X-Plain': 'stays' }
    await call({ url: `http://127.0.0.1:${origin.port}/first`, headers }, options)
    expect(origin.seen.map((request) => request.headers.authorization)).toEqual(['Bearer x', 'Bearer x'])
    expect(target.seen[0]?.headers).toMatchObject({ 'x-plain': 'stays' })
    for (const name of ['authorization', 'cookie', 'x-api-key'])
      expect(target.seen[0]?.headers).not.toHaveProperty(name)
  })

  test('after a POST: 303 becomes GET without its body; 307 is a second effect', async () => {
    const { port, seen } = await service((request, response) => {
      if (request.url === '/see') response.writeHead(303, { location: '/done' }).end()
      else if (request.url === '/move') response.writeHead(307, { location: '/done' }).end()
      else response.end('done')
    })
    const input = (path: string) => ({ url: `http://127.0.0.1:${port}${path}`, method: 'POST', body: 'b' })
    const see = testContext()
    await call(input('/see'), local(port), see)
    const move = testContext()
    await call(input('/move'), local(port), move)
    expect(
      seen.map((request) => `${request.method} ${request.url} ${request.body} ${request.headers['idempotency-key']}`),
    ).toEqual(['POST /see b idem-call', 'GET /done  undefined', 'POST /move b idem-call', 'POST /done b idem-call.2'])
    expect([see.begun, move.begun]).toEqual([['call'], ['call', 'call.2']])
  })
})

describe('what failed, and whether it may have happened', () => {
  test.each([
    [404, 'TerminalError', 'http_404'],
    [429, 'TransientError', 'http_429'],
    [500, 'TransientError', 'http_500'],
    [503, 'TransientError', 'http_503'],
  ])('GET answered %i is a %s', async (status, name, code) => {
    const { port } = await service((_, response) => response.writeHead(status).end('why'))
    await expect(call({ url: `http://127.0.0.1:${port}/` }, local(port))).rejects.toMatchObject({
      name,
      code,
      message: expect.stringContaining('why'),
    })
  })

  test('nobody listens, or the name is unknown: transient, and no effect begun', async () => {
    const port = await listen(createTcpServer())
    const closed = servers.pop() as TcpServer
    closed.close()
    await once(closed, 'close')
    const ctx = testContext()
    const post = (host: string) => ({ url: `http://${host}:${port}/`, method: 'POST', body: 'x' })
    await expect(call(post('127.0.0.1'), local(port), ctx)).rejects.toMatchObject({
      name: 'TransientError',
      code: 'connect_failed',
    })
    await expect(
      call(post('gone.test'), { allowedHosts: ['gone.test'], lookup: names({}) }, ctx),
    ).rejects.toMatchObject({ name: 'TransientError', code: 'dns_failed' })
    expect(ctx.begun).toEqual([])
  })

  test.each([
    ['breaks off', (response: ServerResponse) => response.destroy()],
    ['answers 500', (response: ServerResponse) => response.writeHead(500).end()],
    ['answers 504', (response: ServerResponse) => response.writeHead(504).end()],
  ])('a POST whose service %s leaves its effect begun', async (_, answer) => {
    const { port } = await service((__, response) => void answer(response))
    const ctx = testContext()
    await expect(
      call({ url: `http://127.0.0.1:${port}/`, method: 'POST', body: 'x' }, local(port), ctx),
    ).rejects.toMatchObject({ name: 'TransientError', code: 'outcome_unknown' })
    expect(ctx.begun).toEqual(['call'])
    expect(ctx.committed.size).toBe(0)
  })

  test('a POST without an answer in time, or cancelled meanwhile, leaves its effect begun', async () => {
    const ctx = testContext()
    const { port } = await service((request) => {
      if (request.url === '/cancel') ctx.abort('cancel')
    })
    const post = (path: string, more = {}) => ({
      url: `http://127.0.0.1:${port}${path}`,
      method: 'POST',
      body: 'x',
      ...more,
    })
    const slow = testContext()
    await expect(call(post('/slow', { timeout_ms: 200 }), local(port), slow)).rejects.toMatchObject({
      code: 'outcome_unknown',
    })
    await expect(call(post('/cancel'), local(port), ctx)).rejects.toMatchObject({ code: 'outcome_unknown' })
    expect([slow.begun, slow.committed.size, ctx.begun, ctx.committed.size]).toEqual([['call'], 0, ['call'], 0])
  })

  test('a body that never ends is cut at the limit; one that stalls ends with the attempt', async () => {
    const ctx = testContext()
    const { port } = await service((request, response) => {
      response.write('x'.repeat(2000))
      if (request.url === '/stall') setImmediate(() => ctx.abort('cancel'))
    })
    const options = { ...local(port), maxBytes: 1000 }
    expect(await call({ url: `http://127.0.0.1:${port}/endless` }, options)).toMatchObject({ truncated: true })
    const stalled = call({ url: `http://127.0.0.1:${port}/stall` }, { ...options, maxBytes: 5000 }, ctx)
    await expect(stalled).rejects.toMatchObject({ name: 'TransientError', code: 'timeout' })
  })

  test('a GET without an answer in time is transient', async () => {
    const { port } = await service(() => {})
    await expect(call({ url: `http://127.0.0.1:${port}/`, timeout_ms: 200 }, local(port))).rejects.toMatchObject({
      name: 'TransientError',
      code: 'timeout',
    })
  })

  test('a recorded answer is not asked for again, not even a connection is made', async () => {
    const { port, seen } = await service((_, response) => response.end('once'))
    const committed = new Map<string, unknown>()
    const input = { url: `http://127.0.0.1:${port}/`, method: 'POST', body: 'x' }
    const first = await call(input, local(port), { committed })
    const server = servers.pop() as Server
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
    expect(await call(input, local(port), { committed })).toEqual(first)
    expect(seen).toHaveLength(1)
  })

  test('a recorded refusal is proof that nothing happened: the next attempt asks under a new key', async () => {
    let status = 429
    const { port, seen } = await service((_, response) => response.writeHead(status).end())
    const committed = new Map<string, unknown>()
    const input = { url: `http://127.0.0.1:${port}/`, method: 'POST', body: 'x' }
    await expect(call(input, local(port), { committed })).rejects.toMatchObject({
      name: 'TransientError',
      code: 'http_429',
    })
    status = 200
    expect(await call(input, local(port), { committed })).toMatchObject({ status: 200 })
    expect(seen.map((request) => request.headers['idempotency-key'])).toEqual(['idem-call', 'idem-call.2'])
    expect([...committed.keys()]).toEqual(['call', 'call.2'])
  })

  test('a recorded answer that is held back is a failure, never a second call', async () => {
    const { port, seen } = await service((_, response) => response.end())
    const committed = new Map<string, unknown>([['call', null]])
    await expect(
      call({ url: `http://127.0.0.1:${port}/`, method: 'DELETE' }, local(port), { committed }),
    ).rejects.toMatchObject({ code: 'effect_result_withheld' })
    expect(seen).toEqual([])
  })

  test('an answer that floods its headers, or is no HTTP, is a failure and no crash', async () => {
    const port = await listen(
      createTcpServer(
        (socket) => void socket.on('error', () => {}).end(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(20_000)}`),
      ),
    )
    await expect(call({ url: `http://127.0.0.1:${port}/` }, local(port))).rejects.toMatchObject({
      name: 'TransientError',
      code: 'request_failed',
    })
  })
})
