import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Caller, ROLES, type Role } from './access.js'
import { covers, HOME, lacksToStop, REQUEST_MS, resume, type Stop, type StopScope, TRIAL } from './stop.js'

const NOW = 1_000_000_000
const STOP: Stop = {
  tenant: 't',
  stop_id: 'stop_1',
  scope: 'tenant',
  target: null,
  reason: 'why',
  raised_by: 'person:a',
  raised_at: NOW,
  epoch: 1,
  stage: 'stopped',
  trial_until: null,
  trial_limit: null,
  resume: null,
  steps: [],
  ended_at: null,
}
const caller = (role: Role, more: Partial<Caller> = {}): Caller => ({
  ...{ tenant: 't', principal: 'person:a', role, team: null, key_id: 'key_1', topics: null, act_as: [] },
  ...{ permissions: null, leads: [], expires_at: null },
  ...more,
})

describe('a scope', () => {
  const asked = { tenant: 't', agent: 'agent:x', requested_by: 'agent:x', topic: 'job.pay.out' }
  const work = { ...asked, team: null, owners: ['desk'] }
  test.each<[StopScope, string | null, boolean]>([
    ['everything', null, true],
    ['tenant', null, true],
    ['agent', 'agent:x', true],
    ['agent', 'agent:xx', false],
    ['team', 'desk', true],
    ['team', 'other', false],
    ['topic', 'job.pay.>', true],
    ['topic', 'job.pay.*', true],
    ['topic', 'job.pay', false],
    ['topic', '>', true],
    ['agent', null, true],
  ])('%s %s covers it: %s', (scope, target, is) => {
    expect(covers({ tenant: 't', scope, target }, work)).toBe(is)
  })

  test('is of its tenant, except everything', () => {
    const elsewhere = { ...work, tenant: 'u' }
    for (const [scope, target] of [
      ['tenant', null],
      ['agent', 'agent:x'],
      ['team', 'desk'],
      ['topic', '>'],
    ] as const)
      expect(covers({ tenant: 't', scope, target }, elsewhere)).toBe(false)
    expect(covers({ tenant: 't', scope: 'everything', target: null }, elsewhere)).toBe(true)
  })

  test('of a team covers by the team of the key too', () => {
    expect(covers({ tenant: 't', scope: 'team', target: 'desk' }, { ...work, owners: [null], team: 'desk' })).toBe(true)
  })

  test('covers what somebody asks for as another, by their name and their team', () => {
    const acted = { ...work, requested_by: 'agent:front', owners: ['desk', 'shop'] }
    for (const target of ['agent:x', 'agent:front'])
      expect(covers({ tenant: 't', scope: 'agent', target }, acted)).toBe(true)
    for (const target of ['desk', 'shop']) expect(covers({ tenant: 't', scope: 'team', target }, acted)).toBe(true)
    expect(covers({ tenant: 't', scope: 'agent', target: 'agent:y' }, acted)).toBe(false)
    expect(covers({ tenant: 't', scope: 'team', target: 'other' }, acted)).toBe(false)
  })
})

describe('who may', () => {
  const lacks = (who: Caller, scope: StopScope, target: string | null = null, owner: string | null = null) =>
    lacksToStop(who, { scope, target }, owner) !== null
  test('is told by role for the tenant, and everything is for admins of the home tenant', () => {
    const may = (Object.keys(ROLES) as Role[]).filter((role) => !lacks(caller(role, { leads: ['desk'] }), 'tenant'))
    expect(may.sort()).toEqual(['admin', 'operator'])
    const all = (Object.keys(ROLES) as Role[]).filter((role) => !lacks(caller(role, { tenant: HOME }), 'everything'))
    expect(all).toEqual(['admin'])
    expect(lacks(caller('admin'), 'everything')).toBe(true)
  })

  test('leads a team', () => {
    for (const role of ['approver', 'auditor', 'viewer'] as const) {
      const lead = caller(role, { leads: ['desk'] })
      expect([lacks(lead, 'team', 'desk'), lacks(lead, 'agent', 'agent:x', 'desk')]).toEqual([false, false])
      expect([lacks(lead, 'team', 'sales'), lacks(lead, 'agent', 'agent:x', 'sales')]).toEqual([true, true])
      expect([lacks(lead, 'agent', 'agent:x'), lacks(lead, 'topic', 'desk'), lacks(lead, 'tenant')]).toEqual([
        true,
        true,
        true,
      ])
    }
    for (const role of ['agent', 'worker'] as const)
      expect(lacks(caller(role, { leads: ['desk'] }), 'team', 'desk')).toBe(true)
  })
})

describe('resuming', () => {
  const people = fc.constantFrom('person:a', 'person:b', 'person:c')
  const ask = fc.record({
    by: people,
    stage: fc.constantFrom<'trial' | 'full'>('trial', 'full'),
    later: fc.constantFrom(0, 1_000, 600_000, REQUEST_MS),
  })
  test('whatever is asked, each stage was reached by two different people, in order, and a trial lasted as declared', () => {
    fc.assert(
      fc.property(fc.array(ask, { maxLength: 30 }), (asks) => {
        let [stop, now] = [STOP, NOW]
        for (const { by, stage, later } of asks) {
          now += later
          const step = resume(stop, by, { stage, note: 'n', trial_ms: 600_000, trial_limit: null }, now)
          if (step.kind !== 'refused') stop = step.stop
        }
        expect(stop.steps.map((each) => each.stage)).toEqual(['trial', 'full'].slice(0, stop.steps.length))
        for (const each of stop.steps) expect(each.by).not.toBe(each.asked_by)
        const [trial, full] = stop.steps
        if (trial !== undefined && full !== undefined) expect(full.at - trial.at).toBeGreaterThanOrEqual(600_000)
        expect(stop.ended_at !== null).toBe(stop.stage === 'full')
      }),
    )
  })

  test('what both say is carried out, and something else is a request of its own', () => {
    const asked = { stage: 'trial' as const, note: 'n', trial_ms: 5_000, trial_limit: 2 }
    const first = resume(STOP, 'person:a', asked, NOW)
    if (first.kind !== 'requested') throw new Error(first.kind)
    const other = resume(first.stop, 'person:b', { ...asked, trial_limit: 9000 }, NOW)
    expect(other).toMatchObject({ kind: 'requested', stop: { stage: 'stopped', resume: { by: 'person:b' } } })
    const second = resume(first.stop, 'person:b', { ...asked, note: 'm' }, NOW)
    expect(second).toMatchObject({ kind: 'carried_out', stop: { trial_limit: 2, trial_until: NOW + 5_000 } })
    // Left out means what it means for both.
    const bare = resume(STOP, 'person:a', { ...asked, trial_ms: null, trial_limit: null }, NOW)
    if (bare.kind !== 'requested') throw new Error(bare.kind)
    const spelt = { ...asked, trial_ms: TRIAL.ms, trial_limit: TRIAL.limit }
    expect(resume(bare.stop, 'person:b', spelt, NOW).kind).toBe('carried_out')
  })

  test('who may be one person with who asked does not carry it out', () => {
    const asked = { stage: 'trial' as const, note: 'n', trial_ms: null, trial_limit: null }
    const first = resume(STOP, 'person:a', asked, NOW)
    if (first.kind !== 'requested') throw new Error(first.kind)
    const second = resume(first.stop, 'person:b', asked, NOW, 'person:a made a key of person:b')
    expect(second).toMatchObject({ kind: 'refused', code: 'self_approval', detail: 'person:a made a key of person:b' })
  })
})
