import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { freePort, type NatsInstance, startNats } from '../../scripts/engines.mjs'
import { Dispatcher } from '../../src/loops/dispatcher.js'
import { natsBus } from '../../src/platform/bus/nats.js'
import type { NatsAccess } from '../../src/platform/bus/nats-access.js'
import type { Bus } from '../../src/platform/bus/seam.js'
import { type Log, silentLog } from '../../src/platform/log.js'
import { openPlane } from '../plane.js'
import { proves } from '../requirements.js'
import { scratch, until } from '../support/server.js'
import { testCertificate } from '../worker/certificate.js'
import { busConformance, settled } from './bus.js'

const access = (port: number, more: Partial<NatsAccess> = {}): NatsAccess => ({
  servers: [{ host: '127.0.0.1', port }],
  tls: false,
  user: null,
  pass: null,
  token: null,
  creds: null,
  ...more,
})

busConformance('NATS', async () => {
  const server = await startNats()
  return { node: () => natsBus(access(server.port), silentLog), close: async () => server.discard() }
})

const ending: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end()
})

async function nats(...args: string[]): Promise<NatsInstance> {
  const server = await startNats({ args })
  ending.push(() => server.discard())
  return server
}
async function node(port: number, more: Partial<NatsAccess> = {}, log: Log = silentLog): Promise<Bus> {
  const bus = await natsBus(access(port, more), log)
  ending.push(() => bus.close())
  return bus
}
const connected = (bus: Bus, is: boolean) =>
  until(`the bus is${is ? '' : ' not'} connected`, () => bus.stats.connected === is, 10_000)

/** Lines of a log. */
function listening(): { log: Log; lines: { level: string; text: string }[] } {
  const lines: { level: string; text: string }[] = []
  const at = (level: string) => (fields: unknown, message?: string) => {
    lines.push({ level, text: `${JSON.stringify(fields)} ${message ?? ''}` })
  }
  const levels = ['debug', 'info', 'warn', 'error', 'fatal']
  return { log: Object.fromEntries(levels.map((level) => [level, at(level)])) as unknown as Log, lines }
}

