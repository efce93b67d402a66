import { expect, test } from 'vitest'
import type { Approval } from '../contract/approvals.js'
import { approvalText } from './render.js'
import { colorsFor, type Terminal } from './terminal.js'

/** What `approvals show` says of who is asked. */
const terminal = { color: colorsFor({ isTTY: false, write: () => {} }, {}) } as Terminal
const OPEN = { flow: 0, level: 1, since: 1, missing: 2 }
const askedNow = (given: Partial<Approval>) => {
  const none = { rules: [], constraints: {}, answers: [], edits: [], specs: [], grant_hash: '', short_hash: '' }
  const approval = { status: 'pending', open: [OPEN], asked_of: [], ...none, ...given } as unknown as Approval
  const line = approvalText(approval, null, terminal, 0).split('\n')
  return line.find((each) => each.startsWith('asked now'))?.replace(/^asked now +/, '')
}

test.each([
  [{ asked_of: ['person:ann', 'person:ben'] }, 'person:ann, person:ben'],
  [{}, 'nobody by name'],
  [{ open: [{ ...OPEN, unanswerable_since: 7 }] }, 'nobody: too few, level 2 of flow 1 needs 2 more'],
  [
    { asked_of: ['person:ann'], open: [{ ...OPEN, unanswerable_since: 7 }] },
    'person:ann: too few, level 2 of flow 1 needs 2 more',
  ],
  [{ status: 'rejected' }, undefined],
])('%j is asked now: %s', (given, text) => {
  expect(askedNow(given as Partial<Approval>)).toBe(text)
})
