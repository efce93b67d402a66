import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, holdCommits, openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { LeasedJob } from '../contract/workers.js'
import { leasesFor } from '../store/claim-answers.js'
import { type Claiming, dispatch } from './dispatch.js'
import { createKey, revokeKey } from './keys.js'

const policy = (rules: string, classes = '') => `version: v1\ndefault_decision: DENY\n${classes}rules:\n${rules}\n`
const ALLOW = policy('  - { id: do, match: { topic: job.do.* }, decision: ALLOW }')
const NO = policy('  - { id: no, match: { topic: job.do.* }, decision: DENY, reason: not any more }')
const ASKS = policy('  - { id: ask, match: { topic: job.do.* }, decision: REQUIRE_APPROVAL }')

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

describe('the second door', () => {
  test(`${proves('L4', 'D3')} denies what the first allowed, once a new snapshot says so`, async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    await t.activate(NO)
    expect(await t.claim(IT)).toEqual([])
    expect(await t.job(job_id)).toMatchObject({
      status: 'denied',
      status_reason: 'denied_at_dispatch',
      decision: 'DENY',
      reason: 'not any more',
      attempt: 0,
    })
    expect(await t.rows('leases')).toEqual([])
    expect(await t.kinds(job_id)).toEqual(['job.submitted', 'job.refused'])
    expect((await t.rows<{ door: string }>('decisions')).map((row) => row.door).sort()).toEqual(['dispatch', 'submit'])
    await held(t)
  })

  test('asks people about what the first let pass', async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    await t.activate(ASKS)
    expect(await t.claim(IT)).toEqual([])
    const job = await t.job(job_id)
    expect(job.status).toBe('pending_approval')
    await t.approve(job.approval_id as string)
    expect(await t.claim(IT)).toHaveLength(1)
    await held(t)
  })

  test(`${proves('D10', 'L4')} a lease decided under the snapshot before loses to an activation`, async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    const other = t.on(plane.node())
    const hold = holdCommits(plane.db)
    const claiming = t.claim(IT)
    await turns(() => hold.waiting() === 1)
    plane.db.tap = null
    await other.activate(NO)
    hold.release()
    expect(await claiming).toEqual([])
    expect(await t.rows('leases')).toEqual([])
    expect(await t.claim(IT)).toEqual([])
    expect((await t.job(job_id)).status).toBe('denied')
    await held(t)
  })

  test(`${proves('D8')} checks input constraints again, under the rules of now`, async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.do.it', input: { replicas: 9 } })
    await t.activate(
      policy(
        '  - { id: do, match: { topic: job.do.* }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_replicas: 3 } }',
      ),
    )
    expect(await codeOf(t.submit({ topic: 'job.do.it', input: { replicas: 9 } }))).toBe('policy_denied')
    expect(await t.claim(IT)).toEqual([])
    expect((await t.job(job_id)).status).toBe('denied')
    await held(t)
  })
})

