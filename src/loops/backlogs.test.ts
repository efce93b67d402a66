import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane, turns } from '../../test/plane.js'
import { DbError } from '../errors.js'
import { silentLog } from '../platform/log.js'
import { Census } from '../store/census.js'
import { backlogs } from './backlogs.js'

const POLICY = 'version: v1\ndefault_decision: ALLOW\nrules: []\n'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

test('one of the nodes says it once for every tenant, also beside one whose rows cannot be read', async () => {
  const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
  for (const each of [t, other]) await each.submit({ topic: 'job.a' })
  let broken = 0
  plane.db.tap = async (sql, send) => {
    if (!sql.includes('FROM backlogs') || broken++ > 0) return send()
    throw new DbError('connection reset by peer', '08006')
  }
  const nobody = { waitingFor: () => new Map<string, number>() }
  const nodes = [plane.world, plane.node()]
  const loops = nodes.map((node) => backlogs(node, new Census(plane.db, plane.clock), nobody, plane.clock, silentLog))
  const said = async () =>
    (await Promise.all([t.kinds(), other.kinds()])).map(
      (kinds) => kinds.filter((kind) => kind === 'queue.backlogged').length,
    )
  plane.clock.advance(60_000)
  await turns(() => broken >= 2)
  await Promise.all(loops.map((each) => each.stop()))
  expect((await said()).sort()).toEqual([0, 1])
  const later = nodes.map((node) => backlogs(node, new Census(plane.db, plane.clock), nobody, plane.clock, silentLog))
  plane.clock.advance(10_000)
  plane.clock.advance(10_000)
  await turns(() => broken >= 4)
  await Promise.all(later.map((each) => each.stop()))
  expect(await said()).toEqual([1, 1])
})
