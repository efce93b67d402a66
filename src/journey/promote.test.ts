import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { factsOf, violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Caller } from '../core/access.js'
import type { Settings, Stage } from '../core/autonomy.js'
import { type AgentTerms, UNBOUND } from '../core/principal.js'
import { getAutonomy, listAutonomy } from '../store/autonomy.js'
import { getDecision } from '../store/decisions.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { createKey, revokeKey } from './keys.js'
import {
  autonomyReport,
  confirmPromotion,
  declareAutonomy,
  demote,
  proposePromotion,
  watchAutonomy,
} from './promote.js'
import { rebalanceReviews, reviewReport } from './review-load.js'
import { submit } from './submit.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: 'job.do.*' }, decision: ALLOW }
  - { id: never, match: { topic: job.do.never }, decision: DENY }
job_classes:
  - { topic: job.do.read, set: { action_type: read }, attempts: 1 }
  - { topic: job.do.write, set: { action_type: update }, attempts: 1 }
  - { topic: job.do.refund, set: { action_type: refund }, attempts: 1 }
`
const DAY = 86_400_000
const AGENT = 'agent:bot'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

/** A tenant whose agent belongs to a team, managed from the stage on. */
async function managed(stage: Stage | null, terms: Partial<AgentTerms> = {}): Promise<Tenancy & { lead: Caller }> {
  const t = await plane.tenant(POLICY)
  const lead = t.caller('viewer', 'person:lead', { leads: ['desk'], team: 'desk' })
  const person = (principal: string, role: 'approver' | 'viewer' | 'admin' | 'operator') => ({
    ...{ principal, kind: 'person' as const, role, team: 'desk', name: null, email: null, terms: null },
  })
  await applyDirectory(
    t.world,
    t.admin,
    {
      teams: [{ team: 'desk', name: null, leads: ['person:ann', 'person:lead'], on_call: [] }],
      principals: [
        { ...person(AGENT, 'viewer'), kind: 'agent', role: 'agent', terms: { ...UNBOUND, ...terms } },
        person('person:ann', 'approver'),
        person('person:lead', 'viewer'),
        person('person:root', 'admin'),
        person('person:olga', 'operator'),
      ],
    } as never,
    'api',
  )
  if (stage !== null) await declareAutonomy(t.world, t.operator, AGENT, { stage })
  return Object.assign(t, { lead })
}

const known = (t: Tenancy, principal: string, kind: string, role: string) => {
  const none = { team: null, name: null, email: null, terms: null }
  return applyDirectory(
    t.world,
    t.admin,
    { teams: [], principals: [{ principal, kind, role, ...none } as never] },
    'api',
  )
}

const SECOND = { principal: 'agent:second', kind: 'agent' as const, role: 'agent' as const }
const stageOf = async (t: Tenancy) => (await getAutonomy(t.world.db, t.tenant, AGENT))?.stage
const kindsOf = async (t: Tenancy) => (await factsOf(plane, t.tenant)).map(({ kind }) => kind)
const write = (t: Tenancy) => t.submit({ topic: 'job.do.write', input: {} })

/** Asked about, approved by the lead, run. */
async function worked(t: Tenancy, ends: 'well' | 'badly' = 'well') {
  const { approval_id, job_id } = await write(t)
  if (approval_id !== undefined) await t.approve(approval_id)
  const [lease] = await t.claim(['job.do.write'])
  if (lease?.job.job_id !== job_id) throw new Error('another job was leased')
  await (ends === 'well' ? t.succeed(lease.lease) : t.fail(lease.lease, 'terminal'))
}

describe(`${proves('A8', 'A1')} a managed agent`, () => {
  test('every write is asked about, and of who leads its owner', async () => {
    const t = await managed('supervised')
    const { status, rules, approval_id } = await write(t)
    expect({ status, rules }).toEqual({ status: 'pending_approval', rules: ['all', 'stage:supervised'] })
    expect((await t.approval(approval_id)).asked_of).toEqual(['person:ann'])
    expect((await t.submit({ topic: 'job.do.read' })).status).toBe('queued')
    await t.approve(approval_id as string)
    expect(await t.claim(['job.do.write'])).toHaveLength(1)
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('from the answer of a demotion on what is queued is asked about, also by another node', async () => {
    const t = await managed('autonomous')
    const other = t.on(plane.node())
    await other.submit({ topic: 'job.do.write' })
    expect((await write(t)).status).toBe('queued')
    await demote(t.world, t.lead, AGENT, { to: 'supervised', note: 'odd' })
    expect(await other.claim(['job.do.write'])).toEqual([])
    expect((await other.submit({ topic: 'job.do.write' })).status).toBe('pending_approval')
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('high risk stays with people in autonomous too', async () => {
    const t = await managed('autonomous')
    expect(await t.submit({ topic: 'job.do.refund' })).toMatchObject({
      status: 'pending_approval',
      rules: ['all', 'stage:autonomous'],
    })
    const free = await managed(null)
    expect((await free.submit({ topic: 'job.do.refund' })).status).toBe('queued')
  })

  test('a spot check asks about its share, and every door draws the same', async () => {
    const t = await managed('assisted')
    await declareAutonomy(t.world, t.admin, AGENT, { stage: 'assisted', spot_check: 20, most: 50 })
    const asked: string[] = []
    for (let i = 0; i < 100; i++) {
      const { approval_id, job_id } = await write(t)
      if (approval_id === undefined) continue
      asked.push(job_id)
      await t.approve(approval_id)
    }
    expect(asked.length).toBeGreaterThan(5)
    expect(asked.length).toBeLessThan(40)
    expect(await t.claim(['job.do.write'], { capacity: 100 })).toHaveLength(100)
    // At the second door too it is the answer that lets it through.
    for (const id of asked) expect((await t.job(id)).decision).toBe('REQUIRE_APPROVAL')
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('a spot check that the agent cancels falls on its next job, one that a person cancels does not', async () => {
    const t = await managed('assisted')
    await declareAutonomy(t.world, t.operator, AGENT, { stage: 'assisted', spot_check: 10 })
    const next = async (until: 'queued' | 'pending_approval') => {
      for (let n = 0; n < 400; n++) {
        const made = await write(t)
        if (made.status === until) return made
      }
      throw new Error(`none was ${until}`)
    }
    const seen = await next('pending_approval')
    await t.cancel(seen.job_id, t.operator)
    expect(await plane.db.query('SELECT held FROM limits WHERE tenant = $1', [t.tenant])).toEqual([])
    await next('queued')
    // Two of them at once are two that are owed.
    const [first, second] = [await next('pending_approval'), await next('pending_approval')]
    await t.cancel(first.job_id)
    await t.on(plane.node()).cancel(second.job_id)
    for (let n = 0; n < 5; n++) {
      const instead = await t.on(plane.node()).submit({ topic: 'job.do.write', input: { n } })
      expect(instead.status).toBe('pending_approval')
      await t.cancel(instead.job_id)
    }
    const asked = [await write(t), await write(t)]
    expect(asked.map(({ status }) => status)).toEqual(['pending_approval', 'pending_approval'])
    await next('queued')
    // Every later door draws the same, and what is asked about anyway is no check.
    await t.activate(POLICY.replace('rules:', 'rules:\n  - { id: more, match: { topic: job.more }, decision: ALLOW }'))
    expect(await t.rebind()).toBeGreaterThanOrEqual(2)
    for (const { job_id } of asked) expect((await t.job(job_id)).status).toBe('pending_approval')
    const refund = await t.submit({ topic: 'job.do.refund' })
    await t.cancel(refund.job_id)
    expect(await plane.db.query('SELECT held FROM limits WHERE tenant = $1', [t.tenant])).toEqual([{ held: 0 }])
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('in the shadow: 200, decided and recorded, nothing to run', async () => {
    const t = await managed('shadow')
    const { answer } = await submit(t.world, t.agent, { topic: 'job.do.write', input: { a: 1 } }, 'key-1')
    expect(answer).toMatchObject({ status: 'shadowed', decision: 'ALLOW', rules: ['all'] })
    const again = await submit(t.world, t.agent, { topic: 'job.do.write', input: { a: 1 } }, 'key-1')
    expect(again.answer.decision_id).not.toBe(answer.decision_id)
    expect(await codeOf(submit(t.world, t.agent, { topic: 'job.do.never' }, null))).toBe('policy_denied')
    const row = await getDecision(t.world.db, t.tenant, answer.decision_id)
    expect(row).toMatchObject({ decision: 'ALLOW', job_id: null, claim: { topic: 'job.do.write' } })
    expect(await t.claim(['job.do.write'])).toEqual([])
    expect((await kindsOf(t)).filter((kind) => kind === 'job.shadowed')).toHaveLength(2)
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('put in the shadow, its queued work is denied', async () => {
    const t = await managed('advisor')
    const { approval_id, job_id } = await write(t)
    await t.approve(approval_id as string)
    await demote(t.world, t.admin, AGENT, { to: 'shadow', note: 'wrong' })
    expect(await t.claim(['job.do.write'])).toEqual([])
    expect((await t.job(job_id)).status).toBe('denied')
  })
})

describe(`${proves('A7', 'A8')} promotion`, () => {
  const propose = (t: Tenancy, to: Stage, as: Caller = t.operator) =>
    proposePromotion(t.world, as, AGENT, { to, note: null })

  test('is earned, proposed by one person and confirmed by another', async () => {
    const t = await managed('shadow')
    const early = await problemOf(propose(t, 'advisor'))
    expect(early?.code).toBe('stage_not_earned')
    expect(early?.extra).toMatchObject({ stage: 'shadow' })
    for (let i = 0; i < 20; i++) await submit(t.world, t.agent, { topic: 'job.do.write' }, null)
    expect((await problemOf(propose(t, 'advisor')))?.message).toBe('Not yet: days')
    await watchAutonomy(t.world)
    plane.clock.advance(3 * DAY)
    await watchAutonomy(t.world)
    await watchAutonomy(t.world)
    const offers = (await factsOf(plane, t.tenant)).filter(({ kind }) => kind === 'autonomy.offered')
    expect(offers).toMatchObject([{ stage: 'shadow', to: 'advisor', actions: 20, denial_rate: 0 }])
    expect((await propose(t, 'advisor')).proposal).toMatchObject({ to: 'advisor', by: 'person:olga' })
    expect(await stageOf(t)).toBe('shadow')
    expect(await codeOf(confirmPromotion(t.world, t.operator, AGENT, null))).toBe('self_approval')
    expect((await confirmPromotion(t.world, t.lead, AGENT, 'fine')).stage).toBe('advisor')
    expect(await codeOf(confirmPromotion(t.world, t.lead, AGENT, null))).toBe('illegal_transition')
    expect((await write(t)).status).toBe('pending_approval')
    const kinds = (await kindsOf(t)).filter((kind) => String(kind).startsWith('autonomy.'))
    expect(kinds).toEqual(['declared', 'offered', 'proposed', 'refused', 'promoted'].map((word) => `autonomy.${word}`))
  })

  test('what people said and how it ended is counted from rows', async () => {
    const t = await managed('advisor')
    for (let i = 0; i < 18; i++) await worked(t)
    for (let i = 0; i < 2; i++) {
      const { approval_id } = await write(t)
      await t.reject(approval_id as string)
    }
    await worked(t, 'badly')
    const { numbers } = await autonomyReport(t.world, t.tenant, AGENT)
    expect(numbers).toMatchObject({ actions: 19, error_rate: 1 / 19, answered: 21, approval_rate: 19 / 21 })
    plane.clock.advance(7 * DAY + 1)
    const { criteria } = await autonomyReport(t.world, t.tenant, AGENT)
    // A week later nothing was asked in the last week: no number, so no pass.
    expect(criteria.filter(({ holds }) => !holds).map(({ criterion, is }) => [criterion, is])).toEqual([
      ['actions', 19],
      ['error_rate', 1 / 19],
      ['answered_week', 0],
      ['approval_rate', null],
    ])
  })

  test('what holds no more when it is confirmed is not confirmed', async () => {
    const t = await managed('shadow')
    for (let i = 0; i < 20; i++) await submit(t.world, t.agent, { topic: 'job.do.write' }, null)
    plane.clock.advance(3 * DAY)
    await propose(t, 'advisor')
    for (let i = 0; i < 10; i++) await codeOf(submit(t.world, t.agent, { topic: 'job.do.never' }, null))
    expect(await codeOf(confirmPromotion(t.world, t.lead, AGENT, null))).toBe('stage_not_earned')
    plane.clock.advance(8 * DAY)
    expect(await codeOf(confirmPromotion(t.world, t.lead, AGENT, null))).toBe('illegal_transition')
  })

  test('no stage is skipped, and none is left by declaring another', async () => {
    const t = await managed('shadow')
    expect(await codeOf(propose(t, 'assisted'))).toBe('illegal_transition')
    expect(await codeOf(declareAutonomy(t.world, t.admin, AGENT, { stage: 'autonomous' }))).toBe('illegal_transition')
    expect(await codeOf(demote(t.world, t.admin, AGENT, { to: 'advisor', note: 'x' }))).toBe('illegal_transition')
    expect(await codeOf(declareAutonomy(t.world, t.admin, AGENT, { stage: 'shadow', spot_check: 30 }))).toBe('invalid')
  })

  test('is no program’s: neither proposes, nor confirms, nor loosens', async () => {
    const t = await managed('shadow')
    await known(t, 'service:deploy', 'service', 'operator')
    const program = t.caller('operator', 'service:deploy')
    for (let i = 0; i < 20; i++) await submit(t.world, t.agent, { topic: 'job.do.write' }, null)
    plane.clock.advance(3 * DAY)
    expect(await codeOf(propose(t, 'advisor', program))).toBe('forbidden')
    await propose(t, 'advisor')
    expect(await codeOf(confirmPromotion(t.world, program, AGENT, null))).toBe('forbidden')
    const less = { stage: 'shadow', spot_check: 2 } as const
    expect(await codeOf(declareAutonomy(t.world, program, AGENT, less))).toBe('forbidden')
    expect((await declareAutonomy(t.world, program, AGENT, { stage: 'shadow', spot_check: 6 })).spot_check).toBe(6)
    expect((await kindsOf(t)).filter((kind) => kind === 'autonomy.refused')).toHaveLength(1)
  })

  test('stands with who proposed it: of who was disabled since nothing is confirmed, nor by who made their key', async () => {
    const t = await managed('shadow')
    for (let i = 0; i < 20; i++) await submit(t.world, t.agent, { topic: 'job.do.write' }, null)
    plane.clock.advance(3 * DAY)
    await propose(t, 'advisor')
    await disablePrincipal(t.world, t.admin, 'person:olga')
    expect(await codeOf(confirmPromotion(t.world, t.admin, AGENT, null))).toBe('illegal_transition')
    const made = { role: 'operator', principal: 'person:puppet' } as const
    const { row } = await createKey(t.world, t.tenant, t.admin.principal, made)
    const puppet = t.caller('operator', 'person:puppet', { key_id: row.key_id })
    await propose(t, 'advisor', puppet)
    expect(await codeOf(confirmPromotion(t.world, t.admin, AGENT, null))).toBe('self_approval')
    await revokeKey(t.world, t.tenant, 'person:root', row.key_id)
    expect(await codeOf(confirmPromotion(t.world, t.lead, AGENT, null))).toBe('illegal_transition')
    await propose(t, 'advisor', t.admin)
    expect((await confirmPromotion(t.world, t.lead, AGENT, null)).stage).toBe('advisor')
  })

  test('of two who put it back at once one does, and the other is told', async () => {
    const t = await managed('supervised')
    const other = plane.node()
    const both = await Promise.all([
      codeOf(demote(t.world, t.admin, AGENT, { to: 'shadow', note: 'x' })),
      codeOf(demote(other, t.operator, AGENT, { to: 'shadow', note: 'y' })),
    ])
    expect(both.sort()).toEqual(['done', 'illegal_transition'])
    expect((await kindsOf(t)).filter((kind) => kind === 'autonomy.demoted')).toHaveLength(1)
  })

  test('only operators, admins and who leads its team; and it is on record who tried', async () => {
    const t = await managed('supervised')
    const strangers = [t.otherApprover, t.caller('viewer', 'person:x', { leads: ['other'] }), t.agent]
    for (const caller of strangers) {
      expect(await codeOf(demote(t.world, caller, AGENT, { to: 'shadow', note: 'x' }))).toBe('forbidden')
      expect(await codeOf(propose(t, 'assisted', caller))).toBe('forbidden')
    }
    expect((await kindsOf(t)).filter((kind) => kind === 'autonomy.refused')).toHaveLength(3)
    expect(await codeOf(declareAutonomy(t.world, t.admin, 'agent:nobody', { stage: 'shadow' }))).toBe('not_found')
    // A stage that asks nobody would let nothing through, and say so to nobody.
    const ghost = await problemOf(
      declareAutonomy(t.world, t.admin, AGENT, { stage: 'supervised', asks: ['team:ghost'] }),
    )
    expect(ghost.extra.faults).toMatchObject([
      { path: '/asks', message: "team 'ghost' has no member who may approve" },
      { path: '/asks' },
    ])
    expect(await codeOf(demote(t.world, t.admin, 'person:ann', { to: 'shadow', note: 'x' }))).toBe('not_found')
  })
})

describe(`${proves('A8')} less of people’s eyes`, () => {
  const asks = ['principal:person:crony']
  const declare = (t: Tenancy, as: Caller, body: Settings) =>
    declareAutonomy(t.world, as, AGENT, { stage: 'advisor', ...body })
  const settings = async (t: Tenancy) => {
    const { spot_check, least, most, asks } = (await getAutonomy(t.world.db, t.tenant, AGENT))!
    return { spot_check, least, most, asks }
  }

  test('is proposed by one and declared again by another: a lead alone puts nobody in the place of who was set over the agent', async () => {
    const t = await managed('advisor')
    await known(t, 'person:crony', 'person', 'approver')
    const crony = t.caller('approver', 'person:crony')
    await declare(t, t.lead, { asks: ['principal:person:ann'] })
    await declare(t, t.operator, { asks: ['principal:person:ann'] })
    expect(await settings(t)).toMatchObject({ asks: ['principal:person:ann'] })
    const proposed = await declare(t, t.lead, { asks })
    expect(proposed).toMatchObject({
      asks: ['principal:person:ann'],
      proposal: { by: 'person:lead', settings: { asks } },
    })
    await declare(t, t.lead, { asks })
    const { approval_id } = await write(t)
    expect(await codeOf(t.approve(approval_id as string, crony))).toBe('not_an_approver')
    // Neither by confirming a stage, nor by somebody who means something else.
    expect(await codeOf(confirmPromotion(t.world, t.operator, AGENT, null))).toBe('illegal_transition')
    expect((await declare(t, t.operator, { asks, spot_check: 3 })).proposal).toMatchObject({ by: 'person:olga' })
    expect(await settings(t)).toMatchObject({ asks: ['principal:person:ann'], spot_check: 5 })
    await declare(t, t.lead, { asks })
    expect(await declare(t, t.operator, { asks })).toMatchObject({ asks, proposal: null })
    const facts = (await factsOf(plane, t.tenant)).filter(({ kind }) => String(kind).startsWith('autonomy.'))
    expect(facts.at(-1)).toMatchObject({ kind: 'autonomy.declared', asks: asks[0], proposed_by: 'person:lead' })
  })

  test.each<[Settings, Settings]>([
    [{ spot_check: 4 }, { spot_check: 4 }],
    [{ least: 1 }, { least: 1 }],
    [{ most: 19 }, { most: 19 }],
    [
      { spot_check: 3, most: 30 },
      { spot_check: 3, most: 30 },
    ],
  ])('%o waits for a second', async (body, after) => {
    const t = await managed('advisor')
    const before = await settings(t)
    await declare(t, t.lead, body)
    expect(await settings(t)).toEqual(before)
    await declare(t, t.admin, body)
    expect(await settings(t)).toEqual({ ...before, ...after })
  })

  test('more of them is at once, and makes what was proposed moot; a proposal is good for a week', async () => {
    const t = await managed('advisor')
    await declare(t, t.lead, { spot_check: 3 })
    expect(await declare(t, t.lead, { spot_check: 10, most: 40, least: 5 })).toMatchObject({
      spot_check: 10,
      proposal: null,
    })
    await declare(t, t.lead, { spot_check: 6 })
    plane.clock.advance(7 * DAY)
    expect((await declare(t, t.admin, { spot_check: 6 })).spot_check).toBe(10)
    expect((await declare(t, t.lead, { spot_check: 6 })).spot_check).toBe(6)
  })
})

describe(`${proves('A8')} demotion by itself`, () => {
  test('where too much fails, with the numbers on record, and once', async () => {
    const t = await managed('supervised')
    for (let i = 0; i < 8; i++) await worked(t)
    for (let i = 0; i < 2; i++) await worked(t, 'badly')
    const mine = async () => (await watchAutonomy(t.world)).filter(({ tenant }) => tenant === t.tenant)
    expect(await mine()).toMatchObject([{ stage: 'advisor' }])
    expect(await mine()).toEqual([])
    const [fact] = (await factsOf(plane, t.tenant)).filter(({ kind }) => kind === 'autonomy.demoted')
    expect(fact).toMatchObject({
      actor: 'system:autonomy',
      from_stage: 'supervised',
      stage: 'advisor',
      error_rate: 0.2,
    })
  })

  test('is by the work of each agent in its own stage, read for all of a tenant at once', async () => {
    const t = await managed('supervised')
    for (let i = 0; i < 8; i++) await worked(t)
    for (let i = 0; i < 2; i++) await worked(t, 'badly')
    plane.clock.advance(1000)
    // Its work of before is no work of this stage; and the other has done nothing.
    await demote(t.world, t.admin, AGENT, { to: 'advisor', note: 'looks wrong' })
    await applyDirectory(
      t.world,
      t.admin,
      { teams: [], principals: [{ ...SECOND, team: 'desk', name: null, email: null, terms: null }] },
      'api',
    )
    await declareAutonomy(t.world, t.admin, SECOND.principal, { stage: 'supervised' })
    let walks = 0
    plane.db.tap = (sql, send) => {
      if (sql.includes('AS succeeded')) walks++
      return send()
    }
    const tenants = new Set((await listAutonomy(plane.db)).map(({ tenant }) => tenant)).size
    const back = await watchAutonomy(t.world)
    plane.db.tap = null
    expect([back.filter(({ tenant }) => tenant === t.tenant), walks]).toEqual([[], tenants])
  })

  test('what failed and was cancelled then has failed', async () => {
    const t = await managed('supervised', {})
    for (let i = 0; i < 8; i++) await worked(t)
    const badly = async () => {
      const { job, lease } = await t.lease({ topic: 'job.do.read' })
      await t.cancel(job.job_id)
      await t.fail(lease)
    }
    await badly()
    await badly()
    const { numbers } = await autonomyReport(t.world, t.tenant, AGENT)
    expect(numbers).toMatchObject({ actions: 10, error_rate: 0.2 })
  })

  test('where people say no to more than a tenth in a week; told once a day', async () => {
    const t = await managed('advisor')
    for (let i = 0; i < 8; i++) await worked(t)
    for (let i = 0; i < 2; i++) await t.reject((await write(t)).approval_id as string)
    const low = async () => (await kindsOf(t)).filter((kind) => kind === 'approvals.low').length
    await watchAutonomy(t.world)
    await watchAutonomy(t.world)
    expect(await low()).toBe(1)
    plane.clock.advance(DAY)
    await watchAutonomy(t.world)
    expect(await low()).toBe(2)
    // Every action is a person's to decide there already.
    expect(await stageOf(t)).toBe('advisor')
  })
})

describe(`${proves('A7')} review load`, () => {
  test('backlog, waits and who bears it, from rows', async () => {
    const t = await managed('advisor')
    const first = await write(t)
    const second = await write(t)
    plane.clock.advance(60_000)
    await t.approve(first.approval_id as string)
    plane.clock.advance(60_000)
    await t.reject(second.approval_id as string)
    await write(t)
    expect(await reviewReport(t.world, t.tenant)).toMatchObject({
      ...{ pending: 1, answered: 2, median_wait_ms: 60_000, p95_wait_ms: 120_000, burden: 'light' },
      reviewers: [{ principal: 'person:ann', pending: 1, answered: 2, approved: 1, median_wait_ms: 60_000 }],
    })
  })

  test('too much of it lowers the spot check, to its bound and no further; high risk is asked about all the same', async () => {
    const t = await managed('assisted')
    const refund = () => t.submit({ topic: 'job.do.refund' })
    const { approval_id } = await refund()
    plane.clock.advance(2 * 3_600_000)
    await t.approve(approval_id as string)
    const shares: number[] = []
    for (let i = 0; i < 4; i++) {
      await rebalanceReviews(t.world)
      await rebalanceReviews(t.world)
      shares.push((await getAutonomy(t.world.db, t.tenant, AGENT))!.spot_check)
      plane.clock.advance(3_600_000)
    }
    expect(shares).toEqual([2, 2, 2, 2])
    const moves = (await factsOf(plane, t.tenant)).filter(({ kind }) => kind === 'autonomy.adjusted')
    expect(moves).toMatchObject([
      { from_spot_check: 5, spot_check: 2, least: 2, most: 20, burden: 'over', median_wait_ms: 7_200_000 },
    ])
    expect((await refund()).status).toBe('pending_approval')
  })
})

test('an agent nobody manages is not there, and is decided as before', async () => {
  const t = await managed(null)
  expect(await codeOf(autonomyReport(t.world, t.tenant, AGENT))).toBe('not_found')
  expect((await write(t)).status).toBe('queued')
  expect(t).toBeInstanceOf(Tenancy)
})
