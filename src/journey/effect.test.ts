import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import {
  codeOf,
  holdCommits,
  isCommit,
  openPlane,
  problemOf,
  type Tenancy,
  type TestPlane,
  turns,
} from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { DbError } from '../errors.js'

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 2, timeout_ms: 60000, heartbeat_ms: 1000, respond_within: 1h }
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`

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
/** A job whose worker went silent after beginning `pay`. */
async function doubted(t: Tenancy): Promise<{ job_id: string; lease: string }> {
  const { lease, job } = await t.lease({ topic: 'job.do.it' })
  await t.begin(lease, 'pay')
  plane.clock.advance(3000)
  await t.sweep()
  expect(await t.job(job.job_id)).toMatchObject({ status: 'ambiguous', status_reason: 'effect_open' })
  return { job_id: job.job_id, lease }
}

describe('an effect', () => {
  test('has no name of an attempt: under that a person decides about the whole of it', async () => {
    const t = await plane.tenant(POLICY)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    expect(await codeOf(t.begin(lease, 'attempt:1'))).toBe('invalid')
    expect(await t.begin(lease, 'attempt:one')).toMatchObject({ status: 'begun' })
  })

  test('whose result is large is not sent along with the next lease, and is answered when it is begun', async () => {
    const t = await plane.tenant(POLICY)
    const first = await t.lease({ topic: 'job.do.it' })
    for (const [key, result] of [
      ['small', 'x'],
      ['large', 'x'.repeat(20_000)],
    ] as const) {
      await t.begin(first.lease, key)
      await t.commit(first.lease, key, result)
    }
    await t.fail(first.lease)
    plane.clock.advance(30_000)
    const [second] = await t.claim(IT)
    expect(second?.effects).toEqual([{ key: 'small', status: 'committed', result: 'x' }])
    expect(await t.begin(second?.lease as string, 'large')).toMatchObject({
      status: 'committed',
      result: 'x'.repeat(20_000),
    })
  })

  test('begun twice is asked about twice, also by a node that has not heard of the policy that now denies it', async () => {
    const t = await plane.tenant(POLICY)
    const elsewhere = t.on(plane.node())
    const { lease } = await t.lease({ topic: 'job.do.it' })
    expect(await t.begin(lease, 'pay')).toMatchObject({ status: 'begun' })
    expect(await t.begin(lease, 'pay')).toMatchObject({ status: 'begun' })
    await elsewhere.activate(POLICY.replace('decision: ALLOW', 'decision: DENY'))
    expect(await codeOf(t.begin(lease, 'pay'))).toBe('effect_refused')
  })

  test(`${proves('R5', 'L3')} that is committed is not done again by the next attempt: its recorded result is the answer`, async () => {
    const t = await plane.tenant(POLICY)
    const first = await t.lease({ topic: 'job.do.it' })
    const begun = await t.begin(first.lease, 'pay')
    expect(begun).toMatchObject({ status: 'begun', remaining_ms: 60_000 })
    await t.commit(first.lease, 'pay', { receipt: 7 })
    await t.fail(first.lease)
    plane.clock.advance(30_000)
    const [second] = await t.claim(IT)
    expect(second?.effects).toEqual([{ key: 'pay', status: 'committed', result: { receipt: 7 } }])
    const again = await t.begin(second?.lease as string, 'pay')
    expect(again).toMatchObject({ status: 'committed', result: { receipt: 7 }, idempotency_key: begun.idempotency_key })
    expect(await t.effects(first.job.job_id)).toMatchObject([{ effect_key: 'pay', attempt: 1, late: false }])
    await held(t)
  })

  test('has one idempotency key in every attempt, and another in another job', async () => {
    const t = await plane.tenant(POLICY)
    const [a, b] = [await t.lease({ topic: 'job.do.it' }), await t.lease({ topic: 'job.do.it' })]
    const keys = [await t.begin(a.lease, 'pay'), await t.begin(a.lease, 'ship'), await t.begin(b.lease, 'pay')].map(
      (each) => each.idempotency_key,
    )
    expect(new Set(keys).size).toBe(3)
    expect((await t.begin(a.lease, 'pay')).idempotency_key).toBe(keys[0])
  })

  test('begins twice under one lease as one, and is committed once', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    const other = t.on(plane.node())
    await Promise.all([t.begin(lease, 'pay'), t.begin(lease, 'pay'), other.begin(lease, 'pay')])
    await Promise.all([t.commit(lease, 'pay', 1), other.commit(lease, 'pay', 2)])
    expect(await t.effects(job.job_id)).toHaveLength(1)
    expect((await t.kinds()).filter((kind) => kind.startsWith('effect.'))).toEqual(['effect.begun', 'effect.committed'])
    await held(t)
  })

  test(`${proves('R5')} may not begin when the job is to be cancelled, when under 2 s are left, or when the lease is over`, async () => {
    const t = await plane.tenant(POLICY)
    const stopped = await t.lease({ topic: 'job.do.it' })
    await t.cancel(stopped.job.job_id)
    expect(await codeOf(t.begin(stopped.lease, 'pay'))).toBe('effect_refused')
    const short = await t.lease({ topic: 'job.do.it', timeout_ms: 5000 })
    for (let i = 0; i < 3; i++) {
      plane.clock.advance(1000)
      await t.beat(short.lease)
    }
    expect(await codeOf(t.begin(short.lease, 'pay'))).toBe('done')
    plane.clock.advance(1)
    expect(await codeOf(t.begin(short.lease, 'ship'))).toBe('effect_refused')
    const silent = await t.lease({ topic: 'job.do.it' })
    plane.clock.advance(3000)
    // Lost by the clock, though nobody has swept it.
    expect(await codeOf(t.begin(silent.lease, 'pay'))).toBe('lease_lost')
    await t.sweep()
    expect(await codeOf(t.begin(silent.lease, 'pay'))).toBe('lease_lost')
    await held(t)
  })

  test('that was never begun cannot be committed', async () => {
    const t = await plane.tenant(POLICY)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    expect(await codeOf(t.commit(lease, 'pay', 1))).toBe('effect_refused')
  })

  test('of another attempt is not read through a lease that has ended', async () => {
    const t = await plane.tenant(POLICY)
    const first = await t.lease({ topic: 'job.do.it' })
    await t.fail(first.lease)
    plane.clock.advance(30_000)
    const [second] = await t.claim(IT, { worker: t.otherWorker })
    await t.begin(second?.lease as string, 'pay', t.otherWorker)
    await t.commit(second?.lease as string, 'pay', { receipt: 'of the other worker' }, t.otherWorker)
    expect(await codeOf(t.begin(first.lease, 'pay'))).toBe('lease_lost')
    expect(await codeOf(t.commit(first.lease, 'pay', 1))).toBe('lease_lost')
    await held(t)
  })

  test('that a person settled is not read through it either; its own record is, however late it is asked for', async () => {
    const t = await plane.tenant(POLICY)
    const [said, own] = [await doubted(t), await doubted(t)]
    await t.resolve(said.job_id, 'pay', true, undefined, { receipt: 'as a person found it' })
    expect(await codeOf(t.commit(said.lease, 'pay', 1))).toBe('lease_lost')
    expect(await t.kinds(said.job_id)).toContain('effect.late')
    await t.commit(own.lease, 'pay', { receipt: 7 })
    expect(await t.commit(own.lease, 'pay', { receipt: 7 })).toMatchObject({ result: { receipt: 7 } })
    await held(t)
  })

  test('is one of at most 1,000 of its job, whichever attempt began them', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease, 'first')
    await t.commit(lease, 'first', 1)
    await plane.db.query(
      `INSERT INTO effects SELECT tenant, job_id, 'more-' || n, version, status, lease_id, attempt, begun_at, hard_end, ended_at, result_ptr, verdict, settled_by, late
        FROM effects, generate_series(1, 998) n WHERE tenant = $1 AND job_id = $2`,
      [t.tenant, job.job_id],
    )
    expect(await t.begin(lease, 'last')).toMatchObject({ status: 'begun' })
    expect(await problemOf(t.begin(lease, 'one too many'))).toMatchObject({
      code: 'effect_refused',
      extra: { limit: 1000 },
    })
    expect(await t.begin(lease, 'last')).toMatchObject({ status: 'begun' })
    expect(await t.commit(lease, 'last', 2)).toMatchObject({ status: 'committed' })
    expect(await t.begin(lease, 'first')).toMatchObject({ status: 'committed', result: 1 })
  })

  test('is asked of the gate: one that begins while the policy changes is recorded under the new', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    const other = t.on(plane.node())
    const hold = holdCommits(plane.db)
    const beginning = codeOf(t.begin(lease, 'pay'))
    await turns(() => hold.waiting() === 1)
    let sent = 1
    plane.db.tap = (sql, send) => {
      if (isCommit(sql)) sent++
      return send()
    }
    const tap = plane.db.tap
    await other.activate(`${POLICY}  - { id: more, match: { topic: job.more }, decision: ALLOW }\n`)
    hold.release()
    plane.db.tap = tap
    expect(await beginning).toBe('done')
    expect(await t.effects(job.job_id)).toHaveLength(1)
    expect(await plane.world.policies.refresh(t.tenant)).toMatchObject({ epoch: 2 })
    expect(sent).toBe(3)
  })
})

describe(`${proves('L4')} after an activation a lease is held to what it was told`, () => {
  const rule = (constraints: string) =>
    POLICY.replace('decision: ALLOW', `decision: ALLOW_WITH_CONSTRAINTS, constraints: { ${constraints} }`)
  const hosts = (names: string) => rule(`allowed_hosts: [${names}]`)
  const enforces = ['allowed_hosts']

  test('a new constraint: no effect begins, and the next attempt goes to who enforces it', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease, 'before')
    await t.activate(hosts('good.example'))
    // The first answer of one begun before may have been lost; it is no leave to act now.
    for (const key of ['before', 'after', 'after'])
      expect(await problemOf(t.begin(lease, key))).toMatchObject({
        code: 'effect_refused',
        message: expect.stringContaining('allowed_hosts'),
      })
    // What did happen is recorded all the same.
    await t.commit(lease, 'before', 1)
    await t.fail(lease)
    plane.clock.advance(30_000)
    expect((await t.job(job.job_id)).status).toBe('retrying')
    expect(await t.claim(IT)).toEqual([])
    const [next] = await t.claim(IT, { enforces })
    expect(next?.constraints).toEqual({ allowed_hosts: ['good.example'] })
    expect(await t.begin(next?.lease as string, 'after')).toMatchObject({ status: 'begun' })
    await t.sweep()
    expect((await t.facts()).filter((fact) => fact.kind === 'lease.refused')).toMatchObject([
      { lease_id: lease, count: 3, reason: 'not told: allowed_hosts' },
    ])
    await held(t)
  })

  test('one that the door holds the input to refuses nothing where the input obeys: no worker has to know of it', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it', input: { amount: 10, tool: 'drill' } })
    await t.activate(rule('max_amount: 10, allowed_tools: [drill], max_input_bytes: 1000'))
    expect(await codeOf(t.begin(lease, 'a'))).toBe('done')
    await t.activate(rule('max_amount: 9'))
    const refused = await problemOf(t.begin(lease, 'b'))
    expect(refused).toMatchObject({ code: 'effect_refused', message: expect.stringContaining('no longer allows') })
    expect((await t.job(job.job_id)).cancel_requested).toBe(true)
    await held(t)
  })

  test('a tighter one refuses; the same, a wider one or none does not', async () => {
    const t = await plane.tenant(hosts('good.example, old.example'))
    const { lease } = await t.lease({ topic: 'job.do.it' }, { enforces })
    const begun = async (policy: string, key: string) => {
      await t.activate(policy)
      return codeOf(t.begin(lease, key))
    }
    expect(await begun(hosts('good.example'), 'a')).toBe('effect_refused')
    expect(await begun(hosts('old.example, good.example, new.example'), 'b')).toBe('done')
    expect(await begun(rule('allowed_hosts: [good.example, old.example], timeout_ms: 60000'), 'c')).toBe(
      'effect_refused',
    )
    expect(await begun(POLICY, 'd')).toBe('done')
    expect(
      await begun(
        `${hosts('good.example, old.example')}  - { id: more, match: { topic: job.more }, decision: ALLOW }\n`,
        'e',
      ),
    ).toBe('done')
    await held(t)
  })
})

describe('an attempt that ends with an effect open', () => {
  test(`${proves('R5')} leaves the job ambiguous in the same commit, whatever it reported, and no timer moves it`, async () => {
    const t = await plane.tenant(POLICY)
    for (const end of [
      (lease: string) => t.succeed(lease, 1),
      (lease: string) => t.fail(lease),
      (lease: string) => t.fail(lease, 'terminal'),
    ]) {
      const { lease, job } = await t.lease({ topic: 'job.do.it' })
      await t.begin(lease, 'pay')
      await end(lease)
      expect(await t.job(job.job_id)).toMatchObject({ status: 'ambiguous', status_reason: 'effect_open' })
      plane.clock.advance(90 * 86_400_000)
      await t.sweep()
      expect(await t.claim(IT)).toEqual([])
      expect((await t.job(job.job_id)).status).toBe('ambiguous')
      expect(await codeOf(t.cancel(job.job_id))).toBe('illegal_transition')
    }
    await held(t)
  })

  test(`${proves('R5')} is resolved by a late commit, which is evidence: the rest is run, the effect is not`, async () => {
    const t = await plane.tenant(POLICY)
    const { job_id, lease } = await doubted(t)
    expect(await t.commit(lease, 'pay', { receipt: 7 })).toMatchObject({ status: 'committed' })
    expect(await t.job(job_id)).toMatchObject({ status: 'retrying' })
    expect(await t.effects(job_id)).toMatchObject([{ status: 'committed', late: true }])
    const [second] = await t.claim(IT)
    expect(second?.effects).toMatchObject([{ key: 'pay', result: { receipt: 7 } }])
    expect(await t.kinds(job_id)).toContain('effect.late')
    await held(t)
  })

  test('with two effects open waits for both', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease, 'pay')
    await t.begin(lease, 'ship')
    await t.fail(lease)
    await t.commit(lease, 'pay', 1)
    expect((await t.job(job.job_id)).status).toBe('ambiguous')
    await t.resolve(job.job_id, 'ship', true)
    expect((await t.job(job.job_id)).status).toBe('retrying')
    await held(t)
  })
})

describe('a person who looked', () => {
  test(`${proves('R5')} says it happened: the effect stays, the rest is run again, or what they say instead`, async () => {
    const t = await plane.tenant(POLICY)
    const [rest, done, given] = [await doubted(t), await doubted(t), await doubted(t)]
    expect(await t.resolve(rest.job_id, 'pay', true, undefined, { receipt: 9 })).toMatchObject({ status: 'retrying' })
    expect((await t.claim(IT))[0]?.effects).toEqual([{ key: 'pay', status: 'committed', result: { receipt: 9 } }])
    expect(await t.resolve(done.job_id, 'pay', true, 'finish', 'paid')).toMatchObject({
      status: 'succeeded',
      status_reason: 'resolved',
      verdict: 'ALLOW',
    })
    expect(await t.resolve(given.job_id, 'pay', true, 'dead_letter')).toMatchObject({
      status: 'dead_letter',
      respond_by: plane.clock.now() + 3_600_000,
    })
    await held(t)
  })

  test(`${proves('R5')} says it did not: refused until the hard end of the attempt, because until then it still may`, async () => {
    const t = await plane.tenant(POLICY)
    const { job_id } = await doubted(t)
    const problem = await problemOf(t.resolve(job_id, 'pay', false))
    expect(problem).toMatchObject({ code: 'effect_not_decidable', extra: { retry_after_ms: 57_000 } })
    plane.clock.advance(56_999)
    expect(await codeOf(t.resolve(job_id, 'pay', false))).toBe('effect_not_decidable')
    plane.clock.advance(1)
    expect(await t.resolve(job_id, 'pay', false)).toMatchObject({ status: 'retrying' })
    const [lease] = await t.claim(IT)
    expect(lease?.effects).toEqual([])
    expect(await t.begin(lease?.lease as string, 'pay')).toMatchObject({ status: 'begun' })
    await t.commit(lease?.lease as string, 'pay', 1)
    await t.succeed(lease?.lease as string)
    await held(t)
  })

  test('and is told when it happened after all: a commit by the attempt before is recorded, beside the new one', async () => {
    const t = await plane.tenant(POLICY)
    const { job_id, lease } = await doubted(t)
    plane.clock.advance(60_000)
    await t.resolve(job_id, 'pay', false)
    const [second] = await t.claim(IT)
    await t.begin(second?.lease as string, 'pay')
    expect(await codeOf(t.commit(lease, 'pay', 'first'))).toBe('lease_lost')
    await t.commit(second?.lease as string, 'pay', 'second')
    // What the second attempt was given back is not the first one's to read.
    for (let n = 0; n < 200; n++) expect(await codeOf(t.commit(lease, 'pay', 'first'))).toBe('lease_lost')
    const late = async () => (await t.facts()).filter((fact) => fact.kind === 'effect.late')
    // Once at once, then counted: or a worker could fill the log with one effect.
    expect(await late()).toMatchObject([{ lease_id: lease, attempt: 1 }])
    plane.clock.advance(5000)
    await t.sweep()
    expect(await late()).toMatchObject([
      { lease_id: lease, attempt: 1 },
      { lease_id: lease, attempt: 1, count: 200 },
    ])
    await held(t)
  })

  test('late evidence that could not be written is written when it is reported again', async () => {
    const t = await plane.tenant(POLICY)
    const { job_id, lease } = await doubted(t)
    plane.clock.advance(60_000)
    await t.resolve(job_id, 'pay', false)
    const [second] = await t.claim(IT)
    await t.begin(second?.lease as string, 'pay')
    plane.db.tap = (sql, send) => (isCommit(sql) ? Promise.reject(new DbError('the disk is full', '53100')) : send())
    expect(await codeOf(t.commit(lease, 'pay', 'first'))).toBe('store_unavailable')
    plane.db.tap = null
    const late = async () => (await t.facts()).filter((fact) => fact.kind === 'effect.late')
    expect(await late()).toEqual([])
    expect(await codeOf(t.commit(lease, 'pay', 'first'))).toBe('lease_lost')
    expect(await late()).toMatchObject([{ lease_id: lease, attempt: 1 }])
    expect((await late())[0]?.count).toBeUndefined()
    await held(t)
  })

  test('is heard once, about an effect that is in doubt, of a job that is', async () => {
    const t = await plane.tenant(POLICY)
    const { job_id } = await doubted(t)
    expect(await codeOf(t.resolve(job_id, 'ship', true))).toBe('not_found')
    await t.resolve(job_id, 'pay', true)
    expect(await codeOf(t.resolve(job_id, 'pay', true))).toBe('illegal_transition')
    expect(await codeOf(t.resolve('job_nobody', 'pay', true))).toBe('not_found')
  })

  test('gets one more attempt for the rest, even where none was left', async () => {
    const t = await plane.tenant(POLICY)
    const { lease, job } = await t.lease({ topic: 'job.do.it', max_attempts: 1 })
    await t.begin(lease, 'pay')
    await t.fail(lease)
    await t.resolve(job.job_id, 'pay', true)
    const [again] = await t.claim(IT)
    expect(again?.attempt).toBe(2)
    await t.fail(again?.lease as string)
    expect((await t.job(job.job_id)).status).toBe('dead_letter')
    await held(t)
  })

  test('a result they give is screened like any other', async () => {
    const t = await plane.tenant(POLICY)
    const { job_id } = await doubted(t)
    const pem = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`
    expect(await t.resolve(job_id, 'pay', true, 'finish', pem)).toMatchObject({
      status: 'quarantined',
      verdict: 'QUARANTINE',
    })
    expect(JSON.stringify(await t.rows('payloads'))).not.toContain('MIIEvQ')
    await held(t)
  })

  test('finishes a whole attempt that was in doubt, where it happened', async () => {
    const t = await plane.tenant(POLICY)
    const { job } = await t.lease({ topic: 'job.do.it' }, { effects: 'none' })
    plane.clock.advance(3000)
    await t.sweep()
    expect(await t.resolve(job.job_id, 'attempt:1', true)).toMatchObject({ status: 'succeeded' })
    await held(t)
  })
})

