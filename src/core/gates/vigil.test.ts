import { expect, test } from 'vitest'
import type { RolloutDocument } from '../rollout/document.js'
import { type Sample, type TriggerName, termsOf } from './trigger.js'
import { holdsWhileBlind, keepVigil } from './vigil.js'

const MINUTE = 60_000
const every = (from: number, to: number, value: number, more: Partial<Sample> = {}): Sample[] => {
  const seen: Sample[] = []
  for (let at = from; at <= to; at += 10_000) seen.push({ at, value, samples: 50, ...more })
  return seen
}

test('names the first that was too much for long enough, and by how much', () => {
  const triggers = [termsOf('error_rate'), termsOf('policy_bypass')]
  const errors = every(0, 10 * MINUTE, 0.25, { baseline: 0.02, baseline_samples: 50 })
  const tripped = (series: Partial<Record<TriggerName, Sample[]>>, now = 11 * MINUTE) =>
    keepVigil(triggers, series, 0, now).tripped
  expect(tripped({ error_rate: errors })).toEqual({
    ...{ trigger: 'error_rate', tripped_at: 10 * MINUTE, reason: 'error_rate: 0.25 is over 2 × 0.02 for 10 min' },
  })
  expect(tripped({ error_rate: errors.slice(1) })).toBeNull()
  const bypass = every(5 * MINUTE, 5 * MINUTE, 1)
  expect(tripped({ error_rate: errors, policy_bypass: bypass })).toMatchObject({ reason: 'policy_bypass: 1 is over 0' })
  const expired = keepVigil([termsOf('drill_expired')], { drill_expired: [{ at: 20, value: 10 }] }, 0, 20).tripped
  expect(expired?.reason).toBe('drill_expired: expired at 1970-01-01T00:00:00.010Z')
})

test('says since when nothing is seen, and of what all is well', () => {
  const triggers = [termsOf('error_rate'), termsOf('approval_backlog'), termsOf('policy_bypass')]
  const series = { approval_backlog: every(0, MINUTE, 3), policy_bypass: every(0, 20 * MINUTE, 0) }
  const vigil = keepVigil(triggers, series, 5000, 20 * MINUTE)
  expect(vigil).toEqual({
    ...{
      tripped: null,
      blind: { error_rate: 5000, approval_backlog: MINUTE },
      breaching: [],
      clear: ['policy_bypass'],
    },
  })
})

test('a trigger that has nothing to see holds nothing back', () => {
  const phases = [0, 500, 10_000].map((share_bp) => ({ share_bp, gate: { checks: [{ metric: 'error_rate' }] } }))
  const document = { subject: { stable: '1' }, phases } as unknown as RolloutDocument
  const holds = (trigger: TriggerName, of = document) => [0, 1, 2].map((n) => holdsWhileBlind(of, n, termsOf(trigger)))
  expect(holds('error_rate')).toEqual([false, true, true])
  expect(holds('p95_latency')).toEqual([false, true, false])
  const alone = { ...document, subject: { stable: null } } as unknown as RolloutDocument
  expect(holds('p95_latency', alone)).toEqual([false, false, false])
  expect(holds('drill_expired')).toEqual([true, true, true])
  expect(holds('policy_bypass')).toEqual([true, true, true])
  expect(holds('replay_bypass')).toEqual([false, false, false])
  const replayed = {
    ...document,
    phases: [{ share_bp: 0, gate: { checks: [{ metric: 'replay_scenarios' }] } }, ...phases],
  }
  expect(holds('replay_bypass', replayed as unknown as RolloutDocument)).toEqual([true, true, true])
})
