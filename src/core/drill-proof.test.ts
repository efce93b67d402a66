import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import { FRESH_MS } from './drill.js'
import {
  approvalProof,
  crashProof,
  type Proof,
  type RollbackFound,
  repeated,
  rollbackProof,
  stopProof,
} from './drill-proof.js'
import type { Job } from './job.js'

const NOW = 1_800_000_000_000
const SINCE = NOW - 60_000

const good: RollbackFound = {
  now: NOW,
  rollout: { rollout_id: 'rol_1', status: 'rolled_back', ended_at: SINCE },
  decision: {
    decision_id: 'dec_1',
    door: 'dispatch',
    decision: 'DENY',
    job_id: 'job_2',
    at: SINCE + 200,
    same: true,
    code: 'rolled_back',
    stop_id: null,
    run_id: 'r',
    rollout_id: 'rol_1',
  },
  job: { job_id: 'job_1', rollout_id: 'rol_1', variant: 'candidate' } as Job,
  told: [{ kind: 'effect.committed' }],
  nodes: [SINCE + 300],
  open: 0,
  leases: { total: 1, ended_at: SINCE + 400 },
  compensations: [{ job_id: 'job_1', effect_key: 'pay', status: 'done', ended_at: SINCE + 900 }],
  recovered_at: SINCE + 1000,
}
const failing = (found: Partial<RollbackFound>) =>
  rollbackProof({ ...good, ...found }).checks.flatMap(({ pass, name }) => (pass ? [] : [name]))

describe(`${proves('G6')} a rollback drill`, () => {
  test('passes with its times from the record', () => {
    expect(failing({})).toEqual([])
    expect(rollbackProof(good).figures).toEqual({ stop_ms: 300, compensation_ms: 900, recovery_ms: 1000 })
  })

  test.each<[string, Partial<RollbackFound>, string]>([
    ['it still runs', { rollout: { rollout_id: 'rol_1', status: 'running', ended_at: SINCE } }, 'it was rolled back'],
    ['it is from yesterday', { now: SINCE + FRESH_MS + 1 }, 'the rollback is of now'],
    [
      'the work is of another rollout',
      { job: { ...good.job, rollout_id: 'rol_2' } as Job },
      'the candidate had done something',
    ],
    [
      'the work is the stable version’s',
      { job: { ...good.job, variant: 'control' } as Job },
      'the candidate had done something',
    ],
    ['nothing was done', { told: [] }, 'the candidate had done something'],
    ['nothing was refused', { decision: null }, 'its waiting work was refused'],
    [
      'it was refused for something else',
      { decision: { ...good.decision, code: 'stopped' } as never },
      'its waiting work was refused',
    ],
    [
      'it was refused by another rollout',
      { decision: { ...good.decision, rollout_id: 'rol_2' } as never },
      'its waiting work was refused',
    ],
    [
      'it was refused before',
      { decision: { ...good.decision, at: SINCE - 1 } as never },
      'its waiting work was refused',
    ],
    [
      'the refusal is not made again',
      { decision: { ...good.decision, same: false } as never },
      'its waiting work was refused',
    ],
    ['a node has not heard', { nodes: [SINCE, null] }, 'every node has confirmed'],
    ['no node is known', { nodes: [] }, 'every node has confirmed'],
    ['nothing ran', { leases: { total: 0, ended_at: SINCE } }, 'its running work has ended'],
    ['something runs', { leases: { total: 1, ended_at: null } }, 'its running work has ended'],
    ['work is left', { open: 1 }, 'none of its work is open'],
    ['nothing was registered', { compensations: [] }, 'what it did was undone'],
    [
      'one is blocked',
      {
        compensations: [...good.compensations, { job_id: 'job_1', effect_key: 'b', status: 'blocked', ended_at: null }],
      },
      'what it did was undone',
    ],
    ['it is not over', { recovered_at: null }, 'the rollback is over'],
  ])('fails where %s', (_, found, name) => {
    expect(failing(found)).toEqual([name])
  })
})

