import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Authenticator } from '../../src/http/auth.js'
import { allRoutes } from '../../src/http/routes/all.js'
import { enqueue } from '../../src/store/deliveries.js'
import { until } from '../support/server.js'
import {
  API,
  call,
  expectProblem,
  faultsLogged,
  makeKey,
  makeTenant,
  startTarget,
  type Target,
  verifyAudit,
} from './attacker.js'

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.try.*, attempts: 1, timeout_ms: 60000, heartbeat_ms: 30000 }
rules:
  - { id: tries, match: { topic: job.try.* }, decision: ALLOW }
  - { id: asks, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
const KEY_BLOCK = [
  '-----BEGIN RSA PRIVATE KEY-----',
  'MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MhgHcTz6sE2I2yPB',
  'aFDrBz9vFqU4zVQGlMkMVyqzS4mWZJ7Yp9rJk0bX2x1HqT5nBvKc8dLw3eRf6gUh',
  '-----END RSA PRIVATE KEY-----',
].join('\n')

/** One of everything a tenant can have, with its id. */
interface Estate {
  keys: Record<'admin' | 'agent' | 'worker' | 'approver', string>
  job: string
  run: string
  ptr: string
  decision: string
  approval: string
  grant: string
  scoped: string
  lease: string
  claim: string
  quarantined: string
  ambiguous: string
  dead: string
  keyId: string
  principal: string
  channel: string
  delivery: string
  snapshot: string
  stop: string
  broken: string
  staged: string
  rollout: string
  takenBack: string
  evidence: string
  replay: string
}

let plane: Target
let ours: Estate
let theirs: Estate

beforeAll(async () => {
  plane = await startTarget(POLICY)
  await makeTenant(plane, 'rival', `${POLICY}\n# theirs\n`.replace('id: tries', 'id: tries-of-theirs'))
  ours = await settle('default')
  theirs = await settle('rival')
})
afterAll(() => plane?.stop())

async function settle(tenant: string): Promise<Estate> {
  const keys = {} as Estate['keys']
  for (const role of ['admin', 'agent', 'worker', 'approver'] as const)
    keys[role] = await makeKey(plane, role, { tenant, principal: `${role}:${tenant}` })
  const submit = async (topic: string, run_id: string) =>
    (await call(plane, keys.agent, 'POST', `${API}/jobs`, { topic, run_id, input: { of: tenant } })).body
  const claim = async (topic: string) => {
    const answer = await call(plane, keys.worker, 'POST', `${API}/workers/claim`, {
      worker_id: 'w',
      claim_id: `claim-of-${tenant}-${topic}`,
      topics: [topic],
      capacity: 1,
    })
    return answer.body.leases[0].lease as string
  }
  const complete = (lease: string, more: object) =>
    call(plane, keys.worker, 'POST', `${API}/leases/complete`, [{ lease, ...more }])
  const run = `run-of-${tenant}`
  const held = await submit('job.try.held', run)
  const lease = await claim('job.try.held')
  const bad = await submit('job.try.bad', run)
  await complete(await claim('job.try.bad'), { outcome: 'succeeded', result: { text: KEY_BLOCK } })
  const doubt = await submit('job.try.doubt', run)
  const doubtful = await claim('job.try.doubt')
  await call(plane, keys.worker, 'POST', `${API}/leases/effects`, { lease: doubtful, key: 'pay', phase: 'begin' })
  await complete(doubtful, { outcome: 'failed', error: { class: 'terminal', code: 'x', message: 'x' } })
  const dead = await submit('job.try.dead', run)
  await complete(await claim('job.try.dead'), {
    outcome: 'failed',
    error: { class: 'terminal', code: 'x', message: 'x' },
  })
  const asked = await submit('job.ask.deploy', run)
  const made = (await call(plane, keys.admin, 'POST', `${API}/keys`, { role: 'viewer' })).body
  const scoped = await call(plane, keys.approver, 'POST', `${API}/grants`, {
    agent: `agent:${tenant}`,
    topic: 'job.never.*',
    uses: 1,
    expires_at: plane.world.clock.now() + 60_000,
    reason: 'x',
  })
  const estate: Estate = {
    keys,
    job: held.job_id,
    run,
    ptr: (await call(plane, keys.agent, 'GET', `${API}/jobs/${held.job_id}`)).body.input_ptr,
    decision: held.decision_id,
    approval: asked.approval_id,
    grant: asked.grant_hash,
    scoped: scoped.body.grant_id,
    lease,
    claim: `claim-of-${tenant}-job.try.held`,
    quarantined: bad.job_id,
    ambiguous: doubt.job_id,
    dead: dead.job_id,
    keyId: made.key_id,
    principal: made.principal,
    ...(await told(tenant, keys.admin)),
    snapshot: (await call(plane, keys.admin, 'GET', `${API}/policy`)).body.digest,
    ...(await halted(tenant, keys.admin)),
    ...(await staged(tenant, keys.admin)),
    ...(await rolling(tenant, keys.admin)),
    ...(await replayed(keys.admin)),
  }
  const status = async (id: string) => (await call(plane, keys.admin, 'GET', `${API}/jobs/${id}`)).body.status
  expect([await status(estate.quarantined), await status(estate.ambiguous), await status(estate.dead)]).toEqual([
    'quarantined',
    'ambiguous',
    'dead_letter',
  ])
  return estate
}

/** What a suite of one came to. */
async function replayed(admin: string): Promise<Pick<Estate, 'replay'>> {
  const snapshot = (await call(plane, admin, 'GET', `${API}/policy`)).body.digest
  const text = 'version: v1\nscenarios: [{ id: one, about: x, job: { topic: job.none }, expect: DENY }]'
  const body = { snapshot, scenarios: [{ path: 'one.yaml', text }] }
  const { replay_id } = (await call(plane, admin, 'POST', `${API}/replays`, body)).body
  const status = async () => (await call(plane, admin, 'GET', `${API}/replays/${replay_id}`)).body.status
  while ((await status()) === 'running');
  return { replay: replay_id }
}

/** An agent with a stage of autonomy. */
async function staged(tenant: string, admin: string): Promise<Pick<Estate, 'staged'>> {
  const agent = `agent:staged-of-${tenant}`
  await call(plane, admin, 'PUT', `${API}/principals/${agent}`, { kind: 'agent' })
  await call(plane, admin, 'PUT', `${API}/agents/${agent}/autonomy`, { stage: 'supervised' })
  return { staged: agent }
}

/** A rollout that runs, and what its gate said. */
async function rolling(tenant: string, admin: string): Promise<Pick<Estate, 'rollout' | 'evidence' | 'takenBack'>> {
  const declaration = {
    rollout: `rollout-of-${tenant}`,
    subject: { kind: 'agent', name: `agent:rolled-of-${tenant}`, candidate: '2.0', stable: '1.9' },
    owners: { reliability: 'sre', governance: 'governance', cost: 'finops' },
    stakeholders: ['role:admin'],
  }
  const started = async () => {
    const { rollout_id } = (await call(plane, admin, 'POST', `${API}/rollouts`, { declaration })).body
    await call(plane, admin, 'POST', `${API}/rollouts/${rollout_id}/start`)
    return rollout_id
  }
  const takenBack = await started()
  await call(plane, admin, 'POST', `${API}/rollouts/${takenBack}/roll-back`, { reason: 'x' })
  // What it writes by itself is over before anybody counts entries.
  const report = async () => (await call(plane, admin, 'GET', `${API}/rollouts/${takenBack}/report`)).body
  await until('the rollback is over', async () => (await report()).recovery.recovered_at !== null)
  const rollout_id = await started()
  const { seal } = (await call(plane, admin, 'POST', `${API}/rollouts/${rollout_id}/gate`)).body
  return { rollout: rollout_id, evidence: seal.evidence_hash, takenBack }
}

/** A stop, and an agent whose breaker opened. */
async function halted(tenant: string, admin: string): Promise<Pick<Estate, 'stop' | 'broken'>> {
  const body = { scope: { topic: 'job.never.*' }, reason: `of ${tenant}`, wait_ms: 0 }
  const { stop_id } = (await call(plane, admin, 'POST', `${API}/stops`, body)).body
  const broken = `agent:broken-of-${tenant}`
  await plane.world.db.query(
    `INSERT INTO breakers (tenant, agent, state, failures, reason, opened_at, retry_at, cool_down_ms) VALUES ($1, $2, 'open', 3, 'x', 1, 2, 1)`,
    [tenant, broken],
  )
  return { stop: stop_id, broken }
}

/** A channel, and a message of it that is dead. */
async function told(tenant: string, admin: string): Promise<Pick<Estate, 'channel' | 'delivery'>> {
  const channel = `channel-of-${tenant}`
  const secret_env = tenant === 'default' ? 'SALLYPORT_CHANNEL_X' : `SALLYPORT_CHANNEL_${tenant.toUpperCase()}__X`
  const settings = { url: 'https://example.com/', secret_env }
  await call(plane, admin, 'PUT', `${API}/channels/${channel}`, { kind: 'webhook', settings, events: ['key.due'] })
  const { db, ids, clock } = plane.world
  const delivery_id = ids.id('dlv', clock.now())
  const dead = { recipient: 'endpoint', asks: false, event: 'key.due', entry: '{}', status: 'dead' } as const
  const counts = { tree_index: 0, attempts: 12, next_at: 0, since_at: 0, created_at: 0, finished_at: 1 }
  await enqueue(db, tenant, 0, [
    { tenant, delivery_id, channel, ...dead, ...counts, error: 'x', approval_id: null, posted: null, about: null },
  ])
  return { channel, delivery: delivery_id }
}

const none = (id: string) => id.replace(/.{8}$/, '00000000')

/** Every route with an id: who asks, which id, what body. Asked about a foreign id it must answer as about none. */
const ROUTES: Record<
  string,
  { by: keyof Estate['keys']; id: keyof Estate; query?: string; body?: (estate: Estate) => object }
> = {
  'GET /jobs/{job_id}': { by: 'admin', id: 'job' },
  'GET /jobs/{job_id}/timeline': { by: 'admin', id: 'job' },
  'GET /jobs/{job_id}/result': { by: 'admin', id: 'quarantined' },
  'POST /jobs/{job_id}/result/release': { by: 'approver', id: 'quarantined', body: () => ({}) },
  'POST /jobs/{job_id}/result/discard': { by: 'approver', id: 'quarantined', body: () => ({}) },
  'POST /jobs/{job_id}/cancel': { by: 'admin', id: 'job', body: () => ({}) },
  'POST /jobs/{job_id}/resolve': {
    by: 'admin',
    id: 'ambiguous',
    body: () => ({ effect_key: 'pay', happened: true, note: 'x' }),
  },
  'GET /runs/{run_id}': { by: 'admin', id: 'run' },
  'GET /runs/{run_id}/timeline': { by: 'admin', id: 'run' },
  'GET /pointers/{ptr}': { by: 'admin', id: 'ptr' },
  'GET /decisions/{decision_id}': { by: 'admin', id: 'decision' },
  'GET /approvals/{approval_id}': { by: 'admin', id: 'approval' },
  'POST /approvals/{approval_id}/approve': {
    by: 'approver',
    id: 'approval',
    body: ({ grant }) => ({ grant_hash: grant }),
  },
  'POST /approvals/{approval_id}/reject': { by: 'approver', id: 'approval', body: () => ({ reason: 'x' }) },
  'POST /approvals/{approval_id}/request-changes': { by: 'approver', id: 'approval', body: () => ({ reason: 'x' }) },
  'POST /approvals/{approval_id}/edit': {
    by: 'approver',
    id: 'approval',
    body: ({ grant }) => ({ grant_hash: grant, input: {} }),
  },
  'GET /grants/{grant_id}': { by: 'approver', id: 'scoped' },
  'DELETE /grants/{grant_id}': { by: 'approver', id: 'scoped' },
  'GET /stops/{stop_id}': { by: 'admin', id: 'stop' },
  'POST /stops/{stop_id}/resume': { by: 'admin', id: 'stop', body: () => ({ stage: 'trial', note: 'x' }) },
  'POST /breakers/{agent}/close': { by: 'admin', id: 'broken' },
  'GET /rollouts/{rollout_id}': { by: 'admin', id: 'rollout' },
  'GET /rollouts/{rollout_id}/assignment': { by: 'admin', id: 'rollout', query: '?key=a' },
  'POST /rollouts/{rollout_id}/start': { by: 'admin', id: 'rollout' },
  'POST /rollouts/{rollout_id}/pause': { by: 'admin', id: 'rollout', body: () => ({ reason: 'x' }) },
  'POST /rollouts/{rollout_id}/resume': { by: 'admin', id: 'rollout' },
  'POST /rollouts/{rollout_id}/promote': {
    by: 'admin',
    id: 'rollout',
    body: () => ({ evidence_hash: 'a'.repeat(64) }),
  },
  'POST /rollouts/{rollout_id}/override': { by: 'admin', id: 'rollout', body: () => ({ reason: 'x' }) },
  'POST /rollouts/{rollout_id}/roll-back': { by: 'admin', id: 'rollout', body: () => ({ reason: 'x' }) },
  'POST /rollouts/{rollout_id}/gate': { by: 'admin', id: 'rollout', body: () => ({}) },
  'GET /rollouts/{rollout_id}/evidence': { by: 'admin', id: 'rollout' },
  'GET /rollouts/{rollout_id}/reviews': { by: 'admin', id: 'rollout' },
  'POST /rollouts/{rollout_id}/reviews': {
    by: 'admin',
    id: 'rollout',
    body: () => ({ review: 'week', clean: true, critical_incidents: 0, note: 'x' }),
  },
  'GET /evidence/{evidence_hash}': { by: 'admin', id: 'evidence' },
  'GET /rollouts/{rollout_id}/report': { by: 'admin', id: 'takenBack' },
  'GET /rollouts/{rollout_id}/report.md': { by: 'admin', id: 'takenBack' },
  'POST /rollouts/{rollout_id}/compensations/retry': { by: 'admin', id: 'rollout', body: () => ({}) },
  'POST /rollouts/{rollout_id}/compensations/settle': {
    by: 'admin',
    id: 'rollout',
    body: ({ job }) => ({ job_id: job, effect_key: 'e', note: 'x' }),
  },
  'GET /agents/{agent}/autonomy': { by: 'admin', id: 'staged' },
  'POST /agents/{agent}/autonomy/confirm': { by: 'admin', id: 'staged', body: () => ({}) },
  'POST /agents/{agent}/autonomy/demote': { by: 'admin', id: 'staged', body: () => ({ to: 'shadow', note: 'x' }) },
  'POST /agents/{agent}/autonomy/promote': { by: 'admin', id: 'staged', body: () => ({ to: 'advisor' }) },
  'GET /policy/snapshots/{id}': { by: 'admin', id: 'snapshot' },
  'POST /policy/snapshots/{id}/activate': { by: 'admin', id: 'snapshot' },
  'GET /replays/{replay_id}': { by: 'admin', id: 'replay' },
  'GET /replays/{replay_id}/log': { by: 'admin', id: 'replay' },
  'POST /dead-letters/{job_id}/replay': { by: 'admin', id: 'dead', body: () => ({}) },
  'POST /dead-letters/{job_id}/discard': { by: 'admin', id: 'dead', body: () => ({ reason: 'x' }) },
  'POST /keys/{key_id}/rotate': { by: 'admin', id: 'keyId', body: () => ({}) },
  'DELETE /keys/{key_id}': { by: 'admin', id: 'keyId' },
  'POST /accounts/{principal}/invite': { by: 'admin', id: 'principal' },
  'DELETE /accounts/{principal}': { by: 'admin', id: 'principal' },
  'GET /channels/{channel}': { by: 'admin', id: 'channel' },
  'DELETE /channels/{channel}': { by: 'admin', id: 'channel' },
  'POST /channels/{channel}/test': { by: 'admin', id: 'channel' },
  'GET /deliveries/{delivery_id}': { by: 'admin', id: 'delivery' },
  'POST /deliveries/{delivery_id}/retry': { by: 'admin', id: 'delivery' },
  'GET /principals/{principal}': { by: 'admin', id: 'principal' },
  'DELETE /principals/{principal}': { by: 'admin', id: 'principal' },
  'POST /principals/{principal}/enable': { by: 'admin', id: 'principal' },
}

/** The answer without what is its own in every answer. */
const plain = (text: string, id: string) => text.replaceAll(id, 'ID').replace(/"request_id":"[^"]*"/, '')

describe('ids of another tenant', () => {
  test('every route with an id is tried', () => {
    const routes = allRoutes({
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
    expect(Object.keys(ROUTES).sort()).toEqual(
      routes
        .filter((route) => route.path.includes('{') && route.path !== '/metrics/{metric}') // a name is no id
        .filter((route) => route.permission !== null) // a link or invitation is its own key
        .filter((route) => !route.path.startsWith('/workflows/')) // names in one's own policy
        .filter((route) => !route.path.startsWith('/drills/')) // names that are the same for everybody
        .filter((route) => route.method !== 'PUT') // makes what it names, in one's own tenant
        .map((route) => `${route.method} ${route.path}`)
        .sort(),
    )
  })

  test.each(Object.keys(ROUTES))('%s: 404, word for word as for an id that nobody has', async (name) => {
    const { by, id, query = '', body } = ROUTES[name] as (typeof ROUTES)[string]
    const [method = '', path = ''] = name.split(' ')
    const ask = (value: string) =>
      call(plane, ours.keys[by], method, API + path.replace(/\{\w+\}/, value) + query, body?.(theirs))
    const foreign = theirs[id] as string
    const before = await call(plane, theirs.keys.admin, 'GET', `${API}/audit?limit=500`)
    const answer = await ask(foreign)
    expectProblem(answer, 'not_found')
    expect(plain(answer.text, foreign)).toBe(plain((await ask(none(foreign))).text, none(foreign)))
    // Nothing was written on their side either.
    const after = await call(plane, theirs.keys.admin, 'GET', `${API}/audit?limit=500`)
    // What the plane looks at by itself goes on meanwhile.
    const written = (items: unknown[]) => items.filter((item) => !JSON.stringify(item).includes('system:gates')).length
    expect(written(after.body.items)).toBe(written(before.body.items))
  })

  test('the same routes answer their owner: the ids were real', async () => {
    for (const [name, { by, id, query = '' }] of Object.entries(ROUTES).filter(([each]) => each.startsWith('GET'))) {
      const answer = await call(
        plane,
        theirs.keys[by],
        'GET',
        API + (name.split(' ')[1] as string).replace(/\{\w+\}/, theirs[id] as string) + query,
      )
      expect([200, 403], name).toContain(answer.status)
    }
  })

  test('lists, filters and searches show nothing of them', async () => {
    const admin = ours.keys.admin
    const marks = [
      theirs.job,
      theirs.run,
      theirs.ptr,
      theirs.decision,
      theirs.stop,
      theirs.broken,
      theirs.rollout,
      theirs.evidence,
      theirs.approval,
      theirs.lease,
      theirs.keyId,
      theirs.snapshot,
      'rival',
      'tries-of-theirs',
    ]
    const lists = [
      'jobs?limit=500',
      `jobs?run_id=${theirs.run}`,
      'jobs?agent=agent:rival',
      'approvals?limit=500',
      `approvals?job_id=${theirs.job}`,
      'dead-letters?limit=500',
      'stops',
      'breakers',
      'rollouts',
      'drills',
      'keys',
      'policy',
      'policy/snapshots',
      'replays',
      'audit?limit=500',
      `audit?job_id=${theirs.job}`,
      `audit?run_id=${theirs.run}`,
      'audit?actor=agent:rival',
      'audit/export',
      'audit/head',
    ]
    // A tenant's first head is signed within a second of its first entry; before that there is none to show.
    await expect.poll(async () => (await call(plane, admin, 'GET', `${API}/audit/head`)).status).toBe(200)
    for (const list of lists) {
      const { status, text } = await call(plane, admin, 'GET', `${API}/${list}`)
      expect(status, list).toBe(200)
      for (const mark of marks) expect(text, `${list} shows ${mark}`).not.toContain(mark)
    }
    // With their cursor too: it is only a place in an order.
    const cursor = (await call(plane, theirs.keys.admin, 'GET', `${API}/jobs?limit=1`)).body.next_cursor
    for (const mark of marks)
      expect((await call(plane, admin, 'GET', `${API}/jobs?cursor=${cursor}`)).text).not.toContain(mark)
  })

  test('a run id of theirs used by us is our own run', async () => {
    const job = (
      await call(plane, ours.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.try.held', run_id: theirs.run })
    ).body
    const run = (await call(plane, ours.keys.admin, 'GET', `${API}/runs/${theirs.run}`)).body
    expect(run.items.map((item: { job_id: string }) => item.job_id)).toEqual([job.job_id])
    expect(run.jobs).toBe(1)
  })

  test('an idempotency key of theirs is free for us', async () => {
    const send = (key: string) =>
      call(plane, key, 'POST', `${API}/jobs`, { topic: 'job.try.held' }, { 'idempotency-key': 'shared' })
    const [a, b] = [await send(theirs.keys.agent), await send(ours.keys.agent)]
    expect(b.headers.get('idempotency-replayed')).toBeNull()
    expect(b.body.job_id).not.toBe(a.body.job_id)
  })

  test('a dry run does not see their snapshot', async () => {
    expectProblem(
      await call(plane, ours.keys.admin, 'POST', `${API}/policy/evaluate`, {
        job: { topic: 'job.try.held' },
        policy_snapshot: theirs.snapshot,
      }),
      'not_found',
    )
  })

  test('proofs are of the own tree only', async () => {
    const size = (await call(plane, ours.keys.admin, 'GET', `${API}/audit/head`)).body.size
    for (let index = 0; index < size; index += 7) {
      const proof = (await call(plane, ours.keys.admin, 'GET', `${API}/audit/proof/inclusion?index=${index}`)).body
      expect(JSON.parse(proof.entry).tenant).toBe('default')
    }
  })

  test('events of theirs do not come down our stream', async () => {
    const hangUp = new AbortController()
    const response = await fetch(`${plane.url}${API}/events`, {
      headers: { 'x-api-key': ours.keys.admin, 'last-event-id': '-1' },
      signal: hangUp.signal,
    })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let text = ''
    const theirJob = (await call(plane, theirs.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.try.held' })).body
      .job_id
    const ourJob = (await call(plane, ours.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.try.held' })).body.job_id
    while (!text.includes(ourJob)) text += Buffer.from((await reader.read()).value ?? []).toString()
    hangUp.abort()
    for (const mark of [theirJob, theirs.job, theirs.approval, 'agent:rival']) expect(text).not.toContain(mark)
  })
})

describe('leases of others', () => {
  const attempts: [string, (worker: string, estate: Estate) => Promise<unknown>, unknown][] = [
    [
      'heartbeat',
      async (worker, { lease }) =>
        (await call(plane, worker, 'POST', `${API}/leases/heartbeat`, { leases: [{ lease, progress: 'x' }] })).body
          .leases,
      [{ answer: 'lost', remaining_ms: 0 }],
    ],
    [
      'complete',
      async (worker, { lease }) =>
        (await call(plane, worker, 'POST', `${API}/leases/complete`, [{ lease, outcome: 'succeeded', result: 1 }])).body
          .leases,
      [{ answer: 'lost', job_id: null, status: null }],
    ],
  ]
  test.each(attempts)('%s: lost, as for a lease that nobody has', async (_, attempt, expected) => {
    const colleague = await makeKey(plane, 'worker', { principal: 'worker:colleague' })
    // Another tenant's, from ours; and another principal's of the same tenant: a lease is not theirs to end.
    for (const [worker, estate] of [
      [ours.keys.worker, theirs],
      [colleague, ours],
    ] as const) {
      expect(await attempt(worker, estate)).toMatchObject(expected as object)
      const unknown = await attempt(worker, { ...estate, lease: none(estate.lease) })
      expect(plain(JSON.stringify(await attempt(worker, estate)), estate.lease)).toBe(
        plain(JSON.stringify(unknown), none(estate.lease)),
      )
    }
    for (const estate of [ours, theirs])
      expect((await call(plane, estate.keys.admin, 'GET', `${API}/jobs/${estate.job}`)).body.status).toBe('running')
  })

  test('effects: refused', async () => {
    const colleague = await makeKey(plane, 'worker', { principal: 'worker:colleague2' })
    for (const [worker, estate] of [
      [ours.keys.worker, theirs],
      [colleague, ours],
    ] as const) {
      for (const phase of ['begin', 'commit'])
        for (const lease of [estate.lease, none(estate.lease)])
          expectProblem(
            await call(plane, worker, 'POST', `${API}/leases/effects`, { lease, key: 'a', phase }),
            'lease_lost',
          )
    }
  })

  test('a claim id of another worker gives none of its leases', async () => {
    const colleague = await makeKey(plane, 'worker', { principal: 'worker:colleague3' })
    for (const [worker, estate] of [
      [ours.keys.worker, theirs],
      [colleague, ours],
    ] as const) {
      const answer = await call(plane, worker, 'POST', `${API}/workers/claim`, {
        worker_id: 'w',
        claim_id: estate.claim,
        topics: ['job.try.nothing'],
        capacity: 10,
      })
      expect(answer.body.leases).toEqual([])
    }
  })

  test('the owner completes its own all the same', async () => {
    for (const estate of [ours, theirs]) {
      const answer = await call(plane, estate.keys.worker, 'POST', `${API}/leases/complete`, [
        { lease: estate.lease, outcome: 'succeeded', result: 1 },
      ])
      expect(answer.body.leases).toMatchObject([{ answer: 'ok', status: 'succeeded' }])
    }
  })
})

test('both logs verify by themselves, and no fault was logged', { timeout: 30_000 }, async () => {
  await verifyAudit(plane, ours.keys.admin)
  await verifyAudit(plane, theirs.keys.admin)
  expect(faultsLogged(plane)).toEqual([])
})
