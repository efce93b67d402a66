import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPlane, type TestPlane } from '../../test/plane.js'
import { ENGINES, numbers, POLICY, type Scene, scene } from '../../test/support/candidate.js'
import { judgeGranted, judgeSince } from '../store/risks.js'

describe.each(ENGINES)('incidents on %s', (_, opener) => {
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane(1, await opener())
  })
  afterAll(() => plane?.close())

  const set = (s: Scene, table: string, change: string, where = '') =>
    plane.db.query(`UPDATE ${table} SET ${change} WHERE tenant = $1 ${where}`, [s.t.tenant])
  const found = async (s: Scene) => {
    const { policy_bypass_incidents: bypass, unapproved_high_risk_actions: unapproved } = numbers(
      (await s.read(['policy_bypass_incidents', 'unapproved_high_risk_actions'])).candidate,
    )
    return [bypass, unapproved]
  }
  const decided = (name: string, value: string) =>
    `made = jsonb_set(made::jsonb, '{decided,${name}}', '${value}')::json`

  test('are none where every lease comes out as a pass again, with input, edits and approvals', async () => {
    const s = await scene(plane, POLICY.replace('topic: job.do }', "topic: job.do }, when: 'input.n == 1'"))
    await s.leased('job.do', s.run(), { input: { n: 1 } })
    const asked = await s.submit('job.ask', s.run(), { input: { n: 1 }, action_type: 'refund' })
    await s.t.approve(asked.approval_id as string)
    await s.claim('job.ask', asked.job_id)
    expect(await found(s)).toEqual(['0 of 2', '0 of 2'])
    await set(s, 'jobs', `input = left(input, 32) || '{"n":2}'`, `AND topic = 'job.do'`)
    expect(await found(s)).toEqual(['1 of 2', '0 of 2'])
  })

  test('are leases without a decision, and those whose decision does not come out again', async () => {
    const s = await scene(plane)
    await s.leased()
    await set(s, 'leases', `made = (made::jsonb - 'decided')::json`)
    expect(await found(s)).toEqual(['1 of 1', '1 of 1'])
    for (const change of [
      decided('decision', '"REQUIRE_APPROVAL"'),
      decided('job_hash', '"00"'),
      decided('standing', '{"door":"submit","now":0,"counters":{},"grant":null}'),
      decided('standing', '{"door":"dispatch","now":1}'),
    ]) {
      const other = await scene(plane)
      await other.leased()
      expect(await found(other)).toEqual(['0 of 1', '0 of 1'])
      await set(other, 'leases', change)
      expect(await found(other)).toEqual(['1 of 1', '0 of 1'])
    }
  })

  test('are high-risk work that nobody approved, and only that of the candidate', async () => {
    const s = await scene(plane)
    const pay = { action_type: 'refund' }
    await s.leased('job.pay', s.run(false), pay)
    await s.leased()
    expect(await found(s)).toEqual(['0 of 1', '0 of 1'])
    await s.leased('job.pay', s.run(), pay)
    expect(await found(s)).toEqual(['0 of 2', '1 of 2'])
    expect(await s.candidate('critical_incidents')).toMatchObject({ kind: 'amount', value: 1 })
  })

  test('that are known stay known past what one reading judges; a look goes on where all was clean', async () => {
    const s = await scene(plane)
    await s.leased()
    const { t, rollout } = s
    const { rollout_id } = rollout
    const scope = { tenant: t.tenant, rollout_id, kind: 'leased', variant: 'candidate', head: null } as const
    const since = () => judgeSince(t.world, { ...scope, from: s.from, to: plane.clock.now() + 1 })
    expect(await since()).toMatchObject({ seen: 1, bypasses: 0 })
    plane.clock.advance(300_000)
    await s.leased()
    expect(await since()).toMatchObject({ seen: 2, bypasses: 0 })
    plane.clock.advance(1000)
    await s.leased()
    await set(s, 'leases', `made = (made::jsonb - 'decided')::json`)
    // What was clean and is long past is a gate's; what was not clean is seen again.
    for (let n = 0; n < 2; n++) expect(await since()).toMatchObject({ seen: 2, bypasses: 1 })
    const all = { ...scope, from: s.from, to: plane.clock.now() + 1 }
    expect(await judgeGranted(t.world, all, 10)).toMatchObject({ bypasses: 3, complete: true })
    expect(await judgeGranted(t.world, all, 2)).toMatchObject({ complete: false })
  })

  test('are not known where a lease is gone', async () => {
    const s = await scene(plane)
    await s.leased()
    await plane.db.query('DELETE FROM leases WHERE tenant = $1', [s.t.tenant])
    expect(await found(s)).toEqual(['?', '?'])
  })
})
