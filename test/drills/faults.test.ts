import { writeFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { endAll } from '../support/server.js'
import { faultRound, type RoundReport } from './faults.js'
import { FAULTS } from './faults-deck.js'

/**
 * Two rounds here; `node test/drills/faults-run.mjs --rounds 20` for a soak. SALLYPORT_SEED=… repeats one round: the same faults in
 * the same order, on other milliseconds.
 */
const ROUNDS = process.env.SALLYPORT_SEED === undefined ? Number(process.env.SALLYPORT_ROUNDS ?? 2) : 1
const FIRST = Number(process.env.SALLYPORT_SEED ?? process.env.SALLYPORT_FAULT_SEED ?? Date.now() % 1_000_000)
const SOAK = process.env.SALLYPORT_FAULT_MATRIX

const reports: RoundReport[] = []
afterAll(async () => {
  await endAll()
  if (SOAK !== undefined) writeFileSync(SOAK, `${JSON.stringify(matrix(), null, 2)}\n`)
})

describe('nodes, workers, Postgres and NATS are killed and frozen under load', () => {
  for (let round = 0; round < ROUNDS; round++)
    test(`${proves('L2', 'L3', 'R4', 'R5', 'R6', 'C1')} round ${round + 1}: nothing acknowledged is lost, no recorded effect done twice, every job ends or is parked, the log verifies`, async () => {
      // Every third round of a soak lets a process stand still for longer than the others wait for it.
      const frozenMs = SOAK !== undefined && round % 3 === 2 ? 15_000 : 2_500
      const report = await faultRound(FIRST + round, { nodes: 2 + (round % 2), frozenMs, log: console.log })
      reports.push(report)
      const { seed, submitted, statuses, effects, entries, quiet_ms, ms } = report
      console.log(
        `seed ${seed}: ${submitted} jobs ${JSON.stringify(statuses)}, ${effects} effects, ${entries} entries; quiet after ${quiet_ms} ms, ${ms} ms in all`,
      )
      expect(report.violations).toEqual([])
      expect(new Set(report.hands.flat())).toEqual(new Set(Object.keys(FAULTS)))
    }, 300_000)
})

/** What was killed, how often, and what was lost. */
function matrix() {
  const rounds = reports.length
  const faults = Object.keys(FAULTS).map((fault) => {
    const hands = reports.flatMap((report) => report.hands.filter((hand) => hand.includes(fault)))
    const violations = reports
      .filter((report) => report.hands.flat().includes(fault))
      .flatMap((report) => report.violations)
    return { fault, times: hands.length, alone: hands.filter((hand) => hand.length === 1).length, violations }
  })
  const sum = (of: (report: RoundReport) => number) => reports.reduce((total, report) => total + of(report), 0)
  const lost = (word: string) => sum((report) => report.violations.filter((each) => each.includes(word)).length)
  return {
    rounds,
    seeds: reports.map(({ seed }) => seed),
    faults,
    jobs: sum((report) => report.submitted),
    effects: sum((report) => report.effects),
    entries: sum((report) => report.entries),
    heads: sum((report) => report.heads),
    lost: {
      acknowledged_jobs: lost('acknowledged and lost'),
      acknowledged_ends: lost('end was lost'),
      acknowledged_effects: lost('effect was lost'),
      effects_twice: lost('times outside'),
      jobs_doubled: lost('under one idempotency key') + lost('answered with another job'),
      jobs_left: lost('every job ends'),
      processes_fallen: lost('by itself'),
      logs_broken: lost('does not verify'),
    },
    quiet_ms_most: Math.max(0, ...reports.map(({ quiet_ms }) => quiet_ms)),
  }
}
