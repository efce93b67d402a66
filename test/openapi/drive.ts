import { startSallyport, type TestPlane } from '../../src/testing.js'

type Role = keyof TestPlane['keys']

/** One answer of a real server, with the operation that gave it. */
export interface Seen {
  operation: string
  url: string
  status: number
  type: string
  headers: Headers
  /** Parsed where the server says JSON, else the text. */
  body: unknown
}

export interface Asked {
  as?: Role | null
  params?: Record<string, string>
  query?: Record<string, string>
  headers?: Record<string, string>
  body?: unknown
  /** Sent as it is instead of `body`. */
  raw?: string
}

/** Calls a server by method and path template, and keeps everything it answered. */
export class Driver {
  readonly seen: Seen[] = []
  readonly plane: TestPlane

  constructor(plane: TestPlane) {
    this.plane = plane
  }

  async call<T = never>(
    operation: string,
    { as = 'admin', params = {}, query, headers = {}, body, raw }: Asked = {},
  ): Promise<T> {
    const [method = '', template = ''] = operation.split(' ')
    const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ''))
    const url = `${this.plane.url}${path}${query === undefined ? '' : `?${new URLSearchParams(query)}`}`
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      headers: {
        ...(as === null ? {} : { 'x-api-key': this.plane.keys[as] }),
        ...(body === undefined && raw === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined && raw === undefined ? {} : { body: raw ?? JSON.stringify(body) }),
    })
    const type = (response.headers.get('content-type') ?? '').split(';')[0] as string
    const text = type === 'text/event-stream' ? await firstChunk(response) : await response.text()
    const answer = type.endsWith('json') ? JSON.parse(text) : text
    this.seen.push({ operation, url, status: response.status, type, headers: response.headers, body: answer })
    return answer as T
  }
}

async function firstChunk(response: Response): Promise<string> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const { value } = await reader.read()
  await reader.cancel()
  return new TextDecoder().decode(value)
}

const V1 = '/api/v1'
const ENFORCES = ['timeout_ms', 'max_output_bytes', 'allowed_hosts']
interface Named {
  job_id: string
  run_id: string
  approval_id: string
  decision_id: string
  grant_hash: string
}
interface Leases {
  leases: { lease: string; job: { job_id: string } }[]
}

/** Plays every operation at least once, and the refusals a client meets most. Returns what the server answered. */
export async function driveEverything(): Promise<{ seen: Seen[]; document: Record<string, unknown> }> {
  const plane = await startSallyport()
  try {
    const driver = new Driver(plane)
    await submits(driver)
    await approvals(driver)
    await works(driver)
    await doubts(driver)
    await policies(driver)
    await autonomy(driver)
    await stops(driver)
    await rollouts(driver)
    await drills(driver)
    await readiness(driver)
    await replays(driver)
    await keysAndAudit(driver)
    await directory(driver)
    await channels(driver)
    await people(driver)
    await refusals(driver)
    const document = await driver.call<Record<string, unknown>>('GET /openapi.json', { as: null })
    await metrics(driver)
    for (const path of ['/healthz', '/readyz', '/docs']) await driver.call(`GET ${path}`, { as: null })
    return { seen: driver.seen, document }
  } finally {
    await plane.stop()
  }
}

const read = {
  topic: 'job.repo.read',
  input: { op: 'log', limit: 20 },
  run_id: 'nightly-review',
  workflow: 'review',
  labels: { team: 'platform' },
}
const deploy = {
  topic: 'job.deploy.apply',
  labels: { env: 'prod' },
  input: { environment: 'prod', service: 'checkout', version: '1.4.2' },
}

const WHOLE_FILE = `version: v1
teams: [{ team: desk, leads: [person:desk-lead] }]
people: [{ principal: person:desk-lead, role: viewer, team: desk }]
`

