import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { METRIC_NAMES, type MetricName } from '../core/metrics.js'
import { idAt } from '../store/metrics.js'
import { measure } from './measure.js'

const policy = (rules: string, more = '') => `version: v1\ndefault_decision: DENY\n${more}rules:\n${rules}\n`
const ALLOW = policy('  - { id: do, match: { topic: job.> }, decision: ALLOW }')
const ASK = policy('  - { id: ask, match: { topic: job.> }, decision: REQUIRE_APPROVAL }')
const DERIVED = policy(
  '  - { id: do, match: { topic: job.> }, decision: ALLOW }',
  `job_classes:\n  - { topic: job.run.it, derive: { action_type: 'has(input.rm) ? "delete" : "read"' } }\n`,
)
const MINUTE = 60_000
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

async function number(t: Tenancy, metric: MetricName, ms = 10 * MINUTE) {
  const [found] = await measure(t.world, t.tenant, [metric], ms)
  if (found === undefined) throw new Error('nothing was measured')
  return found
}
const value = async (t: Tenancy, metric: MetricName, ms?: number) => (await number(t, metric, ms)).value
const set = (t: Tenancy, table: string, change: string) =>
  plane.db.query(`UPDATE ${table} SET ${change} WHERE tenant = $1`, [t.tenant])

/** Changes what a lease says of the decision that granted it. */
const decided = (name: string, value: string) => `made = jsonb_set(made::jsonb, '{decided,${name}}', '${value}')::json`

const REFUND = { topic: 'job.pay.out', action_type: 'refund' }

/** A refund that a person allowed and a worker got. */
async function approvedRefund(t: Tenancy): Promise<void> {
  const { approval_id } = await t.submit(REFUND)
  await t.approve(approval_id as string)
  expect(await t.claim([REFUND.topic])).toHaveLength(1)
}

