import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Caller } from '../core/access.js'
import type { DirectoryDocument } from '../core/directory/document.js'
import { UNBOUND } from '../core/principal.js'
import { putAbsence } from './absences.js'
import { approve, edit, requestChanges } from './approve.js'
import { applyDirectory } from './directory.js'
import { createKey, revokeKey } from './keys.js'

/** Who is asked, in which order, by when, and who steps in: as a tenant with people in it sees it. */
const HOUR = 3_600_000
const flow = (approval: string, more = '') => `
version: v1
default_decision: DENY
rules:
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: ${approval} }
${more}`

const person = (principal: string, team: string | null, role: 'approver' | 'admin' = 'approver') => ({
  principal,
  kind: 'person' as const,
  role,
  team,
  name: null,
  email: null,
  terms: null,
})
const OFFICE: DirectoryDocument = {
  teams: [
    { team: 'support', name: null, leads: ['person:lea'], on_call: ['person:otto'] },
    { team: 'finance', name: null, leads: ['person:fay'], on_call: [] },
  ],
  principals: [
    person('person:lea', 'support'),
    person('person:otto', 'support'),
    person('person:fay', 'finance'),
    person('person:fin', 'finance'),
    person('person:root', null, 'admin'),
    {
      ...person('agent:bot', 'support'),
      kind: 'agent',
      role: 'agent',
      terms: UNBOUND,
    },
  ],
}

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

interface Office {
  t: Tenancy
  lea: Caller
  otto: Caller
  fay: Caller
  fin: Caller
  root: Caller
}
async function office(policy: string): Promise<Office> {
  const t = await plane.tenant(flow('{ from: [role:approver] }'))
  await applyDirectory(t.world, t.caller('admin', 'person:founder'), OFFICE, 'file')
  await t.activate(policy)
  const as = (name: string, team: string | null, leads: string[] = []) =>
    t.caller(name === 'root' ? 'admin' : 'approver', `person:${name}`, { team, leads })
  return {
    t,
    lea: as('lea', 'support', ['support']),
    otto: as('otto', 'support'),
    fay: as('fay', 'finance', ['finance']),
    fin: as('fin', 'finance'),
    root: as('root', null),
  }
}
const asked = async (t: Tenancy, input?: object) => {
  const body = { topic: 'job.ask.it', ...(input === undefined ? {} : { input: input as never }) }
  const { job_id, approval_id } = await t.submit(body)
  return { job_id, approval_id: approval_id as string }
}
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])

describe('routing', () => {
  test(`${proves('A2')} a question goes to the lead of the team that owns the agent, and to nobody else`, async () => {
    const { t, lea, otto, fay, root } = await office(flow('{ from: [lead:owner], within: 1h }'))
    const { job_id, approval_id } = await asked(t)
    expect((await t.approval(approval_id)).asked_of).toEqual(['person:lea'])
    for (const who of [otto, fay, root]) expect(await codeOf(t.approve(approval_id, who))).toBe('not_an_approver')
    await t.approve(approval_id, lea)
    expect((await t.job(job_id)).status).toBe('queued')
    expect(await t.claim(['job.ask.it'])).toHaveLength(1)
    await held(t)
  })

  test('who is no longer the lead when it is answered may not answer, and who has become it may', async () => {
    const { t, lea, otto, root } = await office(flow('{ from: [lead:owner], within: 1h }'))
    const { approval_id } = await asked(t)
    const team = { team: 'support', name: null, leads: ['person:otto'], on_call: [] }
    await applyDirectory(t.world, root, { teams: [team], principals: [] }, 'api')
    await t.sweep()
    expect((await t.approval(approval_id)).asked_of).toEqual(['person:otto'])
    expect((await t.kinds()).filter((kind) => kind === 'approval.rerouted')).toHaveLength(1)
    expect(await codeOf(t.approve(approval_id, lea))).toBe('not_an_approver')
    expect((await t.approve(approval_id, otto)).status).toBe('approved')
    await held(t)
  })

  test('whoever a first key declares is asked from then on, on every node, and routed by their team', async () => {
    const { t } = await office(flow('{ from: [role:approver, team:finance], within: 1h }'))
    const there = t.on(plane.node())
    const names = async (on: Tenancy) => (await t.approval((await asked(on)).approval_id)).asked_of
    for (const on of [t, there]) expect(await names(on)).not.toContain('person:zoe')
    await createKey(t.world, t.tenant, 'system:start', { role: 'approver', principal: 'person:zoe', team: 'finance' })
    for (const on of [t, there]) expect(await names(on)).toContain('person:zoe')
    await held(t)
  })

  test(`${proves('A4')} who made the key that asks, by any key of theirs, may not answer`, async () => {
    const { t, lea, otto } = await office(flow('{ from: [team:support], within: 1h }'))
    await createKey(t.world, t.tenant, 'person:lea', { role: 'agent', principal: 'agent:bot' })
    const { approval_id } = await asked(t)
    expect(await problemOf(t.approve(approval_id, lea))).toMatchObject({ code: 'self_approval' })
    expect(await codeOf(t.approve(approval_id, { ...lea, key_id: 'key_other' }))).toBe('self_approval')
    expect((await t.approve(approval_id, otto)).status).toBe('approved')
    expect((await t.kinds()).filter((kind) => kind === 'approval.refused')).toHaveLength(1)
    await held(t)
  })
})

