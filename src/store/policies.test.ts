import { afterAll, beforeAll, expect, test } from 'vitest'
import { codeOf, openPlane, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'

const POLICY =
  'version: v1\ndefault_decision: DENY\nrules:\n  - { id: do, match: { topic: job.do.* }, decision: ALLOW }\n'
const OTHER = POLICY.replace('ALLOW', 'REQUIRE_APPROVAL')

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

test(`${proves('D10', 'D5')} a snapshot changed in the database is not the one its digest names, and lets nothing through`, async () => {
  const t = await plane.tenant(POLICY.replace('job.do', 'job.mine'))
  await t.activate(POLICY)
  await plane.db.query(
    "UPDATE policy_snapshots SET files = replace(files::text, 'job.do', 'job.any')::jsonb WHERE tenant = $1",
    [t.tenant],
  )
  const fresh = t.on(plane.node())
  expect(await codeOf(fresh.submit({ topic: 'job.any.thing' }))).toBe('no_policy')
  await plane.db.query('DELETE FROM policy_snapshots WHERE tenant = $1', [t.tenant])
  expect(await codeOf(t.on(plane.node()).submit({ topic: 'job.do.it' }))).toBe('no_policy')
})

test(`${proves('D5')} a broken file never replaces a good snapshot, and a second node decides by the new one from the activation's return`, async () => {
  const t = await plane.tenant(POLICY)
  const other = t.on(plane.node())
  expect((await other.submit({ topic: 'job.do.it' })).status).toBe('queued')
  expect(await codeOf(t.activate('version: v1\nrules: [nonsense]\n'))).toBe('policy_invalid')
  expect((await t.submit({ topic: 'job.do.it' })).status).toBe('queued')
  await t.activate(OTHER)
  // The other node still holds the old one in memory; its commit is refused by the gate row and decided again.
  expect((await other.submit({ topic: 'job.do.it' })).status).toBe('pending_approval')
})

test('two activations at once are one after the other, on two nodes', async () => {
  const t = await plane.tenant(POLICY)
  const other = t.on(plane.node())
  const before = (await plane.world.policies.refresh(t.tenant))?.epoch ?? 0
  await Promise.all([t.activate(OTHER), other.activate(POLICY), t.activate(POLICY), other.activate(OTHER)])
  expect((await plane.world.policies.refresh(t.tenant))?.epoch).toBe(before + 4)
})

test('a digest that another tenant stored is not this tenant’s', async () => {
  const [t, u] = [await plane.tenant(POLICY), await plane.tenant(OTHER)]
  const { policy } = await plane.world.policies.active(t.tenant)
  expect(await codeOf(plane.world.policies.compiled(u.tenant, policy.digest))).toBe('no_policy')
})
