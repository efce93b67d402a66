import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { DrillRun } from '../src/core/drill.js'
import type { GateEvidenceDocument } from '../src/core/evidence.js'
import { bucketOf } from '../src/core/rollout/assign.js'
import { evaluateGateNow, type GateAsked, lookAtGate, recomputeEvidence } from '../src/journey/gate.js'
import { integrate } from '../src/journey/integrate.js'
import { readingsFor, triggerSamples } from '../src/journey/readings.js'
import { declareRollout, promoteBySystem, rollBackByTrigger, stepRollout } from '../src/journey/rollouts.js'
import { watchTriggers } from '../src/journey/triggers.js'
import { getRollout, type RolloutRow } from '../src/store/rollouts.js'
import { violations } from './invariants.js'
import { openPlane, type Tenancy, type TestPlane } from './plane.js'
import { proves } from './requirements.js'

/** As examples/rollout/candidates.yaml has them. */
interface Candidate {
  name: string
  jobs: number
  /** Every so many-th job of it does. */
  fails?: number
  /** By phase; the last one goes on. */
  latency_ms: number[]
  /** Topic of one job of it. */
  does?: string
  /** Phase from which on nothing is heard of it. */
  silent_from?: number
  ends: 'promoted' | 'held' | 'rolled_back'
  phase?: number
  outcome?: string
  metric?: string
  trigger?: string
}
const FOLDER = join(import.meta.dirname, '../examples/rollout')
const read = (name: string) => readFileSync(join(FOLDER, name), 'utf8')
const POLICY = read('policy.yaml')
const DECLARATION = parse(read('rollout.yaml'))
const CANDIDATES = parse(read('candidates.yaml')) as Candidate[]

const STABLE_MS = 400
const STABLE_JOBS = 30
const WINDOW_MS = 600_000
/** What the loops wait between two looks. */
const INTERVAL_MS = 10_000
const MONTH_MS = 30 * 86_400_000
const AGENT = 'agent:support'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

const asked = (): GateAsked => ({ key: plane.key, readings: readingsFor })
const rowOf = async (t: Tenancy, id: string) => (await getRollout(t.world.db, t.tenant, id)) as RolloutRow

/** Runs that no job was of yet, drawn inside or outside of a share. */
function* runs(rollout_id: string): Generator<string> {
  for (let n = 0; ; n++) yield `${rollout_id.slice(-6)}-${n}`
}
function take(from: Iterator<string>, rollout_id: string, share_bp: number, inside: boolean, count: number): string[] {
  const found: string[] = []
  while (found.length < count) {
    const run = from.next().value as string
    if (bucketOf(rollout_id, run) < share_bp === inside) found.push(run)
  }
  return found
}

/** A window of work: everything is asked for at once, and ends when its version has taken its time. */
async function work(t: Tenancy, rollout: RolloutRow, candidate: Candidate, from: Iterator<string>): Promise<void> {
  const { rollout_id, phase, document } = rollout
  const share = document.phases[phase]?.share_bp ?? 0
  const agent = t.caller('agent', AGENT)
  const ask = (run_id: string, topic = 'job.tickets.read') => t.submit({ topic, run_id, agent: AGENT }, null, agent)
  const silent = phase >= (candidate.silent_from ?? Number.POSITIVE_INFINITY)
  const mine = take(from, rollout_id, share, true, silent ? 0 : candidate.jobs)
  const others = share < 10_000 ? take(from, rollout_id, share, false, STABLE_JOBS) : []
  const [first] = mine
  await Promise.all([...mine, ...others].map((run) => ask(run)))
  if (candidate.does !== undefined && first !== undefined) await ask(first, candidate.does)
  const topics = ['job.tickets.read', 'job.tickets.close']
  const claim = (serves: string[]) => t.claim(topics, { capacity: 1000, serves })
  const [own, stable] = [await claim([`${AGENT}@2`]), await claim([])]
  expect([own.length, stable.length]).toEqual([mine.length + (candidate.does ? 1 : 0), others.length])
  const latency = candidate.latency_ms[Math.min(phase, candidate.latency_ms.length - 1)] ?? STABLE_MS
  plane.clock.advance(STABLE_MS)
  await Promise.all(stable.map(({ lease }) => t.succeed(lease)))
  plane.clock.advance(latency - STABLE_MS)
  const { fails = Number.POSITIVE_INFINITY } = candidate
  await Promise.all(own.map(({ lease }, n) => ((n + 1) % fails === 0 ? t.fail(lease, 'terminal') : t.succeed(lease))))
}

