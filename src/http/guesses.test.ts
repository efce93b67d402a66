import { describe, expect, test } from 'vitest'
import type { Problem } from '../errors.js'
import { manualClock } from '../platform/clock.js'
import { Guesses } from './guesses.js'

const MINUTE = 60_000
const setup = () => {
  const clock = manualClock()
  const guesses = new Guesses(clock)
  const by = (person: string | null, more: object = {}) => ({
    person,
    typed: person ?? 'ada',
    network: '192.0.2.1',
    browser: null,
    ...more,
  })
  /** Ms to wait, or null where it was let by. */
  const guess = (person: string | null, more: object = {}) => {
    try {
      guesses.begin(by(person, more))
      return null
    } catch (problem) {
      return (problem as Problem).extra.retry_after_ms
    }
  }
  return { clock, guesses, by, guess }
}
const times = <T>(n: number, one: (i: number) => T) => Array.from({ length: n }, (_, i) => one(i))

describe('wrong passwords', () => {
  test('are five for one person, from wherever; the wait is the rest of the quarter of an hour', () => {
    const { clock, guess } = setup()
    expect(times(5, (i) => guess('person:ada', { network: `192.0.2.${i}` }))).toEqual(times(5, () => null))
    clock.advance(5 * MINUTE)
    expect(guess('person:ada', { network: '198.51.100.1' })).toBe(10 * MINUTE)
    expect(guess('person:bob', { network: '198.51.100.1' })).toBeNull()
    clock.advance(10 * MINUTE)
    expect(guess('person:ada')).toBeNull()
  })

  test('are counted alike for nobody, by what was typed', () => {
    const { guess } = setup()
    for (let n = 0; n < 5; n++) guess(null, { typed: n % 2 ? 'Nobody' : 'nobody' })
    expect(guess(null, { typed: 'NOBODY' })).toBe(15 * MINUTE)
    expect(guess(null, { typed: 'somebody' })).toBeNull()
  })

  test.each([
    ['ada', 'person:ada'],
    ['PERSON:Ada', 'ada'],
    ['ada', 'ada@example.com'],
    ['ada@example.com', 'Ada@Example.com'],
    ['ada', '\u212aada'],
  ])('say nothing of who there is to whoever types %j and then %j', (first, then) => {
    const answers = (meant: (typed: string) => string | null) => {
      const { guess } = setup()
      const network = (i: number) => ({ network: `192.0.2.${i}` })
      for (let n = 0; n < 5; n++) guess(meant(first), { typed: first, ...network(n) })
      return guess(meant(then), { typed: then, ...network(9) })
    }
    const ofNobody = answers(() => null)
    expect(answers((typed) => (typed.startsWith('\u212a') ? null : 'person:ada'))).toBe(ofNobody)
    // Somebody whose name has no `person:` is not found with it.
    expect(answers((typed) => (/^ada$/i.test(typed) ? 'ada' : null))).toBe(ofNobody)
  })

  test('are twenty from one network', () => {
    const { guess } = setup()
    expect(times(21, (i) => guess(`person:${i}`)).at(-1)).toBe(15 * MINUTE)
    expect(guess('person:x', { network: '198.51.100.1' })).toBeNull()
  })

  test('of others hold up no browser that the person signed on with, and it has five of its own', () => {
    const { guess } = setup()
    for (let n = 0; n < 30; n++) guess('person:ada')
    expect(times(6, () => guess('person:ada', { browser: 'b' }))).toEqual([null, null, null, null, null, 15 * MINUTE])
    // It is known for one person only.
    expect(guess('person:bob', { browser: null })).toBeNull()
  })

  test('are not what was right: it is taken back', () => {
    const { guesses, by } = setup()
    for (let n = 0; n < 50; n++) guesses.begin(by('person:ada'))()
    expect(() => guesses.begin(by('person:ada'))).not.toThrow()
  })

  test('are forgotten where the clock was set back, rather than waited for', () => {
    const { clock, guess } = setup()
    for (let n = 0; n < 5; n++) guess('person:ada')
    clock.advance(-60 * MINUTE)
    expect(guess('person:ada')).toBeNull()
  })
})
