import { Value } from 'typebox/value'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { RollbackReport } from '../contract/compensations.js'
import type { Compensation as Wanted } from '../contract/workers.js'
import { rollbackMarkdown } from '../core/rollout/report.js'
import { rolloutLetter } from '../core/rollout/told.js'
import { recoverAll, Turns } from '../loops/rollouts.js'
import { getCompensation, getRecovery, listCompensations } from '../store/compensations.js'
import { dueDeliveries } from '../store/deliveries.js'
import { forgetLooks, keepSeen } from '../store/looks.js'
import { getRollout } from '../store/rollouts.js'
import { putChannel } from './channels.js'
import { retryCompensations, settleCompensation } from './compensations.js'
import { applyDirectory } from './directory.js'
import { effect } from './effect.js'
import { createGrant } from './grants.js'
import { integrate } from './integrate.js'
import { createKey, makeKey } from './keys.js'
import { notify } from './notify.js'
import { replay } from './replay.js'
import { rollbackReport } from './rollback-report.js'
import { declareRollout, rollBackByTrigger, stepRollout } from './rollouts.js'
import { raiseStop } from './stop.js'
import { confirmTaken } from './take-back.js'
import { timeline } from './timeline.js'

/** What a rollback does to what the candidate did: who waits is refused, who runs may end or must, and the effects are undone last first. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
  - { id: undo, match: { topic: job.undo }, decision: ALLOW }
  - { id: undo-money, match: { topic: job.undo-money }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
job_classes:
  - { topic: job.undo, attempts: 1 }
`
const NAME = 'agent:bot'
const SERVES = ['agent:bot@2']
const phase = { min_duration: '1h', risk: 'mixed', name: 'all', share: 100 }
const declaration = (more: object) => ({
  rollout: 'bot-2',
  subject: { kind: 'agent', name: NAME, candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
  phases: [{ ...phase, gate: { window: '10m', checks: { unapproved_high_risk_actions: { target_eq: 0 } } } }],
  ...more,
})
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

async function started(more: object = {}): Promise<{ t: Tenancy; id: string }> {
  const t = await plane.tenant(POLICY)
  const { rollout_id: id } = await declareRollout(t.world, t.admin, declaration(more))
  await stepRollout(t.world, t.operator, id, { event: 'start' })
  return { t, id }
}
const asBot = (t: Tenancy) => t.caller('agent', NAME)
const submit = (t: Tenancy, run_id: string, topic = 'job.do') =>
  t.submit({ topic, run_id, agent: NAME }, null, asBot(t))
const rolledBack = (t: Tenancy, id: string) =>
  stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'it answers in French' })
const look = async (t: Tenancy, world = t.world) => void (await recoverAll(world))
const undo = (n: number, more: Partial<Wanted> = {}): Wanted => ({ topic: 'job.undo', input: { n }, ...more })

/** A job of the run in a worker of the candidate. */
async function leased(t: Tenancy, run_id: string): Promise<{ lease: string; job_id: string }> {
  const { job_id } = await submit(t, run_id)
  const found = await t.claim(['job.do'], { serves: SERVES, capacity: 50 })
  const { lease } = found.find(({ job }) => job.job_id === job_id) as (typeof found)[number]
  return { lease, job_id }
}
async function did(t: Tenancy, lease: string, key: string, compensation: Wanted | null): Promise<void> {
  const more = compensation === null ? {} : { compensation }
  await effect(t.world, t.worker, { lease, key, phase: 'begin', ...more })
  await effect(t.world, t.worker, { lease, key, phase: 'commit', result: key })
}
/** A job that did so many things in a row and succeeded. */
async function ran(t: Tenancy, run_id: string, effects: number, more: Partial<Wanted> = {}): Promise<string> {
  const { lease, job_id } = await leased(t, run_id)
  for (let n = 1; n <= effects; n++) await did(t, lease, `step-${n}`, undo(n, more))
  await t.succeed(lease)
  return job_id
}
/** What workers are given to undo now, each done at once. */
async function undone(t: Tenancy, topic = 'job.undo'): Promise<unknown[]> {
  const given = await t.claim([topic], { capacity: 50 })
  for (const { lease } of given) await t.succeed(lease)
  return given.map(({ job }) => (job.input as { n: number }).n)
}
const statuses = async (t: Tenancy, id: string) =>
  (await listCompensations(t.world.db, t.tenant, id, 100)).map(({ status }) => status)
const told = async (t: Tenancy, kind: string) => (await t.facts()).filter((fact) => fact.kind === kind)
const recovered = async (t: Tenancy, id: string) => (await getRecovery(t.world.db, t.tenant, id))?.recovered_at ?? null
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])