/** What the loops do at each interval. */
async function look(t: Tenancy, id: string) {
  await integrate(t.world, plane.key)
  const tripped = await watchTriggers(t.world, triggerSamples, await rowOf(t, id))
  if (tripped !== null) {
    await rollBackByTrigger(t.world, t.tenant, id, tripped)
    return null
  }
  const looked = await lookAtGate(t.world, asked(), await rowOf(t, id), INTERVAL_MS)
  if (looked?.promotes) await promoteBySystem(t.world, t.tenant, id, looked.promotes)
  return looked
}

/** A rollback was tried lately: without that nothing goes on by itself. What drills are, their own tests show. */
async function triedRollback({ tenant, world }: Tenancy): Promise<void> {
  const at = plane.clock.now()
  const run: DrillRun = {
    ...{
      tenant,
      drill_id: world.ids.id('drill', at),
      drill: 'rollback',
      outcome: 'passed',
      at,
      valid_until: at + MONTH_MS,
    },
    ...{ took_ms: 1000, made: {}, checks: [], figures: {}, recorded_by: 'user:operator' },
  }
  await world.ledger.commit({ tenant, gate: null, alone: [], rows: {}, admin: { drillRuns: [run] }, facts: [] })
}

async function play(candidate: Candidate) {
  const t = await plane.tenant(POLICY)
  await triedRollback(t)
  const { rollout_id: id } = await declareRollout(t.world, t.admin, DECLARATION)
  await stepRollout(t.world, t.operator, id, { event: 'start' })
  const from = runs(id)
  for (;;) {
    const before = await rowOf(t, id)
    plane.clock.advance(WINDOW_MS / 2)
    await work(t, before, candidate, from)
    const worked_at = plane.clock.now()
    plane.clock.advance(INTERVAL_MS)
    await look(t, id)
    const soon = await rowOf(t, id)
    if (soon.status === 'rolled_back') return { t, id, worked_at }
    plane.clock.advance(WINDOW_MS - (plane.clock.now() - (before.phase_at ?? 0)) + 3000)
    await look(t, id)
    const after = await rowOf(t, id)
    if (after.status !== 'running' || after.phase === before.phase) return { t, id, worked_at }
  }
}

describe(`${proves('G1')} ${proves('G2')} ${proves('G4')} ${proves('G7')} of six candidates`, () => {
  test.each(CANDIDATES)('$name', async (candidate) => {
    const { t, id, worked_at } = await play(candidate)
    const rollout = await rowOf(t, id)
    expect(rollout.status).toBe(candidate.ends === 'held' ? 'running' : candidate.ends)
    if (candidate.ends === 'promoted') {
      expect(rollout.steps.map(({ how, by }) => [how, by])).toEqual(Array(4).fill(['evidence', 'system:rollouts']))
      expect(rollout.overridden).toBe(false)
    } else expect(rollout.phase).toBe(candidate.phase)
    if (candidate.trigger !== undefined) {
      const fact = (await t.facts()).find(({ kind }) => kind === 'rollout.rolled_back')
      expect(fact).toMatchObject({ trigger: candidate.trigger, actor: 'system:rollouts' })
      expect(Number(fact?.at) - worked_at).toBeLessThanOrEqual(INTERVAL_MS)
    }
    if (candidate.ends === 'held') {
      const row = await evaluateGateNow(t.world, asked(), t.operator, id)
      const evidence = JSON.parse(row.text) as GateEvidenceDocument
      const check = evidence.details.find(({ metric }) => metric === candidate.metric)
      expect([evidence.outcome, check?.outcome]).toEqual([candidate.outcome, candidate.outcome])
      expect(evidence.decision).toBe(`hold_at_phase_${candidate.phase}`)
      expect(await recomputeEvidence(t.world, readingsFor, row)).toBe(row.text)
      // It states how many, of which window and by which bound: whoever reads it can tell a proof from too little.
      const isSilent = candidate.silent_from !== undefined
      const stated = [check?.samples, check?.bound?.confidence, evidence.window_to - evidence.window_from]
      if (candidate.metric === 'success_rate_pct')
        expect(stated).toEqual([isSilent ? 0 : candidate.jobs, isSilent ? undefined : 0.95, WINDOW_MS])
    }
    expect(await violations(plane, t.tenant)).toEqual([])
  })
})
