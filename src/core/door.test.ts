import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { aClaim } from '../../test/rows.js'
import { ask } from './admit.js'
import { canonical } from './canonical.js'
import { type Door, decide, limitKeys, type Standing } from './door.js'
import type { Json } from './json.js'
import { FRESH, windowStart } from './limits.js'
import { type CompiledPolicy, compilePolicy } from './policy/compile.js'
import { parsePolicy } from './policy/parse.js'

const NOW = 1_700_000_000_000
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
  - { id: bound, match: { topic: job.bound.* }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_hosts: [a.example.com], max_output_bytes: 10 } }
  - { id: ask, match: { topic: 'job.ask.>' }, decision: REQUIRE_APPROVAL }
  - { id: no, match: { topic: job.ask.never }, decision: DENY, reason: never }
  - { id: few, match: { topic: job.few.* }, decision: ALLOW, limits: { rate: 2/minute } }
  - { id: one, match: { topic: job.one.* }, decision: ALLOW, limits: { concurrent: 1 } }
`

let policy: CompiledPolicy
beforeAll(() => {
  const { document, faults } = parsePolicy([{ path: 'p.yaml', text: POLICY }])
  if (document === null) throw new Error(JSON.stringify(faults))
  policy = compilePolicy(document)
})

const standing = (door: Door, more: Partial<Standing> = {}): Standing => ({
  door,
  now: NOW,
  counters: {},
  grant: null,
  ...more,
})
const DOORS: Door[] = ['submit', 'approve', 'dispatch', 'replay']

describe('the door', () => {
  test('gives the same decision for the same standing, whatever was asked in between', () => {
    const topic = fc.constantFrom(
      'job.do.it',
      'job.bound.x',
      'job.ask.it',
      'job.ask.never',
      'job.few.x',
      'job.one.x',
      'job.none',
      '…',
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(topic, fc.constantFrom(...DOORS)), { maxLength: 8 }), (questions) => {
        const answer = ([topic, door]: [string, Door]) =>
          canonical(decide(policy, aClaim({ topic }), standing(door)) as unknown as Json)
        const first = questions.map(answer)
        expect([...questions].reverse().map(answer).reverse()).toEqual(first)
      }),
    )
  })

  test('denies a topic no rule names, and one that is no topic', () => {
    for (const topic of ['job.none', '', 'job..do', 'job.do.it.>', 'Job.do.it', 'job.dо.it'])
      for (const door of DOORS) expect(decide(policy, aClaim({ topic }), standing(door)).outcome).toBe('deny')
  })

  test('names the constraints that only a worker can hold', () => {
    expect(decide(policy, aClaim({ topic: 'job.bound.x' }), standing('dispatch'))).toMatchObject({
      outcome: 'pass',
      decision: 'ALLOW_WITH_CONSTRAINTS',
      enforcers: ['allowed_hosts'],
    })
  })

  test('a grant opens it for exactly what it binds and no longer than it is valid', () => {
    const asked = decide(policy, aClaim({ topic: 'job.ask.it' }), standing('submit'))
    expect(asked.outcome).toBe('park')
    const bound_hash = asked.bound_hash as string
    const outcome = (more: Partial<NonNullable<Standing['grant']>>, claim = aClaim({ topic: 'job.ask.it' })) =>
      decide(
        policy,
        claim,
        standing('dispatch', { grant: { approval_id: 'a', bound_hash, valid_until: NOW + 1, ...more } }),
      ).outcome
    expect(outcome({})).toBe('pass')
    expect(outcome({ valid_until: NOW })).toBe('park')
    expect(outcome({ valid_until: null })).toBe('park')
    expect(outcome({ bound_hash: 'other' })).toBe('park')
    expect(outcome({}, aClaim({ topic: 'job.ask.it', input: { n: 1 } }))).toBe('park')
    // No grant outvotes a DENY.
    expect(outcome({}, aClaim({ topic: 'job.ask.never' }))).toBe('deny')
  })

  test('everything that changes what a worker would do changes what is bound; the snapshot changes the grant alone', () => {
    const base = aClaim({ topic: 'job.ask.it' })
    const of = (claim: typeof base) => decide(policy, claim, standing('submit'))
    const changes: Partial<typeof base>[] = [
      { tenant: 'u' },
      { agent: 'agent:other' },
      { agent_version: '2' },
      { topic: 'job.ask.that' },
      { labels: { a: 'b' } },
      { risk_tags: ['x'] },
      { environment: 'prod' },
      { action_type: 'write' },
      { capability: 'c' },
      { action: 'a' },
      { workflow: 'w' },
      { input: {} },
      { context: {} },
      { timeout_ms: 5 },
      { max_attempts: 2 },
      { not_before: 1 },
    ]
    const hashes = [base, ...changes.map((change) => ({ ...base, ...change }))].map((claim) => of(claim).bound_hash)
    expect(new Set(hashes).size).toBe(changes.length + 1)
    expect(of({ ...base, team: 'team:x' }).bound_hash).toBe(of(base).bound_hash)
    const { document } = parsePolicy([
      { path: 'p.yaml', text: `${POLICY}  - { id: more, match: { topic: job.more }, decision: ALLOW }\n` },
    ])
    const later = compilePolicy(document as NonNullable<typeof document>)
    const again = decide(later, base, standing('submit'))
    expect([again.bound_hash === of(base).bound_hash, again.grant_hash === of(base).grant_hash]).toEqual([true, false])
  })

  test('a rate is asked at submit only, a place at dispatch only', () => {
    const few = aClaim({ topic: 'job.few.x' })
    const [rate] = limitKeys(policy, few, NOW)
    const counters = { [rate as string]: { ...FRESH, window_start: windowStart(NOW, 60_000), current: 2 } }
    for (const door of DOORS)
      expect(decide(policy, few, standing(door, { counters })).outcome).toBe(door === 'submit' ? 'wait' : 'pass')
    const one = aClaim({ topic: 'job.one.x' })
    const [place] = limitKeys(policy, one, NOW)
    const held = { [place as string]: { ...FRESH, held: 1 } }
    for (const door of DOORS)
      expect(decide(policy, one, standing(door, { counters: held })).outcome).toBe(
        door === 'dispatch' ? 'wait' : 'pass',
      )
  })

  test('an approval is never made of a decision that asks for none', () => {
    const allowed = decide(policy, aClaim(), standing('submit'))
    const job = { tenant: 't', job_id: 'job_1', requested_by: 'a', replayed_by: null, agent: 'a', topic: 'job.do.it' }
    expect(() => ask(job, allowed, { approval_id: 'a', decision_id: 'd' }, NOW)).toThrow()
  })
})
