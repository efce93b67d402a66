import type { Reading } from '../../src/core/gates/check.js'
import { GATE_METRIC_NAMES, type GateMetricName } from '../../src/core/gates/metric.js'
import { isStanding } from '../../src/core/gates/standing.js'
import { bucketOf } from '../../src/core/rollout/assign.js'
import { integrate } from '../../src/journey/integrate.js'
import { readingsFor } from '../../src/journey/readings.js'
import { declareRollout, stepRollout } from '../../src/journey/rollouts.js'
import { openPostgres } from '../../src/platform/db/pg.js'
import { openPglite } from '../../src/platform/db/pglite.js'
import type { Db } from '../../src/platform/db/seam.js'
import { newestHead } from '../../src/store/audit.js'
import { getRollout, type RolloutRow } from '../../src/store/rollouts.js'
import type { Tenancy, TestPlane } from '../plane.js'
import { database } from './engines.js'

export const NAME = 'agent:bot'
export const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do }, decision: ALLOW }
  - { id: pay, match: { topic: job.pay }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
`
export const WORK = GATE_METRIC_NAMES.filter((name) => !isStanding(name))
const phase = (name: string, share: number) => ({
  ...{ name, share, risk: 'mixed', min_duration: '1h' },
  gate: { window: '10m', checks: { unapproved_high_risk_actions: { target_eq: 0 } } },
})
const declaration = {
  rollout: 'bot-2',
  subject: { kind: 'agent', name: NAME, candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
  phases: [phase('half', 50), phase('all', 100)],
}

export const ENGINES: [string, () => Promise<() => Promise<Db>>][] = [
  ['PGlite', async () => () => openPglite(null)],
  [
    'Postgres',
    async () => {
      const url = await database()
      return () => openPostgres({ url })
    },
  ],
]

/** A tenant whose agent has a candidate that does half of the runs. */
export class Scene {
  readonly plane: TestPlane
  readonly t: Tenancy
  readonly rollout: RolloutRow
  readonly from: number
  #runs = 0

  constructor(plane: TestPlane, t: Tenancy, rollout: RolloutRow) {
    this.plane = plane
    this.t = t
    this.rollout = rollout
    this.from = plane.clock.now()
  }

  run(inside = true): string {
    for (;;) {
      const run = `run-${this.#runs++}`
      if (bucketOf(this.rollout.rollout_id, run) < 5000 === inside) return run
    }
  }
  submit(topic: string, run_id = this.run(), more: object = {}) {
    return this.t.submit({ topic, run_id, agent: NAME, ...more }, null, this.t.caller('agent', NAME))
  }
  /** A job that a worker has, and the lease. */
  async leased(topic = 'job.do', run_id = this.run(), more: object = {}): Promise<{ job_id: string; lease: string }> {
    const { job_id } = await this.submit(topic, run_id, more)
    return { job_id, lease: await this.claim(topic, job_id, bucketOf(this.rollout.rollout_id, run_id) < 5000) }
  }
  async claim(topic: string, job_id: string, inside = true): Promise<string> {
    const leases = await this.t.claim([topic], { capacity: 50, serves: [`agent:bot@${inside ? 2 : 1}`] })
    const mine = leases.find(({ job }) => job.job_id === job_id)
    if (mine === undefined) throw new Error(`${job_id} was not leased`)
    return mine.lease
  }
  async head(): Promise<number> {
    await integrate(this.t.world, this.plane.key)
    return (await newestHead(this.t.world.db, this.t.tenant))?.size ?? 0
  }
  async read(
    metrics: readonly GateMetricName[] = WORK,
    more: { head_size?: number; to?: number } = {},
    on = this.t.world,
  ) {
    const { tenant } = this.t
    if (more.to === undefined) this.plane.clock.advance(1)
    const to = more.to ?? this.plane.clock.now()
    const head_size = more.head_size ?? (await this.head())
    return readingsFor(on, { tenant, rollout: this.rollout, metrics, from: this.from, to, head_size })
  }
  async candidate(metric: GateMetricName): Promise<Reading> {
    const [reading] = (await this.read([metric])).candidate
    return reading as Reading
  }
}

export async function scene(plane: TestPlane, policy = POLICY): Promise<Scene> {
  const t = await plane.tenant(policy)
  const { rollout_id } = await declareRollout(t.world, t.admin, declaration)
  await stepRollout(t.world, t.operator, rollout_id, { event: 'start' })
  plane.clock.advance(1000)
  return new Scene(plane, t, (await getRollout(t.world.db, t.tenant, rollout_id)) as RolloutRow)
}

/** Each reading as a test says it; `?` is unknown. */
export const numbers = (readings: readonly Reading[]) =>
  Object.fromEntries(
    readings.map((reading) => {
      if (reading.kind === 'rate') return [reading.metric, `${reading.hits}/${reading.of}`]
      if (reading.kind === 'unknown') return [reading.metric, '?']
      return [reading.metric, reading.kind === 'amount' ? `${reading.value} of ${reading.samples}` : 'standing']
    }),
  )