describe('levels', () => {
  const SEQUENCE =
    '{ levels: [ { from: [lead:owner], within: 1h }, { from: [team:finance], need: 2, within: 2h } ], then: deny }'

  test(`${proves('A3')} in sequence: each is asked when the one before has its people`, async () => {
    const { t, lea, fay, fin } = await office(flow(SEQUENCE))
    const { job_id, approval_id } = await asked(t)
    const first = await t.approval(approval_id)
    expect(first).toMatchObject({ asked_of: ['person:lea'], expires_at: first.requested_at + HOUR })
    expect(await codeOf(t.approve(approval_id, fay))).toBe('not_an_approver')
    plane.clock.advance(HOUR - 1)
    await t.approve(approval_id, lea)
    const second = await t.approval(approval_id)
    expect(second).toMatchObject({
      status: 'pending',
      asked_of: ['person:fay', 'person:fin'],
      expires_at: plane.clock.now() + 2 * HOUR,
    })
    expect(await codeOf(t.approve(approval_id, lea))).toBe('not_an_approver')
    await t.approve(approval_id, fay)
    expect(await codeOf(t.approve(approval_id, fay))).toBe('approval_closed')
    expect(await codeOf(t.approve(approval_id, { ...fay, key_id: 'key_second' }))).toBe('approval_closed')
    await t.approve(approval_id, fin)
    expect((await t.job(job_id)).status).toBe('queued')
    expect(await t.claim(['job.ask.it'])).toHaveLength(1)
    await held(t)
  })

  test(`${proves('A3')} in parallel: in any order, each person once`, async () => {
    const { t, lea, fay } = await office(
      flow(SEQUENCE.replace('then: deny', 'order: parallel').replace('need: 2, ', '')),
    )
    const { job_id, approval_id } = await asked(t)
    expect((await t.approval(approval_id)).asked_of).toEqual(['person:fay', 'person:fin', 'person:lea'])
    await t.approve(approval_id, fay)
    await t.approve(approval_id, lea)
    expect((await t.job(job_id)).status).toBe('queued')
    await held(t)
  })

  test(`${proves('A3')} a timeout never allows, at whichever level`, async () => {
    const { t, lea } = await office(flow(SEQUENCE))
    const { job_id, approval_id } = await asked(t)
    await t.approve(approval_id, lea)
    plane.clock.advance(2 * HOUR)
    expect(await codeOf(t.approve(approval_id, t.caller('approver', 'person:fay', { team: 'finance' })))).toBe(
      'approval_closed',
    )
    await t.sweep()
    expect(await t.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'approval_expired' })
    expect(await t.claim(['job.ask.it'])).toEqual([])
    await held(t)
  })

  test('an earlier answer of a key that was revoked since opens its level again', async () => {
    const { t, lea, otto, fay, root } = await office(
      flow(SEQUENCE.replace('lead:owner', 'team:support').replace('need: 2, ', '')),
    )
    const { approval_id } = await asked(t)
    const { row } = await createKey(t.world, t.tenant, 'person:founder', { role: 'approver', principal: 'person:lea' })
    await t.approve(approval_id, { ...lea, key_id: row.key_id })
    await revokeKey(t.world, t.tenant, root.principal, row.key_id)
    expect(await codeOf(t.approve(approval_id, fay))).toBe('not_an_approver')
    await t.approve(approval_id, otto)
    expect((await t.approval(approval_id)).answers.map(({ by }) => by)).toEqual(['person:otto'])
    await t.approve(approval_id, fay)
    expect((await t.approval(approval_id)).status).toBe('approved')
    await held(t)
  })
})

