import { describe, expect, test } from 'vitest'
import { ROLES, type Role } from '../access.js'
import type { Principal, Source } from '../principal.js'
import type { DirectoryDocument } from './document.js'
import { type Asking, type Directory, emptyPlan, planDirectory } from './plan.js'

const NOW = 1_000
const standing = (
  principal: string,
  role: Role,
  source: Source = 'file',
  more: Partial<Principal> = {},
): Principal => ({
  tenant: 't',
  principal,
  kind: role === 'agent' || role === 'worker' ? role : 'person',
  role,
  team: null,
  name: null,
  email: null,
  terms: null,
  source,
  created_at: 1,
  updated_at: 1,
  updated_by: 'x',
  disabled_at: null,
  ...more,
})
const wanted = (each: Principal) => {
  const { principal, kind, role, team, name, email, slack = null, terms } = each
  return { principal, kind, role, team, name, email, slack, terms }
}
const asking = (role: Role = 'admin', more: Partial<Asking> = {}): Asking => ({
  caller: { tenant: 't', principal: 'me', role, permissions: null },
  now: NOW,
  source: 'file',
  whole: true,
  ...more,
})
const me = standing('me', 'admin', 'key')
const directory = (...principals: Principal[]): Directory => ({ teams: [], principals: [me, ...principals] })
const document = (...principals: Principal[]): DirectoryDocument => ({ teams: [], principals: principals.map(wanted) })
const changesOf = (before: Directory, after: DirectoryDocument, how = asking()) => {
  const { changes, faults } = planDirectory(before, after, how)
  return { changes: changes.map(({ change, id }) => `${change} ${id}`), faults: faults.map(({ message }) => message) }
}

test('nothing to change is nothing to write', () => {
  const lead = standing('lead', 'approver')
  const plan = planDirectory(directory(lead), document(lead), asking())
  expect(plan).toEqual(emptyPlan())
})

test('what an earlier file declared and this one leaves out is disabled; what a call or a key declared is left', () => {
  const before = directory(standing('a', 'viewer'), standing('b', 'viewer', 'api'), standing('c', 'agent', 'key'))
  expect(changesOf(before, document())).toEqual({ changes: ['disabled a'], faults: [] })
  expect(changesOf(before, document(), asking('admin', { whole: false }))).toEqual({ changes: [], faults: [] })
})

test('a change names its fields, and who was disabled may act again', () => {
  const before = directory(standing('a', 'viewer', 'file', { disabled_at: 5 }), standing('b', 'viewer'))
  const after = document(standing('a', 'viewer'), standing('b', 'auditor'))
  const plan = planDirectory(before, after, asking())
  expect(plan.changes).toEqual([
    { change: 'enabled', what: 'principal', id: 'a', fields: [] },
    { change: 'changed', what: 'principal', id: 'b', fields: [{ path: 'role', before: 'viewer', after: 'auditor' }] },
  ])
  expect(plan.principals.map(({ principal, disabled_at }) => [principal, disabled_at])).toEqual([
    ['a', null],
    ['b', null],
  ])
})

describe('a Slack account', () => {
  const has = (principal: string, role: Role, slack: string | null, more: Partial<Principal> = {}) =>
    standing(principal, role, 'file', { slack, ...more })
  const operator = asking('operator', { whole: false })

  test('is of one person who may act, and may be handed from one to another', () => {
    const both = document(has('a', 'viewer', 'U1'), has('b', 'viewer', 'U1'))
    expect(changesOf(directory(), both).faults).toEqual(['U1 is a already'])
    const gone = directory(has('a', 'viewer', 'U1', { disabled_at: 1 }))
    expect(changesOf(gone, document(has('b', 'viewer', 'U1')), asking('admin', { whole: false })).faults).toEqual([])
    expect(changesOf(gone, both).faults).toEqual(['U1 is a already'])
    const before = directory(has('a', 'viewer', 'U1'), has('b', 'viewer', null))
    const after = document(has('a', 'viewer', null), has('b', 'viewer', 'U1'))
    expect(changesOf(before, after)).toEqual({ changes: ['changed a', 'changed b'], faults: [] })
    expect(changesOf(directory(), document(has('bot', 'agent', 'U1'))).faults).toEqual(['only a person has one'])
  })

  test('of whoever may more is not given away by who may less: it answers as them', () => {
    const before = directory(has('ann', 'approver', 'U1'))
    const mine = document(has('ann', 'approver', 'U666'))
    expect(changesOf(before, mine, operator).faults).toEqual([
      'me may not hand out or take away what a approver may do without having it',
    ])
    const { facts } = planDirectory(before, mine, asking('admin', { whole: false }))
    expect(facts).toEqual([expect.objectContaining({ kind: 'principal.declared', principal: 'ann', slack: 'U666' })])
  })
})

