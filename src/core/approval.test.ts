import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Answer, expiryOf, isSatisfied, mayAnswer, validUntil } from './approval.js'
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
        expect(isSatisfied(whole, answers)).toBe(enough)
        // One person cannot be two: repeating every answer changes nothing.
        expect(isSatisfied(whole, [...answers, ...answers])).toBe(enough)
      }),
    )
  })

  test('one person twice is one person; a no counts for nothing', () => {
    expect(isSatisfied([spec({ need: 2 })], [yes('person:a'), yes('person:a')])).toBe(false)
    expect(isSatisfied([spec({ need: 2 })], [yes('person:a'), yes('person:b', { answer: 'reject' })])).toBe(false)
    expect(isSatisfied([spec({ need: 2 })], [yes('person:a'), yes('person:b')])).toBe(true)
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

test('of several specs the earliest deadline binds, for the question and for the answer', () => {
  const two = [spec({ within_ms: 900, valid_for_ms: 10 }), spec({ within_ms: 300, valid_for_ms: 40 })]
  expect(expiryOf(two, 100)).toBe(400)
  expect(validUntil(two, 100)).toBe(110)
})
