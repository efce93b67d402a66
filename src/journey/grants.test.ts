import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, holdCommits, openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { storeOf } from '../../test/sim/stores.js'
import type { CreateGrant } from '../contract/grants.js'
import type { GrantRow } from '../core/grant.js'
import { UNBOUND } from '../core/principal.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { createGrant, revokeGrant } from './grants.js'
import { createKey, revokeKey } from './keys.js'

/** Approvals given beforehand: what they cover, for how long, how often, and how they end. */
const HOUR = 3_600_000
const POLICY = `
version: v1
default_decision: DENY
high_risk: [{ topic: job.ask.danger }]
rules:
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: two, match: { topic: job.two.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2 } }
  - { id: fin, match: { topic: job.fin.* }, decision: REQUIRE_APPROVAL, approval: { from: [team:finance] } }
  - { id: lead, match: { topic: job.lead.* }, decision: REQUIRE_APPROVAL, approval: { levels: [ { from: [role:approver] }, { from: [lead:owner] } ] } }
`
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
const grant = (t: Tenancy, more: Partial<CreateGrant> = {}, as = t.approver): Promise<GrantRow> =>
  createGrant(t.world, as, {
    agent: 'agent:bot',
    topic: 'job.ask.*',
    uses: 2,
    expires_at: plane.clock.now() + HOUR,
    reason: 'routine',
    ...more,
  })
const statusOf = async (t: Tenancy, topic = 'job.ask.it', input?: object, as = t.agent) =>
  (await t.submit({ topic, ...(input === undefined ? {} : { input: input as never }) }, null, as)).status