describe('a worker', () => {
  const hosts = policy(
    '  - { id: do, match: { topic: job.do.* }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_hosts: [a.example.com] } }\n  - { id: free, match: { topic: job.free.* }, decision: ALLOW }',
  )

  test(`${proves('D8')} that does not enforce allowed_hosts never gets a job bound to them, nor waits behind one`, async () => {
    const t = await plane.tenant(hosts)
    const bound = await t.submit({ topic: 'job.do.it', priority: 9 })
    const free = await t.submit({ topic: 'job.free.it' })
    const leases = await t.claim(['job.do.it', 'job.free.it'], { capacity: 5 })
    expect(leases.map((each) => each.job.job_id)).toEqual([free.job_id])
    expect(await t.claim(IT, { enforces: ['max_tokens'] })).toEqual([])
    expect((await t.job(bound.job_id)).status).toBe('queued')
    const [lease] = await t.claim(IT, { enforces: ['allowed_hosts'] })
    expect(lease).toMatchObject({ constraints: { allowed_hosts: ['a.example.com'] }, job: { job_id: bound.job_id } })
    await held(t)
  })

  test('gets the job as it was asked, and durations instead of instants', async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id, run_id, job_hash } = await t.submit({
      topic: 'job.do.it',
      labels: { a: 'b' },
      input: { n: 1 },
      context: ['c'],
      timeout_ms: 9000,
    })
    const [lease] = await t.claim(IT)
    expect(lease).toMatchObject({
      attempt: 1,
      remaining_ms: 9000,
      effects: [],
      job: { job_id, run_id, job_hash, labels: { a: 'b' }, input: { n: 1 }, context: ['c'] },
    })
  })

  test('repeats a claim and gets the leases it was given, once each, while they live', async () => {
    const t = await plane.tenant(ALLOW)
    for (let i = 0; i < 3; i++) await t.submit({ topic: 'job.do.it' })
    const claim_id = 'claim-repeated'
    const first = await t.claim(IT, { capacity: 2, claim_id })
    const claiming = { tenant: t.tenant, principal: t.worker.principal, claim_id, topics: ['job.do.it'] }
    const again = await leasesFor(plane.world, claiming)
    expect(again.map((l) => l.lease).sort()).toEqual(first.map((l) => l.lease).sort())
    expect(await leasesFor(plane.world, { ...claiming, principal: t.otherWorker.principal })).toEqual([])
    await t.succeed(first[0]?.lease as string)
    expect(await leasesFor(plane.world, claiming)).toHaveLength(1)
  })

  test('two that ask at once never get the same job', async () => {
    const t = await plane.tenant(ALLOW)
    const other = t.on(plane.node())
    for (let i = 0; i < 6; i++) await t.submit({ topic: 'job.do.it' })
    const got = await Promise.all([
      t.claim(IT, { capacity: 6 }),
      t.claim(IT, { capacity: 6, worker: t.otherWorker }),
      other.claim(IT, { capacity: 6 }),
    ])
    const ids = got.flat().map((each) => each.job.job_id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toHaveLength(6)
    await held(t)
  })
})

