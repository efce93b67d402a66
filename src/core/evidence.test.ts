import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readSigningKey, signatureChecker, signingKeyPem } from './audit/keys.js'
import {
  type EvidenceBasis,
  evidenceHash,
  evidenceMessage,
  evidenceText,
  faultsOfEvidence,
  gateEvidence,
  launchContract,
} from './evidence.js'
import type { Reading } from './gates/check.js'
import type { GateMetricName } from './gates/metric.js'
import { declarationDigest } from './rollout/document.js'
import { parseRollout } from './rollout/parse.js'

const MINUTE = 60_000
const now = Date.parse('2026-04-01T09:30:00Z')
const window = { from: now - 10 * MINUTE, to: now }
const amount = (metric: GateMetricName, value: number, samples = 500): Reading => ({
  kind: 'amount',
  metric,
  query: `${metric}?window=10m`,
  ...window,
  value,
  samples,
})
const rate = (metric: GateMetricName, hits: number, of: number): Reading => ({
  kind: 'rate',
  metric,
  query: `${metric}?window=10m`,
  ...window,
  hits,
  of,
})
const drill: Reading = {
  kind: 'standing',
  metric: 'rollback_drill_passed',
  query: 'drills/rollback',
  at: now - MINUTE,
  valid_until: now + 30 * 86_400_000,
  value: true,
}
const owners = { reliability: 'sre-oncall', governance: 'ai-governance', cost: 'finops' }

const gate = (checks: object) => ({
  name: JSON.stringify(checks).slice(0, 40).replaceAll(' ', ''),
  share: 25,
  risk: 'mixed',
  min_duration: '5d',
  gate: { window: '10m', checks },
})
const GUIDE = {
  success_rate_pct: { target_gte: 99.0 },
  p95_latency_ms: { target_lte: '+20%' },
  approval_queue_p95_sec: { target_lte: 120 },
  policy_bypass_incidents: { target_eq: 0 },
  rollback_drill_passed: { target_eq: true },
}
const CHECKLIST = {
  unapproved_high_risk_actions: { target_eq: 0 },
  workflow_success_rate: { target_gte: 0.99 },
  p95_latency_ms: { target_lte: 1200 },
  approval_queue_median_sec: { target_lte: 900 },
  rollback_drill_passed: { target_eq: true },
}
const DRILL = { replay_scenarios: { target_gte: 30 } }
const { document, faults } = parseRollout({
  rollout: 'deploy',
  subject: { kind: 'agent', name: 'agent:support', candidate: '2', stable: '1' },
  owners,
  stakeholders: ['team:support'],
  phases: [
    { ...gate(DRILL), share: 0 },
    { ...gate({ error_rate: { target_lte: 0.01 } }), share: 5 },
    gate(GUIDE),
    { ...gate(CHECKLIST), share: 100 },
  ],
})

