import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import {
  type MailServer,
  type Receiver,
  smtpError,
  startMailServer,
  startReceiver,
} from '../../test/support/post-office.js'
import { DELIVERY, type DeclaredChannel } from '../core/channel.js'
import { DbError } from '../errors.js'
import type { Couriers } from '../platform/courier.js'
import { openCouriers } from '../platform/open-couriers.js'
import { dueChannels, getChannel, getHealth } from '../store/channels.js'
import { type Delivery, listDeliveries } from '../store/deliveries.js'
import type { World } from '../store/world.js'
import { putChannel, removeChannel, retryDelivery } from './channels.js'
import { deliver, tidy } from './deliver.js'
import { applyDirectory } from './directory.js'
import { integrate } from './integrate.js'
import { notify } from './notify.js'

/** What becomes of messages when the other end fails, with a clock in the test's hand and real servers to fail. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: asks, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 72h } }
  - { id: two, match: { topic: job.two }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 72h } }
`
const MINUTE = 60_000

let plane: TestPlane
let couriers: Couriers
let office: MailServer
let receiver: Receiver
let other: Receiver

beforeAll(async () => {
  ;[plane, office, receiver, other] = await Promise.all([
    openPlane(),
    startMailServer(),
    startReceiver(),
    startReceiver(),
  ])
  const variables = { SALLYPORT_SMTP_URL: office.url, SALLYPORT_CHANNEL_DEAD: 'smtp://127.0.0.1:1' }
  couriers = openCouriers({
    variables: new Proxy(variables, {
      get: (all, name) => Reflect.get(all, name) ?? 'a key',
      getOwnPropertyDescriptor: (_, name) => ({ value: String(name), configurable: true }),
    }) as Record<string, string>,
    publicUrl: 'https://sallyport.test',
    privateHosts: [receiver.host, other.host, '127.0.0.1:1'],
  })
})
afterAll(async () => {
  await plane.close()
  await Promise.all([office.stop(), receiver.stop(), other.stop()])
})
beforeEach(() => {
  plane.db.tap = null
  office.mails.length = 0
  office.refuse = { rcpt: null, data: null }
  for (const each of [receiver, other]) {
    each.posts.length = 0
    each.answer = (response) => void response.writeHead(204).end()
  }
})

const hook = (t: Tenancy, channel: string, url: string): DeclaredChannel => ({
  channel,
  kind: 'webhook',
  settings: { url, secret_env: `SALLYPORT_CHANNEL_${t.tenant.toUpperCase()}__KEY`, allow_private: true },
  events: ['approval.requested'],
  topics: null,
  teams: null,
})
const mails = (url_env = 'SALLYPORT_SMTP_URL', to: string[] = []): DeclaredChannel => ({
  channel: 'mail',
  kind: 'email',
  settings: { from: 'sallyport@example.com', to, url_env },
  events: ['approval.requested'],
  topics: null,
  teams: null,
})

async function tenancy(...channels: ((t: Tenancy) => DeclaredChannel)[]): Promise<Tenancy> {
  const t = await plane.tenant(POLICY)
  const person = (name: string, email: string | null) => ({
    principal: `person:${name}`,
    kind: 'person' as const,
    role: 'approver' as const,
    team: null,
    name: null,
    email,
    terms: null,
  })
  const principals = [person('ann', 'ann@example.com'), person('ben', 'ben@example.com'), person('mute', null)]
  await applyDirectory(t.world, t.admin, { teams: [], principals }, 'api')
  for (const each of channels) await putChannel(t.world, t.admin, each(t))
  // What fails in the millisecond of a change would be tried again at once.
  plane.clock.advance(1)
  return t
}

/** The entries of so many questions, told: their messages wait. */
async function asked(t: Tenancy, times = 1, on: World = t.world): Promise<void> {
  for (let n = 0; n < times; n++) await t.submit({ topic: 'job.ask', input: { n } })
  await tell(t, on)
}
async function tell(t: Tenancy, on: World = t.world): Promise<void> {
  await integrate(t.world, plane.key)
  while ((await notify(on)).behind > 0) {
    // some tiles at a time
  }
}
/** A round as the loop makes them: every channel of this tenant that is due, each by itself. */
async function round(t: Tenancy, on: World = t.world): Promise<void> {
  const due = (await dueChannels(on.db, plane.clock.now(), 100)).filter(({ tenant }) => tenant === t.tenant)
  await Promise.all(
    due.map(async (channel) => {
      while ((await deliver(on, couriers, channel)).more) {
        // a batch at a time
      }
    }),
  )
}
const all = async (t: Tenancy, channel?: string): Promise<Delivery[]> =>
  (
    await listDeliveries(t.world.db, t.tenant, { limit: 500, ...(channel === undefined ? {} : { channel }) })
  ).items.sort((a, b) => a.tree_index - b.tree_index)
