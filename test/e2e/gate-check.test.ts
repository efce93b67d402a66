import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPostgres } from '../../scripts/engines.mjs'
import { DbError } from '../../src/errors.js'
import { systemClock } from '../../src/platform/clock.js'
import type { Db } from '../../src/platform/db/seam.js'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { proves } from '../requirements.js'
import { endAll, preparedDataDir, type Server, sallyport, scratch, startServer, until } from '../support/server.js'

/** The check of a launch as an operator has it: a file of their own, with API set and nothing else. Not a word of it is ours to change. */
const GATE_CHECK = `# gate-check.sh
set -euo pipefail

# Fail if any unapproved high-risk execution appears in the last 10m
HIGH_RISK_UNAPPROVED=$(curl -s "$API/metrics/high-risk-unapproved?window=10m")
if [ "$HIGH_RISK_UNAPPROVED" -gt 0 ]; then
  echo "BLOCK: unapproved high-risk action detected"
  exit 1
fi

# Fail if reliability drifts outside launch SLO
SUCCESS_RATE=$(curl -s "$API/metrics/success-rate?window=10m")
P95_LATENCY_MS=$(curl -s "$API/metrics/p95-latency-ms?window=10m")
if (( $(echo "$SUCCESS_RATE < 0.99" | bc -l) )); then
  echo "BLOCK: success rate below 99%"
  exit 1
fi
if [ "$P95_LATENCY_MS" -gt 1200 ]; then
  echo "BLOCK: P95 latency above threshold"
  exit 1
fi

echo "PASS: promote canary step"
`

const POLICY = `version: v1
default_decision: DENY
rules:
  - { id: read, match: { topic: job.repo.read }, decision: ALLOW }
  - { id: careless, match: { topic: job.payments.refund }, decision: ALLOW }
`
const READ = { topic: 'job.repo.read', input: { op: 'log' } }
const REFUND = { topic: 'job.payments.refund', action_type: 'refund', input: { amount: 5 } }

/** Enough that one which a busy machine held up is not the P95. */
const JOBS = 25

interface Target {
  url: string
  key(role: 'agent' | 'worker'): string
}

