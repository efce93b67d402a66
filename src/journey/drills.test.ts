import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { readCheckpoint, signCheckpoint } from '../core/audit/checkpoint.js'
import { readSigningKey, signingKeyPem } from '../core/audit/keys.js'
import { appendLeaves, consistencyProof, EMPTY_EDGE, leafHashes } from '../core/audit/tree.js'
import { digestOf, sha256 } from '../core/canonical.js'
import { DRILL_NAMES, DRILLS, type DrillName, type DrillRun, FRESH_MS, type Made } from '../core/drill.js'
import type { Json } from '../core/json.js'
import { newestHead, readNodes } from '../store/audit.js'
import { drillStandings, pageOfDrillRuns } from '../store/drills.js'
import { drillStates, recordDrill, remindOfDrills, scheduleDrill } from './drills.js'
import { integrate } from './integrate.js'
import { resumeStop } from './resume.js'
import { beat, confirm, enforceStops, raiseStop } from './stop.js'

const POLICY = `
version: v1
rules:
  - { id: work, match: { topic: job.do.* }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
job_classes:
  - { topic: 'job.do.*', timeout_ms: 600000, heartbeat_ms: 10000 }
`
const DAY = 86_400_000
const HELD = [{ name: 'it held', pass: true, detail: 'seen' }]

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

const report = (t: Tenancy, drill: DrillName, made: Made, checks = HELD, as = t.operator) =>
  recordDrill(t.world, as, drill, { took_ms: 5, made, checks, figures: {} })
/** What did not hold, as the run says it. */
const failing = ({ checks }: DrillRun) => checks.filter(({ pass }) => !pass).map(({ by, name }) => `${by}: ${name}`)
const deniedBy = async (work: Promise<unknown>) => String((await problemOf(work)).extra.decision_id)
const denied = (t: Tenancy, run_id = 'drill-1') =>
  deniedBy(t.submit({ topic: 'job.never.do', run_id, input: { n: 1 } }))

/** A job whose worker was lost in the middle of an effect, as a person then put it right. */
async function crashed(t: Tenancy, happened = true): Promise<string> {
  const { lease, job } = await t.lease({ topic: 'job.do.crash' })
  await t.begin(lease, 'pay')
  plane.clock.advance(700_000)
  await t.sweep()
  await t.resolve(job.job_id, 'pay', happened, 'retry')
  const [again] = await t.claim(['job.do.crash'], { worker: t.otherWorker })
  await t.begin(again?.lease ?? '', 'pay', t.otherWorker)
  if (!happened) await t.commit(again?.lease ?? '', 'pay', 1, t.otherWorker)
  await t.succeed(again?.lease ?? '', {}, t.otherWorker)
  return job.job_id
}

async function asked(t: Tenancy) {
  const { job_id, approval_id = '' } = await t.submit({ topic: 'job.ask.this' })
  return { job_id, approval_id }
}

/** Everything of a stop drill, but that nobody resumed it. */
async function stopped(t: Tenancy) {
  const { lease, job } = await t.lease({ topic: 'job.do.stop' })
  const node = { node: `node_${t.tenant}`, name: 'here/1' }
  await beat(t.world, node)
  const { stop_id } = await raiseStop(t.world, t.operator, { scope: 'topic', target: 'job.do.stop', reason: 'drill' })
  await confirm(t.world, node)
  await enforceStops(t.world)
  const decision_id = await deniedBy(t.submit({ topic: 'job.do.stop' }))
  await t.fail(lease)
  return { made: { stop_id, decision_id, job_id: job.job_id }, stop_id }
}

async function resumed(t: Tenancy, stop_id: string): Promise<void> {
  for (const stage of ['trial', 'full'] as const)
    for (const by of [t.operator, t.admin])
      await resumeStop(t.world, by, stop_id, { stage, note: 'drill', trial_ms: 0, trial_limit: 1 })
}

