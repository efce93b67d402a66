import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parse as yaml } from 'yaml'
import type { Json, JsonObject } from '../json.js'
import { declarationDigest, STANDARD_PHASES } from './document.js'
import { parseRollout } from './parse.js'

const subject = { kind: 'agent', name: 'agent:support-bot', candidate: '2.0', stable: '1.9' }
const owners = { reliability: 'sre-oncall', governance: 'ai-governance', cost: 'finops' }
const plain: JsonObject = { rollout: 'support-2', subject, owners, stakeholders: ['team:support'] }
const parse = (more: JsonObject = {}) => parseRollout({ ...plain, ...more })
const faults = (more: JsonObject) => parse(more).faults.map(({ path, message }) => `${path}: ${message}`)

const last = {
  name: 'all',
  share: 100,
  risk: 'mixed',
  min_duration: '1d',
  gate: { checks: { success_rate_pct: { target_gte: 99 } } },
}
const phase = (more: JsonObject = {}): JsonObject => ({ ...last, name: 'first', share: 5, risk: 'low_risk', ...more })
const phases = (more: JsonObject) => faults({ phases: [phase(more), last] })
const checks = (given: Json) => phases({ gate: { checks: given } })

describe('a declaration', () => {
  test('that names no phases gets the standard ones', () => {
    const { document, faults } = parse()
    expect(faults).toEqual([])
    expect(document!.phases.map(({ share_bp, risk }) => [share_bp / 100, risk])).toEqual([
      [0, 'read_only'],
      [5, 'read_only'],
      [25, 'mixed'],
      [50, 'mixed'],
      [100, 'mixed'],
    ])
    // At 100 % there is no baseline in the same window.
    const drifting = document!.phases.filter(({ gate }) =>
      gate.checks.some(({ metric }) => metric === 'p95_latency_ms'),
    )
    expect(drifting.map(({ name }) => name)).toEqual(['canary', 'quarter', 'half'])
    const days = document!.phases.map(({ min_duration_ms }) => min_duration_ms / 86_400_000)
    expect(days).toEqual([3, 3, 5, 7, 7])
    const canary = document!.phases[1]!.gate.checks.map(({ metric, target }) => [metric, target])
    expect(canary).toContainEqual(['success_rate_pct', { op: 'gte', value: 99 }])
    expect(canary).toContainEqual(['p95_latency_ms', { op: 'lte', times: 1.2, floor: 0 }])
    expect(canary).toContainEqual(['rollback_drill_passed', { op: 'eq', value: true }])
    expect(document).toMatchObject({ routing: 'run', rest: 'stable', on_rollback: 'drain', promotion: 'manual' })
    expect(document!.triggers.find(({ trigger }) => trigger === 'error_rate')).toMatchObject({ times: 2 })
    expect(parse({ phases: STANDARD_PHASES as never }).document).toEqual(document)
  })

  test('has the same digest in whatever order it is written', () => {
    const backward = (value: Json): Json =>
      Array.isArray(value)
        ? value.map(backward)
        : typeof value === 'object' && value !== null
          ? Object.fromEntries(
              Object.entries(value)
                .reverse()
                .map(([key, each]) => [key, backward(each)]),
            )
          : value
    const one = parse({ phases: [phase(), last] }).document!
    const other = parseRollout(backward({ ...plain, phases: [phase(), last] })).document!
    expect(declarationDigest(other)).toBe(declarationDigest(one))
    expect(declarationDigest(parse().document!)).not.toBe(declarationDigest(one))
  })

  test('as docs/rollouts.md shows it is one', () => {
    const page = readFileSync(new URL('../../../docs/rollouts.md', import.meta.url), 'utf8')
    const { document, faults } = parseRollout(yaml(/```yaml\n([\s\S]*?)```/.exec(page)![1]!))
    expect(faults).toEqual([])
    expect(document).toMatchObject({ rollout: 'support-bot-2', phases: [{ share_bp: 500 }, { share_bp: 10_000 }] })
  })

  test('says where each fault is', () => {
    expect(faults({ subjekt: 1 })).toEqual(["subjekt: unknown key 'subjekt'"])
    expect(parse({ stakeholder: 1 }).faults[0]).toMatchObject({ hint: "did you mean 'stakeholders'?" })
    expect(parseRollout(null).faults).toMatchObject([{ path: '', code: 'wrong_type' }])
    expect(parseRollout({}).faults.map(({ message }) => message)).toEqual([
      "'rollout' is missing",
      "'subject' is missing",
      "'owners' is missing",
      "'stakeholders' is missing",
    ])
    expect(faults({ owners: { reliability: 'a', governance: 'b' } })).toEqual(["owners: 'cost' is missing"])
    expect(faults({ stakeholders: ['everybody'] })).toEqual(['stakeholders[0]: is nobody'])
    expect(faults({ stakeholders: [] })).toEqual(['stakeholders: an empty list names nothing'])
    expect(faults({ rollout: 'Über uns' })).toEqual(['rollout: is no name'])
    expect(parse({ promotion: 'auto' }).document).toMatchObject({ promotion: 'auto' })
    expect(faults({ promotion: 'always' })).toEqual(["promotion: 'always' is not one of manual, auto"])
    expect(faults({ routing: 'label:' })).toEqual(['routing: is no routing key'])
    expect(faults({ reviewers: { from: ['role:approver'], need: 0 } })).toEqual(['reviewers.need: needs 1 to 10'])
  })

  test('names a version that a worker can declare in one word', () => {
    for (const candidate of ['2 beta', '2@3', '.2', 'v'.repeat(101)])
      expect(faults({ subject: { ...subject, candidate } })[0]).toContain('no version that a worker can declare')
    expect(faults({ subject: { ...subject, name: 'my agent' } })[0]).toContain('no name that a worker can declare')
    expect(faults({ subject: { ...subject, candidate: '2.0.1-rc.1+build' } })).toEqual([])
  })

  test('of a policy names snapshots by their digests, of another subject its name', () => {
    const [a, b] = ['a'.repeat(64), 'b'.repeat(64)]
    expect(parse({ subject: { kind: 'policy', candidate: a, stable: b } }).faults).toEqual([])
    expect(faults({ subject: { kind: 'policy', candidate: 'v1:7f93d2c', stable: b } })[0]).toContain('no digest')
    expect(faults({ subject: { kind: 'policy', candidate: a, stable: a } })[0]).toContain('the same')
    expect(faults({ subject: { kind: 'workflow', candidate: '2', stable: '1' } })).toEqual([
      "subject: 'name' is missing",
    ])
  })

  test('without a stable version has nothing to be held against and nobody for the rest', () => {
    const fresh = { subject: { ...subject, stable: null } }
    expect(faults({ ...fresh, phases: [phase(), last] })).toEqual([': there is no stable version'])
    expect(faults({ ...fresh, rest: 'manual', phases: [phase(), last] })).toEqual([])
    expect(faults({ ...fresh, rest: 'manual' })).toContain(
      'phases[1].gate.checks.p95_latency_ms.target_lte: there is no stable version to be held against',
    )
  })
})

