import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { jetstream, jetstreamManager, type StoredMsg } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { Compile } from 'typebox/compile'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type NatsInstance, startNats } from '../../scripts/engines.mjs'
import { Event } from '../../src/contract/events.js'
import { FACT_KINDS } from '../../src/core/audit.js'
import { integrate } from '../../src/journey/integrate.js'
import { PAST, publish } from '../../src/journey/publish.js'
import { exposition } from '../../src/loops/gauges.js'
import { publisher } from '../../src/loops/publisher.js'
import { natsBus } from '../../src/platform/bus/nats.js'
import { EVENTS, STREAM } from '../../src/platform/bus/nats-events.js'
import { type Bus, type EventStream, StreamUnavailable } from '../../src/platform/bus/seam.js'
import { silentLog } from '../../src/platform/log.js'
import { Metrics } from '../../src/platform/metrics.js'
import { newestHead } from '../../src/store/audit.js'
import { Census } from '../../src/store/census.js'
import type { World } from '../../src/store/world.js'
import { openPlane, type Tenancy, type TestPlane } from '../plane.js'
import { proves } from '../requirements.js'
import { until } from '../support/server.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`
const isEvent = Compile(Event)

let plane: TestPlane
let server: NatsInstance
let bus: Bus
let stream: EventStream
let raw: NatsConnection

beforeAll(async () => {
  plane = await openPlane()
  server = await startNats() // last: what fails before it leaves no process behind
})
afterAll(async () => {
  server?.discard()
  await plane?.close()
})
beforeEach(open)
afterEach(async () => {
  plane.db.tap = null
  await shut()
  await emptied()
  // The tenants of this test are nobody's any more: to the next one the store is as good as new.
  for (const table of ['gates', 'published']) await plane.db.query(`DELETE FROM ${table}`)
})

async function open(): Promise<void> {
  bus = await openBus()
  stream = bus.events as EventStream
  raw = await connect({ servers: server.url })
}
async function shut(): Promise<void> {
  await bus.close()
  await raw.close()
}
const openBus = () =>
  natsBus(
    {
      servers: [{ host: '127.0.0.1', port: server.port }],
      tls: false,
      user: null,
      pass: null,
      token: null,
      creds: null,
    },
    silentLog,
  )
/** A server without any stream, as before its first start. */
async function emptied(): Promise<void> {
  await server.stop()
  server.wipe()
  await server.start()
}

interface Message {
  subject: string
  id: string
  event: Event
}
/** All that the stream keeps, oldest first. */
async function kept(): Promise<Message[]> {
  const connection = await connect({ servers: server.url }) // its own: the server may have been away
  const { streams } = await jetstreamManager(connection)
  const { state } = await streams.info(STREAM)
  const found: StoredMsg[] = []
  for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
    const message = await streams.getMessage(STREAM, { seq })
    if (message !== null) found.push(message)
  }
  await connection.close()
  return found.map((message) => ({
    subject: message.subject,
    id: message.header.get('Nats-Msg-Id'),
    event: message.json<Event>(),
  }))
}
const indexes = (messages: Message[], tenant: string) =>
  messages.filter(({ event }) => event.tenant === tenant).map(({ event }) => event.index)
const upTo = (n: number, from = 0) => Array.from({ length: n - from }, (_, i) => from + i)

/** Jobs from submit to result, and their entries in the tree. */
async function work(t: Tenancy, jobs: number): Promise<number> {
  for (let i = 0; i < jobs; i++) {
    const { lease } = await t.lease({
      topic: 'job.do.it',
      input: { secret: 'hunter2' },
      labels: { customer: 'acme-corp' },
    })
    await t.succeed(lease, { answer: 'forty-two' })
  }
  return integrated(t)
}
async function integrated(t: Tenancy): Promise<number> {
  await integrate(plane.world, plane.key)
  return (await newestHead(plane.db, t.tenant))?.size ?? 0
}
/** Until nothing is left. */
async function publishAll(on: World = plane.world, to = stream, past?: number) {
  for (;;) {
    const done = await publish(on, to, past)
    if (done.behind === 0) return done
  }
}