describe(`${proves('G6')} what is reported is looked at`, () => {
  test('deny: a denial of now by policy passes; one that let through, is old, or is of another tenant does not', async () => {
    const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const decision_id = await denied(t)
    expect(failing(await report(t, 'deny', { decision_id }))).toEqual([])
    const let_through = (await t.submit({ topic: 'job.do.this' })).decision_id
    expect(failing(await report(t, 'deny', { decision_id: let_through }))).toEqual([
      'server: policy denied it at the first door',
      'server: a drill asked for it',
      'server: it left no job',
      'server: the log has the denial',
    ])
    const traffic = await denied(t, 'nightly')
    expect(failing(await report(t, 'deny', { decision_id: traffic }))).toEqual(['server: a drill asked for it'])
    expect(failing(await report(t, 'deny', { decision_id }))).toEqual(['server: no run before was of the same'])
    expect((await report(other, 'deny', { decision_id })).outcome).toBe('failed')
    const old = await denied(t)
    plane.clock.advance(FRESH_MS + 1)
    expect(failing(await report(t, 'deny', { decision_id: old }))).toEqual(['server: the decision is of now'])
    expect((await report(t, 'deny', {})).outcome).toBe('failed')
  })

  test('deny: a decision whose row was changed since is not made again', async () => {
    const t = await plane.tenant(POLICY)
    const decision_id = await denied(t)
    await plane.db.query('UPDATE decisions SET reason = $3 WHERE tenant = $1 AND decision_id = $2', [
      t.tenant,
      decision_id,
      'x',
    ])
    expect(failing(await report(t, 'deny', { decision_id }))).toEqual(['server: policy denied it at the first door'])
  })

  test('approval: somebody else said no and nothing ran; unanswered, or of what never asked, it does not pass', async () => {
    const t = await plane.tenant(POLICY)
    const made = await asked(t)
    expect(failing(await report(t, 'approval', made))).toEqual([
      'server: another answered than asked',
      'server: the log tells it',
    ])
    await t.reject(made.approval_id)
    expect(failing(await report(t, 'approval', made))).toEqual([])
    const { job_id } = await t.submit({ topic: 'job.do.this' })
    expect(failing(await report(t, 'approval', made))).toEqual(['server: no run before was of the same'])
    expect(failing(await report(t, 'approval', { ...made, job_id }))).toContain(
      'server: the question is bound to the job',
    )
  })

  test('worker-crash: lost, found by another, done once; a job that just ran is none, nor one done twice', async () => {
    const t = await plane.tenant(POLICY)
    const run = await report(t, 'worker-crash', { job_id: await crashed(t) })
    expect(failing(run)).toEqual([])
    expect(run.figures.recovery_ms).toBeTypeOf('number')
    const { lease, job } = await t.lease({ topic: 'job.do.well' })
    await t.begin(lease, 'pay')
    await t.commit(lease, 'pay')
    await t.succeed(lease)
    expect(failing(await report(t, 'worker-crash', { job_id: job.job_id }))).toEqual([
      'server: its worker was lost',
      'server: it was lost in the middle of an effect',
      'server: nobody went on before a person had said what happened',
      'server: another lease finished it',
    ])
    const early = await t.lease({ topic: 'job.do.crash' })
    plane.clock.advance(700_000)
    await t.sweep()
    plane.clock.advance(600_000)
    const [again] = await t.claim(['job.do.crash'])
    expect(again?.job.job_id).toBe(early.job.job_id)
    await t.begin(again?.lease ?? '', 'pay')
    await t.commit(again?.lease ?? '', 'pay')
    await t.succeed(again?.lease ?? '')
    expect(failing(await report(t, 'worker-crash', { job_id: early.job.job_id }))).toEqual([
      'server: it was lost in the middle of an effect',
      'server: nobody went on before a person had said what happened',
    ])
    // What a person said had not happened may be begun again.
    expect(failing(await report(t, 'worker-crash', { job_id: await crashed(t, false) }))).toEqual([])
  })

  test('stop: refused, ended, confirmed and resumed by two; while it stands it has not passed', async () => {
    const t = await plane.tenant(POLICY)
    const { made, stop_id } = await stopped(t)
    expect(failing(await report(t, 'stop', made))).toEqual(['server: two people resumed it'])
    await resumed(t, stop_id)
    const run = await report(t, 'stop', made)
    expect(failing(run)).toEqual([])
    expect(Object.keys(run.figures).sort()).toEqual(['detection_ms', 'recovery_ms', 'stop_ms'])
    const elsewhere = await denied(t)
    expect(failing(await report(t, 'stop', { ...made, decision_id: elsewhere }))).toEqual([
      'server: work in its scope was refused',
      'server: no run before was of the same',
    ])
  })

  test('no watch of the reporter stands for what the record does not say', async () => {
    const t = await plane.tenant(POLICY)
    const figures = { detection_ms: 1, stop_ms: 1, recovery_ms: 1 }
    const made = { decision_id: await denied(t) }
    expect(
      (await recordDrill(t.world, t.operator, 'deny', { took_ms: 5, made, checks: HELD, figures })).figures,
    ).toEqual({})
  })

  test('stop: a node that has not heard of it fails it', async () => {
    const t = await plane.tenant(POLICY)
    await beat(t.world, { node: `silent_${t.tenant}`, name: 'there/2' })
    const { made, stop_id } = await stopped(t)
    await resumed(t, stop_id)
    expect(failing(await report(t, 'stop', made))).toContain('server: every node has confirmed')
  })
})

