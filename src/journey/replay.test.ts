import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { replay } from './replay.js'

const policy = (decision: string) => `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 2, timeout_ms: 60000, heartbeat_ms: 1000 }
rules:
  - { id: do, match: { topic: job.do.* }, decision: ${decision} }
`
const [ALLOW, ASK, DENY] = [policy('ALLOW'), policy('REQUIRE_APPROVAL'), policy('DENY')]
const IT = ['job.do.it']

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])

/** A dead letter that paid on the way. */
async function dead(t: Tenancy): Promise<string> {
  const { job, lease } = await t.lease({ topic: 'job.do.it' })
  await t.begin(lease, 'pay')
  await t.commit(lease, 'pay', { receipt: 7 })
  await t.fail(lease, 'terminal')
  return job.job_id
}

describe('a replay', () => {
  test(`${proves('R3', 'R5')} keeps job, run and committed effects, and has a new budget of attempts`, async () => {
    const t = await plane.tenant(ALLOW)
    const job_id = await dead(t)
    const before = await t.job(job_id)
    expect(await t.replay(job_id)).toMatchObject({
      job_id,
      run_id: before.run_id,
      status: 'queued',
      error_code: null,
      respond_by: null,
      finished_at: null,
    })
    for (const attempt of [2, 3]) {
      const [lease] = await t.claim(IT)
      expect(lease).toMatchObject({ attempt, job: { job_id }, effects: [{ key: 'pay', result: { receipt: 7 } }] })
      await t.fail(lease?.lease as string)
      plane.clock.advance(30_000)
    }
    expect(await t.job(job_id)).toMatchObject({ status: 'dead_letter', status_reason: 'attempts_exhausted' })
    await held(t)
  })

  test(`${proves('L4', 'R3')} passes both doors again: denied now is denied, and stays a dead letter`, async () => {
    const t = await plane.tenant(ALLOW)
    const [first, second] = [await dead(t), await dead(t)]
    await t.replay(second)
    await t.activate(DENY)
    expect(await problemOf(t.replay(first))).toMatchObject({ code: 'policy_denied', extra: { rules: ['do'] } })
    expect((await t.job(first)).status).toBe('dead_letter')
    expect(await t.kinds(first)).toContain('job.refused')
    expect(await t.claim(IT)).toEqual([])
    expect((await t.job(second)).status).toBe('denied')
    await held(t)
  })

  test(`${proves('A4', 'R3')} needs a fresh approval where one is required: the old yes was for the old budget`, async () => {
    const t = await plane.tenant(ASK)
    const { job_id, approval_id } = await t.submit({ topic: 'job.do.it' })
    await t.approve(approval_id as string)
    const [lease] = await t.claim(IT)
    await t.fail(lease?.lease as string, 'terminal')
    const replayed = await t.replay(job_id)
    expect(replayed.status).toBe('pending_approval')
    expect(replayed.approval_id).not.toBe(approval_id)
    expect(await t.claim(IT)).toEqual([])
    // Who asked for it has not changed by replaying it.
    expect(await codeOf(t.approve(replayed.approval_id as string, t.caller('approver', 'agent:bot')))).toBe(
      'self_approval',
    )
    await t.approve(replayed.approval_id as string)
    expect(await t.claim(IT)).toHaveLength(1)
    await held(t)
  })

  test('is raised by who replays it, however often it is asked anew', async () => {
    const tighter = (ms: number) =>
      ASK.replace('REQUIRE_APPROVAL', `REQUIRE_APPROVAL, constraints: { timeout_ms: ${ms} }`)
    const asked = async (t: Tenancy, job_id: string) => (await t.job(job_id)).approval_id as string
    const replayed = async (by: string) => {
      const t = await plane.tenant(by)
      const job_id = by === ALLOW ? await dead(t) : await deadAfterYes(t)
      await replay(t.world, t.admin, job_id, null)
      return { t, job_id }
    }
    const deadAfterYes = async (t: Tenancy) => {
      const { approval_id, job_id } = await t.submit({ topic: 'job.do.it' })
      await t.approve(approval_id as string)
      const [lease] = await t.claim(IT)
      await t.fail(lease?.lease as string, 'terminal')
      return job_id
    }
    const first = await replayed(ASK)
    const seen = [await asked(first.t, first.job_id)]
    const refused = async ({ t, job_id }: typeof first) => {
      expect(await codeOf(t.approve(await asked(t, job_id), t.admin))).toBe('self_approval')
      seen.push(await asked(t, job_id))
    }
    await refused(first)
    // After an activation that binds it to something else,
    await first.t.activate(tighter(5000))
    await first.t.rebind()
    await refused(first)
    // and where the second door asks again what was answered.
    await first.t.approve(await asked(first.t, first.job_id))
    await first.t.activate(tighter(4000))
    expect(await first.t.claim(IT)).toEqual([])
    await refused(first)
    expect(new Set(seen).size).toBe(3)
    // Where nobody was asked when it was replayed, and somebody is now.
    const free = await replayed(ALLOW)
    await free.t.activate(ASK)
    expect(await free.t.claim(IT)).toEqual([])
    await refused(free)
    await held(first.t)
    await held(free.t)
  })

  test('is for dead letters, and for those who may', async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    expect(await codeOf(t.replay(job_id))).toBe('illegal_transition')
    expect(await codeOf(t.replay('job_nobody'))).toBe('not_found')
  })
})

test(`${proves('R3')} a discarded dead letter stays readable and takes nothing more`, async () => {
  const t = await plane.tenant(ALLOW)
  const job_id = await dead(t)
  expect(await t.discard(job_id)).toMatchObject({
    status: 'discarded',
    status_reason: 'discarded',
    error_code: 'failed',
  })
  expect(await codeOf(t.replay(job_id))).toBe('illegal_transition')
  await held(t)
})
