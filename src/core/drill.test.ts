import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import {
  DRILL_NAMES,
  DRILLS,
  type DrillRun,
  type DrillSchedule,
  dueAt,
  judged,
  lackingOf,
  MAKES,
  MOST_DETAIL,
  overdueAt,
  ownFigures,
  runFact,
  standingOf,
  stands,
  validUntil,
} from './drill.js'

const DAY = 86_400_000
const NOW = 1_800_000_000_000
const ok = { name: 'it holds', pass: true, detail: '' }
const no = { ...ok, pass: false }

function run(at: number, outcome: DrillRun['outcome'], drill_id = `drl_${at}`): DrillRun {
  return {
    tenant: 't',
    drill_id,
    drill: 'deny',
    outcome,
    at,
    valid_until: validUntil(at, 7 * DAY),
    took_ms: 5,
    made: {},
    checks: [{ by: 'reporter', ...ok }],
    figures: { rto_ms: 7 },
    recorded_by: 'person:sre',
  }
}

describe(`${proves('G6')} a run`, () => {
  test.each([
    ['both sides hold', [ok], [ok], 'passed'],
    ['the reporter saw one fail', [ok, no], [ok], 'failed'],
    ['the server saw one fail', [ok], [ok, no], 'failed'],
    ['nobody reported a check', [], [ok], 'failed'],
    ['the server could look at nothing', [ok], [], 'failed'],
  ] as const)('where %s is %s', (_, reported, looked, outcome) => {
    expect(judged(reported, looked).outcome).toBe(outcome)
  })

  test('keeps whose check it was, and no more of its words than fit', () => {
    const { checks } = judged([{ ...ok, detail: 'x'.repeat(9000) }], [no])
    expect(checks.map(({ by }) => by)).toEqual(['reporter', 'server'])
    expect(checks[0]?.detail).toHaveLength(MOST_DETAIL)
  })

  test('names everything the server looks at', () => {
    for (const name of DRILL_NAMES) {
      expect(MAKES[name].length).toBeGreaterThan(0)
      expect(lackingOf(name, {})).toEqual(MAKES[name])
    }
    expect(lackingOf('stop', { stop_id: 'stop_1', job_id: 'job_1' })).toEqual(['decision_id'])
  })

  test('takes of the reporter’s watch what nobody else can have timed', () => {
    const all = { detection_ms: 1, stop_ms: 2, recovery_ms: 3, rto_ms: 4, rpo_ms: 5 }
    expect(ownFigures('deny', all)).toEqual({})
    expect(ownFigures('stop', all)).toEqual({})
    expect(ownFigures('worker-crash', all)).toEqual({ detection_ms: 1 })
    expect(ownFigures('restore', all)).toEqual({ rto_ms: 4, rpo_ms: 5 })
    expect(ownFigures('restore', { rto_ms: 4 })).toEqual({ rto_ms: 4 })
  })

  test('is told to the log in numbers, with a hash over the row and no word of the reporter', () => {
    const fact = runFact({ ...run(NOW, 'failed'), checks: [{ by: 'reporter', ...no, detail: 'secret' }] }, 'h')
    expect(fact).toMatchObject({
      kind: 'drill.run',
      drill: 'deny',
      outcome: 'failed',
      failed: 1,
      rto_ms: 7,
      run_hash: 'h',
    })
    expect(JSON.stringify(fact)).not.toContain('secret')
  })
})

describe(`${proves('G6')} its standing`, () => {
  test('is that of the newest at that instant: later ones change nothing of the past', () => {
    const runs = [run(NOW, 'passed'), run(NOW + DAY, 'failed'), run(NOW + 2 * DAY, 'passed')]
    expect(standingOf(runs, NOW - 1)).toBeNull()
    expect(standingOf(runs, NOW + 5)).toMatchObject({ passed: true, at: NOW })
    expect(standingOf(runs, NOW + DAY)).toMatchObject({ passed: false, at: NOW + DAY })
    expect(standingOf(runs, NOW + 9 * DAY)).toMatchObject({ passed: true, at: NOW + 2 * DAY })
  })

  test('two of one instant are ordered by their ids, in whatever order they come', () => {
    const two = [run(NOW, 'passed', 'drl_b'), run(NOW, 'failed', 'drl_a')]
    expect(standingOf(two, NOW)?.drill_id).toBe('drl_b')
    expect(standingOf(two.reverse(), NOW)?.drill_id).toBe('drl_b')
  })

  test('lasts a seventh longer than the cadence, and not to the end of that instant', () => {
    const standing = standingOf([run(NOW, 'passed')], NOW)
    expect(standing?.valid_until).toBe(NOW + 8 * DAY)
    expect(stands(standing, NOW + 8 * DAY - 1)).toBe(true)
    expect(stands(standing, NOW + 8 * DAY)).toBe(false)
    expect(stands(standingOf([run(NOW, 'failed')], NOW), NOW + 1)).toBe(false)
    expect(stands(null, NOW)).toBe(false)
  })
})

describe(`${proves('G6')} the next one`, () => {
  const schedule: DrillSchedule = {
    tenant: 't',
    drill: 'deny',
    owner: 'team:sre',
    every_ms: DAY,
    since: NOW - DAY,
    updated_at: NOW,
    updated_by: 'person:sre',
  }
  const passed = standingOf([run(NOW, 'passed')], NOW)
  const failed = standingOf([run(NOW, 'failed')], NOW)

  test('is due after the cadence, at once after a failure, and at once where somebody owns what nobody ran', () => {
    expect(dueAt(passed, null, 'deny')).toBe(NOW + DRILLS.deny.every_ms)
    expect(dueAt(passed, schedule, 'deny')).toBe(NOW + DAY)
    expect(dueAt(failed, schedule, 'deny')).toBe(NOW)
    expect(dueAt(null, schedule, 'deny')).toBe(NOW - DAY)
    expect(dueAt(null, null, 'deny')).toBeNull()
  })

  test('is overdue a turn after the last pass, or after somebody took it over', () => {
    expect(overdueAt(NOW, schedule)).toBe(NOW + DAY)
    expect(overdueAt(null, schedule)).toBe(NOW)
    expect(overdueAt(NOW - 9 * DAY, schedule)).toBe(NOW)
  })
})
