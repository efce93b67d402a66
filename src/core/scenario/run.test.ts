import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import { compilePolicy } from '../policy/compile.js'
import { parsePolicy } from '../policy/parse.js'
import { parseScenarios } from './parse.js'
import { type ReplayEntry, replay } from './run.js'

const examples = (path: string) => fileURLToPath(new URL(`../../../examples/${path}`, import.meta.url))
const SUITE = readdirSync(examples('scenarios')).map((name) => ({
  path: name,
  text: readFileSync(examples(`scenarios/${name}`), 'utf8'),
}))
const NOW = 1_795_187_200_000

function policyOf(text: string) {
  const { document, faults } = parsePolicy([{ path: 'policy.yaml', text }])
  if (document === null) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}
function suiteOf(...files: { path: string; text: string }[]) {
  const { scenarios, faults } = parseScenarios(files)
  if (scenarios === null) throw new Error(JSON.stringify(faults))
  return scenarios
}
const DEFAULT = readFileSync(examples('policies/default.yaml'), 'utf8')

test(`${proves('G5')} the shipped suite finds nothing in the policy a fresh start runs with, and an entry for each denial`, () => {
  const log: ReplayEntry[] = []
  const suite = suiteOf(...SUITE)
  const done = replay(policyOf(DEFAULT), suite, NOW, (entry) => log.push(entry))
  expect(done.findings).toEqual([])
  expect(done).toMatchObject({ critical_bypasses: 0, bypasses: 0, overblocked: 0, unsafe_duplicates: 0 })
  expect(suite.length).toBeGreaterThanOrEqual(30)
  expect(done.runs).toBeGreaterThan(300)
  expect([done.logged, log.length]).toEqual([done.decided.DENY, done.decided.DENY])
  const kinds = new Set(suite.map(({ kind }) => kind))
  expect(kinds.size).toBe(13)
})

const ONE = (more: string) => ({
  path: 'one.yaml',
  text: `version: v1\nscenarios:\n  - { id: one, about: x, kind: money, job: { topic: job.pay, input: { amount: 5, note: pay now } }, ${more} }\n`,
})
const rule = (decision: string, rest = '') =>
  policyOf(
    `version: v1\ndefault_decision: DENY\nrules:\n  - { id: pay, match: { topic: job.pay }, decision: ${decision} }\n${rest}`,
  )

test('an answer milder than the least is a bypass, and a critical one where the scenario says so', () => {
  const of = (critical: boolean) => replay(rule('ALLOW'), suiteOf(ONE(`critical: ${critical}, expect: DENY`)), NOW)
  expect(of(true)).toMatchObject({ runs: 1, bypasses: 1, critical_bypasses: 1 })
  expect(of(false)).toMatchObject({ runs: 1, bypasses: 1, critical_bypasses: 0 })
  expect(of(true).findings).toMatchObject([{ scenario: 'one', variant: null, fault: 'bypass', decision: 'ALLOW' }])
})

test('a variant that gets through is a bypass by its name; one that is refused is none', () => {
  const guarded = policyOf(`version: v1
default_decision: DENY
rules:
  - { id: pay, match: { topic: job.pay }, decision: ALLOW }
  - { id: ask, match: { topic: job.pay }, when: 'input.note == "pay now"', decision: REQUIRE_APPROVAL }
`)
  const { findings, runs } = replay(
    guarded,
    suiteOf(ONE('critical: true, at_least: REQUIRE_APPROVAL, vary: [spelling]')),
    NOW,
  )
  expect(runs).toBe(10)
  expect(findings.map(({ variant }) => variant)).toContain('spelling:upper:/note')
  expect(findings).toHaveLength(9)
  const asks = replay(rule('REQUIRE_APPROVAL'), suiteOf(ONE('expect: REQUIRE_APPROVAL, vary: all')), NOW)
  expect(asks.findings).toEqual([])
})

test('a policy that keeps back everyday work is told so, however safe it is', () => {
  const done = replay(rule('DENY'), suiteOf(ONE('at_least: ALLOW, at_most: REQUIRE_APPROVAL')), NOW)
  expect(done).toMatchObject({ overblocked: 1, bypasses: 0 })
  expect(done.findings).toMatchObject([{ fault: 'overblocked', decision: 'DENY' }])
})

test('a repeated request is unsafe unless something makes the two one', () => {
  const twice = (repeats: string, policy = rule('ALLOW')) =>
    replay(policy, suiteOf(ONE(`expect: ALLOW, repeats: ${repeats}`)), NOW).unsafe_duplicates
  expect(twice('true')).toBe(1)
  expect(twice('false')).toBe(0)
  expect(twice('with_key')).toBe(0)
  expect(twice('true', rule('ALLOW', 'job_classes: [{ topic: job.pay, idempotent: true }]\n'))).toBe(0)
  expect(replay(rule('REQUIRE_APPROVAL'), suiteOf(ONE('at_least: ALLOW, repeats: true')), NOW).unsafe_duplicates).toBe(
    0,
  )
})

test('what cannot be read is a fault with its place, and no suite', () => {
  const faults = (more: string) => {
    const read = parseScenarios([ONE(more)])
    expect(read.scenarios).toBe(null)
    return read.faults.map(({ code, line, path }) => [code, line, path])
  }
  expect(faults('expect: NEVER')).toEqual([['bad_value', 3, 'scenarios[0].expect']])
  expect(faults('critical: true')).toEqual([['missing_key', 3, 'scenarios[0]']])
  expect(faults('expect: DENY, at_least: DENY')).toEqual([['missing_key', 3, 'scenarios[0]']])
  expect(faults('at_least: DENY, at_most: ALLOW')).toEqual([['bad_value', 3, 'scenarios[0]']])
  expect(faults('at_most: DENY, critical: true')).toEqual([['bad_value', 3, 'scenarios[0]']])
  expect(faults('expect: DENY, vary: [everything]')).toEqual([['bad_value', 3, 'scenarios[0].vary[0]']])
  expect(faults('expect: DENY, expects: DENY')).toEqual([['unknown_key', 3, 'scenarios[0].expects']])
  const twice = parseScenarios([ONE('expect: DENY'), { ...ONE('expect: DENY'), path: 'two.yaml' }])
  expect(twice.faults).toMatchObject([{ code: 'duplicate_id', file: 'two.yaml' }])
  expect(parseScenarios([{ path: 'x', text: 'version: v1' }]).faults).toMatchObject([{ code: 'missing_key' }])
})
