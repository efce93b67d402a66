import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { problem, type Reply, type Seen, type StandIn, startStandIn, startWorkerPlane } from '../stand-in.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const started: ChildProcess[] = []
const servers: StandIn[] = []

beforeAll(() => {
  // The examples import the package by its name, so they run what was built.
  expect(existsSync(`${ROOT}/dist/sdk.js`), 'dist/sdk.js is missing: npm run build').toBe(true)
})

afterEach(async () => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

function run(example: string, args: string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [`${ROOT}/examples/${example}`, ...args], {
    env: { PATH: process.env.PATH, SALLYPORT_API_KEY: 'sp_key', ...env },
  })
  started.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const ended = new Promise<{ code: number | null; output: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, output })),
  )
  return { child, ended }
}

async function serve(answer: (request: Seen) => Reply): Promise<StandIn> {
  const server = await startStandIn(answer)
  servers.push(server)
  return server
}

test('the refund agent asks once per order, waits and tells the result', async () => {
  const job = { job_id: 'job_1', decision: 'REQUIRE_APPROVAL', reason: 'refunds need a yes', error: null }
  const statuses = ['pending_approval', 'running', 'succeeded']
  const server = await serve(({ method, path }) => {
    if (method === 'POST') return { status: 202, body: { ...job, status: 'pending_approval', approval_id: 'apr_1' } }
    if (path.endsWith('/result')) return { body: { verdict: 'ALLOW', output: { refund: 'r-1' } } }
    return { body: { ...job, status: statuses.shift() } }
  })
  const { code, output } = await run('agents/refund.mjs', ['A-17', '20'], { SALLYPORT_URL: server.url }).ended
  expect(output).toContain('waiting for a person: apr_1')
  expect(output).toContain('refunded, result ALLOW: {"refund":"r-1"}')
  expect(code).toBe(0)
  expect(server.seen[0]).toMatchObject({ body: { topic: 'job.payments.refund', input: { order: 'A-17', amount: 20 } } })
  expect(server.seen[0]?.headers['idempotency-key']).toBe('refund-A-17')
})

test('the refund agent ends with 2 when policy says no', async () => {
  const server = await serve(() => problem(403, 'policy_denied', { reason: 'over the ceiling' }))
  const { code, output } = await run('agents/refund.mjs', ['A-17', '6000'], { SALLYPORT_URL: server.url }).ended
  expect(output).toContain('refused: over the ceiling')
  expect(code).toBe(2)
})

test('the refund worker moves money once, with the key of the effect, and drains on SIGTERM', async () => {
  const plane = await startWorkerPlane()
  servers.push(plane)
  const payments = await serve(({ method }) => ({ body: method === 'POST' ? { refund: 'r-1' } : { order: 'A-17' } }))
  const { child, ended } = run('workers/refund.mjs', [], { SALLYPORT_URL: plane.url, PAYMENTS_URL: payments.url })
  const lease = plane.offer({ job: { topic: 'job.payments.refund', input: { order: 'A-17', amount: 20 } } })
  expect(await plane.report(lease)).toMatchObject({ outcome: 'succeeded', result: { refund: 'r-1' } })
  expect(payments.seen.map(({ method, path }) => `${method} ${path}`)).toEqual(['GET /orders/A-17', 'POST /refunds'])
  expect(payments.seen[1]?.headers['idempotency-key']).toBe('idem-refund')
  expect(plane.effects.map(({ key, phase }) => `${key} ${phase}`)).toEqual(['refund begin', 'refund commit'])
  child.kill('SIGTERM')
  expect(await ended).toMatchObject({ code: 0 })
})
