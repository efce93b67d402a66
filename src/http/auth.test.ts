import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { signToken, type TokenClaims } from '../core/token.js'
import { createKey, revokeKey } from '../journey/keys.js'
import { writeRefusals } from '../journey/sweep.js'
import { mintToken } from '../journey/tokens.js'
import { Authenticator } from './auth.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const KEYS = 'WHERE k.key_id = $1'

test('a key that many requests present at once is read once', async () => {
  const t = await plane.tenant('version: v1\nrules: []\n')
  const { key } = await createKey(plane.world, t.tenant, 'person:root', { role: 'worker' })
  const authenticator = new Authenticator(plane.world)
  let reads = 0
  plane.db.tap = (sql, send) => {
    reads += Number(sql.includes(KEYS))
    return send()
  }
  const ask = () =>
    Promise.all(Array.from({ length: 64 }, () => authenticator.authenticate({ authorization: `Bearer ${key}` })))
  expect(new Set(await ask()).size).toBe(1)
  expect(reads).toBe(1)
  plane.clock.advance(1000)
  await ask()
  expect(reads).toBe(2)
})

test('what was being read when a key was revoked here is not what later requests are let in by', async () => {
  const t = await plane.tenant('version: v1\nrules: []\n')
  const { key, row } = await createKey(plane.world, t.tenant, 'person:root', { role: 'worker' })
  const authenticator = new Authenticator(plane.world)
  const authenticate = () => authenticator.authenticate({ 'x-api-key': key })
  const held: (() => void)[] = []
  plane.db.tap = async (sql, send) => {
    const rows = await send()
    if (sql.includes(KEYS)) await new Promise<void>((go) => held.push(go))
    return rows
  }
  const early = authenticate()
  while (held.length === 0) await new Promise((turn) => setImmediate(turn))
  plane.db.tap = null
  await revokeKey(plane.world, t.tenant, 'person:root', row.key_id)
  authenticator.forget()
  expect(await codeOf(authenticate())).toBe('unauthenticated')
  for (const go of held) go()
  expect((await early).key_id).toBe(row.key_id)
  expect(await codeOf(authenticate())).toBe('unauthenticated')
})

/** Every `key.refused` of the tenant by its reason, with what was only counted yet. They are not waited for by whoever is refused: poll. */
async function refusedIn(t: Tenancy): Promise<Record<string, number>> {
  await writeRefusals(plane.world, true)
  const found: Record<string, number> = {}
  for (const { kind, reason, count } of await t.facts())
    if (kind === 'key.refused') found[String(reason)] = (found[String(reason)] ?? 0) + Number(count ?? 1)
  return found
}

async function ready(body: object = {}) {
  const t = await plane.tenant('version: v1\nrules: []\n')
  const { key, row } = await createKey(plane.world, t.tenant, 'person:root', {
    role: 'agent',
    principal: 'agent:bot',
    ...body,
  })
  const authenticator = new Authenticator(plane.world)
  const as = (text: string, address = '10.0.0.1') => authenticator.authenticate({ 'x-api-key': text }, address)
  const wrong = `${key.slice(0, 30)}${'x'.repeat(43)}`
  const made = await as(key)
  return { t, key, row, authenticator, as, wrong, made }
}
const many = (n: number, work: () => Promise<unknown>) => Promise.all(Array.from({ length: n }, () => codeOf(work())))