describe(`${proves('G4', 'R7')} what the candidate did`, () => {
  test('is undone last first, one after the other, by jobs of the agent that passed both doors', async () => {
    const { t, id } = await started()
    const first = await ran(t, 'run-a', 2)
    await ran(t, 'run-a', 1)
    expect(await undone(t)).toEqual([])
    await rolledBack(t, id)
    const order: unknown[] = []
    for (let n = 0; n < 3; n++) {
      await look(t)
      // Nothing overtakes: however often is looked, one is asked.
      await look(t)
      order.push(await undone(t))
    }
    await look(t)
    expect(order).toEqual([[1], [2], [1]])
    expect(await statuses(t, id)).toEqual(['done', 'done', 'done'])
    const done = await told(t, 'rollout.compensated')
    expect(done.map(({ job_id, effect_key }) => [job_id === first, effect_key])).toEqual([
      [false, 'step-1'],
      [true, 'step-2'],
      [true, 'step-1'],
    ])
    const job = await t.job(String(done[0]?.compensation_job_id))
    expect(job).toMatchObject({
      agent: NAME,
      requested_by: 'system:rollouts',
      run_id: 'run-a',
      rollout_id: null,
      serves: null,
    })
    expect(await recovered(t, id)).not.toBeNull()
    expect(await told(t, 'rollout.recovered')).toMatchObject([
      { compensated: 3, settled: 0, rolled_back_by: 'person:olga' },
    ])
    await held(t)
  })

  test('is undone run by run, side by side, and only what was registered and happened', async () => {
    const { t, id } = await started()
    for (const run of ['run-a', 'run-b', 'run-c']) await ran(t, run, 1)
    const { lease } = await leased(t, 'run-d')
    await did(t, lease, 'unregistered', null)
    await t.succeed(lease)
    await rolledBack(t, id)
    await look(t)
    expect(await undone(t)).toEqual([1, 1, 1])
    await look(t)
    expect(await statuses(t, id)).toEqual(['done', 'done', 'done'])
    await held(t)
  })

  test('stays where nothing is rolled back, and is kept of candidates alone', async () => {
    const { t, id } = await started({
      phases: [{ ...declaration({}).phases[0], name: 'none', share: 0.01 }, declaration({}).phases[0]],
    })
    await submit(t, 'run-a')
    const [found] = await t.claim(['job.do'])
    await did(t, found?.lease ?? '', 'mine', undo(1))
    await t.succeed(found?.lease ?? '')
    expect(await statuses(t, id)).toEqual([])
    expect((await t.facts()).some((fact) => 'compensation_hash' in fact)).toBe(false)
  })

  test('is a question where a rule asks, and whoever wanted the rollback does not answer it', async () => {
    const { t, id } = await started()
    await ran(t, 'run-a', 1, { topic: 'job.undo-money' })
    const approverWhoRollsBack = t.caller('admin', 'person:root')
    await stepRollout(t.world, approverWhoRollsBack, id, { event: 'roll_back', reason: 'no' })
    await look(t)
    const [asked] = await told(t, 'rollout.compensation_asked')
    expect(asked).toMatchObject({ decision: 'REQUIRE_APPROVAL', waits_for_people: true })
    expect(await codeOf(t.approve(String(asked?.approval_id), t.caller('approver', 'person:root')))).toBe(
      'self_approval',
    )
    await t.approve(String(asked?.approval_id))
    expect(await undone(t, 'job.undo-money')).toEqual([1])
    await look(t)
    expect(await recovered(t, id)).not.toBeNull()
    await held(t)
  })

  test('stands in the way visibly where a rule says no, and holds up what was done before it', async () => {
    const { t, id } = await started()
    const { lease } = await leased(t, 'run-a')
    await did(t, lease, 'fine', undo(1))
    await did(t, lease, 'not fine', { ...undo(2), topic: 'job.forbidden' })
    await t.succeed(lease)
    await ran(t, 'run-b', 1)
    await rolledBack(t, id)
    for (let n = 0; n < 3; n++) await look(t)
    expect(await undone(t)).toEqual([1])
    await look(t)
    expect(await statuses(t, id)).toEqual(['done', 'blocked', 'registered'])
    expect(await told(t, 'rollout.compensation_blocked')).toMatchObject([
      { effect_key: 'not fine', reason: 'policy_denied', waits: false },
    ])
    expect((await told(t, 'job.denied')).length).toBe(1)
    expect(await recovered(t, id)).toBeNull()
    await held(t)
  })

  test('blocks where people reject it or nobody answers, and where its job fails', async () => {
    for (const end of ['reject', 'expire', 'fail'] as const) {
      const { t, id } = await started()
      await ran(t, 'run-a', 1, end === 'fail' ? {} : { topic: 'job.undo-money' })
      await rolledBack(t, id)
      await look(t)
      const [asked] = await told(t, 'rollout.compensation_asked')
      if (end === 'reject') await t.reject(String(asked?.approval_id))
      else if (end === 'expire') {
        t.clock.advance(30 * 86_400_000)
        await t.sweep()
      } else {
        const [given] = await t.claim(['job.undo'])
        await t.fail(given?.lease ?? '', 'terminal')
      }
      await look(t)
      expect(await statuses(t, id), end).toEqual(['blocked'])
      expect(await told(t, 'rollout.compensation_blocked'), end).toHaveLength(1)
      await held(t)
    }
  })

  test('is asked again where somebody wants it, or is settled by hand', async () => {
    const { t, id } = await started()
    const job_id = await ran(t, 'run-a', 2)
    await rolledBack(t, id)
    await look(t)
    const fails = async () => {
      const [given] = await t.claim(['job.undo'])
      await t.fail(given?.lease ?? '', 'terminal')
      await look(t)
    }
    await fails()
    const [failed] = await told(t, 'rollout.compensation_blocked')
    expect(failed).toMatchObject({ effect_key: 'step-2', waits: false })
    // A dead letter keeps its committed effects, so it is run again and not asked anew.
    const { replays, asked } = await retryCompensations(t.world, t.operator, id, {})
    expect([replays, asked]).toEqual([[failed?.compensation_job_id], 0])
    for (const each of replays) await replay(t.world, t.operator, each, null)
    await look(t)
    expect(await statuses(t, id)).toEqual(['asked', 'registered'])
    await fails()
    await t.discard(String(failed?.compensation_job_id))
    expect(await retryCompensations(t.world, t.operator, id, {})).toEqual({ replays: [], asked: 1 })
    await look(t)
    expect(await statuses(t, id)).toEqual(['asked', 'registered'])
    const settle = (effect_key: string, as = t.operator) =>
      settleCompensation(t.world, as, id, { job_id, effect_key, note: 'done by hand' })
    expect(await codeOf(settle('step-2'))).toBe('illegal_transition')
    expect(await codeOf(settle('nothing'))).toBe('not_found')
    await fails()
    await settle('step-2')
    await settle('step-1')
    await look(t)
    expect(await statuses(t, id)).toEqual(['settled', 'settled'])
    expect(await recovered(t, id)).not.toBeNull()
    expect(await told(t, 'rollout.compensation_settled')).toMatchObject([
      { actor: 'person:olga', note: 'done by hand' },
      {},
    ])
    await held(t)
  })

  test('waits for a stop to end, said once, and goes on by itself', async () => {
    const { t, id } = await started()
    await ran(t, 'run-a', 1)
    await rolledBack(t, id)
    const stop = await raiseStop(t.world, t.operator, { scope: 'tenant', target: null, reason: 'fire' })
    await look(t)
    t.clock.advance(60_000)
    await look(t)
    expect(await statuses(t, id)).toEqual(['registered'])
    expect(await told(t, 'rollout.compensation_blocked')).toMatchObject([{ reason: 'stopped', waits: true }])
    await t.world.db.query('UPDATE stops SET ended_at = 1, stage = $2 WHERE stop_id = $1', [stop.stop_id, 'full'])
    await t.activate(POLICY.replace('id: do,', 'id: does,'))
    t.clock.advance(600_000)
    await look(t)
    expect(await undone(t)).toEqual([1])
  })

  test('is not asked where nobody knows whether it happened, until somebody says', async () => {
    for (const happened of [true, false]) {
      const { t, id } = await started()
      const { lease, job_id } = await leased(t, 'run-a')
      await did(t, lease, 'before', undo(1))
      await effect(t.world, t.worker, { lease, key: 'lost', phase: 'begin', compensation: undo(2) })
      t.clock.advance(120_000)
      await t.sweep()
      expect((await t.job(job_id)).status).toBe('ambiguous')
      await rolledBack(t, id)
      for (let n = 0; n < 3; n++) {
        await look(t)
        t.clock.advance(10_000)
      }
      expect(await undone(t)).toEqual([])
      expect(await told(t, 'rollout.compensation_blocked')).toMatchObject([{ reason: 'in_doubt', waits: true }])
      await t.resolve(job_id, 'lost', happened, 'dead_letter')
      const order: unknown[] = []
      for (let n = 0; n < 3; n++) {
        await look(t)
        order.push(...(await undone(t)))
      }
      await look(t)
      expect(order).toEqual(happened ? [2, 1] : [1])
      expect(await recovered(t, id)).not.toBeNull()
      await held(t)
    }
  })

  test('that is known late opens the rollback again', async () => {
    const { t, id } = await started()
    const { lease, job_id } = await leased(t, 'run-a')
    await effect(t.world, t.worker, { lease, key: 'lost', phase: 'begin', compensation: undo(2) })
    t.clock.advance(120_000)
    await t.sweep()
    await rolledBack(t, id)
    await t.resolve(job_id, 'lost', false, 'dead_letter')
    await look(t)
    expect(await statuses(t, id)).toEqual(['void'])
    await look(t)
    expect(await recovered(t, id)).not.toBeNull()
    await effect(t.world, t.worker, { lease, key: 'lost', phase: 'commit', result: 1 })
    await look(t)
    expect(await recovered(t, id)).toBeNull()
    expect(await undone(t)).toEqual([2])
    await look(t)
    expect(await told(t, 'rollout.recovered')).toHaveLength(2)
  })
})

