import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { declarationDigest } from './document.js'
import { parseRollout } from './parse.js'
import {
  draft,
  EVIDENCE_MS,
  type GateEvidence,
  OVERRIDE_MS,
  ROLLOUT_STATUSES,
  ROLLOUT_TAKES,
  type Rollout,
  type RolloutEvent,
  runFor,
  step,
} from './step.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const phase = (name: string, share: number, more = {}) => ({
  name,
  share,
  risk: 'mixed',
  min_duration: '2h',
  gate: { checks: { success_rate_pct: { target_gte: 99 } } },
  ...more,
})
const { document } = parseRollout({
  rollout: 'support-2',
  subject: { kind: 'agent', name: 'agent:support', candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
  on_rollback: 'cancel',
  phases: [phase('a', 5), phase('b', 25, { reviewers: { from: ['role:approver'], need: 2 } }), phase('c', 100)],
})
const declaration = declarationDigest(document!)
const fresh = draft({ tenant: 't', rollout_id: 'rol_1', document: document!, declaration, declared_by: 'ann' })

const take = (state: Rollout, event: RolloutEvent, now: number): Rollout => {
  const stepped = step(state, event, now)
  if (stepped.kind === 'refused') throw new Error(`${stepped.code}: ${stepped.detail}`)
  return stepped.next
}
const refusal = (state: Rollout, event: RolloutEvent, now: number) => {
  const stepped = step(state, event, now)
  return stepped.kind === 'refused' ? stepped.code : null
}
const evidence = (state: Rollout, now: number, more: Partial<GateEvidence> = {}): GateEvidence => ({
  rollout_id: state.rollout_id,
  declaration: state.declaration,
  phase: state.phase,
  outcome: 'pass',
  evaluated_at: now,
  evidence_hash: 'e1',
  reviewed_by: ['bob', 'cid'],
  ...more,
})
const promotion = (state: Rollout, now: number, more: Partial<GateEvidence> = {}): RolloutEvent => ({
  event: 'promote',
  by: 'system:rollouts',
  evidence: evidence(state, now, more),
})
const running = take(fresh, { event: 'start', by: 'ann' }, 0)

/** One event of each kind, as good as it gets for this state. */
const events = (state: Rollout, now: number): RolloutEvent[] => [
  { event: 'start', by: 'x' },
  { event: 'pause', by: 'x', reason: 'r' },
  { event: 'resume', by: 'x' },
  promotion(state, now),
  { event: 'override', key_id: null, by: 'x', reason: 'r', evidence_hash: null },
  { event: 'roll_back', by: 'x', reason: 'r', trigger: null },
]

describe('state × event', () => {
  const at = 3 * HOUR
  const states: Record<(typeof ROLLOUT_STATUSES)[number], Rollout> = {
    draft: fresh,
    running,
    paused: take(running, { event: 'pause', by: 'x', reason: 'r' }, at),
    promoted: take(
      take(take(running, promotion(running, at), at), promotion({ ...running, phase: 1 }, 2 * at), 2 * at),
      promotion({ ...running, phase: 2 }, 3 * at),
      3 * at,
    ),
    rolled_back: take(running, { event: 'roll_back', by: 'x', reason: 'r', trigger: 'error_rate' }, at),
  }

  test.each(ROLLOUT_STATUSES)('%s takes what the table lists and refuses the rest', (status) => {
    const state = states[status]
    expect(state.status).toBe(status)
    for (const event of events(state, at)) {
      const isListed = ROLLOUT_TAKES[status].includes(event.event)
      expect([event.event, refusal(state, event, at) === 'illegal_transition']).toEqual([event.event, !isListed])
    }
  })

  test('what is over stays over, and every move counts the version and tells the stakeholders', () => {
    expect(ROLLOUT_TAKES.promoted).toEqual([])
    expect(ROLLOUT_TAKES.rolled_back).toEqual([])
    const stepped = step(running, { event: 'roll_back', by: 'system:rollouts', reason: 'r', trigger: 'quarantine' }, at)
    expect(stepped).toMatchObject({
      kind: 'moved',
      next: { status: 'rolled_back', version: running.version + 1, ended_at: at, ended_reason: 'r', since: null },
      facts: [{ kind: 'rollout.rolled_back', trigger: 'quarantine', actor: 'system:rollouts', phase: 0 }],
      effects: [
        { effect: 'tell', whom: ['team:support'] },
        { effect: 'end_leases', how: 'cancel' },
        { effect: 'compensate' },
      ],
    })
  })
})

describe('a promotion', () => {
  const at = 3 * HOUR
  const why = (more: Partial<GateEvidence>, now = at, state = running) =>
    refusal(state, promotion(state, now, more), now)

  test('takes evidence of this very gate, from now', () => {
    expect(take(running, promotion(running, at), at)).toMatchObject({
      status: 'running',
      phase: 1,
      phase_at: at,
      served_ms: 0,
    })
    expect(why({ rollout_id: 'rol_2' })).toBe('evidence_stale')
    expect(why({ declaration: 'other' })).toBe('evidence_stale')
    expect(why({ phase: 1 })).toBe('evidence_stale')
    expect(why({ evaluated_at: at + 1 })).toBe('evidence_stale')
    expect(why({ evaluated_at: Number.NaN })).toBe('evidence_stale')
    expect(why({ evaluated_at: at - EVIDENCE_MS })).toBeNull()
    expect(why({ evaluated_at: at - EVIDENCE_MS - 1 })).toBe('evidence_stale')
    const second = take(running, promotion(running, at), at)
    expect(why({ evaluated_at: at - 1 }, at + 1, second)).toBe('evidence_stale')
  })

  test('takes a pass, nothing less', () => {
    for (const outcome of ['fail', 'inconclusive', 'error', 'PASS', undefined] as never[])
      expect(why({ outcome })).toBe('gate_blocks')
  })

  test('takes the time that the phase has, pauses left out', () => {
    expect(why({}, 2 * HOUR - 1)).toBe('gate_blocks')
    expect(why({}, 2 * HOUR)).toBeNull()
    const paused = take(running, { event: 'pause', by: 'x', reason: 'r' }, HOUR)
    expect(runFor(paused, 9 * HOUR)).toBe(HOUR)
    const again = take(paused, { event: 'resume', by: 'x' }, 9 * HOUR)
    expect(why({}, 10 * HOUR - 1, again)).toBe('gate_blocks')
    expect(why({}, 10 * HOUR, again)).toBeNull()
    // The next phase begins at nothing.
    const second = take(again, promotion(again, 20 * HOUR), 20 * HOUR)
    expect([runFor(second, 20 * HOUR), runFor(second, 21 * HOUR)]).toEqual([0, HOUR])
    expect(why({}, 22 * HOUR - 1, second)).toBe('gate_blocks')
    expect(why({}, 22 * HOUR, second)).toBeNull()
  })

  test('takes its reviewers, each once, and not the one who declared it', () => {
    const second = take(running, promotion(running, at), at)
    const signed = (...reviewed_by: string[]) => why({ reviewed_by }, 2 * at, second)
    expect(signed('bob', 'cid')).toBeNull()
    expect(signed('bob', 'bob')).toBe('gate_blocks')
    expect(signed('bob', 'ann')).toBe('gate_blocks')
    expect(signed()).toBe('gate_blocks')
  })

  test('is the only way on but two people, and of these it speaks for ever', () => {
    const ask = (by: string, evidence_hash: string | null = 'e9'): RolloutEvent => ({
      event: 'override',
      key_id: null,
      by,
      reason: `says ${by}`,
      evidence_hash,
    })
    const asked = take(running, ask('bob'), at)
    expect(asked).toMatchObject({ phase: 0, overridden: false, request: { by: 'bob', evidence_hash: 'e9' } })
    expect(refusal(asked, ask('bob'), at)).toBe('self_approval')
    expect(refusal(asked, ask('cid', 'e8'), at)).toBe('evidence_stale')
    const late = take(asked, ask('cid'), at + OVERRIDE_MS)
    expect(late).toMatchObject({ phase: 0, request: { by: 'cid' } })
    // A pause in between ends the request.
    const paused = take(take(asked, { event: 'pause', by: 'x', reason: 'r' }, at), { event: 'resume', by: 'x' }, at)
    expect(take(paused, ask('cid'), at)).toMatchObject({ phase: 0, overridden: false })
    const stepped = step(asked, ask('cid'), at + 1)
    expect(stepped).toMatchObject({
      next: { phase: 1, overridden: true, request: null },
      facts: [
        { kind: 'rollout.overridden', actor: 'cid', asked_by: 'bob', evidence_hash: 'e9', from_phase: 0, phase: 1 },
      ],
    })
    let state = (stepped as { next: Rollout }).next
    for (const now of [2 * at, 3 * at]) state = take(state, promotion(state, now), now)
    expect(state).toMatchObject({ status: 'promoted', overridden: true })
    expect(state.steps).toEqual([
      { phase: 0, at: at + 1, by: 'cid', how: 'override', evidence_hash: 'e9', asked_by: 'bob', reason: 'says bob' },
      {
        phase: 1,
        at: 2 * at,
        by: 'system:rollouts',
        how: 'evidence',
        evidence_hash: 'e1',
        asked_by: null,
        reason: null,
      },
      {
        phase: 2,
        at: 3 * at,
        by: 'system:rollouts',
        how: 'evidence',
        evidence_hash: 'e1',
        asked_by: null,
        reason: null,
      },
    ])
  })
})

test('in any order of events a phase is left only by its own evidence or by two people', () => {
  const who = fc.constantFrom('ann', 'bob', 'cid')
  const moves = fc.array(
    fc.record({
      which: fc.nat(5),
      by: who,
      wait: fc.constantFrom(0, MINUTE, HOUR, 5 * HOUR),
      outcome: fc.constantFrom<GateEvidence['outcome']>('pass', 'pass', 'fail', 'inconclusive'),
      off: fc.constantFrom(0, 0, 0, 1),
    }),
    { maxLength: 40 },
  )
  fc.assert(
    fc.property(moves, (given) => {
      let state = fresh
      let now = 0
      for (const { which, by, wait, outcome, off } of given) {
        now += wait
        const evidence_hash = `e${off}`
        const chosen = [
          ...events(state, now).slice(0, 3),
          promotion(state, now, { outcome, phase: state.phase + off }),
          { event: 'override', key_id: null, by, reason: 'r', evidence_hash } as const,
          { event: 'roll_back', by, reason: 'r', trigger: null } as const,
        ][which]!
        const before = structuredClone(state)
        const stepped = step(state, chosen, now)
        expect(state).toEqual(before)
        if (stepped.kind === 'refused') continue
        const { next } = stepped
        const isLeft = next.phase !== state.phase || (next.status === 'promoted' && state.status !== 'promoted')
        if (isLeft) {
          const proven = chosen.event === 'promote' && outcome === 'pass' && off === 0
          const waved = chosen.event === 'override' && state.request !== null && state.request.by !== by
          expect(proven || waved).toBe(true)
          if (proven) expect(runFor(state, now)).toBeGreaterThanOrEqual(2 * HOUR)
        }
        expect(next.steps.length - state.steps.length).toBe(isLeft ? 1 : 0)
        expect(next.overridden).toBe(next.steps.some(({ how }) => how === 'override'))
        expect(next.phase - state.phase).toBeLessThanOrEqual(1)
        expect(stepped.facts).toHaveLength(1)
        state = next
      }
    }),
  )
})
