import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 3, timeout_ms: 60000, heartbeat_ms: 1000, owner: team:ops, respond_within: 4h }
  - { topic: job.idem.*, attempts: 3, timeout_ms: 60000, heartbeat_ms: 1000, idempotent: true }
rules:
  - { id: do, match: { topic: [job.do.*, job.idem.*] }, decision: ALLOW }
  - { id: small, match: { topic: job.do.small }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_output_bytes: 20, timeout_ms: 7000 } }
`
const TOKEN = `ghp_${'k3Jx9QmZ27TbWv'.repeat(3).slice(0, 36)}`
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`
const CARD = '4111 1111 1111 1111'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
const IT = ['job.do.it']

/** Everything the database holds of a tenant, as text: what is in here can be read by whoever reads it. */
async function everything(t: Tenancy): Promise<string> {
  const tables = await plane.db.query<{ name: string }>(
    "SELECT c.table_name AS name FROM information_schema.columns c WHERE c.table_schema = 'public' AND c.column_name = 'tenant' ORDER BY 1",
  )
  expect(tables.length).toBeGreaterThan(15)
  const texts = await Promise.all(
    tables.map(({ name }) =>
      plane.db.query<{ text: string }>(`SELECT x::text AS text FROM ${name} x WHERE tenant = $1`, [t.tenant]),
    ),
  )
  return texts
    .flat()
    .map((row) => row.text)
    .join('\n')
}

describe('a success', () => {
  test(`${proves('L2', 'L3')} is kept with its result, and ends job and lease`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    const answer = await t.complete({
      lease,
      outcome: 'succeeded',
      result: { said: 'hello' },
      usage: { tokens: 12, cost: 0.25 },
    })
    expect(answer).toMatchObject({ answer: 'ok', job_id: job.job_id, status: 'succeeded' })
    const row = await t.job(job.job_id)
    expect(row).toMatchObject({ verdict: 'ALLOW', tokens: 12, cost: 0.25, lease_id: null, error_code: null })
    expect((await t.rows<{ ptr: string; body: string }>('payloads')).find((p) => p.ptr === row.result_ptr)?.body).toBe(
      '{"said":"hello"}',
    )
    expect(await t.storedLease(lease)).toMatchObject({ outcome: 'succeeded', ended_at: plane.clock.now() })
    await held(t)
  })

  test('many at once are answered in their order, each for itself', async () => {
    const t = await plane.tenant(POLICY)
    for (let i = 0; i < 5; i++) await t.submit({ topic: 'job.do.it' })
    const leases = await t.claim(IT, { capacity: 5 })
    const { settle } = await import('./settle.js')
    const reports = leases.map(({ lease }, i) => ({ lease, outcome: 'succeeded' as const, result: i }))
    const answers = await settle(plane.world, t.worker, [
      ...reports,
      { lease: 'lease_nobodys00000', outcome: 'succeeded' },
    ])
    expect(answers.map((a) => a.answer)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok', 'lost'])
    expect(answers.slice(0, 5).map((a) => a.lease)).toEqual(leases.map((l) => l.lease))
    await held(t)
  })
})

describe('a failure', () => {
  test(`${proves('R1', 'L3')} that is transient is tried again after a growing pause, until the attempts are spent`, async () => {
    const t = await plane.tenant(POLICY)
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    for (const attempt of [1, 2, 3]) {
      const [lease] = await t.claim(IT)
      expect(lease).toMatchObject({ attempt, job: { job_id } })
      await t.fail(lease?.lease as string, 'transient', 'the network went away')
      if (attempt === 3) break
      const job = await t.job(job_id)
      expect(job).toMatchObject({
        status: 'retrying',
        error_class: 'transient',
        error_message: 'the network went away',
      })
      const pause = job.due_at - plane.clock.now()
      expect(pause).toBeGreaterThanOrEqual(50)
      expect(pause).toBeLessThanOrEqual(1000 * 2 ** (attempt - 1))
      plane.clock.advance(pause - 1)
      expect(await t.claim(IT)).toEqual([])
      plane.clock.advance(1)
    }
    expect(await t.job(job_id)).toMatchObject({
      status: 'dead_letter',
      status_reason: 'attempts_exhausted',
      attempt: 3,
    })
    await held(t)
  })

  test(`${proves('R1', 'R3')} that is terminal is a dead letter at once, with an owner and a time to respond`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.fail(lease, 'terminal')
    expect(await t.job(job.job_id)).toMatchObject({
      status: 'dead_letter',
      status_reason: 'terminal_failure',
      attempt: 1,
      owner: 'team:ops',
      respond_by: plane.clock.now() + 4 * 3_600_000,
    })
    await held(t)
  })

  test('a claim may ask for fewer attempts than its class has, never for more', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it', max_attempts: 1 })
    await t.fail(lease)
    expect((await t.job(job.job_id)).status).toBe('dead_letter')
    expect((await t.lease({ topic: 'job.do.it', max_attempts: 50 })).job.max_attempts).toBe(3)
  })
})