describe(`${proves('G4')} the candidate’s own work`, () => {
  test('is refused where it waits, without a worker, and its question is void', async () => {
    const { t, id } = await started()
    const [queued, parked] = [await submit(t, 'run-a'), await submit(t, 'run-b', 'job.ask')]
    await rolledBack(t, id)
    await look(t)
    expect((await t.job(queued.job_id)).status).toBe('denied')
    expect((await t.job(parked.job_id)).status).toBe('denied')
    expect((await t.approval(parked.approval_id)).status).toBe('void')
    expect(await recovered(t, id)).not.toBeNull()
    expect(await getRecovery(t.world.db, t.tenant, id)).toMatchObject({ refused: 2, leases: [] })
    await held(t)
  })

  test('ends by itself with drain, and what it does until then is undone too', async () => {
    const { t, id } = await started({ on_rollback: 'drain' })
    await ran(t, 'run-a', 1)
    const { lease } = await leased(t, 'run-a')
    await rolledBack(t, id)
    await look(t)
    // Nothing of the run is undone while something in it may still be done.
    expect(await undone(t)).toEqual([])
    await did(t, lease, 'late', undo(7))
    expect((await t.beat(lease)).answer).toBe('ok')
    await t.succeed(lease)
    const order: unknown[] = []
    for (let n = 0; n < 3; n++) {
      await look(t)
      order.push(...(await undone(t)))
    }
    await look(t)
    expect(order).toEqual([7, 1])
    expect(await told(t, 'rollout.leases_ended')).toMatchObject([{ leases: 1 }])
    expect(await recovered(t, id)).not.toBeNull()
    await held(t)
  })

  test('is told to end with cancel, and begins nothing more', async () => {
    const { t, id } = await started({ on_rollback: 'cancel' })
    const { lease, job_id } = await leased(t, 'run-a')
    await rolledBack(t, id)
    await look(t)
    expect((await t.beat(lease)).answer).toBe('cancel')
    expect(await codeOf(t.begin(lease, 'more'))).toBe('effect_refused')
    await t.fail(lease)
    expect((await t.job(job_id)).status).toBe('cancelled')
    await look(t)
    expect(await recovered(t, id)).not.toBeNull()
    await held(t)
  })

  test('is known to every node as taken back', async () => {
    const { t, id } = await started()
    await rollBackByTrigger(t.world, t.tenant, id, { trigger: 'error_rate', reason: '7 % against 1 %' })
    const node = { node: 'node_1', name: 'one/1' }
    expect(await confirmTaken(t.world, node)).toBeGreaterThan(0)
    expect(await confirmTaken(t.world, node)).toBe(0)
  })
})