describe(`${proves('O2')} high-risk-unapproved`, () => {
  test('is unknown before anything ran', async () => {
    const t = await plane.tenant(ASK)
    await t.submit(REFUND)
    expect(await number(t, 'high-risk-unapproved')).toMatchObject({
      value: null,
      unknown: 'no lease was granted in the window',
    })
  })

  test('is zero for what people allowed and for what is no risk', async () => {
    const t = await plane.tenant(ASK)
    await approvedRefund(t)
    await t.activate(ALLOW)
    await t.lease({ topic: 'job.read.it' })
    expect(await number(t, 'high-risk-unapproved')).toMatchObject({ value: 0, unknown: null, samples: 2 })
  })

  test('rises by a plain ALLOW rule', async () => {
    const t = await plane.tenant(ALLOW)
    await t.lease(REFUND)
    await t.lease({ topic: 'job.read.it' })
    expect(await value(t, 'high-risk-unapproved')).toBe(1)
  })

  test('rises by an ALLOW that came after the question, which nobody need have answered', async () => {
    const t = await plane.tenant(ASK)
    const { approval_id } = await t.submit(REFUND)
    await t.approve(approval_id as string)
    await t.activate(ALLOW)
    expect(await t.claim([REFUND.topic])).toHaveLength(1)
    expect(await value(t, 'high-risk-unapproved')).toBe(1)
  })

  test('does not rise by a retry under the same answer, or by one that a new policy asks about again', async () => {
    const t = await plane.tenant(ASK)
    const { job_id, approval_id } = await t.submit(REFUND)
    await t.approve(approval_id as string)
    const [first] = await t.claim([REFUND.topic])
    await t.fail(first?.lease as string)
    await t.activate(ASK.replace('id: ask', 'id: ask-again'))
    t.clock.advance(MINUTE)
    expect(await t.claim([REFUND.topic])).toEqual([])
    expect((await t.approval(approval_id)).status).toBe('void')
    await t.approve((await t.job(job_id)).approval_id as string)
    expect(await t.claim([REFUND.topic])).toHaveLength(1)
    expect(await number(t, 'high-risk-unapproved')).toMatchObject({ value: 0, samples: 2 })
  })

  test('is not hidden by turned flags', async () => {
    const t = await plane.tenant(ALLOW)
    await t.lease(REFUND)
    const nothing = JSON.stringify({ effective: { labels: {}, risk_tags: [], environment: null, action_type: null } })
    await set(t, 'jobs', `high_risk = false, state = (state::jsonb || '${nothing}')::json`)
    await set(t, 'jobs', `claim = jsonb_set(claim::jsonb, '{first,high_risk}', 'false')::json`)
    await set(t, 'leases', decided('high_risk', 'false'))
    expect(await value(t, 'high-risk-unapproved')).toBe(1)
  })

  const tampered: [string, string, string][] = [
    ['an approval that is open again', 'approvals', `status = 'pending'`],
    ['an approval without its answers', 'approvals', `answers = '[]'`],
    ['an approval of another grant', 'approvals', `bound_hash = 'x'`],
    ['an approval that asks less', 'approvals', `specs = '[]'`],
    ['an approval answered later', 'approvals', `answers = jsonb_set(answers, '{0,at}', '9999999999999')`],
    ['an approval answered by the requester', 'approvals', `answers = jsonb_set(answers, '{0,by}', '"agent:bot"')`],
    ['a decision that became an ALLOW', 'leases', decided('decision', '"ALLOW"')],
    ['a decision of other rules', 'leases', decided('rules', '["other"]')],
    ['a decision about another claim', 'leases', decided('job_hash', '"x"')],
    ['a lease without a decision', 'leases', `made = (made::jsonb - 'decided')::json`],
    ['a lease of a job that is not there', 'leases', `job_id = 'job_none'`],
  ]
  test.each(tampered)('shows %s', async (_, table, change) => {
    const t = await plane.tenant(ASK)
    await approvedRefund(t)
    expect(await value(t, 'high-risk-unapproved')).toBe(0)
    await set(t, table, change)
    expect(await value(t, 'high-risk-unapproved')).toBe(1)
  })

  test('shows an approval that is gone', async () => {
    const t = await plane.tenant(ASK)
    await approvedRefund(t)
    await plane.db.query('DELETE FROM approvals WHERE tenant = $1', [t.tenant])
    expect(await value(t, 'high-risk-unapproved')).toBe(1)
  })

  test('is derived from the input again, and unknown where that is gone', async () => {
    const t = await plane.tenant(DERIVED)
    await t.lease({ topic: 'job.run.it', input: { ls: 1 } })
    expect(await value(t, 'high-risk-unapproved')).toBe(0)
    await t.lease({ topic: 'job.run.it', input: { rm: 1 } })
    expect(await value(t, 'high-risk-unapproved')).toBe(1)
    await set(t, 'jobs', 'input = NULL')
    expect(await number(t, 'high-risk-unapproved')).toMatchObject({
      value: null,
      unknown: expect.stringContaining('2 leases'),
    })
  })

  test('is unknown where the policy that let it through is gone or is not what its digest says', async () => {
    const t = await plane.tenant(ALLOW)
    await t.lease({ topic: 'job.read.it' })
    const fresh = t.on(plane.node())
    await set(t, 'policy_snapshots', `files = '[{"path":"p.yaml","text":"version: v1\\nhigh_risk: []\\nrules: []"}]'`)
    expect((await number(fresh, 'high-risk-unapproved')).unknown).toContain('policy or input is gone')
  })

  test('looks at the window and at every lease in it', async () => {
    const t = await plane.tenant(ALLOW)
    await t.lease(REFUND)
    t.clock.advance(10 * MINUTE)
    for (let i = 0; i < 3; i++) await t.lease(REFUND)
    expect(await value(t, 'high-risk-unapproved', 5 * MINUTE)).toBe(3)
    expect(await value(t, 'high-risk-unapproved', 30 * MINUTE)).toBe(4)
  })
})

test('every lease is judged once, however many pages they fill', async () => {
  const t = await plane.tenant(ALLOW)
  await t.fail((await t.lease(REFUND)).lease, 'terminal')
  await plane.db.query(
    `INSERT INTO leases SELECT r.* FROM leases l CROSS JOIN generate_series(1, 1234) n CROSS JOIN LATERAL
       jsonb_populate_record(NULL::leases, to_jsonb(l) || jsonb_build_object(
         'lease_id', substr(l.lease_id, 1, 16) || lpad(n::text, 16, '0'))) r WHERE l.tenant = $1`,
    [t.tenant],
  )
  expect(await number(t, 'high-risk-unapproved')).toMatchObject({ value: 1235, samples: 1235, sampled: false })
})