describe('a lease', () => {
  test(`${proves('R4')} is kept by heartbeats and lost by three missed ones; the job is tried again`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    for (let i = 0; i < 5; i++) {
      plane.clock.advance(2500)
      expect((await t.beat(lease)).answer).toBe('ok')
      await t.sweep()
    }
    expect((await t.job(job.job_id)).status).toBe('running')
    plane.clock.advance(3000)
    expect((await t.beat(lease)).answer).toBe('lost')
    await t.sweep()
    expect(await t.job(job.job_id)).toMatchObject({ status: 'retrying', error_code: 'lease_lost' })
    expect(await t.storedLease(lease)).toMatchObject({ outcome: 'lost' })
    expect(await t.kinds(job.job_id)).toEqual(['job.submitted', 'job.leased', 'lease.lost', 'job.retried'])
    await held(t)
  })

  test(`${proves('R2')} ends at the attempt's timeout, however well its heart beats`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.small' })
    for (let i = 0; i < 3; i++) {
      plane.clock.advance(2000)
      expect(await t.beat(lease)).toMatchObject({ answer: 'ok', remaining_ms: 7000 - 2000 * (i + 1) })
    }
    plane.clock.advance(1000)
    expect((await t.beat(lease)).answer).toBe('lost')
    await t.sweep()
    expect(await t.job(job.job_id)).toMatchObject({ status: 'retrying', error_code: 'timeout' })
    await held(t)
  })

  test('of a worker that records no effects is ambiguous when lost, unless its class may be run twice', async () => {
    const t = await plane.tenant(POLICY)
    const careless = await t.lease({ topic: 'job.do.it' }, { effects: 'none' })
    const harmless = await t.lease({ topic: 'job.idem.it' }, { effects: 'none' })
    plane.clock.advance(3000)
    await t.sweep()
    expect(await t.job(careless.job.job_id)).toMatchObject({ status: 'ambiguous', status_reason: 'attempt_unrecorded' })
    expect(await t.effects(careless.job.job_id)).toMatchObject([{ effect_key: 'attempt:1', status: 'begun' }])
    expect((await t.job(harmless.job.job_id)).status).toBe('retrying')
    await held(t)
  })

  test(`${proves('R4')} of another worker cannot be reported, beaten or used`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    expect((await t.succeed(lease, 1, t.otherWorker)).answer).toBe('lost')
    expect((await t.beat(lease, undefined, t.otherWorker)).answer).toBe('lost')
    expect(await codeOf(t.begin(lease, 'pay', t.otherWorker))).toBe('lease_lost')
    expect((await t.succeed(lease)).answer).toBe('ok')
  })
})

describe('a fence', () => {
  test(`${proves('R5')} a report of a lost lease changes nothing and is recorded`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    plane.clock.advance(3000)
    await t.sweep()
    plane.clock.advance(30_000)
    const [second] = await t.claim(IT)
    const before = await t.job(job.job_id)
    expect(await t.succeed(lease, 'too late')).toMatchObject({ answer: 'lost', status: 'running' })
    expect(await t.job(job.job_id)).toEqual(before)
    expect((await t.succeed(second?.lease as string, 'in time')).answer).toBe('ok')
    plane.clock.advance(5000)
    await t.sweep()
    expect((await t.facts()).filter((fact) => fact.kind === 'lease.refused')).toMatchObject([
      { lease_id: lease, count: 1 },
    ])
    await held(t)
  })

  test('the same report again is ok, another one is a conflict, and the first stands', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.succeed(lease, 'first')
    const stands = await t.job(job.job_id)
    expect((await t.succeed(lease, 'first')).answer).toBe('ok')
    expect((await t.succeed(lease, 'second')).answer).toBe('conflict')
    expect((await t.fail(lease)).answer).toBe('conflict')
    expect(await t.job(job.job_id)).toEqual(stands)
    await held(t)
  })

  test('two of the same report at once are one', async () => {
    const t = await plane.tenant(POLICY)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    const other = t.on(plane.node())
    const answers = await Promise.all([t.succeed(lease, 1), t.succeed(lease, 1), other.succeed(lease, 1)])
    expect(answers.map((each) => each.answer)).toEqual(['ok', 'ok', 'ok'])
    expect((await t.kinds()).filter((kind) => kind === 'job.succeeded')).toHaveLength(1)
    await held(t)
  })

  test(`${proves('R5')} an effect begun while its attempt is being settled is not missed, in whatever order the store reads`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    // The read of the job is slow; every other one is not. On a pool of connections that is any day.
    let slow: (() => void) | null = null
    plane.db.tap = async (sql, send) => {
      if (slow === null && /FROM jobs WHERE/.test(sql)) await new Promise<void>((go) => (slow = go))
      return send()
    }
    // By another node, which has to read.
    const settling = t.on(plane.node()).succeed(lease, 'done')
    await turns(() => slow !== null)
    await t.begin(lease, 'pay')
    ;(slow as unknown as () => void)()
    await settling
    expect((await t.job(job.job_id)).status).toBe('ambiguous')
    plane.db.tap = null
    await held(t)
  })
})

