import { describe, expect, test } from 'vitest'
import { anApproval } from '../../test/rows.js'
import { type Answer, type Approval, type Reviewer, tally } from './approval.js'
import { type Absence, advance, mayAnswerNow, NOBODY, named, type People, type Person, remind } from './flow.js'
import type { ApprovalSpec, Rule } from './policy/document.js'
import { flowFaults, unsatisfiable } from './satisfiable.js'

const HOUR = 3_600_000
const NOW = 10 * HOUR

const person = (
  principal: string,
  role: Person['role'],
  team: string | null,
  kind: Person['kind'] = 'person',
): Person => ({
  principal,
  role,
  team,
  kind,
})
const away = (principal: string, delegate: string | null, from_at = 0, until_at = 100 * HOUR): Absence => ({
  tenant: 't',
  principal,
  delegate,
  from_at,
  until_at,
  updated_at: 0,
  updated_by: principal,
})

/** Support owns the agent; Lea leads it, Otto and Olga are on call for it. Rita asked, of team sales, which Sam leads. */
const office = (absences: Absence[] = []): People => ({
  declared: true,
  persons: new Map(
    [
      person('ann', 'approver', 'finance'),
      person('ben', 'approver', 'finance'),
      person('lea', 'approver', 'support'),
      person('otto', 'approver', 'support'),
      person('rita', 'approver', 'sales'),
      person('sam', 'approver', 'sales'),
      person('root', 'admin', null),
      person('script', 'approver', 'finance', 'service'),
    ].map((each) => [each.principal, each]),
  ),
  teams: new Map([
    ['support', { leads: ['lea'], on_call: ['otto', 'gone'] }],
    ['sales', { leads: ['sam', 'rita'], on_call: [] }],
    ['finance', { leads: ['ann'], on_call: [] }],
  ]),
  teamsOf: new Map([
    ['agent:bot', 'support'],
    ['rita', 'sales'],
  ]),
  absences: new Map(absences.map((each) => [each.principal, each])),
})

const spec = (given: Partial<ApprovalSpec>): ApprovalSpec => ({
  from: ['team:finance'],
  need: 1,
  within_ms: HOUR,
  then: 'deny',
  valid_for_ms: HOUR,
  ...given,
})
const level = (from: string[], need = 1, within_ms = HOUR) => ({ from, need, within_ms })
const question = (specs: ApprovalSpec[], more: Partial<Approval> = {}): Approval =>
  anApproval({ specs, agent: 'agent:bot', requested_by: 'rita', raised_by: 'rita', requested_at: NOW, ...more })
const reviewer = (principal: string, people: People): Reviewer =>
  people.persons.get(principal) ?? { principal, role: 'approver', team: null }
const yes = (by: string, more: Partial<Answer> = {}): Answer => ({
  by,
  role: 'approver',
  team: null,
  key_id: 'key_1',
  answer: 'approve',
  at: NOW,
  note: null,
  ...more,
})

/** What becomes of a yes: `as …` where it is taken, else why not. */
function answerOf(
  asked: Approval,
  by: string,
  people = office(),
  makers: string[] = [],
  said: Answer['answer'] = 'approve',
) {
  const standing = mayAnswerNow(asked, said, reviewer(by, people), people, makers, NOW)
  if ('refused' in standing) return standing.refused
  return standing.capacity.for === undefined ? 'yes' : `for ${standing.capacity.for}`
}

describe('whom a word names', () => {
  test.each([
    ['role:approver', 'ann ben lea otto rita sam'],
    ['role:admin', 'root'],
    ['team:finance', 'ann ben'],
    ['team:nowhere', ''],
    ['principal:ann', 'ann'],
    ['principal:nobody', ''],
    ['lead:finance', 'ann'],
    ['lead:owner', 'lea'],
    ['lead:requester', 'sam rita'],
    ['lead:nowhere', ''],
    ['oncall:support', 'otto'],
    ['oncall:owner', 'otto'],
    ['oncall:finance', ''],
    ['owner', ''],
  ])('%s: %s', (word, names) => {
    expect(named(word, { agent: 'agent:bot', requested_by: 'rita' }, office()).join(' ')).toBe(names)
  })
})