describe(`${proves('O2')} numbers of the window`, () => {
  test('are unknown where nothing happened', async () => {
    const t = await plane.tenant(ALLOW)
    const of = ['success-rate', 'p95-latency-ms', 'error-rate', 'deny-ratio', 'approval-queue-p95-ms'] as const
    for (const { metric, unknown, value } of await measure(t.world, t.tenant, of, MINUTE))
      expect([metric, value, typeof unknown]).toEqual([metric, null, 'string'])
  })

  test('count jobs by when they ended, with the time they took', async () => {
    const t = await plane.tenant(ALLOW)
    const old = await t.lease({ topic: 'job.do.it' })
    await t.fail(old.lease, 'terminal')
    t.clock.advance(20 * MINUTE)
    for (const ms of [100, 300]) {
      const { lease } = await t.lease({ topic: 'job.do.it' })
      t.clock.advance(ms)
      await t.succeed(lease)
    }
    expect(await number(t, 'success-rate')).toMatchObject({ value: 1, samples: 2, sampled: false })
    expect(await value(t, 'p95-latency-ms')).toBe(300)
    expect(await value(t, 'p50-latency-ms')).toBe(100)
    expect(await number(t, 'success-rate', 60 * MINUTE)).toMatchObject({ value: 2 / 3, samples: 3 })
    expect(await number(t, 'error-rate', 60 * MINUTE)).toMatchObject({ value: 1 / 3, samples: 3 })
  })

  test('leave out the time people took, and count it where it belongs', async () => {
    const t = await plane.tenant(ASK)
    const { approval_id } = await t.submit({ topic: 'job.do.it' })
    t.clock.advance(5 * MINUTE)
    expect(await value(t, 'approval-backlog')).toBe(1)
    expect(await value(t, 'approval-backlog-oldest-ms')).toBe(5 * MINUTE)
    expect(await value(t, 'approval-queue-median-ms')).toBe(5 * MINUTE)
    await t.approve(approval_id as string)
    t.clock.advance(40)
    const [lease] = await t.claim(['job.do.it'])
    t.clock.advance(60)
    await t.succeed(lease?.lease as string)
    expect(await value(t, 'p95-latency-ms')).toBe(100)
    expect(await value(t, 'dispatch-wait-p95-ms')).toBe(40)
    expect(await value(t, 'approval-queue-p95-ms')).toBe(5 * MINUTE)
    expect(await value(t, 'approval-backlog')).toBe(0)
    expect(await value(t, 'approval-ratio')).toBe(1)
    t.clock.advance(20 * MINUTE)
    expect(await value(t, 'approval-queue-p95-ms')).toBeNull()
  })

  test('count a job in doubt against success until somebody settles it', async () => {
    const t = await plane.tenant(ALLOW)
    const { lease, job } = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease, 'pay')
    await t.fail(lease)
    expect(await number(t, 'success-rate')).toMatchObject({ value: 0, samples: 1 })
    await t.resolve(job.job_id, 'pay', true, 'finish')
    expect(await number(t, 'success-rate')).toMatchObject({ value: 1, samples: 1 })
  })

  test('say what share was denied, and of what was held back', async () => {
    const t = await plane.tenant(policy('  - { id: do, match: { topic: job.do.it }, decision: ALLOW }'))
    await t.trySubmit({ topic: 'job.no.no' }).catch(() => {})
    for (const result of ['fine', PRIVATE_KEY]) {
      const { lease } = await t.lease({ topic: 'job.do.it' })
      await t.succeed(lease, result)
    }
    expect(await value(t, 'deny-ratio')).toBe(1 / 3)
    expect(await value(t, 'quarantine-ratio')).toBe(0.5)
    expect(await value(t, 'success-rate')).toBe(0.5)
  })

  test('are those of one tenant', async () => {
    const [t, other] = [await plane.tenant(ASK), await plane.tenant(ALLOW)]
    await t.submit(REFUND)
    await approvedRefund(t)
    await t.activate(ALLOW)
    await t.succeed((await t.lease(REFUND)).lease, PRIVATE_KEY)
    const lease = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease.lease, 'pay')
    await t.fail(lease.lease)
    for (const { metric, value } of await measure(other.world, other.tenant, METRIC_NAMES, 10 * MINUTE))
      expect([metric, value]).toEqual([metric, metric.startsWith('approval-backlog') ? 0 : null])
    for (const { metric, value } of await measure(t.world, t.tenant, METRIC_NAMES, 10 * MINUTE))
      expect([metric, value]).not.toEqual([metric, null])
  })

  test('of a long window are of a sample of all its parts: a bad hour shows behind a busy one', async () => {
    const t = await plane.tenant(ALLOW)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    await t.fail(lease, 'terminal')
    const [job] = await t.rows<{ job_id: string; finished_at: number }>('jobs')
    // 300 failures an hour ago, 6,000 successes since.
    const copies = (count: number, status: string, ago: number, every: number) =>
      plane.db.query(
        `INSERT INTO jobs SELECT r.* FROM jobs j CROSS JOIN generate_series(1, $5::int) n
         CROSS JOIN LATERAL jsonb_populate_record(NULL::jobs, to_jsonb(j) || jsonb_build_object(
           'job_id', $2 || n, 'status', $3::text, 'finished_at', j.finished_at - $4::bigint - n * $7::bigint)) r
         WHERE j.tenant = $1 AND j.job_id = $6`,
        [t.tenant, `job_${status}`, status, ago, count, job?.job_id as string, every],
      )
    await copies(300, 'dead_letter', 50 * MINUTE, 1)
    await copies(6000, 'succeeded', 0, 450)
    const found = await number(t, 'success-rate', 60 * MINUTE)
    expect(found.sampled).toBe(true)
    expect(found.value).toBeLessThan(0.97)
    expect(found.value).toBeGreaterThan(0.95)
    expect(await number(t, 'success-rate', 10 * MINUTE)).toMatchObject({ sampled: false })
  })
})

