import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { SubmitJob } from '../contract/jobs.js'
import type { Stage } from '../core/autonomy.js'
import { UNBOUND } from '../core/principal.js'
import { Problem } from '../errors.js'
import { turnBreakers } from './break.js'
import { applyDirectory } from './directory.js'
import { evaluateDry } from './explain.js'
import { createGrant } from './grants.js'
import { declareAutonomy } from './promote.js'
import { raiseStop } from './stop.js'

const POLICY = `
version: v1
default_decision: DENY
high_risk: [{ action_type: [delete] }]
rules:
  - { id: all, match: { topic: 'job.do.*' }, decision: ALLOW }
  - { id: few, match: { topic: job.few.it }, decision: ALLOW, limits: { rate: 1/hour, per: agent } }
  - { id: ask, match: { topic: 'job.ask.*' }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: no, match: { topic: job.never.it }, decision: DENY }
job_classes:
  - { topic: job.do.form, input_schema: { type: object, required: [name], properties: { name: { type: string } } } }
`
const FAR = 86_400_000

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

/** What the door makes of it now, said and then done: status or code, and what else a refused caller is told. */
async function saidAndDone(t: Tenancy, body: SubmitJob) {
  const { submit } = await evaluateDry(t.world, t.agent, body, undefined)
  const before = (await t.facts()).length
  await evaluateDry(t.world, t.agent, body, undefined)
  expect((await t.facts()).length).toBe(before)
  const done = await t.submit(body).catch((error: unknown) => {
    if (error instanceof Problem) return error
    throw error
  })
  const said = submit.status ?? submit.code
  if (!(done instanceof Problem)) {
    expect(submit).toMatchObject({ code: null, missing: [], stop_id: null, retry_after_ms: null })
    expect(said).toBe(done.status)
    expect(submit.granted_by).toBe(done.granted_by ?? null)
  } else {
    const { missing = [], stop_id = null, retry_after_ms = null } = done.extra
    expect(submit).toMatchObject({ status: null, code: done.code, missing, stop_id, retry_after_ms })
  }
  return said
}

async function declared(t: Tenancy, terms: object, stage: Stage | null = null) {
  const agent = { principal: 'agent:bot', kind: 'agent', role: 'agent', team: 'desk', name: null, email: null }
  const document = {
    teams: [{ team: 'desk', name: null, leads: [], on_call: [] }],
    principals: [{ ...agent, terms: { ...UNBOUND, ...terms } }],
  }
  await applyDirectory(t.world, t.admin, document as never, 'api')
  if (stage !== null) await declareAutonomy(t.world, t.operator, 'agent:bot', { stage })
}