describe('who may answer', () => {
  const finance = question([spec({})])
  const lead = question([spec({ from: ['lead:owner'] })])
  const two = spec({ levels: [level(['team:support']), level(['role:approver'])] })
  const confirm = spec({ from: ['team:finance'], kind: 'confirmation' })
  const firstDone = question([two], { answers: [yes('lea', { team: 'support' })] })
  test.each<[string, string, string, Approval]>([
    ['who is asked', 'ann', 'yes', finance],
    ['somebody of another team', 'lea', 'not_an_approver', finance],
    ['an admin, for a team', 'root', 'not_an_approver', finance],
    ['an admin, for a role', 'root', 'yes', question([spec({ from: ['role:approver'] })])],
    ['a service of the team', 'script', 'not_an_approver', finance],
    ['the requester, though asked', 'rita', 'self_approval', question([spec({ from: ['role:approver'] })])],
    ['the requester as their own lead', 'rita', 'self_approval', question([confirm])],
    ['who raised it', 'ann', 'self_approval', question([spec({})], { raised_by: 'ann' })],
    ['the agent itself', 'agent:bot', 'self_approval', question([spec({ from: ['role:approver'] })])],
    ['the lead of the team that owns the agent', 'lea', 'yes', lead],
    ['the lead of another team', 'ann', 'not_an_approver', lead],
    ['a member of the owner team who leads nothing', 'otto', 'not_an_approver', lead],
    ['who is on call for the owner team', 'otto', 'yes', question([spec({ from: ['oncall:owner'] })])],
    ['the second level while the first is open', 'ann', 'not_an_approver', question([two])],
    ['the second level when it is its turn', 'ann', 'yes', firstDone],
    ['an earlier approver of the same request', 'lea', 'answered', firstDone],
    [
      'who has answered already',
      'ann',
      'answered',
      question([spec({ need: 2 })], { answers: [yes('ann', { team: 'finance' })] }),
    ],
    ['the requester’s lead, to confirm', 'sam', 'yes', question([confirm])],
    ['the requester’s lead, with four eyes', 'sam', 'not_an_approver', finance],
  ])('%s: %s', (_what, who, outcome, asked) => {
    expect(answerOf(asked, who)).toBe(outcome)
  })

  test('not who made a key of the requester or the agent', () => {
    expect(answerOf(finance, 'ann', office(), ['ann'])).toBe('self_approval')
    expect(answerOf(finance, 'ben', office(), ['ann'])).toBe('yes')
  })

  test('whom the directory does not know answers by what their key says', () => {
    const stranger: Reviewer = { principal: 'new', role: 'approver', team: 'finance' }
    expect('capacity' in mayAnswerNow(finance, 'approve', stranger, NOBODY, [], NOW)).toBe(true)
    // What only the directory can say of somebody, a key does not.
    expect('capacity' in mayAnswerNow(lead, 'approve', stranger, NOBODY, [], NOW)).toBe(false)
  })

  test('whom the directory knows answers by what it says now, whatever their key said', () => {
    const moved: Reviewer = { principal: 'lea', role: 'approver', team: 'finance' }
    expect(mayAnswerNow(finance, 'approve', moved, office(), [], NOW)).toMatchObject({ refused: 'not_an_approver' })
  })

  test('a no is taken from every level, its turn or not, and from rungs that are still to come', () => {
    const asked = question([{ ...two, then: 'escalate' }])
    expect(answerOf(asked, 'ann', office(), [], 'reject')).toBe('yes')
    expect(answerOf(asked, 'root', office(), [], 'reject')).toBe('yes')
    expect(answerOf(asked, 'rita', office(), [], 'reject')).toBe('self_approval')
    expect(answerOf(finance, 'otto', office(), [], 'reject')).toBe('not_an_approver')
  })
})

describe('in the place of who is away', () => {
  const finance = question([spec({})])
  test.each<[string, string, string, Absence[], Approval]>([
    ['the delegate answers', 'otto', 'for ann', [away('ann', 'otto')], finance],
    ['not before they are away', 'otto', 'not_an_approver', [away('ann', 'otto', NOW + 1)], finance],
    ['from the very moment', 'otto', 'for ann', [away('ann', 'otto', NOW)], finance],
    ['not when they are back', 'otto', 'not_an_approver', [away('ann', 'otto', 0, NOW)], finance],
    ['who asked is no delegate', 'rita', 'self_approval', [away('ann', 'rita')], finance],
    [
      'nobody answers for who asked',
      'otto',
      'not_an_approver',
      [away('rita', 'otto')],
      question([spec({ from: ['team:sales'] })]),
    ],
    ['no delegate of a delegate', 'sam', 'not_an_approver', [away('ann', 'otto'), away('otto', 'sam')], finance],
    ['for a lead', 'otto', 'for lea', [away('lea', 'otto')], question([spec({ from: ['lead:owner'] })])],
    [
      'not once who is away has answered',
      'otto',
      'not_an_approver',
      [away('ann', 'otto')],
      question([spec({ need: 2 })], { answers: [yes('ann', { team: 'finance' })] }),
    ],
    [
      'who answered for themselves',
      'ben',
      'answered',
      [away('ann', 'ben')],
      question([spec({ need: 2 })], { answers: [yes('ben', { team: 'finance' })] }),
    ],
    [
      'who is back finds it answered',
      'ann',
      'answered',
      [],
      question([spec({ need: 2 })], { answers: [yes('otto', { for: 'ann', team: 'finance' })] }),
    ],
  ])('%s: %s %s', (_what, who, outcome, absences, asked) => {
    expect(answerOf(asked, who, office(absences))).toBe(outcome)
  })
})

