import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, isCommit, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Caller } from '../core/access.js'
import { findKey, listKeys } from '../store/keys.js'
import { createKey, makeKey, newKeyText, noteKeyUses, revokeKey, rotateKey, takeKey } from './keys.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const POLICY = 'version: v1\nrules: []\n'
const BODY = { role: 'agent' as const }
/** A world whose key ids are these, one after the other. */
const naming = (...names: string[]) => ({
  ...plane.world,
  ids: {
    ...plane.ids,
    id: (prefix: string, at: number) => (prefix === 'key' && names.shift()) || plane.ids.id(prefix, at),
  },
})

test('a key whose id is taken gets another, and the one that has it stays as it is', async () => {
  const t = await plane.tenant(POLICY)
  const first = await createKey(plane.world, t.tenant, 'person:root', BODY)
  const second = await createKey(naming(first.row.key_id, first.row.key_id), t.tenant, 'person:root', BODY)
  expect(second.row.key_id).not.toBe(first.row.key_id)
  expect(second.key).toContain(second.row.key_id.slice('key_'.length))
  const rows = await t.rows<{ key_id: string; hash: string }>('keys')
  expect(new Map(rows.map((row) => [row.key_id, row.hash]))).toEqual(
    new Map([first, second].map(({ row }) => [row.key_id, row.hash])),
  )
  expect((await t.kinds()).filter((kind) => kind === 'key.created')).toHaveLength(2)
})

test('a key of a configuration whose id another has is refused in words of the catalogue', async () => {
  const t = await plane.tenant(POLICY)
  const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
  const clash = newKeyText(plane.world).replace(/^sp_[^_]+/, `sp_${row.key_id.slice('key_'.length)}`)
  expect(await problemOf(createKey(plane.world, t.tenant, 'person:root', BODY, clash))).toMatchObject({
    code: 'invalid',
    message: 'There is a key of this id already, with another secret',
  })
})

test('a revocation that the gate overtakes every time says to come again', async () => {
  const t = await plane.tenant(POLICY)
  const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
  plane.db.tap = async (sql, send) => {
    if (isCommit(sql)) await plane.world.db.query('UPDATE gates SET epoch = epoch + 1 WHERE tenant = $1', [t.tenant])
    return send()
  }
  expect(await problemOf(revokeKey(plane.world, t.tenant, 'person:root', row.key_id))).toMatchObject({
    code: 'overloaded',
    extra: { retry_after_ms: 200 },
  })
})

const DAY = 86_400_000
const named = async (t: Tenancy, kind: string) => (await t.facts()).filter((fact) => fact.kind === kind)

describe(`${proves('S1')} a key is for less than its role, never for more`, () => {
  test('what it is narrowed to is kept, said in the log, and of its role', async () => {
    const t = await plane.tenant(POLICY)
    const { row } = await makeKey(plane.world, t.admin, {
      role: 'agent',
      permissions: ['jobs:read_own', 'jobs:submit'],
    })
    expect((await findKey(plane.world.db, row.key_id))?.permissions).toEqual(['jobs:read_own', 'jobs:submit'])
    expect(await named(t, 'key.created')).toMatchObject([{ permissions: 'jobs:read_own,jobs:submit' }])
    const more = { role: 'agent' as const, permissions: ['jobs:submit', 'keys:write', 'no:such'] }
    expect(await problemOf(makeKey(plane.world, t.admin, more))).toMatchObject({
      code: 'invalid',
      extra: { faults: [{ path: '/permissions/1' }, { path: '/permissions/2' }] },
    })
  })

  test('who may make keys with a narrowed one makes none for more, and that it was tried is in the log, once', async () => {
    const t = await plane.tenant(POLICY)
    const narrow = t.caller('admin', 'person:narrow', { permissions: ['keys:write', 'jobs:submit'] })
    for (let n = 0; n < 3; n++)
      expect(await problemOf(makeKey(plane.world, narrow, { role: 'admin' }))).toMatchObject({
        code: 'forbidden',
        extra: { needs: expect.arrayContaining(['policy:write']) },
      })
    expect(await named(t, 'key.refused')).toMatchObject([{ actor: 'person:narrow', key_id: narrow.key_id }])
    expect(plane.world.refusals.take(plane.clock.now(), true)).toMatchObject([{ count: 2 }])
    expect(await t.rows('keys')).toEqual([])
    const { row } = await makeKey(plane.world, narrow, { role: 'agent', permissions: ['jobs:submit'] })
    // Nor by rotating the key of somebody who may more.
    const whole = await createKey(plane.world, t.tenant, 'person:root', { role: 'admin' })
    expect(await codeOf(rotateKey(plane.world, narrow, whole.row.key_id, DAY))).toBe('forbidden')
    expect(await codeOf(rotateKey(plane.world, narrow, row.key_id, DAY))).toBe('done')
  })

  test('what lasts minutes makes nothing that lasts', async () => {
    const t = await plane.tenant(POLICY)
    const token = { ...t.admin, jti: 'tok_1' }
    expect(await codeOf(makeKey(plane.world, token, BODY))).toBe('forbidden')
    const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
    expect(await codeOf(rotateKey(plane.world, token, row.key_id, DAY))).toBe('forbidden')
  })

  test('a key that was revoked on another node makes none here, though this node has just let it in', async () => {
    const t = await plane.tenant(POLICY)
    const { row } = await createKey(plane.world, t.tenant, 'person:root', { role: 'admin', principal: 'person:eve' })
    const { row: other } = await createKey(plane.world, t.tenant, 'person:root', BODY)
    const eve: Caller = t.caller('admin', 'person:eve', { key_id: row.key_id })
    const [here, there] = [plane.node(), plane.node()]
    await revokeKey(there, t.tenant, 'person:root', row.key_id)
    expect(await codeOf(makeKey(here, eve, BODY))).toBe('unauthenticated')
    expect(await codeOf(rotateKey(here, eve, other.key_id, DAY))).toBe('unauthenticated')
    expect((await listKeys(plane.world.db, t.tenant)).length).toBe(2)
  })

  test('a revocation that lands while a key is being made by the revoked one wins', async () => {
    const t = await plane.tenant(POLICY)
    const { row } = await createKey(plane.world, t.tenant, 'person:root', { role: 'admin', principal: 'person:eve' })
    const eve: Caller = t.caller('admin', 'person:eve', { key_id: row.key_id })
    const there = plane.node()
    let revoked = false
    plane.db.tap = async (sql, send) => {
      if (isCommit(sql) && !revoked) {
        revoked = true
        await revokeKey(there, t.tenant, 'person:root', row.key_id)
      }
      return send()
    }
    expect(await codeOf(makeKey(plane.world, eve, BODY))).toBe('unauthenticated')
    expect((await listKeys(plane.world.db, t.tenant)).length).toBe(1)
  })
})

