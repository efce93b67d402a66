import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Permission, ROLES, type Role } from '../../src/core/access.js'
import { Authenticator } from '../../src/http/auth.js'
import type { Route } from '../../src/http/route.js'
import { allRoutes } from '../../src/http/routes/all.js'
import { writeRefusals } from '../../src/journey/sweep.js'
import { manualClock } from '../../src/platform/clock.js'
import { proves } from '../requirements.js'
import {
  API,
  answerIn,
  call,
  expectProblem,
  expectStanding,
  http,
  makeKey,
  raw,
  startTarget,
  type Target,
} from './attacker.js'

/**
 * Who may call what, written down a second time by hand. A route that is not in here, or opens to one role more than here,
 * fails: a permission is never widened by accident.
 */
const EVERYBODY = ['admin', 'operator', 'approver', 'auditor', 'viewer', 'agent', 'worker'] as const
const READERS = ['admin', 'operator', 'approver', 'auditor', 'viewer'] as const
/** A page looks for itself who may: a link or a form of ours is what opens it, and no key. */
const TABLE: Record<string, readonly Role[] | 'public' | 'page'> = {
  'POST /jobs': ['admin', 'agent'],
  'POST /jobs/batch': ['admin', 'agent'],
  'GET /jobs': [...READERS, 'agent'],
  'GET /jobs/{job_id}': [...READERS, 'agent'],
  'GET /jobs/{job_id}/timeline': [...READERS, 'agent'],
  'GET /jobs/{job_id}/result': ['admin', 'operator', 'approver', 'agent'],
  'POST /jobs/{job_id}/result/release': ['admin', 'operator', 'approver'],
  'POST /jobs/{job_id}/result/discard': ['admin', 'operator', 'approver'],
  'POST /jobs/{job_id}/cancel': ['admin', 'operator', 'agent'],
  'POST /jobs/{job_id}/resolve': ['admin', 'operator'],
  'GET /runs/{run_id}': [...READERS, 'agent'],
  'GET /runs/{run_id}/timeline': READERS,
  'GET /pointers/{ptr}': [...READERS, 'agent'],
  'GET /decisions/{decision_id}': [...READERS, 'agent'],
  'GET /approvals': READERS,
  'GET /approvals/{approval_id}': READERS,
  'POST /approvals/{approval_id}/approve': ['admin', 'approver'],
  'POST /approvals/{approval_id}/reject': ['admin', 'approver'],
  'GET /policy': [...READERS, 'agent'],
  'GET /policy/snapshots': [...READERS, 'agent'],
  'GET /policy/snapshots/{id}': [...READERS, 'agent'],
  'POST /policy/snapshots': ['admin'],
  'POST /policy/snapshots/{id}/activate': ['admin'],
  'POST /policy/evaluate': [...READERS, 'agent'],
  'GET /dead-letters': READERS,
  'POST /dead-letters/{job_id}/replay': ['admin', 'operator'],
  'POST /dead-letters/{job_id}/discard': ['admin', 'operator'],
  'POST /workers/claim': ['worker'],
  'POST /leases/heartbeat': ['worker'],
  'POST /leases/effects': ['worker'],
  'POST /leases/complete': ['worker'],
  'GET /audit': ['admin', 'operator', 'auditor'],
  'GET /audit/head': ['admin', 'operator', 'auditor'],
  'GET /audit/proof/inclusion': ['admin', 'operator', 'auditor'],
  'GET /audit/proof/consistency': ['admin', 'operator', 'auditor'],
  'GET /audit/export': ['admin', 'operator', 'auditor'],
  'GET /events': ['admin', 'operator', 'auditor'],
  'GET /keys': ['admin', 'auditor'],
  'POST /keys': ['admin'],
  'POST /keys/{key_id}/rotate': ['admin'],
  'DELETE /keys/{key_id}': ['admin'],
  'POST /tokens': EVERYBODY,
  'GET /.well-known/jwks.json': 'public',
  'GET /stops': READERS,
  'GET /autonomy': READERS,
  'POST /principals/{principal}/enable': ['admin'],
  'POST /stops': READERS,
  'GET /stops/{stop_id}': READERS,
  'POST /stops/{stop_id}/resume': READERS,
  'GET /rollouts': READERS,
  'POST /rollouts': ['admin', 'operator'],
  'GET /rollouts/{rollout_id}': READERS,
  'POST /rollouts/{rollout_id}/start': ['admin', 'operator'],
  'POST /rollouts/{rollout_id}/pause': ['admin', 'operator'],
  'POST /rollouts/{rollout_id}/resume': ['admin', 'operator'],
  'POST /rollouts/{rollout_id}/promote': ['admin', 'operator'],
  'POST /rollouts/{rollout_id}/override': ['admin', 'operator'],
  'POST /rollouts/{rollout_id}/roll-back': ['admin', 'operator'],
  'GET /rollouts/{rollout_id}/assignment': [...READERS, 'agent'],
  'POST /rollouts/{rollout_id}/gate': ['admin', 'operator'],
  'GET /rollouts/{rollout_id}/evidence': READERS,
  'GET /evidence/{evidence_hash}': READERS,
  'GET /rollouts/{rollout_id}/reviews': READERS,
  'POST /rollouts/{rollout_id}/reviews': ['admin', 'approver'],
  'GET /rollouts/{rollout_id}/report': READERS,
  'GET /rollouts/{rollout_id}/report.md': READERS,
  'POST /rollouts/{rollout_id}/compensations/retry': ['admin', 'operator'],
  'POST /rollouts/{rollout_id}/compensations/settle': ['admin', 'operator'],
  'GET /breakers': READERS,
  'GET /drills': READERS,
  'GET /drills/{drill}': READERS,
  'POST /drills/{drill}/runs': ['admin', 'operator'],
  'PUT /drills/{drill}': ['admin', 'operator'],
  'GET /readiness': READERS,
  'POST /readiness/attestations': ['admin', 'approver'],
  'POST /breakers/{agent}/close': READERS,
  'GET /principals': READERS,
  'GET /principals/{principal}': READERS,
  'PUT /principals/{principal}': ['admin'],
  'DELETE /principals/{principal}': ['admin'],
  'GET /teams': READERS,
  'PUT /teams/{team}': ['admin'],
  'POST /directory/diff': READERS,
  'POST /directory/apply': ['admin'],
  'POST /policy/rollback': ['admin'],
  'POST /policy/impact': READERS,
  'POST /replays': ['admin'],
  'GET /replays': READERS,
  'GET /replays/{replay_id}': READERS,
  'GET /replays/{replay_id}/log': READERS,
  'GET /session': READERS,
  'POST /session/password': READERS,
  'POST /accounts/{principal}/invite': ['admin'],
  'DELETE /accounts/{principal}': ['admin'],
  'POST /slack/{tenant}/{channel}': 'page',
  'GET /links/{token}': 'page',
  'POST /links/{token}': 'page',
  'GET /sign-on': 'page',
  'POST /sign-on': 'page',
  'GET /sign-on/oidc': 'page',
  'GET /sign-on/callback': 'page',
  'POST /sign-off': 'page',
  'GET /invitations/{token}': 'page',
  'POST /invitations/{token}': 'page',
  'GET /channels': ['admin', 'operator', 'auditor'],
  'GET /channels/{channel}': ['admin', 'operator', 'auditor'],
  'PUT /channels/{channel}': ['admin'],
  'DELETE /channels/{channel}': ['admin'],
  'POST /channels/{channel}/test': ['admin'],
  'GET /deliveries': ['admin', 'operator', 'auditor'],
  'GET /deliveries/{delivery_id}': ['admin', 'operator', 'auditor'],
  'POST /deliveries/{delivery_id}/retry': ['admin', 'operator'],
  'POST /approvals/{approval_id}/edit': ['admin', 'approver'],
  'POST /approvals/{approval_id}/request-changes': ['admin', 'approver'],
  'GET /agents/{agent}/autonomy': READERS,
  'PUT /agents/{agent}/autonomy': READERS,
  'POST /agents/{agent}/autonomy/promote': READERS,
  'POST /agents/{agent}/autonomy/confirm': READERS,
  'POST /agents/{agent}/autonomy/demote': READERS,
  'GET /reviews/load': READERS,
  'GET /workflows': [...READERS, 'agent'],
  'POST /workflows/{workflow}/open': ['admin', 'operator'],
  'POST /workflows/{workflow}/close': ['admin', 'operator'],
  'GET /grants': READERS,
  'POST /grants': ['admin', 'approver'],
  'GET /grants/{grant_id}': READERS,
  'DELETE /grants/{grant_id}': ['admin', 'approver'],
  'GET /absences': READERS,
  'PUT /absences/{principal}': READERS,
  'GET /measurements': ['admin', 'operator', 'approver', 'auditor', 'viewer'],
  'GET /topics': ['admin', 'operator', 'approver', 'auditor', 'viewer'],
  'GET /metrics': ['admin', 'operator', 'approver', 'auditor', 'viewer'],
  'GET /metrics/{metric}': ['admin', 'operator', 'approver', 'auditor', 'viewer'],
  'GET /healthz': 'public',
  'GET /readyz': 'public',
  'GET /openapi.json': 'public',
  'GET /docs': 'public',
}

