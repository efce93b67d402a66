import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import {
  type Autonomy,
  burden,
  CRITERIA,
  checked,
  drawOf,
  fallOf,
  type Numbers,
  rebalanced,
  STAGES,
  type Stage,
  stageAbove,
} from './autonomy.js'
import { decide, type Standing } from './door.js'
import type { Json, JsonObject } from './json.js'
import { compilePolicy } from './policy/compile.js'
import { fixtureClaim } from './policy/fixtures.js'
import { parsePolicy } from './policy/parse.js'
import { type RiskTier, UNBOUND } from './principal.js'

const POLICY = `
version: v1
rules:
  - { id: reads, match: { topic: job.read }, decision: ALLOW }
  - { id: writes, match: { topic: job.write }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout_ms: 900 } }
  - { id: unknown, match: { topic: job.plain }, decision: ALLOW }
  - { id: labelled, match: { topic: job.labelled }, decision: ALLOW }
  - { id: refunds, match: { topic: job.refund }, decision: ALLOW }
  - { id: asks, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [team:x] } }
  - { id: never, match: { topic: job.never }, decision: DENY }
job_classes:
  - { topic: job.read, set: { action_type: read } }
  - { topic: job.write, set: { action_type: update } }
  - { topic: job.refund, set: { action_type: refund } }
  - { topic: job.labelled, set: { labels: { a: b } } }
`
const policy = compilePolicy(parsePolicy([{ path: 'p.yaml', text: POLICY }]).document!)

const standing = (
  stage: Stage | null,
  more: { tier?: RiskTier; draw?: number; door?: Standing['door'] } = {},
): Standing => ({
  door: more.door ?? 'submit',
  now: 0,
  counters: {},
  grant: null,
  ...(more.draw === undefined ? {} : { draw: more.draw }),
  agent: {
    ...UNBOUND,
    risk_tier: more.tier ?? null,
    disabled: false,
    ...(stage === null ? {} : { stage: { stage, spot_check: 5, asks: ['lead:owner'] } }),
  },
})
test('a scoped grant answers what policy asks, and nothing that a stage asks', () => {
  const grants = [
    {
      grant_id: 'grt_1',
      by: 'p',
      voice: { role: 'approver', team: 'x', as: ['lead:owner'] },
      expires_at: 9,
      uses: 3,
      used: 0,
    },
  ]
  const at = (stage: Stage | null, topic: string) =>
    decide(policy, fixtureClaim({ topic }), { ...standing(stage), grants }).outcome
  expect(at(null, 'job.ask')).toBe('pass')
  expect(at('supervised', 'job.write')).toBe('park')
})

const ask = (stage: Stage | null, topic: string, more: Parameters<typeof standing>[1] & { job?: JsonObject } = {}) =>
  decide(policy, fixtureClaim({ topic, ...more.job }), standing(stage, more))

