import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import {
  breakCommit,
  codeOf,
  holdCommits,
  openPlane,
  problemOf,
  type Tenancy,
  type TestPlane,
  turns,
} from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { shortForm } from '../core/binding.js'
import { approve } from './approve.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { createKey, revokeKey } from './keys.js'

const policy = (rules: string) => `version: v1\ndefault_decision: DENY\nrules:\n${rules}\n`
const ASK =
  '  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h, valid_for: 2h } }'
const NEUTRAL = policy(`${ASK}\n  - { id: other, match: { topic: job.other.* }, decision: ALLOW }`)
const TIGHTER = policy(ASK.replace('REQUIRE_APPROVAL,', 'REQUIRE_APPROVAL, constraints: { timeout_ms: 5000 },'))
const DENIED = policy(`${ASK}\n  - { id: no, match: { topic: job.ask.it }, decision: DENY, reason: not any more }`)
const ALLOWED = policy('  - { id: ask, match: { topic: job.ask.* }, decision: ALLOW }')
const TWO = policy(ASK.replace('within: 1h', 'need: 2, within: 1h'))

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
const parked = async (t: Tenancy, as = t.agent) => {
  const { job_id, approval_id, grant_hash } = await t.submit({ topic: 'job.ask.it' }, null, as)
  return { job_id, approval_id: approval_id as string, grant_hash: grant_hash as string }
}