describe('the order', () => {
  test('is by priority, then by age', async () => {
    const t = await plane.tenant(ALLOW)
    const made: string[] = []
    for (const priority of [5, 9, 0, 5, 9]) {
      made.push((await t.submit({ topic: 'job.do.it', priority })).job_id)
      plane.clock.advance(1)
    }
    const order: (string | undefined)[] = []
    for (let i = 0; i < 5; i++) order.push((await t.claim(IT))[0]?.job.job_id)
    expect(order).toEqual([1, 4, 0, 3, 2].map((i) => made[i]))
  })

  test('a job is not had before its not_before', async () => {
    const t = await plane.tenant(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.do.it', not_before: plane.clock.now() + 5000 })
    expect(await t.claim(IT)).toEqual([])
    plane.clock.advance(4999)
    expect(await t.claim(IT)).toEqual([])
    plane.clock.advance(1)
    expect((await t.claim(IT))[0]?.job.job_id).toBe(job_id)
  })

  test('a topic’s backlog does not hide another’s', async () => {
    const t = await plane.tenant(ALLOW)
    for (let i = 0; i < 60; i++) await t.submit({ topic: 'job.do.many', priority: 9 })
    const { job_id } = await t.submit({ topic: 'job.do.it', priority: 0 })
    const ids = (await t.claim(['job.do.many', 'job.do.it'], { capacity: 61 })).map((each) => each.job.job_id)
    expect(ids).toContain(job_id)
  })
})

describe('a number of places', () => {
  const LIMITED = policy(
    '  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { concurrent: 2, per: rule } }\n  - { id: free, match: { topic: job.free.* }, decision: ALLOW }',
    'job_classes:\n  - { topic: job.do.*, attempts: 5, heartbeat_ms: 1000, timeout_ms: 60000, idempotent: true }\n',
  )
  const holds = async (t: Tenancy) => (await t.rows<{ held: number }>('limits')).map((row) => row.held)

  test(`${proves('D7')} is never passed, however many ask at once, on one node or two`, async () => {
    const t = await plane.tenant(LIMITED)
    const other = t.on(plane.node())
    for (let i = 0; i < 12; i++) await t.submit({ topic: 'job.do.it' })
    const claims = Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? t : other).claim(IT, { capacity: 3 }))
    const leases = (await Promise.all(claims)).flat()
    expect(leases).toHaveLength(2)
    expect(await holds(t)).toEqual([2])
    await held(t)
  })

  test(`${proves('D7')} is given back whichever way an attempt ends`, async () => {
    const t = await plane.tenant(LIMITED)
    const ends: Record<string, (lease: string, job_id: string) => Promise<unknown>> = {
      success: (lease) => t.succeed(lease),
      quarantine: (lease) =>
        t.succeed(
          lease,
          `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`,
        ),
      retry: (lease) => t.fail(lease),
      'dead letter': (lease) => t.fail(lease, 'terminal'),
      lost: async () => {
        plane.clock.advance(3000)
        await t.sweep()
      },
      timeout: async (lease) => {
        for (let i = 0; i < 30; i++) {
          plane.clock.advance(2000)
          await t.beat(lease)
        }
        await t.sweep()
      },
      cancelled: async (lease, job_id) => {
        await t.cancel(job_id)
        await t.fail(lease)
      },
      ambiguous: async (lease) => {
        await t.begin(lease, 'pay')
        await t.fail(lease)
      },
    }
    for (const [how, end] of Object.entries(ends)) {
      const { lease, job } = await t.lease({ topic: 'job.do.it', priority: 9 })
      expect(await holds(t), how).toEqual([1])
      await end(lease, job.job_id)
      expect((await t.job(job.job_id)).status, how).not.toBe('running')
      expect(await holds(t), how).toEqual([0])
      plane.clock.advance(60_000)
      for (const left of await t.claim(IT, { capacity: 9 })) await t.fail(left.lease, 'terminal')
    }
    await held(t)
  })

  test(`${proves('D7')} that is full leaves the job queued and holds back nobody behind it`, async () => {
    const t = await plane.tenant(LIMITED)
    for (let i = 0; i < 50; i++) await t.submit({ topic: 'job.do.it', priority: 9 })
    const { job_id } = await t.submit({ topic: 'job.free.it', priority: 0 })
    const first = await t.look(['job.do.it', 'job.free.it'], { capacity: 3 })
    expect(first.leases.map((each) => each.job.job_id)).toContain(job_id)
    expect(first.leases).toHaveLength(3)
    const next = await t.look(IT)
    expect(next.leases).toEqual([])
    expect(next.retry_in_ms).toBeGreaterThan(0)
    expect((await t.rows<{ status: string }>('jobs')).filter((row) => row.status === 'queued')).toHaveLength(48)
    await held(t)
  })

  test('behind a whole backlog of one topic at a full limit, another job of the same topic that is under none is found', async () => {
    const perLabel = policy(
      '  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { concurrent: 1, per: "label:c" } }',
    )
    const t = await plane.tenant(perLabel)
    for (let i = 0; i < 80; i++) await t.submit({ topic: 'job.do.it', labels: { c: 'full' }, priority: 9 })
    const { job_id } = await t.submit({ topic: 'job.do.it', labels: { c: 'free' }, priority: 0 })
    expect(await t.claim(IT)).toHaveLength(1)
    expect((await t.claim(IT))[0]?.job.job_id).toBe(job_id)
  })
})

