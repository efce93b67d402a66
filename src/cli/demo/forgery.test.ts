import { expect, test } from 'vitest'
import { withOtherApprover, withoutTail } from './forgery.js'

const entry = (kind: string, actor: string) => JSON.stringify({ actor, approval_id: 'apr_1', kind, topic: 'job.a.b' })
const tile = (first_index: number | null, ...entries: string[]) =>
  JSON.stringify({ record: 'tile', first_index, count: entries.length, body: entries.join('\n') })
const plain = (record: string) => JSON.stringify({ record })

const lines = [
  plain('export'),
  plain('writer'),
  tile(0, entry('job.submitted', 'agent:a')),
  plain('head'),
  tile(1, entry('job.submitted', 'agent:a'), entry('approval.approved', 'person:a')),
  tile(3, entry('job.denied', 'agent:a')),
  plain('head'),
  tile(null, entry('job.queued', 'agent:a')),
  plain('end'),
]

test('edits one word of the approval, and knows its place', () => {
  const forged = withOtherApprover(lines, 'person:a', 'person:b')
  expect(forged).toMatchObject({ index: 2, before: 'person:a approval.approved job.a.b apr_1' })
  const changed = forged?.lines.filter((line, at) => line !== lines[at])
  expect(changed).toEqual([tile(1, entry('job.submitted', 'agent:a'), entry('approval.approved', 'person:b'))])
})

test('finds nothing to edit where nobody of that name approved', () => {
  expect(withOtherApprover(lines, 'person:c', 'person:b')).toBeNull()
  expect(withOtherApprover([plain('export'), plain('end')], 'person:a', 'person:b')).toBeNull()
})

test('cuts back to the signed head before the entry, and counts what is left', () => {
  expect(withoutTail(lines, 'job.denied')).toMatchObject({
    index: 1,
    lines: [...lines.slice(0, 4), JSON.stringify({ record: 'end', writers: 1, tiles: 1, entries: 1, heads: 1 })],
  })
})

test('cuts nothing where there is no such entry, or no head before it', () => {
  expect(withoutTail(lines, 'job.cancelled')).toBeNull()
  expect(withoutTail(lines.toSpliced(3, 1), 'job.denied')).toBeNull()
})
