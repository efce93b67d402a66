import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Permission } from '../core/access.js'
import type { DeclaredPrincipal, DirectoryDocument } from '../core/directory/document.js'
import { UNBOUND } from '../core/principal.js'
import { getPrincipal } from '../store/directory.js'
import { applyDirectory, disablePrincipal, enablePrincipal, previewDirectory } from './directory.js'

/** What a change of the directory refuses, records and says. */
const POLICY = (flow = '{ from: [team:finance], within: 1h }') => `
version: v1
default_decision: DENY
rules:
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: ${flow} }
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`
const declared = (principal: string, role: DeclaredPrincipal['role'], more: Partial<DeclaredPrincipal> = {}) => ({
  ...{ principal, role, kind: 'person' as const, team: null, name: null, email: null, terms: null },
  ...more,
})
const BOT = declared('agent:bot', 'agent', { kind: 'agent', terms: UNBOUND, team: 'finance' })
const FIN = declared('person:fin', 'approver', { team: 'finance' })
const FINANCE = { team: 'finance', name: null, leads: ['person:fin'], on_call: [] }
const OFFICE: DirectoryDocument = {
  teams: [FINANCE],
  principals: [declared('person:root', 'admin'), FIN, BOT],
}

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

async function office(policy = POLICY()): Promise<Tenancy> {
  const t = await plane.tenant(POLICY('{ from: [role:approver] }'))
  await applyDirectory(t.world, t.admin, OFFICE, 'file')
  await t.activate(policy)
  return t
}
const refusals = async (t: Tenancy) => (await t.facts()).filter(({ kind }) => kind === 'directory.refused')
const only = (...principals: DeclaredPrincipal[]): DirectoryDocument => ({ teams: [], principals })

describe(`${proves('S1')} a reach for more than one has`, () => {
  const clerkOf = (t: Tenancy, permissions: Permission[] = ['directory:read', 'directory:write']) =>
    t.caller('admin', 'person:clerk', { permissions })

  test('is on record before it is answered, with what it reached for; repeats are counted', async () => {
    const t = await office()
    const clerk = clerkOf(t)
    const mallory = only(declared('person:mallory', 'admin'))
    for (const source of ['api', 'file'] as const)
      expect(await codeOf(applyDirectory(t.world, clerk, mallory, source))).toBe('invalid')
    const told = await refusals(t)
    expect(told).toMatchObject([
      { actor: 'person:clerk', error_code: 'invalid', paths: 'principals.person:mallory.role' },
    ])
    expect(await getPrincipal(t.world.db, t.tenant, 'person:mallory')).toBe(null)
    plane.clock.advance(6000)
    await t.sweep()
    expect((await refusals(t)).map(({ count }) => count)).toEqual([undefined, 1])
  })

  test.each<[string, (t: Tenancy) => Promise<unknown>]>([
    [
      'to take an office away',
      (t) => applyDirectory(t.world, clerkOf(t), only(declared('person:root', 'viewer')), 'api'),
    ],
    ['to disable who has more', (t) => disablePrincipal(t.world, clerkOf(t), 'person:root')],
    [
      'by a group of the provider',
      (t) =>
        applyDirectory(
          t.world,
          clerkOf(t),
          { ...OFFICE, groups: [{ group: 'all', role: 'admin', team: null }] },
          'file',
        ),
    ],
    [
      'to be in another team',
      (t) => applyDirectory(t.world, t.admin, only(declared('person:root', 'admin', { team: 'finance' })), 'api'),
    ],
  ])('%s', async (_name, reach) => {
    const t = await office()
    expect(await codeOf(reach(t))).toBe('invalid')
    expect(await refusals(t)).toHaveLength(1)
  })

  test('a mistake is none, and is not recorded', async () => {
    const t = await office()
    const lost = only(declared('person:new', 'viewer', { team: 'nowhere' }))
    expect(await codeOf(applyDirectory(t.world, t.admin, lost, 'api'))).toBe('invalid')
    const problem = await problemOf(applyDirectory(t.world, t.admin, lost, 'api'))
    expect(problem.extra.faults).toEqual([
      { path: 'principals.person:new.team', message: expect.stringContaining("no team 'nowhere'") },
    ])
    expect(await refusals(t)).toEqual([])
  })
})