describe('a limit that a new snapshot changed', () => {
  const AB = ['job.do.a', 'job.do.b']
  const FREE = '  - { id: rest, match: { topic: job.do.* }, decision: ALLOW }'
  const limited = (topic: string) =>
    policy(
      `  - { id: one, match: { topic: ${topic} }, decision: ALLOW, limits: { concurrent: 1, per: rule } }\n${FREE}`,
    )
  const submits = (t: Tenancy, count: number) =>
    Promise.all(Array.from({ length: count }, () => t.submit({ topic: 'job.do.a', priority: 9 })))
  const topics = async (t: Tenancy) => (await t.claim(AB)).map(({ job }) => job.topic)
  function notes() {
    const seen = { count: 0 }
    plane.db.tap = (sql, send) => {
      seen.count += Number(sql.includes('UPDATE jobs t SET needs'))
      return send()
    }
    return seen
  }

  test('holds back nothing that it bound only before', async () => {
    const t = await plane.tenant(limited('job.do.*'))
    await submits(t, 20)
    await t.submit({ topic: 'job.do.b', priority: 0 })
    await t.activate(limited('job.do.a'))
    expect(await topics(t)).toEqual(['job.do.a'])
    expect(await topics(t)).toEqual(['job.do.b'])
    await held(t)
  })

  test('hides nothing behind what it did not bind before, however much of that waits', async () => {
    const t = await plane.tenant(policy(FREE))
    await submits(t, 1100)
    await t.activate(limited('job.do.a'))
    expect(await topics(t)).toEqual(['job.do.a'])
    await t.submit({ topic: 'job.do.b', priority: 0 })
    // All of it is decided anew, a thousand at a time; from then on it is passed over.
    const looks = [await t.look(AB), await t.look(AB)]
    expect(looks.map(({ leases }) => leases.map(({ job }) => job.topic))).toEqual([[], ['job.do.b']])
    expect(looks[0]?.more).toBe(true)
    const noted = notes()
    expect(await t.look(AB)).toMatchObject({ leases: [], more: false })
    expect(noted.count).toBe(0)
  })

  test('is noted once where rules read the clock, and a step of the job keeps no note of another view', async () => {
    const later = new Date(plane.clock.now() + 86_400_000).toISOString()
    const t = await plane.tenant(
      policy(
        `  - { id: one, match: { topic: job.do.a }, when: 'now < timestamp("${later}")', decision: ALLOW, limits: { concurrent: 1, per: rule } }\n${FREE}`,
      ),
    )
    await submits(t, 3)
    expect(await topics(t)).toEqual(['job.do.a'])
    const noted = notes()
    expect(await topics(t)).toEqual([])
    expect(noted.count).toBe(1)
    expect(await topics(t)).toEqual([])
    expect(noted.count).toBe(1)
    plane.db.tap = null
    const rows = () =>
      plane.db.query<{ job_id: string; limit_keys: string[] | null }>(
        "SELECT job_id, limit_keys FROM jobs WHERE tenant = $1 AND status <> 'running'",
        [t.tenant],
      )
    const [job] = await rows()
    expect(job?.limit_keys).toHaveLength(1)
    await t.cancel(job?.job_id as string)
    expect((await rows()).find(({ job_id }) => job_id === job?.job_id)?.limit_keys).toBeNull()
  })
})

describe('the queue time', () => {
  const CLASS = policy(
    '  - { id: do, match: { topic: job.do.* }, decision: ALLOW }',
    'job_classes:\n  - { topic: job.do.*, queue_timeout_ms: 5000 }\n',
  )

  test(`${proves('R2')} ends what no worker came for, and says so`, async () => {
    const t = await plane.tenant(CLASS)
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    plane.clock.advance(4999)
    await t.sweep()
    expect((await t.job(job_id)).status).toBe('queued')
    plane.clock.advance(1)
    await t.sweep()
    expect(await t.job(job_id)).toMatchObject({ status: 'expired', status_reason: 'no_worker' })
    expect(await t.claim(IT)).toEqual([])
    await held(t)
  })

  test('does not run while a job waits for people or for its not_before', async () => {
    const t = await plane.tenant(CLASS.replace('decision: ALLOW', 'decision: REQUIRE_APPROVAL'))
    const { job_id, approval_id } = await t.submit({ topic: 'job.do.it' })
    plane.clock.advance(60_000)
    await t.sweep()
    await t.approve(approval_id as string)
    await t.sweep()
    expect((await t.job(job_id)).status).toBe('queued')
    const later = await t.submit({ topic: 'job.do.it', not_before: plane.clock.now() + 60_000 })
    await t.approve(later.approval_id as string)
    plane.clock.advance(60_000)
    await t.sweep()
    expect((await t.job(later.job_id)).status).toBe('queued')
  })
})