describe(`${proves('A8', 'A1')} what a stage asks people about`, () => {
  const parks = (stage: Stage, more = {}) =>
    ['job.read', 'job.write', 'job.plain', 'job.refund', 'job.ask'].filter(
      (topic) => ask(stage, topic, { draw: 0.5, ...more }).outcome === 'park',
    )
  test.each([
    ['advisor', ['job.read', 'job.write', 'job.plain', 'job.refund', 'job.ask']],
    ['supervised', ['job.write', 'job.plain', 'job.refund', 'job.ask']],
    ['assisted', ['job.refund', 'job.ask']],
    ['autonomous', ['job.refund', 'job.ask']],
  ] as const)('%s: %j', (stage, topics) => expect(parks(stage)).toEqual(topics))

  test('an agent of high risk writes nothing by itself before it is autonomous', () => {
    expect(parks('assisted', { tier: 'high' })).toEqual(['job.write', 'job.plain', 'job.refund', 'job.ask'])
    expect(parks('autonomous', { tier: 'high' })).toEqual(['job.refund', 'job.ask'])
  })

  test('the spot check is drawn, of reads too', () => {
    expect(parks('assisted', { draw: 0.0499 })).toContain('job.read')
    expect(parks('assisted', { draw: 0.05 })).not.toContain('job.read')
  })

  test('saying that a write is a read makes it none', () => {
    expect(ask('supervised', 'job.plain', { job: { action_type: 'read' } }).outcome).toBe('park')
    expect(ask('supervised', 'job.write', { job: { action_type: 'read' } }).outcome).toBe('park')
    expect(ask('supervised', 'job.labelled', { job: { action_type: 'read' } }).outcome).toBe('park')
    expect(ask('assisted', 'job.plain', { tier: 'high', draw: 0.9, job: { action_type: 'read' } }).outcome).toBe('park')
  })

  test('the question names the stage, binds the constraints, and goes to who leads the owner', () => {
    const { decision, rules, reason, evaluation, grant_hash } = ask('supervised', 'job.write')
    expect({ decision, rules, reason }).toEqual({
      decision: 'REQUIRE_APPROVAL',
      rules: ['stage:supervised', 'writes'],
      reason: 'agent:fixture is supervised: every write is a person’s to decide',
    })
    expect(evaluation.constraints).toEqual({ timeout_ms: 900 })
    expect(evaluation.approval).toEqual([expect.objectContaining({ from: ['lead:owner'], need: 1, then: 'escalate' })])
    expect(grant_hash).not.toBeNull()
  })

  test('what policy asks or denies stays as policy says it', () => {
    for (const stage of STAGES.slice(1)) {
      expect(ask(stage, 'job.ask').rules).toEqual(['asks'])
      expect(ask(stage, 'job.ask').evaluation.approval).toEqual([expect.objectContaining({ from: ['team:x'] })])
      expect(ask(stage, 'job.never').outcome).toBe('deny')
    }
  })

  test('an answered question passes at the second door', () => {
    const { bound_hash } = ask('supervised', 'job.write')
    const later = standing('supervised', { door: 'dispatch' })
    const claim = fixtureClaim({ topic: 'job.write' })
    expect(decide(policy, claim, later).outcome).toBe('park')
    const grant = { approval_id: 'a', bound_hash: bound_hash!, valid_until: 1 }
    expect(decide(policy, claim, { ...later, grant }).outcome).toBe('pass')
  })

  test('a stage never loosens: at no door, for no draw, does more pass than without it', () => {
    const topics = ['job.read', 'job.write', 'job.plain', 'job.refund', 'job.ask', 'job.never', 'job.other']
    const doors = ['submit', 'approve', 'dispatch', 'replay'] as const
    fc.assert(
      fc.property(
        fc.constantFrom(...STAGES),
        fc.constantFrom(...topics),
        fc.constantFrom(...doors),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.constantFrom<RiskTier>('low', 'high'),
        (stage, topic, door, draw, tier) => {
          const free = ask(null, topic, { door, tier })
          const bound = ask(stage, topic, { door, tier, draw })
          if (bound.outcome === 'pass') expect(free.outcome).toBe('pass')
          if (free.outcome === 'deny') expect(bound.outcome).toBe('deny')
          if (free.evaluation.high_risk) expect(bound.outcome).not.toBe('pass')
        },
      ),
    )
  })

  test('decisions of before there were stages are what they were', () => {
    expect(decide(policy, fixtureClaim({ topic: 'job.write' }), standing(null)).outcome).toBe('pass')
  })
})

test(`${proves('S1', 'D0')} an agent that may only read gets no write by calling it one`, () => {
  const reader = { ...standing(null).agent!, actions: ['read'] }
  const missing = (topic: string, action_type?: string) =>
    decide(policy, fixtureClaim({ topic, ...(action_type === undefined ? {} : { action_type }) }), {
      ...standing(null),
      agent: reader,
    }).missing
  expect(missing('job.read')).toEqual([])
  expect(missing('job.write', 'read')).toEqual(['action update'])
  expect(missing('job.plain', 'read')).toEqual(['an action_type'])
  expect(missing('job.labelled', 'read')).toEqual(['an action_type'])
})

describe(`${proves('A8')} in the shadow`, () => {
  test('what would be is said and nothing of it happens', () => {
    expect(ask('shadow', 'job.write')).toMatchObject({ outcome: 'shadow', decision: 'ALLOW_WITH_CONSTRAINTS' })
    expect(ask('shadow', 'job.ask')).toMatchObject({ outcome: 'shadow', decision: 'REQUIRE_APPROVAL' })
    expect(ask('shadow', 'job.never')).toMatchObject({ outcome: 'deny', decision: 'DENY' })
  })
  test.each(['approve', 'dispatch', 'replay'] as const)('what was there before is denied at %s', (door) => {
    expect(ask('shadow', 'job.write', { door })).toMatchObject({ outcome: 'deny', decision: 'DENY' })
  })
})

const DAY = 86_400_000
const good: Numbers = {
  in_stage_ms: 14 * DAY,
  actions: 500,
  error_rate: 0,
  answered: 100,
  approval_rate: 1,
  answered_week: 50,
  approval_rate_week: 1,
  denial_rate: 0,
}
const failing = (stage: Stage, numbers: Partial<Numbers>) =>
  checked(stage, { ...good, ...numbers })
    .filter(({ holds }) => !holds)
    .map(({ criterion }) => criterion)

