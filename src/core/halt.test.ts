import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { aClaim } from '../../test/rows.js'
import { canonical } from './canonical.js'
import { type Door, decide, frozen, limitKeys, refusal, type Standing } from './door.js'
import { breakerKey, type Halts, stopKey, stopRunKey } from './halt.js'
import type { Json } from './json.js'
import { type CompiledPolicy, compilePolicy } from './policy/compile.js'
import { parsePolicy } from './policy/parse.js'

const NOW = 1_700_000_000_000
const POLICY = `
version: v1
default_decision: DENY
high_risk: [{ topic: job.risky }]
rules:
  - { id: do, match: { topic: [job.do, job.risky] }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask }, decision: REQUIRE_APPROVAL }
  - { id: one, match: { topic: job.one }, decision: ALLOW, limits: { concurrent: 1 } }
`
let policy: CompiledPolicy
beforeAll(() => {
  const { document, faults } = parsePolicy([{ path: 'p.yaml', text: POLICY }])
  if (document === null) throw new Error(JSON.stringify(faults))
  policy = compilePolicy(document)
})
const DOORS: Door[] = ['submit', 'approve', 'dispatch', 'replay']
const at = (door: Door, halts: Halts = {}, counters: Standing['counters'] = {}): Standing => ({
  ...{ door, now: NOW, counters, grant: null },
  ...halts,
})
const ask = (topic: string, standing: Standing) => decide(policy, aClaim({ topic, agent: 'agent:x' }), standing)
const stop = (trial: number | null = null): Halts => ({ stops: [{ stop_id: 'stop_1', reason: 'why', trial }] })
const breaker = (retry_at: number): Halts => ({
  breaker: { reason: '3 failures in a row', opened_at: NOW - 1000, retry_at, cool_down_ms: 60_000 },
})

describe('a stop', () => {
  test.each(['job.do', 'job.risky', 'job.ask', 'job.one', 'job.none'])(
    'lets nothing of %s through any door',
    (topic) => {
      expect(DOORS.map((door) => [door, ask(topic, at(door, stop())).outcome])).toEqual([
        ['submit', 'deny'],
        ['approve', 'wait'],
        ['dispatch', 'wait'],
        ['replay', 'deny'],
      ])
      expect(refusal(ask(topic, at('submit', stop())))).toMatchObject({ code: 'stopped', extra: { stop_id: 'stop_1' } })
      expect(refusal(ask(topic, at('approve', stop())))).toMatchObject({ code: 'approval_frozen' })
    },
  )

  test('is a limit without room: in the queue it is what the job is passed over for', () => {
    const decision = ask('job.one', at('dispatch', stop()))
    expect(decision.wait?.limit).toBe(stopKey('stop_1'))
    expect(decision.evaluation.limits[0]).toMatchObject({ key: stopKey('stop_1'), concurrent: 0 })
  })

  test('in trial lets some through, counted, and nothing of high risk', () => {
    const [key, run] = [stopKey('stop_1'), stopRunKey('stop_1')]
    expect(limitKeys(policy, aClaim({ topic: 'job.do' }), NOW, stop(2))).toEqual([key, run])
    const count = { window_start: Math.floor(NOW / 60_000) * 60_000, current: 0, previous: 0, held: 0 }
    const spent = { [key]: { ...count, current: 2 } }
    expect(ask('job.do', at('submit', stop(2))).outcome).toBe('pass')
    expect(ask('job.do', at('submit', stop(2), spent))).toMatchObject({ outcome: 'wait', wait: { limit: key } })
    // What was submitted and what runs is counted apart: a job that was taken is not refused for having been taken.
    expect(ask('job.do', at('dispatch', stop(2), spent)).outcome).toBe('pass')
    expect(ask('job.do', at('submit', stop(2), { [run]: { ...count, current: 2, held: 3 } })).outcome).toBe('pass')
    for (const full of [{ current: 2 }, { held: 3 }])
      expect(ask('job.do', at('dispatch', stop(2), { [run]: { ...count, ...full } }))).toMatchObject({
        outcome: 'wait',
        wait: { limit: run },
      })
    for (const door of DOORS) expect(ask('job.risky', at(door, stop(2))).outcome).not.toBe('pass')
    expect(ask('job.risky', at('dispatch', stop(2))).evaluation.limits).toMatchObject([{ key, concurrent: 0 }])
    expect(frozen(at('approve', stop(2)), { agent: 'agent:x', high_risk: false })).toBeNull()
    expect(frozen(at('approve', stop(2)), { agent: 'agent:x', high_risk: true })?.code).toBe('approval_frozen')
  })

  test('of several the strictest holds', () => {
    const both: Halts = { stops: [...(stop(5).stops ?? []), { stop_id: 'stop_2', reason: 'more', trial: null }] }
    for (const door of DOORS) expect(ask('job.do', at(door, both)).halt?.stop_id).toBe('stop_2')
  })
})