describe(`${proves('R7')} asked once`, () => {
  test('by two nodes that look at the same moment', async () => {
    const { t, id } = await started()
    for (const run of ['run-a', 'run-b', 'run-c', 'run-d']) await ran(t, run, 2)
    await rolledBack(t, id)
    const other = plane.node()
    for (let round = 0; round < 3; round++) {
      await Promise.all([look(t), look(t, other), look(t), look(t, other)])
      const given = await undone(t)
      expect(given.length).toBeLessThanOrEqual(4)
    }
    await look(t)
    expect((await t.rows<{ topic: string }>('jobs')).filter(({ topic }) => topic === 'job.undo')).toHaveLength(8)
    expect(await told(t, 'rollout.compensation_asked')).toHaveLength(8)
    expect(await told(t, 'rollout.compensated')).toHaveLength(8)
    expect(await told(t, 'rollout.recovered')).toHaveLength(1)
    await held(t)
  })

  test('whatever statement its node dies at', async () => {
    // Every write of the way is once the one that is not answered: before it ran, or after. A death at a read leaves what one before the
    // next write leaves.
    let trials = 0
    for (const after of [false, true])
      for (let point = 0, hit = true; hit; point++) {
        hit = false
        const { t, id } = await started()
        await ran(t, 'run-a', 1)
        await submit(t, 'run-b')
        await rolledBack(t, id)
        const node = plane.node({ db: dying(point, after, () => (hit = true)) })
        for (let round = 0; round < 3; round++) {
          await look(t, node).catch(() => {})
          await undone(t)
        }
        for (let round = 0; round < 2; round++) {
          await look(t)
          await undone(t)
        }
        await look(t)
        const name = `${after ? 'after' : 'before'} statement ${point}`
        expect(await statuses(t, id), name).toEqual(['done'])
        expect(
          (await t.rows<{ topic: string }>('jobs')).filter(({ topic }) => topic === 'job.undo'),
          name,
        ).toHaveLength(1)
        expect(await told(t, 'rollout.recovered'), name).toHaveLength(1)
        if (!hit) await held(t)
        trials++
      }
    expect(trials).toBeGreaterThan(10)
  })
})