describe('who is asked, and by when', () => {
  const asked = (asked: Approval, absences: Absence[] = [], now = NOW) => advance(asked, office(absences), now)

  test('those whom the open level names, but not who asked, nor who has answered', () => {
    expect(asked(question([spec({ from: ['role:approver'] })])).approval.asked_of).toEqual([
      'ann',
      'ben',
      'lea',
      'otto',
      'sam',
    ])
    const half = question([spec({ need: 2 })], { answers: [yes('ann', { team: 'finance' })] })
    expect(asked(half).approval.asked_of).toEqual(['ben'])
    const levels = [level(['team:finance']), level(['lead:owner'])]
    expect(asked(question([spec({ levels })])).approval.asked_of).toEqual(['ann', 'ben'])
    expect(asked(question([spec({ levels, order: 'parallel' })])).approval.asked_of).toEqual(['ann', 'ben', 'lea'])
  })

  test('a delegate in the place of who is away; of several delegations none goes on', () => {
    expect(asked(question([spec({})]), [away('ann', 'otto')]).approval.asked_of).toEqual(['ben', 'otto'])
    expect(asked(question([spec({})]), [away('ann', 'otto'), away('otto', 'sam')]).approval.asked_of).toEqual(['ben'])
    expect(asked(question([spec({})]), [away('ann', 'rita')]).approval.asked_of).toEqual(['ben'])
  })

  test('each level has its own time, from when it is asked; the earliest of several flows binds', () => {
    const levels = [level(['team:finance'], 1, HOUR), level(['lead:owner'], 1, 5 * HOUR)]
    expect(asked(question([spec({ levels })])).approval).toMatchObject({
      due_at: NOW + HOUR / 2,
      expires_at: NOW + HOUR,
    })
    const second = question([spec({ levels })], { answers: [yes('ann', { team: 'finance', at: NOW + 1000 })] })
    expect(asked(second).approval).toMatchObject({ expires_at: NOW + 1000 + 5 * HOUR, asked_of: ['lea'] })
    const both = question([spec({}), spec({ from: ['team:support'], within_ms: 100 })])
    expect(asked(both).approval.expires_at).toBe(NOW + 100)
  })

  test('past its time the ladder is asked too, rung by rung, and after the last it is over', () => {
    const climbing = question([spec({ then: 'escalate' })])
    const first = asked(climbing).approval
    expect(first).toMatchObject({ asked_of: ['ann', 'ben'], due_at: NOW + HOUR / 2, expires_at: NOW + 3 * HOUR })
    expect(advance(first, office(), NOW + HOUR - 1).climbed).toEqual([])
    const second = advance(first, office(), NOW + HOUR)
    expect(second.climbed).toEqual([{ spec: 0, level: 0, rung: 0, at: NOW + HOUR }])
    expect(second.approval).toMatchObject({ asked_of: ['ann', 'ben', 'otto'], due_at: NOW + 2 * HOUR })
    const third = advance(second.approval, office(), NOW + 2 * HOUR).approval
    expect(third).toMatchObject({
      asked_of: ['ann', 'ben', 'otto', 'root'],
      due_at: NOW + 3 * HOUR,
      expires_at: NOW + 3 * HOUR,
    })
    // Nobody is left to ask: looking again changes nothing, and it never allows.
    expect(advance(third, office(), NOW + 9 * HOUR).approval).toMatchObject({
      expires_at: NOW + 3 * HOUR,
      status: 'pending',
    })
  })

  test('a ladder of its own; a flow that says deny has none', () => {
    const ladder = [{ from: ['principal:sam'], after_ms: 60_000 }]
    const own = asked(question([spec({ then: 'escalate', ladder })])).approval
    expect(own.expires_at).toBe(NOW + HOUR + 60_000)
    expect(advance(own, office(), NOW + HOUR).approval.asked_of).toEqual(['ann', 'ben', 'sam'])
    expect(asked(question([spec({})]), [], NOW + 2 * HOUR).climbed).toEqual([])
  })

  test('where a level has nobody to ask, the ladder is asked at once', () => {
    const nobody = [away('ann', null), away('ben', null)]
    const climbing = question([spec({ then: 'escalate' })])
    expect(asked(climbing, nobody)).toMatchObject({ climbed: [{ rung: 0, at: NOW }], approval: { asked_of: ['otto'] } })
    // And the rung after that, where the first has nobody either.
    const none = asked(climbing, [...nobody, away('otto', null)])
    expect(none.climbed.map(({ rung }) => rung)).toEqual([0, 1])
    expect(none.approval.asked_of).toEqual(['root'])
    // A delegate is somebody.
    expect(asked(climbing, [away('ann', 'sam'), away('ben', null)]).climbed).toEqual([])
    // Where nobody is known at all, nobody can be missing.
    expect(advance(climbing, NOBODY, NOW).climbed).toEqual([])
  })

  test('it is looked at again when somebody who is asked leaves or comes back', () => {
    const leaving = asked(question([spec({})]), [away('ann', 'otto', NOW + 5, NOW + 50)]).approval
    expect(leaving).toMatchObject({ asked_of: ['ann', 'ben'], due_at: NOW + 5, expires_at: NOW + HOUR })
  })
})

