import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BACKLOGGED_MS, backlogChange, RECOVERED_MS } from './backlog.js'

test.each([
  [null, 0, null],
  [null, BACKLOGGED_MS - 1, null],
  [null, BACKLOGGED_MS, 'queue.backlogged'],
  [1, BACKLOGGED_MS, null],
  [1, RECOVERED_MS + 1, null],
  [1, RECOVERED_MS, 'queue.recovered'],
  [1, 0, 'queue.recovered'],
] as const)('since %s, oldest %d ms: %s', (since, oldest_ms, change) => {
  expect(backlogChange(since, oldest_ms)).toBe(change)
})

test('changes alternate, and between two of them the age went all the way', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(2 * BACKLOGGED_MS)), (ages) => {
      let since: number | null = null
      let lowest = 0
      for (const [at, age] of ages.entries()) {
        lowest = Math.min(lowest, age)
        const change = backlogChange(since, age)
        if (change === null) continue
        expect(change).toBe(since === null ? 'queue.backlogged' : 'queue.recovered')
        if (since === null) expect(lowest).toBeLessThanOrEqual(RECOVERED_MS)
        since = since === null ? at : null
        lowest = age
      }
    }),
  )
})
