import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Problem } from '../errors.js'
import { BODY_LIMIT, BodyBudget, type Room } from './body-budget.js'

const saying = (bytes: number) => ({ 'content-length': String(bytes) })
const LARGE = saying(BODY_LIMIT)

function taken(
  budget: BodyBudget,
  key: string,
  headers: Record<string, string>,
  isAgents = false,
): Room | 'overloaded' | null {
  try {
    return budget.take(key, headers, isAgents)
  } catch (error) {
    expect(error).toMatchObject({ code: 'overloaded', extra: { retry_after_ms: 1000 } })
    expect(error).toBeInstanceOf(Problem)
    return 'overloaded'
  }
}
const fill = (budget: BodyBudget, key: string, headers: Record<string, string> = LARGE) => {
  const given: Room[] = []
  for (;;) {
    const room = taken(budget, key, headers)
    if (room === null || room === 'overloaded') return given
    given.push(room)
  }
}

test('one key gets a quarter of what there is, and the next one its own', () => {
  const budget = new BodyBudget()
  for (const key of ['a', 'b', 'c', 'd']) expect(fill(budget, key)).toHaveLength(8)
  expect(taken(budget, 'e', saying(1))).toBe('overloaded')
})

test('agents together leave a quarter to those who end what was taken', () => {
  const budget = new BodyBudget()
  const agents = ['a', 'b', 'c', 'd'].map((key) => {
    let rooms = 0
    while (taken(budget, key, LARGE, true) !== 'overloaded') rooms++
    return rooms
  })
  expect(agents).toEqual([8, 8, 8, 0])
  expect(fill(budget, 'worker')).toHaveLength(8)
})

test('what is given back can be taken again, by anybody', () => {
  const budget = new BodyBudget()
  const [a, b] = ['a', 'b', 'c', 'd'].map((key) => fill(budget, key))
  for (const room of [...(a ?? []), ...(b ?? [])]) room.leave()
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

test('what a body did not come to can be taken again, and nothing is given back twice', () => {
  const budget = new BodyBudget()
  const rooms = fill(budget, 'a', { 'transfer-encoding': 'chunked' })
  for (const room of rooms) room.shrinkTo(BODY_LIMIT / 8)
  expect(fill(budget, 'a')).toHaveLength(7)
  for (const room of rooms) for (const bytes of [BODY_LIMIT / 8, BODY_LIMIT, 1, 2]) room.shrinkTo(bytes)
  expect(fill(budget, 'a', saying(BODY_LIMIT - 8))).toHaveLength(1)
  for (const room of [...rooms, ...rooms]) room.leave()
  for (const room of rooms) room.shrinkTo(1)
  expect(taken(budget, 'a', saying(8))).not.toBe('overloaded')
  expect(taken(budget, 'a', saying(1))).toBe('overloaded')
})

test('however they come, shrink and go, what everybody has is bounded, and nothing is lost', () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    bytes: fc.integer({ min: 1, max: BODY_LIMIT }),
    next: fc.constantFrom('comes', 'shrinks', 'goes'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const budget = new BodyBudget()
      const open: { bytes: number; room: Room }[] = []
      for (const { key, bytes, next } of steps) {
        const [oldest] = open
        if (next === 'goes') open.shift()?.room.leave()
        if (next === 'shrinks' && oldest !== undefined) {
          oldest.room.shrinkTo(bytes)
          oldest.bytes = Math.min(oldest.bytes, bytes)
        }
        const room = taken(budget, key, saying(bytes))
        if (room !== null && room !== 'overloaded') open.push({ bytes, room })
        expect(open.reduce((sum, each) => sum + each.bytes, 0)).toBeLessThanOrEqual(32 * BODY_LIMIT)
      }
      for (const { room } of open) room.leave()
      for (const key of ['a', 'b', 'c', 'd']) expect(fill(budget, key)).toHaveLength(8)
    }),
  )
})
