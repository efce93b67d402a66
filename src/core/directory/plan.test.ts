import { describe, expect, test } from 'vitest'
import type { Role } from '../access.js'
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
  const { principal, kind, role, team, name, email, terms } = each
  return { principal, kind, role, team, name, email, terms }
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
