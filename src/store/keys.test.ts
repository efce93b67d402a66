import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { codeOf, isCommit, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { Caller, Role } from '../core/access.js'
import { UNBOUND } from '../core/principal.js'
import { putAbsence } from '../journey/absences.js'
import { closeAccount, invite } from '../journey/accounts.js'
import { activate, rollBack, storeSnapshot } from '../journey/activate.js'
import { approve, edit, reject } from '../journey/approve.js'
import { closeBreaker } from '../journey/break.js'
import { cancel } from '../journey/cancel.js'
import { putChannel, removeChannel } from '../journey/channels.js'
import { applyDirectory, disablePrincipal } from '../journey/directory.js'
import { createGrant, revokeGrant } from '../journey/grants.js'
import { createKey, makeKey, revokeKey, rotateKey } from '../journey/keys.js'
import { confirmPromotion, declareAutonomy, demote, proposePromotion } from '../journey/promote.js'
import { discardResult, release } from '../journey/release.js'
import { discard, replay } from '../journey/replay.js'
import { resolve } from '../journey/resolve.js'
import { resumeStop } from '../journey/resume.js'
import { raiseStop } from '../journey/stop.js'
import { submit } from '../journey/submit.js'
import { mintToken } from '../journey/tokens.js'
import { closeWorkflow, openWorkflow } from '../journey/workflows.js'
import { revocations } from '../loops/revocations.js'
import { silentLog } from '../platform/log.js'
import { getPrincipal } from './directory.js'
import type { World } from './world.js'

/**
 * A request is authorised when its head is read. Here its caller is shut out between that and what it asks for: by another node, or while
 * a body drips in.
 */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
workflows:
  - { id: w, topics: [job.do.*], starts: 'true', ends: 'false', data: [{ system: s, tables: [t], access: read }] }
`
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
beforeEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const person = (principal: string, role: Role) =>
  ({ principal, kind: 'person', role, team: null, name: null, email: null, terms: null }) as const
const declare = (t: Tenancy, ...principals: ReturnType<typeof person>[]) =>
  applyDirectory(t.world, t.admin, { teams: [], principals }, 'api')

/** An office whose second admin has a key of their own. */
async function office() {
  const t = await plane.tenant(POLICY)
  await t.activate(POLICY.replace('within: 1h', 'within: 2h'))
  const bot = { ...person('agent:bot', 'agent'), kind: 'agent', terms: UNBOUND } as never
  await declare(t, person('person:root', 'admin'), person('person:mal', 'admin'), person('person:ada', 'viewer'), bot)
  const body = { role: 'admin', principal: 'person:mal', expires_at: plane.clock.now() + 3_600_000 }
  const { row } = await createKey(t.world, t.tenant, 'person:root', body)
  return { t, mal: t.caller('admin', 'person:mal', { key_id: row.key_id, expires_at: row.expires_at }) }
}

/** Every step on somebody's behalf. What they name is not there: who is shut out is told so before it is looked for. */
const STEPS: Record<string, (world: World, caller: Caller) => Promise<unknown>> = {
  'declares somebody': (w, c) =>
    applyDirectory(w, c, { teams: [], principals: [person('person:evil', 'admin')] }, 'api'),
  'disables somebody': (w, c) => disablePrincipal(w, c, 'person:ada'),
  'invites somebody': (w, c) => invite(w, c, 'person:ada'),
  'closes an account': (w, c) => closeAccount(w, c, 'person:ada'),
  'says who is away': (w, c) => putAbsence(w, c, 'person:ada', { from: 1, until: 2 }),
  'makes a key': (w, c) => makeKey(w, c, { role: 'admin' }),
  'rotates a key': (w, c) => rotateKey(w, c, c.key_id, 60_000),
  'mints a token': (w, c) => mintToken(w, c, { minutes: 1 }),
  'makes a channel': (w, c) => putChannel(w, c, CHANNEL as never),
  'removes a channel': (w, c) => removeChannel(w, c, 'none'),
  'stores a policy': (w, c) => storeSnapshot(w, c.tenant, c, [{ path: 'p.yaml', text: POLICY }], NOT_ACTIVE),
  'activates a policy': async (w, c) => activate(w, c.tenant, c, (await w.policies.active(c.tenant)).policy.digest),
  'rolls a policy back': (w, c) => rollBack(w, c.tenant, c),
  'stops work': (w, c) => raiseStop(w, c, { scope: 'tenant', target: null, reason: 'x' }),
  'resumes work': (w, c) => resumeStop(w, c, 'stop_x', RESUME),
  'closes a breaker': (w, c) => closeBreaker(w, c, 'agent:bot'),
  'manages an agent': (w, c) => declareAutonomy(w, c, 'agent:bot', { stage: 'autonomous' }),
  'proposes a stage': (w, c) => proposePromotion(w, c, 'agent:bot', { to: 'assisted', note: null }),
  'confirms a stage': (w, c) => confirmPromotion(w, c, 'agent:bot', null),
  'demotes an agent': (w, c) => demote(w, c, 'agent:bot', { to: 'shadow', note: 'x' }),
  'opens a workflow': (w, c) => openWorkflow(w, c, 'w'),
  'closes a workflow': (w, c) => closeWorkflow(w, c, 'w'),
  'grants beforehand': (w, c) => createGrant(w, c, { ...GRANT, expires_at: w.clock.now() + 1 }),
  'revokes a grant': (w, c) => revokeGrant(w, c, 'grt_x'),
  'releases a result': (w, c) => release(w, c, 'job_x', null),
  'discards a result': (w, c) => discardResult(w, c, 'job_x', null),
  'cancels a job': (w, c) => cancel(w, c, 'job_x', null),
  'resolves a doubt': (w, c) => resolve(w, c, 'job_x', { effect_key: 'x', happened: true, note: 'x' }),
  'gives a job up': (w, c) => discard(w, c, 'job_x', 'x'),
  'submits a job': (w, c) => submit(w, c, { topic: 'job.do.it' }, null),
}
const CHANNEL = { channel: 'ops', kind: 'webhook', settings: {}, events: [] }
const NOT_ACTIVE = { source: 'api', activate: false } as const
const RESUME = { stage: 'trial', note: 'n', trial_ms: 0, trial_limit: 1000 } as const
const GRANT = { agent: 'agent:bot', topic: 'job.>', uses: 1, reason: 'x' }

const SHUT_OUT: [how: string, (o: Awaited<ReturnType<typeof office>>) => Promise<unknown>][] = [
  ['whose key was revoked', ({ t, mal }) => revokeKey(t.world, t.tenant, 'person:root', mal.key_id)],
  ['whose key has expired', async () => plane.clock.advance(3_600_001)],
  ['who was disabled', ({ t }) => disablePrincipal(t.world, t.admin, 'person:mal')],
  ['who has another role', ({ t }) => declare(t, person('person:mal', 'viewer'))],
  ['whose key is gone', ({ t, mal }) => t.world.db.query('DELETE FROM keys WHERE key_id = $1', [mal.key_id])],
]

describe(`${proves('S3')} from the answer on, and on whatever node, nobody`, () => {
  test.each(SHUT_OUT)('%s does anything', async (_, shutOut) => {
    const o = await office()
    const before = await o.t.rows('principals')
    await shutOut(o)
    const seen: Record<string, string> = {}
    // A caller of its own each: one that was looked at is remembered.
    for (const [what, step] of Object.entries(STEPS)) seen[what] = await codeOf(step(plane.node(), { ...o.mal }))
    expect(seen).toEqual(Object.fromEntries(Object.keys(STEPS).map((what) => [what, 'unauthenticated'])))
    expect((await o.t.rows('principals')).length).toBe(before.length)
  })

  test.each(SHUT_OUT)('%s answers a question', async (_, shutOut) => {
    const o = await office()
    const { approval_id } = await o.t.submit({ topic: 'job.ask.it', input: { a: 1 } })
    const id = approval_id as string
    const { grant_hash } = await o.t.approval(id)
    await shutOut(o)
    const as = () => ({ ...o.mal })
    expect(await codeOf(approve(plane.node(), as(), id, { grant_hash }))).toBe('unauthenticated')
    expect(await codeOf(edit(plane.node(), as(), id, { grant_hash, input: { a: 2 } }))).toBe('unauthenticated')
    expect(await codeOf(reject(plane.node(), as(), id, { reason: 'x' }))).toBe('unauthenticated')
    expect((await o.t.approval(id)).answers).toEqual([])
  })

  test('whose key was revoked runs a dead letter again', async () => {
    const o = await office()
    const { job, lease } = await o.t.lease({ topic: 'job.do.it' })
    await o.t.fail(lease, 'terminal')
    await revokeKey(o.t.world, o.t.tenant, 'person:root', o.mal.key_id)
    expect(await codeOf(replay(plane.node(), { ...o.mal }, job.job_id, null))).toBe('unauthenticated')
    expect((await o.t.job(job.job_id)).status).toBe('dead_letter')
  })

  test('who is shut out between the look and the commit does it either', async () => {
    const { t, mal } = await office()
    const elsewhere = plane.node()
    let came = false
    plane.db.tap = async (sql, send) => {
      if (!isCommit(sql) || came) return send()
      came = true
      await revokeKey(elsewhere, t.tenant, 'person:root', mal.key_id)
      return send()
    }
    const evil = { teams: [], principals: [person('person:evil', 'admin')] }
    expect(await codeOf(applyDirectory(t.world, mal, evil, 'api'))).toBe('unauthenticated')
    expect(came).toBe(true)
    expect(await getPrincipal(plane.db, t.tenant, 'person:evil')).toBeNull()
  })

  test('goes on by a token that is over, while its key still stands', async () => {
    const { t, mal } = await office()
    const token = { ...mal, jti: 'tok_1', expires_at: plane.clock.now() + 60_000 }
    expect(await codeOf(submit(t.world, token, { topic: 'job.do.it' }, null))).toBe('done')
    plane.clock.advance(60_000)
    expect(await codeOf(submit(t.world, token, { topic: 'job.do.it' }, null))).toBe('unauthenticated')
    expect(await codeOf(submit(t.world, { ...mal }, { topic: 'job.do.it' }, null))).toBe('done')
  })
})

test('who is in another team, or leads another, goes on as what they are now', async () => {
  const { t } = await office()
  const teams = (leads: string[]) => [{ team: 'desk', name: null, leads, on_call: [] }]
  const bot = { ...person('agent:bot', 'agent'), kind: 'agent', team: 'desk', terms: UNBOUND } as never
  await applyDirectory(t.world, t.admin, { teams: teams(['person:ada']), principals: [bot] }, 'api')
  const ada = t.caller('viewer', 'person:ada', { leads: ['desk'] })
  expect(await codeOf(declareAutonomy(t.world, ada, 'agent:bot', { stage: 'shadow' }))).toBe('done')
  await applyDirectory(t.world, t.admin, { teams: teams(['person:mal']), principals: [] }, 'api')
  expect(await codeOf(declareAutonomy(plane.node(), ada, 'agent:bot', { stage: 'shadow', least: 1 }))).toBe('forbidden')
  const agent = t.caller('agent', 'agent:bot')
  await t.trySubmit({ topic: 'job.do.it' }, null, agent)
  expect(agent.team).toBe('desk')
})

test(`${proves('S3')} what is open ends with the role that opened it, on every node`, async () => {
  const { t, mal } = await office()
  const aborted: string[] = []
  const open = { callers: [{ ...mal }, t.worker], abort: (key_id: string) => aborted.push(key_id) }
  const look = async () => {
    const loop = revocations(open, plane.node(), plane.clock, silentLog)
    loop.wake()
    await loop.stop()
  }
  await look()
  expect(aborted).toEqual([])
  await declare(t, person('person:mal', 'viewer'))
  await look()
  expect(aborted).toEqual([mal.key_id])
})