describe('who is reminded', () => {
  const due = (asked: Approval, now: number) => remind(asked, office(), now)?.asked_of
  const advanced = (asked: Approval, now = NOW) => advance(asked, office(), now).approval

  test('whoever has not answered when half of the time is over, at most a day, or what the level says', () => {
    const times = [
      [spec({}), HOUR / 2],
      [spec({ within_ms: 100 * HOUR }), 24 * HOUR],
      [spec({ remind_after_ms: 5 }), 5],
      [spec({ within_ms: 100 * HOUR, remind_after_ms: 99 * HOUR }), 99 * HOUR],
    ] as const
    for (const [flow, after] of times) {
      const asked = advanced(question([flow]))
      expect(asked.due_at).toBe(NOW + after)
      expect(due(asked, NOW + after - 1)).toBeUndefined()
      expect(due(asked, NOW + after)).toEqual(['ann', 'ben'])
    }
    const half = question([spec({ need: 2 })], { answers: [yes('ann', { team: 'finance' })] })
    expect(due(half, NOW + HOUR / 2)).toEqual(['ben'])
  })

  test('once, and each level for itself', () => {
    const levels = [level(['team:finance']), level(['lead:owner'], 1, 4 * HOUR)]
    const first = remind(advanced(question([spec({ levels })])), office(), NOW + HOUR / 2)!
    expect(first.approval.reminders).toEqual([{ spec: 0, level: 0, at: NOW + HOUR / 2 }])
    expect(due(first.approval, NOW + HOUR - 1)).toBeUndefined()
    expect(advanced(first.approval, NOW + HOUR / 2).due_at).toBe(NOW + HOUR)
    const answers = [yes('ann', { team: 'finance', at: NOW + HOUR / 2 })]
    const second = advanced({ ...first.approval, answers }, NOW + HOUR / 2)
    expect(second.due_at).toBe(NOW + 2.5 * HOUR)
    expect(due(second, NOW + 2.5 * HOUR)).toEqual(['lea'])
    const abreast = advanced(question([spec({ levels, order: 'parallel' })]))
    expect(due(abreast, NOW + HOUR / 2)).toEqual(['ann', 'ben'])
    expect(due(remind(abreast, office(), NOW + HOUR / 2)!.approval, NOW + 2 * HOUR)).toEqual(['lea'])
  })

  test('of what an edit asks anew, anew', () => {
    const { approval } = remind(advanced(question([spec({})])), office(), NOW + HOUR / 2)!
    const at = NOW + HOUR / 2 + 1
    const edits = [{ by: 'ann', at, note: null, paths: [''], before: null, after: 'ptr_1' }]
    const anew = advanced({ ...approval, edits }, at)
    expect(anew.due_at).toBe(at + HOUR / 2)
    expect(due(anew, at + HOUR / 2)).toEqual(['ann', 'ben'])
  })

  test('nobody any more once others are asked too, or the time is over', () => {
    const climbing = question([spec({ then: 'escalate' })])
    expect(due(climbing, NOW + HOUR)).toBeUndefined()
    const climbed = advance(climbing, office(), NOW + HOUR).approval
    expect(due(climbed, NOW + 1.5 * HOUR)).toBeUndefined()
    expect(climbed.due_at).toBe(NOW + 2 * HOUR)
    expect(due(question([spec({})]), NOW + HOUR)).toBeUndefined()
  })
})