/** A store that a node loses for good at its n-th statement. */
function dying(point: number, after: boolean, onDeath: () => void) {
  let sent = 0
  const { db } = plane
  return {
    ...db,
    async query(sql: string, params?: never, on?: never) {
      const place = /^\s*SELECT\b/.test(sql) ? sent - 0.5 : sent++
      if (place > point) throw new Error('this node is dead')
      if (place < point) return db.query(sql, params, on)
      onDeath()
      if (after) await db.query(sql, params, on)
      throw new Error('this node died here')
    },
  } as never
}

describe('a compensation', () => {
  test('is refused where it asks for what is the plane’s own, or is too large', async () => {
    const { t } = await started()
    const { lease } = await leased(t, 'run-a')
    const asks = (compensation: Wanted) => effect(t.world, t.worker, { lease, key: 'e', phase: 'begin', compensation })
    expect(await codeOf(asks(undo(1, { topic: 'sallyport.policy.activate' })))).toBe('invalid')
    expect(await codeOf(asks(undo(1, { input: 'x'.repeat(40_000) })))).toBe('invalid')
  })

  test('may be known only with the result, replaces what was said at the beginning, and is not in the log', async () => {
    const { t, id } = await started()
    const { lease, job_id } = await leased(t, 'run-a')
    await effect(t.world, t.worker, { lease, key: 'e', phase: 'begin', compensation: undo(1) })
    await effect(t.world, t.worker, {
      lease,
      key: 'e',
      phase: 'commit',
      result: 9,
      compensation: undo(9, { labels: { secret: 'tulip' } }),
    })
    await t.succeed(lease)
    expect(await getCompensation(t.world.db, t.tenant, job_id, 'e')).toMatchObject({ version: 2, status: 'registered' })
    await rolledBack(t, id)
    await look(t)
    expect(await undone(t)).toEqual([9])
    const facts = JSON.stringify(await t.facts())
    expect(facts).toContain('compensation_hash')
    expect(facts).not.toContain('tulip')
  })

  test('takes on what the server held true of what it undoes', async () => {
    const { t, id } = await started()
    const body = {
      topic: 'job.do',
      run_id: 'run-a',
      labels: { env: 'prod' },
      risk_tags: ['money'],
      environment: 'production',
    }
    await t.submit({ ...body, agent: NAME }, null, asBot(t))
    const [given] = await t.claim(['job.do'], { serves: SERVES })
    await did(t, given?.lease ?? '', 'e', undo(1, { labels: { env: 'dev', more: 'x' }, risk_tags: ['undo'] }))
    await t.succeed(given?.lease ?? '')
    await rolledBack(t, id)
    await look(t)
    const [asked] = await told(t, 'rollout.compensation_asked')
    expect(await t.job(String(asked?.compensation_job_id))).toMatchObject({
      labels: { env: 'prod', more: 'x' },
      risk_tags: ['money', 'undo'],
      environment: 'production',
    })
  })
})

