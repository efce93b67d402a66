import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { writeRefusals } from '../../src/journey/sweep.js'
import { type Plane, start } from '../../src/main.js'
import { manualClock } from '../../src/platform/clock.js'
import { silentLog } from '../../src/platform/log.js'
import { createClient } from '../../src/sdk/client.js'
import { proves } from '../requirements.js'
import { database, signingKeyFile } from '../support/engines.js'
import { API, call, expectProblem, expectStanding, makeKey, makeTenant, startTarget, type Target } from './attacker.js'

/** Tokens as an attacker would have them: altered, made up, kept too long, carried elsewhere. Each is answered like a wrong key. */

const POLICY = 'version: v1\ndefault_decision: ALLOW\nrules: []\n'
const clock = manualClock(Date.now())
const realAfter = (ms: number, fn: () => void) => {
  const timer = setTimeout(fn, ms)
  timer.unref()
  return () => clearTimeout(timer)
}

let plane: Target
beforeAll(async () => {
  plane = await startTarget(POLICY, { clock: { ...clock, after: realAfter } })
})
afterAll(() => plane?.stop())

const mint = async (key = plane.keys.agent, body: object = {}) =>
  (await call(plane, key, 'POST', `${API}/tokens`, { minutes: 5, ...body })).body
const ask = (text: string, headers: Record<string, string> = {}) =>
  call(plane, text, 'GET', `${API}/jobs`, undefined, headers)
const parts = (token: string) =>
  token
    .split('.')
    .slice(0, 2)
    .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString())) as [object, object]
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const unsigned = (header: object, claims: object) => `${b64(header)}.${b64(claims)}`
const signed = (header: object, claims: object, by: KeyObject) => {
  const text = unsigned(header, claims)
  return `${text}.${sign(null, Buffer.from(text), by).toString('base64url')}`
}
/** How often the log says that something in this key's name was refused. */
async function refusals(key: string): Promise<number> {
  await writeRefusals(plane.world, true)
  const { items } = (await call(plane, plane.keys.admin, 'GET', `${API}/audit?kind=key.refused&limit=500`)).body
  return (items as { facts: { key_id: string; count?: number } }[])
    .filter(({ facts }) => facts.key_id === `key_${key.slice(3, 29)}`)
    .reduce((n, { facts }) => n + (facts.count ?? 1), 0)
}

