import { expect, test } from 'vitest'
import { judge, type Observed } from './faults-judge.js'

/** Every way in which a fault round can fail, planted: a checker that sees nothing would pass every round. */
const whole = (): Observed => ({
  jobs: [
    { job_id: 'job_a', run_id: 'run-a', status: 'succeeded' },
    { job_id: 'job_b', run_id: 'run-b', status: 'ambiguous' },
  ],
  acknowledged: new Map([
    ['run-a', 'job_a'],
    ['run-b', 'job_b'],
  ]),
  executed: new Map([
    ['key-1', { times: 1, where: 'job_a/first' }],
    ['key-2', { times: 1, where: 'job_a/second' }],
    ['key-3', { times: 1, where: 'job_b/first' }],
  ]),
  said: [
    { what: 'started' },
    { what: 'effect', job_id: 'job_a', key: 'first' },
    { what: 'end', job_id: 'job_a' },
    { what: 'effect', job_id: 'job_b', key: 'first' },
  ],
  committed: new Set(['job_b/first']),
})

test('a round in which all is well has no violation', () => {
  expect(judge(whole())).toEqual([])
})

const planted: [string, (seen: Observed) => Observed][] = [
  [
    'acknowledged and lost: job_c of run-c',
    (seen) => ({ ...seen, acknowledged: new Map([...seen.acknowledged, ['run-c', 'job_c']]) }),
  ],
  ['acknowledged and lost: job_b of run-a', (seen) => ({ ...seen, acknowledged: new Map([['run-a', 'job_b']]) })],
  [
    '2 jobs under one idempotency key: run-a',
    (seen) => ({ ...seen, jobs: [...seen.jobs, { job_id: 'job_c', run_id: 'run-a', status: 'expired' }] }),
  ],
  [
    'done 2 times outside: job_b/first under key-3',
    (seen) => ({ ...seen, executed: new Map([...seen.executed, ['key-3', { times: 2, where: 'job_b/first' }]]) }),
  ],
  [
    'done under two idempotency keys outside: job_b/first',
    (seen) => ({ ...seen, executed: new Map([...seen.executed, ['key-4', { times: 1, where: 'job_b/first' }]]) }),
  ],
  [
    'succeeded without its effect: job_a/second',
    (seen) => ({ ...seen, executed: new Map([...seen.executed].filter(([key]) => key !== 'key-2')) }),
  ],
  [
    'an acknowledged end was lost: job_b is ambiguous',
    (seen) => ({ ...seen, said: [...seen.said, { what: 'end', job_id: 'job_b' }] }),
  ],
  ['an acknowledged effect was lost: job_b/first', (seen) => ({ ...seen, committed: new Set() })],
  [
    'a worker saw a fork of the audit log: smaller',
    (seen) => ({ ...seen, said: [...seen.said, { what: 'fork', kind: 'smaller' }] }),
  ],
  [
    'neither ended nor parked: job_c is running',
    (seen) => ({ ...seen, jobs: [...seen.jobs, { job_id: 'job_c', run_id: 'run-c', status: 'running' }] }),
  ],
]
for (const [violation, plant] of planted)
  test(`found: ${violation}`, () => {
    expect(judge(plant(whole()))).toEqual([violation])
  })
