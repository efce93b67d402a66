import { expect, test } from 'vitest'
import { evidenceHash, evidenceText, faultsOfEvidence, type GateEvidenceDocument, gateEvidence } from '../evidence.js'
import type { Reading } from '../gates/check.js'
import type { PastLook } from '../gates/gate.js'
import type { GateMetricName } from '../gates/metric.js'
import { type Sample, watch } from '../gates/trigger.js'
import { quantile } from '../metrics.js'
import { assign } from './assign.js'
import { declarationDigest } from './document.js'
import { parseRollout } from './parse.js'
import { draft, type Rollout, type RolloutEvent, step } from './step.js'

/** Five candidates, each through the whole core with a clock of its own: nothing here but values. */

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const TICK = 10 * MINUTE
/** 8,000 an hour: 400 of them at 5 %, enough to prove 99 %. */
const JOBS_A_TICK = 1334
const START = Date.parse('2026-04-01T00:00:00Z')

const phase = (name: string, share: number, risk = 'mixed') => ({
  name,
  share,
  risk,
  min_duration: '2h',
  gate: {
    window: '1h',
    checks: {
      success_rate_pct: { target_gte: 99 },
      unapproved_high_risk_actions: { target_eq: 0 },
      ...(share < 100 ? { p95_latency_ms: { target_lte: '+20%' } } : {}),
    },
  },
})
const { document } = parseRollout({
  rollout: 'support-2',
  subject: { kind: 'agent', name: 'agent:support', candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
  phases: [phase('canary', 5), phase('quarter', 25), phase('half', 50), phase('all', 100)],
})
const declaration = declarationDigest(document!)

interface Row {
  at: number
  mine: boolean
  ok: boolean
  ms: number
  bypassed: boolean
}
interface Candidate {
  /** Share of its jobs that fail. */
  fails?: number
  /** How much slower than the stable version. */
  slower?: (since: number) => number
  /** When it does what it may not. */
  bypasses?: number
  /** From when on nothing is heard of it. */
  falls_silent?: number
}

/** A multiplicative generator: the same story each time. */
function chances(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

function play(candidate: Candidate, hours: number) {
  const draw = chances(20_261_120)
  const rows: Row[] = []
  const looks: PastLook[] = []
  const told: GateEvidenceDocument[] = []
  const bypasses: Sample[] = []
  let state: Rollout = draft({ tenant: 't', rollout_id: 'rol_1', document: document!, declaration, declared_by: 'ann' })
  const take = (event: RolloutEvent, now: number) => {
    const stepped = step(state, event, now)
    if (stepped.kind === 'moved') state = stepped.next
    return stepped.kind
  }
  take({ event: 'start', by: 'ann' }, START)
  let now = START
  while (now < START + hours * HOUR && state.status === 'running') {
    rows.push(...work(state, candidate, now, draw))
    now += TICK
    bypasses.push({ at: now, value: rows.filter(({ mine, bypassed }) => mine && bypassed).length })
    const terms = document!.triggers.find(({ trigger }) => trigger === 'unapproved_high_risk')!
    if (watch(terms, bypasses, now).state === 'tripped') {
      take({ event: 'roll_back', by: 'system:rollouts', reason: 'unapproved', trigger: terms.trigger }, now)
      break
    }
    const evidence = look(state, rows, looks, now)
    told.push(evidence)
    looks.push({ from: evidence.window_from, to: evidence.window_to, clean: evidence.outcome === 'pass' })
    const { outcome } = evidence
    const pointer = {
      rollout_id: 'rol_1',
      declaration,
      phase: state.phase,
      outcome,
      evaluated_at: now,
      reviewed_by: [],
    }
    take(
      { event: 'promote', by: 'system:rollouts', evidence: { ...pointer, evidence_hash: evidenceHash(evidence) } },
      now,
    )
  }
  return { state, told, rows, hours: (now - START) / HOUR }
}

function work(
  state: Rollout,
  { fails = 0.001, slower, bypasses, falls_silent }: Candidate,
  now: number,
  draw: () => number,
) {
  const { share_bp, risk } = document!.phases[state.phase]!
  const slice = {
    rollout_id: state.rollout_id,
    status: state.status,
    share_bp,
    risk,
    rest: 'stable',
    has_stable: true,
  } as const
  return Array.from({ length: JOBS_A_TICK }, (_, n): Row | null => {
    const at = now + Math.floor((n * TICK) / JOBS_A_TICK)
    const routing_key = `run ${at}`
    const found = assign(slice, { routing_key, high_risk: false, held_action: 'read', risk_tags: [] })
    const mine = found.variant === 'candidate'
    const [failed, ms] = [draw(), 400 + 400 * draw()]
    if (mine && falls_silent !== undefined && at >= START + falls_silent) return null
    const times = mine && slower !== undefined ? slower(at - START) : 1
    const bypassed = mine && bypasses !== undefined && at >= START + bypasses
    return { at, mine, ok: failed >= (mine ? fails : 0.001), ms: ms * times, bypassed }
  }).filter((row) => row !== null)
}

function look(state: Rollout, rows: Row[], past: PastLook[], now: number): GateEvidenceDocument {
  const { gate, share_bp } = document!.phases[state.phase]!
  const window = { from: now - gate.window_ms, to: now }
  const recent = rows.filter(({ at }) => at >= window.from && at < window.to)
  const readings = (mine: boolean): Reading[] => {
    const those = recent.filter((row) => row.mine === mine)
    const base = (metric: GateMetricName) => ({ metric, query: `${metric}?window=1h`, ...window })
    const p95 = quantile(
      those.map(({ ms }) => ms),
      0.95,
    )
    const bypassed = those.filter((row) => row.bypassed).length
    return [
      { kind: 'rate', ...base('success_rate_pct'), hits: those.filter(({ ok }) => ok).length, of: those.length },
      p95 === null
        ? { kind: 'unknown', metric: 'p95_latency_ms', query: '', why: 'no job ended in the window' }
        : { kind: 'amount', ...base('p95_latency_ms'), value: p95, samples: those.length },
      { kind: 'amount', ...base('unapproved_high_risk_actions'), value: bypassed, samples: those.length },
    ]
  }
  return gateEvidence({
    rollout_id: state.rollout_id,
    rollout: document!.rollout,
    declaration,
    phase: state.phase,
    phases: document!.phases.length,
    share_bp,
    gate,
    owners: document!.owners,
    snapshot: 'a'.repeat(64),
    reviewed_by: [],
    now,
    to: now,
    phase_at: state.phase_at!,
    candidate: readings(true),
    control: readings(false),
    past,
    tree_head: { size: rows.length, root: '', note: null },
  })
}

test('a fine candidate reaches 100 %, by evidence of each phase and in no less than its time', () => {
  const { state, told, rows } = play({}, 24)
  expect(state).toMatchObject({ status: 'promoted', overridden: false, phase: 3 })
  expect(state.steps.map(({ phase, how }) => [phase, how])).toEqual([0, 1, 2, 3].map((n) => [n, 'evidence']))
  const lasted = state.steps.map(({ at }, n) => at - (state.steps[n - 1]?.at ?? START))
  for (const ms of lasted) expect(ms).toBeGreaterThanOrEqual(2 * HOUR)
  const hashes = new Map(told.map((each) => [evidenceHash(each), each]))
  for (const each of state.steps) {
    const evidence = hashes.get(each.evidence_hash!)!
    expect(evidence.outcome).toBe('pass')
    expect(faultsOfEvidence(evidenceText(evidence), document)).toEqual([])
  }
  // Asked again about the first promotion, after all the jobs that came later: the same bytes.
  const first = hashes.get(state.steps[0]!.evidence_hash!)!
  const then = { ...draft({ ...state }), phase: 0, phase_at: START }
  const again = look(then, rows, [], state.steps[0]!.at)
  expect(evidenceText({ ...again, basis: { ...again.basis, tree_head: first.basis.tree_head } })).toBe(
    evidenceText(first),
  )
})

test('one that fails 3 % is held at 5 %, by its bound, and of few jobs nothing is said', () => {
  const { state, told } = play({ fails: 0.03 }, 5)
  expect(state).toMatchObject({ status: 'running', phase: 0, steps: [] })
  const last = told.at(-1)!
  expect(last).toMatchObject({ outcome: 'fail', decision: 'hold_at_phase_0', traffic_slice: '5%' })
  const check = last.details.find(({ metric }) => metric === 'success_rate_pct')!
  expect(check.samples).toBeGreaterThan(300)
  expect(check.bound!.value).toBeLessThan(99)
  expect(told.every(({ outcome }) => outcome !== 'pass')).toBe(true)
  expect(told[3]!.outcome).toBe('inconclusive')
})

test('one whose latency drifts is held where it passed +20 %', () => {
  const { state, told } = play({ slower: (since) => 1 + since / (20 * HOUR) }, 8)
  expect(state.status).toBe('running')
  expect(state.phase).toBeGreaterThan(0)
  expect(state.phase).toBeLessThan(3)
  expect(told.at(-1)).toMatchObject({
    outcome: 'fail',
    checks: { success_rate_pct: { pass: true }, p95_latency_ms: { pass: false } },
  })
})

test('one that does what needs an approval without one is taken back at the next look', () => {
  const { state, hours } = play({ bypasses: 3 * HOUR }, 5)
  expect(state).toMatchObject({ status: 'rolled_back', ended_reason: 'unapproved' })
  expect(hours * HOUR - 3 * HOUR).toBeLessThanOrEqual(TICK)
})

test('one that is not heard of any more is held, however well it did before', () => {
  const { state, told } = play({ falls_silent: 3 * HOUR }, 7)
  expect(state).toMatchObject({ status: 'running', phase: 1 })
  expect(told.at(-1)).toMatchObject({
    outcome: 'inconclusive',
    checks: { success_rate_pct: { value: null, pass: false } },
  })
})