describe('an answer', () => {
  test(`${proves('A4', 'D4', 'L4')} with the echo of what was seen lets the job through both doors`, async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id } = await parked(t)
    expect(await t.claim(['job.ask.it'])).toEqual([])
    expect(await t.approve(approval_id)).toMatchObject({
      status: 'approved',
      answers: [{ by: 'person:ann', answer: 'approve' }],
    })
    const [lease] = await t.claim(['job.ask.it'])
    expect(lease?.job.job_id).toBe(job_id)
    const leased = (await t.facts()).find((fact) => fact.kind === 'job.leased')
    expect(leased).toMatchObject({ granted_by: approval_id })
    await held(t)
  })

  test('may echo grant hash, its short form, or job hash and snapshot; half an echo is none', async () => {
    const t = await plane.tenant(policy(ASK))
    const echoes = async (of: (a: { grant_hash: string; job_hash: string; snapshot: string }) => object) => {
      const { approval_id } = await parked(t)
      return codeOf(approve(plane.world, t.approver, approval_id, of(await t.approval(approval_id))))
    }
    // Equal jobs share their hashes, so a short form names several questions alike; the id says which is answered.
    expect(await echoes((a) => ({ grant_hash: a.grant_hash }))).toBe('done')
    expect(await echoes((a) => ({ grant_hash: shortForm(a.grant_hash) }))).toBe('done')
    expect(await echoes((a) => ({ job_hash: a.job_hash, policy_snapshot: a.snapshot }))).toBe('done')
    expect(await echoes((a) => ({ job_hash: a.job_hash, policy_snapshot: shortForm(a.snapshot) }))).toBe('done')
    expect(await echoes((a) => ({ job_hash: a.job_hash }))).toBe('approval_stale')
    expect(await echoes((a) => ({ policy_snapshot: a.snapshot }))).toBe('approval_stale')
    expect(await echoes(() => ({}))).toBe('approval_stale')
    expect(await echoes((a) => ({ grant_hash: a.job_hash }))).toBe('approval_stale')
  })

  test(`${proves('A4')} with a wrong echo is stale before it is anything else, changes nothing, and is audited`, async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id } = await parked(t)
    const before = [await t.job(job_id), await t.approval(approval_id)]
    const own = t.caller('approver', 'agent:bot')
    const stranger = t.caller('viewer', 'person:zoe')
    for (const who of [own, stranger, t.approver]) {
      const problem = await problemOf(t.approve(approval_id, who, 'f'.repeat(64)))
      expect(problem).toMatchObject({
        code: 'approval_stale',
        extra: { grant_hash: (await t.approval(approval_id)).grant_hash },
      })
    }
    expect([await t.job(job_id), await t.approval(approval_id)]).toEqual(before)
    expect((await t.kinds()).filter((kind) => kind === 'approval.refused')).toHaveLength(3)
    await held(t)
  })

  test('that is refused over and over is on record once at once, and then counted', async () => {
    const t = await plane.tenant(policy(ASK))
    const { approval_id } = await parked(t)
    for (let n = 0; n < 100; n++)
      expect(await codeOf(t.approve(approval_id, t.approver, 'f'.repeat(64)))).toBe('approval_stale')
    const refused = async () => (await t.facts()).filter((fact) => fact.kind === 'approval.refused')
    expect(await refused()).toMatchObject([{ approval_id, actor: 'person:ann', error_code: 'approval_stale' }])
    plane.clock.advance(5000)
    await t.sweep()
    expect((await refused()).slice(1)).toMatchObject([{ approval_id, error_code: 'approval_stale', count: 99 }])
    await held(t)
  })

  test('that is refused while the store is away is on record when it is refused again', async () => {
    const t = await plane.tenant(policy(ASK))
    const { approval_id } = await parked(t)
    breakCommit(plane.db, 'before')
    const wrong = () => codeOf(t.approve(approval_id, t.approver, 'f'.repeat(64)))
    expect(await wrong()).not.toBe('approval_stale')
    expect((await t.kinds()).filter((kind) => kind === 'approval.refused')).toEqual([])
    expect(await wrong()).toBe('approval_stale')
    expect((await t.kinds()).filter((kind) => kind === 'approval.refused')).toHaveLength(1)
    await held(t)
  })

  test(`${proves('A4')} of the one who asked, or whose agent it is, is refused, with every role`, async () => {
    const t = await plane.tenant(policy(ASK))
    const proxy = t.caller('admin', 'person:root', { act_as: ['agent:bot'] })
    const { answer } = await t.trySubmit({ topic: 'job.ask.it', agent: 'agent:bot' }, null, proxy)
    expect(await codeOf(t.approve(answer.approval_id as string, t.admin))).toBe('self_approval')
    expect(await codeOf(t.approve(answer.approval_id as string, t.caller('approver', 'agent:bot')))).toBe(
      'self_approval',
    )
    expect(await codeOf(t.approve(answer.approval_id as string, t.caller('viewer', 'person:zoe')))).toBe(
      'not_an_approver',
    )
    expect((await t.job(answer.job_id)).status).toBe('pending_approval')
    expect(await codeOf(t.approve(answer.approval_id as string))).toBe('done')
    await held(t)
  })

  test('once given is not given again; a no ends the job', async () => {
    const t = await plane.tenant(policy(ASK))
    const first = await parked(t)
    await t.approve(first.approval_id)
    expect(await codeOf(t.approve(first.approval_id, t.otherApprover))).toBe('approval_closed')
    expect(await codeOf(t.reject(first.approval_id))).toBe('approval_closed')
    const second = await parked(t)
    expect(await t.reject(second.approval_id)).toMatchObject({ status: 'rejected' })
    expect(await t.job(second.job_id)).toMatchObject({ status: 'rejected', status_reason: 'rejected' })
    expect(await codeOf(t.approve(second.approval_id))).toBe('approval_closed')
    await held(t)
  })

  test('of another tenant’s approver meets nothing', async () => {
    const [t, u] = [await plane.tenant(policy(ASK)), await plane.tenant(policy(ASK))]
    const { approval_id, grant_hash } = await parked(t)
    expect(await codeOf(approve(plane.world, u.approver, approval_id, { grant_hash }))).toBe('not_found')
  })

  test('N of M: distinct people, each once', async () => {
    const t = await plane.tenant(TWO)
    const { job_id, approval_id } = await parked(t)
    expect(await t.approve(approval_id)).toMatchObject({ status: 'pending' })
    expect(await codeOf(t.approve(approval_id))).toBe('approval_closed')
    expect((await t.job(job_id)).status).toBe('pending_approval')
    expect(await t.claim(['job.ask.it'])).toEqual([])
    expect(await t.approve(approval_id, t.otherApprover)).toMatchObject({ status: 'approved' })
    expect((await t.job(job_id)).status).toBe('queued')
    await held(t)
  })
})

describe('time', () => {
  test(`${proves('D4')} an unanswered question expires, and an expiry never allows`, async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id } = await parked(t)
    plane.clock.advance(3_600_000)
    expect(await codeOf(t.approve(approval_id))).toBe('approval_closed')
    await t.sweep()
    expect(await t.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'approval_expired' })
    expect(await t.approval(approval_id)).toMatchObject({ status: 'expired' })
    expect(await t.claim(['job.ask.it'])).toEqual([])
    await held(t)
  })

  test('an answer is good for as long as the rule says; a job not leased by then is asked about again', async () => {
    const t = await plane.tenant(
      policy(ASK).replace('rules:', 'job_classes:\n  - { topic: job.ask.*, queue_timeout_ms: 86400000 }\nrules:'),
    )
    const { job_id, approval_id } = await parked(t)
    await t.approve(approval_id)
    plane.clock.advance(7_200_000)
    expect(await t.claim(['job.ask.it'])).toEqual([])
    const job = await t.job(job_id)
    expect(job).toMatchObject({ status: 'pending_approval', status_reason: 'approval_void' })
    expect(job.approval_id).not.toBe(approval_id)
    await t.approve(job.approval_id as string)
    expect(await t.claim(['job.ask.it'])).toHaveLength(1)
    await held(t)
  })

  test('an answer counts for the retries of its job', async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id } = await parked(t)
    await t.approve(approval_id)
    const [first] = await t.claim(['job.ask.it'])
    await t.fail(first?.lease as string)
    plane.clock.advance(30_000)
    expect((await t.claim(['job.ask.it']))[0]?.job.job_id).toBe(job_id)
    await held(t)
  })
})