test('an effect begun again is one done twice, unless a person said that it had not happened', () => {
  const begun = { kind: 'effect.begun', effect_key: 'pay' }
  expect(repeated([begun, { ...begun, effect_key: 'mail' }])).toEqual([])
  expect(repeated([begun, begun])).toEqual(['pay'])
  expect(repeated([begun, { kind: 'effect.resolved', effect_key: 'pay', happened: false }, begun])).toEqual([])
  expect(repeated([begun, { kind: 'effect.resolved', effect_key: 'pay', happened: true }, begun])).toEqual(['pay'])
})

const wrongOf = ({ checks }: Proof) => checks.flatMap(({ pass, name }) => (pass ? [] : [name]))

describe('a crash drill', () => {
  const [at, effect_key] = [SINCE, 'pay']
  const first = { kind: 'job.leased', at, lease_id: 'lease_1' }
  const begun = { kind: 'effect.begun', at, lease_id: 'lease_1', effect_key }
  const lost = { kind: 'lease.lost', at, lease_id: 'lease_1' }
  const doubt = { kind: 'job.ambiguous', at }
  const resolved = { kind: 'effect.resolved', at, effect_key, happened: true }
  const second = { kind: 'job.leased', at, lease_id: 'lease_2' }
  const found = (told: object[]) =>
    wrongOf(
      crashProof({
        now: NOW,
        job: { created_at: SINCE, status: 'succeeded', finished_at: NOW } as Job,
        effects: [{ effect_key, status: 'committed' }] as never,
        told: told as never,
      }),
    )
  const MIDDLE = 'it was lost in the middle of an effect'
  const SAID = 'nobody went on before a person had said what happened'

  test('holds where the lost lease left an effect open, and a person said what had happened before another had it', () => {
    expect(found([first, begun, lost, doubt, resolved, second])).toEqual([])
    expect(found([first, lost, second, { ...begun, lease_id: 'lease_2' }])).toEqual([MIDDLE, SAID])
    expect(found([first, begun, { ...begun, kind: 'effect.committed' }, lost, second])).toEqual([MIDDLE, SAID])
    expect(found([first, begun, lost, second])).toEqual([SAID])
    expect(found([first, begun, lost, doubt, second, resolved])).toEqual([SAID])
    expect(found([first, begun, lost, doubt, resolved, second, { ...begun, lease_id: 'lease_2' }])).toEqual([
      'no effect was begun twice',
    ])
  })
})

test('an approval drill fails where the job was given away before somebody had said yes', () => {
  const found = (leased: number, yes: number) =>
    wrongOf(
      approvalProof({
        now: NOW,
        job: { job_id: 'j', job_hash: 'h', attempt: 1, status: 'succeeded' } as Job,
        approval: {
          ...{ approval_id: 'a', job_id: 'j', job_hash: 'h', status: 'approved', requested_at: SINCE },
          ...{ requested_by: 'x', raised_by: 'x', agent: 'x', answers: [{ by: 'person:ann', answer: 'approve' }] },
        } as never,
        decision: { decision: 'REQUIRE_APPROVAL', same: true } as never,
        told: [
          { kind: 'approval.requested', at: SINCE },
          { kind: 'job.leased', at: leased },
          { kind: 'approval.approved', at: yes, approval_id: 'a' },
        ],
      }),
    )
  expect(found(SINCE + 9, SINCE + 5)).toEqual([])
  expect(found(SINCE + 4, SINCE + 5)).toEqual(['nothing ran without a yes'])
})

test('a stop drill takes no cancel that was another’s', () => {
  const found = (stop_id: string) =>
    wrongOf(
      stopProof({
        now: NOW,
        stop: {
          ...{ stop_id: 's', raised_at: SINCE, ended_at: NOW, enforced_at: SINCE + 2, refused_ms: 1 },
          steps: ['trial', 'full'].map((stage) => ({ stage, asked_by: 'a', by: 'b' })),
        } as never,
        nodes: [SINCE + 1],
        leases: { total: 1, open: 0, last_ended: SINCE + 2 },
        decision: { ...good.decision, code: 'stopped', stop_id: 's' } as never,
        job: { status: 'cancelled', finished_at: SINCE + 3 } as Job,
        told: [{ kind: 'job.cancel_requested', at: SINCE + 1, stop_id }],
      }),
    )
  expect(found('s')).toEqual([])
  expect(found('another')).toEqual(['running work was asked to end'])
})