describe('events', () => {
  test(`${proves('L1')} are the audit entries of a tenant, each once and in the order of its tree, as documented`, async () => {
    const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const [size, otherSize] = [await work(t, 3), await work(other, 1)]
    await publishAll()
    const messages = await kept()
    expect(indexes(messages, t.tenant)).toEqual(upTo(size))
    expect(indexes(messages, other.tenant)).toEqual(upTo(otherSize))
    for (const { event } of messages) expect([event, isEvent.Check(event)]).toEqual([event, true])
    const facts = (await t.facts()).map((fact) => fact.kind)
    const mine = messages.filter(({ event }) => event.tenant === t.tenant)
    expect(mine.map(({ event }) => event.kind).sort()).toEqual(facts.map(String).sort())
  })

  test('stand under their tenant, kind and topic', async () => {
    const t = await plane.tenant(POLICY)
    await work(t, 1)
    await publishAll()
    const subjects = (await kept()).map(({ subject }) => subject)
    expect(subjects).toContain(`${EVENTS}.${t.tenant}.job.submitted.job.do.it`)
    expect(subjects).toContain(`${EVENTS}.${t.tenant}.job.succeeded.job.do.it`)
    expect(subjects).toContain(`${EVENTS}.${t.tenant}.policy.activated`)
  })

  test('have kinds of two tokens, as the documented filters expect', () => {
    for (const kind of FACT_KINDS) expect(kind).toMatch(/^[a-z_]+\.[a-z_]+$/)
  })

  test('look as docs/events.md shows one', () => {
    const page = readFileSync(new URL('../../docs/events.md', import.meta.url), 'utf8')
    const shown: unknown = JSON.parse(/```json\n(.+?)```/s.exec(page)?.[1] ?? '')
    expect([...isEvent.Errors(shown)]).toEqual([])
    for (const field of Object.keys(Event.properties)) expect(page).toMatch(new RegExp(`^\\| .*\`${field}\``, 'm'))
  })

  test('tell no payload and no label', async () => {
    const t = await plane.tenant(POLICY)
    await work(t, 1)
    await publishAll()
    expect(JSON.stringify(await kept())).not.toMatch(/hunter2|acme-corp|forty-two/)
  })

  test('are published from where the cursor stands, and only new ones', async () => {
    const t = await plane.tenant(POLICY)
    await work(t, 1)
    await publishAll()
    expect(await publish(plane.world, stream)).toMatchObject({ events: 0, behind: 0 })
    const before = (await kept()).length
    const size = await work(t, 1)
    expect(await publishAll()).toMatchObject({ events: size - before, rewound: [] })
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test(`${proves('R8')} are published again after a crash before the cursor moved, and the stream keeps them once`, async () => {
    const t = await plane.tenant(POLICY)
    const size = await work(t, 2)
    plane.db.tap = async (sql, send) => {
      if (sql.startsWith('UPDATE published SET next')) throw new Error('killed')
      return send()
    }
    await expect(publish(plane.world, stream)).rejects.toThrow('killed')
    plane.db.tap = null
    expect(await t.rows('published')).toMatchObject([{ next: 0 }])
    await publishAll()
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test('that were stored in part are completed, also when others came after them', async () => {
    const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const [size] = [await work(t, 2), await work(other, 1)]
    const cut: EventStream = {
      state: () => stream.state(),
      newest: (tenant) => stream.newest(tenant),
      async append(events) {
        await stream.append([...events].slice(0, 3))
        throw new StreamUnavailable('the connection broke')
      },
    }
    await expect(publish(plane.world, cut)).rejects.toThrow('broke')
    // Another tenant's come between: what follows the three is no longer what was stored last.
    await stream.append([{ tenant: other.tenant, kind: 'a.b', topic: null, id: 'x', body: '{}' }])
    await publishAll()
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test('that the server refuses are not passed over', async () => {
    await stream.state()
    await (await jetstreamManager(raw)).streams.update(STREAM, { max_msg_size: 1000 })
    const sized = (sizes: number[]) =>
      sizes.map((size) => ({ tenant: 't', kind: 'a.b', topic: null, id: `${size}`, body: 'x'.repeat(size) }))
    await expect(stream.append(sized([1, 2000, 2, 3]))).rejects.toThrow(StreamUnavailable)
    await expect(stream.append(sized([4, 5]))).resolves.toBeGreaterThan(1)
  })

  test('come once and in order when two nodes publish at the same time', async () => {
    const t = await plane.tenant(POLICY)
    const size = await work(t, 30)
    const [other, node] = [await openBus(), plane.node()]
    // Made before: of two that make it at once the second may be answered before its subjects are heard, and would come again later.
    await stream.state()
    await Promise.all([publishAll(), publishAll(node, other.events as EventStream)])
    await other.close()
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test('of more than one chunk are all there', async () => {
    const t = await plane.tenant(POLICY)
    const bodies = Array.from({ length: 1000 }, (_, i) => ({
      tenant: t.tenant,
      kind: 'a.b',
      topic: null,
      id: `${i}`,
      body: JSON.stringify({ index: i, text: 'x'.repeat(i % 7 === 0 ? 20_000 : 10) }),
    }))
    expect(await stream.state()).toMatchObject({ last: 0 })
    expect(await stream.append(bodies)).toBe(1000)
    expect(await stream.newest(t.tenant)).toBe(bodies.at(-1)?.body)
    expect(await stream.newest('nobody')).toBeNull()
  })

  test('of a tenant with a hostile name stay under it', async () => {
    await stream.state()
    const heard: string[] = []
    const sub = raw.subscribe(`${EVENTS}.a.>`, {
      callback: (_, message) => {
        heard.push(message.subject)
      },
    })
    await raw.flush()
    for (const tenant of ['*', '>', 'a.b', 'a b', 'A', '', 'x\r\nPUB a 0\r\n\r\n'])
      for (const topic of [null, '', '*', 'a.>', 'a b', '\r\n'])
        await stream.append([
          { tenant, kind: 'job.submitted', topic, id: `${tenant} ${topic}`.replaceAll(/\s/g, '_'), body: '1' },
        ])
    await raw.flush()
    expect(heard).toEqual([])
    expect((await stream.state()).last).toBe(42)
    sub.unsubscribe()
  })
})

describe('the stream', () => {
  test(`${proves('L1')} that lost its whole store is filled again, also for tenants without news, from a bounded past`, async () => {
    const [t, quiet] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const [size, quietSize] = [await work(t, 4), await work(quiet, 1)]
    await publishAll()
    await server.kill()
    server.wipe()
    await server.start()
    await until('the bus is back', () => bus.stats.connected && bus.stats.connects === 2)
    expect((await publish(plane.world, stream, 10)).rewound.sort()).toEqual([quiet.tenant, t.tenant].sort())
    await publishAll()
    const messages = await kept()
    expect(indexes(messages, t.tenant)).toEqual(upTo(size, size - 10))
    expect(indexes(messages, quiet.tenant)).toEqual(upTo(quietSize))
    expect(await publish(plane.world, stream)).toMatchObject({ events: 0, rewound: [] })
  })

  test('that was deleted under a running node is made anew', async () => {
    const t = await plane.tenant(POLICY)
    await work(t, 1)
    await publishAll()
    await (await jetstreamManager(raw)).streams.delete(STREAM)
    const size = await work(t, 1)
    await publishAll()
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test('that lost only its end gets just that again', async () => {
    const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const [, otherSize] = [await work(t, 1), await work(other, 1)]
    await publishAll()
    // What a power cut does to acknowledged messages: the server comes back with an older end of the same stream.
    await server.stop()
    const [store, copy] = [join(server.home, 'jetstream'), join(server.home, 'copy')]
    cpSync(store, copy, { recursive: true })
    await server.start()
    await until('the bus is back', () => bus.stats.connects === 2 && bus.stats.connected)
    const size = await work(t, 2)
    await publishAll()
    await server.stop()
    rmSync(store, { recursive: true })
    cpSync(copy, store, { recursive: true })
    await server.start()
    await until('the bus is back', () => bus.stats.connects === 3 && bus.stats.connected)
    expect(await publish(plane.world, stream)).toMatchObject({ rewound: [t.tenant] })
    await publishAll()
    const messages = await kept()
    expect(indexes(messages, t.tenant)).toEqual(upTo(size))
    expect(indexes(messages, other.tenant)).toEqual(upTo(otherSize))
  })

  test('that discarded old events by its limits lost nothing', async () => {
    const t = await plane.tenant(POLICY)
    await work(t, 2)
    await publishAll()
    await (await jetstreamManager(raw)).streams.purge(STREAM)
    expect(await publish(plane.world, stream)).toMatchObject({ events: 0, rewound: [] })
  })

  test('is begun on an older log from a bounded past', async () => {
    const t = await plane.tenant(POLICY)
    const size = await work(t, 4)
    await publishAll(plane.world, stream, 7)
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size, size - 7))
  })

  test('keeps the limits an operator gave it', async () => {
    await stream.state()
    const { streams } = await jetstreamManager(raw)
    await streams.update(STREAM, { max_bytes: 5_000_000 })
    await shut()
    await open()
    await stream.state()
    expect((await (await jetstreamManager(raw)).streams.info(STREAM)).config).toMatchObject({
      max_bytes: 5_000_000,
      storage: 'file',
      discard: 'old',
    })
  })

  test(`${proves('D10')} that is away holds up nothing, and gets all when it is back`, async () => {
    const t = await plane.tenant(POLICY)
    await work(t, 1)
    await publishAll()
    await server.kill()
    await until('it is gone', () => !bus.stats.connected)
    await expect(publish(plane.world, stream)).rejects.toThrow(StreamUnavailable)
    const size = await work(t, 2)
    await expect(publish(plane.world, stream)).rejects.toThrow(StreamUnavailable)
    await server.start()
    await until('the bus is back', () => bus.stats.connected)
    await publishAll()
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test('is written by a loop that survives its absence and says so once', async () => {
    const t = await plane.tenant(POLICY)
    const lines: string[] = []
    const log = { ...silentLog, error: (_: unknown, text?: string) => lines.push(String(text)) } as typeof silentLog
    const loop = publisher(plane.world, stream, plane.clock, log)
    await server.kill()
    await until('it is gone', () => !bus.stats.connected)
    const size = await work(t, 1)
    let looks = 0
    plane.db.tap = (sql, send) => {
      if (sql.includes('LEFT JOIN published')) looks++
      return send()
    }
    await until('five rounds', () => {
      plane.clock.advance(500)
      return looks >= 5
    })
    expect(lines).toHaveLength(1)
    await server.start()
    await until('all are published', async () => {
      plane.clock.advance(500)
      return bus.stats.connected && (await t.rows<{ next: number }>('published'))[0]?.next === size
    })
    await loop.stop()
    expect(indexes(await kept(), t.tenant)).toEqual(upTo(size))
  })

  test('is as far behind as the metrics say', async () => {
    const t = await plane.tenant(POLICY)
    const at = plane.clock.now()
    const size = await work(t, 2)
    const text = async (past: number | null) => {
      const sources = {
        census: new Census(plane.db, plane.clock, past),
        dispatcher: { tenants: [], waitingFor: () => new Map() },
        clock: plane.clock,
        ledgerDepth: () => 0,
        bus: () => bus.stats,
        db: undefined,
      }
      const lines = (await exposition(new Metrics(), sources).text(t.tenant)).split('\n')
      return lines.filter((line) => line.startsWith('sallyport_event_stream_lag_')).map((line) => line.split(' ')[1])
    }
    plane.clock.advance(4000)
    const age = (plane.clock.now() - at) / 1000
    expect(await text(null)).toEqual([])
    expect(await text(PAST)).toEqual([`${size}`, `${age}`])
    expect(await text(3)).toEqual(['3', `${age}`])
    await publishAll()
    expect(await text(PAST)).toEqual(['0', '0'])
    const more = (await work(t, 1)) - size
    plane.clock.advance(1000)
    expect(await text(PAST)).toEqual([`${more}`, '1'])
  })

  test('can be read again from an index on', async () => {
    const t = await plane.tenant(POLICY)
    const size = await work(t, 2)
    await publishAll()
    const manager = await jetstreamManager(raw)
    const { name } = await manager.consumers.add(STREAM, {
      ack_policy: 'explicit',
      deliver_policy: 'by_start_sequence',
      opt_start_seq: 4,
      filter_subject: `${EVENTS}.${t.tenant}.>`,
    })
    const consumer = await jetstream(raw).consumers.get(STREAM, name)
    const seen: number[] = []
    for await (const message of await consumer.fetch({ max_messages: size - 3 })) {
      seen.push(message.json<Event>().index)
      message.ack()
    }
    expect(seen).toEqual(upTo(size, 3))
  })
})