describe(`${proves('S2')} rotation`, () => {
  test('the successor has the same principal and bounds, the old one ends with the overlap, and the log names both', async () => {
    const t = await plane.tenant(POLICY)
    const body = {
      ...BODY,
      principal: 'agent:turn',
      topics: ['job.a'],
      act_as: ['agent:b'],
      permissions: ['jobs:submit'],
    }
    const born = plane.clock.now()
    const { row } = await createKey(plane.world, t.tenant, 'person:root', {
      ...body,
      expires_at: born + 30 * DAY,
      note: 'n',
    })
    plane.clock.advance(20 * DAY)
    const now = plane.clock.now()
    const { row: next, key, old } = await rotateKey(plane.world, t.admin, row.key_id, 2 * DAY)
    const same = ({ principal, role, team, topics, act_as, permissions, note }: typeof row) => [
      principal,
      role,
      team,
      topics,
      act_as,
      permissions,
      note,
    ]
    expect(same(next)).toEqual(same(row))
    expect(key).toContain(next.key_id.slice(4))
    expect([next.created_at, next.expires_at]).toEqual([now, now + 30 * DAY])
    expect(old).toMatchObject({ key_id: row.key_id, expires_at: now + 2 * DAY, rotated_to: next.key_id })
    expect(await findKey(plane.world.db, row.key_id)).toMatchObject({ expires_at: now + 2 * DAY, hash: row.hash })
    expect(await findKey(plane.world.db, next.key_id)).toMatchObject({ hash: next.hash, rotated_to: null })
    expect(await named(t, 'key.rotated')).toMatchObject([
      {
        key_id: row.key_id,
        successor: next.key_id,
        until: now + 2 * DAY,
        actor: 'person:root',
        principal: 'agent:turn',
      },
    ])
  })

  test('an overlap never makes the old key live longer than it was to', async () => {
    const t = await plane.tenant(POLICY)
    const end = plane.clock.now() + DAY
    const { row } = await createKey(plane.world, t.tenant, 'person:root', { ...BODY, expires_at: end })
    expect((await rotateKey(plane.world, t.admin, row.key_id, 30 * DAY)).old.expires_at).toBe(end)
  })

  test('two at once, on two nodes: one successor, the other is told which', async () => {
    const t = await plane.tenant(POLICY)
    const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
    const nodes = [plane.node(), plane.node()]
    const done = await Promise.allSettled(nodes.map((node) => rotateKey(node, t.admin, row.key_id, DAY)))
    const won = done.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
    const lost = done.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
    expect(won).toHaveLength(1)
    expect(lost).toMatchObject([{ code: 'key_closed', extra: { rotated_to: won[0]?.row.key_id } }])
    expect(await listKeys(plane.world.db, t.tenant)).toHaveLength(2)
    expect(await named(t, 'key.rotated')).toHaveLength(1)
  })

  test('a revocation during a rotation is not undone by it, nor a rotation by a revocation', async () => {
    const t = await plane.tenant(POLICY)
    const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
    const there = plane.node()
    const during = async (work: () => Promise<unknown>, other: () => Promise<unknown>) => {
      let first = true
      plane.db.tap = async (sql, send) => {
        if (isCommit(sql) && first) {
          first = false
          await other()
        }
        return send()
      }
      const code = await codeOf(work())
      plane.db.tap = null
      return code
    }
    const rotated = () => rotateKey(plane.world, t.admin, row.key_id, DAY)
    expect(await during(rotated, () => revokeKey(there, t.tenant, 'person:root', row.key_id))).toBe('key_closed')
    expect(await findKey(plane.world.db, row.key_id)).toMatchObject({
      revoked_at: expect.any(Number),
      rotated_to: null,
    })

    const { row: other } = await createKey(plane.world, t.tenant, 'person:root', BODY)
    const revoked = () => revokeKey(plane.world, t.tenant, 'person:root', other.key_id)
    expect(await during(revoked, () => rotateKey(there, t.admin, other.key_id, DAY))).toBe('done')
    expect(await findKey(plane.world.db, other.key_id)).toMatchObject({
      revoked_at: expect.any(Number),
      rotated_to: expect.any(String),
      expires_at: plane.clock.now() + DAY,
    })
  })

  test('what opens nothing is not rotated, and no key of another tenant is found', async () => {
    const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const { row } = await createKey(plane.world, t.tenant, 'person:root', {
      ...BODY,
      expires_at: plane.clock.now() + 10,
    })
    const rotate = (key_id: string, as = t.admin) => problemOf(rotateKey(plane.world, as, key_id, DAY))
    expect(await rotate(row.key_id, other.admin)).toMatchObject({ code: 'not_found' })
    expect(await rotate('key_none')).toMatchObject({ code: 'not_found' })
    plane.clock.advance(10)
    expect(await rotate(row.key_id)).toMatchObject({ code: 'key_closed', message: 'The key is expired' })
    await revokeKey(plane.world, t.tenant, 'person:root', row.key_id)
    expect(await rotate(row.key_id)).toMatchObject({ code: 'key_closed', message: 'The key is revoked' })
  })
})

