import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Problem } from '../errors.js'
import { BODY_LIMIT, BodyBudget } from './body-budget.js'

const saying = (bytes: number) => ({ 'content-length': String(bytes) })
const LARGE = saying(BODY_LIMIT)

function taken(budget: BodyBudget, key: string, headers: Record<string, string>): (() => void) | 'overloaded' | null {
  try {
    return budget.take(key, headers)
  } catch (error) {
    expect(error).toMatchObject({ code: 'overloaded', extra: { retry_after_ms: 1000 } })
    expect(error).toBeInstanceOf(Problem)
    return 'overloaded'
  }
}
const fill = (budget: BodyBudget, key: string, headers: Record<string, string> = LARGE) => {
  const given: (() => void)[] = []
  for (;;) {
    const back = taken(budget, key, headers)
    if (typeof back !== 'function') return given
    given.push(back)
  }
}

test('one key gets a quarter of what there is, and the next one its own', () => {
  const budget = new BodyBudget()
  for (const key of ['a', 'b', 'c', 'd']) expect(fill(budget, key)).toHaveLength(8)
  expect(taken(budget, 'e', saying(1))).toBe('overloaded')
})

test('what is given back can be taken again, by anybody', () => {
  const budget = new BodyBudget()
  const [a, b] = ['a', 'b', 'c', 'd'].map((key) => fill(budget, key))
  for (const back of [...(a ?? []), ...(b ?? [])]) back()
  expect(fill(budget, 'a')).toHaveLength(8)
  expect(fill(budget, 'e')).toHaveLength(8)
  expect(taken(budget, 'b', LARGE)).toBe('overloaded')
})

test('what says nothing of its length counts as the largest, what says too much as no more, and no body as nothing', () => {
  expect(fill(new BodyBudget(), 'a', { 'transfer-encoding': 'chunked' })).toHaveLength(8)
  expect(fill(new BodyBudget(), 'a', saying(1e15))).toHaveLength(8)
  expect(new BodyBudget().take('a', {})).toBeNull()
  expect(new BodyBudget().take('a', saying(0))).toBeNull()
})

test('however they come and go, what everybody has is bounded, and nothing is lost', () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    bytes: fc.integer({ min: 1, max: BODY_LIMIT }),
  })
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 300 }), (steps) => {
      const budget = new BodyBudget()
      const open: { bytes: number; back: () => void }[] = []
      for (const [{ key, bytes }, ends] of steps) {
        if (ends) open.shift()?.back()
        const back = taken(budget, key, saying(bytes))
        if (typeof back === 'function') open.push({ bytes, back })
        expect(open.reduce((sum, each) => sum + each.bytes, 0)).toBeLessThanOrEqual(32 * BODY_LIMIT)
      }
      for (const { back } of open) back()
      for (const key of ['a', 'b', 'c', 'd']) expect(fill(budget, key)).toHaveLength(8)
    }),
  )
})