describe('phases', () => {
  test('only ever widen, and end with everything', () => {
    expect(phases({})).toEqual([])
    expect(faults({ phases: [phase({ share: 50 }), phase({ name: 'b', share: 25 }), last] })).toEqual([
      'phases[1]: share 25 is less than 50 before it',
    ])
    expect(faults({ phases: [phase({ risk: 'mixed' }), phase({ name: 'b', share: 25 }), last] })).toEqual([
      'phases[1]: risk low_risk is narrower than mixed before it',
    ])
    expect(faults({ phases: [phase(), phase({ name: 'b' }), last] })).toHaveLength(1)
    expect(faults({ phases: [phase(), phase({ share: 6 }), last] })).toEqual([
      "phases[1]: phase 'first' is declared twice",
    ])
    expect(faults({ phases: [{ ...last, risk: 'low_risk' }] })).toHaveLength(1)
    expect(faults({ phases: [phase()] })).toEqual([
      'phases: the last phase has to be all of the work: share 100, risk mixed',
    ])
  })

  test('have a share to two decimals, and at 0 % nothing that could be measured', () => {
    expect(parse({ phases: [phase({ share: 0.07 }), last] }).document!.phases[0]!.share_bp).toBe(7)
    expect(phases({ share: 0.001 })).toEqual(['phases[0].share: at most two decimals'])
    expect(phases({ share: 101 })).toEqual(['phases[0].share: needs 0 to 100'])
    expect(phases({ share: 0 })).toEqual([
      'phases[0].gate.checks.success_rate_pct: at 0 % the candidate does nothing that could be measured',
    ])
    expect(phases({ share: 0, gate: { checks: { replay_scenarios: { target_gte: 30 } } } })).toEqual([])
    expect(phases({ min_duration: '0s' })).toEqual(['phases[0].min_duration: is no duration'])
  })
})