test('a window of ids holds exactly what was made in it', () => {
  const { ids } = plane
  for (const at of [0, 1, 31, 32, 1_700_000_000_000, 2 ** 48 - 1]) {
    expect(ids.id('job', at) > idAt('job', at)).toBe(true)
    if (at > 0) expect(ids.id('job', at - 1) < idAt('job', at)).toBe(true)
  }
})

describe(`${proves('O2')} an agent that cancels its own work`, () => {
  /** One job that went well, and nine that did not, each cancelled by its agent with its own key. */
  async function nine(bad: (t: Tenancy) => Promise<void>): Promise<Tenancy> {
    const t = await plane.tenant(ALLOW)
    const { lease } = await t.lease({ topic: 'job.do.it' })
    await t.succeed(lease)
    for (let n = 0; n < 9; n++) await bad(t)
    return t
  }

  test('does not take slow work out of the numbers', async () => {
    const t = await nine(async (t) => {
      const { lease, job } = await t.lease({ topic: 'job.do.it' })
      plane.clock.advance(5000)
      await t.cancel(job.job_id)
      await t.fail(lease, 'terminal')
    })
    expect(await number(t, 'success-rate')).toMatchObject({ value: 0.1, samples: 10 })
    expect(await value(t, 'p95-latency-ms')).toBe(5000)
  })

  test('nor what failed and waits to be tried again', async () => {
    const t = await nine(async (t) => {
      const { lease, job } = await t.lease({ topic: 'job.do.it' })
      await t.fail(lease)
      await t.cancel(job.job_id)
    })
    expect(await value(t, 'success-rate')).toBe(0.1)
  })

  test('may do so before a worker has it', async () => {
    const t = await nine(async (t) => {
      const { job_id } = await t.submit({ topic: 'job.do.it' })
      await t.cancel(job_id)
    })
    expect(await number(t, 'success-rate')).toMatchObject({ value: 1, samples: 1 })
  })
})
