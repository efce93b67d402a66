import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { AgentTerms, Principal } from '../core/principal.js'
import { getBreaker } from '../store/breakers.js'
import { getGate } from '../store/standing.js'
import { closeBreaker, turnBreakers } from './break.js'
import { applyDirectory } from './directory.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: 'job.do.*' }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask.it }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 24h } }
job_classes:
  - { topic: 'job.>', attempts: 2, queue_timeout_ms: 86400000, timeout_ms: 60000, heartbeat_ms: 1000 }
`
const COOL_DOWN = 600_000
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane(2)
})
afterAll(() => plane.close())

/** One look at what ended within the last minute, as the loop takes it. */
const turn = () => turnBreakers(plane.world, plane.clock.now() - 60_000)
const later = (ms: number) => plane.clock.advance(ms)

async function run(at: Tenancy, end: 'fail' | 'succeed', as = at.agent): Promise<void> {
  const { job_id } = await at.submit({ topic: 'job.do.a' }, null, as)
  const lease = (await at.claim(['job.do.a'], { capacity: 50 })).find(({ job }) => job.job_id === job_id)?.lease ?? ''
  if (end === 'fail') await at.fail(lease, 'terminal')
  else await at.succeed(lease)
  later(10)
}
async function failing(at: Tenancy, times: number): Promise<void> {
  for (let n = 0; n < times; n++) await run(at, 'fail')
}
async function declare(at: Tenancy, terms: Partial<AgentTerms>) {
  const none = { version: null, topics: null, actions: null, data: null, risk_tier: null, fallback: null }
  const row: Principal = {
    ...{ tenant: at.tenant, principal: 'agent:bot', kind: 'agent', role: 'agent', team: 'desk', name: null },
    ...{ email: null, terms: { ...none, ...terms }, source: 'api', created_at: 1, updated_at: 1, updated_by: 'test' },
    disabled_at: null,
  }
  const gate = await getGate(at.world.db, at.tenant)
  if (gate === null) throw new Error('no gate')
  const gates = [{ ...gate, epoch: gate.epoch + 1 }]
  const intent = { tenant: at.tenant, gate: null, alone: [], rows: {}, admin: { principals: [row], gates }, facts: [] }
  await at.world.ledger.commit(intent)
  await at.world.policies.refresh(at.tenant)
}

describe('a breaker', () => {
  test(`${proves('A9')} opens after three failures in a row, and refuses with time, reason and what people do instead`, async () => {
    const at = await plane.tenant(POLICY)
    await declare(at, { fallback: 'Call the desk.' })
    await failing(at, 2)
    expect(await turn()).toEqual([])
    expect((await at.submit({ topic: 'job.do.a' })).status).toBe('queued')
    await at.succeed((await at.claim(['job.do.a']))[0]?.lease ?? '')
    later(10)
    await failing(at, 2)
    expect(await turn()).toEqual([])
    await failing(at, 1)
    expect(await turn()).toEqual([expect.objectContaining({ agent: 'agent:bot', state: 'open', failures: 3 })])
    const problem = await problemOf(at.submit({ topic: 'job.do.a' }))
    expect([problem.code, problem.status, problem.extra.retry_after_ms]).toEqual(['breaker_open', 403, COOL_DOWN])
    expect(problem.extra.fallback).toBe('Call the desk.')
    expect(problem.message).toContain('3 failures in a row')
    // Nobody else is out, and the log tells the team that owns it.
    expect((await at.submit({ topic: 'job.do.a' }, null, at.otherAgent)).status).toBe('queued')
    expect((await at.facts()).filter(({ kind }) => kind === 'breaker.opened')).toEqual([
      expect.objectContaining({ agent: 'agent:bot', team: 'desk', failures: 3, cool_down_ms: COOL_DOWN }),
    ])
    expect(await turn()).toEqual([])
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test(`${proves('A9')} is read by a node that has not heard of it, and counts on where another node stopped`, async () => {
    const at = await plane.tenant(POLICY)
    const elsewhere = plane.node()
    await at.on(elsewhere).submit({ topic: 'job.do.b' })
    await failing(at, 1)
    await turn()
    await failing(at, 1)
    await turnBreakers(elsewhere, plane.clock.now() - 60_000)
    // The window of the next look holds only the last of them: the others are known by their rows.
    const from = plane.clock.now()
    await failing(at, 1)
    expect(await turnBreakers(plane.node(), from)).toHaveLength(1)
    expect(await codeOf(at.on(elsewhere).submit({ topic: 'job.do.b' }))).toBe('breaker_open')
  })

  test('does not count what is not the agent’s doing: lost workers, cancels, what nobody ran', async () => {
    const at = await plane.tenant(POLICY)
    for (let n = 0; n < 3; n++) {
      const leased = await at.lease({ topic: 'job.do.a' }, { effects: 'recorded' })
      // Two attempts, both lost with their worker.
      later(4_000)
      await at.sweep()
      later(60_000)
      const again = await at.claim(['job.do.a'])
      expect(again).toHaveLength(1)
      later(4_000)
      await at.sweep()
      expect((await at.job(leased.job.job_id)).status).toBe('dead_letter')
    }
    for (let n = 0; n < 3; n++) await at.cancel((await at.submit({ topic: 'job.do.a' })).job_id)
    expect(await turnBreakers(plane.world, 0)).toEqual([])
    expect((await at.submit({ topic: 'job.do.a' })).status).toBe('queued')
  })

  test(`${proves('A9')} counts what failed and was cancelled then, before its next attempt and during it`, async () => {
    const at = await plane.tenant(POLICY)
    for (const again of [false, true, true]) {
      const { job, lease } = await at.lease({ topic: 'job.do.a' })
      await at.fail(lease)
      later(40_000)
      const [next] = again ? await at.claim(['job.do.a']) : []
      await at.cancel(job.job_id)
      // The worker obeys, or is lost on the way: either says nothing of the agent.
      if (next !== undefined)
        await at.complete({
          lease: next.lease,
          outcome: 'failed',
          error: { class: 'transient', code: 'cancelled', message: 'x' },
        })
      expect(await at.job(job.job_id)).toMatchObject({ status: 'cancelled', error_code: 'failed' })
      later(10)
    }
    expect(await turnBreakers(plane.world, plane.clock.now() - 600_000)).toMatchObject([{ state: 'open', failures: 3 }])
    expect(await codeOf(at.submit({ topic: 'job.do.a' }))).toBe('breaker_open')
  })

  test(`${proves('A9')} counts a failure whatever code the worker gives it; one that obeys a cancel is none`, async () => {
    const at = await plane.tenant(POLICY)
    const ends = async (code: string, cancelled: boolean) => {
      const { job, lease } = await at.lease({ topic: 'job.do.a' })
      if (cancelled) await at.cancel(job.job_id, at.operator)
      await at.complete({ lease, outcome: 'failed', error: { class: 'terminal', code, message: 'no' } })
      later(10)
      return at.job(job.job_id)
    }
    for (let n = 0; n < 3; n++) expect((await ends('cancelled', true)).status).toBe('cancelled')
    expect(await turn()).toEqual([])
    for (const code of ['lease_lost', 'cancelled', 'lease_lost'])
      expect(await ends(code, false)).toMatchObject({ status: 'dead_letter', error_code: `worker_${code}` })
    expect(await turn()).toMatchObject([{ state: 'open', failures: 3 }])
  })

  test('what waits in the queue waits on, and is not lost', async () => {
    const at = await plane.tenant(POLICY)
    const waiting = await at.submit({ topic: 'job.do.b' })
    await failing(at, 3)
    await turn()
    expect(await at.claim(['job.do.b'])).toEqual([])
    expect(await at.job(waiting.job_id)).toMatchObject({ status: 'queued' })
    later(COOL_DOWN)
    expect((await at.claim(['job.do.b'])).map(({ job }) => job.job_id)).toEqual([waiting.job_id])
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test('people may answer meanwhile; what they approve waits', async () => {
    const at = await plane.tenant(POLICY)
    const { job_id, approval_id } = await at.submit({ topic: 'job.ask.it' })
    await failing(at, 3)
    await turn()
    await at.approve(approval_id ?? '')
    expect(await at.claim(['job.ask.it'])).toEqual([])
    expect((await at.job(job_id)).status).toBe('queued')
  })

  test('lets running work of the agent go on', async () => {
    const at = await plane.tenant(POLICY)
    const leased = await at.lease({ topic: 'job.do.b' })
    await failing(at, 3)
    await turn()
    expect((await at.begin(leased.lease, 'still')).status).toBe('begun')
    expect((await at.beat(leased.lease)).answer).toBe('ok')
  })
})

describe('an agent that is out', () => {
  test(`${proves('A9')} acts as nobody else until it is in again, and that hides nothing of its own trial`, async () => {
    const at = await plane.tenant(POLICY)
    const acting = at.caller('agent', 'agent:bot', { act_as: ['agent:free'] })
    const asFree = () => at.submit({ topic: 'job.do.b', agent: 'agent:free' }, null, acting)
    const [queued, own] = [await asFree(), await at.submit({ topic: 'job.do.b' })]
    await failing(at, 3)
    await turn()
    expect(await codeOf(asFree())).toBe('breaker_open')
    expect(await at.claim(['job.do.b'])).toEqual([])
    const free = at.caller('agent', 'agent:free')
    expect((await at.submit({ topic: 'job.do.c' }, null, free)).status).toBe('queued')
    // Half open: the trial is of work of its own, though that of the other stands before it in the queue.
    later(COOL_DOWN)
    expect(await codeOf(asFree())).toBe('breaker_open')
    const [trial] = await at.claim(['job.do.b'], { capacity: 5 })
    expect(trial?.job.job_id).toBe(own.job_id)
    expect(await at.claim(['job.do.b'], { capacity: 5 })).toEqual([])
    await at.succeed(trial?.lease ?? '')
    later(10)
    expect(await turn()).toHaveLength(1)
    expect((await at.claim(['job.do.b'], { capacity: 5 })).map(({ job }) => job.job_id)).toEqual([queued.job_id])
    expect(await violations(plane, at.tenant)).toEqual([])
  })
})

describe('half open', () => {
  test(`${proves('A9')} one job is tried at a time; success closes it`, async () => {
    const at = await plane.tenant(POLICY)
    await failing(at, 3)
    await turn()
    later(COOL_DOWN - 1_000)
    expect(await codeOf(at.submit({ topic: 'job.do.a' }))).toBe('breaker_open')
    later(1_000)
    expect((await at.submit({ topic: 'job.do.a' })).status).toBe('queued')
    expect(await codeOf(at.submit({ topic: 'job.do.a' }))).toBe('rate_limited')
    const [trial] = await at.claim(['job.do.a'], { capacity: 5 })
    await at.succeed(trial?.lease ?? '')
    later(10)
    expect(await turn()).toEqual([expect.objectContaining({ state: 'closed', closed_by: 'system:breaker' })])
    for (let n = 0; n < 3; n++) expect((await at.submit({ topic: 'job.do.a' })).status).toBe('queued')
    expect((await at.claim(['job.do.a'], { capacity: 5 })).length).toBe(3)
    expect((await at.kinds()).filter((kind) => kind === 'breaker.closed')).toHaveLength(1)
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test('of several that waited only one runs at a time', async () => {
    const at = await plane.tenant(POLICY)
    for (let n = 0; n < 3; n++) await at.submit({ topic: 'job.do.b' })
    await failing(at, 3)
    await turn()
    later(COOL_DOWN)
    expect(await at.claim(['job.do.b'], { capacity: 5 })).toHaveLength(1)
    expect(await at.claim(['job.do.b'], { capacity: 5 })).toEqual([])
  })

  test(`${proves('A9')} failure opens it again for twice the time, at most a day`, async () => {
    const at = await plane.tenant(POLICY)
    await failing(at, 3)
    await turn()
    let cool = COOL_DOWN
    for (let n = 0; n < 9; n++) {
      later(cool)
      await failing(at, 1)
      await turn()
      cool = Math.min(24 * 3_600_000, cool * 2)
      expect(await getBreaker(plane.db, at.tenant, 'agent:bot')).toMatchObject({ state: 'open', cool_down_ms: cool })
    }
    expect(cool).toBe(24 * 3_600_000)
  })
})

describe('a person', () => {
  test('closes it, and failures from before count no more', async () => {
    const at = await plane.tenant(POLICY)
    await failing(at, 3)
    await turn()
    later(10)
    expect(await closeBreaker(at.world, at.operator, 'agent:bot')).toMatchObject({ closed_by: 'person:olga' })
    expect(await turn()).toEqual([])
    later(10)
    await failing(at, 2)
    expect(await turn()).toEqual([])
    await failing(at, 1)
    expect(await turn()).toHaveLength(1)
  })

  test('needs the permission, or to lead the team that owns the agent', async () => {
    const at = await plane.tenant(POLICY)
    await declare(at, {})
    await failing(at, 3)
    await turn()
    const lead = (leads: string[]) => at.caller('viewer', 'person:lead', { leads })
    expect(await codeOf(closeBreaker(at.world, at.agent, 'agent:bot'))).toBe('forbidden')
    expect(await codeOf(closeBreaker(at.world, lead(['sales']), 'agent:bot'))).toBe('forbidden')
    expect((await at.kinds()).filter((kind) => kind === 'stop.refused')).toHaveLength(2)
    expect((await closeBreaker(at.world, lead(['desk']), 'agent:bot')).state).toBe('closed')
    expect(await codeOf(closeBreaker(at.world, at.operator, 'agent:nobody'))).toBe('not_found')
  })

  test('is none where a program asks: what it may do for an agent it may not do for itself', async () => {
    const at = await plane.tenant(POLICY)
    const service = { principal: 'service:ops', kind: 'service', role: 'operator', team: null, name: null, email: null }
    await applyDirectory(at.world, at.admin, { teams: [], principals: [{ ...service, terms: null } as never] }, 'api')
    await failing(at, 3)
    await turn()
    expect(await codeOf(closeBreaker(at.world, at.caller('operator', 'service:ops'), 'agent:bot'))).toBe('forbidden')
    expect((await getBreaker(plane.db, at.tenant, 'agent:bot'))?.state).toBe('open')
  })
})

test('terms of the agent say how many failures, or which share of the last', async () => {
  const at = await plane.tenant(POLICY)
  await declare(at, { breaker: { failures: 5, rate: 0.5, of: 6, cool_down_ms: 60_000 } })
  for (const end of ['fail', 'succeed', 'fail', 'succeed', 'fail'] as const) await run(at, end)
  expect(await turn()).toEqual([])
  await run(at, 'succeed')
  expect(await turn()).toEqual([
    expect.objectContaining({ reason: '3 failures among the last 6', cool_down_ms: 60_000, failures: 3 }),
  ])
})
