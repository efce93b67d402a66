import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Answer, type Escalation, isSatisfied, mayAnswer, tally, validUntil } from './approval.js'
import type { ApprovalSpec } from './policy/document.js'

const spec = (given: Partial<ApprovalSpec> = {}): ApprovalSpec => ({
  from: ['role:approver'],
  need: 1,
  within_ms: 1000,
  then: 'deny',
  valid_for_ms: 5000,
  ...given,
})
const yes = (by: string, more: Partial<Answer> = {}): Answer => ({
  by,
  role: 'approver',
  team: null,
  key_id: 'key_1',
  answer: 'approve',
  at: 0,
  note: null,
  ...more,
})

const answer = fc.record({
  by: fc.constantFrom('person:a', 'person:b', 'person:c', 'person:d'),
  role: fc.constantFrom('approver', 'viewer', 'admin'),
  team: fc.constantFrom(null, 'finance', 'ops'),
  key_id: fc.constant('key_1'),
  answer: fc.constantFrom('approve' as const, 'reject' as const),
  at: fc.constant(0),
  note: fc.constant(null),
})
const specs = fc.array(
  fc.record({
    from: fc.subarray(['role:approver', 'team:finance', 'team:ops', 'principal:person:a'], { minLength: 1 }),
    need: fc.integer({ min: 1, max: 4 }),
  }),
  { minLength: 1, maxLength: 3 },
)

describe('N of M', () => {
  test('is satisfied exactly when every spec has its number of distinct people who were asked and said yes', () => {
    fc.assert(
      fc.property(specs, fc.array(answer, { maxLength: 12 }), (asked, answers) => {
        const whole = asked.map((each) => spec(each))
        const enough = whole.every((each) => {
          const people = answers
            .filter((a) => a.answer === 'approve' && mayAnswer(each, { principal: a.by, role: a.role, team: a.team }))
            .map((a) => a.by)
          return new Set(people).size >= each.need
        })
        expect(isSatisfied({ specs: whole, answers })).toBe(enough)
        // One person cannot be two: repeating every answer changes nothing.
        expect(isSatisfied({ specs: whole, answers: [...answers, ...answers] })).toBe(enough)
      }),
    )
  })

  test('one person twice is one person; a no counts for nothing', () => {
    expect(isSatisfied({ specs: [spec({ need: 2 })], answers: [yes('person:a'), yes('person:a')] })).toBe(false)
    expect(
      isSatisfied({ specs: [spec({ need: 2 })], answers: [yes('person:a'), yes('person:b', { answer: 'reject' })] }),
    ).toBe(false)
    expect(isSatisfied({ specs: [spec({ need: 2 })], answers: [yes('person:a'), yes('person:b')] })).toBe(true)
  })
})

describe('who is asked', () => {
  const who = (principal: string, role: string, team: string | null = null) => ({ principal, role, team })
  test.each([
    ['role:approver', who('person:a', 'approver'), true],
    ['role:approver', who('person:a', 'viewer'), false],
    ['role:approver', who('person:a', 'admin'), true],
    ['team:finance', who('person:a', 'approver', 'finance'), true],
    ['team:finance', who('person:a', 'admin', null), false],
    ['principal:person:a', who('person:a', 'viewer'), true],
    ['principal:person:a', who('person:b', 'admin'), false],
    ['somebody', who('somebody', 'admin'), false],
    ['', who('', 'admin'), false],
  ])('%s asks %o: %s', (from, reviewer, asked) => {
    expect(mayAnswer(spec({ from: [from] }), reviewer)).toBe(asked)
  })
})

