import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, isCommit, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Caller } from '../core/access.js'
import type { Principal } from '../core/principal.js'
import type { StopScope } from '../core/stop.js'
import { getGate } from '../store/standing.js'
import { getStop } from '../store/stops.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { createKey, revokeKey } from './keys.js'
import { resumeStop } from './resume.js'
import { confirm, enforceStops, raiseStop } from './stop.js'
import { awaitStop } from './stop-status.js'

const POLICY = `
version: v1
default_decision: DENY
high_risk: [{ action_type: [delete] }]
rules:
  - { id: all, match: { topic: 'job.do.>' }, decision: ALLOW }
  - { id: ask, match: { topic: 'job.ask.*' }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: no, match: { topic: job.do.never }, decision: DENY }
job_classes:
  - { topic: 'job.do.>', queue_timeout_ms: 600000, timeout_ms: 600000, heartbeat_ms: 60000 }
`
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

const stopped = (at: Tenancy, scope: StopScope, target: string | null = null, as: Caller = at.operator) =>
  raiseStop(at.world, as, { scope, target, reason: 'it went wrong' })
const resumed = (
  at: Tenancy,
  as: Caller,
  stop_id: string,
  stage: 'trial' | 'full',
  trial_limit: number | null = null,
) => resumeStop(at.world, as, stop_id, { stage, note: 'looked', trial_ms: 60_000, trial_limit })
const ended = async (at: Tenancy, stop_id: string) => {
  await resumed(at, at.operator, stop_id, 'trial')
  await resumed(at, at.admin, stop_id, 'trial')
  plane.clock.advance(60_000)
  await resumed(at, at.operator, stop_id, 'full')
  await resumed(at, at.admin, stop_id, 'full')
}
/** An agent that a team owns, as its row. */
async function declare(at: Tenancy, principal: string, team: string, fallback: string | null = null) {
  const row: Principal = {
    tenant: at.tenant,
    principal,
    kind: 'agent',
    role: 'agent',
    team,
    name: null,
    email: null,
    terms: { version: null, topics: null, actions: null, data: null, risk_tier: null, fallback },
    source: 'api',
    created_at: 1,
    updated_at: 1,
    updated_by: 'test',
    disabled_at: null,
  }
  const gate = await getGate(at.world.db, at.tenant)
  if (gate === null) throw new Error('no gate')
  await at.world.ledger.commit({
    tenant: at.tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { principals: [row], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
    facts: [],
  })
  await at.world.policies.refresh(at.tenant)
}

const known = (at: Tenancy, principal: string, kind: string, role: string) => {
  const none = { team: null, name: null, email: null, terms: null }
  return applyDirectory(
    at.world,
    at.admin,
    { teams: [], principals: [{ principal, kind, role, ...none } as never] },
    'api',
  )
}

describe('a stop', () => {
  test.each<[StopScope, string | null, string[], string[]]>([
    ['tenant', null, ['job.do.a', 'job.do.b'], []],
    ['agent', 'agent:bot', ['job.do.a'], []],
    ['agent', 'agent:else', [], ['job.do.a']],
    ['topic', 'job.do.a.>', ['job.do.a.x'], ['job.do.a', 'job.do.b']],
    ['topic', 'job.*.a', ['job.do.a'], ['job.do.b']],
    ['team', 'desk', ['job.do.a'], []],
    ['team', 'other', [], ['job.do.a']],
  ])(`${proves('A10')} of %s %s refuses what it is about and nothing else`, async (scope, target, no, yes) => {
    const at = await plane.tenant(POLICY)
    await declare(at, 'agent:bot', 'desk', 'Call the desk.')
    const { stop_id } = await stopped(at, scope, target)
    for (const topic of no) {
      const problem = await problemOf(at.submit({ topic }))
      expect([problem.code, problem.status]).toEqual(['stopped', 403])
      expect(problem.extra).toMatchObject({ stop_id, fallback: 'Call the desk.', decision: 'DENY' })
      expect(problem.message).toContain('it went wrong')
    }
    for (const topic of yes) expect((await at.submit({ topic })).status).toBe('queued')
    expect((await at.kinds()).filter((kind) => kind === 'job.denied')).toHaveLength(no.length)
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test(`${proves('A10')} binds a node that has not heard of it: the gate row refuses what it decided`, async () => {
    const at = await plane.tenant(POLICY)
    const elsewhere = at.on(plane.node())
    await elsewhere.submit({ topic: 'job.do.a' })
    await stopped(at, 'agent', 'agent:bot')
    expect(await codeOf(elsewhere.submit({ topic: 'job.do.a' }))).toBe('stopped')
    expect(await elsewhere.claim(['job.do.a'])).toEqual([])
  })

  test('repeated because its answer was lost is the same stop', async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'tenant')
    expect((await stopped(at, 'tenant')).stop_id).toBe(stop_id)
    expect((await stopped(at, 'tenant', null, at.admin)).stop_id).not.toBe(stop_id)
    expect((await stopped(at, 'topic', 'job.do.a')).stop_id).not.toBe(stop_id)
    plane.clock.advance(60_000)
    expect((await stopped(at, 'tenant')).stop_id).not.toBe(stop_id)
  })

  test('of a tenant leaves the others alone, and one of everything none, also not those made later', async () => {
    const [home, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    await stopped(home, 'tenant')
    expect((await other.submit({ topic: 'job.do.a' })).status).toBe('queued')
    const admin = home.caller('admin', 'person:root', { tenant: 'default' })
    expect(await codeOf(stopped(home, 'everything', null, home.admin))).toBe('forbidden')
    const at = Object.assign(Object.create(Object.getPrototypeOf(home)), home, { tenant: 'default' })
    const stop = await stopped(home, 'everything', null, admin)
    expect(await codeOf(other.submit({ topic: 'job.do.a' }))).toBe('stopped')
    expect(await codeOf((await plane.tenant(POLICY)).submit({ topic: 'job.do.a' }))).toBe('stopped')
    expect((await other.kinds()).filter((kind) => kind === 'stop.raised')).toHaveLength(1)
    const second = { ...admin, principal: 'person:second' }
    await resumed(at, admin, stop.stop_id, 'trial')
    await resumed(at, second, stop.stop_id, 'trial')
    plane.clock.advance(60_000)
    await resumed(at, admin, stop.stop_id, 'full')
    await resumed(at, second, stop.stop_id, 'full')
    expect((await other.submit({ topic: 'job.do.a' })).status).toBe('queued')
  })
})

test('of everything reaches a tenant that was made while it was raised, on a node that had read its gate already', async () => {
  const home = await plane.tenant(POLICY)
  const admin = home.caller('admin', 'person:root', { tenant: 'default' })
  const elsewhere = plane.node()
  let made: Tenancy | null = null
  plane.db.tap = async (sql, send) => {
    if (!isCommit(sql) || made !== null) return send()
    plane.db.tap = null
    made = await plane.tenant(POLICY, elsewhere)
    expect((await made.submit({ topic: 'job.do.a' })).status).toBe('queued')
    return send()
  }
  const { stop_id } = await stopped(home, 'everything', null, admin)
  expect(await codeOf((made as Tenancy | null)?.submit({ topic: 'job.do.a' }) ?? Promise.resolve())).toBe('stopped')
  await plane.db.query(`UPDATE stops SET stage = 'full', ended_at = 1 WHERE stop_id = $1`, [stop_id])
})

describe('what is there already', () => {
  test('stays in the queue, hides nothing behind it, and goes on when the stop ends', async () => {
    const at = await plane.tenant(POLICY)
    const [{ job_id }, other] = [
      await at.submit({ topic: 'job.do.a' }),
      await at.submit({ topic: 'job.do.a' }, null, at.otherAgent),
    ]
    const { stop_id } = await stopped(at, 'agent', 'agent:bot')
    expect((await at.claim(['job.do.a'], { capacity: 5 })).map((each) => each.job.job_id)).toEqual([other.job_id])
    expect(await at.claim(['job.do.a'], { capacity: 5 })).toEqual([])
    expect(await at.job(job_id)).toMatchObject({ status: 'queued', attempt: 0 })
    await ended(at, stop_id)
    expect((await at.claim(['job.do.a'], { capacity: 5 })).map((each) => each.job.job_id)).toEqual([job_id])
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test('expires in its time all the same: work must not run hours later in another world', async () => {
    const at = await plane.tenant(POLICY)
    const { job_id } = await at.submit({ topic: 'job.do.a' })
    await stopped(at, 'tenant')
    plane.clock.advance(600_001)
    await at.sweep()
    expect(await at.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'stopped' })
  })

  test(`${proves('A10')} is asked to end where it runs: heartbeats say cancel, no effect begins, what was begun is listed`, async () => {
    const at = await plane.tenant(POLICY)
    const leased = await at.lease({ topic: 'job.do.a' })
    await at.begin(leased.lease, 'paid')
    const theirs = await at.lease({ topic: 'job.do.b' })
    const stop = await stopped(at, 'topic', 'job.do.a')
    expect((await at.beat(leased.lease)).answer).toBe('cancel')
    expect((await at.beat(theirs.lease)).answer).toBe('ok')
    expect(await codeOf(at.begin(leased.lease, 'more'))).toBe('effect_refused')
    expect(await codeOf(at.begin(theirs.lease, 'more'))).toBe('done')
    const status = await awaitStop(at.world, at.operator, stop.stop_id, 0)
    expect(status).toMatchObject({ confirmed: false, confirmed_ms: null, leases: { total: 1, ended: 0, open: 1 } })
    const open = { job_id: leased.job.job_id, effect_key: 'paid', agent: 'agent:bot', topic: 'job.do.a' }
    expect(status.effects).toEqual([expect.objectContaining({ ...open, status: 'running' })])
    plane.clock.advance(700)
    await at.fail(leased.lease)
    const after = await awaitStop(at.world, at.operator, stop.stop_id, 0)
    // No lease is open any more, and the effect still is.
    expect(after).toMatchObject({ confirmed: true, confirmed_ms: 700, leases: { ended: 1, open: 0, ended_ms: 700 } })
    expect(after.effects).toEqual([expect.objectContaining({ ...open, status: 'ambiguous' })])
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test('an effect is refused by the door itself, also where its job was not asked to end yet', async () => {
    const at = await plane.tenant(POLICY)
    const leased = await at.lease({ topic: 'job.do.a' })
    const { stop_id } = await stopped(at, 'tenant')
    await plane.db.query(`UPDATE jobs SET state = (state::jsonb - 'cancel_requested')::json WHERE tenant = $1`, [
      at.tenant,
    ])
    const problem = await problemOf(at.begin(leased.lease, 'late'))
    expect([problem.code, problem.message]).toEqual(['effect_refused', expect.stringContaining('it went wrong')])
    expect((await at.rows<{ standing: { stops?: { stop_id: string }[] } }>('decisions')).at(-1)).toBeDefined()
    expect((await at.facts()).at(-1)).toMatchObject({ kind: 'job.cancel_requested', actor: 'system:door' })
    expect(stop_id).toMatch(/^stop_/)
  })

  test('waits for answers unanswered: neither yes nor no is taken, and its time runs out all the same', async () => {
    const at = await plane.tenant(POLICY)
    const { job_id, approval_id = '' } = await at.submit({ topic: 'job.ask.it' })
    const { stop_id } = await stopped(at, 'agent', 'agent:bot')
    for (const answer of [() => at.approve(approval_id), () => at.reject(approval_id)]) {
      const problem = await problemOf(answer())
      expect([problem.code, problem.status, problem.extra.stop_id]).toEqual(['approval_frozen', 409, stop_id])
    }
    expect(await at.approval(approval_id)).toMatchObject({ status: 'pending', answers: [] })
    plane.clock.advance(3_600_001)
    await at.sweep()
    expect(await at.job(job_id)).toMatchObject({ status: 'expired' })
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test('a dead letter is not replayed', async () => {
    const at = await plane.tenant(POLICY)
    const leased = await at.lease({ topic: 'job.do.a' })
    await at.fail(leased.lease, 'terminal')
    await stopped(at, 'tenant')
    expect(await codeOf(at.replay(leased.job.job_id))).toBe('stopped')
  })
})

describe('whoever asks as another', () => {
  const acting = (at: Tenancy, more: Partial<Caller> = {}) =>
    at.caller('agent', 'agent:bot', { act_as: ['agent:free'], ...more })
  const asFree = (at: Tenancy, topic = 'job.do.a') => at.submit({ topic, agent: 'agent:free' }, null, acting(at))

  test.each<[StopScope, string]>([
    ['agent', 'agent:bot'],
    ['team', 'desk'],
  ])(`${proves('A10')} is stopped with the %s %s, at every door and where it runs`, async (scope, target) => {
    const at = await plane.tenant(POLICY)
    await declare(at, 'agent:bot', 'desk')
    await declare(at, 'agent:free', 'sales')
    await asFree(at, 'job.do.b')
    const [running] = await at.claim(['job.do.b'])
    await at.begin(running?.lease ?? '', 'paid')
    const [queued, asked] = [await asFree(at), await asFree(at, 'job.ask.it')]
    const { stop_id } = await stopped(at, scope, target)
    expect(await codeOf(asFree(at))).toBe('stopped')
    expect(await at.claim(['job.do.a'])).toEqual([])
    expect(await codeOf(at.approve(asked.approval_id ?? ''))).toBe('approval_frozen')
    expect((await at.beat(running?.lease ?? '')).answer).toBe('cancel')
    const status = await awaitStop(at.world, at.operator, stop_id, 0)
    expect(status).toMatchObject({ leases: { total: 1, open: 1 }, effects_total: 1 })
    plane.clock.advance(600_001)
    await at.sweep()
    expect(await at.job(queued.job_id)).toMatchObject({ status: 'expired', status_reason: 'stopped' })
    // What nobody of them has a hand in goes on.
    const own = at.caller('agent', 'agent:free')
    expect((await at.submit({ topic: 'job.do.a' }, null, own)).status).toBe('queued')
    expect(await violations(plane, at.tenant)).toEqual([])
  })
})

describe('who may stop', () => {
  test(`${proves('A10')} leads their team and its agents, nobody else without the permission, and each try is on record`, async () => {
    const at = await plane.tenant(POLICY)
    await declare(at, 'agent:bot', 'desk')
    await declare(at, 'agent:other', 'sales')
    const lead = at.caller('viewer', 'person:lead', { leads: ['desk'] })
    expect(await codeOf(stopped(at, 'team', 'sales', lead))).toBe('forbidden')
    expect(await codeOf(stopped(at, 'agent', 'agent:other', lead))).toBe('forbidden')
    expect(await codeOf(stopped(at, 'agent', 'agent:nobody', lead))).toBe('forbidden')
    expect(await codeOf(stopped(at, 'tenant', null, lead))).toBe('forbidden')
    expect(await codeOf(stopped(at, 'agent', 'agent:bot', at.agent))).toBe('forbidden')
    expect((await at.kinds()).filter((kind) => kind === 'stop.refused')).toHaveLength(4)
    expect((await at.submit({ topic: 'job.do.a' })).status).toBe('queued')
    await stopped(at, 'agent', 'agent:bot', lead)
    await stopped(at, 'team', 'desk', lead)
    expect(await codeOf(at.submit({ topic: 'job.do.a' }))).toBe('stopped')
  })

  test('who tries many names is counted, not written once for each', async () => {
    const at = await plane.tenant(POLICY)
    const viewer = at.caller('viewer', 'person:vic')
    for (let n = 0; n < 30; n++) expect(await codeOf(stopped(at, 'agent', `agent:${n}`, viewer))).toBe('forbidden')
    expect((await at.facts()).filter(({ kind }) => kind === 'stop.refused')).toEqual([
      expect.objectContaining({ reason: expect.stringContaining('agent agent:0 needs') }),
    ])
  })

  test('a name that the directory does not know is said with the answer, and stopped all the same', async () => {
    const at = await plane.tenant(POLICY)
    await declare(at, 'agent:bot', 'desk')
    const warned = async (scope: StopScope, target: string | null) => {
      const { stop_id } = await stopped(at, scope, target)
      return (await awaitStop(at.world, at.operator, stop_id, 0)).warning
    }
    expect(await warned('agent', 'agent:bto')).toContain('agent:bto')
    expect(await warned('team', 'dsek')).toContain('dsek')
    expect([
      await warned('agent', 'agent:bot'),
      await warned('topic', 'job.none'),
      await warned('tenant', null),
    ]).toEqual([null, null, null])
    expect(await codeOf(at.submit({ topic: 'job.do.a' }, null, at.caller('agent', 'agent:bto')))).toBe('stopped')
  })

  test('a key that is narrowed may no more than it says', async () => {
    const at = await plane.tenant(POLICY)
    expect(await codeOf(stopped(at, 'tenant', null, { ...at.operator, permissions: ['jobs:read'] }))).toBe('forbidden')
  })
})

describe('resuming', () => {
  test(`${proves('A10')} takes two people for each stage, and no stage is left out`, async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'agent', 'agent:bot')
    expect(await codeOf(resumed(at, at.admin, stop_id, 'full'))).toBe('illegal_transition')
    expect((await resumed(at, at.operator, stop_id, 'trial')).carried_out).toBe(false)
    expect(await codeOf(resumed(at, at.operator, stop_id, 'trial'))).toBe('self_approval')
    expect(await codeOf(at.submit({ topic: 'job.do.a' }))).toBe('stopped')
    expect((await resumed(at, at.admin, stop_id, 'trial')).carried_out).toBe(true)
    expect((await at.submit({ topic: 'job.do.a' })).status).toBe('queued')
    // The trial lasts as long as was declared.
    expect(await codeOf(resumed(at, at.admin, stop_id, 'full'))).toBe('illegal_transition')
    plane.clock.advance(60_000)
    expect((await resumed(at, at.admin, stop_id, 'full')).carried_out).toBe(false)
    expect((await resumed(at, at.operator, stop_id, 'full')).carried_out).toBe(true)
    expect(await codeOf(resumed(at, at.operator, stop_id, 'full'))).toBe('illegal_transition')
    const said = (await at.facts()).filter(({ kind }) => String(kind).startsWith('stop.'))
    expect(said.map(({ kind, stage, actor }) => [kind, stage, actor])).toEqual([
      ['stop.raised', 'stopped', 'person:olga'],
      ['stop.resume_requested', 'stopped', 'person:olga'],
      ['stop.refused', undefined, 'person:olga'],
      ['stop.resumed', 'trial', 'person:root'],
      ['stop.resume_requested', 'trial', 'person:root'],
      ['stop.resumed', 'full', 'person:olga'],
    ])
    expect((await getStop(plane.db, at.tenant, stop_id))?.steps).toEqual([
      expect.objectContaining({ stage: 'trial', asked_by: 'person:olga', by: 'person:root' }),
      expect.objectContaining({ stage: 'full', asked_by: 'person:root', by: 'person:olga' }),
    ])
  })

  test('a trial lets a few through a minute, a few at once, and nothing of high risk', async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'tenant')
    await resumed(at, at.operator, stop_id, 'trial', 5)
    await resumed(at, at.admin, stop_id, 'trial', 5)
    expect(await codeOf(at.submit({ topic: 'job.do.a', action_type: 'delete' }))).toBe('stopped')
    for (let n = 0; n < 5; n++) await at.submit({ topic: 'job.do.a' })
    expect(await codeOf(at.submit({ topic: 'job.do.a' }))).toBe('rate_limited')
    const leased = await at.claim(['job.do.a'], { capacity: 10 })
    expect(leased).toHaveLength(3)
    expect(await at.claim(['job.do.a'], { capacity: 10 })).toEqual([])
    await at.succeed(leased[0]?.lease ?? '')
    expect(await at.claim(['job.do.a'], { capacity: 10 })).toHaveLength(1)
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test(`${proves('A10')} a trial runs as many a minute as it says, also of what waited in the queue`, async () => {
    const at = await plane.tenant(POLICY)
    for (let n = 0; n < 12; n++) await at.submit({ topic: 'job.do.a' })
    const { stop_id } = await stopped(at, 'tenant')
    await resumed(at, at.operator, stop_id, 'trial', 2)
    await resumed(at, at.admin, stop_id, 'trial', 2)
    const node = at.on(plane.node())
    const ranIn = async (ms: number) => {
      let ran = 0
      for (const until = plane.clock.now() + ms; plane.clock.now() < until; plane.clock.advance(1100)) {
        const leases = await Promise.all([at.claim(['job.do.a'], { capacity: 5 }), node.claim(['job.do.a'])])
        for (const { lease } of leases.flat()) {
          ran++
          await at.succeed(lease)
        }
      }
      return ran
    }
    plane.clock.advance(60_000 - (plane.clock.now() % 60_000))
    expect(await ranIn(50_000)).toBe(2)
    plane.clock.advance(120_000)
    expect(await ranIn(10_000)).toBe(2)
    expect(await violations(plane, at.tenant)).toEqual([])
  })

  test('is for people: not for a service with an admin’s key, nor for the agent', async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'agent', 'agent:bot')
    expect(await codeOf(resumed(at, at.agent, stop_id, 'trial'))).toBe('forbidden')
    await known(at, 'service:root', 'service', 'admin')
    const program = at.caller('admin', 'service:root')
    expect(await codeOf(resumed(at, program, stop_id, 'trial'))).toBe('forbidden')
  })

  test(`${proves('A10')} is no matter of one person with two names: who made a key of the other is no second`, async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'tenant')
    const made = { role: 'operator', principal: 'person:puppet' } as const
    const { row } = await createKey(at.world, at.tenant, at.admin.principal, made)
    const puppet = at.caller('operator', 'person:puppet', { key_id: row.key_id })
    await resumed(at, at.admin, stop_id, 'trial')
    expect(await codeOf(resumed(at, puppet, stop_id, 'trial'))).toBe('self_approval')
    await resumed(at, at.operator, stop_id, 'trial', 3)
    await resumed(at, puppet, stop_id, 'trial', 4)
    expect(await codeOf(resumed(at, at.admin, stop_id, 'trial', 4))).toBe('self_approval')
    expect((await resumed(at, at.operator, stop_id, 'trial', 4)).carried_out).toBe(true)
    expect((await at.kinds()).filter((kind) => kind === 'stop.refused')).toHaveLength(2)
  })

  test('is asked for by somebody who still may: of who was disabled or demoted since nothing is carried out', async () => {
    const at = await plane.tenant(POLICY)
    const olga = (role: string) => known(at, 'person:olga', 'person', role)
    await olga('operator')
    const { stop_id } = await stopped(at, 'tenant')
    await resumed(at, at.operator, stop_id, 'trial')
    await olga('viewer')
    expect((await resumed(at, at.admin, stop_id, 'trial')).carried_out).toBe(false)
    await olga('operator')
    plane.clock.advance(3_600_000)
    await resumed(at, at.operator, stop_id, 'trial')
    await disablePrincipal(at.world, at.admin, 'person:olga')
    const { stop, carried_out } = await resumed(at, at.admin, stop_id, 'trial')
    expect([carried_out, stop.stage, stop.resume?.by]).toEqual([false, 'stopped', 'person:root'])
    // Nor of a key that was revoked since, whoever had it.
    plane.clock.advance(3_600_000)
    const { row } = await createKey(at.world, at.tenant, 'test', { role: 'operator', principal: 'person:ada' })
    await resumed(at, at.caller('operator', 'person:ada', { key_id: row.key_id }), stop_id, 'trial')
    await revokeKey(at.world, at.tenant, 'person:root', row.key_id)
    expect((await resumed(at, at.admin, stop_id, 'trial')).carried_out).toBe(false)
  })

  test('carries out what both said: who asks for a careful trial does not carry out a wild one', async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'tenant')
    await resumed(at, at.operator, stop_id, 'trial', 10_000)
    const careful = await resumed(at, at.admin, stop_id, 'trial', 1)
    expect([careful.carried_out, careful.stop.stage]).toEqual([false, 'stopped'])
    expect(careful.stop.resume).toMatchObject({ by: 'person:root', trial_limit: 1 })
    const done = await resumed(at, at.operator, stop_id, 'trial', 1)
    expect([done.carried_out, done.stop.trial_limit]).toEqual([true, 1])
    const asked = (await at.facts()).filter(({ kind }) => kind === 'stop.resume_requested')
    expect(asked.map(({ trial_limit }) => trial_limit)).toEqual([10_000, 1])
  })

  test('one request is good for an hour', async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'tenant')
    await resumed(at, at.operator, stop_id, 'trial')
    plane.clock.advance(3_600_000)
    expect((await resumed(at, at.admin, stop_id, 'trial')).carried_out).toBe(false)
  })

  test('two who carry it out at once do it once', async () => {
    const at = await plane.tenant(POLICY)
    const { stop_id } = await stopped(at, 'tenant')
    await resumed(at, at.operator, stop_id, 'trial')
    const others = ['person:one', 'person:two'].map((name) => at.caller('admin', name))
    const codes = await Promise.all(others.map((each) => codeOf(resumed(at, each, stop_id, 'trial'))))
    expect(codes.sort()).toEqual(['done', 'illegal_transition'])
    expect((await getStop(plane.db, at.tenant, stop_id))?.steps).toHaveLength(1)
  })
})

