import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane, turns } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { DbError } from '../errors.js'
import { KeyUses } from '../http/key-uses.js'
import { createKey } from '../journey/keys.js'
import { silentLog } from '../platform/log.js'
import { findKey } from '../store/keys.js'
import { keyUses } from './key-use.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

test(`${proves('S1')} uses are written once a minute, kept where the store is away, and once more at a stop`, async () => {
  const t = await plane.tenant('version: v1\nrules: []\n')
  const { row } = await createKey(plane.world, t.tenant, 'person:root', { role: 'agent' })
  const lastUse = async () => (await findKey(plane.world.db, row.key_id))?.last_used_at
  let [writes, isAway] = [0, true]
  plane.db.tap = async (sql, send) => {
    if (!sql.startsWith('UPDATE keys')) return send()
    writes++
    if (isAway) throw new DbError('connection reset by peer', '08006')
    return send()
  }
  const uses = new KeyUses()
  const loop = keyUses(uses, plane.world, plane.clock, silentLog)
  for (let n = 0; n < 1000; n++) uses.note(row.key_id, 100 + n)
  plane.clock.advance(59_999)
  expect(writes).toBe(0)
  plane.clock.advance(1)
  await turns(() => writes === 1)
  await new Promise((turn) => setImmediate(turn))
  expect(await lastUse()).toBeNull()
  isAway = false
  plane.clock.advance(60_000)
  await turns(() => writes === 2)
  await expect.poll(lastUse).toBe(1099)
  // Nobody came: nothing is written.
  plane.clock.advance(60_000)
  uses.note(row.key_id, 5000)
  await loop.stop()
  expect(await lastUse()).toBe(5000)
  expect(writes).toBe(3)
})
