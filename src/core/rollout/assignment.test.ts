import { expect, test } from 'vitest'
import { bucketOf } from './assign.js'
import { assignmentOf, shareNow } from './assignment.js'
import type { Rest, RiskFilter, RolloutDocument } from './document.js'
import type { RolloutStatus } from './step.js'

const ID = 'rol_1'
/** The first key that a quarter takes, and the first that it does not. */
const keys = Array.from({ length: 50 }, (_, n) => `run-${n}`)
const [inner = '', outer = ''] = [
  keys.find((key) => bucketOf(ID, key) < 2500),
  keys.find((key) => bucketOf(ID, key) >= 2500),
]

function at(status: RolloutStatus, more: { share_bp?: number; risk?: RiskFilter; rest?: Rest; stable?: null } = {}) {
  const { share_bp = 2500, risk = 'low_risk', rest = 'stable', stable = '1' } = more
  const subject = { kind: 'agent', name: 'agent:bot', candidate: '2', stable }
  const document = { subject, rest, phases: [{ share_bp, risk }] } as unknown as RolloutDocument
  return { rollout_id: ID, status, phase: 0, document }
}

const CANDIDATE = { variant: 'candidate', version: '2' }
const STABLE = { variant: 'stable', version: '1' }
const MANUAL = { variant: 'manual', version: null }
const SHADOW = { variant: 'shadow', version: null }

test.each([
  ['in the slice', at('running'), inner, CANDIDATE, STABLE],
  ['outside it', at('running'), outer, STABLE, STABLE],
  ['a pause keeps it', at('paused'), inner, CANDIDATE, STABLE],
  ['all work is admitted', at('running', { risk: 'mixed' }), inner, CANDIDATE, CANDIDATE],
  ['rest: manual', at('running', { rest: 'manual' }), outer, MANUAL, MANUAL],
  ['rest: shadow, beyond', at('running', { rest: 'shadow' }), inner, CANDIDATE, SHADOW],
  ['a draft', at('draft'), inner, STABLE, STABLE],
  ['a draft of something new', at('draft', { stable: null, rest: 'manual' }), inner, MANUAL, MANUAL],
  ['rolled back', at('rolled_back'), inner, STABLE, STABLE],
  ['promoted', at('promoted'), outer, CANDIDATE, CANDIDATE],
  ['a share of nothing', at('running', { share_bp: 0 }), inner, STABLE, STABLE],
] as const)('%s', (_, rollout, key, within, beyond) => {
  expect(assignmentOf(rollout, key)).toMatchObject({ ...within, beyond })
})

test('the bucket is told wherever one was drawn', () => {
  expect(assignmentOf(at('running'), inner).bucket).toBe(bucketOf(ID, inner))
  expect(assignmentOf(at('running', { share_bp: 10_000 }), inner).bucket).toBeNull()
})

test('the share is what the candidate does now', () => {
  const statuses = ['draft', 'running', 'paused', 'rolled_back', 'promoted'] as const
  expect(statuses.map((status) => shareNow(at(status)))).toEqual([0, 2500, 2500, 0, 10_000])
})
