import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { codeOf, holdCommits, openPlane, type TestPlane, turns } from '../../../test/plane.js'
import { proves } from '../../../test/requirements.js'
import type { Intent } from './inbox.js'

const ALLOW = `
version: v1
default_decision: DENY
rules: [{ id: do, match: { topic: job.do.* }, decision: ALLOW }]
`

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const note = (tenant: string, by?: string): Intent => ({
  tenant,
  gate: null,
  alone: [],
  rows: {},
  ...(by === undefined ? {} : { by }),
  facts: [{ kind: 'drill.run', tenant, at: plane.clock.now(), actor: 'person:x' }],
})

test(`${proves('R8')} new work of a tenant whose oldest waits for two seconds is refused; that of others, and reports, are not`, async () => {
  const [late, quick] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
  const { ledger } = plane.world
  const hold = holdCommits(plane.db)
  const taken = [ledger.commit(note(late.tenant, 'k'))]
  await turns(() => hold.waiting() === 1)
  taken.push(ledger.commit(note(late.tenant, 'k')))
  plane.clock.advance(2000)
  taken.push(ledger.commit(note(late.tenant, 'k')))
  expect(ledger.strain).toBe(1)
  plane.clock.advance(1)
  expect(await codeOf(ledger.commit(note(late.tenant, 'k')))).toBe('overloaded')
  taken.push(ledger.commit(note(late.tenant)))
  taken.push(ledger.commit(note(quick.tenant, 'q')))
  hold.release()
  expect(await Promise.all(taken)).toEqual(taken.map(() => ({ ok: true })))
  expect(ledger.strain).toBe(0)
  expect(await ledger.commit(note(late.tenant, 'k'))).toEqual({ ok: true })
})

test('a view without an epoch is no view: it commits nothing', async () => {
  const t = await plane.tenant(ALLOW)
  const { gate } = await plane.world.policies.active(t.tenant)
  const fact = { kind: 'policy.refused', tenant: t.tenant, at: plane.clock.now(), actor: 'x' } as const
  const step = { tenant: t.tenant, gate: { ...gate, epoch: Number.NaN }, alone: [], rows: {}, facts: [fact] }
  expect(await plane.world.ledger.commit(step)).toEqual({ ok: false, why: 'gate' })
})