describe(`${proves('G6')} incident replay`, () => {
  async function past(t: Tenancy, run_id: string): Promise<string> {
    const { job_id, approval_id } = await t.submit({ topic: 'job.ask.this', run_id, input: { amount: 7 } })
    await t.approve(approval_id ?? '')
    const [leased] = await t.claim(['job.ask.this'])
    await t.begin(leased?.lease ?? '', 'pay')
    await t.commit(leased?.lease ?? '', 'pay', { paid: true })
    await t.succeed(leased?.lease ?? '', { ok: true })
    await codeOf(t.submit({ topic: 'job.never.do', run_id }))
    return job_id
  }

  test('a run is made again from the record: decisions, effects, and its place under the signed head', async () => {
    const t = await plane.tenant(POLICY)
    await past(t, 'run-1')
    expect(failing(await report(t, 'incident-replay', { run_id: 'run-1' }))).toEqual([
      'server: all of it stands under the signed head',
    ])
    await integrate(plane.world, plane.key)
    plane.clock.advance(90 * DAY)
    await t.activate(POLICY.replace('decision: ALLOW', 'decision: DENY'))
    const run = await report(t, 'incident-replay', { run_id: 'run-1' })
    expect(failing(run)).toEqual([])
    expect(run.checks.find(({ name }) => name.startsWith('every decision is made'))?.detail).toBe('4 decisions')
  })

  test.each([
    [
      'a lease that says it was allowed otherwise',
      `UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,reason}', '"x"')::json WHERE tenant = $1`,
      'every decision is made again, byte for byte',
    ],
    [
      'a job that its log does not tell',
      `UPDATE jobs SET state = jsonb_set(state::jsonb, '{status_reason}', '"x"')::json WHERE tenant = $1`,
      'the log tells how each job came to stand as it does',
    ],
    [
      'a decision that is gone',
      `DELETE FROM decisions WHERE tenant = $1 AND job_id IS NOT NULL`,
      'every decision that the log names is on record',
    ],
  ])('%s is found', async (_, tampered, found) => {
    const t = await plane.tenant(POLICY)
    await past(t, 'run-2')
    await integrate(plane.world, plane.key)
    await plane.db.query(tampered, [t.tenant])
    expect(failing(await report(t, 'incident-replay', { run_id: 'run-2' }))).toContain(`server: ${found}`)
  })

  test('a run that goes on, or that nobody knows, is none', async () => {
    const t = await plane.tenant(POLICY)
    await t.submit({ topic: 'job.do.this', run_id: 'run-3' })
    await integrate(plane.world, plane.key)
    expect(failing(await report(t, 'incident-replay', { run_id: 'run-3' }))).toEqual(['server: the run is over'])
    expect((await report(t, 'incident-replay', { run_id: 'run-4' })).outcome).toBe('failed')
  })
})