async function post<T>({ url, key }: Target, role: 'agent' | 'worker', path: string, body: unknown): Promise<T> {
  const answer = await fetch(`${url}/api/v1${path}`, {
    method: 'POST',
    headers: { 'x-api-key': key(role), 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  return answer.json() as Promise<T>
}

let claims = 0
/** One job from submit to its end; `meanwhile` is what happens while the worker has it. */
async function run(
  target: Target,
  job: object = READ,
  end: object = { outcome: 'succeeded', result: { ok: true } },
  meanwhile = () => {},
): Promise<void> {
  await post(target, 'agent', '/jobs', job)
  const { leases } = await post<{ leases: { lease: string }[] }>(target, 'worker', '/workers/claim', {
    worker_id: 'w',
    claim_id: `gate-check-${++claims}`,
    topics: [(job as typeof READ).topic],
    capacity: 1,
    wait_ms: 5000,
  })
  meanwhile()
  await post(target, 'worker', '/leases/complete', [{ lease: leases[0]?.lease, ...end }])
}

interface Checked {
  exit: number
  says: string
}
/** The script in a shell of its own. It decides by its exit code; what it says tells which of its checks did. */
function gateCheck(api: string): Promise<Checked> {
  return new Promise((resolve) => {
    const child = execFile('bash', ['-s'], { env: { PATH: process.env.PATH, API: api } }, (error, stdout, stderr) => {
      resolve({ exit: error === null ? 0 : Number(error.code), says: (stdout + stderr).trim() })
    })
    child.stdin?.end(GATE_CHECK)
  })
}

const PASS = { exit: 0, says: 'PASS: promote canary step' }
const UNAPPROVED = { exit: 1, says: 'BLOCK: unapproved high-risk action detected' }
const UNRELIABLE = { exit: 1, says: 'BLOCK: success rate below 99%' }
const SLOW = { exit: 1, says: 'BLOCK: P95 latency above threshold' }

beforeAll(async () => {
  // Without bc its comparison of the success rate is empty, which the shell takes for "not below": the script needs it.
  await new Promise<void>((resolve, reject) =>
    execFile('bash', ['-c', 'command -v bc curl'], (error) =>
      error === null ? resolve() : reject(new Error('bc and curl are needed: sudo apt-get install -y bc curl')),
    ),
  )
})
afterAll(endAll)

describe(`${proves('G8')} gate-check.sh against a server in a process of its own`, () => {
  const at = scratch('gate')
  let [full, empty]: [Server | null, Server | null] = [null, null]
  const server = (which: Server | null) => which as Server
  const start = async (name: string, env: Record<string, string> = {}) =>
    startServer({ dataDir: await preparedDataDir(at.at(name)), policy: at.at('policy.yaml'), env })

  beforeAll(async () => {
    writeFileSync(at.at('policy.yaml'), POLICY)
    ;[full, empty] = [await start('full'), await start('empty')]
    for (let i = 0; i < JOBS; i++) await run(full)
  }, 60_000)
  afterAll(() => at.gone())

  test('passes with good data', async () => {
    expect(await gateCheck(server(full).url)).toEqual(PASS)
    // A slash too many is a wrong address: not found, and so no pass.
    expect(await gateCheck(`${server(full).url}/`)).toEqual(UNAPPROVED)
  })

  test('blocks without data', async () => {
    expect(await gateCheck(server(empty).url)).toEqual(UNAPPROVED)
  })

  const alone = [
    ['high-risk-unapproved', UNAPPROVED],
    ['success-rate', UNRELIABLE],
    ['p95-latency-ms', SLOW],
  ] as const
  test.each(alone)('blocks where %s alone is unknown', async (metric, blocked) => {
    // Everything from the server with data, this one number from the one without.
    const between = await relay((path) =>
      path.startsWith(`/metrics/${metric}?`) ? server(empty).url : server(full).url,
    )
    try {
      expect(await gateCheck(between.url)).toEqual(blocked)
    } finally {
      between.close()
    }
    const unknown = await fetch(`${server(empty).url}/metrics/${metric}?window=10m`)
    expect(unknown.status).toBe(200)
    expect(unknown.headers.get('x-sallyport-unknown')).toBe('1')
    expect(unknown.headers.get('x-sallyport-reason')).toMatch(/in the window$/)
  })

  test.each(['/api/v1', '/nothing', '/metrics', '/api/v1/jobs'])('blocks at a wrong address: %s', async (path) => {
    expect(await gateCheck(server(full).url + path)).toEqual(UNAPPROVED)
    for (const [metric, body] of [
      ['success-rate', '0\n'],
      ['p95-latency-ms', '999999999\n'],
    ]) {
      const answer = await fetch(`${server(full).url}${path}/metrics/${metric}?window=10m`)
      expect([answer.status, await answer.text()]).toEqual([404, body])
    }
  })

  test('blocks by an unknown name, a window that is none and another tenant', async () => {
    const ask = async (path: string) => {
      const answer = await fetch(server(full).url + path)
      return [answer.status, await answer.text(), answer.headers.get('x-sallyport-unknown')]
    }
    expect(await ask('/metrics/success-rates?window=10m')).toEqual([404, '0\n', '1'])
    expect(await ask('/metrics/high-risk?window=10m')).toEqual([404, '999999999\n', '1'])
    expect(await ask('/metrics/success-rate?window=ten')).toEqual([422, '0\n', '1'])
    expect(await ask('/metrics/p95-latency-ms?window=99d')).toEqual([422, '999999999\n', '1'])
    expect(await ask('/metrics/success-rate?windows=10m')).toEqual([422, '0\n', '1'])
    expect(await ask('/metrics/success-rate?tenant=other')).toEqual([200, '0\n', '1'])
  })

  test('an address that only looks like this machine needs a key: a proxy, or a name made to point here', async () => {
    const path = `${server(full).url}/metrics/success-rate?window=10m`
    for (const [name, value] of [
      ['x-forwarded-for', '203.0.113.9'],
      ['forwarded', 'for=203.0.113.9'],
      ['via', '1.1 edge'],
    ] as const) {
      const answer = await fetch(path, { headers: { [name]: value } })
      expect([answer.status, await answer.text()]).toEqual([401, '0\n'])
    }
    const { port } = new URL(path)
    expect(await curl(['-H', `Host: evil.example:${port}`, path])).toBe('0')
    expect(await curl(['-H', `Host: localhost:${port}`, path])).toBe('1')
  })

  test('blocks without a key where one is needed, and by a key that may not', async () => {
    const closed = await start('closed', { SALLYPORT_METRICS: 'key' })
    await run(closed)
    expect(await gateCheck(closed.url)).toEqual(UNAPPROVED)
    const ask = async (key: string, path = '/metrics/p95-latency-ms') => {
      const answer = await fetch(closed.url + path, { headers: { 'x-api-key': key } })
      return [answer.status, /^\d{1,4}\n$/.test(await answer.text())]
    }
    expect(await ask(closed.key('admin'))).toEqual([200, true])
    expect(await ask(closed.key('agent'))).toEqual([403, false])
    expect(await ask('sp_wrong')).toEqual([401, false])
    expect(await ask(closed.key('admin'), '/metrics/p95-latency-ms?tenant=other')).toEqual([403, false])
    expect((await fetch(`${closed.url}/metrics`)).status).toBe(401)
    await closed.end('SIGTERM')
  })

  test('on every address of the machine a key is needed, unless they are said to be open', async () => {
    const up = async (name: string, env: Record<string, string>) => {
      const started = await start(name, { SALLYPORT_HOST: '0.0.0.0', ...env })
      for (let i = 0; i < JOBS; i++) await run({ ...started, url: `http://127.0.0.1:${started.port}` })
      return started
    }
    const [wide, open] = [await up('wide', {}), await up('open', { SALLYPORT_METRICS: 'open' })]
    expect(await gateCheck(`http://127.0.0.1:${wide.port}`)).toEqual(UNAPPROVED)
    expect(await gateCheck(`http://127.0.0.1:${open.port}`)).toEqual(PASS)
    await Promise.all([wide.end('SIGTERM'), open.end('SIGTERM')])
  })

  test('sallyport gate check says the same, and why', async () => {
    const check = async (which: Server, ...more: string[]) => {
      const env = { SALLYPORT_API_KEY: which.key('admin'), SALLYPORT_URL: which.url }
      return sallyport(['gate', 'check', '--json', ...more], env)
    }
    const passed = await check(server(full))
    expect([passed.exit, passed.json.result]).toEqual([0, 'pass'])
    expect(passed.json.checks.map((each: { metric: string; samples: number }) => [each.metric, each.samples])).toEqual([
      ['high-risk-unapproved', JOBS],
      ['success-rate', JOBS],
      ['p95-latency-ms', JOBS],
    ])
    const unknown = await check(server(empty))
    expect([unknown.exit, unknown.json.result]).toEqual([3, 'unknown'])
    expect(unknown.json.checks.map((each: { reason: string }) => each.reason)).toEqual([
      'no lease was granted in the window',
      'no job ended in the window',
      'no job ended in the window',
    ])
    const few = await check(server(full), '--min-samples', String(JOBS + 1))
    expect([few.exit, few.json.checks[1].reason]).toEqual([3, `${JOBS} samples; at least ${JOBS + 1} are wanted`])
    const slow = await check(server(full), '--at-most', 'p95-latency-ms=0')
    expect([slow.exit, slow.json.result]).toEqual([1, 'block'])
    expect((await check(server(full), '--at-most', 'no-such=1')).exit).toBe(2)
    expect((await check(server(full), '--window', '99d')).exit).toBe(2)
    const agent = { SALLYPORT_API_KEY: server(full).key('agent'), SALLYPORT_URL: server(full).url }
    expect((await sallyport(['gate', 'check'], agent)).exit).toBe(5)
    expect((await sallyport(['gate', 'check'], { SALLYPORT_URL: server(full).url })).exit).toBe(5)
    const words = await sallyport(['gate', 'check'], { ...agent, SALLYPORT_API_KEY: server(full).key('admin') })
    expect(words.out).toMatch(/METRIC +VALUE +SAMPLES +RESULT +WHY\n[\s\S]*PASS\n$/)
  })

  test('blocks when the server is gone', async () => {
    const { url } = server(empty)
    await server(empty).end('SIGKILL')
    expect((await gateCheck(url)).exit).toBe(7) // curl's word for nobody there; the script ends by it
    const gone = await sallyport(['gate', 'check'], {
      SALLYPORT_API_KEY: server(full).key('admin'),
      SALLYPORT_URL: url,
    })
    expect(gone.exit).toBe(69)
  })
})

describe(`${proves('G8')} gate-check.sh where time and store are in the test's hand`, () => {
  /** Time runs, and jumps when told; timers are the real ones. */
  const jump = { ms: 0 }
  const clock = { ...systemClock, now: () => Date.now() + jump.ms }
  let down = false
  let plane: TestPlane
  let target: Target

  beforeAll(async () => {
    const watch = (db: Db): Db => ({
      ...db,
      query: (sql, params, on) =>
        down ? Promise.reject(new DbError('the database is gone', '08006')) : db.query(sql, params, on),
    })
    plane = await startSallyport({ policy: POLICY, seams: { clock, watch } })
    target = { url: plane.url, key: (role) => plane.keys[role] }
  })
  afterAll(() => plane.stop())

  test('passes, blocks while the store is down, and passes again', async () => {
    for (let i = 0; i < JOBS; i++) await run(target)
    expect(await gateCheck(plane.url)).toEqual(PASS)
    down = true
    expect(await gateCheck(plane.url)).toEqual(UNAPPROVED)
    const answer = await fetch(`${plane.url}/metrics/success-rate?window=10m`)
    expect([answer.status, await answer.text(), answer.headers.get('x-sallyport-reason')]).toEqual([
      503,
      '0\n',
      'store_unavailable',
    ])
    const scraped = await (await fetch(`${plane.url}/metrics`)).text()
    expect(scraped).toMatch(/^sallyport_store_up 0$/m)
    expect(scraped).not.toMatch(/^sallyport_(queue_depth|leases_live|approvals_pending)/m)
    down = false
    expect(await gateCheck(plane.url)).toEqual(PASS)
  })

  test('blocks by slow jobs, and by one failure', async () => {
    // One of 26 would not be the P95.
    for (let i = 0; i < 2; i++)
      await run(target, READ, undefined, () => {
        jump.ms += 5000
      })
    expect(await gateCheck(plane.url)).toEqual(SLOW)
    await run(target, READ, { outcome: 'failed', error: { class: 'terminal', code: 'no', message: 'no' } })
    expect(await gateCheck(plane.url)).toEqual(UNRELIABLE)
  })

  test('blocks once what was good is too long ago', async () => {
    jump.ms += 11 * 60_000
    expect(await gateCheck(plane.url)).toEqual(UNAPPROVED)
    for (let i = 0; i < JOBS; i++) await run(target)
    expect(await gateCheck(plane.url)).toEqual(PASS)
  })

  test('blocks by a refund that a careless rule let through without anybody asked', async () => {
    await run(target, REFUND)
    const answer = await fetch(`${plane.url}/metrics/high-risk-unapproved?window=10m`)
    expect([await answer.text(), answer.headers.get('x-sallyport-unknown')]).toEqual(['1\n', null])
    expect(await gateCheck(plane.url)).toEqual(UNAPPROVED)
  })
})

describe(`${proves('G8')} gate-check.sh on Postgres`, () => {
  const at = scratch('gate-pg')
  let postgres: Awaited<ReturnType<typeof startPostgres>>
  afterAll(async () => {
    postgres?.discard()
    at.gone()
  })

  test('passes, blocks while Postgres is killed, and passes when it is back', async () => {
    postgres = await startPostgres()
    writeFileSync(at.at('policy.yaml'), POLICY)
    const { privateKey } = generateKeyPairSync('ed25519')
    writeFileSync(at.at('signing.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
    const server = await startServer({
      dataDir: at.at('data'),
      policy: at.at('policy.yaml'),
      env: { SALLYPORT_DATABASE_URL: await postgres.database('gate'), SALLYPORT_SIGNING_KEY: at.at('signing.key') },
    })
    for (let i = 0; i < JOBS; i++) await run(server)
    expect(await gateCheck(server.url)).toEqual(PASS)
    await postgres.kill()
    expect(await gateCheck(server.url)).toEqual(UNAPPROVED)
    for (const [metric, body] of [
      ['success-rate', '0\n'],
      ['p95-latency-ms', '999999999\n'],
    ]) {
      const answer = await fetch(`${server.url}/metrics/${metric}?window=10m`)
      expect([answer.status, await answer.text()]).toEqual([503, body])
    }
    await postgres.start()
    await until('the numbers are back', async () => (await gateCheck(server.url)).exit === 0)
    await server.end('SIGTERM')
  }, 120_000)
})

/** Passes each request on to the server it belongs to, as it came. */
async function relay(to: (path: string) => string): Promise<{ url: string; close(): void }> {
  const server = createServer(async (request, response) => {
    const path = request.url as string
    const answer = await fetch(to(path) + path)
    response.writeHead(answer.status).end(await answer.text())
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => void server.close() }
}

function curl(args: string[]): Promise<string> {
  return new Promise((resolve, reject) =>
    execFile('curl', ['-s', ...args], (error, stdout) => (error === null ? resolve(stdout.trim()) : reject(error))),
  )
}