/** Who there is, and what a policy would have changed. */
async function directory(driver: Driver): Promise<void> {
  const params = { principal: 'agent:desk-bot' }
  const file = { path: 'sallyport.yaml', text: WHOLE_FILE }
  await driver.call(`POST ${V1}/directory/diff`, { body: file })
  await driver.call(`POST ${V1}/directory/apply`, { body: file })
  await driver.call(`POST ${V1}/directory/apply`, { body: { ...file, text: 'version: v9' } })
  await driver.call(`GET ${V1}/teams`)
  await driver.call(`PUT ${V1}/teams/{team}`, { params: { team: 'desk' }, body: { name: 'The desk' } })
  const terms = { topics: ['job.repo.*'], data: [{ system: 'crm', tables: ['*'], access: 'read' }] }
  await driver.call(`PUT ${V1}/principals/{principal}`, { params, body: { kind: 'agent', team: 'desk', terms } })
  await driver.call(`PUT ${V1}/principals/{principal}`, { params, body: { kind: 'agent', role: 'admin' } })
  await driver.call(`GET ${V1}/principals`, { query: { limit: '2' } })
  await driver.call(`GET ${V1}/principals/{principal}`, { params })
  await driver.call(`DELETE ${V1}/principals/{principal}`, { params })
  await driver.call(`POST ${V1}/principals/{principal}/enable`, { params })
  await driver.call(`GET ${V1}/principals/{principal}`, { params: { principal: 'person:none' } })
  const text = 'version: v1\nrules: [{ id: all, match: { topic: job.> }, decision: ALLOW }]'
  await driver.call(`POST ${V1}/policy/impact`, { body: { files: [{ path: 'policy.yaml', text }], most: 50 } })
  await driver.call(`POST ${V1}/policy/rollback`)
}

/** Scenarios and what was recorded, through the active snapshot. */
async function replays(driver: Driver): Promise<void> {
  const { digest } = await driver.call<{ digest: string }>(`GET ${V1}/policy`)
  const one = '{ id: one, about: x, job: { topic: job.mail.send }, expect: DENY }'
  const scenarios = [{ path: 'one.yaml', text: `version: v1\nscenarios:\n  - ${one}\n` }]
  const body = { snapshot: digest, scenarios, recorded: {}, generated: true }
  const { replay_id } = await driver.call<{ replay_id: string }>(`POST ${V1}/replays`, { body })
  await driver.call(`POST ${V1}/replays`, { body: { snapshot: digest } })
  const params = { replay_id }
  const look = () => driver.call<{ status: string }>(`GET ${V1}/replays/{replay_id}`, { params })
  while ((await look()).status === 'running');
  await driver.call(`GET ${V1}/replays`)
  await driver.call(`GET ${V1}/replays/{replay_id}/log`, { params })
}

async function submits(driver: Driver): Promise<void> {
  const headers = { 'idempotency-key': 'review-2026-07-01' }
  const body = { ...read, context: { asked_by: 'nightly' } }
  const job = await driver.call<Named>(`POST ${V1}/jobs`, { as: 'agent', body, headers })
  const params = { ...job }
  await driver.call(`POST ${V1}/jobs`, { as: 'agent', body, headers })
  await driver.call(`POST ${V1}/jobs`, { as: 'agent', body: read, headers })
  await driver.call(`POST ${V1}/jobs`, { as: 'agent', body: { topic: 'job.mail.send', input: { to: 'someone' } } })
  const jobs = [{ ...read, idempotency_key: 'item-1' }, { topic: 'job.mail.send' }]
  await driver.call(`POST ${V1}/jobs/batch`, { as: 'agent', body: { jobs } })
  const query = { limit: '1', status: 'queued' }
  const page = await driver.call<{ items: { input_ptr: string }[] }>(`GET ${V1}/jobs`, { query })
  await driver.call(`GET ${V1}/jobs/{job_id}`, { as: 'agent', params })
  await driver.call(`GET ${V1}/jobs/{job_id}/timeline`, { params })
  await driver.call(`GET ${V1}/jobs/{job_id}/result`, { params })
  await driver.call(`GET ${V1}/runs/{run_id}`, { params })
  await driver.call(`GET ${V1}/runs/{run_id}/timeline`, { params, query: { limit: '2' } })
  await driver.call(`GET ${V1}/pointers/{ptr}`, { params: { ptr: page.items[0]?.input_ptr as string } })
  await driver.call(`GET ${V1}/decisions/{decision_id}`, { params })
}