describe('wrong keys are slowed', () => {
  test(`${proves('S1')} the eleventh within a minute waits, before the store is asked; the right key opens all the same`, async () => {
    const { t, key, as, wrong, row } = await ready()
    expect(await many(10, () => as(wrong))).toEqual(Array(10).fill('unauthenticated'))
    plane.clock.advance(2000)
    let reads = 0
    plane.db.tap = (sql, send) => {
      reads += Number(sql.includes(KEYS))
      return send()
    }
    expect(await problemOf(as(wrong))).toMatchObject({ code: 'rate_limited', extra: { retry_after_ms: 58_000 } })
    expect(await many(200, () => as(wrong))).toEqual(Array(200).fill('rate_limited'))
    expect(reads).toBe(0)
    // The owner, from the very address of the attack and from another.
    expect((await as(key)).key_id).toBe(row.key_id)
    expect((await as(key, '10.9.9.9')).key_id).toBe(row.key_id)
    plane.db.tap = null
    await expect.poll(() => refusedIn(t)).toEqual({ 'wrong secret': 211 })
    expect((await t.kinds()).filter((kind) => kind === 'key.refused').length).toBeLessThan(5)
    plane.clock.advance(58_000)
    expect(await codeOf(as(wrong))).toBe('unauthenticated')
  })

  test('a key is guarded by its name too, from however many addresses it is tried; its owner comes in from a new one', async () => {
    const { key, wrong, authenticator } = await ready()
    let n = 0
    const elsewhere = () => `10.1.0.${++n}`
    const as = (text: string) => authenticator.authenticate({ 'x-api-key': text }, elsewhere())
    expect(await many(10, () => as(wrong))).toEqual(Array(10).fill('unauthenticated'))
    expect(await codeOf(as(wrong))).toBe('rate_limited')
    expect((await as(key)).principal).toBe('agent:bot')
    // Also on a node that never saw it.
    const fresh = new Authenticator(plane.world)
    const there = (text: string) => fresh.authenticate({ 'x-api-key': text }, elsewhere())
    await many(10, () => there(wrong))
    expect(await codeOf(there(wrong))).toBe('rate_limited')
    fresh.forget()
    expect((await there(key)).principal).toBe('agent:bot')
  })

  test('a neighbour behind the same address whose key this node never saw is looked up, twenty times a second', async () => {
    const { t, wrong, as } = await ready()
    const neighbour = await createKey(plane.world, t.tenant, 'person:root', { role: 'agent', principal: 'agent:next' })
    await many(10, () => as(wrong))
    expect((await as(neighbour.key)).principal).toBe('agent:next')
    let reads = 0
    plane.db.tap = (sql, send) => {
      reads += Number(sql.includes(KEYS))
      return send()
    }
    const made = (i: number) => `sp_${String(i).padStart(26, '0')}_${'x'.repeat(43)}`
    for (let i = 0; i < 500; i++) expect(await codeOf(as(made(i)))).toBe('rate_limited')
    expect(reads).toBe(19)
  })

  test('whoever has the secret of a key that ended is no guesser', async () => {
    const { t, key, row, as, authenticator } = await ready()
    await revokeKey(plane.world, t.tenant, 'person:root', row.key_id)
    authenticator.forget()
    expect(await many(50, () => as(key))).toEqual(Array(50).fill('unauthenticated'))
    await expect.poll(() => refusedIn(t)).toEqual({ revoked: 50 })
  })

  test('nothing at all is no attempt, other text is', async () => {
    const { as, authenticator } = await ready()
    expect(await many(50, () => authenticator.authenticate({}, '10.0.0.1'))).toEqual(Array(50).fill('unauthenticated'))
    expect(await many(10, () => as('nonsense'))).toEqual(Array(10).fill('unauthenticated'))
    expect(await codeOf(as('nonsense'))).toBe('rate_limited')
  })
})

