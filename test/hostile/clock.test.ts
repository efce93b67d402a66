import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { rebaseLeases, sweep } from '../../src/journey/sweep.js'
import { type Clock, systemClock } from '../../src/platform/clock.js'
import { API, call, expectProblem, faultsLogged, makeKey, startTarget, type Target, verifyAudit } from './attacker.js'

/**
 * A wall clock that is set by hours under a running server, as an operator, a hypervisor or an attacker on the network's time
 * does it. Timers go on as the system's do: they do not follow the wall.
 */
const HOUR = 3_600_000
let offset = 0
const clock: Clock = {
  now: () => Date.now() + offset,
  after(ms, fn) {
    const timer = setTimeout(fn, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
  turn: systemClock.turn,
}
const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.try.*, attempts: 3, timeout_ms: 60000, heartbeat_ms: 5000, queue_timeout_ms: 7200000 }
rules:
  - { id: tries, match: { topic: job.try.* }, decision: ALLOW }
  - { id: asks, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: counted, match: { topic: job.count.* }, decision: ALLOW, limits: { rate: 5/hour, per: agent } }
`
let plane: Target
let serial = 0

beforeAll(async () => {
  plane = await startTarget(POLICY, { clock })
})
afterAll(() => plane?.stop())
beforeEach(() => {
  offset = 0
})

const submit = (body: object, key = plane.keys.agent, headers: Record<string, string> = {}) =>
  call(plane, key, 'POST', `${API}/jobs`, body, headers)
const claim = async (topic: string) =>
  (
    await call(plane, plane.keys.worker, 'POST', `${API}/workers/claim`, {
      worker_id: 'w',
      claim_id: `claim-${String(++serial).padStart(8, '0')}`,
      topics: [topic],
      capacity: 10,
    })
  ).body.leases as { lease: string; remaining_ms: number }[]
const job = async (id: string) => (await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${id}`)).body
const post = (path: string, body: unknown) => call(plane, plane.keys.worker, 'POST', `${API}/leases/${path}`, body)
const ends = (id: string, ...statuses: string[]) =>
  expect
    .poll(() => sweep(plane.world).then(async () => (await job(id)).status), { timeout: 10_000 })
    .toBeOneOf(statuses)