const statuses = async (t: Tenancy, channel?: string) => (await all(t, channel)).map(({ status }) => status)
const kindsOf = async (t: Tenancy) =>
  (await t.kinds()).filter((kind) => kind.startsWith('channel.') || kind.startsWith('delivery.'))
const health = (t: Tenancy, channel: string) => getHealth(t.world.db, t.tenant, channel)

test(`${proves('A3', 'A6')} who has not answered when it is time to be reminded is mailed the question once more, with a link of their own`, async () => {
  const t = await tenancy(() => mails())
  const { approval_id } = await t.submit({ topic: 'job.two' })
  await tell(t)
  await round(t)
  expect(office.mails.map(({ to }) => to[0]).sort()).toEqual(['ann@example.com', 'ben@example.com'])
  await t.approve(approval_id as string)
  plane.clock.advance(24 * 60 * MINUTE)
  await t.sweep()
  await tell(t)
  await round(t)
  const ofBen = office.mails.filter(({ to }) => to[0] === 'ben@example.com')
  const links = ofBen.map(({ text }) => /https:\S+/.exec(text)?.[0])
  expect([office.mails.length, new Set(links).size]).toEqual([3, 2])
  expect(links.every((link) => link?.startsWith('https://sallyport.test/links/'))).toBe(true)
  // Whoever answered is done with it; and nobody is reminded twice.
  plane.clock.advance(24 * 60 * MINUTE)
  await t.sweep()
  await tell(t)
  await round(t)
  expect(office.mails).toHaveLength(3)
})

test(`${proves('A6')} an entry makes one message for each person asked, whoever looks at it and however often`, async () => {
  const t = await tenancy(() => mails())
  await asked(t)
  const second = plane.node()
  await Promise.all([notify(t.world), notify(second), notify(t.world)])
  // As a node that looked at the same entries and was frozen before it wrote.
  await t.world.db.query('DELETE FROM notified WHERE tenant = $1', [t.tenant])
  await tell(t, second)
  expect((await all(t)).map(({ recipient }) => recipient).sort()).toEqual([
    'principal:person:ann',
    'principal:person:ben',
  ])
})

test('who is asked by several entries of one step is asked once', async () => {
  const t = await tenancy(() => mails())
  const { approval_id } = await t.submit({ topic: 'job.two' })
  await t.approve(approval_id as string)
  await tell(t)
  const people = (await all(t)).map(({ recipient }) => recipient)
  expect(people).toContain('principal:person:ben')
  expect(new Set(people).size).toBe(people.length)
})

test('a crash while messages are made leaves neither them nor the place reached', async () => {
  const t = await tenancy(() => mails())
  await t.submit({ topic: 'job.ask' })
  await integrate(t.world, plane.key)
  plane.db.tap = async (sql, send) => {
    if (sql.includes('INSERT INTO deliveries')) throw new DbError('gone', '08006')
    return send()
  }
  await expect(notify(t.world)).rejects.toThrow('gone')
  plane.db.tap = null
  expect(await all(t)).toEqual([])
  await tell(t)
  expect((await all(t)).length).toBe(2)
})

