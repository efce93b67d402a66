import { afterAll, beforeAll, expect, test } from 'vitest'
import { codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import type { DeclaredPrincipal } from '../core/directory/document.js'
import type { Identity } from '../core/sign-on.js'
import { listPrincipals } from '../store/directory.js'
import { findKey } from '../store/keys.js'
import { applyDirectory } from './directory.js'
import { signOnByProvider } from './sign-on.js'

/** Two who come at once: of what can be one's only, one has it. */
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

const IDENTITY: Identity = {
  issuer: 'https://login.example.com',
  subject: 'one',
  email: 'ada@example.com',
  email_verified: true,
  name: 'Ada',
  groups: ['staff'],
}
const ADA: DeclaredPrincipal = {
  principal: 'person:ada',
  kind: 'person',
  role: 'approver',
  team: null,
  name: null,
  email: 'ada@example.com',
  terms: null,
}
async function tenant(principals: DeclaredPrincipal[]): Promise<Tenancy> {
  const t = await plane.tenant('version: v1\nrules: []\n')
  const root = { ...ADA, principal: 'person:root', role: 'admin' as const, email: null }
  const groups = [{ group: 'staff', role: 'viewer' as const, team: null }]
  await applyDirectory(plane.world, t.admin, { teams: [], principals: [root, ...principals], groups }, 'file')
  return t
}
const come = async (t: Tenancy, more: Partial<Identity>, world = plane.world) =>
  signOnByProvider(world, t.tenant, { ...IDENTITY, ...more }, '192.0.2.1')

test('two subjects with one address are one person and one refused', async () => {
  const t = await tenant([ADA])
  const other = plane.node()
  const both = [come(t, {}), come(t, { subject: 'two' }, other)]
  const ended = await Promise.allSettled(both)
  expect(ended.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  const refused = ended.findIndex(({ status }) => status === 'rejected')
  expect(await codeOf(both[refused] as Promise<unknown>)).toBe('not_admitted')
  // And stays so, whoever comes again.
  expect((await come(t, { subject: refused === 0 ? 'two' : 'one' })).principal).toBe('person:ada')
  expect(await codeOf(come(t, { subject: refused === 0 ? 'one' : 'two' }))).toBe('not_admitted')
})

test('one subject from two browsers at once is one new person with two sessions', async () => {
  const t = await tenant([])
  const opened = await Promise.all([come(t, {}), come(t, {}, plane.node())])
  expect(new Set(opened.map(({ principal }) => principal))).toEqual(new Set(['person:ada@example.com']))
  expect(new Set(opened.map(({ key_id }) => key_id)).size).toBe(2)
  const made = (await listPrincipals(plane.db, t.tenant)).filter(({ source }) => source === 'group')
  expect(made).toHaveLength(1)
  for (const { key_id } of opened)
    expect(await findKey(plane.db, key_id)).toMatchObject({ session: 'oidc', role: 'viewer', revoked_at: null })
})

test('whom a file disabled is not made anew by a group', async () => {
  const t = await tenant([ADA])
  await applyDirectory(
    plane.world,
    t.admin,
    {
      teams: [],
      principals: [{ ...ADA, principal: 'person:root', role: 'admin', email: null }],
      groups: [{ group: 'staff', role: 'viewer', team: null }],
    },
    'file',
  )
  expect(await codeOf(come(t, {}))).toBe('not_admitted')
})