test(`${proves('S1')} the last use is kept, never an earlier one, and no gate moves for it`, async () => {
  const t = await plane.tenant(POLICY)
  const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
  const epoch = async () => (await t.rows<{ epoch: number }>('gates'))[0]?.epoch
  const before = await epoch()
  await noteKeyUses(
    plane.world,
    new Map([
      [row.key_id, 500],
      ['key_nobody', 5],
    ]),
  )
  await noteKeyUses(plane.world, new Map([[row.key_id, 400]]))
  expect((await findKey(plane.world.db, row.key_id))?.last_used_at).toBe(500)
  expect(await epoch()).toBe(before)
})

describe('a narrowed key', () => {
  test('revokes any key but the last whole one of an admin, and a whole one that too', async () => {
    const t = await plane.tenant(POLICY)
    const make = async (principal: string, more: object = {}) =>
      (await createKey(plane.world, t.tenant, 'person:root', { role: 'admin', principal, ...more })).row
    const narrowed = await make('person:ci', { permissions: ['keys:read', 'keys:write'] })
    const [one, two] = [await make('person:one'), await make('person:two')]
    // None of these would let anybody in tomorrow.
    await make('person:soon', { expires_at: plane.clock.now() + 3_600_000 })
    const bound = await make('person:bound', { topics: ['job.do.*'] })
    const ci = t.caller('admin', 'person:ci', { key_id: narrowed.key_id, permissions: ['keys:read', 'keys:write'] })
    for (const { key_id } of [bound, one]) expect((await takeKey(t.world, ci, key_id)).revoked_at).not.toBeNull()
    expect(await codeOf(takeKey(t.world, ci, two.key_id))).toBe('forbidden')
    expect(await codeOf(takeKey(t.world, ci, two.key_id))).toBe('forbidden')
    expect((await t.kinds()).filter((kind) => kind === 'key.refused')).toHaveLength(1)
    const whole = t.caller('admin', 'person:two', { key_id: two.key_id })
    expect((await takeKey(t.world, whole, two.key_id)).revoked_at).not.toBeNull()
    expect(await codeOf(takeKey(t.world, whole, narrowed.key_id))).toBe('unauthenticated')
  })

  test('of two that two nodes revoke at once, one stays', async () => {
    const t = await plane.tenant(POLICY)
    const make = async (principal: string, more: object = {}) =>
      (await createKey(plane.world, t.tenant, 'person:root', { role: 'admin', principal, ...more })).row
    const narrowed = await make('person:ci', { permissions: ['keys:write'] })
    const [one, two] = [await make('person:one'), await make('person:two')]
    const ci = () => t.caller('admin', 'person:ci', { key_id: narrowed.key_id, permissions: ['keys:write'] })
    const codes = await Promise.all([
      codeOf(takeKey(t.world, ci(), one.key_id)),
      codeOf(takeKey(plane.node(), ci(), two.key_id)),
    ])
    expect(codes.sort()).toEqual(['done', 'forbidden'])
  })
})