describe(`${proves('R9')} restore`, () => {
  /** What a copy would sign that went on after the newest head with entries of its own. */
  async function copied(t: Tenancy, { key = plane.key, extra = 2, at = plane.clock.now() } = {}) {
    await integrate(plane.world, plane.key)
    const head = (await newestHead(plane.db, t.tenant))?.checkpoint ?? ''
    const { size, origin } = readCheckpoint(head).checkpoint
    const all = await leafHashes(0, size, (wanted) => readNodes(plane.db, t.tenant, wanted))
    const leaves = [...Array(size).keys()].map((n) => all.slice(n * 32, (n + 1) * 32))
    const own = [...Array(extra).keys()].map((n) => Buffer.from(sha256(`copy ${n}`), 'hex'))
    const { root, writes } = appendLeaves(EMPTY_EDGE, [...leaves, ...own])
    const rows = new Map(writes.map((row) => [`${row.level}/${row.index}`, row.hashes]))
    const path = await consistencyProof(size, size + extra, async (wanted) =>
      wanted.map(({ level, index }) => rows.get(`${level}/${index}`) ?? null),
    )
    const restored_head = signCheckpoint({ origin, size: size + extra, root, at, closed: [] }, key)
    return { head, restored_head, proof: path.map((hash) => Buffer.from(hash).toString('hex')) }
  }

  test('a copy that went on by itself, signed with the key of this log, passes', async () => {
    const t = await plane.tenant(POLICY)
    expect(failing(await report(t, 'restore', await copied(t)))).toEqual([])
  })

  test('a copy that was shown before, or of a backup of last month, does not', async () => {
    const t = await plane.tenant(POLICY)
    await denied(t)
    const [good, later] = [await copied(t), await copied(t, { extra: 9 })]
    expect(failing(await report(t, 'restore', good))).toEqual([])
    // It runs on somewhere, and signs other heads.
    expect(failing(await report(t, 'restore', later))).toEqual(['server: the copy is none that was shown before'])
    plane.clock.advance(1_000)
    await denied(t)
    expect(failing(await report(t, 'restore', await copied(t)))).toEqual([])
    const old = await copied(t)
    plane.clock.advance(8 * DAY)
    expect(failing(await report(t, 'restore', { ...(await copied(t)), head: old.head, proof: old.proof }))).toContain(
      'server: the backup is of these days',
    )
  })

  test('nothing else does', async () => {
    const t = await plane.tenant(POLICY)
    await denied(t)
    const good = await copied(t)
    const stranger = readSigningKey(signingKeyPem(Buffer.alloc(32, 7)))
    const wrong = async (made: Made) => failing(await report(t, 'restore', made))
    expect(await wrong(await copied(t, { key: stranger }))).toContain('server: the copy begins with that head')
    expect(await wrong({ ...good, proof: [] })).toEqual(['server: the copy begins with that head'])
    expect(await wrong(await copied(t, { at: plane.clock.now() - FRESH_MS - 1 }))).toEqual([
      'server: the head of the copy is of now',
    ])
    // Heads of the log that runs: nothing was brought up.
    await denied(t)
    await integrate(plane.world, plane.key)
    const later = (await newestHead(plane.db, t.tenant))?.checkpoint ?? ''
    const [from, to] = [good.head, later].map((note) => readCheckpoint(note).checkpoint.size) as [number, number]
    const path = await consistencyProof(from, to, (wanted) => readNodes(plane.db, t.tenant, wanted))
    const proof = path.map((hash) => Buffer.from(hash).toString('hex'))
    expect(await wrong({ head: good.head, restored_head: later, proof })).toEqual([
      'server: the copy went on by itself',
    ])
    expect(await wrong({ head: 'no note', restored_head: 'none', proof: [] })).toHaveLength(6)
  })
})