const UNKNOWN = '0'.repeat(43)

/** Accounts and the pages to sign on. Where people sign on at a provider, its pages lead somewhere; here they say that there is none. */
async function people(driver: Driver): Promise<void> {
  const params = { principal: 'person:ada' }
  const body = { kind: 'person', role: 'approver', name: 'Ada', email: 'ada@example.com' }
  await driver.call(`PUT ${V1}/principals/{principal}`, { params, body })
  await driver.call(`GET ${V1}/session`)
  await driver.call(`POST ${V1}/accounts/{principal}/invite`, { params: { principal: 'person:nobody' } })
  const { link } = await driver.call<{ link: string }>(`POST ${V1}/accounts/{principal}/invite`, { params })
  const token = link.slice(-43)
  const password = 'a password of this test'
  const changed = { old_password: password, password: 'another of this test' }
  await driver.call(`POST ${V1}/session/password`, { body: changed })
  await driver.call('GET /invitations/{token}', { as: null, params: { token } })
  await driver.call('GET /invitations/{token}', { as: null, params: { token: UNKNOWN } })
  const page = await driver.call<string>('GET /sign-on', { as: null })
  const form = /name="form" value="([^"]+)"/.exec(page)?.[1] ?? ''
  const cookie = (driver.seen.at(-1)?.headers.getSetCookie()[0] ?? '').split(';')[0] as string
  const fields = (more: Record<string, string>) => ({
    as: null,
    raw: new URLSearchParams({ form, ...more }).toString(),
    headers: { cookie, 'content-type': 'application/x-www-form-urlencoded' },
  })
  const choice = { password, again: password }
  await driver.call('POST /invitations/{token}', { params: { token }, ...fields({ password: 'x', again: 'x' }) })
  await driver.call('POST /invitations/{token}', { params: { token }, ...fields(choice) })
  await driver.call('POST /sign-on', fields({ name: 'ada', password: 'not this one' }))
  await driver.call('POST /sign-on', fields({ name: 'ada', password, form: UNKNOWN }))
  await driver.call('POST /sign-on', fields({ name: 'ada', password }))
  const session = driver.seen
    .at(-1)
    ?.headers.getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ') as string
  const { csrf } = await driver.call<{ csrf: string }>(`GET ${V1}/session`, { as: null, headers: { cookie: session } })
  const headers = { cookie: session, 'x-csrf-token': csrf }
  await driver.call(`POST ${V1}/session/password`, { as: null, headers: { cookie: session }, body: changed })
  await driver.call(`POST ${V1}/session/password`, { as: null, headers, body: changed })
  await driver.call('POST /sign-off', { as: null, headers })
  await driver.call('GET /sign-on/oidc', { as: null })
  await driver.call('GET /sign-on/callback', { as: null, query: { code: 'x', state: 'y' } })
  await driver.call(`DELETE ${V1}/accounts/{principal}`, { params })
}

