import { expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import { postmortem, type RunRecord } from './postmortem.js'

const HOSTILE = '| [x](https://evil.example) <img src=x> `c` **b** \u202e\n## no'
const entry = (n: number, kind: string, facts: Record<string, unknown> = {}, actor = 'agent:bot') => ({
  at: 1_795_187_200_000 + n * 61_000,
  kind,
  actor,
  writer: 'wr_1',
  seq: n,
  index: n,
  facts: { run_id: 'run_1', job_id: 'job_1', snapshot: 'a'.repeat(64), ...facts },
})
const record: RunRecord = {
  run_id: 'run_1',
  workflow: null,
  total: 2,
  jobs: [
    { job_id: 'job_1', agent: 'agent:bot', topic: 'job.pay', status: 'succeeded', status_reason: null },
    { job_id: 'job_2', agent: `agent:${HOSTILE}`, topic: 'job.pay', status: 'rejected', status_reason: HOSTILE },
  ],
  entries: [
    entry(0, 'job.submitted', { reason: HOSTILE, rules: 'ask' }),
    entry(1, 'approval.approved', { note: HOSTILE }, 'person:ann'),
    entry(2, 'job.succeeded'),
  ],
  proven: new Set([0, 1, 2]),
  head: { size: 3, root: 'b'.repeat(64) },
}

test(`${proves('O2')} a draft says who did what, when, under which policy, and where it stands in the log`, () => {
  const text = postmortem(record)
  const lines = text.split('\n').filter((line) => line.startsWith('| 2026-'))
  expect(
    lines.map((line) =>
      line
        .split(' | ')
        .map((cell) => cell.replace(/^\||\|$/g, '').trim())
        .slice(0, 5),
    ),
  ).toEqual([
    ['2026-11-20T15:06:40.000Z', '+0 ms', '`job.submitted`', 'agent:bot', '`job_1`'],
    ['2026-11-20T15:07:41.000Z', '+1 min 1 s', '`approval.approved`', 'person:ann', '`job_1`'],
    ['2026-11-20T15:08:42.000Z', '+2 min 2 s', '`job.succeeded`', 'agent:bot', '`job_1`'],
  ])
  expect(text).toContain('| People | person:ann |')
  expect(text).toContain('| Policy | `v1:aaaaaaa` |')
  expect(text).toContain('3 entries, each proven to stand under the signed head of size 3')
})

test('what others wrote is text and nothing more', () => {
  const text = postmortem(record)
  for (const mark of ['](', '<img', '**b**', '\n## no', '\u202e', '`c`']) expect(text).not.toContain(mark)
  const cells = text
    .split('\n')
    .filter((line) => line.includes('2026-11-20T'))
    .slice(2)
  for (const line of cells) expect(line.split(' | ')).toHaveLength(8)
})

test('says what is not proven, and does not claim what was not checked', () => {
  expect(postmortem({ ...record, proven: new Set([0, 2]) })).toContain('2 of 3 entries proven')
  expect(postmortem({ ...record, proven: new Set([0, 2]) })).toContain('**1 are not**')
  expect(postmortem({ ...record, proven: null, head: null })).toContain('not checked against a signed head')
  expect(postmortem({ ...record, total: 900 })).toContain('The newest 2 of 900')
})