describe('a level that too few are left for', () => {
  const TWO = { levels: [level(['lead:owner']), level(['team:finance'], 2)] }
  const bot = (more: Partial<Approval> = {}) => question([spec(TWO)], { agent: 'agent:fin', ...more })
  const finance = (absences: Absence[] = []): People => ({
    ...office(absences),
    teamsOf: new Map([['agent:fin', 'finance']]),
  })

  test('is told once, when it comes to be so', () => {
    const asked = advance(bot(), finance(), NOW)
    expect([asked.approval.asked_of, asked.unanswerable]).toEqual([['ann'], []])
    const half = advance({ ...asked.approval, answers: [yes('ann', { as: ['lead:owner'] })] }, finance(), NOW)
    // Ann leads and is of finance; she serves one level, so of two one is left.
    expect(half.unanswerable).toEqual([{ spec: 0, level: 1, at: NOW }])
    expect(half.approval.asked_of).toEqual(['ben'])
    const later = advance(half.approval, finance(), NOW + 1)
    expect([later.unanswerable, later.approval.lacking]).toEqual([[], [{ spec: 0, level: 1, at: NOW }]])
    // Somebody joins, and leaves again: that is told anew.
    const joined = finance()
    const persons = new Map([...joined.persons, ['cy', person('cy', 'approver', 'finance')] as const])
    const whole = advance(later.approval, { ...joined, persons }, NOW + 2)
    expect([whole.unanswerable, whole.approval.lacking]).toEqual([[], null])
    expect(advance(whole.approval, finance(), NOW + 3).unanswerable).toEqual([{ spec: 0, level: 1, at: NOW + 3 }])
  })

  test('is none where who came first may take another place: abreast the order of answers does not matter', () => {
    const levels = [level(['team:finance']), level(['principal:ann'])]
    const both = bot({ specs: [spec({ order: 'parallel', levels })], answers: [yes('ann', { team: 'finance' })] })
    const { approval, unanswerable } = advance(both, finance(), NOW)
    expect([approval.asked_of, unanswerable]).toEqual([['ben'], []])
    expect(answerOf(approval, 'ben', finance())).toBe('yes')
    const whole = { ...approval, answers: [...approval.answers, yes('ben', { team: 'finance' })] }
    expect(tally(whole).open).toEqual([])
    // Nobody moves from where they cannot: then it is another level that is asked.
    const apart = bot({ specs: [spec({ order: 'parallel', levels })], answers: [yes('ben', { team: 'finance' })] })
    expect(advance(apart, finance(), NOW).approval.asked_of).toEqual(['ann'])
    expect(answerOf(apart, 'lea', finance())).toBe('not_an_approver')
  })

  test('asks the ladder at once', () => {
    const specs = [spec({ from: ['team:finance'], need: 2, then: 'escalate' })]
    const gone = finance([away('ben', null)])
    const asked = advance(question(specs), gone, NOW)
    expect(asked.climbed.map(({ rung }) => rung)).toEqual([0, 1])
    expect([asked.approval.asked_of, asked.unanswerable]).toEqual([['ann', 'root'], []])
    expect(advance(question(specs), finance(), NOW).climbed).toEqual([])
  })

  test('is none where admins may stand in for a role, or where only keys are known', () => {
    const seven = question([spec({ from: ['role:approver'], need: 6 })], { requested_by: 'rita' })
    expect(advance(seven, office(), NOW).unanswerable).toEqual([])
    const eight = question([spec({ from: ['role:approver'], need: 7 })], { requested_by: 'rita' })
    expect(advance(eight, office(), NOW).unanswerable).toHaveLength(1)
    expect(advance(eight, { ...office(), declared: false }, NOW).unanswerable).toEqual([])
    expect(advance(eight, NOBODY, NOW).unanswerable).toEqual([])
    const nobody = question([spec({ from: ['team:nowhere'] })])
    expect(advance(nobody, { ...office(), declared: false }, NOW).unanswerable).toHaveLength(1)
  })
})