describe(`${proves('A7', 'A8')} what a promotion needs`, () => {
  test('all of it holds for a good agent, and nothing is above autonomous', () => {
    for (const stage of STAGES.slice(0, -1)) expect(failing(stage, {})).toEqual([])
    expect(checked('autonomous', good)).toEqual([])
    expect(STAGES.map(stageAbove)).toEqual([...STAGES.slice(1), null])
  })
  test('two weeks of every write asked about, and 95 % yes in the last of them', () => {
    expect(failing('supervised', { in_stage_ms: 14 * DAY - 1 })).toEqual(['days'])
    expect(failing('supervised', { approval_rate_week: 0.949 })).toEqual(['approval_rate'])
    expect(failing('supervised', { approval_rate_week: 0.95 })).toEqual([])
    expect(failing('supervised', { error_rate: 0.021 })).toEqual(['error_rate'])
    expect(failing('supervised', { actions: 49, answered: 29, answered_week: 9 })).toEqual([
      'actions',
      'answered',
      'answered_week',
    ])
  })
  test('what there is no number for is never a pass', () => {
    for (const stage of STAGES.slice(0, -1)) {
      const { error_rate, denial_rate, approval_rate } = CRITERIA[stage]!
      const missing = failing(stage, { error_rate: null, denial_rate: null, approval_rate_week: null })
      const asked = { error_rate, denial_rate, approval_rate }
      expect(missing).toEqual(Object.keys(asked).filter((key) => asked[key as keyof typeof asked] !== null))
    }
  })
})

describe(`${proves('A8')} who does badly`, () => {
  test('is asked about again', () => {
    expect(fallOf('autonomous', { ...good, error_rate: 0.03 }, false)).toEqual({
      to: 'supervised',
      reason: '3 % of 500 actions failed, at most 2 % may',
    })
    expect(fallOf('assisted', { ...good, approval_rate_week: 0.89 }, false)?.to).toBe('supervised')
    expect(fallOf('supervised', good, true)).toEqual({ to: 'advisor', reason: 'its breaker opened' })
  })
  test('stays while it does well, where little is known, and where people decide about everything already', () => {
    expect(fallOf('autonomous', good, false)).toBeNull()
    expect(fallOf('autonomous', { ...good, actions: 9, error_rate: 1 }, false)).toBeNull()
    expect(fallOf('assisted', { ...good, answered_week: 9, approval_rate_week: 0 }, false)).toBeNull()
    expect(fallOf('advisor', { ...good, error_rate: 1 }, true)).toBeNull()
    expect(fallOf('shadow', good, true)).toBeNull()
  })
})

describe(`${proves('A7')} the spot check and what reviewers bear`, () => {
  const agent = (more: Partial<Autonomy> = {}): Autonomy => ({
    ...{ tenant: 't', agent: 'a', stage: 'assisted', spot_check: 8, asks: [], since: 0, least: 2, most: 10 },
    ...{ moved_at: null, proposal: null, alerted_at: null, offered_at: null, updated_at: 0, updated_by: 'x' },
    ...more,
  })
  const over = { pending: 100, reviewers: 2, median_wait_ms: 60_000 }
  const light = { pending: 1, reviewers: 2, median_wait_ms: 60_000 }
  test('over, light, even, and nobody there', () => {
    expect(burden(over)).toBe('over')
    expect(burden({ ...light, median_wait_ms: 3_600_001 })).toBe('over')
    expect(burden(light)).toBe('light')
    expect(burden({ ...light, median_wait_ms: 1_800_000 })).toBe('even')
    expect(burden({ ...over, reviewers: 0 })).toBe('even')
    expect(burden({ ...over, median_wait_ms: null })).toBe('even')
  })
  test('moves inside the bounds, an hour apart, and only in assisted', () => {
    expect(rebalanced(agent(), over, 0)).toBe(4)
    expect(rebalanced(agent({ spot_check: 3 }), over, 0)).toBe(2)
    expect(rebalanced(agent({ spot_check: 2 }), over, 0)).toBeNull()
    expect(rebalanced(agent(), light, 0)).toBe(9)
    expect(rebalanced(agent({ spot_check: 10 }), light, 0)).toBeNull()
    expect(rebalanced(agent({ moved_at: 0 }), over, 3_599_999)).toBeNull()
    expect(rebalanced(agent({ moved_at: 0 }), over, 3_600_000)).toBe(4)
    for (const stage of STAGES.filter((each) => each !== 'assisted'))
      expect(rebalanced(agent({ stage }), over, 0)).toBeNull()
  })
})

test('draws are spread evenly, and one job’s is always the same', () => {
  const ids = Array.from({ length: 20_000 }, (_, i) => `job_${i}`)
  const drawn = ids.filter((id) => drawOf(id) < 0.05).length / ids.length
  expect(drawn).toBeGreaterThan(0.04)
  expect(drawn).toBeLessThan(0.06)
  expect(drawOf('job_1')).toBe(drawOf('job_1'))
  expect({ draw: drawOf('job_1') } as Json).not.toEqual({ draw: drawOf('job_2') })
})
