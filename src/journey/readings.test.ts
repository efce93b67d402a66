import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPlane, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { aJob } from '../../test/rows.js'
import { ENGINES, NAME, numbers, POLICY, type Scene, scene, WORK } from '../../test/support/candidate.js'
import type { Fact } from '../core/audit.js'
import { canonical } from '../core/canonical.js'
import { jobFact } from '../core/facts.js'
import { evaluateCheck } from '../core/gates/check.js'
import { decisionIdOf, move } from '../core/job.js'
import type { Json } from '../core/json.js'
import { pruneRecords } from './prune.js'
import { readingsFor, triggerSamples } from './readings.js'

const MINUTE = 60_000
const DAY = 86_400_000

describe.each(ENGINES)('readings on %s', (_, opener) => {
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane(1, await opener())
  })
  afterAll(() => plane?.close())

  /** What an agent's candidate may meet, once each. */
  async function day(s: Scene): Promise<void> {
    const good = await s.leased('job.do')
    plane.clock.advance(200)
    await s.t.complete({ lease: good.lease, outcome: 'succeeded', usage: { cost: 0.25 } })
    const bad = await s.leased('job.do')
    plane.clock.advance(300)
    await s.t.fail(bad.lease, 'terminal')
    const asked = await s.submit('job.ask')
    plane.clock.advance(MINUTE)
    await s.t.approve(asked.approval_id as string)
    plane.clock.advance(50)
    const approved = await s.claim('job.ask', asked.job_id)
    plane.clock.advance(100)
    await s.t.succeed(approved)
    await s.submit('job.no').catch(() => {})
    await s.submit('job.ask')
    plane.clock.advance(2000)
    const control = await s.leased('job.do', s.run(false))
    plane.clock.advance(70)
    await s.t.complete({ lease: control.lease, outcome: 'succeeded', usage: { cost: 0.5 } })
    plane.clock.advance(1)
  }

  test(`${proves('G2')} say what the candidate did, and beside it the stable version`, async () => {
    const s = await scene(plane)
    await day(s)
    const { candidate, control } = await s.read()
    expect(numbers(candidate)).toEqual({
      success_rate_pct: '2/3',
      workflow_success_rate: '2/3',
      error_rate: '1/3',
      quarantine_ratio: '0/2',
      deny_ratio: '1/5',
      p50_latency_ms: '200 of 3',
      p95_latency_ms: '300 of 3',
      dispatch_wait_p95_ms: '50 of 3',
      approval_queue_median_sec: '2.072 of 2',
      approval_queue_p95_sec: '60 of 2',
      // The run with the question cost nothing that anybody knows of.
      cost_per_completed_run: '?',
      approval_backlog: '1 of 1',
      approval_backlog_oldest_sec: '2.072 of 1',
      unapproved_high_risk_actions: '0 of 3',
      policy_bypass_incidents: '0 of 3',
      critical_incidents: '?',
    })
    expect(numbers(control)).toMatchObject({
      success_rate_pct: '1/1',
      p95_latency_ms: '70 of 1',
      deny_ratio: '0/1',
      cost_per_completed_run: '0.5 of 1',
      approval_queue_median_sec: '?',
    })
    for (const { query } of candidate)
      expect(query).toContain(`samples of ${s.rollout.rollout_id}, candidate, at >= ${s.from}`)
  })

  test(`${proves('G3')} as of a head are the same bytes on another node, after a restart and 10,000 later jobs`, async () => {
    const s = await scene(plane)
    await day(s)
    const [head_size, to] = [await s.head(), plane.clock.now()]
    const before = canonical((await s.read(WORK, { head_size, to })) as unknown as Json)
    // Half of all happened in the very window, and was heard of later.
    const late = (n: number) => (n % 2 === 0 ? s.from + (n % 100) : to + n)
    await denials(s, 10_000, late)
    await jobs(s, 500, late)
    await s.head()
    expect(canonical((await s.read(WORK, { head_size, to })) as unknown as Json)).toBe(before)
    expect(canonical((await s.read(WORK, { head_size, to }, plane.node())) as unknown as Json)).toBe(before)
    expect(canonical((await s.read([...WORK].reverse(), { head_size, to })) as unknown as Json)).toBe(before)
    const now = numbers((await s.read(['success_rate_pct', 'deny_ratio'], { to })).candidate)
    expect(now).toEqual({ success_rate_pct: '252/253', deny_ratio: '5001/5255' })
  })

  const denied = ({ t, rollout }: Scene, at: number, variant = 'candidate'): Fact => ({
    ...{
      kind: 'job.denied',
      tenant: t.tenant,
      at,
      actor: 'x',
      decision: 'DENY',
      decision_id: `dec_${at}`,
      run_id: null,
    },
    ...{ rollout_id: rollout.rollout_id, variant },
  })

  async function denials(s: Scene, count: number, at: (n: number) => number): Promise<void> {
    for (let n = 0; n < count; n += 500)
      await s.t.world.ledger.record(
        s.t.tenant,
        Array.from({ length: 500 }, (_, i) => denied(s, at(n + i))),
      )
  }

  /** Jobs of the candidate that came and went, in few commits. */
  async function jobs({ t, rollout }: Scene, count: number, at: (n: number) => number): Promise<void> {
    const { rollout_id } = rollout
    const base = { tenant: t.tenant, gate: null, alone: [] }
    const commits: Promise<unknown>[] = []
    for (let first = 0; first < count; first += 250) {
      const begun = Array.from({ length: 250 }, (_, i) => {
        const when = at(first + i)
        const job_id = plane.ids.id('job', when)
        const own = { rollout_id, variant: 'candidate', run_id: `r${first + i}` } as const
        const running = { status: 'running', attempt: 1, lease_id: `lease_${job_id}`, created_at: when } as const
        return aJob({ tenant: t.tenant, job_id, ...own, ...running })
      })
      const decisions = begun.map((job) => ({
        ...{ tenant: t.tenant, decision_id: decisionIdOf(job.job_id), door: 'submit' as const, job_id: job.job_id },
        ...{
          at: job.created_at,
          agent: NAME,
          topic: job.topic,
          decision: 'ALLOW',
          reason: '',
          rules: [],
          constraints: {},
        },
        ...{
          high_risk: false,
          snapshot: '',
          job_hash: '',
          standing: { door: 'submit' as const, now: 0, counters: {}, grant: null },
        },
        ...{ claim: null, input_ptr: null, context_ptr: null, run_id: null },
      }))
      const said = begun.map((job) => jobFact('job.submitted', job, job.created_at, 'x', { decision: 'ALLOW' }))
      const done = begun.map((job) => move(job, 'succeed', job.created_at, { verdict: 'ALLOW', cost: 0.01 }))
      const ended = done.map(({ job, changed }) => jobFact('job.succeeded', job, job.created_at, 'x', changed))
      commits.push(
        t.world.ledger
          .commit({ ...base, rows: { insertJobs: begun, decisions }, facts: said })
          .then(() =>
            t.world.ledger.commit({ ...base, rows: { updateJobs: done.map(({ job }) => job) }, facts: ended }),
          ),
      )
    }
    await Promise.all(commits)
  }

  test('are of what the head covers, in whatever order it was heard of', async () => {
    const s = await scene(plane)
    const { tenant } = s.t
    const [to, other] = [s.from + 1000, plane.node()]
    const rate = async (head_size?: number) =>
      numbers((await s.read(['deny_ratio'], { to, ...(head_size === undefined ? {} : { head_size }) })).candidate)
        .deny_ratio
    await s.t.world.ledger.record(tenant, [
      denied(s, s.from + 900),
      denied(s, to),
      denied(s, s.from - 1),
      denied(s, s.from, 'control'),
    ])
    expect(await rate(0)).toBe('0/0')
    const first = await s.head()
    await other.ledger.record(tenant, [denied(s, s.from + 100), denied(s, s.from)])
    // Committed, and in no tile that a head covers.
    expect(await rate(first)).toBe('1/1')
    const second = await s.head()
    expect([await rate(first), await rate(second), await rate(second - 1)]).toEqual(['1/1', '3/3', '1/1'])
  })

  test('a person who replays, releases or settles makes no number better', async () => {
    const s = await scene(plane)
    const dead = await s.leased()
    await s.t.fail(dead.lease, 'terminal')
    const doubt = await s.leased()
    await s.t.begin(doubt.lease, 'pay')
    await s.t.fail(doubt.lease)
    const rates = async () =>
      numbers((await s.read(['success_rate_pct', 'quarantine_ratio', 'p95_latency_ms'])).candidate)
    const before = await rates()
    expect(before).toMatchObject({ success_rate_pct: '0/2', quarantine_ratio: '0/0' })
    await s.t.replay(dead.job_id)
    await s.t.succeed(await s.claim('job.do', dead.job_id))
    await s.t.resolve(doubt.job_id, 'pay', true, 'finish')
    expect(await rates()).toEqual(before)
  })

  test(`${proves('G7')} of nothing are not known, or of too few, and never pass`, async () => {
    const s = await scene(plane)
    plane.clock.advance(10 * MINUTE)
    const now = plane.clock.now()
    for (const reading of (await s.read(WORK, { to: now })).candidate) {
      const { metric } = reading
      const backlog = metric.startsWith('approval_backlog')
      const target = { op: metric.includes('success') ? ('gte' as const) : ('lte' as const), value: 1 }
      const check = { metric, target, min_samples: backlog ? 0 : 1, confidence: 0.95 as const }
      const moment = { now, from: s.from, to: now, phase_at: s.from }
      // That nothing is open is a fact.
      expect([metric, evaluateCheck(check, reading, undefined, moment).pass]).toEqual([metric, backlog])
    }
  })

  test('are of one tenant alone, and of one rollout', async () => {
    const [s, other] = [await scene(plane), await scene(plane)]
    await day(s)
    const asked = { metrics: WORK, from: s.from, to: plane.clock.now(), head_size: 1_000_000 }
    const foreign = await readingsFor(s.t.world, { ...asked, tenant: other.t.tenant, rollout: s.rollout })
    expect(numbers(foreign.candidate)).toMatchObject({ success_rate_pct: '0/0', policy_bypass_incidents: '0 of 0' })
    const second = await readingsFor(s.t.world, { ...asked, tenant: s.t.tenant, rollout: other.rollout })
    expect(numbers(second.candidate)).toMatchObject({ success_rate_pct: '0/0', approval_backlog: '0 of 0' })
  })

  test('work in no rollout writes no sample, nor opens their table', async () => {
    const t = await plane.tenant(POLICY)
    const sent: string[] = []
    plane.db.tap = (sql, send) => {
      sent.push(sql)
      return send()
    }
    const { lease } = await t.lease({ topic: 'job.do' })
    await t.succeed(lease)
    plane.db.tap = null
    expect(sent.filter((sql) => sql.includes('INSERT INTO jobs')).length).toBe(1)
    expect(sent.filter((sql) => sql.includes('rollout_samples'))).toEqual([])
    expect(await t.rows('rollout_samples')).toEqual([])
  })

  test(`${proves('G4')} triggers see the last ten minutes, signed or not, and are blind where nothing is`, async () => {
    const s = await scene(plane)
    const seen = () => triggerSamples(s.t.world, s.rollout, plane.clock.now())
    const nothing = await seen()
    expect(nothing.error_rate).toEqual({
      at: plane.clock.now(),
      value: null,
      samples: 0,
      baseline: null,
      baseline_samples: 0,
    })
    expect(nothing.drill_expired.value).toBeNull()
    expect(nothing.replay_bypass.value).toBeNull()
    await day(s)
    const now = await seen()
    expect(now.error_rate).toMatchObject({ value: 1 / 3, samples: 3, baseline: 0, baseline_samples: 1 })
    expect(now.p95_latency).toMatchObject({ value: 300, samples: 3, baseline: 70 })
    expect(now.policy_bypass).toMatchObject({ value: 0, samples: 3 })
    expect(now.approval_backlog.value).toBeCloseTo(2.071 + 0.5)
    plane.clock.advance(11 * MINUTE)
    expect((await seen()).error_rate).toMatchObject({ value: null, samples: 0 })
  })

  test('samples go when they are long past, and the log says so before', async () => {
    const s = await scene(plane)
    await day(s)
    const count = async () => (await s.t.rows('rollout_samples')).length
    const before = await count()
    plane.clock.advance(80 * DAY)
    await pruneRecords(s.t.world, DAY)
    expect(await count()).toBe(before)
    plane.clock.advance(20 * DAY)
    await pruneRecords(s.t.world, DAY)
    expect(await count()).toBe(0)
    expect((await s.t.facts()).filter(({ kind }) => kind === 'records.pruned')).toMatchObject([{ samples: before }])
  })
})
