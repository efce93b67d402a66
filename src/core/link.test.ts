import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Approval } from './approval.js'
import { hashLink, isPageNonce, linkEnd, linkToken, PAGE_MS, pageNonce, readToken, sameHash } from './link.js'

const ID = 'link_01m7vps2s1c6r0v9q4h8e7t2nd'
const SECRET = `${'A'.repeat(42)}B`
const GRANT = 'ab'.repeat(32)

test('a token is its id and its secret, and nothing else is one', () => {
  expect(readToken(linkToken(ID, SECRET))).toEqual({ link_id: ID, secret: SECRET })
  for (const token of [
    '',
    'x',
    linkToken(ID, SECRET.slice(1)),
    `${linkToken(ID, SECRET)}x`,
    `${linkToken(ID, SECRET)}\n`,
    linkToken(ID, SECRET).toUpperCase(),
  ])
    expect(readToken(token), token).toBeNull()
  expect(sameHash(hashLink(SECRET), hashLink(SECRET))).toBe(true)
  expect(sameHash(hashLink(SECRET), hashLink(`${SECRET.slice(0, -1)}C`))).toBe(false)
  expect(sameHash(hashLink(SECRET), '')).toBe(false)
})

test('a link ends by its use, by the question’s end, by its time, and by another question in its place', () => {
  const asked = { status: 'pending', answers: [], grant_hash: GRANT, edits: [], expires_at: 1000 }
  const approval = asked as unknown as Approval
  const link = { link_id: ID, grant_hash: GRANT, expires_at: 1000 }
  const answered = (key_id: string) => [{ key_id, by: 'person:ann' }] as unknown as Approval['answers']
  const end = (more: Partial<Approval>, now = 999) => linkEnd(link, { ...approval, ...more }, now)
  expect(end({})).toBeNull()
  expect(end({ answers: answered('key_x') })).toBeNull()
  expect(end({ answers: answered(ID) })).toBe('used')
  expect(end({ answers: answered(ID), status: 'approved' })).toBe('used')
  for (const status of ['approved', 'rejected', 'expired', 'void'] as const) expect(end({ status })).toBe('closed')
  expect(end({}, 1000)).toBe('expired')
  expect(end({ expires_at: 500 }, 500)).toBe('expired')
  // Escalated, the question lives longer than the mail said; the link does not.
  expect(end({ expires_at: 5000 }, 1000)).toBe('expired')
  expect(end({ grant_hash: 'cd'.repeat(32) })).toBe('stale')
  // Edited and edited back: the answer is void, and the link was used all the same.
  const edits = [{ voided: ['key_x', ID] }, {}] as unknown as Approval['edits']
  expect(end({ edits })).toBe('used')
  expect(end({ edits: [{ voided: ['key_x'] }] as unknown as Approval['edits'] })).toBeNull()
})

test('a page’s nonce is good for that link, what the page showed, and an hour', () => {
  const now = 1_700_000_000_000
  const nonce = pageNonce(SECRET, GRANT, now)
  expect(isPageNonce(nonce, SECRET, GRANT, now)).toBe(true)
  expect(isPageNonce(nonce, SECRET, GRANT, now + PAGE_MS)).toBe(true)
  expect(isPageNonce(nonce, SECRET, GRANT, now + PAGE_MS + 1)).toBe(false)
  expect(isPageNonce(nonce, SECRET, GRANT, now - 120_000)).toBe(false)
  expect(isPageNonce(nonce, `${SECRET.slice(0, -1)}C`, GRANT, now)).toBe(false)
  expect(isPageNonce(nonce, SECRET, 'cd'.repeat(32), now)).toBe(false)
  fc.assert(
    fc.property(fc.string(), fc.nat(nonce.length - 1), (noise, at) => {
      expect(isPageNonce(noise, SECRET, GRANT, now)).toBe(false)
      const changed = `${nonce.slice(0, at)}${nonce[at] === 'x' ? 'y' : 'x'}${nonce.slice(at + 1)}`
      expect(isPageNonce(changed, SECRET, GRANT, now)).toBe(false)
    }),
  )
})