describe('a ladder', () => {
  const CLIMBS = '{ from: [lead:owner], within: 1h, then: escalate }'

  test(`${proves('A3')} past its time who is on call is asked too, then admins, and then it expires`, async () => {
    const { t, otto, root } = await office(flow(CLIMBS))
    const [early, late] = [await asked(t), await asked(t)]
    expect(await codeOf(t.approve(early.approval_id, otto))).toBe('not_an_approver')
    plane.clock.advance(HOUR)
    await t.sweep()
    expect(await t.approval(early.approval_id)).toMatchObject({
      status: 'pending',
      asked_of: ['person:lea', 'person:otto'],
      due_at: plane.clock.now() + HOUR,
    })
    await t.approve(early.approval_id, otto)
    expect((await t.job(early.job_id)).status).toBe('queued')
    plane.clock.advance(HOUR)
    await t.sweep()
    expect((await t.approval(late.approval_id)).asked_of).toEqual(['person:lea', 'person:otto', 'person:root'])
    plane.clock.advance(HOUR)
    expect(await codeOf(t.approve(late.approval_id, root))).toBe('approval_closed')
    await t.sweep()
    expect(await t.job(late.job_id)).toMatchObject({ status: 'expired' })
    expect((await t.kinds(late.job_id)).filter((kind) => kind === 'approval.escalated')).toHaveLength(2)
    await held(t)
  })

  test('nobody is there to ask: it is climbed at once', async () => {
    const { t, lea } = await office(flow(CLIMBS))
    const now = plane.clock.now()
    await putAbsence(t.world, lea, 'person:lea', { from: now, until: now + HOUR })
    const { approval_id } = await asked(t)
    expect((await t.approval(approval_id)).asked_of).toEqual(['person:otto'])
    await held(t)
  })

  test('a node that looks late asks the rung when it looks, and lets nothing through', async () => {
    const { t, otto } = await office(flow(CLIMBS))
    const { approval_id } = await asked(t)
    plane.clock.advance(1.5 * HOUR)
    expect(await codeOf(t.approve(approval_id, otto))).toBe('not_an_approver')
    await t.sweep()
    expect(await t.approval(approval_id)).toMatchObject({ due_at: plane.clock.now() + HOUR })
    await t.approve(approval_id, otto)
    await held(t)
  })
})