describe(`${proves('S3')} tokens that open nothing`, () => {
  type Forge = (header: object, claims: object, token: string) => string | Promise<string>
  const own = () => plane.world.tokens.privateKey
  const forgeries: [string, Forge][] = [
    [
      'another principal',
      (header, claims, token) => `${unsigned(header, { ...claims, sub: 'admin:first' })}.${token.split('.')[2]}`,
    ],
    ['more minutes', (header, claims, token) => `${unsigned(header, { ...claims, exp: 9e9 })}.${token.split('.')[2]}`],
    [
      'no bounds',
      (header, claims, token) => `${unsigned(header, { ...claims, topics: undefined })}.${token.split('.')[2]}`,
    ],
    ['alg none, no signature', (_, claims) => `${unsigned({ alg: 'none', typ: 'JWT' }, claims)}.`],
    [
      'alg none, the signature of before',
      (header, claims, token) => `${unsigned({ ...header, alg: 'none' }, claims)}.${token.split('.')[2]}`,
    ],
    [
      'HS256 with the published key',
      async (header, claims) => {
        const { x } = ((await call(plane, null, 'GET', '/.well-known/jwks.json')).body.keys as { x: string }[])[0] as {
          x: string
        }
        const text = unsigned({ ...header, alg: 'HS256' }, claims)
        return `${text}.${createHmac('sha256', Buffer.from(x, 'base64url')).update(text).digest('base64url')}`
      },
    ],
    ['a key of the attacker', (header, claims) => signed(header, claims, generateKeyPairSync('ed25519').privateKey)],
    [
      'the key that signs the log',
      (header, claims) =>
        signed(header, claims, createPrivateKey(readFileSync(join(plane.dataDir, 'signing.key'), 'utf8'))),
    ],
    ['another audience', (header, claims) => signed(header, { ...claims, aud: 'sallyport-console' }, own())],
    ['another tenant in it', (header, claims) => signed(header, { ...claims, iss: 'sallyport/other' }, own())],
    ['another principal in it', (header, claims) => signed(header, { ...claims, sub: 'admin:first' }, own())],
    ['over', (header, claims) => signed(header, { ...claims, iat: 1, nbf: 1, exp: 2 }, own())],
  ]

  test.each(forgeries)('%s', async (_, forge) => {
    clock.advance(60_000)
    const { token } = await mint(plane.keys.agent, { topics: ['job.a'] })
    expect((await ask(token)).status).toBe(200)
    const before = await refusals(plane.keys.agent)
    const forged = await forge(...parts(token), token)
    const answer = await ask(forged)
    expectProblem(answer, 'unauthenticated')
    expectProblem(
      await call(plane, null, 'GET', `${API}/jobs`, undefined, { authorization: `Bearer ${forged}` }),
      'unauthenticated',
    )
    // The very words of a wrong key.
    const { request_id: _1, ...words } = answer.body
    const { request_id: _2, ...wrong } = (await ask(`sp_${'0'.repeat(26)}_${'x'.repeat(43)}`)).body
    expect(words).toEqual(wrong)
    await expect.poll(() => refusals(plane.keys.agent)).toBeGreaterThanOrEqual(before + 2)
    for (const text of [answer.text, plane.logged.join('\n')]) expect(text).not.toContain(forged.split('.')[1])
  })

  test('past its minutes, though it was good a moment ago', async () => {
    const { token, expires_at } = await mint()
    expect((await ask(token)).status).toBe(200)
    clock.advance(expires_at + 5_000 - clock.now())
    expectProblem(await ask(token), 'unauthenticated')
  })

  test('of another tenant: it is of its own tenant or nothing', async () => {
    await makeTenant(plane, 'other', POLICY)
    const theirs = await makeKey(plane, 'agent', { tenant: 'other', principal: 'agent:theirs' })
    const { token } = await mint(theirs)
    expect((await ask(token, { 'x-tenant-id': 'other' })).status).toBe(200)
    expectProblem(await ask(token, { 'x-tenant-id': 'default' }), 'forbidden')
    // A job of the default tenant is not there for it.
    const { job_id } = (await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.a' })).body
    expectProblem(await call(plane, token, 'GET', `${API}/jobs/${job_id}`), 'not_found')
  })

  test('for more than its key: refused, and in the log', async () => {
    const key = await makeKey(plane, 'agent', { principal: 'agent:climber', topics: ['job.a.*'] })
    for (const body of [{ topics: ['job.b'] }, { topics: ['job.>'] }, { permissions: ['keys:write'] }]) {
      const answer = await call(plane, key, 'POST', `${API}/tokens`, { minutes: 5, ...body })
      expectProblem(answer, 'forbidden')
    }
    for (const minutes of [0, 61, 1.5, '5', null])
      expectProblem(await call(plane, key, 'POST', `${API}/tokens`, { minutes }), 'invalid')
    const { token } = await mint(key)
    expectProblem(await call(plane, token, 'POST', `${API}/tokens`, { minutes: 5 }), 'forbidden')
    await expect.poll(() => refusals(key)).toBe(4)
  })
})

describe(`${proves('S3')} a token opens what it was minted for`, () => {
  test('its topics, its run, its permissions', async () => {
    const { token } = await mint(plane.keys.agent, {
      topics: ['job.a.*'],
      run_id: 'run-7',
      permissions: ['jobs:submit'],
    })
    const submit = (topic: string, run_id?: string) => call(plane, token, 'POST', `${API}/jobs`, { topic, run_id })
    expect((await submit('job.a.x', 'run-7')).body.run_id).toBe('run-7')
    expectProblem(await submit('job.b.x', 'run-7'), 'topic_refused')
    expectProblem(await submit('job.a.x', 'run-8'), 'run_refused')
    expectProblem(await submit('job.a.x'), 'run_refused')
    expectProblem(await ask(token), 'forbidden')
    const batch = { jobs: [{ topic: 'job.a.x', run_id: 'run-7' }, { topic: 'job.a.x' }] }
    const items = (await call(plane, token, 'POST', `${API}/jobs/batch`, batch)).body.items
    expect(items.map((item: { status: number }) => item.status)).toEqual([202, 403])
  })

  test('anybody may check it by the published key, and by nothing of what signs the log', async () => {
    const { token } = await mint()
    const answer = await call(plane, null, 'GET', '/.well-known/jwks.json')
    expect(answer.headers.get('cache-control')).toBe('public, max-age=3600')
    const jwks = createRemoteJWKSet(new URL(`${plane.url}/.well-known/jwks.json`))
    const { payload } = await jwtVerify(token, jwks, {
      audience: 'sallyport',
      issuer: 'sallyport/default',
      currentDate: new Date(clock.now()),
    })
    expect(payload.sub).toBe('agent:first')
    const shown = () => call(plane, plane.keys.admin, 'GET', `${API}/audit/head`)
    // The first head is signed within a second of the first entry.
    await expect.poll(async () => (await shown()).status, { timeout: 5000 }).toBe(200)
    const head = (await shown()).body
    expect(answer.text).not.toContain(
      Buffer.from(head.public_key.split('+').at(-1), 'base64').subarray(1).toString('base64url'),
    )
    expect(Object.keys(answer.body.keys[0]).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x'])
  })

  test('a client of the SDK works by it as by a key, and a worker is leased its topics', async () => {
    const agent = createClient({ url: plane.url, apiKey: plane.keys.agent })
    const { token } = await agent.tokens.create({ minutes: 5 })
    const { job_id } = await createClient({ url: plane.url, apiKey: token }).jobs.submit({ topic: 'job.sdk.x' })
    const worker = createClient({ url: plane.url, apiKey: plane.keys.worker })
    const narrow = createClient({
      url: plane.url,
      apiKey: (await worker.tokens.create({ minutes: 5, topics: ['job.sdk.*'] })).token,
    })
    const claim = { worker_id: 'worker-1', claim_id: 'claim-by-token', topics: ['job.sdk.x'], capacity: 1 }
    const [lease] = (await narrow.worker.claim(claim)).leases
    expect(lease?.job.job_id).toBe(job_id)
    await expect(narrow.worker.claim({ ...claim, claim_id: 'claim-more', topics: ['job.a.x'] })).rejects.toMatchObject({
      code: 'topic_refused',
    })
    expect(
      (await narrow.worker.complete([{ lease: lease?.lease as string, outcome: 'succeeded' }])).leases[0]?.answer,
    ).toBe('ok')
  })
})

test('after all of it: it lives, serves, logged no fault, and the audit verifies', { timeout: 30_000 }, () =>
  expectStanding(plane),
)

describe(`${proves('S2', 'S3')} two nodes on one database`, () => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-tokens-'))
  const nodes: Plane[] = []
  let [here, there] = [] as unknown as [Plane, Plane]
  let admin = ''
  beforeAll(async () => {
    const url = await database()
    const signing = signingKeyFile(join(dir, 'signing.key'))
    for (const name of ['a', 'b']) {
      const env = { SALLYPORT_DATABASE_URL: url, SALLYPORT_SIGNING_KEY: signing }
      const config = loadConfig(env, { dataDir: join(dir, name), port: 0, logLevel: 'silent' })
      nodes.push(await start(config, { thread: false, log: silentLog }))
    }
    ;[here, there] = nodes as [Plane, Plane]
    admin = readFileSync(here.keyFiles.admin as string, 'utf8').trim()
    const client = createClient({ url: here.url, apiKey: admin })
    await client.policy.create({ files: [{ path: 'policy.yaml', text: POLICY }], activate: true })
  }, 60_000)
  afterAll(async () => {
    for (const node of nodes) await node.stop()
    rmSync(dir, { recursive: true, force: true })
  })

  const made = async (role: string, more: object = {}) =>
    (await call(here, admin, 'POST', `${API}/keys`, { role, ...more })).body as { key: string; key_id: string }
  const submit = (node: Plane, key: string) => call(node, key, 'POST', `${API}/jobs`, { topic: 'job.a' })

  test('a token minted on one opens the other; revoked here, key and token do nothing there from the answer on', async () => {
    for (let round = 0; round < 10; round++) {
      const { key, key_id } = await made('agent')
      const { token } = (await call(here, key, 'POST', `${API}/tokens`, { minutes: 5 })).body
      // There both are known, and in memory as ones that stand.
      for (const text of [key, token]) expect((await submit(there, text)).status).toBe(202)
      expect((await call(here, admin, 'DELETE', `${API}/keys/${key_id}`)).status).toBe(200)
      const after = await Promise.all([key, token, key, token].map((text) => submit(there, text)))
      expect(after.map((answer) => answer.status)).toEqual([401, 401, 401, 401])
      expect((await call(there, key, 'POST', `${API}/tokens`, { minutes: 5 })).status).toBe(401)
      // And reads nothing more within the second that a node may go without asking.
      await expect
        .poll(async () => (await call(there, token, 'GET', `${API}/jobs`)).status, { timeout: 2_000 })
        .toBe(401)
    }
  })

  test('an admin key that is revoked here makes and rotates no key there', async () => {
    const { key, key_id } = await made('admin', { principal: 'admin:eve' })
    const victim = await made('viewer')
    expect((await call(there, key, 'GET', `${API}/keys`)).status).toBe(200)
    await call(here, admin, 'DELETE', `${API}/keys/${key_id}`)
    const tries = await Promise.all([
      call(there, key, 'POST', `${API}/keys`, { role: 'admin', principal: 'admin:again' }),
      call(there, key, 'POST', `${API}/keys/${victim.key_id}/rotate`, {}),
    ])
    expect(tries.map((answer) => answer.status)).toEqual([401, 401])
  })

  test('rotated on both at once: one successor, and both nodes take old and new', async () => {
    const { key, key_id } = await made('viewer')
    const answers = await Promise.all(
      [here, there].map((node) => call(node, admin, 'POST', `${API}/keys/${key_id}/rotate`, {})),
    )
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, 409])
    const next = answers.find((answer) => answer.status === 201)?.body.key as string
    for (const node of [here, there])
      for (const text of [key, next]) expect((await call(node, text, 'GET', `${API}/jobs`)).status).toBe(200)
  })
})

