import { expect, test } from 'vitest'
import type { Claim } from '../job.js'
import { compilePolicy } from '../policy/compile.js'
import type { DecisionWord } from '../policy/document.js'
import { fixtureClaim } from '../policy/fixtures.js'
import { parsePolicy } from '../policy/parse.js'
import { VARIATIONS } from './document.js'
import { scenariosOf } from './generate.js'
import { AGAIN_MS, type RecordedEntry, RecordedReplay, type RecordedSubmit } from './recorded.js'
import { replay } from './run.js'

function policyOf(text: string) {
  const { document, faults } = parsePolicy([
    { path: 'policy.yaml', text: `version: v1\ndefault_decision: DENY\n${text}` },
  ])
  if (document === null) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}
const says = (decision: DecisionWord, more = '') =>
  policyOf(`rules:\n  - { id: pay, match: { topic: job.> }, decision: ${decision} }\n${more}`)

const NOW = 1_795_187_200_000
let ids = 0
function submit(decision: DecisionWord, more: Partial<RecordedSubmit> = {}): RecordedSubmit {
  const standing = { door: 'submit' as const, now: NOW, counters: {}, grant: null }
  const about = { decision_id: `dec_${++ids}`, at: NOW, run_id: null, high_risk: false, job_hash: `hash ${ids}` }
  return { ...about, decision, standing, ...more }
}
const claim = (job = {}): Claim => fixtureClaim({ topic: 'job.pay.out', input: { amount: 5, note: 'pay now' }, ...job })

function run(policy: ReturnType<typeof policyOf>, rows: [RecordedSubmit, Claim | null][], vary = false) {
  const log: RecordedEntry[] = []
  const replaying = new RecordedReplay(policy, vary ? VARIATIONS : [], (entry) => log.push(entry))
  for (const [row, of] of rows) for (const steps = replaying.look(row, of); steps.next().done !== true; );
  return { ...replaying.done, log }
}
const one = (policy: ReturnType<typeof policyOf>, row: RecordedSubmit) => run(policy, [[row, claim()]])

test('what was refused and is done alone now is a critical bypass; what was asked about is a bypass', () => {
  expect(one(says('ALLOW'), submit('DENY'))).toMatchObject({ bypasses: 1, critical_bypasses: 1 })
  expect(one(says('ALLOW'), submit('REQUIRE_APPROVAL'))).toMatchObject({ bypasses: 1, critical_bypasses: 0 })
  const bound = '{ id: pay, match: { topic: job.> }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout_ms: 5 } }'
  expect(one(policyOf(`rules: [${bound}]\n`), submit('DENY'))).toMatchObject({ critical_bypasses: 1 })
  expect(one(says('REQUIRE_APPROVAL'), submit('DENY'))).toMatchObject({ bypasses: 0 })
  expect(one(says('ALLOW'), submit('ALLOW'))).toMatchObject({ bypasses: 0, findings: [] })
})

test('high risk that is done alone is a critical bypass, by the word of either snapshot', () => {
  const risky = says('ALLOW', 'high_risk:\n  - { topic: job.pay.* }\n')
  expect(one(risky, submit('ALLOW'))).toMatchObject({ critical_bypasses: 1 })
  expect(one(says('ALLOW'), submit('ALLOW', { high_risk: true }))).toMatchObject({ critical_bypasses: 1 })
  expect(one(says('REQUIRE_APPROVAL'), submit('ALLOW', { high_risk: true }))).toMatchObject({ bypasses: 0 })
})

test('each denial has its entry, and what cannot be decided any more is counted apart', () => {
  const [refused, erased] = [submit('ALLOW'), submit('ALLOW')]
  const done = run(says('DENY'), [
    [refused, claim()],
    [erased, null],
  ])
  expect(done).toMatchObject({ looked_at: 2, undecidable: 1, runs: 1, logged: 1 })
  expect(done.decided.DENY).toBe(1)
  expect(done.log).toMatchObject([{ kind: 'job.denied', decision_id: refused.decision_id, topic: 'job.pay.out' }])
})

test('the same submitted again in a run is an unsafe duplicate unless a class says it may be done twice', () => {
  const again = (ms: number, run_id: string | null = 'r', before: Partial<RecordedSubmit> = {}) => {
    const newer = submit('ALLOW', { job_hash: 'same', run_id })
    return [newer, submit('ALLOW', { job_hash: 'same', run_id, at: NOW - ms, ...before })] as const
  }
  const found = (rows: readonly RecordedSubmit[], policy = says('ALLOW')) =>
    run(
      policy,
      rows.map((row) => [row, claim()]),
    )
  const twice = again(1_000)
  expect(found(twice).findings).toMatchObject([
    { fault: 'duplicate', decision_id: twice[0].decision_id, of: twice[1].decision_id },
  ])
  expect(found(again(1_000, null)).unsafe_duplicates).toBe(1)
  expect(found(again(AGAIN_MS)).unsafe_duplicates).toBe(1)
  expect(found(again(AGAIN_MS + 1)).unsafe_duplicates).toBe(0)
  expect(found(again(1_000, 'r', { run_id: 'other' })).unsafe_duplicates).toBe(0)
  expect(found(again(1_000, 'r', { job_hash: 'other' })).unsafe_duplicates).toBe(0)
  const idempotent = says('ALLOW', 'job_classes: [{ topic: job.pay.out, idempotent: true }]\n')
  expect(found(twice, idempotent).unsafe_duplicates).toBe(0)
  const reads = says('ALLOW', 'job_classes: [{ topic: job.pay.out, set: { action_type: read } }]\n')
  expect(found(twice, reads).unsafe_duplicates).toBe(0)
  expect(found(twice, says('REQUIRE_APPROVAL')).unsafe_duplicates).toBe(0)
})

const GUARDED = `rules:
  - { id: pay, match: { topic: job.pay.out }, decision: ALLOW }
  - { id: ask, match: { topic: job.pay.out }, when: 'input.note == "pay now"', decision: REQUIRE_APPROVAL }
tests:
  - { name: asks, job: { topic: job.pay.out, input: { note: pay now } }, expect: { decision: REQUIRE_APPROVAL } }
  - { name: lets, job: { topic: job.pay.out, input: { note: other } }, expect: { decision: ALLOW } }
`

test('what is kept back is asked otherwise, once for each kind of work', () => {
  const rows = [1, 2].map((): [RecordedSubmit, Claim] => [submit('REQUIRE_APPROVAL'), claim()])
  const done = run(policyOf(GUARDED), rows, true)
  expect(done.findings.map(({ variant }) => variant)).toContain('spelling:upper:/note')
  expect(done.findings.every(({ before, after }) => before === 'REQUIRE_APPROVAL' && after === 'ALLOW')).toBe(true)
  const once = run(policyOf(GUARDED), rows.slice(0, 1), true)
  expect([done.runs, done.bypasses]).toEqual([once.runs + 1, once.bypasses])
  expect(run(policyOf(GUARDED), rows).runs).toBe(2)
})

test('a policy is tried by its own tests, those that keep something back', () => {
  const policy = policyOf(GUARDED)
  const suite = scenariosOf(policy, ['spelling'])
  expect(suite).toMatchObject([{ id: 'test-1', about: 'asks', at_least: 'REQUIRE_APPROVAL', critical: false }])
  const done = replay(policy, suite, NOW)
  expect(done.scenarios).toBe(1)
  expect(done.findings.map(({ variant }) => variant)).toContain('spelling:upper:/note')
})
