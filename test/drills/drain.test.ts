import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { endAll, type Server, scratch, spawnUp, startServer, until } from '../support/server.js'

/** SIGTERM, SIGINT and Ctrl-C while everything is under way. */

const place = scratch('drain')
beforeAll(() =>
  writeFileSync(
    place.at('policy.yaml'),
    `
version: v1
job_classes: [{ topic: job.drain.*, timeout_ms: 60000, heartbeat_ms: 5000, attempts: 2 }]
rules: [{ id: all, match: { topic: job.drain.* }, decision: ALLOW }]
`,
  ),
)
afterAll(async () => {
  await endAll()
  place.gone()
})

/** Longer than any drain here takes on a busy machine, far shorter than the 10 s after which connections are cut. */
const BOUND_MS = 6000
const start = () => startServer({ dataDir: place.at('data'), policy: place.at('policy.yaml') })

function claim(server: Server, topic: string, wait_ms: number) {
  const n = Math.random().toString(36).slice(2)
  return server.client('worker').worker.claim({
    worker_id: 'drained',
    claim_id: `claim-${n}-${wait_ms}`,
    topics: [topic],
    capacity: 1,
    wait_ms,
  })
}

/** A submit whose body comes in two halves; `finish` sends the second and resolves with the status. */
function slowSubmit(server: Server): { arrived: Promise<void>; finish(): Promise<number> } {
  const body = JSON.stringify({ topic: 'job.drain.slow', input: 'x'.repeat(2000) })
  const call = request(`${server.url}/api/v1/jobs`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-api-key': server.key('agent'),
      'content-length': Buffer.byteLength(body),
      expect: '100-continue',
    },
  })
  const status = new Promise<number>((resolve, reject) => {
    call.on('response', (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
    call.on('error', reject)
  })
  status.catch(() => {})
  // The server's word that it has read the head of the request.
  const arrived = new Promise<void>((resolve) => call.once('continue', resolve))
  call.write(body.slice(0, 1000))
  return {
    arrived,
    finish: () => {
      call.end(body.slice(1000))
      return status
    },
  }
}

async function openEvents(server: Server): Promise<{ ended: Promise<string>; heard(): string }> {
  const answer = await fetch(`${server.url}/api/v1/events`, { headers: { 'x-api-key': server.key('admin') } })
  let text = ''
  const ended = (async () => {
    try {
      for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) text += Buffer.from(chunk)
      return 'ended'
    } catch (error) {
      return `broke: ${(error as Error).message}`
    }
  })()
  await until('the stream is open', () => text !== '')
  return { ended, heard: () => text }
}

describe('SIGTERM', () => {
  test(`${proves('L3', 'L2')} answers what is under way, ends what would wait, keeps leases, and exits 0`, async () => {
    const server = await start()
    const agent = server.client('agent')
    const { job_id } = await agent.jobs.submit({ topic: 'job.drain.work' })
    const [leased] = (await claim(server, 'job.drain.work', 0)).leases
    expect(leased?.job.job_id).toBe(job_id)
    const poll = claim(server, 'job.drain.nothing', 30_000)
    const events = await openEvents(server)
    const slow = slowSubmit(server)
    await slow.arrived
    // Whoever holds a connection and asks nothing must not hold up the stop.
    const idle = connect(server.port, '127.0.0.1')
    await new Promise((resolve) => idle.once('connect', resolve))

    const ended = server.end('SIGTERM')
    expect((await poll).leases).toEqual([])
    expect(await events.ended).toBe('ended')
    expect(await slow.finish()).toBe(202)
    const end = await ended
    expect(end).toMatchObject({ code: 0, signal: null })
    expect(end.ms).toBeLessThan(BOUND_MS)
    expect(end.err).not.toMatch(/"level":(50|60)/)
    idle.destroy()

    const again = await start()
    const worker = again.client('worker').worker
    const beat = await worker.heartbeat({ leases: [{ lease: leased?.lease ?? '' }] })
    expect(beat.leases[0]?.answer).toBe('ok')
    const done = await worker.complete([{ lease: leased?.lease ?? '', outcome: 'succeeded', result: 'late but heard' }])
    expect(done.leases[0]).toMatchObject({ answer: 'ok', job_id, status: 'succeeded' })
    const listed = await again.client('agent').jobs.list({ topic: 'job.drain.slow', limit: 10 })
    expect(listed.items.length).toBeGreaterThan(0)
    expect((await again.end('SIGTERM')).code).toBe(0)
  }, 60_000)
})

describe('while it drains', () => {
  test('nobody gets in, Ctrl-C counted twice is one Ctrl-C, and a later one ends it at once', async () => {
    const server = await start()
    const slow = slowSubmit(server)
    await slow.arrived
    const ended = server.end('SIGINT')
    server.child.kill('SIGINT')
    server.child.kill('SIGINT')
    await until('it refuses connections or says 503', async () => {
      const answer = await fetch(`${server.url}/readyz`).catch(() => null)
      return answer === null || answer.status === 503
    })
    expect(server.child.exitCode).toBeNull()
    // Alive past the time in which a second signal is taken for the same press: the half request holds it.
    const from = performance.now()
    await until('another press', () => performance.now() - from > 1200)
    expect(server.child.exitCode).toBeNull()
    server.child.kill('SIGINT')
    expect(await ended).toMatchObject({ code: 130 })
    await slow.finish().catch(() => {})
  }, 60_000)

  test('a stop that comes while it starts is a stop', async () => {
    const { child, ended } = spawnUp({ dataDir: place.at('data'), policy: place.at('policy.yaml') })
    const lock = place.at('data', 'lock.json')
    const holder = () => existsSync(lock) && JSON.parse(readFileSync(lock, 'utf8') || '{}').pid
    await until('it has the lock', () => holder() === child.pid)
    child.kill('SIGHUP')
    child.kill('SIGTERM')
    expect(await ended).toEqual({ code: 0, signal: null })
  }, 60_000)

  test('a request that never ends is cut off in the end', async () => {
    const server = await start()
    const slow = slowSubmit(server)
    await slow.arrived
    const end = await server.end('SIGTERM')
    expect(end.code).toBe(0)
    expect(end.ms).toBeGreaterThan(5000)
    expect(end.ms).toBeLessThan(10_000 + BOUND_MS)
    await slow.finish().catch(() => {})
  }, 60_000)
})