describe('a new snapshot', () => {
  test(`${proves('D4')} that changes nothing for the job rebinds the question: the old echo is stale, the new one counts`, async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id, grant_hash } = await parked(t)
    await t.activate(NEUTRAL)
    expect(await t.rebind()).toBe(1)
    const now = await t.approval(approval_id)
    expect(now.status).toBe('pending')
    expect(now.grant_hash).not.toBe(grant_hash)
    const problem = await problemOf(t.approve(approval_id, t.approver, grant_hash))
    expect(problem).toMatchObject({ code: 'approval_stale', extra: { approval_id, grant_hash: now.grant_hash } })
    await t.approve(approval_id, t.approver, now.grant_hash)
    expect((await t.job(job_id)).status).toBe('queued')
    await held(t)
  })

  test('asked before the rebinding has come round, the door is asked all the same', async () => {
    const t = await plane.tenant(policy(ASK))
    const { approval_id, grant_hash } = await parked(t)
    await t.activate(NEUTRAL)
    const problem = await problemOf(t.approve(approval_id, t.approver, grant_hash))
    expect(problem.code).toBe('approval_stale')
    expect(problem.extra.grant_hash).toBe((await t.approval(approval_id)).grant_hash)
    expect(await codeOf(t.approve(approval_id, t.approver, problem.extra.grant_hash as string))).toBe('done')
    await held(t)
  })

  test(`${proves('D4', 'A4')} that changes what would be approved voids the question and asks anew`, async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id, grant_hash } = await parked(t)
    await t.activate(TIGHTER)
    const problem = await problemOf(t.approve(approval_id, t.approver, grant_hash))
    expect(problem.code).toBe('approval_stale')
    expect((await t.approval(approval_id)).status).toBe('void')
    const job = await t.job(job_id)
    expect(job.status).toBe('pending_approval')
    expect(problem.extra.approval_id).toBe(job.approval_id)
    await t.approve(job.approval_id as string)
    const [lease] = await t.claim(['job.ask.it'])
    expect(lease?.remaining_ms).toBe(5000)
    await held(t)
  })

  test(`${proves('D4')} an answered question still counts after a neutral one, and is void after one that matters`, async () => {
    const t = await plane.tenant(policy(ASK))
    const [kept, lost] = [await parked(t), await parked(t)]
    await t.approve(kept.approval_id)
    plane.clock.advance(1)
    await t.approve(lost.approval_id)
    await t.activate(NEUTRAL)
    expect((await t.claim(['job.ask.it']))[0]?.job.job_id).toBe(kept.job_id)
    await t.activate(TIGHTER)
    expect(await t.claim(['job.ask.it'])).toEqual([])
    const job = await t.job(lost.job_id)
    expect(job).toMatchObject({ status: 'pending_approval', status_reason: 'approval_void' })
    expect(job.approval_id).not.toBe(lost.approval_id)
    await held(t)
  })

  test(`${proves('L4', 'D4')} that denies wins over any answer`, async () => {
    const t = await plane.tenant(policy(ASK))
    const [asking, answered] = [await parked(t), await parked(t)]
    await t.approve(answered.approval_id)
    await t.activate(DENIED)
    expect(await problemOf(t.approve(asking.approval_id, t.approver, asking.grant_hash))).toMatchObject({
      code: 'policy_denied',
      extra: { reason: 'not any more' },
    })
    expect(await t.job(asking.job_id)).toMatchObject({ status: 'denied', status_reason: 'denied_at_approval' })
    expect(await t.claim(['job.ask.it'])).toEqual([])
    expect(await t.job(answered.job_id)).toMatchObject({ status: 'denied', status_reason: 'denied_at_dispatch' })
    await held(t)
  })

  test('that allows lets the job go without an answer, at the rebinding', async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id } = await parked(t)
    await t.activate(ALLOWED)
    await t.rebind()
    expect(await t.job(job_id)).toMatchObject({ status: 'queued', approval_id: null })
    expect(await t.claim(['job.ask.it'])).toHaveLength(1)
    await held(t)
  })

  test('a question half answered keeps its answers through a neutral one', async () => {
    const t = await plane.tenant(TWO)
    const { job_id, approval_id } = await parked(t)
    await t.approve(approval_id)
    await t.activate(`${TWO}  - { id: other, match: { topic: job.other.* }, decision: ALLOW }\n`)
    await t.rebind()
    await t.approve(approval_id, t.otherApprover)
    expect((await t.job(job_id)).status).toBe('queued')
    await held(t)
  })

  test(`${proves('D4')} that comes between the decision and the commit of an answer sends it back`, async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id, approval_id } = await parked(t)
    const other = t.on(plane.node())
    const hold = holdCommits(plane.db)
    const answering = codeOf(t.approve(approval_id))
    await turns(() => hold.waiting() === 1)
    plane.db.tap = null
    await other.activate(DENIED)
    hold.release()
    expect(await answering).toBe('policy_denied')
    expect((await t.job(job_id)).status).toBe('denied')
    await held(t)
  })

  test('a question whose time is over is not revived by it', async () => {
    const t = await plane.tenant(policy(ASK))
    const { job_id } = await parked(t)
    plane.clock.advance(3_600_000)
    await t.activate(ALLOWED)
    await t.rebind()
    await t.sweep()
    expect(await t.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'approval_expired' })
    await held(t)
  })
})