/** Carries bytes both ways until it is told to swallow them, as a network does that lost a route: both ends stay open. */
async function proxy(to: number): Promise<{ port: number; swallow(is: boolean): void; open(): number; met(): number }> {
  let swallows = false
  let met = 0
  const sockets = new Set<Socket>()
  const server = createServer((from) => {
    met++
    const onward = connect(to, '127.0.0.1')
    for (const [socket, other] of [
      [from, onward],
      [onward, from],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
      socket.on('data', (chunk) => {
        if (!swallows) other.write(chunk)
      })
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  ending.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    swallow(is) {
      swallows = is
      // What was cut in the middle of a message can never be understood again.
      if (!is) for (const socket of sockets) socket.destroy()
    },
    open: () => sockets.size,
    met: () => met,
  }
}

/** Says one thing to whoever connects. */
async function speaker(text: string): Promise<number> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    socket.write(text)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  ending.push(() => server.close())
  return (server.address() as AddressInfo).port
}

describe('a NATS server', () => {
  test('older than 2.9 is refused at the start, with its version', async () => {
    const port = await speaker('INFO {"server_id":"x","version":"2.8.4","proto":1,"max_payload":1048576}\r\n')
    await expect(natsBus(access(port), silentLog)).rejects.toThrow(/version 2\.8\.4; it needs 2\.9 or newer/)
  })

  test.each(['HTTP/1.1 400 Bad Request\r\n\r\n', 'INFO {"version":\r\n', 'INFO null\r\n', 'x'.repeat(70_000)])(
    'that is none (%j) is said to be none, and the node goes on',
    async (text) => {
      const { log, lines } = listening()
      const bus = await node(await speaker(text), {}, log)
      expect(bus.stats.connected).toBe(false)
      expect(lines).toEqual([{ level: 'error', text: expect.stringContaining('no NATS server') }])
    },
  )

  test('that is down at the start is found when it comes up', async () => {
    const server = await nats()
    await server.stop()
    const { log, lines } = listening()
    const [a, b] = [await node(server.port, {}, log), await node(server.port)]
    expect(lines).toEqual([{ level: 'error', text: expect.stringMatching(/ECONNREFUSED.*keeps trying/) }])
    b.interest('t', ['job.do.it'])
    a.hint('t', 'job.do.it') // nobody hears it, and nothing breaks
    await server.start()
    await settled(a, b)
  })

  test('that wants a user, password or token is given it', async () => {
    const [named, token] = [await nats('--user', 'ann', '--pass', 'p@ss:'), await nats('--auth', 's3cr3t')]
    expect((await node(named.port, { user: 'ann', pass: 'p@ss:' })).stats.connected).toBe(true)
    expect((await node(token.port, { token: 's3cr3t' })).stats.connected).toBe(true)
  })

  test('that refuses them is told of in the log, without them, and asked again', async () => {
    const server = await nats('--user', 'ann', '--pass', 'right')
    const { log, lines } = listening()
    const bus = await node(server.port, { user: 'ann', pass: 'hunter2' }, log)
    expect(bus.stats.connected).toBe(false)
    expect(lines).toEqual([{ level: 'error', text: expect.stringMatching(/authorization violation/i) }])
    await until('it asks again', () => server.output().split('authentication error').length > 2)
    expect(lines).toHaveLength(1)
    expect(JSON.stringify(lines)).not.toContain('hunter2')
  })

  test('without encryption, or with a certificate nobody knows, is not used where tls:// was asked for', async () => {
    const place = scratch('nats-tls')
    ending.push(() => place.gone())
    const [cert, key] = [place.at('cert.pem'), place.at('key.pem')]
    const made = testCertificate('localhost')
    writeFileSync(cert, made.cert)
    writeFileSync(key, made.key)
    const [plain, unknown] = [await nats(), await nats('--tls', '--tlscert', cert, '--tlskey', key)]
    for (const { port } of [plain, unknown]) {
      const { log, lines } = listening()
      expect((await node(port, { tls: true, user: 'ann', pass: 'hunter2' }, log)).stats.connected).toBe(false)
      expect(lines).toEqual([{ level: 'error', text: expect.stringMatching(/tls|certificate/i) }])
    }
  })

  test('of which one of several is up is found', async () => {
    const server = await nats()
    const servers = [await freePort(), server.port, await freePort()].map((port) => ({ host: '127.0.0.1', port }))
    expect((await node(0, { servers })).stats.connected).toBe(true)
  })

  test(`${proves('L1')} that restarts costs a moment: claims that waited all the while are told again`, async () => {
    const server = await nats()
    const [a, b] = [await node(server.port), await node(server.port)]
    b.interest('t', ['job.do.it'])
    await settled(a, b)
    const heard = new Promise((resolve) => b.onHint((_, topic) => topic === 'job.do.it' && resolve(true)))
    await server.kill()
    await Promise.all([connected(a, false), connected(b, false)])
    await server.start()
    await settled(a, b)
    a.hint('t', 'job.do.it')
    expect(await heard).toBe(true)
    expect(b.stats.connects).toBe(2)
  })

  test(`${proves('L1')} that is frozen is noticed, and used again when it thaws`, async () => {
    const server = await nats()
    const [a, b] = [await node(server.port), await node(server.port)]
    b.interest('t', ['job.do.it'])
    await settled(a, b)
    server.freeze()
    await Promise.all([connected(a, false), connected(b, false)])
    a.hint('t', 'job.do.it')
    expect(a.stats.dropped).toBeGreaterThan(0)
    server.thaw()
    await settled(a, b)
  })

  test(`${proves('L1')} behind a network that swallows everything is noticed, and nothing piles up meanwhile`, async () => {
    const server = await nats()
    const way = await proxy(server.port)
    const [a, b] = [await node(way.port), await node(server.port)]
    b.interest('t', ['job.do.it'])
    await settled(a, b)
    way.swallow(true)
    await connected(a, false)
    // Tried again meanwhile: each attempt meets silence and leaves no connection behind.
    const before = way.met()
    await until('a second attempt', () => way.met() >= before + 2)
    await until('no connection left behind', () => way.open() === 0)
    way.swallow(false)
    await settled(a, b)
  })

  test('that is closed on while it is silent lets the node go at once', async () => {
    const server = await nats()
    const bus = await node(server.port)
    server.freeze()
    await bus.close()
    expect(bus.stats.connected).toBe(false)
    server.thaw()
  })
})

test(`${proves('W1')} a worker that waits at one node has the job that came in at another, by its hint alone`, async () => {
  const server = await nats()
  const plane = await openPlane() // its clock stands still: nobody looks by himself
  ending.push(() => plane.close())
  const nodes = await Promise.all(
    [1, 2].map(async () => {
      const world = { ...plane.node(), bus: await node(server.port) }
      const dispatcher = new Dispatcher(world, silentLog)
      ending.push(() => dispatcher.stop())
      return { world, dispatcher }
    }),
  )
  const [a, b] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
  const t = await plane.tenant(`
version: v1
default_decision: DENY
rules: [{ id: do, match: { topic: job.do.it }, decision: ALLOW }]
`)
  const { principal } = t.worker
  const more = { worker: 'w', claim_id: 'claim-1', capacity: 1, enforces: [], serves: [], effects: 'recorded' as const }
  const claim = { tenant: t.tenant, principal, key: t.worker, topics: ['job.do.it'], ...more }
  const leases = b.dispatcher.claim(claim, 60_000, new AbortController().signal)
  await until('the claim waits', () => b.dispatcher.waiting === 1)
  await settled(a.world.bus, b.world.bus)
  await t.on(a.world).submit({ topic: 'job.do.it' })
  expect(await leases).toHaveLength(1)
})

describe('hints', () => {
  test('that follow closely are said together, and the last of them is said', async () => {
    const server = await nats()
    const [a, b] = [await node(server.port), await node(server.port)]
    let heard = 0
    b.onHint((_, topic) => {
      if (topic === 'job.do.it') heard++
    })
    b.interest('t', ['job.do.it'])
    await settled(a, b)
    const before = a.stats.sent
    for (let i = 0; i < 10_000; i++) a.hint('t', 'job.do.it')
    await settled(a, b)
    expect(heard).toBe(2)
    expect(a.stats.sent - before).toBeLessThan(10)
  })

  test('without a connection are counted and gone, also a million of them', async () => {
    const bus = await node(await freePort())
    for (let i = 0; i < 1_000_000; i++) bus.hint('t', `job.do.n${i}`)
    expect(bus.stats.sent).toBe(0)
    expect(bus.stats.dropped).toBe(1_000_000)
  })

  test('to a server that reads no more are dropped before they fill the memory', async () => {
    const server = await nats()
    const bus = await node(server.port)
    server.freeze()
    const most = 65_536
    // Each of another topic, so that nothing is said together; few enough at once that the gap holds none back.
    let topics = 0
    const more = async () => {
      for (let n = 0; n < 5000; n++) bus.hint('t', `job.do.n${topics++}`)
      await new Promise((turn) => setTimeout(turn, 5))
    }
    while (bus.stats.connected && bus.stats.sent < most) await more()
    await more()
    expect(bus.stats.connected).toBe(true)
    expect(bus.stats.sent).toBe(most)
    expect(bus.stats.dropped).toBeGreaterThan(0)
    server.thaw()
  })

  test('a subscription stays while a worker comes back at once, and goes when it does not', async () => {
    const server = await nats()
    const [a, b] = [await node(server.port), await node(server.port)]
    b.interest('t', ['job.do.it'])()
    b.interest('t', ['job.do.it'])()
    await settled(a, b)
    const before = b.stats.heard
    a.hint('t', 'job.do.it')
    await settled(a, b)
    expect(b.stats.heard - before).toBeGreaterThan(2) // the two probes, and what nobody waits for any more
    await until('the subscription ends', async () => {
      const heard = b.stats.heard
      a.hint('t', 'job.do.it')
      await settled(a, b)
      return b.stats.heard - heard === 2
    })
  })
})
