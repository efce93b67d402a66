import { hash } from '@node-rs/argon2'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, isCommit, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import type { Db } from '../platform/db/seam.js'
import { argon2Passwords, type Passwords } from '../platform/passwords.js'
import { getAccount } from '../store/accounts.js'
import { getPrincipal } from '../store/directory.js'
import { sessionsOf } from '../store/sign-on.js'
import { acceptInvitation, changePassword, closeAccount, invite, renewHash } from './accounts.js'
import { applyDirectory, disablePrincipal, enablePrincipal } from './directory.js'
import { signOnByPassword } from './sign-on.js'

/** Who comes in while the door is being changed. */
let plane: TestPlane
const passwords = argon2Passwords()
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const OLD = 'the first of ada'
const NEW = 'the second of ada'
async function ada(): Promise<Tenancy> {
  const t = await plane.tenant('version: v1\nrules: []\n')
  const person = { principal: 'person:ada', kind: 'person' as const, role: 'viewer' as const }
  const declared = { ...person, team: null, name: null, email: null, terms: null }
  await applyDirectory(plane.world, t.admin, { teams: [], principals: [declared] }, 'api')
  const { token } = await invite(plane.world, t.admin, 'person:ada')
  await acceptInvitation(plane.world, passwords, token, OLD)
  return t
}
const signOn = async (t: Tenancy, typed: string, by: Passwords = passwords, world = plane.world) => {
  const person = await getPrincipal(plane.db, t.tenant, 'person:ada')
  return signOnByPassword(world, by, t.tenant, person, typed, '192.0.2.1')
}
const open = async (t: Tenancy) => (await sessionsOf(plane.db, t.tenant, 'person:ada', plane.clock.now())).length
const asAda = (t: Tenancy) => t.caller('viewer', 'person:ada')
const change = (t: Tenancy, world = plane.world) =>
  changePassword(world, passwords, asAda(t), { old_password: OLD, password: NEW })

describe('a password that is changed', () => {
  test('while it is being looked at opens nothing', async () => {
    const t = await ada()
    const late: Passwords = {
      ...passwords,
      async verify(stored, typed) {
        const right = await passwords.verify(stored, typed)
        if (stored !== null && typed === OLD && right && !changed) {
          changed = true
          await change(t)
        }
        return right
      },
    }
    let changed = false
    expect(await codeOf(signOn(t, OLD, late))).toBe('sign_on_failed')
    expect(await open(t)).toBe(0)
    await signOn(t, NEW)
    expect(await open(t)).toBe(1)
  })

  test('on another node takes along who came in with the old before its commit', async () => {
    const t = await ada()
    let reached: () => void = () => {}
    const commits = new Promise<void>((resolve) => {
      reached = resolve
    })
    let goOn: () => void = () => {}
    const held = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const slow: Db = {
      engine: plane.db.engine,
      async query(sql, params, on) {
        if (isCommit(sql)) {
          reached()
          await held
        }
        return plane.db.query(sql, params, on)
      },
      script: (sql) => plane.db.script(sql),
      hold: (name) => plane.db.hold(name),
      close: async () => {},
    }
    const changing = change(t, plane.node({ db: slow }))
    await commits
    await signOn(t, OLD)
    expect(await open(t)).toBe(1)
    goOn()
    await changing
    expect(await open(t)).toBe(0)
  })

  test('by two at once is changed by one', async () => {
    const t = await ada()
    const codes = await Promise.all([change(t), change(t)].map((one) => one.then(() => 'done').catch((p) => p.code)))
    expect(codes.sort()).toEqual(['done', 'sign_on_failed'])
  })
})

test('an account that is closed ends what is open, and its old password', async () => {
  const t = await ada()
  await signOn(t, OLD)
  await closeAccount(plane.world, t.admin, 'person:ada')
  expect([await open(t), await codeOf(signOn(t, OLD))]).toEqual([0, 'sign_on_failed'])
})

describe('somebody who is disabled', () => {
  const back = (t: Tenancy) => enablePrincipal(plane.world, t.admin, 'person:ada')
  test('has no session open, and none comes back with them', async () => {
    const t = await ada()
    const { key_id } = await signOn(t, OLD)
    await disablePrincipal(plane.world, t.admin, 'person:ada')
    expect(await open(t)).toBe(0)
    const closed = (await t.facts()).filter(({ kind }) => kind === 'session.closed')
    expect(closed).toMatchObject([{ key_id, reason: 'disabled' }])
    await back(t)
    expect(await open(t)).toBe(0)
  })

  test('and came in meanwhile is out when they may act again', async () => {
    const t = await ada()
    const was = await getPrincipal(plane.db, t.tenant, 'person:ada')
    await disablePrincipal(plane.world, t.admin, 'person:ada')
    // As a sign-on that had looked at them a moment before.
    await signOnByPassword(plane.world, passwords, t.tenant, was, OLD, '192.0.2.1')
    await back(t)
    expect(await open(t)).toBe(0)
  })
})

test('a hash with older parameters is renewed by who knows its password, and by nobody else', async () => {
  const t = await ada()
  const stored = async () => (await getAccount(plane.db, t.tenant, 'person:ada'))?.password as string
  const person = { tenant: t.tenant, principal: 'person:ada' }
  const now = await stored()
  await renewHash(plane.world, passwords, person, OLD)
  expect(await stored()).toBe(now)
  const weak = await hash(OLD, { memoryCost: 8192, timeCost: 1, parallelism: 1 })
  await plane.db.query('UPDATE accounts SET password = $2 WHERE tenant = $1', [t.tenant, weak])
  await signOn(t, OLD)
  await renewHash(plane.world, passwords, person, OLD)
  expect(await stored()).toContain('m=19456,t=2,p=1')
  await signOn(t, OLD)
  expect(await open(t)).toBe(2)
})