describe('a dry run says what a submit is answered', () => {
  test(`${proves('D9')} by rules, limits and the shape of the input`, async () => {
    const t = await plane.tenant(POLICY)
    expect(await saidAndDone(t, { topic: 'job.do.it' })).toBe('queued')
    expect(await saidAndDone(t, { topic: 'job.ask.it' })).toBe('pending_approval')
    expect(await saidAndDone(t, { topic: 'job.never.it' })).toBe('policy_denied')
    expect(await saidAndDone(t, { topic: 'job.nowhere' })).toBe('policy_denied')
    expect(await saidAndDone(t, { topic: 'job.do.form', input: { name: 1 } })).toBe('invalid')
    expect(await saidAndDone(t, { topic: 'job.few.it' })).toBe('queued')
    expect(await saidAndDone(t, { topic: 'job.few.it' })).toBe('rate_limited')
  })

  test(`${proves('D9')} while it is stopped, from the return of the stop on, on every node`, async () => {
    const t = await plane.tenant(POLICY)
    const node = plane.node()
    expect((await evaluateDry(node, t.agent, { topic: 'job.do.it' }, undefined)).submit.status).toBe('queued')
    const { stop_id } = await raiseStop(t.world, t.operator, { scope: 'topic', target: 'job.do.*', reason: 'wrong' })
    expect(await saidAndDone(t, { topic: 'job.do.it' })).toBe('stopped')
    expect(await saidAndDone(t, { topic: 'job.ask.it' })).toBe('pending_approval')
    const { decision, submit } = await evaluateDry(node, t.agent, { topic: 'job.do.it' }, undefined)
    expect([decision.decision, decision.reason, submit.stop_id]).toEqual(['DENY', 'stopped: wrong', stop_id])
  })

  test(`${proves('D9')} of an agent that is out after failures`, async () => {
    const t = await plane.tenant(POLICY)
    for (let n = 0; n < 3; n++) {
      const { lease } = await t.lease({ topic: 'job.do.it', max_attempts: 1 })
      await t.fail(lease, 'terminal')
    }
    await turnBreakers(plane.world, plane.clock.now() - 60_000)
    expect(await saidAndDone(t, { topic: 'job.do.it' })).toBe('breaker_open')
    // In its trial one goes, and the next is told when.
    plane.clock.advance(600_000)
    expect(await saidAndDone(t, { topic: 'job.do.it' })).toBe('queued')
    expect(await saidAndDone(t, { topic: 'job.do.it' })).toBe('rate_limited')
  })

  test(`${proves('D9')} by what the agent is scoped for, its stage, and grants that cover it`, async () => {
    const t = await plane.tenant(POLICY)
    const { grant_id } = await createGrant(t.world, t.approver, {
      ...{ agent: 'agent:bot', topic: 'job.ask.*', uses: 1, reason: 'routine' },
      expires_at: plane.clock.now() + FAR,
    })
    const dry = await evaluateDry(t.world, t.agent, { topic: 'job.ask.it' }, undefined)
    expect(dry.submit).toMatchObject({ status: 'queued', granted_by: grant_id })
    expect(await saidAndDone(t, { topic: 'job.ask.it' })).toBe('queued')
    expect(await saidAndDone(t, { topic: 'job.ask.it' })).toBe('pending_approval')
    await declared(t, { topics: ['job.do.*'] })
    expect(await saidAndDone(t, { topic: 'job.ask.it' })).toBe('out_of_scope')
    for (const [stage, said] of [
      ['shadow', 'shadowed'],
      ['supervised', 'pending_approval'],
    ] as const) {
      const managed = await plane.tenant(POLICY)
      await declared(managed, {}, stage)
      expect(await saidAndDone(managed, { topic: 'job.do.it' })).toBe(said)
    }
    const assisted = await plane.tenant(POLICY)
    await declared(assisted, {}, 'assisted')
    const { submit } = await evaluateDry(assisted.world, assisted.agent, { topic: 'job.do.it' }, undefined)
    expect(submit).toMatchObject({ status: 'queued', spot_check: 5 })
    // It cancelled one that was drawn before anybody had seen it, and owes another.
    for (let n = 0; ; n++) {
      const { job_id, status } = await assisted.submit({ topic: 'job.do.it', input: { n } })
      if (status !== 'pending_approval') continue
      await assisted.cancel(job_id)
      break
    }
    const owing = await evaluateDry(assisted.world, assisted.agent, { topic: 'job.do.it' }, undefined)
    expect(owing.submit).toMatchObject({ status: 'queued', spot_check: 100 })
    expect((await assisted.submit({ topic: 'job.do.it' })).status).toBe('pending_approval')
  })

  test('to the agent itself, whoever asks: nobody’s grant counts for what they ask for themselves', async () => {
    const t = await plane.tenant(POLICY)
    const { grant_id } = await createGrant(t.world, t.approver, {
      ...{ agent: 'agent:bot', topic: 'job.ask.*', uses: 1, reason: 'routine' },
      expires_at: plane.clock.now() + FAR,
    })
    const job = { topic: 'job.ask.it', agent: 'agent:bot' }
    expect((await evaluateDry(t.world, t.admin, job, undefined)).submit.granted_by).toBe(grant_id)
    expect((await evaluateDry(t.world, t.approver, job, undefined)).submit.granted_by).toBe(grant_id)
    const inTheirName = { ...t.approver, act_as: ['agent:bot'] }
    const { submit } = await evaluateDry(t.world, inTheirName, job, undefined)
    expect(submit).toMatchObject({ status: 'pending_approval', granted_by: null })
    expect((await problemOf(t.submit(job, null, t.admin))).code).toBe('act_as_refused')
  })
})

describe('about another agent', () => {
  test('is told to who may read the directory or act as it, and to no other agent', async () => {
    const t = await plane.tenant(POLICY)
    const secret = { principal: 'agent:secret', kind: 'agent', role: 'agent', team: null, name: null, email: null }
    const terms = { ...UNBOUND, topics: ['job.do.it'], fallback: 'call 1234' }
    await applyDirectory(t.world, t.admin, { teams: [], principals: [{ ...secret, terms }] } as never, 'api')
    const body = { topic: 'job.do.other', agent: 'agent:secret' }
    const problem = await problemOf(evaluateDry(t.world, t.agent, body, undefined))
    expect([problem.code, problem.status]).toEqual(['act_as_refused', 403])
    expect(problem.message).not.toContain('1234')
    const viewer = t.caller('viewer', 'person:vic')
    for (const as of [viewer, t.caller('agent', 'agent:front', { act_as: ['agent:secret'] })])
      expect((await evaluateDry(t.world, as, body, undefined)).submit.missing).toEqual(['topic job.do.other'])
  })
})