describe('levels', () => {
  const level = (from: string, need = 1) => ({ from: [from], need, within_ms: 1000 })
  const flow = (more: Partial<ApprovalSpec>): ApprovalSpec =>
    spec({ levels: [level('team:a'), level('team:b')], ...more })
  const of = (by: string, team: string, at = 0, more: Partial<Answer> = {}) => yes(by, { team, at, ...more })
  const open = (specs: ApprovalSpec[], answers: Answer[], escalations: Escalation[] = []) =>
    tally({ specs, answers, escalations, requested_at: 5 }).open.map(({ level, since, missing }) => [
      level,
      since,
      missing,
    ])

  test('in sequence the next opens when the one before it has its people, and counts its time from then', () => {
    const specs = [flow({})]
    expect(open(specs, [])).toEqual([[0, 5, 1]])
    expect(open(specs, [of('ann', 'a', 20)])).toEqual([[1, 20, 1]])
    expect(open(specs, [of('ann', 'a', 20), of('ben', 'b', 30)])).toEqual([])
  })

  test('in sequence an answer from before its level opened counts for nothing', () => {
    expect(open([flow({})], [of('ben', 'b', 10), of('ann', 'a', 20)])).toEqual([[1, 20, 1]])
  })

  test('abreast the order does not matter', () => {
    const specs = [flow({ order: 'parallel' })]
    expect(open(specs, [])).toEqual([
      [0, 5, 1],
      [1, 5, 1],
    ])
    expect(open(specs, [of('ben', 'b', 10)])).toEqual([[0, 5, 1]])
    expect(open(specs, [of('ben', 'b', 10), of('ann', 'a', 20)])).toEqual([])
  })

  test('with four eyes one person serves one level, in sequence and abreast', () => {
    const both = [level('role:approver'), level('role:approver')]
    for (const order of [{}, { order: 'parallel' as const }]) {
      const specs = [spec({ levels: both, ...order })]
      expect(isSatisfied({ specs, answers: [of('ann', 'a', 1), of('ann', 'a', 2)] })).toBe(false)
      expect(isSatisfied({ specs, answers: [of('ann', 'a', 1), of('ben', 'a', 2)] })).toBe(true)
      // A delegate uses up who is away, and who is away their delegate.
      const instead = of('ben', 'a', 2, { for: 'ann' })
      expect(isSatisfied({ specs, answers: [of('ann', 'a', 1), instead] })).toBe(false)
      expect(isSatisfied({ specs, answers: [instead, of('ann', 'a', 3)] })).toBe(false)
    }
  })

  test('abreast who could serve either level makes room for who can serve only one', () => {
    const specs = [spec({ levels: [level('role:approver'), level('team:b')], order: 'parallel' })]
    // Ben is taken for the first level, and moves over when Ann comes, who is not of team b.
    expect(isSatisfied({ specs, answers: [of('ben', 'b', 1), of('ann', 'a', 2)] })).toBe(true)
    expect(isSatisfied({ specs, answers: [of('ann', 'a', 2), of('ben', 'b', 1)] })).toBe(true)
    expect(isSatisfied({ specs, answers: [of('ann', 'a', 2), of('cal', 'a', 1)] })).toBe(false)
  })

  test('a confirmation takes one yes for every level its giver is asked at, and asks the lead of the requester', () => {
    const confirm = flow({ kind: 'confirmation' })
    const both = of('ann', 'a', 1, { as: ['lead:requester'] })
    expect(isSatisfied({ specs: [confirm], answers: [both] })).toBe(true)
    expect(isSatisfied({ specs: [flow({})], answers: [both] })).toBe(false)
    expect(isSatisfied({ specs: [confirm], answers: [of('ann', 'a', 1)] })).toBe(false)
  })

  test('a rung counts only from when it was asked', () => {
    const specs = [spec({ from: ['team:a'], then: 'escalate', ladder: [{ from: ['team:b'], after_ms: 10 }] })]
    const climbed = [{ spec: 0, level: 0, rung: 0, at: 50 }]
    expect(open(specs, [of('ben', 'b', 60)])).toEqual([[0, 5, 1]])
    expect(open(specs, [of('ben', 'b', 40)], climbed)).toEqual([[0, 5, 1]])
    expect(open(specs, [of('ben', 'b', 60)], climbed)).toEqual([])
    // Not for another level, nor for another flow.
    expect(open(specs, [of('ben', 'b', 60)], [{ spec: 1, level: 0, rung: 0, at: 50 }])).toEqual([[0, 5, 1]])
  })

  test('an edit asks anew: what was said and when it was asked before is over', () => {
    const edits = [{ by: 'ann', at: 100, note: null, paths: [], before: null, after: null }]
    expect(tally({ specs: [flow({})], answers: [], requested_at: 5, edits }).open).toMatchObject([{ since: 100 }])
  })

  test('abreast it is satisfied exactly when some way to seat the people is', () => {
    const many = fc
      .tuple(answer, fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'))
      .map(([a, by]) => ({ ...a, by: `person:${by}` }))
    const froms = ['role:approver', 'team:finance', 'team:ops', 'principal:person:a']
    const level = fc.record({
      from: fc.subarray(froms, { minLength: 1 }),
      need: fc.integer({ min: 1, max: 2 }),
      within_ms: fc.constant(1),
    })
    fc.assert(
      fc.property(
        fc.array(level, { minLength: 2, maxLength: 4 }),
        fc.array(many, { maxLength: 8 }),
        (levels, given) => {
          const answers = given.filter((a, n) => a.answer === 'approve' && given.findIndex((b) => b.by === a.by) === n)
          const seats = levels.flatMap((each) => Array.from({ length: each.need }, () => each))
          const seated = (n: number, left: typeof answers): boolean =>
            n === seats.length ||
            left.some(
              (a) =>
                mayAnswer(seats[n] as (typeof seats)[0], { ...a, principal: a.by }) &&
                seated(
                  n + 1,
                  left.filter((b) => b !== a),
                ),
            )
          expect(isSatisfied({ specs: [spec({ levels, order: 'parallel' })], answers })).toBe(seated(0, answers))
        },
      ),
      // In 100 runs a person who is seated twice is missed.
      { numRuns: 3000 },
    )
  })
})

test('of several specs the shortest time binds the answer', () => {
  expect(validUntil([spec({ valid_for_ms: 10 }), spec({ valid_for_ms: 40 })], 100)).toBe(110)
})
