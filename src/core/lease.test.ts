import fc from 'fast-check'
import { expect, test } from 'vitest'
import { aLease } from '../../test/rows.js'
import { expiryAfterBeat, isLost, MISSED_BEATS } from './lease.js'

test('a beat keeps a lease for three more, never past its hard end, and one past its end is lost', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 50, max: 100_000 }),
      fc.nat(1_000_000),
      fc.nat(1_000_000),
      (heartbeat_ms, hard_end, now) => {
        const lease = aLease({ heartbeat_ms, hard_end })
        const expires_at = expiryAfterBeat(lease, now)
        expect(expires_at).toBe(Math.min(hard_end, now + MISSED_BEATS * heartbeat_ms))
        expect(isLost({ ...lease, expires_at }, now)).toBe(now >= hard_end)
        expect(isLost({ ...lease, expires_at }, expires_at)).toBe(true)
      },
    ),
  )
})