describe('what a worker may not have', () => {
  const rules = (hosts: string) =>
    policy(`
  - { id: plain, match: { topic: job.net.call, labels: { kind: plain } }, decision: ALLOW }
  - { id: hosts, match: { topic: job.net.call, labels: { kind: hosts } }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { ${hosts} } }`)
  const HOSTS = rules('allowed_hosts: [a.example]')
  const TOPIC = ['job.net.call']
  const many = (t: Tenancy, count: number) =>
    Promise.all(
      Array.from({ length: count }, () =>
        t.submit({
          topic: 'job.net.call',
          labels: { kind: 'hosts' },
          priority: 9,
          input: { url: 'https://a.example/' },
        }),
      ),
    )
  const plain = (t: Tenancy) => t.submit({ topic: 'job.net.call', labels: { kind: 'plain' }, priority: 0 })
  const ids = (leases: LeasedJob[]) => leases.map(({ job }) => job.job_id)

  test(`${proves('D8')} hides nothing, however much of it waits, also of another snapshot`, async () => {
    const t = await plane.tenant(HOSTS)
    await many(t, 1100)
    expect(ids(await t.claim(TOPIC))).toEqual([])
    expect(ids(await t.claim(TOPIC))).toEqual([])
    const one = await plain(t)
    expect(ids(await t.claim(TOPIC))).toEqual([one.job_id])
    // All of it is decided anew, a thousand at a time; from then on it is passed over again.
    await t.activate(rules('allowed_hosts: [a.example], max_tokens: 9'))
    const two = await plain(t)
    const looks = [await t.look(TOPIC), await t.look(TOPIC)]
    expect(looks.map(({ more }) => more)).toEqual([true, false])
    expect(looks.flatMap(({ leases }) => ids(leases))).toEqual([two.job_id])
    let decided = 0
    plane.db.tap = (sql, send) => {
      decided += Number(sql.includes('UPDATE jobs t SET needs'))
      return send()
    }
    expect(ids(await t.claim(TOPIC))).toEqual([])
    expect(decided).toBe(0)
    plane.db.tap = null
    expect(await t.claim(TOPIC, { enforces: ['allowed_hosts', 'max_tokens', 'anything'], capacity: 3 })).toHaveLength(3)
  })

  test('becomes anybody’s when a new snapshot asks for less', async () => {
    const t = await plane.tenant(HOSTS)
    const [job] = await many(t, 1)
    expect(await t.claim(TOPIC)).toEqual([])
    await t.activate(rules('timeout_ms: 1000'))
    expect(ids(await t.claim(TOPIC))).toEqual([job?.job_id])
  })

  test('is asked about again after a while where rules read the clock', async () => {
    const at = plane.clock.now()
    const t = await plane.tenant(
      policy(`
  - { id: all, match: { topic: job.net.* }, decision: ALLOW }
  - { id: early, match: { topic: job.net.* }, when: 'now < timestamp("${new Date(at + 1_200_000).toISOString()}")', decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_tokens: 5 } }`),
    )
    const { job_id } = await t.submit({ topic: 'job.net.call' })
    expect(await t.claim(TOPIC)).toEqual([])
    plane.clock.advance(1_800_000)
    expect(ids(await t.claim(TOPIC))).toEqual([job_id])
  })
})