describe('a grant', () => {
  test('of who was disabled since counts no more, of jobs that wait neither, on every node', async () => {
    const t = await plane.tenant(POLICY)
    const ann = { principal: 'person:ann', kind: 'person' as const, role: 'approver' as const, team: null }
    const none = { name: null, email: null, terms: null }
    await applyDirectory(t.world, t.admin, { teams: [], principals: [{ ...ann, ...none }] }, 'api')
    await grant(t)
    const { job_id, status } = await t.submit({ topic: 'job.ask.it' })
    expect(status).toBe('queued')
    await disablePrincipal(plane.node(), t.admin, 'person:ann')
    expect(await statusOf(t)).toBe('pending_approval')
    expect(await t.claim(['job.ask.it'], { capacity: 9 })).toEqual([])
    expect((await t.job(job_id)).status).toBe('pending_approval')
    await held(t)
  })

  test(`${proves('A5')} lets through as many jobs as it has uses, each through both doors, and then people are asked again`, async () => {
    const t = await plane.tenant(POLICY)
    const { grant_id } = await grant(t)
    const answer = await t.submit({ topic: 'job.ask.it' })
    expect(answer).toMatchObject({ status: 'queued', decision: 'REQUIRE_APPROVAL' })
    expect(await t.job(answer.job_id)).toMatchObject({ granted_by: grant_id })
    expect(await statusOf(t)).toBe('queued')
    expect(await statusOf(t)).toBe('pending_approval')
    expect(await t.claim(['job.ask.it'], { capacity: 9 })).toHaveLength(2)
    const leased = (await t.facts()).filter(({ kind }) => kind === 'job.leased')
    expect(leased.map(({ granted_by }) => granted_by)).toEqual([grant_id, grant_id])
    await held(t)
  })

  test('of a retry takes no further use', async () => {
    const t = await plane.tenant(POLICY)
    await grant(t, { uses: 1 })
    expect(await statusOf(t)).toBe('queued')
    const [first] = await t.claim(['job.ask.it'])
    await t.fail(first?.lease ?? '')
    plane.clock.advance(60_000)
    expect(await t.claim(['job.ask.it'])).toHaveLength(1)
    await held(t)
  })

  test.each([
    ['another agent', 'job.ask.it', { agent: 'agent:other' }, undefined],
    ['another topic', 'job.ask.it', { topic: 'job.ask.that' }, undefined],
    ['an input that does not fit', 'job.ask.it', { when: 'input.amount <= 20' }, { amount: 21 }],
    ['an input its condition fails on', 'job.ask.it', { when: 'input.amount <= 20' }, {}],
    [
      'an input its condition is too long at',
      'job.ask.it',
      { when: 'input.l.all(a, a == 0)' },
      { l: Array(20_000).fill(0) },
    ],
    ['what the agent only claims', 'job.ask.it', { when: `action_type == 'read'` }, {}],
    ['high risk', 'job.ask.danger', {}, undefined],
    ['a flow of two people', 'job.two.it', { topic: 'job.>' }, undefined],
    ['a flow that asks somebody else', 'job.fin.it', { topic: 'job.>' }, undefined],
    ['a flow of which they are one level', 'job.lead.it', { topic: 'job.>' }, undefined],
  ])(`${proves('A5')} covers not %s`, async (_what, topic, more, input) => {
    const t = await plane.tenant(POLICY)
    await grant(t, more)
    expect(await statusOf(t, topic, input)).toBe('pending_approval')
    await held(t)
  })

  test('covers what fits its condition', async () => {
    const t = await plane.tenant(POLICY)
    await grant(t, { when: 'input.amount <= 20' })
    expect(await statusOf(t, 'job.ask.it', { amount: 20 })).toBe('queued')
    await grant(t, { when: 'input.l.all(a, a == 0)' })
    expect(await statusOf(t, 'job.ask.it', { l: Array(2000).fill(0) })).toBe('queued')
  })

  test('covers nothing that whoever made it asks for', async () => {
    const t = await plane.tenant(POLICY)
    await grant(t)
    const acting = t.caller('agent', 'person:ann', { act_as: ['agent:bot'] })
    expect((await t.submit({ topic: 'job.ask.it', agent: 'agent:bot' }, null, acting)).status).toBe('pending_approval')
  })

  test('is not made by who could ask for themselves, nor without sense', async () => {
    const t = await plane.tenant(POLICY)
    await createKey(t.world, t.tenant, 'person:ann', { role: 'agent', principal: 'agent:bot' })
    expect(await codeOf(grant(t))).toBe('self_approval')
    expect(await codeOf(grant(t, {}, t.caller('agent', 'agent:bot')))).toBe('self_approval')
    expect((await t.kinds()).filter((kind) => kind === 'grant.refused')).toHaveLength(2)
    const faulty = [{ expires_at: plane.clock.now() }, { expires_at: plane.clock.now() + 91 * 24 * HOUR }]
    for (const more of [...faulty, { topic: 'Job' }, { when: 'input.' }, { when: '1 + 1' }])
      expect(await codeOf(grant(t, more, t.otherApprover))).toBe('invalid')
    await held(t)
  })

  test(`${proves('A5')} that is revoked, or over, lets nothing more through, not even what is queued by it`, async () => {
    const t = await plane.tenant(POLICY)
    const other = t.on(plane.node())
    const { grant_id } = await grant(t, { uses: 5 })
    const [{ job_id }, later] = [
      await other.submit({ topic: 'job.ask.it' }),
      await other.submit({ topic: 'job.ask.it' }),
    ]
    await revokeGrant(t.world, t.otherApprover, grant_id)
    expect(await statusOf(other)).toBe('pending_approval')
    expect(await other.claim(['job.ask.it'], { capacity: 9 })).toEqual([])
    expect(await t.job(job_id)).toMatchObject({ status: 'pending_approval', granted_by: null })
    await t.approve((await t.job(later.job_id)).approval_id as string)
    expect(await other.claim(['job.ask.it'])).toHaveLength(1)

    await grant(t, { topic: 'job.ask.soon', expires_at: plane.clock.now() + 1000 })
    expect(await statusOf(t, 'job.ask.soon')).toBe('queued')
    plane.clock.advance(1000)
    expect(await t.claim(['job.ask.soon'])).toEqual([])
    expect(await statusOf(t, 'job.ask.soon')).toBe('pending_approval')
    await held(t)
  })

  test('of a key that was revoked since counts no more', async () => {
    const t = await plane.tenant(POLICY)
    const { row } = await createKey(t.world, t.tenant, 'person:root', { role: 'approver', principal: 'person:cal' })
    await grant(t, {}, t.caller('approver', 'person:cal', { key_id: row.key_id }))
    expect(await statusOf(t)).toBe('queued')
    await revokeKey(t.world, t.tenant, 'person:root', row.key_id)
    expect(await statusOf(t)).toBe('pending_approval')
    expect(await t.claim(['job.ask.it'])).toEqual([])
    await held(t)
  })
})