describe('a cancel that was asked before the doubt', () => {
  async function cancelledInDoubt(t: Tenancy) {
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease, 'pay')
    await t.cancel(job.job_id)
    expect((await t.beat(lease)).answer).toBe('cancel')
    await t.fail(lease)
    expect(await t.job(job.job_id)).toMatchObject({ status: 'ambiguous', cancel_requested: true })
    return { lease, job_id: job.job_id }
  }

  test('is not forgotten: with the doubt gone the job is cancelled, not run again', async () => {
    const t = await plane.tenant(POLICY)
    const [late, said] = [await cancelledInDoubt(t), await cancelledInDoubt(t)]
    await t.commit(late.lease, 'pay', 1)
    await t.resolve(said.job_id, 'pay', true)
    for (const { job_id } of [late, said])
      expect(await t.job(job_id)).toMatchObject({ status: 'cancelled', status_reason: 'cancelled' })
    expect(await t.claim(IT)).toEqual([])
    await held(t)
  })

  test('yields to a person who says to run the rest', async () => {
    const t = await plane.tenant(POLICY)
    const { job_id } = await cancelledInDoubt(t)
    expect(await t.resolve(job_id, 'pay', true, 'retry')).toMatchObject({ status: 'retrying', cancel_requested: false })
    await held(t)
  })
})