const clock = manualClock(Date.now())
let plane: Target
let routes: Route[]
const keys = {} as Record<Role, string>

const nameOf = (route: Pick<Route, 'method' | 'path'>) => `${route.method} ${route.path}`
const pathOf = (route: Pick<Route, 'path' | 'root'>) =>
  (route.root ? '' : API) + route.path.replace('{metric}', 'success-rate').replaceAll(/\{\w+\}/g, 'nothing')

/** One request to a route with a body that no schema takes: past the key, nothing happens. Streams are hung up on. */
async function knock(route: Route, key: string | null): Promise<number> {
  const hangUp = new AbortController()
  const response = await fetch(plane.url + pathOf(route), {
    method: route.method,
    headers: {
      ...(key === null ? {} : { 'x-api-key': key }),
      ...(route.method === 'POST' ? { 'content-type': 'application/json' } : {}),
    },
    ...(route.method === 'POST' ? { body: '{"no such field":true}' } : {}),
    signal: hangUp.signal,
  })
  hangUp.abort()
  return response.status
}

beforeAll(async () => {
  plane = await startTarget(undefined, { clock: { ...clock, after: (ms, fn) => realAfter(ms, fn) } })
  routes = allRoutes({
    world: plane.world,
    auth: new Authenticator(plane.world),
    changer: {} as never,
    dispatcher: {} as never,
    replayer: {} as never,
    publicKey: new Uint8Array(32),
    gate: {} as never,
    events: {} as never,
    health: {} as never,
    headOf: async () => null,
    metrics: {} as never,
    couriers: {} as never,
    desk: {} as never,
    open: null as never,
    version: '0',
  })
  for (const role of EVERYBODY) keys[role] = await makeKey(plane, role, { principal: `${role}:knocks` })
})
afterAll(() => plane?.stop())