describe('who was disabled by a call', () => {
  const active = async (t: Tenancy, principal = 'agent:bot') =>
    (await getPrincipal(t.world.db, t.tenant, principal))?.disabled_at === null
  const STAYS = expect.stringMatching(/^agent:bot stays disabled: say `disabled: false`/)

  test('is not brought back by a file that names them as ever, and whoever applies it is told', async () => {
    const t = await office()
    await disablePrincipal(t.world, t.admin, 'agent:bot')
    expect(await previewDirectory(t.world, t.admin, OFFICE)).toMatchObject({ changes: [], notes: [STAYS] })
    expect(await applyDirectory(t.world, t.admin, OFFICE, 'file')).toMatchObject({ changes: [], notes: [STAYS] })
    expect(await active(t)).toBe(false)
    // Nor where the file says something else of them, nor the time after.
    const other = { ...OFFICE, principals: [...OFFICE.principals.slice(0, 2), { ...BOT, name: 'Bot' }] }
    for (const _twice of [1, 2]) await applyDirectory(t.world, t.admin, other, 'file')
    await applyDirectory(t.world, t.admin, only({ ...BOT, name: 'Bot' }), 'api')
    expect(await active(t)).toBe(false)
    expect((await getPrincipal(t.world.db, t.tenant, 'agent:bot'))?.name).toBe('Bot')
  })

  test('comes back where the file says so, or by a call, on record', async () => {
    const t = await office()
    await disablePrincipal(t.world, t.admin, 'agent:bot')
    const said = { ...OFFICE, principals: [...OFFICE.principals.slice(0, 2), { ...BOT, disabled: false as const }] }
    const { changes } = await applyDirectory(t.world, t.admin, said, 'file')
    expect(changes).toMatchObject([{ change: 'enabled', id: 'agent:bot' }])
    expect(await active(t)).toBe(true)
    await disablePrincipal(t.world, t.admin, 'agent:bot')
    await enablePrincipal(t.world, t.admin, 'agent:bot')
    expect(await active(t)).toBe(true)
    expect((await t.facts()).filter(({ enabled }) => enabled === true)).toHaveLength(2)
    expect(await codeOf(enablePrincipal(t.world, t.admin, 'agent:nobody'))).toBe('not_found')
  })

  test('so is whom a file left out first', async () => {
    const t = await office()
    const without = { ...OFFICE, principals: OFFICE.principals.slice(0, 2) }
    await applyDirectory(t.world, t.admin, without, 'file')
    await disablePrincipal(t.world, t.admin, 'agent:bot')
    await applyDirectory(t.world, t.admin, OFFICE, 'file')
    expect(await active(t)).toBe(false)
    await enablePrincipal(t.world, t.admin, 'agent:bot')
    await applyDirectory(t.world, t.admin, OFFICE, 'file')
    // Whom only a file left out is back when a file names them.
    await applyDirectory(t.world, t.admin, without, 'file')
    await applyDirectory(t.world, t.admin, OFFICE, 'file')
    expect(await active(t)).toBe(true)
  })

  test('and leads a team of the file keeps the file from nothing', async () => {
    const t = await office(POLICY('{ from: [role:approver] }'))
    await disablePrincipal(t.world, t.admin, 'person:fin')
    const { changes, notes } = await applyDirectory(t.world, t.admin, OFFICE, 'file')
    expect(changes).toEqual([])
    expect(notes).toContain("person:fin leads team 'finance', and no question reaches them: they are disabled")
  })

  test('is enabled by nobody who could not make them', async () => {
    const t = await office()
    await applyDirectory(t.world, t.admin, only(declared('person:second', 'admin')), 'api')
    await disablePrincipal(t.world, t.admin, 'person:second')
    const clerk = t.caller('admin', 'person:clerk', { permissions: ['directory:write'] })
    expect(await codeOf(enablePrincipal(t.world, clerk, 'person:second'))).toBe('invalid')
    expect(await active(t, 'person:second')).toBe(false)
    expect(await refusals(t)).toHaveLength(1)
  })
})

describe(`${proves('S2')} who is disabled on another node`, () => {
  const none = { name: null, email: null, terms: null, team: null }
  const machine = (principal: string, role: 'agent' | 'worker') => only({ principal, kind: role, role, ...none })

  test('is given no work by this one, on which they were let in before', async () => {
    const t = await office()
    await applyDirectory(t.world, t.admin, machine('worker:one', 'worker'), 'api')
    for (const _each of [1, 2]) await t.submit({ topic: 'job.do.it' })
    expect(await t.claim(['job.do.it'])).toHaveLength(1)
    await disablePrincipal(plane.node(), t.admin, 'worker:one')
    expect(await t.claim(['job.do.it'], { capacity: 9 }).catch((problem) => problem.code)).toEqual('unauthenticated')
    expect(await t.claim(['job.do.it'], { worker: t.otherWorker })).toHaveLength(1)
  })

  test('is nobody to act as', async () => {
    const t = await office()
    const service = t.caller('agent', 'agent:front', { act_as: ['agent:bot'] })
    const submitAs = () => t.trySubmit({ topic: 'job.do.it', agent: 'agent:bot' }, null, service)
    await submitAs()
    await disablePrincipal(plane.node(), t.admin, 'agent:bot')
    const problem = await problemOf(submitAs())
    expect([problem.code, problem.extra.missing]).toEqual(['out_of_scope', ['agent:bot is disabled']])
    await enablePrincipal(plane.node(), t.admin, 'agent:bot')
    expect((await submitAs()).answer.status).toBe('queued')
  })
})

describe('whoever changes the directory is told', () => {
  test(`${proves('A2')} that a flow of the active policy loses its people`, async () => {
    const t = await office()
    const without = {
      ...OFFICE,
      teams: [{ ...FINANCE, leads: [] }],
      principals: [declared('person:root', 'admin'), BOT],
    }
    const { notes } = await previewDirectory(t.world, t.admin, without)
    expect(notes).toEqual([
      expect.stringContaining(
        "nobody can satisfy what rule 'ask' of the active policy asks for: team 'finance' has no member",
      ),
      expect.stringContaining('a level needs 1 of team:finance, which are 0'),
    ])
    // It is done all the same: who is gone is gone.
    expect((await applyDirectory(t.world, t.admin, without, 'file')).notes).toEqual(notes)
    expect((await previewDirectory(t.world, t.admin, without)).notes).toEqual([])
  })

  test('that a lead is asked nothing, as what they are', async () => {
    const t = await office(POLICY('{ from: [role:approver] }'))
    const lead = {
      ...OFFICE,
      principals: [declared('person:root', 'admin'), { ...FIN, role: 'operator' as const }, BOT],
    }
    const { notes } = await previewDirectory(t.world, t.admin, lead)
    expect(notes).toContain(
      "person:fin leads team 'finance', and no question reaches them: as operator they may not answer",
    )
  })
})
