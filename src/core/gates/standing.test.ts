import { expect, test } from 'vitest'
import { DRILL_NAMES } from '../drill.js'
import { GATE_METRIC_NAMES } from './metric.js'
import { isStanding, type Standings, standingReadings } from './standing.js'

const none: Standings = { drills: {}, replay: null, reviews: null }
const names = GATE_METRIC_NAMES.filter(isStanding)

test('every count and flag that a gate may ask for is answered, by nothing as not known', () => {
  const readings = standingReadings(GATE_METRIC_NAMES, none, 'rol_1')
  expect(readings.map(({ metric }) => metric)).toEqual(names)
  for (const reading of readings) {
    expect(reading.kind).toBe('unknown')
    expect(reading.query).not.toBe('none')
  }
})

test('each with what was found, since when and until when', () => {
  const found = { at: 5, valid_until: 9 }
  const drills = Object.fromEntries(
    DRILL_NAMES.map((name) => [name, { passed: name !== 'stop', drill_id: `drl_${name}`, ...found }]),
  )
  const replay = { scenarios: 31, critical_bypasses: 1, unsafe_duplicates: 2, replay_id: 'rpl_1', ...found }
  const reviews = { clean_weekly_reviews: 2, critical_incidents: 0, ...found }
  const readings = standingReadings(names, { drills, replay, reviews }, 'rol_1')
  expect(readings.every((each) => each.kind === 'standing' && each.at === 5 && each.valid_until === 9)).toBe(true)
  const values = Object.fromEntries(readings.map((each) => [each.metric, each.kind === 'standing' ? each.value : null]))
  expect(values).toMatchObject({ replay_scenarios: 31, replay_critical_bypasses: 1, replay_unsafe_duplicates: 2 })
  expect(values).toMatchObject({ clean_weekly_reviews: 2, rollback_drill_passed: true, stop_drill_passed: false })
  expect(readings.find(({ metric }) => metric === 'worker_crash_drill_passed')?.query).toBe(
    'drills/worker-crash drl_worker-crash',
  )
})