describe('a reminder', () => {
  const reminded = async (t: Tenancy, approval_id: string) =>
    (await t.facts()).filter((fact) => fact.kind === 'approval.reminded' && fact.approval_id === approval_id)

  test(`${proves('A3')} goes to who has not answered when the time to remind has come, once for each level`, async () => {
    const two =
      '{ levels: [ { from: [team:finance], need: 2, within: 1h, remind_after: 10m }, { from: [lead:owner], within: 4h } ] }'
    const { t, fay, fin, lea } = await office(flow(two))
    const { job_id, approval_id } = await asked(t)
    await t.approve(approval_id, fay)
    plane.clock.advance(600_000 - 1)
    await t.sweep()
    expect(await reminded(t, approval_id)).toEqual([])
    plane.clock.advance(1)
    for (let look = 0; look < 3; look++) await t.sweep()
    expect(await reminded(t, approval_id)).toMatchObject([
      { actor: 'system:sweeper', job_id, asked_of: 'person:fin', at: plane.clock.now() },
    ])
    await t.approve(approval_id, fin)
    plane.clock.advance(2 * HOUR)
    await t.sweep()
    expect((await reminded(t, approval_id)).map(({ asked_of }) => asked_of)).toEqual(['person:fin', 'person:lea'])
    const { reminders, status } = await t.approval(approval_id)
    expect([status, reminders.map(({ level }) => level)]).toEqual(['pending', [0, 1]])
    expect((await t.kinds(job_id)).filter((kind) => kind === 'approval.rerouted')).toEqual([])
    expect((await t.approve(approval_id, lea)).status).toBe('approved')
    await held(t)
  })

  test('is none where somebody answered in time, nor where a node looks when others are asked already', async () => {
    const { t, lea } = await office(flow('{ from: [lead:owner], within: 1h, then: escalate }'))
    const [answered, late] = [await asked(t), await asked(t)]
    await t.approve(answered.approval_id, lea)
    plane.clock.advance(HOUR)
    await t.sweep()
    expect(await reminded(t, answered.approval_id)).toEqual([])
    expect(await reminded(t, late.approval_id)).toEqual([])
    expect((await t.kinds(late.job_id)).filter((kind) => kind === 'approval.escalated')).toHaveLength(1)
    await held(t)
  })
})

describe('who is away', () => {
  const LEAD = '{ from: [lead:owner], within: 4h }'

  test(`${proves('A3')} is stood in for by their delegate, in their name, and is asked again when back`, async () => {
    const { t, lea, otto, fin } = await office(flow(LEAD))
    const [first, second] = [await asked(t), await asked(t)]
    const now = plane.clock.now()
    await putAbsence(t.world, lea, 'person:lea', { from: now, until: now + HOUR, delegate: 'person:fin' })
    await t.sweep()
    expect((await t.approval(first.approval_id)).asked_of).toEqual(['person:fin'])
    expect(await codeOf(t.approve(first.approval_id, otto))).toBe('not_an_approver')
    expect(await t.approve(first.approval_id, fin)).toMatchObject({
      status: 'approved',
      answers: [{ by: 'person:fin', for: 'person:lea', as: ['lead:owner'] }],
    })
    expect((await t.facts()).find((fact) => fact.kind === 'approval.approved')).toMatchObject({ for: 'person:lea' })
    plane.clock.advance(HOUR)
    expect(await codeOf(t.approve(second.approval_id, fin))).toBe('not_an_approver')
    await t.sweep()
    expect((await t.approval(second.approval_id)).asked_of).toEqual(['person:lea'])
    await held(t)
  })

  test('is so on every node from the answer on, and over again', async () => {
    const { t, lea, fin } = await office(flow(LEAD))
    const other = t.on(plane.node())
    const [first, second] = [await asked(other), await asked(other)]
    expect(await codeOf(other.approve(first.approval_id, fin))).toBe('not_an_approver')
    const now = plane.clock.now()
    await putAbsence(t.world, lea, 'person:lea', { from: now, until: now + HOUR, delegate: 'person:fin' })
    expect(await codeOf(other.approve(first.approval_id, fin))).toBe('done')
    await putAbsence(t.world, lea, 'person:lea', { from: 0, until: 0 })
    expect(await codeOf(other.approve(second.approval_id, fin))).toBe('not_an_approver')
    expect(await codeOf(other.approve(second.approval_id, lea))).toBe('done')
    await held(t)
  })

  test(`${proves('A2')} is answered by nobody who named themselves: neither an admin nor a lead says that they are the delegate`, async () => {
    const { t, lea, otto, root } = await office(flow(LEAD))
    const now = plane.clock.now()
    for (const who of [lea, root]) {
      const body = { from: now, until: now + HOUR, delegate: who.principal }
      expect(await codeOf(putAbsence(t.world, who, 'person:otto', body))).toBe('invalid')
    }
    expect(
      await codeOf(putAbsence(t.world, otto, 'person:otto', { from: now, until: now + HOUR, delegate: 'person:fin' })),
    ).toBe('done')
    await held(t)
  })

  test('is said by themselves, by a lead of theirs or by who keeps the directory; others are refused, on record', async () => {
    const { t, lea, otto, fay, root } = await office(flow(LEAD))
    const now = plane.clock.now()
    const body = { from: now, until: now + HOUR, delegate: 'person:fin' }
    for (const who of [otto, lea, root]) await putAbsence(t.world, who, 'person:otto', body)
    expect(await codeOf(putAbsence(t.world, fay, 'person:otto', body))).toBe('forbidden')
    expect((await t.kinds()).filter((kind) => kind === 'absence.refused')).toHaveLength(1)
    expect(await codeOf(putAbsence(t.world, root, 'person:who', body))).toBe('not_found')
    for (const delegate of ['person:otto', 'person:nobody', 'agent:bot'])
      expect(await codeOf(putAbsence(t.world, otto, 'person:otto', { ...body, delegate }))).toBe('invalid')
    await held(t)
  })
})