describe(`${proves('S3')} a token opens`, () => {
  test('what it was minted for, as its key, and is checked once', async () => {
    const { made, as, row } = await ready({ topics: ['job.a.>'], act_as: ['agent:b'] })
    const token = await mintToken(plane.world, made, {
      minutes: 5,
      topics: ['job.a.b'],
      run_id: 'r',
      permissions: ['jobs:submit'],
    })
    const caller = await as(token.token)
    expect(caller).toMatchObject({
      key_id: row.key_id,
      principal: 'agent:bot',
      topics: ['job.a.b'],
      act_as: ['agent:b'],
      permissions: ['jobs:submit'],
      run_id: 'r',
      jti: token.jti,
      expires_at: token.expires_at + 5_000,
    })
    // The same caller, so that it remembers under which gate it stood.
    expect(await as(token.token)).toBe(caller)
    const wide = await mintToken(plane.world, made, { minutes: 5 })
    const whole = await as(wide.token)
    expect([whole.topics, whole.permissions, 'run_id' in whole]).toEqual([['job.a.>'], null, false])
  })

  test('by Bearer too, and not past its end though it is still in memory', async () => {
    const { t, made, authenticator } = await ready()
    const { token, expires_at } = await mintToken(plane.world, made, { minutes: 1 })
    const bearer = () => codeOf(authenticator.authenticate({ authorization: `Bearer ${token}` }, '10.0.0.1'))
    expect(await bearer()).toBe('done')
    plane.clock.advance(expires_at + 4_999 - plane.clock.now())
    expect(await bearer()).toBe('done')
    plane.clock.advance(1)
    for (let i = 0; i < 21; i++) expect(await bearer()).toBe('unauthenticated')
    await expect.poll(() => refusedIn(t)).toEqual({ 'token expired': 21 })
  })

  test('nothing once its key is revoked, expired, or its principal disabled', async () => {
    const { t, made, row, as, authenticator } = await ready()
    const { token } = await mintToken(plane.world, made, { minutes: 5 })
    expect(await codeOf(as(token))).toBe('done')
    await revokeKey(plane.world, t.tenant, 'person:root', row.key_id)
    authenticator.forget()
    expect(await codeOf(as(token))).toBe('unauthenticated')

    const short = await ready({ expires_at: plane.clock.now() + 30_000 })
    const short_token = (await mintToken(plane.world, short.made, { minutes: 5 })).token
    plane.clock.advance(29_999)
    expect(await codeOf(short.as(short_token))).toBe('done')
    plane.clock.advance(1)
    expect(await codeOf(short.as(short_token))).toBe('unauthenticated')

    const third = await ready()
    const third_token = (await mintToken(plane.world, third.made, { minutes: 5 })).token
    await plane.world.db.query('UPDATE principals SET disabled_at = 1 WHERE tenant = $1', [third.t.tenant])
    third.authenticator.forget()
    expect(await codeOf(third.as(third_token))).toBe('unauthenticated')
    await expect.poll(() => refusedIn(third.t)).toEqual({ disabled: 1 })
  })

  test('only as the tenant and principal it was signed for, whatever key it names', async () => {
    const { t, row, as } = await ready()
    const now = plane.clock.now()
    const claims: TokenClaims = {
      jti: 'tok_x',
      tenant: t.tenant,
      principal: 'agent:bot',
      key_id: row.key_id,
      issued_at: Math.floor(now / 1000) * 1000,
      expires_at: Math.floor(now / 1000) * 1000 + 60_000,
      topics: null,
      permissions: null,
      run_id: null,
    }
    const signed = (more: Partial<TokenClaims>) => signToken(plane.world.tokens, { ...claims, ...more })
    expect(await codeOf(as(await signed({})))).toBe('done')
    for (const more of [{ tenant: 'other' }, { principal: 'person:root' }, { key_id: `key_${'z'.repeat(26)}` }])
      expect(await codeOf(as(await signed(more)))).toBe('unauthenticated')
    await expect.poll(() => refusedIn(t)).toEqual({ 'token of another': 2 })
  })

  test('forged ones in the name of a key are counted, told to its tenant, and slowed', async () => {
    const { t, made, as, key } = await ready()
    const { token } = await mintToken(plane.world, made, { minutes: 5 })
    const forged = `${token.slice(0, -20)}${'A'.repeat(20)}`
    for (let i = 0; i < 10; i++) expect(await codeOf(as(forged))).toBe('unauthenticated')
    // Twenty looks are left, and none of them opens.
    for (let i = 0; i < 40; i++) expect(await codeOf(as(forged))).toBe('rate_limited')
    expect((await as(key)).principal).toBe('agent:bot')
    await expect.poll(() => refusedIn(t)).toEqual({ 'token forged': 30 })
    expect((await t.kinds()).filter((kind) => kind === 'key.refused').length).toBeLessThan(5)
  })
})

test('forged tokens in the name of a key are counted for it, from however many addresses; a good one opens from a new one', async () => {
  const { t, made, authenticator } = await ready()
  const { token } = await mintToken(plane.world, made, { minutes: 5 })
  const from = (n: number, text: string) => codeOf(authenticator.authenticate({ 'x-api-key': text }, `10.2.0.${n}`))
  const forged = `${token.slice(0, -20)}${'A'.repeat(20)}`
  for (let n = 0; n < 10; n++) expect(await from(n, forged)).toBe('unauthenticated')
  await expect.poll(() => refusedIn(t)).toEqual({ 'token forged': 10 })
  expect(await from(10, forged)).toBe('rate_limited')
  expect(await from(11, token)).toBe('done')
})

test('the last use of a key is noted, of a token as that of its key; what opens nothing is none', async () => {
  const { as, key, made, row, wrong, authenticator } = await ready()
  expect([...authenticator.uses.take()]).toEqual([[row.key_id, plane.clock.now()]])
  await codeOf(as(wrong))
  expect(authenticator.uses.take().size).toBe(0)
  plane.clock.advance(500)
  await as((await mintToken(plane.world, made, { minutes: 5 })).token)
  const taken = authenticator.uses.take()
  expect([...taken]).toEqual([[row.key_id, plane.clock.now()]])
  plane.clock.advance(500)
  await as(key)
  authenticator.uses.putBack(taken)
  expect([...authenticator.uses.take()]).toEqual([[row.key_id, plane.clock.now()]])
})
