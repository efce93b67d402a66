import { expect, test } from 'vitest'
import type { Caller } from '../core/access.js'
import { manualClock } from '../platform/clock.js'
import { SubmitGuard } from './submit-guard.js'

const caller = (key_id: string) => ({ key_id }) as Caller

test('a key has a burst, wins back so many a second, and takes nothing from another', () => {
  const clock = manualClock()
  const guard = new SubmitGuard(clock, 'minted tokens')
  const spends = (key: string, tries: number) => {
    let done = 0
    for (let n = 0; n < tries; n++) {
      try {
        guard.admit(caller(key))
        guard.spend(caller(key))
        done++
      } catch (error) {
        expect(error).toMatchObject({ code: 'rate_limited', message: expect.stringContaining('minted tokens') })
      }
    }
    return done
  }
  expect(spends('key_a', 1000)).toBe(200)
  expect(spends('key_b', 10)).toBe(10)
  clock.advance(900)
  expect(spends('key_a', 10)).toBe(0)
  clock.advance(4_100)
  expect(spends('key_a', 1000)).toBe(100)
})
