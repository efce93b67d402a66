import { afterAll, beforeAll, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { JOB_STATUSES, type JobStatus, transition } from '../core/job.js'

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 2, timeout_ms: 60000, heartbeat_ms: 1000, queue_timeout_ms: 5000 }
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
const jobOf = async (
  lease: Promise<{ job: { job_id: string }; lease: string }>,
  then: (lease: string) => Promise<unknown>,
) => {
  const { job, lease: id } = await lease
  await then(id)
  return job.job_id
}

/** A job in every status, by the way it really gets there. */
const INTO: Record<JobStatus, (t: Tenancy) => Promise<string>> = {
  pending_approval: async (t) => (await t.submit({ topic: 'job.ask.it' })).job_id,
  queued: async (t) => (await t.submit({ topic: 'job.do.it' })).job_id,
  running: (t) => jobOf(t.lease({ topic: 'job.do.it' }), async () => {}),
  retrying: (t) => jobOf(t.lease({ topic: 'job.do.it' }), (lease) => t.fail(lease)),
  ambiguous: (t) =>
    jobOf(t.lease({ topic: 'job.do.it' }), async (lease) => {
      await t.begin(lease, 'pay')
      await t.fail(lease)
    }),
  succeeded: (t) => jobOf(t.lease({ topic: 'job.do.it' }), (lease) => t.succeed(lease)),
  quarantined: (t) => jobOf(t.lease({ topic: 'job.do.it' }), (lease) => t.succeed(lease, PRIVATE_KEY)),
  rejected: async (t) => {
    const { job_id, approval_id } = await t.submit({ topic: 'job.ask.it' })
    await t.reject(approval_id as string)
    return job_id
  },
  expired: async (t) => {
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    plane.clock.advance(5000)
    await t.sweep()
    return job_id
  },
  cancelled: async (t) => {
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    await t.cancel(job_id)
    return job_id
  },
  dead_letter: (t) => jobOf(t.lease({ topic: 'job.do.it' }), (lease) => t.fail(lease, 'terminal')),
  discarded: async (t) => {
    const job_id = await INTO.dead_letter(t)
    await t.discard(job_id)
    return job_id
  },
  denied: async (t) => {
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    await t.activate(`${POLICY}  - { id: no, match: { topic: job.do.* }, decision: DENY }\n`)
    await t.claim(['job.do.it'])
    await t.activate(POLICY)
    return job_id
  },
}

test.each(JOB_STATUSES)(
  'a job that is %s takes every event the table lists and answers 409 to the rest',
  async (status) => {
    const events: [name: string, legal: boolean, act: (t: Tenancy, job_id: string) => Promise<unknown>][] = [
      ['cancel', status === 'running' || transition(status, 'cancel') !== null, (t, job_id) => t.cancel(job_id)],
      ['replay', transition(status, 'replay') !== null, (t, job_id) => t.replay(job_id)],
      ['discard', status === 'dead_letter', (t, job_id) => t.discard(job_id)],
      ['release', transition(status, 'release') !== null, (t, job_id) => t.release(job_id)],
      ['discard the result', status === 'quarantined', (t, job_id) => t.discardResult(job_id)],
      ['resolve', status === 'ambiguous', (t, job_id) => t.resolve(job_id, 'pay', true)],
    ]
    for (const [name, legal, act] of events) {
      const t = await plane.tenant(POLICY)
      const job_id = await INTO[status](t)
      const before = await t.job(job_id)
      expect(before.status).toBe(status)
      if (legal) {
        await act(t, job_id)
        expect((await t.job(job_id)).version, name).toBeGreaterThan(before.version)
        continue
      }
      const problem = await problemOf(act(t, job_id))
      expect(problem, name).toMatchObject({ code: 'illegal_transition', status: 409, extra: { job_status: status } })
      expect(await t.job(job_id), name).toEqual(before)
      await held(t)
    }
  },
)

test(`${proves('L3')} waiting work is cancelled at once; its question is void`, async () => {
  const t = await plane.tenant(POLICY)
  const { job_id, approval_id } = await t.submit({ topic: 'job.ask.it' })
  expect(await t.cancel(job_id)).toMatchObject({ status: 'cancelled', status_reason: 'cancelled' })
  expect(await t.approval(approval_id)).toMatchObject({ status: 'void' })
  expect(await codeOf(t.approve(approval_id as string))).toBe('approval_closed')
  await held(t)
})

test(`${proves('L3')} running work is asked to stop: the heartbeat says cancel and the report ends it, without a retry`, async () => {
  const t = await plane.tenant(POLICY)
  const { lease, job } = await t.lease({ topic: 'job.do.it' })
  expect(await t.cancel(job.job_id)).toMatchObject({ status: 'running', cancel_requested: true })
  expect(await t.cancel(job.job_id)).toMatchObject({ status: 'running', cancel_requested: true })
  expect((await t.beat(lease)).answer).toBe('cancel')
  await t.fail(lease)
  expect(await t.job(job.job_id)).toMatchObject({ status: 'cancelled', cancel_requested: false })
  expect((await t.kinds(job.job_id)).filter((kind) => kind === 'job.cancel_requested')).toHaveLength(1)
  await held(t)
})

test('a worker that goes silent after a cancel is not followed by another', async () => {
  const t = await plane.tenant(POLICY)
  const { job } = await t.lease({ topic: 'job.do.it' })
  await t.cancel(job.job_id)
  plane.clock.advance(3000)
  await t.sweep()
  expect((await t.job(job.job_id)).status).toBe('cancelled')
  await held(t)
})

test('what finished first is what happened', async () => {
  const t = await plane.tenant(POLICY)
  const { lease, job } = await t.lease({ topic: 'job.do.it' })
  await t.cancel(job.job_id)
  await t.succeed(lease, 'made it')
  expect((await t.job(job.job_id)).status).toBe('succeeded')
  await held(t)
})

test('an agent cancels its own jobs only; other tenants have none', async () => {
  const t = await plane.tenant(POLICY)
  const u = await plane.tenant(POLICY)
  const { job_id } = await t.submit({ topic: 'job.do.it' })
  expect(await codeOf(t.cancel(job_id, t.otherAgent))).toBe('not_found')
  expect(await codeOf(u.cancel(job_id, u.admin))).toBe('not_found')
  expect(await codeOf(t.cancel(job_id, t.operator))).toBe('done')
})