describe(`${proves('G4', 'R7')} what stands against it`, () => {
  /** Copies of rows, as many as nobody would make here by hand. */
  const copies = (table: string, count: number, patch: string, where: string, id: string) =>
    plane.db.query(
      `INSERT INTO ${table} SELECT (jsonb_populate_record(x, jsonb_build_object(${patch}))).* FROM ${table} x, generate_series(1, ${count}) n WHERE x.${where} = $1`,
      [id],
    )
  const manyJobs = (job_id: string) =>
    copies('jobs', 500, `'job_id', 'job_00' || lpad(n::text, 24, '0')`, 'job_id', job_id)
  const tags = (word: string, count: number) => Array.from({ length: count }, (_, n) => `${word}${n}`)
  const asAdmin = (t: Tenancy) => t.caller('admin', 'person:root')
  const asRoot = (t: Tenancy) => t.caller('approver', 'person:root')
  const back = (t: Tenancy, id: string) => stepRollout(t.world, asAdmin(t), id, { event: 'roll_back', reason: 'no' })
  const lastAsked = async (t: Tenancy) => (await told(t, 'rollout.compensation_asked')).at(-1)

  test('work in doubt hides neither what waits nor what runs', async () => {
    const { t, id } = await started({ on_rollback: 'cancel' })
    const doubt = await leased(t, 'run-doubt')
    await effect(t.world, t.worker, { lease: doubt.lease, key: 'lost', phase: 'begin' })
    t.clock.advance(700_000)
    await t.sweep()
    await manyJobs(doubt.job_id)
    await ran(t, 'run-a', 1)
    const [running, queued] = [await leased(t, 'run-b'), await submit(t, 'run-c')]
    await rolledBack(t, id)
    await look(t)
    expect((await t.job(running.job_id)).cancel_requested).toBe(true)
    expect((await t.job(queued.job_id)).status).toBe('denied')
    expect(await statuses(t, id)).toEqual(['asked'])
    await t.fail(running.lease)
    await undone(t)
    await look(t)
    expect(await recovered(t, id)).toBeNull()
  })

  test('those that failed do not hide one that was asked again', async () => {
    const { t, id } = await started()
    const job_id = await ran(t, 'run-a', 1)
    await rolledBack(t, id)
    await look(t)
    const [given] = await t.claim(['job.undo'])
    await t.fail(given?.lease ?? '', 'terminal')
    await look(t)
    const [row] = await listCompensations(t.world.db, t.tenant, id, 1)
    await copies('compensations', 500, `'job_id', 'job_0' || n, 'run_id', 'r' || n, 'ordinal', -n`, 'job_id', job_id)
    await t.discard(String(row?.comp_job_id))
    expect(await retryCompensations(t.world, t.operator, id, { job_id })).toMatchObject({ asked: 1 })
    await look(t)
    expect(await undone(t)).toEqual([1])
    await look(t)
    expect((await getCompensation(t.world.db, t.tenant, job_id, 'step-1'))?.status).toBe('done')
  })

  test('what had begun to undo it is not begun anew by another job', async () => {
    const { t, id } = await started()
    const job_id = await ran(t, 'run-a', 1)
    await rolledBack(t, id)
    await look(t)
    const [given] = await t.claim(['job.undo'])
    await t.begin(given?.lease ?? '', 'refund')
    await t.commit(given?.lease ?? '', 'refund', 'refunded')
    await t.fail(given?.lease ?? '', 'terminal')
    await look(t)
    const [row] = await listCompensations(t.world.db, t.tenant, id, 1)
    // As itself it may run again, because it knows what it has done.
    expect((await retryCompensations(t.world, t.operator, id, {})).replays).toEqual([row?.comp_job_id])
    await t.discard(String(row?.comp_job_id))
    expect(await codeOf(retryCompensations(t.world, t.operator, id, {}))).toBe('illegal_transition')
    await settleCompensation(t.world, t.operator, id, {
      job_id,
      effect_key: 'step-1',
      note: 'refunded, as the log says',
    })
    await look(t)
    expect(await recovered(t, id)).not.toBeNull()
  })

  test('a worker neither cuts off the tags of the job nor moves it to another environment', async () => {
    const { t, id } = await started()
    const body = { topic: 'job.do', risk_tags: ['payment'], environment: 'prod', agent: NAME }
    for (const more of [{ risk_tags: tags('a', 64) }, { environment: 'dev' }]) {
      await t.submit({ ...body, run_id: `run-${Object.keys(more)[0]}` }, null, asBot(t))
      const [given] = await t.claim(['job.do'], { serves: SERVES })
      await did(t, given?.lease ?? '', 'e', undo(1, more))
      await t.succeed(given?.lease ?? '')
    }
    await rolledBack(t, id)
    await look(t)
    const [moved, cut] = await listCompensations(t.world.db, t.tenant, id, 2)
    expect(cut).toMatchObject({ status: 'blocked', reason: 'invalid' })
    expect((await t.job(String(moved?.comp_job_id))).environment).toBe('prod')
  })

  test('whoever took it back does not answer for it: by a grant, because another asked again, or ran it again', async () => {
    const { t, id } = await started()
    await ran(t, 'run-a', 1, { topic: 'job.undo-money' })
    const grant = {
      agent: NAME,
      topic: 'job.undo-money',
      uses: 5,
      expires_at: t.clock.now() + 3_600_000,
      reason: 'mine',
    }
    await createGrant(t.world, asRoot(t), grant)
    await back(t, id)
    await look(t)
    const first = await lastAsked(t)
    expect(first).toMatchObject({ waits_for_people: true })
    await t.reject(String(first?.approval_id))
    await look(t)
    await retryCompensations(t.world, t.operator, id, {})
    await look(t)
    const again = await lastAsked(t)
    const says = (approval_id: unknown, as = asRoot(t)) => codeOf(t.approve(String(approval_id), as))
    expect(await says(again?.approval_id)).toBe('self_approval')
    expect(await says(again?.approval_id, t.caller('approver', 'person:olga'))).toBe('self_approval')
    // Nor does who described it.
    expect(await says(again?.approval_id, t.caller('approver', t.worker.principal))).toBe('self_approval')
    await t.approve(String(again?.approval_id))
    const [given] = await t.claim(['job.undo-money'])
    await t.fail(given?.lease ?? '', 'terminal')
    await replay(t.world, t.caller('operator', 'person:otto'), String(again?.compensation_job_id), null)
    expect(await says((await t.job(String(again?.compensation_job_id))).approval_id)).toBe('self_approval')
  })

  test('a grant that was used before its maker took the rollout back covers it no more', async () => {
    const { t, id } = await started()
    await ran(t, 'run-a', 1, { topic: 'job.undo-money' })
    const grant = {
      agent: NAME,
      topic: 'job.undo-money',
      uses: 5,
      expires_at: t.clock.now() + 3_600_000,
      reason: 'fine',
    }
    await createGrant(t.world, asRoot(t), grant)
    await rolledBack(t, id)
    await look(t)
    const job = await t.job(String((await lastAsked(t))?.compensation_job_id))
    expect(job).toMatchObject({ status: 'queued', granted_by: expect.any(String) })
    const { gate } = await t.world.policies.active(t.tenant)
    const held = (more: object) => t.world.grants.held(gate, { ...job, ...more }, job as never, t.clock.now())
    expect(await held({})).toHaveLength(1)
    expect(await held({ replayed_by: 'person:root' })).toEqual([])
    await plane.db.query(`UPDATE compensations SET barred = '["person:root"]' WHERE comp_job_id = $1`, [job.job_id])
    expect(await held({})).toEqual([])
  })

  test('nothing is undone on topics that the key of who asked does not reach', async () => {
    for (const topics of [['job.do'], ['job.*']]) {
      const { t, id } = await started()
      await createKey(t.world, t.tenant, 'person:root', { role: 'agent', principal: NAME, topics })
      await ran(t, 'run-a', 1)
      await rolledBack(t, id)
      await look(t)
      const [row] = await listCompensations(t.world.db, t.tenant, id, 1)
      const isReached = topics[0] !== 'job.do'
      expect(row).toMatchObject(isReached ? { status: 'asked' } : { status: 'blocked', reason: 'topic_refused' })
    }
  })

  test('the name of the plane is nobody’s, and declaring it ends nothing', async () => {
    const { t, id } = await started()
    const key = (more: object) => codeOf(makeKey(t.world, t.admin, { role: 'operator', ...more } as never))
    expect(await key({ principal: 'system:rollouts' })).toBe('invalid')
    expect(await key({ act_as: ['system:rollouts'] })).toBe('invalid')
    const named = { principal: 'system:rollouts', kind: 'service' as const, role: 'viewer' as const }
    const unknown = { team: null, name: null, email: null, terms: null }
    const declared = applyDirectory(t.world, t.admin, { teams: [], principals: [{ ...named, ...unknown }] }, 'api')
    expect(await codeOf(declared)).toBe('invalid')
    // One from before names were kept.
    await plane.db.query(
      `INSERT INTO principals (tenant, principal, kind, role, source, created_at, updated_at, updated_by, disabled_at) VALUES ($1, 'system:rollouts', 'service', 'viewer', 'api', 1, 1, 'x', 1)`,
      [t.tenant],
    )
    await ran(t, 'run-a', 1)
    await rolledBack(t, id)
    await look(t)
    expect(await statuses(t, id)).toEqual(['asked'])
  })

  test('nothing is undone beneath work of the stable version in the same run', async () => {
    const { t, id } = await started()
    await ran(t, 'run-a', 1)
    await rolledBack(t, id)
    await submit(t, 'run-a')
    const [stable] = await t.claim(['job.do'])
    await look(t)
    expect(await statuses(t, id)).toEqual(['registered'])
    await t.succeed(stable?.lease ?? '')
    await look(t)
    expect(await statuses(t, id)).toEqual(['asked'])
  })

  // Last of these: every look from now on has its rows before it.
  test('a hundred rollbacks that wait for people hold up nobody else’s, and each has its turn', async () => {
    const other = await started()
    await ran(other.t, 'run-a', 1, { topic: 'job.forbidden' })
    await rolledBack(other.t, other.id)
    await look(other.t)
    const of = `'rollout_id', 'rol_' || lpad(n::text, 26, '0')`
    await copies('compensations', 120, `${of}, 'job_id', 'job_0' || n`, 'rollout_id', other.id)
    for (const table of ['rollouts', 'recoveries']) await copies(table, 120, of, 'rollout_id', other.id)
    plane.clock.advance(1000)
    const { t, id } = await started()
    await ran(t, 'run-a', 1)
    await rolledBack(t, id)
    await look(t)
    expect(await statuses(t, id)).toEqual(['asked'])
    const turns = new Turns()
    const seen = new Set<string>()
    for (let round = 0; round < 3; round++)
      for (const { rollout_id } of await turns.next(t.world)) {
        seen.add(rollout_id)
        turns.had(rollout_id, t.clock.now() + 3000)
      }
    expect(seen.size).toBeGreaterThan(121)
    // Those that wait rest; what is under way does not.
    expect(await turns.next(t.world)).toEqual([])
    turns.had(id, t.clock.now())
    expect((await turns.next(t.world)).map(({ rollout_id }) => rollout_id)).toEqual([id])
    await plane.db.query(`UPDATE rollouts SET recovered_at = 1 WHERE tenant = $1`, [other.t.tenant])
  })
})