describe('a look', () => {
  const claiming = (t: Tenancy, more: Partial<Claiming> = {}): Claiming => ({
    ...{ tenant: t.tenant, principal: t.worker.principal, key: t.worker, worker: 'w', claim_id: `c-${Math.random()}` },
    ...{ topics: IT, capacity: 1, enforces: [], serves: [], effects: 'recorded', ...more },
  })
  /** What statements brought in, by the words they hold. */
  function reads(word: string) {
    const seen: { rows: number; bytes: number }[] = []
    plane.db.tap = async (sql, send) => {
      const rows = await send()
      if (sql.includes(word)) seen.push({ rows: rows.length, bytes: JSON.stringify(rows).length })
      return rows
    }
    return seen
  }

  test('finds work for all claims at once, fills the oldest first, and fails only the one whose key was revoked', async () => {
    const t = await plane.tenant(ALLOW)
    const made = await Promise.all(Array.from({ length: 7 }, () => t.submit({ topic: 'job.do.it' })))
    const { row } = await createKey(plane.world, t.tenant, 'person:root', { role: 'worker', principal: 'worker:gone' })
    await revokeKey(plane.world, t.tenant, 'person:root', row.key_id)
    const gone = { tenant: t.tenant, key_id: row.key_id }
    const due = reads('json_array_elements_text')
    const { given } = await dispatch(plane.world, [
      claiming(t, { capacity: 3 }),
      claiming(t, { key: gone }),
      claiming(t, { capacity: 2 }),
      claiming(t, { capacity: 4 }),
      claiming(t),
    ])
    const got = await Promise.allSettled(given.map(async (each) => (await each)?.length ?? null))
    expect(got.map((each) => (each.status === 'fulfilled' ? each.value : each.reason.code))).toEqual([
      3,
      'unauthenticated',
      2,
      2,
      null,
    ])
    expect(due).toHaveLength(1)
    expect(await t.rows('leases')).toHaveLength(made.length)
    await held(t)
  })

  test('gives nothing to a claim whose caller hung up', async () => {
    const t = await plane.tenant(ALLOW)
    await t.submit({ topic: 'job.do.it' })
    const { given } = await dispatch(plane.world, [claiming(t, { gone: AbortSignal.abort() }), claiming(t)])
    expect([await given[0], (await given[1])?.length]).toEqual([null, 1])
  })

  test('reads for many repeated claims as often as for one, and tells each what it was given', async () => {
    const t = await plane.tenant(ALLOW)
    const claims = Array.from({ length: 6 }, (_, n) => claiming(t, { claim_id: `claim-${n}`, capacity: 2 }))
    await Promise.all(Array.from({ length: 12 }, (_, n) => t.submit({ topic: 'job.do.it', input: n })))
    const leases = async (of: Claiming[]) => Promise.all((await dispatch(plane.world, of)).given)
    const first = await leases(claims)
    const seen = { count: 0 }
    plane.db.tap = (_, send) => {
      seen.count++
      return send()
    }
    const repeated = (n: number) => claims.slice(0, n).map((each) => ({ ...each, known: false }))
    await leases(repeated(1))
    const once = seen.count
    seen.count = 0
    const again = await leases(repeated(6))
    expect(seen.count).toBe(once)
    const told = (all: (LeasedJob[] | null)[]) =>
      all.map((each) => each?.map(({ lease, job }) => `${lease} ${job.input}`).sort())
    expect(told(again)).toEqual(told(first))
    expect(told(again).flat()).toHaveLength(12)
  })

  test('knows what the one before it is still leasing', async () => {
    const t = await plane.tenant(ALLOW)
    for (let n = 0; n < 2; n++) await t.submit({ topic: 'job.do.it' })
    const hold = holdCommits(plane.db)
    const taken = new Set<string>()
    const first = await dispatch(plane.world, [claiming(t)], taken)
    const second = await dispatch(plane.world, [claiming(t, { capacity: 5 })], taken)
    expect(taken.size).toBe(2)
    hold.release()
    const leases = [...((await first.given[0]) ?? []), ...((await second.given[0]) ?? [])]
    expect(new Set(leases.map(({ job }) => job.job_id)).size).toBe(2)
    expect(taken.size).toBe(0)
  })

  test('reads no more rows for many topics than for one', async () => {
    const t = await plane.tenant(ALLOW)
    const topics = Array.from({ length: 12 }, (_, n) => `job.do.n${n}`)
    await Promise.all(topics.flatMap((topic) => Array.from({ length: 9 }, () => t.submit({ topic }))))
    const due = reads('json_array_elements_text')
    expect(await t.claim(topics, { capacity: 5 })).toHaveLength(5)
    expect(due.map(({ rows }) => rows)).toEqual([9])
  })

  test('reads payloads that there is room for in an answer, and no others', async () => {
    const t = await plane.tenant(ALLOW)
    const text = 'a'.repeat(650_000)
    for (let n = 0; n < 40; n++) await t.submit({ topic: 'job.do.it', input: text, context: text })
    const texts = reads('input')
    const leases = await t.claim(IT, { capacity: 40 })
    const most = Math.max(...texts.map(({ bytes }) => bytes))
    expect(most).toBeGreaterThan(8 * 2 ** 20)
    expect(most).toBeLessThan(20 * 2 ** 20)
    expect(leases.length).toBeGreaterThan(5)
    expect(leases.length).toBeLessThan(20)
  })
})