describe('what it says of open effects', () => {
  test(`${proves('A10')} names those of other tenants to nobody but who may stop everything`, async () => {
    const [home, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const theirs = await other.lease({ topic: 'job.do.secret' })
    await other.begin(theirs.lease, 'pay-customer-4711')
    const admin = home.caller('admin', 'person:root', { tenant: 'default' })
    const { stop_id } = await stopped(home, 'everything', null, admin)
    const seen = (as: Caller) => awaitStop(home.world, as, stop_id, 0)
    expect((await seen(admin)).effects).toContainEqual(expect.objectContaining({ effect_key: 'pay-customer-4711' }))
    for (const as of [
      { ...admin, role: 'viewer' as const },
      { ...admin, permissions: ['stops:read' as const] },
    ]) {
      const { effects, effects_total } = await seen(as)
      expect(effects.filter(({ tenant }) => tenant !== 'default')).toEqual([])
      expect(effects_total).toBeGreaterThan(0)
    }
    await plane.db.query(`UPDATE stops SET stage = 'full', ended_at = 1 WHERE stop_id = $1`, [stop_id])
    await plane.db.query('UPDATE gates SET epoch = epoch + 1')
  })

  test('is of those in its scope, however many others there are', async () => {
    const at = await plane.tenant(POLICY)
    const many = await at.lease({ topic: 'job.do.a' })
    await at.begin(many.lease, 'first')
    await at.submit({ topic: 'job.do.b' }, null, at.otherAgent)
    const [mine] = await at.claim(['job.do.b'])
    plane.clock.advance(1000)
    await at.begin(mine?.lease ?? '', 'pay')
    // As eleven jobs with a thousand each would: a job may have 1,000.
    await plane.db.query(
      `INSERT INTO effects SELECT (json_populate_record(e, json_build_object('effect_key', 'e' || g))).*
       FROM effects e, generate_series(1, 10000) g WHERE e.tenant = $1 AND e.effect_key = 'first'`,
      [at.tenant],
    )
    const one = await stopped(at, 'agent', 'agent:other')
    const ofOne = await awaitStop(at.world, at.operator, one.stop_id, 0)
    expect(ofOne).toMatchObject({ effects_total: 1, effects: [{ effect_key: 'pay', agent: 'agent:other' }] })
    const all = await stopped(at, 'tenant')
    const ofAll = await awaitStop(at.world, at.operator, all.stop_id, 0)
    expect([ofAll.effects_total, ofAll.effects.length]).toEqual([10_002, 500])
  })
})

describe('nodes', () => {
  const node = (name: string) => ({ node: `node_${name}`, name })
  test('confirm once they have read the gate, and one that is silent leaves it unconfirmed', async () => {
    const at = await plane.tenant(POLICY)
    const now = plane.clock.now()
    const rows = [node('a'), node('b')]
    for (const { node, name } of rows)
      await plane.db.query('INSERT INTO nodes VALUES ($1, $2, $3, $3)', [node, name, now])
    const other = plane.node()
    const { stop_id } = await stopped(at, 'tenant')
    const status = () => awaitStop(at.world, at.operator, stop_id, 0)
    plane.clock.advance(40)
    await confirm(at.world, node('a'))
    expect(await status()).toMatchObject({
      confirmed: false,
      nodes: [
        { node: 'a', confirmed_ms: 40 },
        { node: 'b', confirmed_ms: null, silent_ms: 40 },
      ],
    })
    plane.clock.advance(960)
    await confirm(other, node('b'))
    expect(await status()).toMatchObject({ confirmed: true, confirmed_ms: 1000 })
    expect(await confirm(other, node('b'))).toBe(0)
    await plane.db.query('DELETE FROM nodes')
  })

  test('another goes on where the one that raised it died before it had asked all to end', async () => {
    const at = await plane.tenant(POLICY)
    const leased = await at.lease({ topic: 'job.do.a' })
    plane.db.tap = async (sql, send) => {
      if (sql.includes('INSERT INTO stop_leases')) throw new Error('dies here')
      return send()
    }
    const { stop_id } = await stopped(at, 'tenant')
    plane.db.tap = null
    const status = () => awaitStop(at.world, at.operator, stop_id, 0)
    expect(await status()).toMatchObject({ confirmed: false, leases: { total: 0 } })
    expect((await at.beat(leased.lease)).answer).toBe('ok')
    await enforceStops(plane.node())
    expect((await at.beat(leased.lease)).answer).toBe('cancel')
    expect(await status()).toMatchObject({ confirmed: false, leases: { total: 1, open: 1 } })
    await enforceStops(plane.node())
    await at.fail(leased.lease)
    expect(await status()).toMatchObject({ confirmed: true })
  })
})