describe('a breaker', () => {
  test('refuses new work until its time, and lets people answer', () => {
    const open = breaker(NOW + 5_000)
    expect(DOORS.map((door) => ask('job.do', at(door, open)).outcome)).toEqual(['deny', 'pass', 'wait', 'deny'])
    const problem = refusal(ask('job.do', at('submit', open)))
    expect([problem.code, problem.extra.retry_after_ms]).toEqual(['breaker_open', 5_000])
    expect(frozen(at('approve', open), { agent: 'agent:x', high_risk: true })).toBeNull()
  })

  test('of who asks as another bars that until it is closed, half open too', () => {
    for (const retry_at of [NOW + 5_000, NOW, NOW - 5_000]) {
      const { breaker: own } = breaker(retry_at)
      const theirs: Halts = { breaker: { ...(own as NonNullable<Halts['breaker']>), of: 'agent:front' } }
      expect(DOORS.map((door) => ask('job.do', at(door, theirs)).outcome)).toEqual(['deny', 'pass', 'wait', 'deny'])
      expect(refusal(ask('job.do', at('submit', theirs))).message).toContain('agent:front is out')
      // Apart from what counts its own trial: work that cannot go must not hold that place.
      expect(ask('job.do', at('dispatch', theirs)).wait?.limit).not.toBe(breakerKey('agent:front', own as never))
    }
  })

  test('half open is a limit of one', () => {
    const half = breaker(NOW)
    const key = breakerKey('agent:x', half.breaker as NonNullable<Halts['breaker']>)
    expect(ask('job.do', at('dispatch', half)).outcome).toBe('pass')
    const held = { [key]: { window_start: 0, current: 0, previous: 0, held: 1 } }
    expect(ask('job.do', at('dispatch', half, held)).outcome).toBe('wait')
    expect(limitKeys(policy, aClaim({ topic: 'job.do', agent: 'agent:x' }), NOW, half)).toEqual([key])
  })
})

test('where nothing is halted every decision is what it was, and with halts it is made again from what it read', () => {
  const halts = fc.record(
    {
      stops: fc.array(
        fc.record({ stop_id: fc.constantFrom('s1', 's2'), reason: fc.string(), trial: fc.option(fc.nat(9)) }),
      ),
      breaker: fc.record({
        reason: fc.string(),
        opened_at: fc.constant(NOW - 9),
        retry_at: fc.integer({ min: NOW - 5, max: NOW + 5 }),
        cool_down_ms: fc.constant(60_000),
        ...{ of: fc.constantFrom(undefined, 'agent:front') },
      }),
    },
    { requiredKeys: [] },
  )
  const topic = fc.constantFrom('job.do', 'job.risky', 'job.ask', 'job.one', 'job.none')
  fc.assert(
    fc.property(topic, fc.constantFrom(...DOORS), halts, (topic, door, halts) => {
      const standing = at(door, halts)
      const stored = JSON.parse(JSON.stringify(standing)) as Standing
      const said = (decision: unknown) => canonical(decision as Json)
      expect(said(ask(topic, stored))).toBe(said(ask(topic, standing)))
      // Halts only ever make it stricter.
      if (ask(topic, at(door)).outcome !== 'pass') expect(ask(topic, standing).outcome).not.toBe('pass')
    }),
  )
})
