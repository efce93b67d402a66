import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { factsOf, violations } from '../../test/invariants.js'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Stage } from '../core/autonomy.js'
import { UNBOUND } from '../core/principal.js'
import { rebinder } from '../loops/sweeper.js'
import { silentLog } from '../platform/log.js'
import { applyDirectory } from './directory.js'
import { declareAutonomy, demote } from './promote.js'
import { rebindStaged } from './rebind.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: 'job.do.*' }, decision: ALLOW }
  - { id: ask, match: { topic: 'job.ask.*' }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 9h } }
job_classes:
  - { topic: job.do.read, set: { action_type: read } }
  - { topic: job.do.write, set: { action_type: update } }
`
const AGENT = 'agent:bot'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

async function managed(stage: Stage): Promise<Tenancy> {
  const t = await plane.tenant(POLICY)
  const none = { team: null, name: null, email: null }
  const document = {
    teams: [],
    principals: [
      { principal: AGENT, kind: 'agent', role: 'agent', terms: UNBOUND, ...none },
      { principal: 'person:ann', kind: 'person', role: 'approver', terms: null, ...none },
    ],
  }
  await applyDirectory(t.world, t.admin, document as never, 'api')
  await declareAutonomy(t.world, t.operator, AGENT, { stage })
  return t
}
const putBack = (t: Tenancy, to: Stage) => demote(t.world, t.operator, AGENT, { to, note: 'odd' })
const ask = (t: Tenancy, topic: string) => t.submit({ topic })

describe(`${proves('A8')} what an agent's earlier stage asked`, () => {
  test('is put again when it has changed: void with an entry; what still asks the same stays', async () => {
    const t = await managed('supervised')
    const there = plane.node()
    const [write, own] = [await ask(t, 'job.do.write'), await ask(t, 'job.ask.it')]
    // Of an agent that nobody manages: none of it.
    expect((await t.submit({ topic: 'job.do.write' }, null, t.otherAgent)).status).toBe('queued')
    const rebound = async () => (await rebindStaged(there, t.tenant)).rebound
    expect(await rebound()).toBe(0)
    await putBack(t, 'advisor')
    await there.policies.refresh(t.tenant)
    expect(await rebound()).toBe(1)
    expect(await rebound()).toBe(0)
    const voided = (await factsOf(plane, t.tenant)).filter(({ kind }) => kind === 'approval.voided')
    expect(voided.map(({ approval_id }) => approval_id)).toEqual([write.approval_id])
    expect((await t.approval(own.approval_id)).status).toBe('pending')
    const job = await t.job(write.job_id)
    expect(job).toMatchObject({ status: 'pending_approval', rules: ['all', 'stage:advisor'] })
    await t.approve(job.approval_id as string)
    expect((await t.job(write.job_id)).status).toBe('queued')
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('is denied where nothing of it runs any more', async () => {
    const t = await managed('supervised')
    const { job_id } = await ask(t, 'job.do.write')
    await putBack(t, 'shadow')
    expect((await rebindStaged(t.world, t.tenant)).rebound).toBe(1)
    expect(await t.job(job_id)).toMatchObject({ status: 'denied', status_reason: 'denied_at_approval' })
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('the loop puts again by itself, and lets through what asks nobody any more', async () => {
    const t = await managed('advisor')
    const [read, write] = [await ask(t, 'job.do.read'), await ask(t, 'job.do.write')]
    expect([read.status, write.status]).toEqual(['pending_approval', 'pending_approval'])
    const loop = rebinder(plane.node(), plane.clock, silentLog)
    const until = async (done: () => Promise<boolean>) => {
      for (let looks = 0; looks < 50 && !(await done()); looks++) plane.clock.advance(250)
      expect(await done()).toBe(true)
    }
    // A promotion takes days; what it comes to for what is asked, a fall from above it shows too.
    await t.world.db.query("UPDATE autonomy SET stage = 'assisted' WHERE tenant = $1", [t.tenant])
    await putBack(t, 'supervised')
    await until(async () => (await t.job(read.job_id)).status === 'queued')
    await until(async () => (await t.approval(write.approval_id)).status === 'void')
    await loop.stop()
    expect((await t.job(read.job_id)).status_reason).toBe('approval_not_needed')
    expect((await t.job(write.job_id)).rules).toEqual(['all', 'stage:supervised'])
    expect(await violations(plane, t.tenant)).toEqual([])
  })
})