test('a node that dies between sending and writing it down sends again, under the same id', async () => {
  const t = await tenancy(
    (at) => hook(at, 'hook', receiver.url),
    () => mails(),
  )
  await asked(t)
  plane.db.tap = async (sql, send) => {
    if (sql.startsWith('UPDATE deliveries SET status')) throw new DbError('gone', '08006')
    return send()
  }
  await round(t).catch(() => {})
  plane.db.tap = null
  expect(await statuses(t)).toEqual(['pending', 'pending', 'pending'])
  await round(t, plane.node())
  expect(await statuses(t)).toEqual(['sent', 'sent', 'sent'])
  const ids = receiver.posts.map(({ headers }) => headers['sallyport-delivery'])
  expect([ids.length, new Set(ids).size]).toEqual([2, 1])
  const twice = office.mails.filter(({ to }) => to[0] === 'ann@example.com')
  expect(twice.map((mail) => mail.headers['message-id']?.[0]).length).toBe(2)
  expect(new Set(twice.map((mail) => mail.headers['message-id']?.[0])).size).toBe(1)
  // Each mail has a link of its own, and both lead to the question: a link's secret is kept nowhere.
  expect(new Set(twice.map(({ text }) => /links\/(\S+)/.exec(text)?.[1])).size).toBe(2)
})

describe('a channel that is dead', () => {
  test(`${proves('A6')} delays no other, is tried less and less, and its messages keep their tries`, async () => {
    const t = await tenancy(
      (at) => hook(at, 'dead', 'http://127.0.0.1:1/'),
      (at) => hook(at, 'well', receiver.url),
    )
    await asked(t, 3)
    await round(t)
    expect(await statuses(t, 'well')).toEqual(['sent', 'sent', 'sent'])
    expect(await statuses(t, 'dead')).toEqual(['pending', 'pending', 'pending'])
    const waits: number[] = []
    for (let n = 0; n < 12; n++) {
      const { next_at = 0 } = (await health(t, 'dead')) ?? {}
      waits.push(next_at - plane.clock.now())
      plane.clock.advance(next_at - plane.clock.now() - 1)
      expect((await dueChannels(t.world.db, plane.clock.now(), 100)).filter((c) => c.tenant === t.tenant)).toEqual([])
      plane.clock.advance(1)
      await round(t)
    }
    for (const [n, wait] of waits.entries()) {
      const whole = Math.min(DELIVERY.longest, DELIVERY.first * 2 ** n)
      expect(wait).toBeGreaterThanOrEqual(whole / 2)
      expect(wait).toBeLessThanOrEqual(whole)
    }
    expect((await all(t, 'dead')).map(({ attempts }) => attempts)).toEqual([0, 0, 0])
    expect(await kindsOf(t)).toEqual(['channel.declared', 'channel.declared', 'channel.down'])
    // Other settings are another chance, at once.
    await putChannel(t.world, t.admin, hook(t, 'dead', other.url))
    plane.clock.advance(1)
    await round(t)
    expect(await statuses(t, 'dead')).toEqual(['sent', 'sent', 'sent'])
    expect((await kindsOf(t)).slice(-2)).toEqual(['channel.declared', 'channel.up'])
    expect(await health(t, 'dead')).toMatchObject({ failures: 0, down_at: null, error: null })
  })

  test('for a day loses its messages to the dead, says so of each, and a person gives them another day', async () => {
    const t = await tenancy((at) => hook(at, 'dead', 'http://127.0.0.1:1/'))
    await asked(t, 2)
    for (let n = 0; n < 4; n++) {
      await round(t)
      plane.clock.advance(DELIVERY.longest)
    }
    plane.clock.advance(DELIVERY.lifetime)
    await round(t)
    expect(await statuses(t)).toEqual(['dead', 'dead'])
    expect((await kindsOf(t)).filter((kind) => kind === 'delivery.failed').length).toBe(2)
    const [first] = (await all(t)) as [Delivery, Delivery]
    await putChannel(t.world, t.admin, hook(t, 'dead', receiver.url))
    await retryDelivery(t.world, t.operator, first.delivery_id)
    await expect(retryDelivery(t.world, t.operator, first.delivery_id)).rejects.toMatchObject({ code: 'not_dead' })
    plane.clock.advance(1)
    await round(t)
    expect(await statuses(t)).toEqual(['sent', 'dead'])
    expect(receiver.posts[0]?.headers['sallyport-delivery']).toBe(first.delivery_id)
  })

  test('says nothing to itself of being down', async () => {
    const t = await tenancy(
      (at) => ({ ...hook(at, 'dead', 'http://127.0.0.1:1/'), events: ['approval.requested', 'channel.down'] }),
      (at) => ({ ...hook(at, 'watch', receiver.url), events: ['channel.down'] }),
    )
    await asked(t)
    for (let n = 0; n < 4; n++) {
      await round(t)
      plane.clock.advance(DELIVERY.longest)
    }
    await tell(t)
    await round(t)
    expect((await all(t, 'dead')).map(({ event }) => event)).toEqual(['approval.requested'])
    expect((await all(t, 'watch')).map(({ event, status }) => `${event} ${status}`)).toEqual(['channel.down sent'])
  })

  test('that is taken away takes what waits for it along', async () => {
    const t = await tenancy((at) => hook(at, 'dead', 'http://127.0.0.1:1/'))
    await asked(t)
    await round(t)
    plane.clock.advance(1)
    await removeChannel(t.world, t.admin, 'dead')
    await tidy(t.world)
    expect(await statuses(t)).toEqual(['dropped'])
    expect(await getChannel(t.world.db, t.tenant, 'dead')).toBeNull()
    // Another one of its name starts well.
    await putChannel(t.world, t.admin, hook(t, 'dead', receiver.url))
    expect(await health(t, 'dead')).toBeNull()
  })
})

