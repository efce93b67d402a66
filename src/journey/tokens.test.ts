import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Caller } from '../core/access.js'
import { readToken } from '../core/token.js'
import { putAbsence } from './absences.js'
import { invite } from './accounts.js'
import { applyDirectory } from './directory.js'
import { createGrant } from './grants.js'
import { createKey, makeKey, revokeKey } from './keys.js'
import { mintToken } from './tokens.js'

let plane: TestPlane
let t: Tenancy
beforeAll(async () => {
  plane = await openPlane()
  t = await plane.tenant('version: v1\ndefault_decision: ALLOW\nrules: []\n')
})
afterAll(() => plane.close())

const named = async (kind: string) => (await t.facts()).filter((fact) => fact.kind === kind)

describe(`${proves('S3')} a token`, () => {
  test('says what it was narrowed to, and is in the log before it is handed out', async () => {
    const bound = t.caller('agent', 'agent:bot', { topics: ['job.a.>'] })
    const body = { minutes: 15, topics: ['job.a.b', 'job.a.c.*'], run_id: 'run-1', permissions: ['jobs:submit'] }
    const made = await mintToken(plane.world, bound, body)
    const { claims } = await readToken(plane.world.tokens, made.token, plane.clock.now())
    expect(claims).toMatchObject({ tenant: t.tenant, principal: 'agent:bot', key_id: bound.key_id, jti: made.jti })
    expect(claims).toMatchObject({ topics: body.topics, run_id: 'run-1', permissions: ['jobs:submit'] })
    expect(made.expires_at - plane.clock.now()).toBeGreaterThan(14 * 60_000)
    expect(made.expires_at - plane.clock.now()).toBeLessThanOrEqual(15 * 60_000)
    expect(await named('token.minted')).toMatchObject([
      { actor: 'agent:bot', jti: made.jti, key_id: bound.key_id, topics: 'job.a.b,job.a.c.*', run_id: 'run-1' },
    ])
    expect(JSON.stringify(await t.facts())).not.toContain(made.token.split('.')[2])
  })

  test('never outlives its key', async () => {
    const ends = plane.clock.now() + 90_000
    const made = await mintToken(plane.world, t.caller('agent', 'agent:bot', { expires_at: ends }), { minutes: 60 })
    expect(made.expires_at).toBeLessThanOrEqual(ends)
    expect(made.expires_at).toBeGreaterThan(ends - 1000)
  })

  test.each<[string, Partial<Caller>, object, string[]]>([
    ['another topic', { topics: ['job.a.*'] }, { topics: ['job.b'] }, ['topic job.b']],
    ['more of a topic', { topics: ['job.a.*'] }, { topics: ['job.a.>'] }, ['topic job.a.>']],
    ['a permission that the role has not', {}, { permissions: ['keys:write'] }, ['keys:write']],
    ['one that the key has not', { permissions: ['tokens:mint'] }, { permissions: ['jobs:submit'] }, ['jobs:submit']],
    ['a token by a token', { jti: 'tok_1' }, {}, ['a key']],
  ])('is for nothing its key is not for: %s', async (what, more, asked, needs) => {
    const caller = t.caller('agent', `agent:${what.replaceAll(' ', '-')}`, more)
    expect(await problemOf(mintToken(plane.world, caller, { minutes: 1, ...asked }))).toMatchObject({
      code: 'forbidden',
      extra: { needs },
    })
    expect((await named('key.refused')).at(-1)).toMatchObject({ actor: caller.principal, missing: needs.join() })
  })

  test('is not minted from a key that was revoked elsewhere a moment ago', async () => {
    const { row } = await createKey(plane.world, t.tenant, 'person:root', { role: 'agent', principal: 'agent:gone' })
    await revokeKey(plane.node(), t.tenant, 'person:root', row.key_id)
    const caller = t.caller('agent', 'agent:gone', { key_id: row.key_id })
    expect(await codeOf(mintToken(plane.world, caller, { minutes: 1 }))).toBe('unauthenticated')
  })

  test('makes nothing that outlasts it: no key, no way in, no office, no approval beforehand', async () => {
    const root = t.caller('admin', 'person:root', { jti: 'tok_1' })
    const boss = { principal: 'person:boss', kind: 'person', role: 'admin' } as const
    const document = { teams: [], principals: [{ ...boss, team: null, name: null, email: null, terms: null }] }
    await applyDirectory(plane.world, t.admin, document, 'api')
    const now = plane.clock.now()
    const grant = { agent: 'agent:bot', topic: 'job.>', uses: 1, expires_at: now + 1000, reason: 'x' }
    const away = { from: now, until: now + 1000 }
    const asked = (as: Caller): [string, () => Promise<unknown>][] => [
      ['key', () => makeKey(plane.world, as, { role: 'admin' })],
      ['invitation', () => invite(plane.world, as, 'person:boss')],
      ['office', () => applyDirectory(plane.world, as, document, 'api')],
      ['approvals', () => createGrant(plane.world, as, grant)],
      ['delegate', () => putAbsence(plane.world, as, 'person:boss', { ...away, delegate: 'person:root' })],
    ]
    for (const [what, step] of asked(root)) expect(await problemOf(step()), what).toMatchObject({ code: 'forbidden' })
    expect((await named('key.refused')).at(-1)).toMatchObject({ actor: 'person:root', missing: 'a key' })
    // That somebody is away for so long is not one of these.
    await putAbsence(plane.world, root, 'person:boss', away)
    for (const [what, step] of asked(t.caller('admin', 'person:root')).slice(0, 4))
      expect(await codeOf(step()), what).toBe('done')
  })

  test('of a run submits into that run and no other', async () => {
    const caller = t.caller('agent', 'agent:bot', { run_id: 'run-1' })
    const submit = (run_id?: string) =>
      codeOf(t.trySubmit({ topic: 'job.a', ...(run_id === undefined ? {} : { run_id }) }, null, caller))
    expect(await submit('run-1')).toBe('done')
    expect(await submit('run-2')).toBe('run_refused')
    expect(await submit()).toBe('run_refused')
  })
})