describe('a flow that nobody can satisfy', () => {
  test.each<[Partial<ApprovalSpec>, string[]]>([
    [{}, []],
    [{ need: 2 }, []],
    [{ need: 3 }, ['a level needs 3 of team:finance, which are 2']],
    [
      { from: ['team:nowhere'] },
      ["team 'nowhere' has no member who may approve", 'a level needs 1 of team:nowhere, which are 0'],
    ],
    [{ from: ['team:finance', 'team:nowhere'] }, ["team 'nowhere' has no member who may approve"]],
    [
      { from: ['lead:nowhere'] },
      ["team 'nowhere' has no lead who may approve", 'a level needs 1 of lead:nowhere, which are 0'],
    ],
    [
      { from: ['oncall:sales'] },
      ["team 'sales' has nobody on call who may approve", 'a level needs 1 of oncall:sales, which are 0'],
    ],
    [
      { from: ['principal:zoe'] },
      ["there is no principal 'zoe' who may approve", 'a level needs 1 of principal:zoe, which are 0'],
    ],
    [{ from: ['lead:owner'] }, []],
    [{ from: ['role:operator'] }, []],
    [{ from: ['role:approver'], need: 7 }, []],
    [{ from: ['role:approver'], need: 8 }, ['a level needs 8 of role:approver, which are 7']],
    [
      { levels: [level(['team:finance'], 2), level(['principal:ann'])] },
      ['with four eyes it needs 3 people, and names 2'],
    ],
    [{ levels: [level(['team:finance'], 2), level(['principal:ann'])], kind: 'confirmation' }, []],
    // Enough in all, and yet two levels want the same two.
    [
      { levels: [level(['team:finance'], 2), level(['principal:ann']), level(['role:approver'])] },
      ['with four eyes it needs 4 people, and names 3'],
    ],
    [{ levels: [level(['role:approver']), level(['team:finance'], 2)], order: 'parallel' }, []],
    [
      { then: 'escalate', ladder: [{ from: ['lead:nowhere'], after_ms: 1 }] },
      ["team 'nowhere' has no lead who may approve", 'a rung needs 1 of lead:nowhere, which are 0'],
    ],
  ])('%j: %j', (given, faults) => {
    expect(unsatisfiable(spec(given), office())).toEqual(faults)
  })

  test.each<[Partial<ApprovalSpec>, string, string[]]>([
    [{ from: ['lead:owner'] }, 'support', []],
    [{ from: ['lead:owner'] }, 'empty', ['a level needs 1 of lead:owner, which are 0']],
    [{ from: ['lead:owner'], then: 'escalate' }, 'empty', []],
    [{ from: ['lead:owner', 'lead:requester'] }, 'empty', []],
    [{ levels: [level(['lead:owner']), level(['team:finance'], 2)] }, 'support', []],
    [
      { levels: [level(['lead:owner']), level(['team:finance'], 2)] },
      'finance',
      ['with four eyes it needs 3 people, and names 2'],
    ],
  ])('of agents that a team owns: %j of %s: %j', (given, team, faults) => {
    expect(unsatisfiable(spec(given), office())).toEqual([])
    expect(unsatisfiable(spec(given), office(), team)).toEqual(faults)
  })

  test('is one for good where no team that owns agents can satisfy it', () => {
    const rule = (id: string, given: Partial<ApprovalSpec>, match = {}) =>
      ({ id, match, approval: spec(given) }) as unknown as Rule
    const rules = [rule('a', { levels: [level(['lead:owner']), level(['team:finance'], 2)] })]
    const why = "for agents of team 'finance' with four eyes it needs 3 people, and names 2"
    expect(flowFaults(rules, office(), [])).toEqual([])
    expect(flowFaults(rules, office(), ['finance'])).toEqual([{ rule: 'a', why, always: true }])
    expect(flowFaults(rules, office(), ['finance', 'support'])).toEqual([{ rule: 'a', why, always: false }])
    const others = [rule('a', { from: ['lead:owner'] }, { team: ['support'] })]
    expect(flowFaults(others, office(), ['empty', 'support'])).toEqual([])
    expect(flowFaults(others, office(), ['empty'])).toEqual([])
  })

  test('is not looked for where nobody declared anybody', () => {
    expect(unsatisfiable(spec({ from: ['team:nowhere'] }), { ...office(), declared: false })).toEqual([])
  })
})