describe(`${proves('G10')} who has to know`, () => {
  const MAIL = { url_env: 'SALLYPORT_SMTP_URL', from: 'plane@example.com', to: [] }
  const person = (principal: string, team: string | null) => ({
    ...{ principal, kind: 'person' as const, role: 'viewer' as const, team, name: null, terms: null },
    email: `${principal.slice('person:'.length)}@example.com`,
  })

  test('is told by the channels what, why, what comes now and who answers for it; the report says all with its times', async () => {
    const { t, id } = await started()
    const teams = [{ team: 'support', name: null, leads: [], on_call: [] }]
    const principals = [person('person:sue', 'support'), person('person:sre', 'sre'), person('person:else', 'other')]
    await applyDirectory(
      t.world,
      t.admin,
      { teams: [...teams, { ...teams[0]!, team: 'sre' }, { ...teams[0]!, team: 'other' }], principals },
      'api',
    )
    const events = ['rollout.rolled_back', 'rollout.recovered']
    await putChannel(t.world, t.admin, {
      channel: 'mail',
      kind: 'email',
      events,
      topics: null,
      teams: null,
      settings: MAIL,
    })
    await ran(t, 'run-a', 1)
    t.clock.advance(5_000)
    await rollBackByTrigger(t.world, t.tenant, id, { trigger: 'error_rate', reason: '7.1 % against 1.2 %' })
    await confirmTaken(t.world, { node: 'node_1', name: 'one/1' })
    t.clock.advance(2_000)
    await look(t)
    t.clock.advance(3_000)
    await undone(t)
    await look(t)
    await integrate(t.world, plane.key)
    while ((await notify(t.world)).behind > 0);
    const due = (await dueDeliveries(t.world.db, t.tenant, 'mail', plane.clock.now(), 50)).map(
      ({ event, recipient }) => `${event} ${recipient}`,
    )
    expect(due.sort()).toEqual(
      events.flatMap((event) => [`${event} principal:person:sre`, `${event} principal:person:sue`]).sort(),
    )

    const entries = (await timeline(t.world, t.tenant, { rollout_id: id }, undefined, 100)).items
    expect(entries.map(({ kind }) => kind)).toEqual([
      'rollout.declared',
      'rollout.started',
      'rollout.rolled_back',
      'rollout.leases_ended',
      'rollout.compensation_asked',
      'rollout.compensated',
      'rollout.recovered',
    ])
    const report = await rollbackReport(t.world, t.tenant, id, entries)
    expect(Value.Errors(RollbackReport, report)).toEqual([])
    expect(report).toMatchObject({
      rolled_back: { by: 'system:rollouts', trigger: 'error_rate', reason: '7.1 % against 1.2 %' },
      detection: null,
      stop: { confirmed_ms: 0, nodes: [{ node: 'one/1' }] },
      work: { on_rollback: 'drain', leases: 0, open: 0, ended_ms: 2_000, refused: 0 },
      compensations: {
        total: 1,
        by_status: { done: 1 },
        items: [{ status: 'done', took_ms: 5_000, decision: { decision: 'ALLOW', rules: ['undo'] } }],
      },
      recovery: { took_ms: 5_000 },
    })
    expect(report.told).toHaveLength(4)
    const markdown = rollbackMarkdown(report, {
      proven: new Set(entries.map(({ index }) => index ?? -1)),
      head: { size: 99, root: 'a'.repeat(64) },
    })
    expect(markdown).toContain('7 entries, each proven to stand under the signed head of size 99')
    expect(markdown).toContain('| Recovery | 5.0 s |')

    const [told] = entries.filter(({ kind }) => kind === 'rollout.rolled_back')
    const rollout = await getRollout(t.world.db, t.tenant, id)
    const letter = rolloutLetter(
      { kind: 'rollout.rolled_back', at: told?.at ?? 0, actor: told?.actor ?? '', ...(told?.facts as object) },
      rollout!,
      null,
    )
    expect(letter.subject).toBe('Rolled back: bot-2')
    for (const words of [
      'agent agent:bot',
      '2, in the place of 1',
      '7.1 % against 1.2 %',
      'error_rate',
      'undone, last first',
      'sre',
      id,
    ])
      expect(letter.text).toContain(words)
  })

  test('may read when it was first seen, which is kept with the rollback', async () => {
    const { t, id } = await started()
    const from = plane.clock.now()
    for (let n = 0; n <= 60; n++) {
      const seen = { at: plane.clock.now(), value: 0.2, samples: 100, baseline: 0.01, baseline_samples: 100 }
      await keepSeen(t.world.db, [t.tenant, id], { error_rate: seen })
      t.clock.advance(10_000)
    }
    await rollBackByTrigger(t.world, t.tenant, id, { trigger: 'error_rate', reason: 'too many' })
    await look(t)
    await forgetLooks(t.world.db, plane.clock.now(), 1000)
    const { detection, rolled_back } = await rollbackReport(t.world, t.tenant, id, [])
    expect(detection).toEqual({ from, took_ms: rolled_back.at - from })
  })

  test('reads of no rollback where there was none', async () => {
    const { t, id } = await started()
    expect(await codeOf(rollbackReport(t.world, t.tenant, id, []))).toBe('illegal_transition')
    expect(await codeOf(rollbackReport(t.world, t.tenant, 'rol_none', []))).toBe('not_found')
  })
})