function realAfter(ms: number, fn: () => void) {
  const timer = setTimeout(fn, ms)
  timer.unref()
  return () => clearTimeout(timer)
}

describe('every route and every role', () => {
  test('the table names every route there is, and none that is not', () => {
    expect(routes.map(nameOf).sort()).toEqual(Object.keys(TABLE).sort())
  })

  test('without a key only the public ones open', async () => {
    for (const route of routes) {
      const status = await knock(route, null)
      if (TABLE[nameOf(route)] === 'page') expect([200, 303, 401, 403, 404, 410, 422], nameOf(route)).toContain(status)
      else if (TABLE[nameOf(route)] === 'public' || route.keyless !== undefined) expect(status, nameOf(route)).toBe(200)
      else expect(status, nameOf(route)).toBe(401)
    }
  })

  test.each(EVERYBODY.map((role) => [role]))('%s', async (role) => {
    for (const route of routes) {
      const allowed = TABLE[nameOf(route)]
      if (allowed === 'public' || allowed === 'page') continue
      const status = await knock(route, keys[role])
      if (allowed?.includes(role)) expect([200, 202, 404, 422], `${role} ${nameOf(route)}`).toContain(status)
      else expect(status, `${role} ${nameOf(route)}`).toBe(403)
    }
  })

  test('nobody but a worker claims, nobody but an admin makes keys or policy', () => {
    const holders = (permission: Permission) => EVERYBODY.filter((role) => ROLES[role].includes(permission))
    expect(holders('work:claim')).toEqual(['worker'])
    expect(holders('keys:write')).toEqual(['admin'])
    expect(holders('policy:write')).toEqual(['admin'])
    expect(holders('jobs:submit')).toEqual(['admin', 'agent'])
  })
})

