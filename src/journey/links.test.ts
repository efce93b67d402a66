import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { breakCommit, codeOf, isCommit, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { hashLink, linkToken } from '../core/link.js'
import { insertLink } from '../store/links.js'
import { approve, edit } from './approve.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { openLink } from './links.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: asks, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 1h } }
`
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())
beforeEach(() => {
  plane.db.tap = null
})

/** A question, and a link to it as a mail carries it. */
async function linked(): Promise<{ t: Tenancy; token: string; approval_id: string }> {
  const t = await plane.tenant(POLICY)
  const ann = {
    principal: 'person:mail',
    kind: 'person',
    role: 'approver',
    team: null,
    name: null,
    email: null,
    terms: null,
  } as const
  await applyDirectory(t.world, t.admin, { teams: [], principals: [ann] }, 'api')
  const { approval_id } = await t.submit({ topic: 'job.ask' })
  const { grant_hash, expires_at } = await t.approval(approval_id)
  const now = t.clock.now()
  const link_id = t.world.ids.id('link', now)
  const secret = Buffer.from(t.world.ids.bytes(32)).toString('base64url')
  await insertLink(t.world.db, {
    tenant: t.tenant,
    link_id,
    hash: hashLink(secret),
    approval_id: approval_id as string,
    grant_hash,
    principal: ann.principal,
    delivery_id: 'dlv_x',
    created_at: now,
    expires_at,
  })
  return { t, token: linkToken(link_id, secret), approval_id: approval_id as string }
}

const answer = async (t: Tenancy, token: string) => {
  const { caller, approval } = await openLink(t.world, token)
  return approve(t.world, caller, approval.approval_id, { grant_hash: approval.grant_hash }, { via: 'email' })
}

test(`${proves('A6')} link and answer are spent in one commit: a crash before it spends neither, one after it both`, async () => {
  const { t, token, approval_id } = await linked()
  breakCommit(plane.db, 'before')
  await answer(t, token).catch(() => {})
  plane.db.tap = null
  if ((await t.approval(approval_id)).answers.length === 0) {
    expect((await openLink(t.world, token)).approval.answers).toEqual([])
    await answer(t, token)
  }
  expect(await codeOf(openLink(t.world, token))).toBe('link_gone')
  expect((await t.approval(approval_id)).answers.map(({ by, via }) => [by, via])).toEqual([['person:mail', 'email']])

  const second = await linked()
  breakCommit(plane.db, 'after')
  await answer(second.t, second.token).catch(() => {})
  plane.db.tap = null
  expect((await second.t.approval(second.approval_id)).answers.length).toBe(1)
  expect(await codeOf(openLink(second.t.world, second.token))).toBe('link_gone')
})

test('of two answers with one link at once, on two nodes, one is taken', async () => {
  const { t, token, approval_id } = await linked()
  const other = t.on(plane.node())
  const codes = await Promise.all([codeOf(answer(t, token)), codeOf(answer(other, token)), codeOf(answer(t, token))])
  expect(codes.filter((code) => code === 'done').length).toBe(1)
  expect(codes.filter((code) => !['done', 'approval_closed', 'link_gone'].includes(code))).toEqual([])
  expect((await t.approval(approval_id)).answers.length).toBe(1)
})

test('an answer on its way commits nothing once its person is shut out', async () => {
  const { t, token, approval_id } = await linked()
  const { caller, approval } = await openLink(t.world, token)
  await disablePrincipal(t.world, t.admin, 'person:mail')
  const late = approve(t.world, caller, approval_id, { grant_hash: approval.grant_hash }, { via: 'email' })
  expect(await codeOf(late)).toBe('unauthenticated')
  // And the very moment of the commit: the gate moved under it.
  const second = await linked()
  const open = await openLink(second.t.world, second.token)
  plane.db.tap = async (sql, send) => {
    if (!isCommit(sql)) return send()
    plane.db.tap = null
    await disablePrincipal(plane.node(), second.t.admin, 'person:mail')
    return send()
  }
  const body = { grant_hash: open.approval.grant_hash }
  expect(await codeOf(approve(second.t.world, open.caller, second.approval_id, body, { via: 'email' }))).toBe(
    'unauthenticated',
  )
  expect((await second.t.approval(second.approval_id)).answers).toEqual([])
})

test('one that was used stays used, also where what it asked was edited away and back', async () => {
  const { t, token, approval_id } = await linked()
  const { grant_hash } = await t.approval(approval_id)
  await answer(t, token)
  for (const [as, input] of [
    [t.approver, { a: 1 }],
    [t.otherApprover, null],
  ] as const)
    await edit(t.world, as, approval_id, { grant_hash: (await t.approval(approval_id)).grant_hash, input } as never)
  // What it asked, word for word; and the answer it gave is void.
  expect((await t.approval(approval_id)).grant_hash).toBe(grant_hash)
  expect((await t.approval(approval_id)).answers.map(({ by }) => by)).toEqual(['person:ben'])
  expect(await codeOf(openLink(t.world, token))).toBe('link_gone')
})

test('a refused link is on record at once, and its repeats are counted', async () => {
  const { t, token, approval_id } = await linked()
  await t.reject(approval_id)
  for (let n = 0; n < 5; n++) expect(await codeOf(openLink(t.world, token))).toBe('link_gone')
  const refused = (await t.facts()).filter(({ kind }) => kind === 'link.refused')
  expect(refused).toEqual([expect.objectContaining({ actor: 'person:mail', reason: 'closed', approval_id })])
  expect(t.world.refusals.take(t.clock.now(), true)).toEqual([expect.objectContaining({ count: 4 })])
})

test('its time is over with the question’s', async () => {
  const { t, token } = await linked()
  t.clock.advance(3_600_000 - 1)
  expect((await openLink(t.world, token)).caller.principal).toBe('person:mail')
  t.clock.advance(1)
  expect(await codeOf(openLink(t.world, token))).toBe('link_gone')
})