describe('an answer counts while who gave it does', () => {
  const app = {
    principal: 'person:app',
    kind: 'person',
    role: 'approver',
    team: null,
    name: null,
    email: null,
  } as const
  /** A job that person:app let through with a key of theirs, and what shuts them out. */
  async function letThrough(policy: string) {
    const t = await plane.tenant(policy)
    await applyDirectory(t.world, t.admin, { teams: [], principals: [{ ...app, terms: null }] }, 'api')
    const { row } = await createKey(t.world, t.tenant, 'person:root', { role: 'approver', principal: 'person:app' })
    const { job_id, approval_id } = await parked(t)
    await t.approve(approval_id, t.caller('approver', 'person:app', { key_id: row.key_id }))
    const elsewhere = plane.node()
    const shutOut = {
      'the key is revoked': () => revokeKey(elsewhere, t.tenant, 'person:root', row.key_id),
      'the person is disabled': () => disablePrincipal(elsewhere, t.admin, 'person:app'),
    }
    return { t, job_id, approval_id, shutOut }
  }
  const ways = ['the key is revoked', 'the person is disabled'] as const

  test.each(ways)('what waits for a worker does not run once %s: it is asked about again', async (way) => {
    const { t, job_id, approval_id, shutOut } = await letThrough(policy(ASK))
    await shutOut[way]()
    // The first look is this node's, which has not heard: its commit is refused. The second is under what holds now.
    for (let look = 0; look < 2; look++) expect(await t.claim(['job.ask.it'])).toEqual([])
    const job = await t.job(job_id)
    expect(job).toMatchObject({ status: 'pending_approval', status_reason: 'approval_void' })
    expect((await t.approval(approval_id)).status).toBe('void')
    await t.approve(job.approval_id as string)
    expect(await t.claim(['job.ask.it'])).toHaveLength(1)
    await held(t)
  })

  test.each(ways)('what runs begins no further effect once %s, and is asked to stop', async (way) => {
    const { t, job_id, shutOut } = await letThrough(policy(ASK))
    const [leased] = await t.claim(['job.ask.it'])
    const lease = leased?.lease as string
    expect((await t.begin(lease, 'one')).status).toBe('begun')
    await t.commit(lease, 'one')
    await shutOut[way]()
    expect(await codeOf(t.begin(lease, 'two'))).toBe('effect_refused')
    expect((await t.job(job_id)).cancel_requested).toBe(true)
    await held(t)
  })

  test('of two answers the other still counts, and one is asked for again', async () => {
    const { t, job_id, shutOut } = await letThrough(TWO)
    await t.approve((await t.job(job_id)).approval_id as string)
    await shutOut['the key is revoked']()
    for (let look = 0; look < 2; look++) expect(await t.claim(['job.ask.it'])).toEqual([])
    expect((await t.job(job_id)).status).toBe('pending_approval')
  })

  test('a key that merely expired, as a session does, takes no answer back; nor does a yes whose time is over end what runs', async () => {
    const { t, job_id } = await letThrough(policy(ASK))
    await plane.db.query('UPDATE keys SET expires_at = $2 WHERE tenant = $1', [t.tenant, plane.clock.now()])
    const [leased] = await t.claim(['job.ask.it'])
    await plane.db.query('UPDATE approvals SET valid_until = $2 WHERE tenant = $1', [t.tenant, plane.clock.now()])
    expect((await t.begin(leased?.lease as string, 'one')).status).toBe('begun')
    expect((await t.job(job_id)).cancel_requested).toBe(false)
  })
})
