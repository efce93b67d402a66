import { request } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from '../support/server.js'
import {
  API,
  call,
  expectProblem,
  expectStanding,
  faultsLogged,
  makeKey,
  startTarget,
  type Target,
} from './attacker.js'

/** One key that asks for the same denied thing for ever, and whoever else is there. Speed is for bench/hostile, not for here. */
let plane: Target
let other: string

beforeAll(async () => {
  plane = await startTarget()
  other = await makeKey(plane, 'agent', { principal: 'agent:other' })
})
afterAll(() => plane?.stop())

const denied = { topic: 'job.exec.shell', input: { command: 'rm -rf /' } }
const count = async (sql: string) => (await plane.world.db.query<{ n: number }>(sql))[0]?.n ?? 0
const batch = (key: string, n: number) =>
  call(plane, key, 'POST', `${API}/jobs/batch`, { jobs: Array.from({ length: n }, () => denied) })

test('ten batches of a thousand denials at once: others are served, and the log holds a few hundred of them', {
  timeout: 60_000,
}, async () => {
  const flood = Array.from({ length: 10 }, () => batch(plane.keys.agent, 1000))
  const answers = await Promise.all(
    Array.from({ length: 40 }, () => call(plane, other, 'POST', `${API}/jobs`, { topic: 'job.repo.read' })),
  )
  expect(answers.map((answer) => answer.status)).toEqual(Array(40).fill(202))
  // A batch that came when the budget was spent is refused whole, before it is read; the others item by item.
  const batches = await Promise.all(flood)
  for (const refused of batches.filter(({ status }) => status !== 200)) expectProblem(refused, 'rate_limited')
  const items = batches.flatMap(({ body }): { body: { code: string } }[] => body.items ?? [])
  const by = (code: string) => items.filter((item) => item.body.code === code).length
  expect(by('policy_denied') + by('rate_limited')).toBe(items.length)
  expect(by('policy_denied')).toBeGreaterThan(0)
  // The burst, and what was won back meanwhile.
  expect(by('policy_denied')).toBeLessThan(600)
  expect(await count(`SELECT count(*)::int AS n FROM decisions WHERE decision = 'DENY'`)).toBe(by('policy_denied'))
})

test('the key that was denied too often is told when to come back', async () => {
  const answer = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, denied)
  expectProblem(answer, 'rate_limited', 'policy_denied')
  if (answer.status === 429) expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
})

test('one key that mints tokens for ever, an entry of the log each, is told to wait; another mints, and it submits', {
  timeout: 60_000,
}, async () => {
  const minter = await makeKey(plane, 'agent', { principal: 'agent:minter' })
  const mint = (key: string) => call(plane, key, 'POST', `${API}/tokens`, { minutes: 1 })
  const began = performance.now()
  const answers = await Promise.all(Array.from({ length: 1000 }, () => mint(minter)))
  const refused = answers.filter(({ status }) => status !== 201)
  for (const answer of refused) expectProblem(answer, 'rate_limited')
  // The burst, and what was won back meanwhile.
  const most = 201 + (20 * (performance.now() - began)) / 1000
  expect(answers.length - refused.length).toBeLessThanOrEqual(most)
  expect((await mint(other)).status).toBe(201)
  expect((await call(plane, minter, 'POST', `${API}/jobs`, { topic: 'job.repo.read' })).status).toBe(202)
})

test('a batch of a thousand that are allowed is not held against anyone', async () => {
  const jobs = Array.from({ length: 1000 }, () => ({ topic: 'job.repo.read' }))
  const { items } = (await call(plane, other, 'POST', `${API}/jobs/batch`, { jobs })).body
  expect(new Set(items.map((item: { status: number }) => item.status))).toEqual(new Set([202]))
})

test('one key that begins to send more than its share is told to wait before any of it is read; others are served', {
  timeout: 60_000,
}, async () => {
  const greedy = await makeKey(plane, 'agent', { principal: 'agent:greedy' })
  const small = (key: string) => call(plane, key, 'POST', `${API}/jobs`, { topic: 'job.repo.read' })
  // Half in length, half in chunks, single and batch: each says that 2 MiB may come, and sends nothing.
  const open = Array.from({ length: 8 }, (_, n) => {
    const path = n % 2 === 0 ? '/jobs' : '/jobs/batch'
    const size = n < 4 ? { 'content-length': 2 * 1024 * 1024 } : { 'transfer-encoding': 'chunked' }
    const headers = { 'x-api-key': greedy, 'content-type': 'application/json', ...size }
    const sending = request(`${plane.url}${API}${path}`, { method: 'POST', headers }).on('error', () => {})
    sending.flushHeaders()
    return sending
  })
  const refused = await until('its share is full', async () => {
    const answer = await small(greedy)
    return answer.status === 202 ? null : answer
  })
  expectProblem(refused, 'overloaded')
  expect(refused.headers.get('retry-after')).toBe('1')
  expect((await small(other)).status).toBe(202)
  for (const sending of open) sending.destroy()
  expect(await until('it was given back', async () => (await small(greedy)).status === 202)).toBe(true)
})

test('two thousand requests with keys nobody has leave the others be', { timeout: 60_000 }, async () => {
  const letters = '0123456789abcdefghjkmnpqrstvwxyz'
  const wrong = (n: number) => `sp_${n.toString().padStart(25, '0')}${letters[n % 32]}_${'x'.repeat(43)}`
  for (let round = 0; round < 10; round++) {
    const flood = Array.from({ length: 200 }, (_, n) => call(plane, wrong(round * 200 + n), 'GET', `${API}/jobs`))
    expect((await call(plane, other, 'POST', `${API}/jobs`, { topic: 'job.repo.read' })).status).toBe(202)
    const codes = new Set((await Promise.all(flood)).map(({ body }) => body.code))
    expect([...codes].filter((code) => code !== 'unauthenticated' && code !== 'rate_limited')).toEqual([])
    if (round > 0) expect(codes).toContain('rate_limited')
  }
})

test('after all of it: it lives, serves, logged no fault, and the audit verifies', { timeout: 60_000 }, async () => {
  const plain = { ...plane, keys: { ...plane.keys, agent: other } }
  await expectStanding(plain)
  expect(faultsLogged(plane)).toEqual([])
})