describe('nobody uses a grant of their own', () => {
  test(`${proves('A5')} by a key of the agent that they make after it, at neither door`, async () => {
    const t = await plane.tenant(POLICY)
    await grant(t)
    expect(await statusOf(t)).toBe('queued')
    await createKey(t.world, t.tenant, 'person:ann', { role: 'agent', principal: 'agent:bot' })
    expect(await statusOf(t)).toBe('pending_approval')
    expect(await t.claim(['job.ask.it'])).toEqual([])
    await held(t)
  })

  test(`${proves('A5')} by a key of another that may act as the agent`, async () => {
    const t = await plane.tenant(POLICY)
    const made = { role: 'agent' as const, principal: 'agent:front', act_as: ['agent:bot'] }
    const { row } = await createKey(t.world, t.tenant, 'person:ann', made)
    await grant(t)
    const front = t.caller('agent', 'agent:front', { key_id: row.key_id, act_as: ['agent:bot'] })
    const ask = () => t.submit({ topic: 'job.ask.it', agent: 'agent:bot' }, null, front)
    expect((await ask()).status).toBe('pending_approval')
    // Of somebody who made no key it is good for the same job.
    await grant(t, {}, t.otherApprover)
    expect((await ask()).status).toBe('queued')
    await held(t)
  })
})

describe('a grant stands in what its maker was and still is', () => {
  const one = (
    principal: string,
    kind: 'person' | 'agent',
    role: 'approver' | 'viewer' | 'admin' | 'agent',
    team: string | null = null,
  ) => ({ principal, kind, role, team, name: null, email: null, terms: kind === 'agent' ? UNBOUND : null }) as const
  const team = (name: string, lead: string) => ({ team: name, name: null, leads: [lead], on_call: [] })
  const declare = (t: Tenancy, principals: ReturnType<typeof one>[], teams: ReturnType<typeof team>[] = []) =>
    applyDirectory(t.world, t.admin, { teams, principals } as never, 'api')
  const LED = `
version: v1
default_decision: DENY
rules:
  - { id: led, match: { topic: job.led.* }, decision: REQUIRE_APPROVAL, approval: { from: [lead:owner] } }
  - { id: fin, match: { topic: job.fin.* }, decision: REQUIRE_APPROVAL, approval: { from: [team:finance] } }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
  - { id: adm, match: { topic: job.adm.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:admin] } }
`

  test('who leads the agent by no team any more answers for it no more, also for what is queued', async () => {
    const t = await plane.tenant(LED)
    const [al, bo] = [one('person:al', 'person', 'approver', 'a'), one('person:bo', 'person', 'approver', 'b')]
    await declare(
      t,
      [al, bo, one('agent:bot', 'agent', 'agent', 'a')],
      [team('a', 'person:al'), team('b', 'person:bo')],
    )
    await grant(t, { topic: 'job.led.*' }, t.caller('approver', 'person:al', { team: 'a', leads: ['a'] }))
    expect(await statusOf(t, 'job.led.it')).toBe('queued')
    await declare(t, [one('agent:bot', 'agent', 'agent', 'b')])
    expect(await statusOf(t, 'job.led.it')).toBe('pending_approval')
    expect(await t.claim(['job.led.it'])).toEqual([])
    await held(t)
  })

  test('who is approver no more, or of another team, has no say beforehand either', async () => {
    const t = await plane.tenant(LED)
    await declare(
      t,
      [one('person:fay', 'person', 'approver', 'finance')],
      [team('finance', 'person:fay'), team('sales', 'person:fay')],
    )
    const fay = t.caller('approver', 'person:fay', { team: 'finance' })
    await grant(t, { topic: 'job.>', uses: 9 }, fay)
    expect([await statusOf(t, 'job.fin.it'), await statusOf(t)]).toEqual(['queued', 'queued'])
    await declare(t, [one('person:fay', 'person', 'approver', 'sales')])
    expect([await statusOf(t, 'job.fin.it'), await statusOf(t)]).toEqual(['pending_approval', 'queued'])
    await declare(t, [one('person:fay', 'person', 'viewer', 'finance')])
    expect([await statusOf(t, 'job.fin.it'), await statusOf(t)]).toEqual(['pending_approval', 'pending_approval'])
    await held(t)
  })

  test('and is no more than it was because its maker became more', async () => {
    const t = await plane.tenant(LED)
    await declare(
      t,
      [
        one('person:gus', 'person', 'approver'),
        one('person:al', 'person', 'approver'),
        one('agent:bot', 'agent', 'agent', 'finance'),
      ],
      [team('finance', 'person:al')],
    )
    await grant(t, { topic: 'job.>', uses: 9 }, t.caller('approver', 'person:gus'))
    await declare(t, [one('person:gus', 'person', 'admin', 'finance')], [team('finance', 'person:gus')])
    expect(await statusOf(t)).toBe('queued')
    for (const topic of ['job.fin.it', 'job.led.it', 'job.adm.it'])
      expect(await statusOf(t, topic)).toBe('pending_approval')
  })
})