describe('what a worker sends', () => {
  test('as progress is a word on how far it is: more is not kept, and the beat counts all the same', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    expect(await t.beat(lease, { log: 'x'.repeat(9000) })).toMatchObject({ answer: 'ok' })
    const [row] = await t.rows<{ progress: string }>('leases')
    expect(row?.progress).toContain('9010 bytes of progress')
    expect((await t.job(job.job_id)).status).toBe('running')
  })

  test(`${proves('L5')} a secret is redacted, and its raw is nowhere in the database`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.succeed(lease, { log: `pushed with ${TOKEN}`, card: CARD })
    const row = await t.job(job.job_id)
    expect(row).toMatchObject({ status: 'succeeded', verdict: 'REDACT' })
    const kept = (await t.rows<{ ptr: string; body: string }>('payloads')).find((p) => p.ptr === row.result_ptr)?.body
    expect(kept).toContain('[REDACTED:github_token]')
    const all = await everything(t)
    for (const secret of [TOKEN, TOKEN.slice(6), CARD]) expect(all).not.toContain(secret)
    expect(await t.kinds(job.job_id)).toContain('result.redacted')
    await held(t)
  })

  test(`${proves('L5')} a private key is sealed: unreadable in the database, and not given out`, async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.succeed(lease, { key: PRIVATE_KEY })
    expect(await t.job(job.job_id)).toMatchObject({ status: 'quarantined', verdict: 'QUARANTINE' })
    expect(await everything(t)).not.toContain('MIIEvQIBADANBgkqhkiG9w0BAQEFAASC')
    expect((await t.rows<{ kind: string; body: string }>('payloads')).map((p) => [p.kind, p.body.slice(0, 3)])).toEqual(
      [['sealed', 'v1.']],
    )
    await held(t)
  })

  test(`${proves('L5')} error text, error code, progress and effect results are screened alike`, async () => {
    const t = await plane.tenant(POLICY)
    const failing = await t.lease({ topic: 'job.do.it' })
    await t.beat(failing.lease, { at: `step 3 with ${TOKEN}` })
    await t.begin(failing.lease, 'pay')
    await t.commit(failing.lease, 'pay', { receipt: 7, auth: TOKEN })
    await t.complete({
      lease: failing.lease,
      outcome: 'failed',
      error: { class: 'terminal', code: TOKEN, message: `401 for ${TOKEN}` },
    })
    const sealed = await t.lease({ topic: 'job.do.it' })
    await t.beat(sealed.lease, { pem: PRIVATE_KEY })
    await t.begin(sealed.lease, 'sign')
    expect(await t.commit(sealed.lease, 'sign', { pem: PRIVATE_KEY })).toMatchObject({
      verdict: 'QUARANTINE',
      result: null,
    })
    await t.fail(sealed.lease, 'terminal', PRIVATE_KEY)
    const all = await everything(t)
    for (const secret of [TOKEN, 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC']) expect(all).not.toContain(secret)
    expect(await t.job(failing.job.job_id)).toMatchObject({
      error_code: 'redacted',
      error_message: '401 for [REDACTED:github_token]',
    })
    expect((await t.job(sealed.job.job_id)).error_message).toBe('[QUARANTINED]')
    await held(t)
  })

  test('the mark of a report says nothing about it to one who can guess the result', async () => {
    const t = await plane.tenant(POLICY)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    const report = { lease, outcome: 'succeeded' as const, result: { card: CARD } }
    await t.complete(report)
    const { digestOf, sha256, canonical } = await import('../core/canonical.js')
    const { report_hash } = await t.storedLease(lease)
    expect(report_hash).toMatch(/^[0-9a-f]{64}$/)
    expect([digestOf('report', report), sha256(canonical(report))]).not.toContain(report_hash)
  })

  test(`${proves('D8')} more than max_output_bytes is a terminal failure, and not kept`, async () => {
    const t = await plane.tenant(POLICY)
    const fits = await t.lease({ topic: 'job.do.small' })
    await t.succeed(fits.lease, 'x'.repeat(18))
    expect((await t.job(fits.job.job_id)).status).toBe('succeeded')
    const { lease, job } = await t.lease({ topic: 'job.do.small' })
    await t.succeed(lease, 'y'.repeat(19))
    expect(await t.job(job.job_id)).toMatchObject({
      status: 'dead_letter',
      error_code: 'result_too_large',
      result_ptr: null,
    })
    expect(await everything(t)).not.toContain('y'.repeat(19))
    await held(t)
  })
})
