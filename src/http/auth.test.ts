import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { codeOf, openPlane, type TestPlane } from '../../test/plane.js'
import { createKey, revokeKey } from '../journey/keys.js'
import { Authenticator } from './auth.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const KEYS = 'FROM keys WHERE key_id'

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