describe('a gate', () => {
  test('asks what some number could meet and some could miss', () => {
    const at = 'phases[0].gate.checks'
    expect(checks({})).toEqual([`${at}: a gate that asks nothing is none`])
    expect(checks({ success_rate_pct: {} })).toEqual([
      `${at}.success_rate_pct: needs one of target_gte, target_lte, target_eq`,
    ])
    expect(checks({ success_rate_pct: { target_gte: 99, target_lte: 100 } })).toHaveLength(1)
    const wrong: [string, Json, string][] = [
      ['success_rate_pct.target_gte', 100, 'no number of samples proves it'],
      ['success_rate_pct.target_gte', 0, 'everything meets it'],
      ['success_rate_pct.target_gte', true, 'needs a number'],
      ['success_rate_pct.target_lte', 99, 'success_rate_pct takes target_gte'],
      ['error_rate.target_lte', 0, 'no number of samples proves it'],
      ['error_rate.target_lte', 1, 'everything meets it'],
      ['error_rate.target_eq', 0.5, 'error_rate takes target_lte'],
      ['unapproved_high_risk_actions.target_eq', 1, 'needs 0 to 0'],
      ['unapproved_high_risk_actions.target_lte', 0, 'unapproved_high_risk_actions takes target_eq'],
      ['rollback_drill_passed.target_eq', false, 'needs true'],
      ['clean_weekly_reviews.target_gte', 0, 'everything is at least 0'],
      ['clean_weekly_reviews.target_gte', '2x', 'is not held against a baseline'],
      ['p95_latency_ms.target_lte', '20%', 'is no target'],
      ['p95_latency_ms.target_lte', '11x', 'is no target'],
      ['p95_latency_ms.target_lte', '-100%', 'is no target'],
      ['approval_backlog.target_lte', 1.5, 'needs a whole number'],
    ]
    for (const [path, value, message] of wrong) {
      const [metric, key] = path.split('.') as [string, string]
      expect(checks({ [metric]: { [key]: value } })).toEqual([`${at}.${path}: ${message}`])
    }
    expect(checks({ uptime: { target_gte: 1 } })).toEqual([`${at}.uptime: unknown key 'uptime'`])
  })

  test('takes the guide’s and the checklist’s ways to say a baseline', () => {
    const times = (text: string) => {
      const gate = { checks: { p95_latency_ms: { target_lte: text } } }
      const { target } = parse({ phases: [phase({ gate }), last] }).document!.phases[0]!.gate.checks[0]!
      return 'times' in target ? target.times : null
    }
    expect(['+20%', '1.2x', '2x', '+10%', '-5%', '+0.5%'].map(times)).toEqual([1.2, 1.2, 2, 1.1, 0.95, 1.005])
  })

  test('is held against the stable version only where that works too', () => {
    const gate = { checks: { p95_latency_ms: { target_lte: '1.2x' } } }
    expect(phases({ gate })).toEqual([])
    expect(faults({ phases: [{ ...last, gate }] })).toEqual([
      'phases[0].gate.checks.p95_latency_ms.target_lte: at 100 % nothing of the stable version runs',
    ])
  })

  test('asks for enough samples, of a confidence that is on the list, and a floor only of a baseline', () => {
    const of = (more: JsonObject) => checks({ success_rate_pct: { target_gte: 99, ...more } })
    expect(of({ min_samples: 20, confidence: 0.975 })).toEqual([])
    expect(of({ min_samples: 19 })).toHaveLength(1)
    expect(of({ min_samples: '20' })).toHaveLength(1)
    expect(of({ confidence: 0.9 })).toHaveLength(1)
    expect(of({ floor: 0.1 })).toHaveLength(1)
    expect(checks({ error_rate: { target_lte: '2x', floor: 0.01 } })).toEqual([])
    expect(checks({ p95_latency_ms: { target_lte: 1200, confidence: 0.95 } })).toHaveLength(1)
    expect(checks({ deny_drill_passed: { target_eq: true, min_samples: 5 } })).toHaveLength(1)
    expect(phases({ gate: { window: '10 min', checks: last.gate.checks } })).toEqual([
      'phases[0].gate.window: is no window',
    ])
    expect(phases({ gate: { consecutive: 0, checks: last.gate.checks } })).toHaveLength(1)
  })
})