describe('keys that open nothing', () => {
  // Each has its own minute: after ten wrong ones within one the next are told to wait.
  beforeEach(() => clock.advance(60_000))
  const good = () => plane.keys.agent
  const ask = (key: string, headers: Record<string, string> = {}) =>
    call(plane, key, 'GET', `${API}/jobs`, undefined, headers)
  const spoiled: [string, (key: string) => string][] = [
    ['one character less', (key) => key.slice(0, -1)],
    ['one character more', (key) => `${key}A`],
    ['another last character', (key) => key.slice(0, -1) + (key.endsWith('A') ? 'Q' : 'A')],
    ['another secret', (key) => `${key.slice(0, 30)}${'x'.repeat(43)}`],
    ['the secret of another key', (key) => key.slice(0, 30) + plane.keys.admin.slice(30)],
    ['the id of another key', (key) => plane.keys.admin.slice(0, 30) + key.slice(30)],
    ['an id nobody has', (key) => `sp_${'0'.repeat(26)}_${key.slice(30)}`],
    ['capitals', (key) => key.toUpperCase()],
    ['only the id', (key) => key.slice(0, 29)],
    ['another prefix', (key) => `sk${key.slice(2)}`],
    ['two in one', (key) => `${key},${key}`],
    ['its own stored hash', () => '0'.repeat(64)],
    ['SQL', () => "' OR 1=1 --"],
    ['a megabyte less a bit', () => 'x'.repeat(15_000)],
    ['nothing', () => ''],
  ]
  test.each(spoiled)('%s', async (_, spoil) => {
    const key = spoil(good())
    const answer = await ask(key)
    expectProblem(answer, 'unauthenticated')
    expect(answer.headers.get('www-authenticate')).toContain('Bearer')
    // Neither the key nor a piece of it that would tell anything comes back or is logged.
    if (key.length > 40)
      for (const text of [answer.text, plane.logged.join('\n')]) expect(text).not.toContain(key.slice(30, 60))
    expectProblem(
      await call(plane, null, 'GET', `${API}/jobs`, undefined, { authorization: `Bearer ${key}` }),
      'unauthenticated',
    )
  })

  test('every wrong key gets the same words', async () => {
    const texts = new Set<string>()
    for (const [, spoil] of spoiled) {
      clock.advance(60_000)
      const { request_id: _id, ...body } = (await ask(spoil(good()))).body
      texts.add(JSON.stringify(body))
    }
    expect(texts.size).toBe(1)
  })

  test('Basic, a key in the query, a cookie: not looked at', async () => {
    const basic = Buffer.from(`x:${good()}`).toString('base64')
    const others: Record<string, string>[] = [
      { authorization: `Basic ${basic}` },
      { authorization: good() },
      { cookie: `key=${good()}` },
    ]
    for (const headers of others)
      expectProblem(await call(plane, null, 'GET', `${API}/jobs`, undefined, headers), 'unauthenticated')
    expectProblem(await call(plane, null, 'GET', `${API}/jobs?api_key=${good()}`), 'unauthenticated')
  })

  test('a wrong X-API-Key is not saved by a good Bearer', async () => {
    expectProblem(await ask('sp_wrong', { authorization: `Bearer ${good()}` }), 'unauthenticated')
  })

  test('expired: to the millisecond, though it was good a moment ago and is still in memory', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:short', expires_at: clock.now() + 500 })
    expect((await ask(key)).status).toBe(200)
    clock.advance(499)
    expect((await ask(key)).status).toBe(200)
    clock.advance(1)
    expectProblem(await ask(key), 'unauthenticated')
  })

  test('revoked: from the answer on, though it was used a moment ago', async () => {
    const made = await call(plane, plane.keys.admin, 'POST', `${API}/keys`, { role: 'agent', principal: 'agent:gone' })
    expect(made.status).toBe(201)
    expect((await ask(made.body.key)).status).toBe(200)
    expect((await call(plane, plane.keys.admin, 'DELETE', `${API}/keys/${made.body.key_id}`)).status).toBe(200)
    expectProblem(await ask(made.body.key), 'unauthenticated')
    expectProblem(
      await call(plane, made.body.key, 'POST', `${API}/jobs`, { topic: 'job.repo.read' }),
      'unauthenticated',
    )
  })

  test(`${proves('S1')} after ten wrong ones within a minute the next wait, whatever they say of their address; the right one opens`, async () => {
    const wrong = `${good().slice(0, 30)}${'x'.repeat(43)}`
    for (let i = 0; i < 10; i++)
      expectProblem(await ask(wrong, { 'x-forwarded-for': `10.0.0.${i}` }), 'unauthenticated')
    for (let i = 10; i < 30; i++) {
      const answer = await ask(wrong, { 'x-forwarded-for': `10.0.0.${i}`, forwarded: `for=10.0.0.${i}` })
      expectProblem(answer, 'rate_limited')
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    }
    expect((await ask(good())).status).toBe(200)
    expect((await ask(plane.keys.admin)).status).toBe(200)
    clock.advance(60_000)
    expectProblem(await ask(wrong), 'unauthenticated')
    // Nor does an address make itself another one where no key is named that there is.
    clock.advance(60_000)
    const madeUp = (i: number) =>
      ask(`sp_${String(i).padStart(26, '0')}_${'x'.repeat(43)}`, { 'x-forwarded-for': `10.0.1.${i}` })
    for (let i = 0; i < 10; i++) expectProblem(await madeUp(i), 'unauthenticated')
    expectProblem(await madeUp(10), 'rate_limited')
    // Thirty-one of them, and one or two lines in the log.
    const refused = async () => {
      await writeRefusals(plane.world, true)
      const { items } = (await call(plane, plane.keys.admin, 'GET', `${API}/audit?kind=key.refused&limit=500`)).body
      const entries = (items as { facts: Record<string, unknown> }[]).map(({ facts }) => facts)
      return entries.filter((entry) => entry.key_id === `key_${good().slice(3, 29)}`)
    }
    await expect
      .poll(async () => (await refused()).reduce((n, { count = 1 }) => n + Number(count), 0))
      .toBeGreaterThanOrEqual(31)
    expect((await refused()).length).toBeLessThan(15)
  })

  test('the text of a key is shown once; neither list nor log nor audit has it or its hash', async () => {
    const made = await call(plane, plane.keys.admin, 'POST', `${API}/keys`, { role: 'viewer', note: 'a note' })
    const secret = made.body.key.slice(30)
    const texts = [
      (await call(plane, plane.keys.admin, 'GET', `${API}/keys`)).text,
      (await call(plane, plane.keys.admin, 'GET', `${API}/audit?limit=500`)).text,
      plane.logged.join('\n'),
    ]
    const rows = await plane.world.db.query<{ hash: string }>('SELECT hash FROM keys')
    for (const text of texts) {
      expect(text).not.toContain(secret)
      for (const { hash } of rows) expect(text).not.toContain(hash)
    }
  })

  test('the tenant header is the tenant of the key or nothing', async () => {
    expect((await ask(good(), { 'x-tenant-id': 'default' })).status).toBe(200)
    for (const tenant of ['other', 'DEFAULT', '*', '', 'default,other'])
      expectProblem(await ask(good(), { 'x-tenant-id': tenant }), 'forbidden')
    // A wrong key learns nothing about tenants.
    expectProblem(await ask('sp_wrong', { 'x-tenant-id': 'other' }), 'unauthenticated')
    expectProblem(
      answerIn(
        await raw(plane, http('GET', `${API}/jobs`, good(), '', ['X-Tenant-ID: default', 'X-Tenant-ID: other'])),
      ),
      'forbidden',
    )
  })
})