describe(`${proves('G6')} drills as objects`, () => {
  test('a run stands in a row and in the log, which names its hash; the reporter alone makes no pass', async () => {
    const t = await plane.tenant(POLICY)
    const run = await report(t, 'deny', { decision_id: await denied(t) })
    expect(run).toMatchObject({ outcome: 'passed', recorded_by: t.operator.principal, valid_until: run.at + 8 * DAY })
    const [row] = (await pageOfDrillRuns(plane.db, t.tenant, 'deny', {})).items
    expect(row).toEqual(run)
    const fact = (await t.facts()).find(({ kind }) => kind === 'drill.run')
    expect(fact).toMatchObject({ drill_id: run.drill_id, run_hash: digestOf('drill', row as unknown as Json) })
    const [first] = HELD
    const lost = await report(t, 'deny', { decision_id: await denied(t) }, [
      { ...(first as (typeof HELD)[number]), pass: false },
    ])
    expect(failing(lost)).toEqual(['reporter: it held'])
  })

  test('gates read the newest at an instant, and the same later', async () => {
    const t = await plane.tenant(POLICY)
    const { drill_id, at } = await report(t, 'deny', { decision_id: await denied(t) })
    plane.clock.advance(DAY)
    const before = await drillStandings(plane.db, t.tenant, plane.clock.now())
    expect(before.deny).toMatchObject({ passed: true, drill_id, at })
    expect(Object.keys(before).sort()).toEqual([...DRILL_NAMES].sort())
    const asked_at = plane.clock.now()
    plane.clock.advance(1)
    await report(t, 'deny', {})
    expect(await drillStandings(plane.db, t.tenant, asked_at)).toEqual(before)
    expect((await drillStandings(plane.db, t.tenant, plane.clock.now())).deny?.passed).toBe(false)
    expect((await drillStandings(plane.db, t.tenant, at - 1)).deny).toBeNull()
  })

  test('agents and workers report none, whatever role their key has', async () => {
    const t = await plane.tenant(POLICY)
    for (const as of [t.agent, t.worker]) expect(await codeOf(report(t, 'deny', {}, HELD, as))).toBe('forbidden')
    expect((await t.facts()).filter(({ kind }) => kind === 'drill.refused')).toHaveLength(2)
    expect(await t.rows('drill_runs')).toEqual([])
  })

  test('a cadence may be shorter than usual and never longer', async () => {
    const t = await plane.tenant(POLICY)
    const set = (every_ms: number) => scheduleDrill(t.world, t.admin, 'deny', { owner: 'team:sre', every_ms })
    expect(await codeOf(set(DRILLS.deny.every_ms + 1))).toBe('invalid')
    expect(await codeOf(set(3_599_999))).toBe('invalid')
    const { since } = await set(DAY)
    plane.clock.advance(5)
    expect((await set(2 * DAY)).since).toBe(since)
    expect((await scheduleDrill(t.world, t.admin, 'deny', { owner: 'b', every_ms: DAY })).since).toBe(since)
    const [state] = await drillStates(t.world, t.tenant, ['deny'])
    expect(state?.schedule).toMatchObject({ owner: 'b', every_ms: DAY, updated_by: t.admin.principal })
  })

  test('naming another owner again and again does not put the reminder off', async () => {
    const t = await plane.tenant(POLICY)
    for (let n = 0; n < 3; n++) {
      await scheduleDrill(t.world, t.operator, 'deny', { owner: `team:${n}`, every_ms: DAY })
      plane.clock.advance(DAY - 1)
    }
    expect(await remindOfDrills(plane.world)).toContainEqual(expect.objectContaining({ tenant: t.tenant }))
  })

  test('who owns one that did not pass in time is told once for each turn', async () => {
    const t = await plane.tenant(POLICY)
    const told = async () => (await t.facts()).filter(({ kind }) => kind === 'drill.overdue')
    await scheduleDrill(t.world, t.admin, 'deny', { owner: 'team:sre', every_ms: DAY })
    await remindOfDrills(plane.world)
    expect(await told()).toEqual([])
    plane.clock.advance(DAY)
    for (let look = 0; look < 3; look++) await remindOfDrills(plane.world)
    expect(await told()).toMatchObject([{ drill: 'deny', owner: 'team:sre', passed_at: null }])
    const { at } = await report(t, 'deny', { decision_id: await denied(t) })
    await remindOfDrills(plane.world)
    plane.clock.advance(DAY - 1)
    await report(t, 'deny', {}) // a failure is no pass
    await remindOfDrills(plane.world)
    expect(await told()).toHaveLength(1)
    plane.clock.advance(1)
    for (let look = 0; look < 3; look++) await remindOfDrills(plane.world)
    expect((await told())[1]).toMatchObject({ due_at: at + DAY, passed_at: at })
    expect(await told()).toHaveLength(2)
  })
})
