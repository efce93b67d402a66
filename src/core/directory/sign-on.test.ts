import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDirectory } from './parse.js'
import { planSignOn } from './plan-sign-on.js'

const parse = (groups: string) =>
  parseDirectory({ path: 'sallyport.yaml', text: `version: v1\nteams: [{ team: finance }]\nsign_on:\n${groups}` })

describe('groups in the file', () => {
  test('keep their order, which is their rank', () => {
    const { document, faults } = parse(
      '  groups:\n    - { group: "CN=Leads, O=x", role: approver, team: finance }\n    - { group: staff, role: viewer }\n',
    )
    expect(faults).toEqual([])
    expect(document?.groups).toEqual([
      { group: 'CN=Leads, O=x', role: 'approver', team: 'finance' },
      { group: 'staff', role: 'viewer', team: null },
    ])
  })

  test.each([
    ['  groups: [{ group: a, role: agent }]', 'bad_value'],
    ['  groups: [{ group: a }]', 'missing_key'],
    ['  groups: [{ role: viewer }]', 'missing_key'],
    ['  groups: [{ group: a, role: viewer }, { group: a, role: admin }]', 'duplicate_id'],
    ['  groups: { a: viewer }', 'wrong_type'],
    ['  group: []', 'unknown_key'],
  ])('%s is refused with its place', (text, code) => {
    const { document, faults } = parse(text)
    expect([document, faults.map((fault) => fault.code)]).toEqual([null, expect.arrayContaining([code])])
  })
})

test('there are at most a thousand', () => {
  const groups = (count: number) =>
    `  groups:\n${Array.from({ length: count }, (_, n) => `    - { group: g${n}, role: viewer }`).join('\n')}\n`
  expect(parse(groups(1000)).document?.groups).toHaveLength(1000)
  expect(parse(groups(1001)).faults.map(({ message }) => message)).toEqual(['at most 1000 groups'])
})

describe('who may map groups', () => {
  const rule = (group: string, role: 'admin' | 'viewer', team: string | null = null) => ({ group, role, team })
  const admins = [rule('a', 'admin')]
  const plan = (
    before: typeof admins,
    after: typeof admins | undefined,
    permissions: null | 'directory:write'[],
    whole = true,
  ) =>
    planSignOn(before, after, new Set(['finance']), {
      caller: { tenant: 't', principal: 'person:x', role: 'admin', permissions },
      now: 1,
      whole,
    })
  test('an admin may; what the file leaves out is gone, and what a call leaves out stays', () => {
    expect(plan([], admins, null)).toMatchObject({ groups: admins, faults: [], facts: [{ kind: 'sign_on.declared' }] })
    expect(plan(admins, undefined, null)).toMatchObject({ groups: [], removed: ['a'] })
    expect(plan(admins, undefined, null, false)).toMatchObject({ groups: null, facts: [] })
    expect(plan(admins, admins, null)).toMatchObject({ groups: null, facts: [], change: null })
  })

  test('a narrowed one may neither make, remove, re-team nor outrank a rule for more than it may', () => {
    const faults = (before: typeof admins, after: typeof admins) =>
      plan(before, after, ['directory:write']).faults.map(({ path }) => path)
    expect(faults([], admins)).toEqual(['sign_on.groups.a.role'])
    expect(faults(admins, [])).toEqual(['sign_on.groups.a.role'])
    expect(faults(admins, [rule('a', 'admin', 'finance')])).toContain('sign_on.groups.a.role')
    expect(faults([rule('v', 'viewer'), ...admins], [...admins, rule('v', 'viewer')])).toContain(
      'sign_on.groups.a.role',
    )
    expect(faults(admins, admins)).toEqual([])
  })

  test('may be told by each rule for itself: what stood above it, and what it was', () => {
    const rules = fc.uniqueArray(
      fc.record({
        group: fc.constantFrom('a', 'b', 'c', 'd'),
        role: fc.constantFrom('admin' as const, 'viewer' as const),
        team: fc.constantFrom(null, 'finance'),
      }),
      { selector: ({ group }) => group, maxLength: 4 },
    )
    const above = (group: string, all: typeof admins) => {
      const place = all.findIndex((each) => each.group === group)
      return place < 0 ? null : [all.slice(0, place + 1).map(({ group, role }) => [group, role]), all[place]?.team]
    }
    fc.assert(
      fc.property(rules, rules, (before, after) => {
        const touched = [...before, ...after].filter(
          ({ group }) => JSON.stringify(above(group, before)) !== JSON.stringify(above(group, after)),
        )
        const isSame = JSON.stringify(before) === JSON.stringify(after)
        expect(plan(before, after, ['directory:write']).faults.map(({ path }) => path)).toEqual(
          isSame ? [] : touched.map(({ group }) => `sign_on.groups.${group}.role`),
        )
      }),
    )
  })

  test('a rule into a team that is not there is refused', () => {
    expect(plan([], [rule('v', 'viewer', 'sales')], null).faults).toEqual([
      { path: 'sign_on.groups.v.team', message: "there is no team 'sales'" },
    ])
  })
})