describe('an effect of a job that a grant let through', () => {
  const declared = (t: Tenancy) =>
    applyDirectory(
      t.world,
      t.admin,
      {
        teams: [],
        principals: [
          { principal: 'agent:bot', kind: 'agent', role: 'agent', team: null, name: null, email: null, terms: UNBOUND },
        ],
      } as never,
      'api',
    )

  test(`${proves('A5')} begins, also of an agent with terms`, async () => {
    const t = await plane.tenant(POLICY)
    await declared(t)
    await grant(t)
    const { lease } = await t.lease({ topic: 'job.ask.it' })
    expect(await t.begin(lease, 'pay')).toMatchObject({ status: 'begun' })
    await held(t)
  })

  test(`${proves('A5')} is refused once the grant is revoked`, async () => {
    const t = await plane.tenant(POLICY)
    const { grant_id } = await grant(t)
    const { lease } = await t.lease({ topic: 'job.ask.it' })
    expect(await t.begin(lease, 'first')).toMatchObject({ status: 'begun' })
    await revokeGrant(t.world, t.otherApprover, grant_id)
    expect(await codeOf(t.begin(lease, 'second'))).toBe('effect_refused')
    await held(t)
  })
})

describe('at once', () => {
  test(`${proves('A5')} two nodes never take more uses than there are`, async () => {
    const t = await plane.tenant(POLICY)
    const other = t.on(plane.node())
    await grant(t, { uses: 3 })
    // Both have read that no use is taken before either commits.
    const hold = holdCommits(plane.db)
    const racing = Array.from({ length: 10 }, (_, n) => statusOf(n % 2 === 0 ? t : other))
    await turns(() => hold.waiting() >= 2)
    hold.release()
    const statuses = await Promise.all(racing)
    expect(statuses.filter((status) => status === 'queued')).toHaveLength(3)
    expect(statuses.filter((status) => status === 'pending_approval')).toHaveLength(7)
    await held(t)
  })

  test('one that is revoked between decision and commit lets nothing through', async () => {
    const t = await plane.tenant(POLICY)
    const other = t.on(plane.node())
    const { grant_id } = await grant(t)
    const hold = holdCommits(plane.db)
    const asking = statusOf(t)
    await turns(() => hold.waiting() === 1)
    plane.db.tap = null
    await revokeGrant(other.world, t.otherApprover, grant_id)
    hold.release()
    expect(await asking).toBe('pending_approval')
    await held(t)
  })
})

describe('on Postgres', () => {
  let own: TestPlane
  beforeAll(async () => {
    own = await storeOf('postgres')
  })
  afterAll(() => own?.close())

  test(`${proves('A5')} three nodes with connections of their own take each use once, and none after it is revoked`, async () => {
    const t = await own.tenant(POLICY)
    const nodes = [t, ...own.lines.slice(1).map((db) => t.on(own.node({ db })))]
    const body = { agent: 'agent:bot', topic: 'job.ask.*', expires_at: own.clock.now() + HOUR, reason: 'routine' }
    await createGrant(t.world, t.approver, { ...body, uses: 7 })
    const submitted = await Promise.all(Array.from({ length: 45 }, (_, n) => statusOf(nodes[n % nodes.length] ?? t)))
    expect(submitted.filter((status) => status === 'queued')).toHaveLength(7)
    expect(await violations(own, t.tenant)).toEqual([])

    const many = await createGrant(t.world, t.approver, { ...body, uses: 1000 })
    const answers = Array.from({ length: 30 }, (_, n) => statusOf(nodes[n % nodes.length] ?? t))
    await answers[0]
    const revoked = revokeGrant(nodes[1]?.world ?? t.world, t.otherApprover, many.grant_id)
    await Promise.all([...answers, revoked])
    for (const node of nodes) {
      expect(await statusOf(node)).toBe('pending_approval')
      expect(await node.claim(['job.ask.it'], { capacity: 50 })).toHaveLength(node === t ? 7 : 0)
    }
    expect(await violations(own, t.tenant)).toEqual([])
  })
})