test('a rollout may be stricter than the matrix, never looser', () => {
  const of = (rollback: Json) => parse({ rollback })
  const { triggers } = of({ error_rate: { times: 1.5, for: '5m' }, approval_backlog: { limit: 60 } }).document!
  expect(triggers.find(({ trigger }) => trigger === 'error_rate')).toMatchObject({ times: 1.5, for_ms: 300_000 })
  expect(triggers.find(({ trigger }) => trigger === 'approval_backlog')).toMatchObject({ limit: 60 })
  expect(faults({ rollback: { error_rate: { times: 3 } } })).toEqual([
    'rollback.error_rate.times: is looser than the 2 that every rollout has',
  ])
  expect(faults({ rollback: { error_rate: { for: '11m' } } })).toHaveLength(1)
  // Without a floor it would be asleep where there is no baseline.
  expect(faults({ rollback: { error_rate: { floor: 0 } } })).toHaveLength(1)
  expect(faults({ rollback: { p95_latency: { floor: 0 } } })).toHaveLength(1)
  expect(of({ error_rate: { floor: 0.005 } }).document!.triggers[0]).toMatchObject({
    trigger: 'error_rate',
    floor: 0.005,
  })
  expect(faults({ rollback: { error_rate: { min_samples: 1e6 } } })).toHaveLength(1)
  expect(faults({ rollback: { policy_bypass: { limit: 5 } } })).toHaveLength(1)
  expect(faults({ rollback: { policy_bypas: {} } })).toHaveLength(1)
})

describe('whatever comes in', () => {
  test('faults come out or a document, never an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.anything(), fc.jsonValue()),
        fc.constantFrom('', ...Object.keys(plain), 'phases', 'rollback'),
        (value, key) => {
          const { document, faults } = parseRollout(key === '' ? value : { ...plain, [key]: value })
          expect(document === null).toBe(faults.length > 0)
        },
      ),
    )
  })

  test('names of what every object has are unknown keys', () => {
    const given = JSON.parse(`{ "__proto__": { "rest": "manual" }, "constructor": 1 }`)
    const { faults } = parseRollout(Object.assign(Object.create(null), given, plain))
    expect(faults.map(({ code }) => code)).toContain('unknown_key')
    const gate = { checks: JSON.parse('{ "__proto__": { "target_eq": 0 }, "toString": { "target_eq": 0 } }') }
    expect(phases({ gate })).toHaveLength(2)
  })

  test('a thousand faults are not all told, and a long one is quoted in part', () => {
    const junk = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`k${n}`, n]))
    expect(parseRollout({ ...plain, ...junk }).faults).toHaveLength(200)
    const [fault] = parse({ ['x'.repeat(10_000)]: 1 }).faults
    expect(JSON.stringify(fault).length).toBeLessThan(600)
  })
})