test('what is over is forgotten after thirty days, and links with it', async () => {
  const t = await tenancy(() => mails())
  await asked(t)
  await round(t)
  const links = () => t.rows('links')
  expect([(await all(t)).length, (await links()).length]).toEqual([2, 2])
  plane.clock.advance(30 * 86_400_000 - 1)
  await tidy(t.world)
  expect((await all(t)).length).toBe(2)
  plane.clock.advance(4 * 86_400_000)
  await tidy(t.world)
  expect([(await all(t)).length, (await links()).length]).toEqual([0, 0])
})

describe('one message that is refused', () => {
  test('waits alone, and is dead after its twelfth try', async () => {
    const t = await tenancy((at) => hook(at, 'hook', receiver.url))
    await asked(t, 3)
    let bad: string | undefined
    receiver.answer = (response, { headers }) => {
      bad ??= String(headers['sallyport-delivery'])
      response.writeHead(headers['sallyport-delivery'] === bad ? 422 : 204).end()
    }
    await round(t)
    expect(await statuses(t)).toEqual(['pending', 'sent', 'sent'])
    for (let n = 1; n < DELIVERY.attempts; n++) {
      expect((await all(t))[0]?.attempts).toBe(n)
      plane.clock.advance(DELIVERY.longest)
      await round(t)
    }
    expect((await all(t))[0]).toMatchObject({ status: 'dead', attempts: 12, error: '127.0.0.1 answered 422' })
    expect(await kindsOf(t)).toEqual(['channel.declared', 'delivery.failed'])
  })

  test.each([
    [550, 'dead'],
    [450, 'pending'],
  ])('an address that the mail server answers %i is %s; the other person has the mail', async (code, status) => {
    const t = await tenancy(() => mails())
    office.refuse.rcpt = (address) => (address.startsWith('ann') ? smtpError(code) : null)
    await asked(t)
    await round(t)
    expect((await all(t)).map((each) => `${each.recipient.slice(-3)} ${each.status}`).sort()).toEqual([
      `ann ${status}`,
      'ben sent',
    ])
    expect(await kindsOf(t)).toEqual(['channel.declared', ...(status === 'dead' ? ['delivery.failed'] : [])])
  })

  test('a mail server that closes for now (421) fails the channel, not the mail', async () => {
    const t = await tenancy(() => mails())
    office.refuse.data = () => smtpError(421)
    await asked(t)
    await round(t)
    expect(await statuses(t)).toEqual(['pending', 'pending'])
    expect(await health(t, 'mail')).toMatchObject({ failures: 1 })
    office.refuse.data = null
    plane.clock.advance(DELIVERY.first)
    await round(t)
    expect(await statuses(t)).toEqual(['sent', 'sent'])
  })
})