describe('a flow that nobody can satisfy', () => {
  test('is refused when it is declared, with the rule and what is missing', async () => {
    const { t } = await office(flow('{ from: [team:finance] }'))
    const refused = async (approval: string) => {
      const problem = await problemOf(t.activate(flow(approval)))
      return [problem.code, ...(problem.extra.faults as { code: string }[]).map(({ code }) => code)].join()
    }
    expect(await refused('{ from: [team:finance], need: 3 }')).toBe('policy_invalid,unsatisfiable_flow')
    expect(await refused('{ from: [lead:nowhere] }')).toBe('policy_invalid,unsatisfiable_flow,unsatisfiable_flow')
    expect(await refused('{ levels: [ { from: [lead:support] }, { from: [principal:person:lea] } ] }')).toBe(
      'policy_invalid,unsatisfiable_flow',
    )
  })

  const FINANCED = flow('{ levels: [ { from: [lead:owner] }, { from: [team:finance], need: 2 } ] }')
  const owned = (team: string, principal = 'agent:bot'): DirectoryDocument => ({
    teams: [],
    principals: [{ ...person(principal, team), kind: 'agent', role: 'agent', terms: UNBOUND }],
  })

  test('is judged of the teams that own agents: refused where none can, said where some cannot', async () => {
    const { t, root } = await office(flow('{ from: [team:finance] }'))
    await applyDirectory(t.world, root, owned('finance'), 'api')
    const problem = await problemOf(t.activate(FINANCED))
    expect(problem.extra.faults).toMatchObject([
      { code: 'unsatisfiable_flow', message: expect.stringContaining("agents of team 'finance'") },
    ])
    await applyDirectory(t.world, root, owned('support', 'agent:other'), 'api')
    const { snapshot } = await t.activate(FINANCED)
    expect(snapshot.warnings).toMatchObject([{ severity: 'warning', code: 'unsatisfiable_flow' }])
  })

  test(`${proves('A2')} for an agent of one team is told when it comes to that, once`, async () => {
    const { t, fay, fin, root } = await office(flow('{ from: [team:finance] }'))
    await applyDirectory(t.world, root, owned('finance'), 'api')
    await applyDirectory(t.world, root, owned('support', 'agent:other'), 'api')
    await t.activate(FINANCED)
    const { approval_id } = await asked(t)
    const told = async () => (await t.facts()).filter(({ kind }) => kind === 'approval.unanswerable')
    expect(await told()).toEqual([])
    await t.approve(approval_id, fay)
    expect(await told()).toMatchObject([{ approval_id, flow: 0, level: 1, asked_of: 'person:fin' }])
    await t.approve(approval_id, fin)
    await applyDirectory(t.world, root, { teams: [], principals: [person('person:third', 'sales')] }, 'api').catch(
      () => null,
    )
    await t.sweep()
    expect(await told()).toHaveLength(1)
    expect((await t.approval(approval_id)).lacking).toMatchObject([{ spec: 0, level: 1 }])
    // Who joins can complete it.
    await applyDirectory(t.world, root, { teams: [], principals: [person('person:third', 'finance')] }, 'api')
    await t.sweep()
    expect((await t.approval(approval_id)).asked_of).toEqual(['person:third'])
    expect((await t.approval(approval_id)).lacking).toBe(null)
    await t.approve(approval_id, t.caller('approver', 'person:third', { team: 'finance' }))
    expect((await t.approval(approval_id)).status).toBe('approved')
    await held(t)
  })

  test('is told of a question that is put and reaches nobody', async () => {
    const { t, root } = await office(flow('{ from: [lead:owner], within: 1h }'))
    const support = { team: 'support', name: null, leads: [], on_call: [] }
    await applyDirectory(t.world, root, { teams: [support], principals: [] }, 'api')
    const { approval_id } = await asked(t)
    expect((await t.kinds()).filter((kind) => kind === 'approval.unanswerable')).toHaveLength(1)
    expect((await t.approval(approval_id)).asked_of).toEqual([])
  })

  test('passes where only keys are known', async () => {
    const t = await plane.tenant(flow('{ from: [team:anybody], need: 7 }'))
    expect((await asked(t)).approval_id).toMatch(/^apr_/)
  })
})

