import { expect, test } from 'vitest'
import type { DecisionWord } from './document.js'
import { Impact } from './impact.js'

const outcome = (decision: DecisionWord, constraints: Record<string, unknown> = {}) => ({
  decision,
  reason: `because ${decision}`,
  rules: ['r'],
  constraints,
})
const about = (n: number) => ({ decision_id: `dec_${n}`, job_id: null, at: 1000 - n, agent: 'a', topic: 't' })

test('counts what would have been another decision, and shows what lets more through first', () => {
  const impact = new Impact()
  for (let n = 0; n < 8; n++) impact.add(about(n), outcome('ALLOW'), outcome('DENY'))
  impact.add(about(8), outcome('REQUIRE_APPROVAL'), outcome('ALLOW'))
  impact.add(about(9), outcome('ALLOW'), outcome('ALLOW'))
  impact.add(about(10), outcome('DENY'), null)
  impact.add(about(11), outcome('ALLOW_WITH_CONSTRAINTS', { a: 1 }), outcome('ALLOW_WITH_CONSTRAINTS', { a: 2 }))
  impact.add(about(12), outcome('DENY', { a: 1 }), outcome('DENY', { a: 2 }))
  const report = impact.report()
  expect(report).toMatchObject({ looked_at: 13, unchanged: 2, undecidable: 1, oldest_at: 988 })
  expect(
    report.changes.map(({ before, after, effect, count, examples }) => [before, after, effect, count, examples.length]),
  ).toEqual([
    ['REQUIRE_APPROVAL', 'ALLOW', 'looser', 1, 1],
    ['ALLOW', 'DENY', 'tighter', 8, 5],
    ['ALLOW_WITH_CONSTRAINTS', 'ALLOW_WITH_CONSTRAINTS', 'constraints', 1, 1],
  ])
  expect(report.changes[1]?.examples[0]).toEqual({
    ...about(0),
    before: { decision: 'ALLOW', reason: 'because ALLOW', rules: ['r'] },
    after: { decision: 'DENY', reason: 'because DENY', rules: ['r'] },
  })
})

test('a decision that is the same but for the order of its constraints is the same', () => {
  const impact = new Impact()
  impact.add(about(1), outcome('ALLOW', { a: 1, b: 2 }), outcome('ALLOW', { b: 2, a: 1 }))
  expect(impact.report()).toMatchObject({ unchanged: 1, changes: [] })
})
