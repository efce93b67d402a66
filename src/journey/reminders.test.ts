import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { DbError } from '../errors.js'
import { reminders } from '../loops/reminders.js'
import { silentLog } from '../platform/log.js'
import { pageOfKeys } from '../store/keys.js'
import { createKey, rotateKey } from './keys.js'
import { remindOfKeys } from './reminders.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const DAY = 86_400_000
const POLICY = 'version: v1\nrules: []\n'
const said = async (t: Tenancy) =>
  (await t.facts()).flatMap((fact) => (fact.kind === 'key.due' ? [`${fact.principal} ${fact.stage}`] : []))

test(`${proves('S2')} a key that nears 90 days or its end is told of, once for each stage`, async () => {
  const t = await plane.tenant(POLICY)
  const make = (principal: string, expires_at?: number) =>
    createKey(plane.world, t.tenant, 'person:root', {
      role: 'agent',
      principal,
      ...(expires_at === undefined ? {} : { expires_at }),
    })
  const { row } = await make('agent:old')
  await make('agent:short', plane.clock.now() + 10 * DAY)
  const renewed = await make('agent:renewed')
  const due = async () =>
    (await pageOfKeys(plane.db, t.tenant, { due: true }, plane.clock.now())).items.map((k) => k.principal)

  await remindOfKeys(plane.world)
  plane.clock.advance(3 * DAY)
  await remindOfKeys(plane.world)
  await remindOfKeys(plane.world)
  expect(await said(t)).toEqual(['agent:short expiry'])
  expect(await due()).toEqual(['agent:short'])
  plane.clock.advance(80 * DAY)
  await rotateKey(plane.world, t.admin, renewed.row.key_id, DAY)
  expect(await due()).toEqual(['agent:old'])
  await remindOfKeys(plane.world)
  await remindOfKeys(plane.world)
  expect(await said(t)).toEqual(['agent:short expiry', 'agent:old rotation'])
  plane.clock.advance(7 * DAY)
  await remindOfKeys(plane.world)
  await remindOfKeys(plane.world)
  expect((await said(t)).slice(2)).toEqual(['agent:old overdue'])
  expect((await t.facts()).at(-1)).toMatchObject({
    key_id: row.key_id,
    actor: 'system:reminders',
    created_at: row.created_at,
  })
})

test('one of the nodes says it, and a tenant whose entry cannot be written keeps no other from theirs', async () => {
  const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
  for (const each of [t, other])
    await createKey(plane.world, each.tenant, 'person:root', {
      role: 'agent',
      principal: 'agent:due',
      expires_at: plane.clock.now() + DAY,
    })
  let broken = 0
  plane.db.tap = async (sql, send) => {
    if (!sql.includes('INSERT INTO key_reminders') || broken++ > 0) return send()
    throw new DbError('connection reset by peer', '08006')
  }
  const start = () => [plane.world, plane.node()].map((node) => reminders(node, plane.clock, silentLog))
  const loops = start()
  plane.clock.advance(600_000)
  await turns(() => broken >= 2)
  await Promise.all(loops.map((each) => each.stop()))
  const later = start()
  plane.clock.advance(600_000)
  await turns(() => broken >= 3)
  await Promise.all(later.map((each) => each.stop()))
  // What was said and not kept is said again; never is one left out.
  expect([await said(t), await said(other)].map((each) => each.length).sort()).toEqual([1, 2])
})
