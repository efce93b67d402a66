import { createHmac } from 'node:crypto'
import { createServer as createTcp } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Receiver, startReceiver } from '../../test/support/post-office.js'
import type { Post, Sent } from './courier.js'
import { addressFault, type Resolve } from './outbound.js'
import { postWebhook, signatureOf } from './webhook.js'

let receiver: Receiver
beforeAll(async () => {
  receiver = await startReceiver()
})
afterAll(() => receiver.stop())
beforeEach(() => {
  receiver.posts.length = 0
  receiver.answer = (response) => void response.writeHead(204).end()
})

const BODY = '{"delivery_id":"dlv_1"}'
const post = (url: string, more: Partial<Post> = {}): Post => ({
  url,
  secret_env: 'X',
  allow_private: true,
  delivery_id: 'dlv_1',
  body: BODY,
  at: 1_700_000_000_999,
  ...more,
})
const send = (more: Partial<Post> = {}, hosts = [receiver.host], resolve?: Resolve, wholeMs?: number) =>
  postWebhook(post(receiver.url, more), 'key', { privateHosts: hosts, resolve, wholeMs })
const fault = (sent: Sent) => (sent.ok ? 'ok' : `${sent.fault}${sent.final ? ' for good' : ''}: ${sent.why}`)

test('is signed over the second it was sent and the bytes of its body', async () => {
  expect(await send()).toEqual({ ok: true })
  const [{ headers, body }] = receiver.posts as [Receiver['posts'][0]]
  expect(body).toBe(BODY)
  expect(headers['sallyport-timestamp']).toBe('1700000000')
  expect(headers['sallyport-delivery']).toBe('dlv_1')
  const own = createHmac('sha256', 'key').update(`1700000000.${BODY}`).digest('hex')
  expect(headers['sallyport-signature']).toBe(`v1=${own}`)
  expect(signatureOf('key', 1_700_000_000, BODY)).toBe(`v1=${own}`)
  expect(signatureOf('other', 1_700_000_000, BODY)).not.toBe(`v1=${own}`)
})

describe('what the receiver answers', () => {
  test.each([
    [200, 'ok'],
    [299, 'ok'],
    [408, 'channel: 127.0.0.1 answered 408'],
    [429, 'channel: 127.0.0.1 answered 429'],
    [500, 'channel: 127.0.0.1 answered 500'],
    [400, 'delivery: 127.0.0.1 answered 400'],
    [404, 'delivery: 127.0.0.1 answered 404'],
    [410, 'delivery for good: 127.0.0.1 answered 410'],
  ])('%i is %s', async (status, said) => {
    receiver.answer = (response) => void response.writeHead(status).end('why')
    expect(fault(await send())).toBe(said)
  })

  test('a redirect is not followed, wherever it leads', async () => {
    for (const location of ['http://169.254.169.254/', '/elsewhere', receiver.url]) {
      receiver.posts.length = 0
      receiver.answer = (response) => void response.writeHead(307, { location }).end()
      expect(fault(await send())).toBe('delivery: 127.0.0.1 answered 307: redirects are not followed')
      expect(receiver.posts.length).toBe(1)
    }
  })

  test('an answer without end is cut off after 64 KB, and its status counts', async () => {
    let written = 0
    receiver.answer = (response) => {
      response.writeHead(200)
      const more = () => {
        if (response.destroyed) return
        written += 16_384
        response.write('x'.repeat(16_384), () => setImmediate(more))
      }
      more()
    }
    expect(await send()).toEqual({ ok: true })
    expect(written).toBeLessThan(16 * 1024 * 1024)
  })

  test('one that never comes is given up, as is one that drips', async () => {
    receiver.answer = () => {}
    expect(fault(await send({}, undefined, undefined, 200))).toBe('channel: 127.0.0.1 did not answer in 200 ms')
    receiver.answer = (response) => void response.writeHead(200).write('x')
    expect(fault(await send({}, undefined, undefined, 200))).toBe('channel: 127.0.0.1 did not answer in 200 ms')
  })

  test('one that breaks off, is no HTTP, or is nobody’s fails the channel', async () => {
    receiver.answer = (response) => void response.destroy()
    expect(fault(await send())).toMatch(/^channel: no answer from 127\.0\.0\.1 \(ECONNRESET\)$/)
    const noise = createTcp((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end('SSH-2.0-x\r\n'),
    )
    await new Promise<void>((up) => noise.listen(0, '127.0.0.1', up))
    const { port } = noise.address() as { port: number }
    const at = `127.0.0.1:${port}`
    expect(fault(await send({ url: `http://${at}/` }, [at]))).toMatch(/^channel: no answer/)
    await new Promise((down) => noise.close(down))
    expect(fault(await send({ url: `http://${at}/` }, [at]))).toMatch(/ECONNREFUSED/)
  })
})

describe('an address inside the house', () => {
  const port = () => receiver.host.split(':')[1]
  test.each([
    ['that the server does not list', { allow_private: true }, []],
    ['that the channel does not ask for', { allow_private: false }, ['own']],
  ])('%s is not called', async (_why, more, hosts) => {
    const listed = hosts.map(() => receiver.host)
    expect(fault(await send(more, listed))).toMatch(/^channel: 127\.0\.0\.1:\d+ is not listed/)
    expect(fault(await send({ ...more, url: `https://${receiver.host}/` }, listed))).toMatch(/not called \(loopback\)/)
    expect(receiver.posts).toEqual([])
  })

  test('is not reached by a public name either, nor by one good answer among bad ones', async () => {
    const names: Record<string, string[]> = {
      'inside.test': ['127.0.0.1'],
      'mixed.test': ['93.184.216.34', '10.0.0.1'],
      'metadata.test': ['169.254.169.254'],
      'mapped.test': ['::ffff:127.0.0.1'],
      'nobody.test': [],
    }
    const resolve: Resolve = async (host) => names[host] ?? []
    for (const name of Object.keys(names))
      expect(fault(await send({ url: `https://${name}:${port()}/` }, [], resolve)), name).toMatch(
        name === 'nobody.test' ? /no address/ : /leads to an address that is not called/,
      )
    expect(receiver.posts).toEqual([])
  })

  test('is not reached by a name that answers otherwise the second time: it is asked once, and called there', async () => {
    let asked = 0
    const resolve: Resolve = async () => (asked++ === 0 ? ['127.0.0.1'] : ['93.184.216.34'])
    const host = `turns.test:${port()}`
    expect(await send({ url: `http://${host}/hook` }, [host], resolve)).toEqual({ ok: true })
    expect([asked, receiver.posts[0]?.headers.host]).toEqual([1, host])
  })

  test('a look-up that hangs is given up', async () => {
    expect(fault(await send({ url: 'https://slow.test/' }, [], () => new Promise(() => {}), 50))).toBe(
      'channel: slow.test cannot be resolved (ETIMEOUT)',
    )
  })

  test.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '168.63.129.16',
    '::1',
    '::',
    'fe80::1',
    'fc00::1',
    'ff02::1',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    '2002:a00:1::',
    '2001::1',
    'fe80::1%eth0',
    'x',
  ])('%s is none to call', (address) => expect(addressFault(address)).not.toBeNull())
  test.each(['93.184.216.34', '2606:2800:220:1:248:1893:25c8:1946'])('%s is', (address) =>
    expect(addressFault(address)).toBeNull(),
  )
})