describe('keys that open less than asked', () => {
  test(`${proves('S1')} a key narrowed to some of its role does those and no others`, async () => {
    const body = { role: 'agent', principal: 'agent:narrow', permissions: ['jobs:submit'] }
    const made = await call(plane, plane.keys.admin, 'POST', `${API}/keys`, body)
    expect(made.body.permissions).toEqual(['jobs:submit'])
    expect((await call(plane, made.body.key, 'POST', `${API}/jobs`, { topic: 'job.repo.read' })).status).toBe(202)
    expectProblem(await call(plane, made.body.key, 'GET', `${API}/jobs`), 'forbidden')
    expectProblem(await call(plane, made.body.key, 'POST', `${API}/tokens`, { minutes: 1 }), 'forbidden')
    const more = { ...body, permissions: ['jobs:submit', 'keys:write'] }
    expectProblem(await call(plane, plane.keys.admin, 'POST', `${API}/keys`, more), 'invalid')
  })

  test(`${proves('S1')} nobody climbs from a narrowed key to a whole one, by making or by rotating`, async () => {
    const narrow = { role: 'admin', principal: 'admin:desk', permissions: ['keys:write', 'keys:read', 'tokens:mint'] }
    const desk = (await call(plane, plane.keys.admin, 'POST', `${API}/keys`, narrow)).body.key
    const make = (body: object) => call(plane, desk, 'POST', `${API}/keys`, body)
    for (const body of [{ role: 'admin' }, { role: 'worker' }, { ...narrow, permissions: ['policy:write'] }])
      expectProblem(await make(body), 'forbidden')
    expectProblem(await make({ ...narrow, act_as: ['agent:first'] }), 'forbidden')
    expect((await make({ ...narrow, permissions: ['keys:read'] })).status).toBe(201)
    const { items } = (await call(plane, desk, 'GET', `${API}/keys?limit=500`)).body
    const whole = items.find((key: { principal: string }) => key.principal === 'admin:first').key_id
    expectProblem(await call(plane, desk, 'POST', `${API}/keys/${whole}/rotate`), 'forbidden')
    const token = (await call(plane, plane.keys.admin, 'POST', `${API}/tokens`, { minutes: 1 })).body.token
    expectProblem(await call(plane, token, 'POST', `${API}/keys`, { role: 'viewer' }), 'forbidden')
  })

  test(`${proves('S2')} a rotated key and its successor both open until the overlap is over`, async () => {
    const made = (await call(plane, plane.keys.admin, 'POST', `${API}/keys`, { role: 'viewer' })).body
    const rotate = (body: unknown) => call(plane, plane.keys.admin, 'POST', `${API}/keys/${made.key_id}/rotate`, body)
    expectProblem(await rotate({ overlap: 1000 }), 'invalid')
    expectProblem(await rotate({ overlap: 31 * 86_400_000 }), 'invalid')
    const next = await rotate({ overlap: 60_000 })
    expect(next.status).toBe(201)
    expect(next.body.rotates).toEqual({ key_id: made.key_id, expires_at: clock.now() + 60_000 })
    expectProblem(await rotate({}), 'key_closed')
    const opens = async () =>
      (await Promise.all([made.key, next.body.key].map((key) => call(plane, key, 'GET', `${API}/jobs`)))).map(
        (a) => a.status,
      )
    expect(await opens()).toEqual([200, 200])
    clock.advance(59_999)
    expect(await opens()).toEqual([200, 200])
    clock.advance(1)
    expect(await opens()).toEqual([401, 200])
  })

  test(`${proves('S2')} a stream that the old key opened before it was rotated ends with the overlap`, async () => {
    const made = (await call(plane, plane.keys.admin, 'POST', `${API}/keys`, { role: 'auditor' })).body
    const stream = await fetch(`${plane.url}${API}/events`, { headers: { 'x-api-key': made.key } })
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
    await reader.read()
    await call(plane, plane.keys.admin, 'POST', `${API}/keys/${made.key_id}/rotate`, { overlap: 60_000 })
    clock.advance(60_000)
    while (!(await reader.read()).done);
    expect(stream.status).toBe(200)
  })

  test('a worker may not submit, an agent may not claim', async () => {
    expectProblem(await call(plane, plane.keys.worker, 'POST', `${API}/jobs`, { topic: 'job.repo.read' }), 'forbidden')
    const claim = { worker_id: 'w', claim_id: 'claim-123', topics: ['job.repo.read'], capacity: 1 }
    for (const key of [plane.keys.agent, plane.keys.admin, plane.keys.approver])
      expectProblem(await call(plane, key, 'POST', `${API}/workers/claim`, claim), 'forbidden')
  })

  test('a key bound to topics submits and claims nothing else', async () => {
    const agent = await makeKey(plane, 'agent', { principal: 'agent:bound', topics: ['job.repo.*'] })
    const submit = (topic: string) => call(plane, agent, 'POST', `${API}/jobs`, { topic })
    expect((await submit('job.repo.read')).status).toBe(202)
    for (const topic of ['job.deploy.apply', 'job.repo', 'job.repo.read.more', 'xjob.repo.read'])
      expectProblem(await submit(topic), 'topic_refused')
    const batch = await call(plane, agent, 'POST', `${API}/jobs/batch`, {
      jobs: [{ topic: 'job.repo.read' }, { topic: 'job.deploy.apply' }],
    })
    expect(batch.body.items.map((item: { status: number }) => item.status)).toEqual([202, 403])

    const worker = await makeKey(plane, 'worker', { principal: 'worker:bound', topics: ['job.repo.*'] })
    const claim = (...topics: string[]) =>
      call(plane, worker, 'POST', `${API}/workers/claim`, {
        worker_id: 'w',
        claim_id: `claim-${topics.join('-')}`,
        topics,
        capacity: 1,
      })
    for (const topics of [['job.exec.shell'], ['job.repo.read', 'job.exec.shell']])
      expectProblem(await claim(...topics), 'topic_refused')
    for (const topic of ['job.repo.>', '>', '*', 'job.*']) expectProblem(await claim(topic), 'invalid')
  })

  test('nobody acts as another agent without leave, by single, batch or dry run', async () => {
    const body = { topic: 'job.repo.read', agent: 'agent:second' }
    expectProblem(await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, body), 'act_as_refused')
    for (const agent of ['agent:First', 'agent:first2', 'admin:first', 'system:door', '*'])
      expectProblem(
        await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.repo.read', agent }),
        'act_as_refused',
      )
    const batch = await call(plane, plane.keys.agent, 'POST', `${API}/jobs/batch`, { jobs: [body] })
    expect(batch.body.items[0]).toMatchObject({ status: 403, body: { code: 'act_as_refused' } })
    const deputy = await makeKey(plane, 'agent', { principal: 'agent:deputy', act_as: ['agent:second'] })
    const done = await call(plane, deputy, 'POST', `${API}/jobs`, body)
    expect(done.status).toBe(202)
    expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${done.body.job_id}`)).body).toMatchObject({
      agent: 'agent:second',
      requested_by: 'agent:deputy',
    })
  })

  test('an agent sees its own jobs and no others, whatever it asks by', async () => {
    const other = await makeKey(plane, 'agent', { principal: 'agent:curious' })
    const run_id = 'run-of-somebody'
    const job = (
      await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.repo.read', input: { a: 1 }, run_id })
    ).body
    const ptr = (await call(plane, plane.keys.agent, 'GET', `${API}/jobs/${job.job_id}`)).body.input_ptr
    for (const path of [
      `jobs/${job.job_id}`,
      `jobs/${job.job_id}/timeline`,
      `jobs/${job.job_id}/result`,
      `runs/${run_id}`,
      `pointers/${ptr}`,
      `decisions/${job.decision_id}`,
    ])
      expectProblem(await call(plane, other, 'GET', `${API}/${path}`), 'not_found')
    expectProblem(await call(plane, other, 'POST', `${API}/jobs/${job.job_id}/cancel`, {}), 'not_found')
    expect((await call(plane, other, 'GET', `${API}/jobs?run_id=${run_id}`)).body.items).toEqual([])
    expect((await call(plane, other, 'GET', `${API}/jobs?agent=agent:first`)).body.items).toEqual([])
    // Putting a job of its own under the same run id shows it that job, and nothing of the others.
    await call(plane, other, 'POST', `${API}/jobs`, { topic: 'job.repo.read', run_id })
    const run = (await call(plane, other, 'GET', `${API}/runs/${run_id}`)).body
    expect(run).toMatchObject({ jobs: 1, by_status: { queued: 1 } })
    expect(run.items.map((item: { agent: string }) => item.agent)).toEqual(['agent:curious'])
  })
})

test('after all of it: it lives, serves, logged no fault, and the audit verifies', { timeout: 30_000 }, () =>
  expectStanding(plane),
)