async function channels(driver: Driver): Promise<void> {
  const params = { channel: 'siem', delivery_id: 'dlv_00000000000000000000000000', token: 'nothing' }
  const settings = { url: 'https://siem.example.com/', secret_env: 'SALLYPORT_CHANNEL_NOT_SET' }
  const body = { kind: 'webhook', settings, events: ['policy.activated'] }
  await driver.call(`PUT ${V1}/channels/{channel}`, { params, body })
  await driver.call(`PUT ${V1}/channels/{channel}`, { params, body: { ...body, settings: { ...settings, url: 'x' } } })
  await driver.call(`GET ${V1}/channels`)
  await driver.call(`GET ${V1}/channels/{channel}`, { params })
  await driver.call(`POST ${V1}/channels/{channel}/test`, { params })
  await driver.call(`GET ${V1}/deliveries`, { query: { status: 'dead', channel: 'siem' } })
  await driver.call(`GET ${V1}/deliveries/{delivery_id}`, { params })
  await driver.call(`POST ${V1}/deliveries/{delivery_id}/retry`, { params })
  await driver.call(`DELETE ${V1}/channels/{channel}`, { params })
  await driver.call('POST /slack/{tenant}/{channel}', {
    as: null,
    params: { tenant: 'default', channel: 'siem' },
    raw: 'payload={}',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  await driver.call('GET /links/{token}', { as: null, params })
  await driver.call('POST /links/{token}', { as: null, params, body: { answer: 'approve' } })
}

async function approvals(driver: Driver): Promise<void> {
  const submit = (version: string) =>
    driver.call<Named>(`POST ${V1}/jobs`, { as: 'agent', body: { ...deploy, input: { ...deploy.input, version } } })
  const [first, second] = [await submit('1.4.2'), await submit('1.4.3')]
  await driver.call(`GET ${V1}/approvals`, { as: 'approver', query: { status: 'pending' } })
  await driver.call(`GET ${V1}/approvals/{approval_id}`, { as: 'approver', params: { ...first } })
  const saw = { grant_hash: first.grant_hash, note: 'change 4711' }
  const stale = { grant_hash: second.grant_hash }
  const approve = `POST ${V1}/approvals/{approval_id}/approve`
  await driver.call(approve, { as: 'approver', params: { ...first }, body: stale })
  await driver.call(approve, { as: 'approver', params: { ...first }, body: saw })
  await driver.call(approve, { as: 'approver', params: { ...first }, body: saw })
  await driver.call(`POST ${V1}/approvals/{approval_id}/reject`, {
    as: 'approver',
    params: { ...second },
    body: { reason: 'freeze until Monday' },
  })
  await driver.call(`POST ${V1}/jobs/{job_id}/cancel`, {
    as: 'agent',
    params: { ...first },
    body: { reason: 'no longer wanted' },
  })
  await flows(driver, submit)
}

async function flows(driver: Driver, submit: (version: string) => Promise<Named>): Promise<void> {
  const [edited, sentBack] = [await submit('1.4.4'), await submit('1.4.5')]
  const input = { ...deploy.input, version: '1.4.6' }
  const edit = `POST ${V1}/approvals/{approval_id}/edit`
  const saw = { grant_hash: edited.grant_hash, input }
  await driver.call(edit, {
    as: 'approver',
    params: { ...edited },
    body: { ...saw, input: deploy.input, grant_hash: sentBack.grant_hash },
  })
  await driver.call(edit, { as: 'approver', params: { ...edited }, body: saw })
  await driver.call(`GET ${V1}/approvals/{approval_id}`, { as: 'approver', params: { ...edited } })
  const body = { reason: 'name the ticket in context' }
  await driver.call(`POST ${V1}/approvals/{approval_id}/request-changes`, {
    as: 'approver',
    params: { ...sentBack },
    body,
  })
  await driver.call(`GET ${V1}/jobs/{job_id}`, { as: 'agent', params: { ...sentBack } })
  await driver.call(`GET ${V1}/approvals`, { as: 'approver', query: { mine: 'true' } })

  const granted = {
    agent: 'agent:first',
    topic: 'job.never.*',
    uses: 3,
    expires_at: Date.now() + 3_600_000,
    reason: 'routine',
  }
  const grant = await driver.call<{ grant_id: string }>(`POST ${V1}/grants`, { as: 'approver', body: granted })
  await driver.call(`POST ${V1}/grants`, { as: 'approver', body: { ...granted, when: 'input.' } })
  await driver.call(`GET ${V1}/grants`, { as: 'approver' })
  await driver.call(`GET ${V1}/grants/{grant_id}`, { as: 'approver', params: grant })
  await driver.call(`DELETE ${V1}/grants/{grant_id}`, { as: 'approver', params: grant })
  const absence = { from: Date.now(), until: Date.now() + 1000 }
  await driver.call(`PUT ${V1}/absences/{principal}`, {
    as: 'approver',
    params: { principal: 'approver:first' },
    body: absence,
  })
  await driver.call(`PUT ${V1}/absences/{principal}`, {
    as: 'approver',
    params: { principal: 'admin:first' },
    body: absence,
  })
  await driver.call(`GET ${V1}/absences`)
  const back = { from: 0, until: 0 }
  await driver.call(`PUT ${V1}/absences/{principal}`, {
    as: 'approver',
    params: { principal: 'approver:first' },
    body: back,
  })
}

const call = {
  topic: 'job.integrations.call',
  input: { url: 'https://api.github.com/repos' },
  timeout_ms: 15_000,
  max_attempts: 1,
}

/** Takes a job as a worker, a new one unless one waits already. */
async function lease(driver: Driver, waiting?: string): Promise<{ lease: string; job_id: string }> {
  const { job_id } = waiting
    ? { job_id: waiting }
    : await driver.call<Named>(`POST ${V1}/jobs`, { as: 'agent', body: call })
  const claim = {
    worker_id: 'worker-1',
    claim_id: `claim-${driver.seen.length}-${job_id}`,
    topics: [call.topic],
    capacity: 1,
    wait_ms: 20_000,
    enforces: ENFORCES,
  }
  const { leases } = await driver.call<Leases>(`POST ${V1}/workers/claim`, { as: 'worker', body: claim })
  return { lease: leases[0]?.lease as string, job_id }
}

async function works(driver: Driver): Promise<void> {
  const complete = (body: unknown) => driver.call(`POST ${V1}/leases/complete`, { as: 'worker', body: [body] })
  const clean = await lease(driver)
  const beat = { leases: [{ lease: clean.lease, progress: { done: 3, of: 10 } }] }
  await driver.call(`POST ${V1}/leases/heartbeat`, { as: 'worker', body: beat })
  const effect = { lease: clean.lease, key: 'call' }
  await driver.call(`POST ${V1}/leases/effects`, { as: 'worker', body: { ...effect, phase: 'begin' } })
  await driver.call(`GET ${V1}/jobs/{job_id}`, { params: { job_id: clean.job_id } })
  await driver.call(`POST ${V1}/leases/effects`, {
    as: 'worker',
    body: { ...effect, phase: 'commit', result: { status: 200 } },
  })
  await complete({
    lease: clean.lease,
    outcome: 'succeeded',
    result: { status: 200, text: 'write to jane.doe@example.com' },
    usage: { tokens: 812, cost: 0.004 },
  })
  await driver.call(`GET ${V1}/jobs/{job_id}/result`, { as: 'agent', params: { job_id: clean.job_id } })
  const key =
    '-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7d1Qf0u0t6mT0Zc0b7t1m0j0Yy9k0R3m1q7W8v5c2n4x6z8A\n-----END RSA PRIVATE KEY-----'
  for (const what of ['release', 'discard']) {
    const held = await lease(driver)
    await complete({ lease: held.lease, outcome: 'succeeded', result: { text: key } })
    await driver.call(`GET ${V1}/jobs/{job_id}/result`, { as: 'agent', params: { job_id: held.job_id } })
    await driver.call(`POST ${V1}/jobs/{job_id}/result/${what}`, {
      as: 'approver',
      params: { job_id: held.job_id },
      body: { note: 'looked at it' },
    })
  }
  const error = { class: 'terminal', code: 'http_404', message: 'no such repository' }
  const dead = await lease(driver)
  await complete({ lease: dead.lease, outcome: 'failed', error })
  await driver.call(`GET ${V1}/dead-letters`, {})
  await driver.call(`POST ${V1}/dead-letters/{job_id}/replay`, {
    params: { job_id: dead.job_id },
    body: { note: 'the repository is back' },
  })
  const given = await lease(driver, dead.job_id)
  await complete({ lease: given.lease, outcome: 'failed', error })
  await driver.call(`POST ${V1}/dead-letters/{job_id}/discard`, {
    params: { job_id: given.job_id },
    body: { reason: 'not needed any more' },
  })
  await driver.call(`POST ${V1}/dead-letters/{job_id}/discard`, {
    params: { job_id: given.job_id },
    body: { reason: 'again' },
  })
}

async function doubts(driver: Driver): Promise<void> {
  const open = await lease(driver)
  await driver.call(`POST ${V1}/leases/effects`, {
    as: 'worker',
    body: { lease: open.lease, key: 'call', phase: 'begin' },
  })
  const error = { class: 'transient', code: 'timeout', message: 'no answer' }
  await driver.call(`POST ${V1}/leases/complete`, {
    as: 'worker',
    body: [{ lease: open.lease, outcome: 'failed', error }],
  })
  const said = { effect_key: 'call', note: 'seen in the log of the other side' }
  const resolve = `POST ${V1}/jobs/{job_id}/resolve`
  const params = { job_id: open.job_id }
  await driver.call(resolve, { params, body: { ...said, happened: false } })
  await driver.call(resolve, { params, body: { ...said, happened: true, result: { status: 201 } } })
  await driver.call(`POST ${V1}/leases/effects`, {
    as: 'worker',
    body: { lease: open.lease, key: 'more', phase: 'begin' },
  })
}

const POLICY = `version: v1
default_decision: DENY
rules:
  - id: allow-read-only
    match: { topic: job.repo.read }
    decision: ALLOW
    reason: read-only operation
`

async function policies(driver: Driver): Promise<void> {
  const { policy_snapshot: id } = await driver.call<{ policy_snapshot: string }>(`GET ${V1}/policy`)
  await driver.call(`GET ${V1}/policy/snapshots/{id}`, { params: { id } })
  await driver.call(`POST ${V1}/policy/evaluate`, { as: 'agent', body: { job: deploy } })
  const files = [{ path: 'policy.yaml', text: POLICY }]
  await driver.call(`POST ${V1}/policy/snapshots`, { body: { files, note: 'reads only' } })
  const broken = [{ path: 'policy.yaml', text: POLICY.replace('decision: ALLOW', 'decisin: ALLOW') }]
  await driver.call(`POST ${V1}/policy/snapshots`, { body: { files: broken } })
  await driver.call(`GET ${V1}/policy/snapshots`)
  await driver.call(`POST ${V1}/policy/snapshots/{id}/activate`, { params: { id } })
}

async function autonomy(driver: Driver): Promise<void> {
  const params = { agent: 'agent:shadowed' }
  const of = `${V1}/agents/{agent}/autonomy`
  await driver.call(`GET ${of}`, { params })
  await driver.call(`PUT ${V1}/principals/{principal}`, {
    params: { principal: params.agent },
    body: { kind: 'agent' },
  })
  await driver.call(`PUT ${of}`, { params, body: { stage: 'supervised', spot_check: 5, least: 2, most: 20 } })
  await driver.call(`PUT ${of}`, { params, body: { stage: 'supervised', spot_check: 3 } })
  await driver.call(`POST ${of}/promote`, { params, body: { to: 'assisted' } })
  await driver.call(`POST ${of}/confirm`, { params, body: {} })
  await driver.call(`POST ${of}/demote`, { params, body: { to: 'shadow', note: 'wrong orders' } })
  await driver.call(`GET ${of}`, { params })
  await driver.call(`GET ${V1}/autonomy`)
  await driver.call(`GET ${V1}/workflows`)
  for (const step of ['open', 'close'])
    await driver.call(`POST ${V1}/workflows/{workflow}/${step}`, { params: { workflow: 'none' } })
  await driver.call(`GET ${V1}/reviews/load`, { query: { days: '7' } })
}

async function stops(driver: Driver): Promise<void> {
  const body = { scope: { topic: 'job.halted.*' }, reason: 'it pays twice', wait_ms: 0 }
  const stop = await driver.call<{ stop_id: string }>(`POST ${V1}/stops`, { body })
  await driver.call(`GET ${V1}/stops`, { query: { active: 'true' } })
  await driver.call(`GET ${V1}/stops/{stop_id}`, { params: { ...stop } })
  await driver.call(`POST ${V1}/jobs`, { as: 'agent', body: { topic: 'job.halted.pay' } })
  const resume = { stage: 'trial', note: 'mended' }
  for (let n = 0; n < 2; n++)
    await driver.call(`POST ${V1}/stops/{stop_id}/resume`, { params: { ...stop }, body: resume })
  await driver.call(`GET ${V1}/breakers`)
  await driver.call(`POST ${V1}/breakers/{agent}/close`, { params: { agent: 'agent:support-bot' } })
}

async function rollouts(driver: Driver): Promise<void> {
  const gate = { window: '1d', checks: { success_rate_pct: { target_gte: 99 } } }
  const declaration = {
    rollout: 'review-bot-2',
    subject: { kind: 'agent', name: 'agent:review-bot', candidate: '2.0', stable: '1.9' },
    owners: { reliability: 'sre', governance: 'governance', cost: 'finops' },
    stakeholders: ['team:platform'],
    phases: [
      { name: 'half', share: 50, risk: 'mixed', min_duration: '1h', gate },
      { name: 'all', share: 100, risk: 'mixed', min_duration: '1h', gate },
    ],
  }
  const post = (step: string, params: Record<string, string>, body?: object) =>
    driver.call(`POST ${V1}/rollouts/{rollout_id}/${step}`, { params, ...(body === undefined ? {} : { body }) })
  const declare = () => driver.call<{ rollout_id: string }>(`POST ${V1}/rollouts`, { body: { declaration } })
  const params = { ...(await declare()) }
  await driver.call(`POST ${V1}/rollouts`, { body: { declaration: { ...declaration, phases: [] } } })
  await driver.call(`GET ${V1}/rollouts`, { query: { status: 'draft' } })
  await driver.call(`GET ${V1}/rollouts/{rollout_id}`, { params })
  await post('start', params)
  await post('pause', params, { reason: 'the bank is down' })
  await post('resume', params)
  await driver.call(`GET ${V1}/rollouts/{rollout_id}/assignment`, { params, query: { key: 'nightly-review' } })
  const asked = await driver.call<{ seal: { evidence_hash: string } }>(`POST ${V1}/rollouts/{rollout_id}/gate`, {
    params,
  })
  await driver.call(`POST ${V1}/rollouts/{rollout_id}/gate`, { params, body: { form: 'launch' } })
  await driver.call(`GET ${V1}/rollouts/{rollout_id}/evidence`, { params, query: { limit: '5' } })
  await driver.call(`GET ${V1}/evidence/{evidence_hash}`, { params: { ...asked.seal } })
  const week = { review: 'week', clean: true, critical_incidents: 0, note: 'quiet' }
  await driver.call(`POST ${V1}/rollouts/{rollout_id}/reviews`, { as: 'approver', params, body: week })
  await driver.call(`POST ${V1}/rollouts/{rollout_id}/reviews`, { params, body: { review: 'signature', phase: 0 } })
  await driver.call(`GET ${V1}/rollouts/{rollout_id}/reviews`, { params })
  await post('promote', params, { evidence_hash: '0'.repeat(64) })
  await post('override', params, { reason: 'the meter was replaced' })
  await post('override', params, { reason: 'and again by the same' })
  await driver.call(`GET ${V1}/rollouts/{rollout_id}/report`, { params })
  await post('roll-back', params, { reason: 'it quotes prices of last year' })
  await post('start', params)
  await driver.call(`GET ${V1}/rollouts/{rollout_id}/report`, { params })
  await driver.call(`GET ${V1}/rollouts/{rollout_id}/report.md`, { params })
  await post('compensations/retry', params, {})
  await post('compensations/settle', params, {
    job_id: 'job_01m7vps2w4k8r1y6t3z9b5n7qc',
    effect_key: 'e',
    note: 'by hand',
  })
}

async function readiness(driver: Driver): Promise<void> {
  const body = { subject: 'on_call_runbook', note: 'read it with those on call' }
  await driver.call(`POST ${V1}/readiness/attestations`, { as: 'approver', body })
  await driver.call(`POST ${V1}/readiness/attestations`, { body: { ...body, expires_at: 1 } })
  await driver.call(`GET ${V1}/readiness`)
}

async function drills(driver: Driver): Promise<void> {
  const params = { drill: 'deny' }
  await driver.call(`PUT ${V1}/drills/{drill}`, { params, body: { owner: 'team:sre' } })
  const report = { took_ms: 1, made: {}, checks: [{ name: 'it was tried', pass: true, detail: '' }] }
  await driver.call(`POST ${V1}/drills/{drill}/runs`, { params, body: report })
  await driver.call(`GET ${V1}/drills`)
  await driver.call(`GET ${V1}/drills/{drill}`, { params, query: { limit: '5' } })
}

async function keysAndAudit(driver: Driver): Promise<void> {
  const body = { role: 'worker', principal: 'worker:builds', topics: ['job.build.>'], note: 'build machines' }
  const key = await driver.call<{ key_id: string }>(`POST ${V1}/keys`, { body })
  await driver.call(`GET ${V1}/keys`, { query: { due: 'true', limit: '5' } })
  await driver.call(`GET ${V1}/keys`)
  await driver.call(`POST ${V1}/keys/{key_id}/rotate`, { params: { ...key }, body: { overlap: 60_000 } })
  await driver.call(`POST ${V1}/keys/{key_id}/rotate`, { params: { ...key } })
  await driver.call(`POST ${V1}/tokens`, { as: 'agent', body: { minutes: 5, run_id: 'nightly-review' } })
  await driver.call(`POST ${V1}/tokens`, { as: 'agent', body: { minutes: 5, permissions: ['keys:write'] } })
  await driver.call('GET /.well-known/jwks.json', { as: null })
  await driver.call(`DELETE ${V1}/keys/{key_id}`, { params: { ...key } })
  await driver.call(`GET ${V1}/events`, { headers: { 'last-event-id': '-1' } })
  const head = await driver.call<{ size: number }>(`GET ${V1}/audit/head`)
  const size = String(head.size)
  await driver.call(`GET ${V1}/audit`, { query: { limit: '2', kind: 'job.submitted' } })
  await driver.call(`GET ${V1}/audit/proof/inclusion`, { query: { index: '0', size } })
  await driver.call(`GET ${V1}/audit/proof/consistency`, { query: { from: '1', to: size } })
  await driver.call(`GET ${V1}/audit/export`)
}

async function metrics(driver: Driver): Promise<void> {
  await driver.call(`GET ${V1}/measurements`, { query: { window: '1h' } })
  await driver.call(`GET ${V1}/topics`)
  await driver.call('GET /metrics', { as: null })
  await driver.call('GET /metrics', { as: 'worker' })
  const success = { metric: 'success-rate' }
  await driver.call('GET /metrics/{metric}', { as: null, params: success })
  await driver.call('GET /metrics/{metric}', { as: null, params: { metric: 'no-such-metric' } })
  await driver.call('GET /metrics/{metric}', { as: 'worker', params: success })
  await driver.call('GET /metrics/{metric}', { params: success, query: { window: 'soon' } })
  await driver.call('GET /metrics/{metric}', { params: success, headers: { 'x-api-key': 'sp_none' } })
}

async function refusals(driver: Driver): Promise<void> {
  const submit = `POST ${V1}/jobs`
  const params = { job_id: 'job_01m7vps2s1p9v28j62q3dmz1s8' }
  await driver.call(submit, { as: null, body: read })
  await driver.call(submit, { as: 'worker', body: read })
  await driver.call(submit, { as: 'agent', raw: '{"topic": "a", "topic": "b"}' })
  await driver.call(submit, { as: 'agent', raw: 'topic: a', headers: { 'content-type': 'text/yaml' } })
  await driver.call(submit, { as: 'agent', body: { topic: 'Job.X', labels: { 'a b': 'c' }, more: 1 } })
  await driver.call(submit, { as: 'agent', body: { ...read, agent: 'agent:other' } })
  await driver.call(submit, { as: 'agent', body: read, headers: { 'x-tenant-id': 'other' } })
  await driver.call(submit, { as: 'agent', body: { ...read, input: 'x'.repeat(3 * 1024 * 1024) } })
  await driver.call(`GET ${V1}/jobs/{job_id}`, { params })
  await driver.call(`GET ${V1}/jobs`, { query: { limit: '0' } })
}