describe('nobody hands out more than they have', () => {
  const hired = standing('new', 'admin')
  test('an operator makes no admin, and takes none away', () => {
    const how = asking('operator', { whole: false })
    expect(changesOf(directory(), document(hired), how).faults).toEqual([
      'me may not hand out or take away what a admin may do without having it',
    ])
    expect(changesOf(directory(hired), document(standing('new', 'viewer')), how).faults).toHaveLength(1)
  })
  test('nor does an admin whose key was narrowed', () => {
    const narrow = asking('admin', { caller: { ...asking().caller, permissions: ['directory:write'] } })
    expect(changesOf(directory(), document(hired), narrow).faults).toHaveLength(1)
  })
  describe('nor by what they take away', () => {
    // May make a viewer, and no admin.
    const permissions = [...ROLES.viewer, 'directory:write'] as const
    const clerk = asking('admin', { whole: false, source: 'api', caller: { ...asking().caller, permissions } })
    const faults = (before: Directory, after: Principal, more = {}) =>
      planDirectory(before, { teams: [], principals: [{ ...wanted(after), ...more }] }, clerk).faults
    const refused = [expect.objectContaining({ path: 'principals.new.role', beyond: true })]

    test('a narrowed key makes a viewer, and brings no admin down to one', () => {
      expect(faults(directory(), standing('x', 'viewer'))).toEqual([])
      expect(faults(directory(hired), standing('new', 'viewer'))).toEqual(refused)
    })

    test('nor lets an admin act again whom somebody disabled', () => {
      const gone = directory({ ...hired, disabled_at: 5 })
      expect(faults(gone, hired, { disabled: false })).toEqual(refused)
      expect(faults(gone, hired)).toEqual([])
      const viewer = standing('new', 'viewer')
      expect(faults(directory({ ...viewer, disabled_at: 5 }), viewer, { disabled: false })).toEqual([])
    })
  })

  test('nobody changes their own role or team', () => {
    expect(changesOf(directory(), document(standing('me', 'viewer'), hired)).faults).toEqual([
      'nobody changes their own role or team',
    ])
  })
  test('an agent may be declared by whoever may write', () => {
    expect(changesOf(directory(), document(standing('bot', 'agent')), asking('operator')).faults).toEqual([])
  })
})

test('an admin is left, whoever else goes', () => {
  const other = standing('other', 'admin')
  const before = { teams: [], principals: [other] }
  expect(changesOf(before, document()).faults).toEqual(['no admin would be left'])
})

test('a kind is for good', () => {
  const faults = changesOf(directory(standing('x', 'agent')), document(standing('x', 'viewer'))).faults
  expect(faults).toContain('is a agent; declare another principal')
})