describe(`${proves('A10', 'S3')} a stop`, () => {
  const stop = async (scope: string, target: string | null) => {
    const at = { [scope]: target ?? true }
    const body = { scope: at, reason: 'it went wrong', wait_ms: 0 }
    const answer = await call(plane, plane.keys.admin, 'POST', `${API}/stops`, body)
    expect(answer.status).toBe(201)
    return answer.body.stop_id as string
  }
  /** As two people do it. */
  async function resume(stop_id: string) {
    for (const stage of ['trial', 'full'])
      for (const role of ['admin', 'operator']) {
        const key = await makeKey(plane, role as 'admin', { principal: `person:${role}` })
        await call(plane, key, 'POST', `${API}/stops/${stop_id}/resume`, { stage, note: 'looked', trial_ms: 0 })
      }
  }

  test('ends the tokens of the agent, for good; another agent’s, and those of who works, go on', async () => {
    const stopped = await makeKey(plane, 'agent', { principal: 'agent:stopped' })
    const [own, other, works] = [await mint(stopped), await mint(), await mint(plane.keys.worker)]
    for (const { token } of [own, other]) expect((await ask(token)).status).toBe(200)
    clock.advance(1000)
    const stop_id = await stop('agent', 'agent:stopped')
    expect((await ask(own.token)).status).toBe(401)
    expect((await ask(other.token)).status).toBe(200)
    expect((await ask(stopped)).status).toBe(200)
    const claims = (token: string) =>
      call(plane, token, 'POST', `${API}/workers/claim`, {
        worker_id: 'worker-1',
        claim_id: 'claim-000000000001',
        topics: ['job.a'],
        capacity: 1,
      })
    expect((await claims(works.token)).status).toBe(200)
    await resume(stop_id)
    expect((await ask(own.token)).status).toBe(401)
    clock.advance(1000)
    expect((await ask((await mint(stopped)).token)).status).toBe(200)
  })

  test('of the tenant ends every agent’s, and no person’s; of a topic it ends none', async () => {
    const [agent, person] = [await mint(), await mint(plane.keys.admin)]
    clock.advance(1000)
    await stop('topic', 'job.nothing')
    expect((await ask(agent.token)).status).toBe(200)
    const stop_id = await stop('tenant', null)
    expect([(await ask(agent.token)).status, (await ask(person.token)).status]).toEqual([401, 200])
    await resume(stop_id)
  })
})