describe('what is not sent any more', () => {
  test('is a question that was answered while the mail waited', async () => {
    const t = await tenancy(() => mails())
    await asked(t)
    const [{ approval_id }] = (await all(t)) as [Delivery]
    await t.reject(approval_id as string)
    await round(t)
    expect(await statuses(t)).toEqual(['dropped', 'dropped'])
    expect(office.mails).toEqual([])
  })

  test('is a mail to somebody who was disabled, or whose address is gone', async () => {
    const t = await tenancy(() => mails())
    await asked(t)
    await t.world.db.query('UPDATE principals SET disabled_at = 1 WHERE tenant = $1 AND principal = $2', [
      t.tenant,
      'person:ann',
    ])
    await t.world.db.query('UPDATE principals SET email = NULL WHERE tenant = $1 AND principal = $2', [
      t.tenant,
      'person:ben',
    ])
    await round(t)
    expect(await statuses(t)).toEqual(['dropped', 'dropped'])
  })

  test('is anything from before the channel', async () => {
    const t = await tenancy()
    await t.submit({ topic: 'job.ask' })
    plane.clock.advance(MINUTE)
    await putChannel(t.world, t.admin, mails())
    await tell(t)
    expect(await all(t)).toEqual([])
  })
})

test('an approval mail shows no secret of an input, and nothing of one that could not be shown', async () => {
  const t = await tenancy(() => mails())
  const key = 'AKIAIOSFODNN7EXAMPLF'
  await t.submit({ topic: 'job.ask', input: { note: `use ${key} to log in` } })
  await t.submit({
    topic: 'job.ask',
    input: {
      key: [
        '-----BEGIN RSA PRIVATE KEY-----',
        'MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MhgHcTz6sE2I2yPB',
        '-----END RSA PRIVATE KEY-----',
      ].join('\n'),
    },
  })
  await t.submit({ topic: 'job.ask', input: { text: 'x'.repeat(50_000) } })
  await tell(t)
  await round(t)
  expect(office.mails.length).toBe(6)
  for (const { raw, text, html } of office.mails)
    for (const part of [raw, text, html]) {
      expect(part).not.toContain(key)
      expect(part).not.toContain('MIIEow')
      expect(part).not.toContain('xxxxxxxxxxxxxxxxxxxx')
    }
  expect(office.mails.filter(({ text }) => text.includes('withheld')).length).toBe(2)
})

test('whatever fails and whoever dies, every message ends up sent, none is left out, and no id is told two things', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('ok', '503', 'break', 'die-before', 'die-after', 'frozen'), {
        minLength: 4,
        maxLength: 14,
      }),
      async (script) => {
        receiver.posts.length = 0
        const t = await tenancy((at) => hook(at, 'hook', receiver.url))
        await asked(t, 2)
        for (const step of script) {
          receiver.answer = (response) =>
            void (step === 'break' ? response.destroy() : response.writeHead(step === '503' ? 503 : 204).end())
          plane.db.tap = async (sql, send) => {
            const isEnd = sql.startsWith('UPDATE deliveries SET status')
            if (isEnd && step === 'die-before') throw new DbError('gone', '08006')
            const rows = await send()
            if (isEnd && step === 'die-after') throw new DbError('gone', '08006')
            return rows
          }
          const rounds = step === 'frozen' ? [round(t), round(t, plane.node())] : [round(t)]
          await Promise.allSettled(rounds)
          plane.db.tap = null
          plane.clock.advance(DELIVERY.longest)
          await t.submit({ topic: 'job.ask', input: step })
          await tell(t)
        }
        receiver.answer = (response) => void response.writeHead(204).end()
        await round(t)
        const rows = await all(t)
        expect(rows.map(({ status }) => status)).toEqual(rows.map(() => 'sent'))
        expect(rows.length).toBe(2 + script.length)
        const told = new Map<string, Set<unknown>>()
        for (const { headers, body } of receiver.posts) {
          const id = String(headers['sallyport-delivery'])
          told.set(id, (told.get(id) ?? new Set()).add(JSON.parse(body).index))
        }
        expect([...told.keys()].sort()).toEqual(rows.map(({ delivery_id }) => delivery_id).sort())
        for (const indices of told.values()) expect(indices.size).toBe(1)
      },
    ),
    { numRuns: 12 },
  )
}, 60_000)