describe('forward by hours', () => {
  test('a lease is lost, its worker learns it, and the job goes on', async () => {
    const { job_id } = (await submit({ topic: 'job.try.a' })).body
    const [own] = await claim('job.try.a')
    offset = 5 * HOUR
    expect((await post('heartbeat', { leases: [{ lease: own?.lease }] })).body.leases[0].answer).toBe('lost')
    expectProblem(await post('effects', { lease: own?.lease, key: 'pay', phase: 'begin' }), 'lease_lost')
    await ends(job_id, 'retrying', 'queued')
  })

  test('an effect that was begun leaves the job in doubt, not repeated', async () => {
    const { job_id } = (await submit({ topic: 'job.try.b' })).body
    const [own] = await claim('job.try.b')
    await post('effects', { lease: own?.lease, key: 'pay', phase: 'begin' })
    offset = 5 * HOUR
    await ends(job_id, 'ambiguous')
    expect(await claim('job.try.b')).toEqual([])
  })

  test('an approval expires and never allows', async () => {
    const asked = (await submit({ topic: 'job.ask.a' })).body
    offset = 2 * HOUR
    expectProblem(
      await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${asked.approval_id}/approve`, {
        grant_hash: asked.grant_hash,
      }),
      'approval_closed',
    )
    await ends(asked.job_id, 'expired')
    offset = 0
    expectProblem(
      await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${asked.approval_id}/approve`, {
        grant_hash: asked.grant_hash,
      }),
      'approval_closed',
    )
    expect(await claim('job.ask.a')).toEqual([])
  })

  test('a yes is no longer good after a day', async () => {
    const asked = (await submit({ topic: 'job.ask.b', not_before: clock.now() + 30 * HOUR })).body
    await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${asked.approval_id}/approve`, {
      grant_hash: asked.grant_hash,
    })
    offset = 30.5 * HOUR // due, and not yet past the hour it may wait for a worker
    expect(await claim('job.ask.b')).toEqual([])
    expect((await job(asked.job_id)).status).toBe('pending_approval')
  })

  test('what nobody took ends as expired', async () => {
    const { job_id } = (await submit({ topic: 'job.try.c' })).body
    offset = 3 * HOUR
    await ends(job_id, 'expired')
  })

  test('a key that would expire is expired', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:short', expires_at: clock.now() + HOUR })
    offset = 2 * HOUR
    expectProblem(await submit({ topic: 'job.try.a' }, key), 'unauthenticated')
  })
})

describe('back by hours', () => {
  test('work is submitted, leased and finished as ever', async () => {
    await submit({ topic: 'job.try.d' })
    offset = -5 * HOUR
    const { job_id } = (await submit({ topic: 'job.try.e' })).body
    const [own] = await claim('job.try.e')
    expect((await post('complete', [{ lease: own?.lease, outcome: 'succeeded' }])).body.leases[0].answer).toBe('ok')
    expect((await job(job_id)).status).toBe('succeeded')
  })

  test('a lease granted before is kept alive, ended and fenced as ever', async () => {
    const { job_id } = (await submit({ topic: 'job.try.f' })).body
    const [own] = await claim('job.try.f')
    offset = -5 * HOUR
    expect((await post('heartbeat', { leases: [{ lease: own?.lease }] })).body.leases[0].answer).toBe('ok')
    expect(await claim('job.try.f')).toEqual([])
    expect((await post('complete', [{ lease: own?.lease, outcome: 'succeeded' }])).body.leases[0].answer).toBe('ok')
    expect((await post('complete', [{ lease: own?.lease, outcome: 'failed' }])).body.leases[0].answer).toBe('conflict')
    expect((await job(job_id)).status).toBe('succeeded')
  })

  test('nothing that was refused opens: denied, rejected, revoked, expired', async () => {
    const asked = (await submit({ topic: 'job.ask.c' })).body
    await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${asked.approval_id}/reject`, { reason: 'no' })
    const made = (await call(plane, plane.keys.admin, 'POST', `${API}/keys`, { role: 'agent' })).body
    await call(plane, plane.keys.admin, 'DELETE', `${API}/keys/${made.key_id}`)
    for (const back of [-1, -1000, -5 * HOUR, -9000 * HOUR]) {
      offset = back
      expectProblem(await submit({ topic: 'job.try.a' }, made.key), 'unauthenticated')
      expectProblem(
        await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${asked.approval_id}/approve`, {
          grant_hash: asked.grant_hash,
        }),
        'approval_closed',
      )
      expectProblem(await submit({ topic: 'job.unknown' }), 'policy_denied')
      expect(await claim('job.ask.c')).toEqual([])
    }
  })

  test('an idempotency key still gives the first answer', async () => {
    const first = await submit({ topic: 'job.try.g' }, plane.keys.agent, { 'idempotency-key': 'clock' })
    offset = -5 * HOUR
    expect((await submit({ topic: 'job.try.g' }, plane.keys.agent, { 'idempotency-key': 'clock' })).body.job_id).toBe(
      first.body.job_id,
    )
  })
})

describe('a rate limit', () => {
  const spend = async (key: string, n: number) => {
    let accepted = 0
    for (let i = 0; i < n; i++) if ((await submit({ topic: 'job.count.a' }, key)).status === 202) accepted++
    return accepted
  }

  test('holds in one window', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:counted' })
    expect(await spend(key, 8)).toBe(5)
  })

  test('opens again after the clock went forward', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:forward' })
    await spend(key, 8)
    offset = 3 * HOUR
    expect(await spend(key, 8)).toBe(5)
  })

  test('does not open without end because the clock went back', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:back' })
    await spend(key, 8)
    offset = -3 * HOUR
    // At most one window's worth once more: what was counted under the later clock may be forgotten, the limit may not.
    expect(await spend(key, 30)).toBeLessThanOrEqual(5)
  })
})

describe('a clock that was a year ahead and was put right', () => {
  test('a limit spent under it opens again within a window', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:ahead' })
    offset = 9000 * HOUR
    for (let i = 0; i < 6; i++) await submit({ topic: 'job.count.a' }, key)
    offset = 2 * HOUR
    expect((await submit({ topic: 'job.count.a' }, key)).status).toBe(202)
  })

  test('a lease granted under it is lost when its worker is silent for longer than its timeout', async () => {
    offset = 9000 * HOUR
    const { job_id } = (await submit({ topic: 'job.try.i' })).body
    await claim('job.try.i')
    offset = HOUR
    await rebaseLeases(plane.world)
    offset = 2 * HOUR
    await sweep(plane.world)
    expect((await job(job_id)).status).not.toBe('running')
  })
})

describe('the log', () => {
  test('verifies though entries were written by a clock that went back and forth', { timeout: 30_000 }, async () => {
    for (const step of [0, 7, -7, 3, -100, 50, 0]) {
      offset = step * HOUR
      for (let i = 0; i < 3; i++) await submit({ topic: 'job.try.h', input: step })
    }
    await verifyAudit(plane)
    const before = (await call(plane, plane.keys.admin, 'GET', `${API}/audit/head`)).body.size
    await submit({ topic: 'job.try.h' })
    await expect
      .poll(async () => (await call(plane, plane.keys.admin, 'GET', `${API}/audit/head`)).body.size, {
        timeout: 10_000,
      })
      .toBeGreaterThan(before)
    await verifyAudit(plane)
  })

  test('and no fault was logged', () => {
    expect(faultsLogged(plane)).toEqual([])
  })
})