describe('edit and approve', () => {
  const EDITABLE = flow(
    '{ from: [role:approver], within: 1h }',
    `
  - { id: much, match: { topic: job.ask.* }, when: has(input.amount) && input.amount > 100, decision: DENY, reason: too much }
  - { id: two, match: { topic: job.ask.* }, when: has(input.amount) && input.amount > 50, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 1h } }
`,
  )
  const editing = async (t: Tenancy, id: string, input: object, as = t.approver) =>
    edit(t.world, as, id, { grant_hash: (await t.approval(id)).grant_hash, input, note: 'less' })

  test(`${proves('A5')} the worker gets what was edited; the new hash is asked at the door, and the change is kept`, async () => {
    const t = await plane.tenant(EDITABLE)
    const { job_id, approval_id } = await asked(t, { amount: 40, to: 'somebody' })
    const before = await t.approval(approval_id)
    const after = await editing(t, approval_id, { amount: 20, to: 'somebody' })
    expect(after.status).toBe('approved')
    expect(after.grant_hash).not.toBe(before.grant_hash)
    expect(after.job_hash).not.toBe(before.job_hash)
    expect(after.edits).toMatchObject([{ by: 'person:ann', paths: ['amount'], note: 'less' }])
    const [lease] = await t.claim(['job.ask.it'])
    expect(lease?.job).toMatchObject({ job_id, input: { amount: 20, to: 'somebody' } })
    const fact = (await t.facts()).find(({ kind }) => kind === 'approval.edited')
    expect(fact).toMatchObject({ actor: 'person:ann', before: before.grant_hash, grant_hash: after.grant_hash })
    expect(JSON.stringify(fact)).not.toContain('somebody')
    expect(Object.keys(fact ?? {})).toEqual(expect.arrayContaining(['input_before', 'input_hash', 'paths']))
    await held(t)
  })

  test(`${proves('A5')} an edit that policy denies is refused, and nothing changes`, async () => {
    const t = await plane.tenant(EDITABLE)
    const { job_id, approval_id } = await asked(t, { amount: 40 })
    const before = [await t.job(job_id), await t.approval(approval_id)]
    expect(await problemOf(editing(t, approval_id, { amount: 500 }))).toMatchObject({
      code: 'policy_denied',
      extra: { reason: 'too much' },
    })
    expect(await codeOf(editing(t, approval_id, { amount: 40 }))).toBe('invalid')
    expect(await codeOf(edit(t.world, t.approver, approval_id, { grant_hash: 'f'.repeat(64), input: 1 }))).toBe(
      'approval_stale',
    )
    expect(await codeOf(editing(t, approval_id, { amount: 1 }, t.caller('approver', 'agent:bot')))).toBe(
      'self_approval',
    )
    expect([await t.job(job_id), await t.approval(approval_id)]).toEqual(before)
    await held(t)
  })

  test(`${proves('A5', 'A4')} earlier yeses are void, and the editor is not enough where two are needed`, async () => {
    const t = await plane.tenant(EDITABLE)
    const { job_id, approval_id } = await asked(t, { amount: 90 })
    const { grant_hash } = await t.approve(approval_id)
    const after = await editing(t, approval_id, { amount: 60 }, t.otherApprover)
    expect(after).toMatchObject({ status: 'pending', answers: [{ by: 'person:ben' }] })
    expect(await codeOf(t.approve(approval_id, t.approver, grant_hash))).toBe('approval_stale')
    await t.approve(approval_id)
    expect((await t.job(job_id)).status).toBe('queued')
    expect((await t.claim(['job.ask.it']))[0]?.job.input).toEqual({ amount: 60 })
    await held(t)
  })

  test('to what one person may approve one is enough, and twice edited is the last', async () => {
    const t = await plane.tenant(EDITABLE)
    const { approval_id } = await asked(t, { amount: 90 })
    await editing(t, approval_id, { amount: 80 })
    expect((await t.approval(approval_id)).status).toBe('pending')
    expect((await editing(t, approval_id, { amount: 30 })).status).toBe('approved')
    expect((await t.claim(['job.ask.it']))[0]?.job.input).toEqual({ amount: 30 })
    await held(t)
  })

  test('to what policy asks nobody about goes its way', async () => {
    const free = `${EDITABLE}  - { id: free, match: { topic: job.free.* }, decision: ALLOW }\n`
    const t = await plane.tenant(
      free.replace(
        'id: ask, match: { topic: job.ask.* }',
        'id: ask, match: { topic: job.free.* }, when: input.amount > 10',
      ),
    )
    const { job_id, approval_id } = await t.submit({ topic: 'job.free.it', input: { amount: 20 } })
    await editing(t, approval_id as string, { amount: 5 })
    expect(await t.job(job_id)).toMatchObject({ status: 'queued', status_reason: 'approval_not_needed' })
    expect((await t.claim(['job.free.it']))[0]?.job.input).toEqual({ amount: 5 })
    await held(t)
  })

  test('a job that has run before keeps its input', async () => {
    const t = await plane.tenant(
      EDITABLE.replace('valid_for', 'valid_for').replace(
        '{ from: [role:approver], within: 1h }',
        '{ from: [role:approver], within: 1h, valid_for: 1s }',
      ),
    )
    const { job_id, approval_id } = await asked(t, { amount: 40 })
    await t.approve(approval_id)
    const [lease] = await t.claim(['job.ask.it'])
    await t.fail(lease?.lease ?? '')
    plane.clock.advance(60_000)
    await t.claim(['job.ask.it'])
    const again = (await t.job(job_id)).approval_id as string
    expect(again).not.toBe(approval_id)
    expect(await codeOf(editing(t, again, { amount: 1 }))).toBe('approval_closed')
    await held(t)
  })
})

describe('request changes', () => {
  test(`${proves('A5')} ends the job with what would have to change`, async () => {
    const t = await plane.tenant(flow('{ from: [role:approver], within: 1h }'))
    const { job_id, approval_id } = await asked(t)
    await requestChanges(t.world, t.approver, approval_id, { reason: 'name the customer' })
    expect(await t.job(job_id)).toMatchObject({ status: 'rejected', status_reason: 'changes_requested' })
    expect(await t.approval(approval_id)).toMatchObject({
      status: 'rejected',
      answers: [{ note: 'name the customer' }],
    })
    expect(await codeOf(approve(t.world, t.approver, approval_id, { grant_hash: 'f'.repeat(64) }))).toBe(
      'approval_stale',
    )
    await held(t)
  })
})