describe('teams', () => {
  const team = { team: 'support', name: null, leads: ['lead'], on_call: [] }
  test('leads are people that there are', () => {
    const doc = { teams: [team], principals: [] }
    expect(changesOf(directory(), doc).faults).toEqual(["'lead' is no person that is declared and not disabled"])
    expect(changesOf(directory(standing('lead', 'agent', 'api')), doc).faults).toHaveLength(1)
    expect(changesOf(directory(standing('lead', 'viewer', 'api')), doc)).toEqual({
      changes: ['added support'],
      faults: [],
    })
  })
  test('nobody names themselves lead or on call; who is one stays one, and may step back', () => {
    const team = (leads: string[], on_call: string[] = []) => ({ team: 'desk', name: null, leads, on_call })
    const now = (leads: string[], on_call: string[] = []): Directory => ({
      principals: [me, standing('bo', 'approver')],
      teams: [{ tenant: 't', ...team(leads, on_call), source: 'file', updated_at: 1, updated_by: 'x' }],
    })
    const plan = (before: Directory, leads: string[], on_call: string[] = []) =>
      planDirectory(before, { principals: [], teams: [team(leads, on_call)] }, asking('admin', { whole: false }))
    expect(plan(now(['bo']), ['bo', 'me']).faults).toMatchObject([{ path: 'teams.desk.leads', beyond: true }])
    expect(plan(now(['bo']), ['bo'], ['me']).faults).toMatchObject([{ path: 'teams.desk.on_call' }])
    expect(plan({ ...now([]), teams: [] }, ['me']).faults).toMatchObject([{ path: 'teams.desk.leads' }])
    for (const leads of [['bo', 'me'], ['me'], ['bo'], []]) expect(plan(now(['me']), leads).faults).toEqual([])
  })

  test('a name is printable ASCII by every way in; who has another one since before may still be disabled', () => {
    const odd = ['person:\u0430nn', 'person:ann\u200b', ' person:ann', 'person:x\nperson:ann', '', 'x'.repeat(201)]
    for (const name of odd) {
      const plan = planDirectory(directory(), document(standing(name, 'viewer')), asking('admin', { whole: false }))
      expect(plan.faults.map(({ path }) => path)).toEqual([`principals.${name}`])
      const teams = [{ team: name, name: null, leads: [], on_call: [] }]
      expect(planDirectory(directory(), { teams, principals: [] }, asking()).faults).toMatchObject([
        { path: `teams.${name}` },
      ])
    }
    expect(changesOf(directory(standing(' ann', 'viewer')), document())).toEqual({
      changes: ['disabled  ann'],
      faults: [],
    })
  })

  test('a team that is nowhere declared is nobody’s', () => {
    const doc = document(standing('a', 'viewer', 'file', { team: 'nowhere' }))
    expect(changesOf(directory(), doc).faults).toEqual(["there is no team 'nowhere': declare it under teams"])
  })
  test('one that is left out goes, unless somebody would still be in it', () => {
    const row = { ...team, tenant: 't', leads: [], source: 'file' as const, updated_at: 1, updated_by: 'x' }
    const member = standing('a', 'viewer', 'api', { team: 'support' })
    expect(planDirectory({ teams: [row], principals: [me] }, document(), asking()).removedTeams).toEqual(['support'])
    const { faults } = planDirectory({ teams: [row], principals: [me, member] }, document(), asking())
    expect(faults.map(({ message }) => message)).toEqual(['is left out, but a would still be in it'])
  })
})

describe('one mailbox is one person', () => {
  const at = (principal: string, email: string | null, more: Partial<Principal> = {}) =>
    standing(principal, 'approver', 'api', { email, ...more })
  const planned = (before: Principal[], ...after: Principal[]) =>
    planDirectory(directory(...before), document(...after), asking('admin', { whole: false })).faults

  test('whom two have is refused, however it is written', () => {
    const [ann, eve] = [at('ann', 'ann@example.com'), at('eve', 'Ann@Example.com')]
    const fault = [{ path: 'principals.eve.email', message: 'is the address of ann already' }]
    expect(planned([ann], eve)).toEqual(fault)
    expect(planned([], ann, eve)).toEqual(fault)
    expect(planned([eve], ann)).toMatchObject([{ path: 'principals.ann.email' }])
  })

  test('but one who is disabled has none, a program’s is nobody’s, and one may take over what the other gives up', () => {
    const ann = at('ann', 'ann@example.com')
    expect(planned([at('old', 'ann@example.com', { disabled_at: 5 })], ann)).toEqual([])
    expect(planned([at('service:x', 'ann@example.com', { kind: 'service' })], ann)).toEqual([])
    expect(planned([at('old', 'ann@example.com')], at('old', null), ann)).toEqual([])
  })

  test('two who share one since before may be changed one by one, as long as it is mended', () => {
    const both = [at('ann', 'ann@example.com'), at('eve', 'ann@example.com')]
    expect(planned(both, standing('bob', 'viewer', 'api'))).toEqual([])
    expect(planned(both, at('eve', 'eve@example.com'))).toEqual([])
    expect(planned(both, at('ann', 'ann@example.com', { name: 'Ann' }))).toMatchObject([
      { path: 'principals.ann.email' },
    ])
  })
})