const basis = (phase: number, candidate: Reading[], control: Reading[] = []): EvidenceBasis => ({
  rollout_id: 'rol_1',
  rollout: 'deploy',
  declaration: declarationDigest(document!),
  phase,
  phases: 4,
  share_bp: document!.phases[phase]!.share_bp,
  gate: document!.phases[phase]!.gate,
  owners,
  snapshot: `7f93d2c${'0'.repeat(57)}`,
  reviewed_by: ['platform-lead@example.com'],
  now,
  to: now,
  phase_at: now - 6 * 86_400_000,
  candidate,
  control,
  past: [],
  tree_head: { size: 1204, root: 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=', note: null },
})
const guide = basis(
  2,
  [
    rate('success_rate_pct', 9934, 10_000),
    amount('p95_latency_ms', 812),
    amount('approval_queue_p95_sec', 55),
    amount('policy_bypass_incidents', 0),
    drill,
  ],
  [amount('p95_latency_ms', 700)],
)
const checklist = basis(3, [
  amount('unapproved_high_risk_actions', 0),
  rate('workflow_success_rate', 9940, 10_000),
  amount('p95_latency_ms', 1014),
  amount('approval_queue_median_sec', 520),
  drill,
])

test('the declaration is one', () => {
  expect(faults).toEqual([])
})

describe('the published forms, field by field', () => {
  test('rollout-gate-evidence.json of the guide', () => {
    const { outcome, reason, window_from, window_to, details, basis: behind, ...published } = gateEvidence(guide)
    expect(published).toEqual({
      gate_id: 'deploy-phase-2-2026-04-01',
      traffic_slice: '25%',
      checks: {
        success_rate_pct: { value: 99.34, target_gte: 99.0, pass: true },
        p95_latency_ms: { value: 812, target_lte: 840, pass: true },
        approval_queue_p95_sec: { value: 55, target_lte: 120, pass: true },
        policy_bypass_incidents: { value: 0, target_eq: 0, pass: true },
        rollback_drill_passed: { value: true, target_eq: true, pass: true },
      },
      policy_snapshot: 'v1:7f93d2c',
      reviewed_by: 'platform-lead@example.com',
      decision: 'promote_to_phase_3',
    })
    expect([outcome, window_from, window_to, details.length]).toEqual(['pass', window.from, window.to, 5])
    expect(behind.tree_head.size).toBe(1204)
  })

  test('launch-gate-contract.json of the checklist', () => {
    const { outcome, reason, window_from, window_to, details, basis: behind, ...published } = launchContract(checklist)
    expect(published).toEqual({
      gate_id: 'deploy-launch-2026-04-01',
      window: '10m',
      blockers: {
        unapproved_high_risk_actions: { target_eq: 0, value: 0, pass: true },
        workflow_success_rate: { target_gte: 0.99, value: 0.994, pass: true },
        p95_latency_ms: { target_lte: 1200, value: 1014, pass: true },
        approval_queue_median_sec: { target_lte: 900, value: 520, pass: true },
        rollback_drill_passed: { target_eq: true, value: true, pass: true },
      },
      owners,
      decision: 'allow_promotion_to_next_stage',
    })
  })

  test('what is held says so, and what is not known is null and no pass', () => {
    const held = gateEvidence({ ...guide, candidate: guide.candidate.slice(1), reviewed_by: [] })
    expect(held).toMatchObject({ decision: 'hold_at_phase_2', outcome: 'inconclusive', reviewed_by: null })
    expect(held.checks.success_rate_pct).toEqual({ value: null, target_gte: 99, pass: false })
    const blocked = launchContract({ ...checklist, candidate: [...checklist.candidate.slice(1)] })
    expect(blocked.decision).toBe('block_promotion')
    expect(gateEvidence(checklist).decision).toBe('complete_rollout')
    expect(gateEvidence({ ...guide, control: [] }).checks.p95_latency_ms).toEqual({
      value: null,
      target_lte: null,
      pass: false,
    })
  })
})

describe('the bytes', () => {
  test('are the same for the same input, in whatever order it comes', () => {
    const text = evidenceText(gateEvidence(guide))
    const mixed = {
      ...guide,
      candidate: guide.candidate.toReversed(),
      reviewed_by: [...guide.reviewed_by, ...guide.reviewed_by],
    }
    expect(evidenceText(gateEvidence(mixed))).toBe(text)
    expect(evidenceText(gateEvidence(gateEvidence(guide).basis))).toBe(text)
    expect(evidenceHash(gateEvidence(guide))).toMatch(/^[0-9a-f]{64}$/)
    expect(evidenceHash(gateEvidence({ ...guide, phase_at: guide.phase_at + 1 }))).not.toBe(
      evidenceHash(gateEvidence(guide)),
    )
  })

  test('are what is signed, and of a changed one the signature is false', () => {
    const key = readSigningKey(signingKeyPem(new Uint8Array(32).fill(7)))
    const check = signatureChecker(key.publicKey)
    const signature = key.sign(evidenceMessage(gateEvidence(guide)))
    expect(check(evidenceMessage(gateEvidence({ ...guide })), signature)).toBe(true)
    expect(check(evidenceMessage(gateEvidence({ ...guide, reviewed_by: [] })), signature)).toBe(false)
  })

  test('hold of a week of looks only those that count', () => {
    const looks = Array.from({ length: 60_480 }, (_, n) => {
      const to = now - (n + 1) * 10_000
      return { from: to - 10 * MINUTE, to, clean: n < 200 }
    })
    const given = { ...guide, gate: { ...guide.gate, consecutive: 3 } }
    const evidence = gateEvidence({ ...given, past: looks })
    expect(evidence.outcome).toBe('pass')
    expect(evidence.basis.past.map(({ to }) => (now - to) / MINUTE)).toEqual([10, 20])
    const more = gateEvidence({ ...given, gate: { ...guide.gate, consecutive: 9 }, past: looks })
    expect(more).toMatchObject({ outcome: 'inconclusive', reason: '4 of 9 clean windows in a row' })
    expect(more.basis.past.map(({ clean }) => clean)).toEqual([true, true, true, false])
    expect(evidenceText(gateEvidence({ ...given, past: looks.toReversed() }))).toBe(evidenceText(evidence))
    expect(faultsOfEvidence(evidenceText(evidence))).toEqual([])
  })

  test('a number that is none is written as null, holds the gate, and is found out again', () => {
    for (const broken of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const given = { ...guide, candidate: [...guide.candidate.slice(1), rate('success_rate_pct', broken, 10_000)] }
      const evidence = gateEvidence(given)
      expect(evidence).toMatchObject({ outcome: 'error', decision: 'hold_at_phase_2' })
      expect(faultsOfEvidence(evidenceText(evidence))).toEqual([])
    }
  })
})

describe('handed over', () => {
  const honest = [gateEvidence(guide), launchContract(checklist)]

  test('it follows from what it rests on, and the gate is the declared one', () => {
    for (const evidence of honest) {
      expect(faultsOfEvidence(evidenceText(evidence))).toEqual([])
      expect(faultsOfEvidence(JSON.stringify(evidence, null, 2), document)).toEqual([])
    }
  })

  /** As it comes out of a file: nothing in it is shared. */
  const copy = (value: unknown) => JSON.parse(JSON.stringify(value))

  /** Every place in a JSON value. */
  const places = (value: unknown, path: (string | number)[] = []): (string | number)[][] =>
    typeof value !== 'object' || value === null
      ? [path]
      : Object.entries(value).flatMap(([key, each]) => places(each, [...path, key]))

  test('a changed field in front of the basis is found, each one', () => {
    for (const evidence of honest) {
      const { basis: _, ...front } = evidence
      for (const path of places(front)) {
        const forged = copy(evidence)
        let at = forged as Record<string, unknown>
        for (const key of path.slice(0, -1)) at = at[key as string] as Record<string, unknown>
        const key = path.at(-1) as string
        at[key] = typeof at[key] === 'boolean' ? !at[key] : typeof at[key] === 'number' ? at[key] + 1 : 'forged'
        expect([path.join('.'), faultsOfEvidence(JSON.stringify(forged)).length > 0]).toEqual([path.join('.'), true])
      }
    }
  })

  test('another gate, share, owner or declaration than the declared one is found', () => {
    const other = (change: Partial<EvidenceBasis>) =>
      faultsOfEvidence(evidenceText(gateEvidence({ ...guide, ...change })), document)
    expect(other({ gate: { ...guide.gate, checks: guide.gate.checks.slice(1) } })).toEqual([
      'its gate is not the one that was declared',
    ])
    expect(other({ share_bp: 1 })).toEqual(['its phase is not one of the declaration'])
    expect(other({ phase: 9 })).toEqual(['its phase is not one of the declaration'])
    expect(other({ owners: { ...owners, cost: 'me' } })).toEqual(['its owners are not those that were declared'])
    expect(other({ declaration: 'x' })).toEqual(['it is of another declaration'])
  })

  test('whatever it is, faults come back and no exception', () => {
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      fc.jsonValue().map((value) => JSON.stringify({ ...honest[0], basis: value })),
      fc.tuple(fc.constantFrom(...places(honest[0])), fc.jsonValue()).map(([path, value]) => {
        const forged = copy(honest[0])
        let at = forged as Record<string, unknown>
        for (const key of path.slice(0, -1)) at = at[key as string] as Record<string, unknown>
        at[path.at(-1) as string] = value
        return JSON.stringify(forged)
      }),
    )
    fc.assert(fc.property(texts, (text) => void expect(Array.isArray(faultsOfEvidence(text))).toBe(true)))
    for (const text of ['null', '1', '[]', '{}', '{"basis":null}']) expect(faultsOfEvidence(text)).toHaveLength(1)
    expect(faultsOfEvidence(' '.repeat(4_000_001))).toEqual(['it is too long'])
  })

  test('a hundred thousand checks and readings take no hundred thousand times as long', () => {
    const check = { metric: 'x', target: {} }
    const many = {
      ...guide,
      gate: { ...guide.gate, checks: new Array(30_000).fill(check) },
      candidate: new Array(30_000).fill({ metric: 'x' }),
    }
    const text = JSON.stringify({ ...honest[0], basis: many })
    expect(faultsOfEvidence(text).length).toBeGreaterThan(0)
  })
})
