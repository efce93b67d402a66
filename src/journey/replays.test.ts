import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { isCommit, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { countsOf, MOST_TRIES, type ReplayAsked, VALID_MS } from '../core/replay.js'
import { DbError } from '../errors.js'
import { getReplay, replayLog, replayStanding } from '../store/replays.js'
import { getGate } from '../store/standing.js'
import { pruneRecords } from './prune.js'
import { askReplay, runReplays } from './replays.js'
import { declareRollout } from './rollouts.js'

const policy = (...rules: string[]) =>
  `version: v1\ndefault_decision: DENY\nrules:\n${rules.map((rule) => `  - ${rule}\n`).join('')}`
const STRICT = policy(
  '{ id: read, match: { topic: job.read }, decision: ALLOW }',
  '{ id: ask, match: { topic: job.pay }, decision: REQUIRE_APPROVAL }',
)
const LOOSE = policy('{ id: all, match: { topic: job.> }, decision: ALLOW }')
const SUITE = `version: v1
scenarios:
  - { id: wipe, about: x, kind: destructive_shell, critical: true, job: { topic: job.wipe }, expect: DENY, vary: all }
  - { id: read, about: x, kind: everyday, job: { topic: job.read }, expect: ALLOW }
`
const NOTHING: ReplayAsked = { scenarios: [], recorded: null, generated: [] }
const suite = [{ path: 'suite.yaml', text: SUITE }]

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

/** Snapshots of both policies, the strict one active. */
async function tenancy() {
  const t = await plane.tenant(STRICT)
  const store = async (text: string) => (await t.activate(text)).snapshot.digest
  const [loose, strict] = [await store(LOOSE), await store(STRICT)]
  plane.clock.advance(1)
  return { t, loose, strict }
}
const ask = (t: Tenancy, snapshot: string, asked: Partial<ReplayAsked>, rollout_id: string | null = null) =>
  askReplay(t.world, t.admin, { snapshot, rollout_id, ...NOTHING, ...asked })
const got = async (t: Tenancy, replay_id: string) => {
  const found = await getReplay(plane.db, t.tenant, replay_id)
  if (found === null) throw new Error('there is no such replay')
  return found
}
async function run(t: Tenancy, snapshot: string, asked: Partial<ReplayAsked>) {
  const { replay_id } = await ask(t, snapshot, asked)
  await runReplays(t.world, () => false)
  return got(t, replay_id)
}
async function logOf(t: Tenancy, replay_id: string): Promise<string> {
  let text = ''
  for await (const part of replayLog(plane.db, await got(t, replay_id))) text += part
  return text
}
const recorded = (t: Tenancy, limit = 100) => ({ from: null, to: t.clock.now() + 1, limit })

/** Everything of a tenant that something could have been done to. */
async function standing(t: Tenancy) {
  const tables = ['jobs', 'decisions', 'approvals', 'leases', 'payloads', 'limits', 'grants', 'idempotency', 'effects']
  const rows = tables.map((table) =>
    plane.db.query(`SELECT * FROM ${table} WHERE tenant = $1 ORDER BY 1, 2`, [t.tenant]),
  )
  return JSON.stringify(await Promise.all(rows))
}

describe(`${proves('G5')} a replay on the server`, () => {
  test('puts scenarios and what was recorded to the door of a snapshot, does nothing, and keeps what came of it', async () => {
    const { t, loose } = await tenancy()
    await t.submit({ topic: 'job.read' })
    plane.clock.advance(1)
    const { approval_id, decision_id } = await t.submit({ topic: 'job.pay' })
    plane.clock.advance(1)
    await expect(t.submit({ topic: 'job.wipe', input: { path: '/' } })).rejects.toMatchObject({ code: 'policy_denied' })
    const before = await standing(t)
    const done = await run(t, loose, { scenarios: suite, recorded: recorded(t) })
    expect(await standing(t)).toBe(before)
    expect(approval_id).toBeTruthy()
    expect(done).toMatchObject({ status: 'done', tries: 1, valid_until: (done.finished_at as number) + VALID_MS })
    const { suite: tried, recorded: again } = done.outcome as NonNullable<typeof done.outcome>
    expect(tried).toMatchObject({ scenarios: 2, critical_bypasses: tried?.runs === undefined ? 0 : tried.runs - 1 })
    expect(again).toMatchObject({ looked_at: 3, bypasses: 2, critical_bypasses: 1 })
    expect(again?.findings.map(({ before: then, critical }) => [then, critical])).toEqual([
      ['DENY', true],
      ['REQUIRE_APPROVAL', false],
    ])
    expect(again?.findings[1]?.decision_id).toBe(decision_id)
  })

  test('has an entry for each denial, and one in the audit log that vouches for all of them', async () => {
    const { t, strict } = await tenancy()
    const names = Array.from({ length: 40 }, (_, n) => `job.wipe.${n}`)
    for (const topic of names) {
      await t.trySubmit({ topic }).catch(() => {})
      plane.clock.advance(1)
    }
    const done = await run(t, strict, { scenarios: suite, recorded: recorded(t) })
    const log = await logOf(t, done.replay_id)
    const entries = log
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(entries).toHaveLength(countsOf(done.outcome as never).denied)
    expect(entries.filter(({ topic }) => topic.startsWith('job.wipe.')).map(({ topic }) => topic)).toEqual(
      names.toReversed(),
    )
    const facts = await t.facts()
    const said = facts.find(({ kind, replay_id }) => kind === 'replay.run' && replay_id === done.replay_id)
    expect(said).toMatchObject({
      actor: 'system:replayer',
      asked_by: 'person:root',
      log_hash: createHash('sha256').update(log).digest('hex'),
      log_entries: entries.length,
      critical_bypasses: 0,
      unsafe_duplicates: 0,
    })
    expect(facts.find(({ kind }) => kind === 'replay.asked')).toMatchObject({ actor: 'person:root', recorded: 100 })
  })

  test('looks at the newest of what was recorded in its window, and is the same when it is run again', async () => {
    const { t, loose } = await tenancy()
    for (let n = 0; n < 150; n++) {
      await t.submit({ topic: 'job.read', input: { n } })
      plane.clock.advance(1_000)
    }
    const to = plane.clock.now()
    const windowed = await run(t, loose, { recorded: { from: to - 100_000, to: to - 10_000, limit: 1000 } })
    expect(windowed.outcome?.recorded?.looked_at).toBe(90)
    const newest = await run(t, loose, { recorded: { from: null, to, limit: 70 } })
    expect(newest.outcome?.recorded?.looked_at).toBe(70)
    const whole = await run(t, loose, { recorded: { from: null, to, limit: 1000 } })
    const other = await run(t, loose, { recorded: { from: null, to, limit: 1000 } })
    expect(whole.outcome?.recorded?.looked_at).toBe(150)
    expect([other.outcome, other.log_hash]).toEqual([whole.outcome, whole.log_hash])
  })

  test('refuses what it cannot run, and says where', async () => {
    const { t, loose } = await tenancy()
    const bad = [
      { path: 'bad.yaml', text: 'version: v1\nscenarios: [{ id: x, about: x, job: { topic: job.a }, expect: NO }]' },
    ]
    await expect(ask(t, loose, { scenarios: bad })).rejects.toMatchObject({
      code: 'invalid',
      extra: { faults: [expect.objectContaining({ path: expect.stringMatching(/^bad.yaml:2:/) })] },
    })
    await expect(ask(t, loose, {})).rejects.toMatchObject({ code: 'invalid' })
    await expect(ask(t, 'f'.repeat(64), { scenarios: suite })).rejects.toMatchObject({ code: 'not_found' })
    await expect(ask(t, loose, { scenarios: suite }, 'rol_none')).rejects.toMatchObject({ code: 'not_found' })
    for (let n = 0; n < 3; n++) await ask(t, loose, { scenarios: suite })
    await expect(ask(t, loose, { scenarios: suite })).rejects.toMatchObject({ code: 'rate_limited' })
    await runReplays(t.world, () => false)
    await ask(t, loose, { scenarios: suite })
    await runReplays(t.world, () => false)
  })

  test('moves the gate with the asking, so that no revoked key asks for one', async () => {
    const { t, loose } = await tenancy()
    const before = await getGate(plane.db, t.tenant)
    await run(t, loose, { scenarios: suite })
    expect((await getGate(plane.db, t.tenant))?.epoch).toBe((before?.epoch ?? 0) + 1)
  })
})

describe('a replay that is cut short', () => {
  test('is begun anew by whoever comes next, and comes to the same, whichever statement was the last', async () => {
    const { t, strict } = await tenancy()
    await Promise.all(Array.from({ length: 70 }, (_, n) => t.trySubmit({ topic: `job.wipe.${n}` }).catch(() => {})))
    const asked = { scenarios: suite, recorded: recorded(t) }
    const whole = await run(t, strict, asked)
    for (let last = 1; ; last++) {
      const { replay_id } = await ask(t, strict, asked)
      let sent = 0
      // What becomes of a commit that is cut, the ledger finds out (src/store/ledger).
      plane.db.tap = async (sql, send) => {
        if (!isCommit(sql) && ++sent > last) throw new DbError('cut', '08006')
        return send()
      }
      const cut = await runReplays(t.world, () => false).then(
        () => false,
        () => true,
      )
      plane.db.tap = null
      await runReplays(t.world, () => false)
      const { status, outcome, log_hash, tries } = await got(t, replay_id)
      expect({ status, outcome, log_hash }, `after ${last} statements`).toEqual({
        status: 'done',
        outcome: whole.outcome,
        log_hash: whole.log_hash,
      })
      expect(
        createHash('sha256')
          .update(await logOf(t, replay_id))
          .digest('hex'),
      ).toBe(log_hash)
      if (!cut) {
        expect(tries).toBe(1)
        break
      }
      expect(last).toBeLessThan(40)
    }
  })

  test('goes to the end, tenants take turns, and one that cannot be run keeps nobody else waiting', async () => {
    const tenants = [await tenancy(), await tenancy()].toSorted((a, b) => (a.t.tenant < b.t.tenant ? -1 : 1))
    const [a, b] = tenants as [(typeof tenants)[0], (typeof tenants)[0]]
    const names = new Map<string, string>()
    for (const [name, { t, strict }] of Object.entries({ a1: a, a2: a, a3: a, b1: b, b2: b })) {
      names.set((await ask(t, strict, { scenarios: suite })).replay_id, name)
      plane.clock.advance(1_000)
    }
    const idOf = (wanted: string) => [...names].find(([, name]) => name === wanted)?.[0]
    // A node died of the first.
    await plane.db.query('UPDATE replays SET tries = 1 WHERE replay_id = $1', [idOf('a1') ?? ''])
    const begun: string[] = []
    plane.db.tap = async (sql, send) => {
      const found = await send()
      const [row] = sql.startsWith('UPDATE replays SET tries') ? (found as { replay_id: string }[]) : []
      const name = names.get(row?.replay_id ?? '')
      if (name !== undefined) begun.push(name)
      if (name === 'a2') throw new DbError('cut', '08006')
      return found
    }
    await expect(runReplays(plane.world, () => false)).rejects.toThrow('cut')
    expect(begun).toEqual(['a2', 'b1', 'a3', 'b2', 'a1'])
    plane.db.tap = null
    await runReplays(plane.world, () => false)
    expect((await got(a.t, idOf('a2') ?? '')).status).toBe('done')
  })

  test('fails for good once it took down so many nodes', async () => {
    const { t, loose } = await tenancy()
    const { replay_id } = await ask(t, loose, { scenarios: suite })
    await plane.db.query('UPDATE replays SET tries = $2 WHERE replay_id = $1', [replay_id, MOST_TRIES])
    await runReplays(t.world, () => false)
    expect(await got(t, replay_id)).toMatchObject({ status: 'failed', valid_until: null, outcome: null })
    expect((await t.facts()).at(-1)).toMatchObject({ kind: 'replay.failed', replay_id })
    expect(await replayStanding(plane.db, t.tenant, { candidate: loose }, plane.clock.now())).toBe(null)
  })
})

test('is kept as long as other records, with its log', async () => {
  const { t, strict } = await tenancy()
  const { replay_id } = await run(t, strict, { scenarios: suite })
  plane.clock.advance(1_000)
  const newer = await run(t, strict, { scenarios: suite })
  await pruneRecords(t.world, 500)
  const left = await plane.db.query('SELECT DISTINCT replay_id FROM replay_logs WHERE tenant = $1', [t.tenant])
  expect(left).toEqual([{ replay_id: newer.replay_id }])
  expect([await getReplay(plane.db, t.tenant, replay_id), (await got(t, newer.replay_id)).status]).toEqual([
    null,
    'done',
  ])
  expect((await t.facts()).filter(({ kind }) => kind === 'records.pruned')).toMatchObject([{ replays: 1 }])
})

describe('what a gate reads of it', () => {
  const of = (t: Tenancy, candidate: string, at = plane.clock.now(), rollout_id?: string) =>
    replayStanding(plane.db, t.tenant, { candidate, ...(rollout_id === undefined ? {} : { rollout_id }) }, at)

  test('is the newest that was done then, until it expires', async () => {
    const { t, loose, strict } = await tenancy()
    const first = await run(t, loose, { scenarios: suite })
    const at = plane.clock.now()
    expect(await of(t, loose)).toEqual({
      scenarios: 2,
      critical_bypasses: first.outcome?.suite?.critical_bypasses,
      unsafe_duplicates: 0,
      at: first.finished_at,
      valid_until: first.valid_until,
      replay_id: first.replay_id,
    })
    expect([await of(t, strict), await of(t, loose, at - 1)]).toEqual([null, null])
    plane.clock.advance(1_000)
    const strictly = await run(t, strict, { scenarios: suite })
    expect(await of(t, strict)).toMatchObject({ replay_id: strictly.replay_id, scenarios: 2, critical_bypasses: 0 })
    plane.clock.advance(1_000)
    await t.submit({ topic: 'job.read' })
    const second = await run(t, strict, { recorded: recorded(t) })
    expect(await of(t, strict)).toMatchObject({ replay_id: second.replay_id, scenarios: 0, critical_bypasses: 0 })
    expect(await of(t, loose, at)).toMatchObject({ replay_id: first.replay_id })
  })

  test('is nothing where nothing was decided', async () => {
    const { t, strict } = await tenancy()
    await run(t, strict, { recorded: { from: 1, to: 2, limit: 10 } })
    expect(await of(t, strict)).toBe(null)
    const { replay_id } = await run(t, strict, { scenarios: suite })
    plane.clock.advance(1_000)
    await run(t, strict, { recorded: { from: 1, to: 2, limit: 10 } })
    expect(await of(t, strict)).toMatchObject({ replay_id })
  })

  test('is the worst that still counts: no easier one after it takes a bypass back', async () => {
    const { t, loose } = await tenancy()
    const bad = await run(t, loose, { scenarios: suite })
    plane.clock.advance(1_000)
    const ids = Array.from({ length: 30 }, (_, n) => n)
    const line = (n: number) => `  - { id: e${n}, about: x, kind: everyday, job: { topic: job.read }, expect: ALLOW }\n`
    const easy = [{ path: 'easy.yaml', text: `version: v1\nscenarios:\n${ids.map(line).join('')}` }]
    const done = await run(t, loose, { scenarios: easy })
    // Thirty names for one job are one scenario.
    expect(done.outcome?.suite).toMatchObject({ scenarios: 1, runs: 30, critical_bypasses: 0 })
    expect(await of(t, loose)).toMatchObject({
      replay_id: bad.replay_id,
      critical_bypasses: bad.outcome?.suite?.critical_bypasses,
    })
    plane.clock.advance(VALID_MS - 1_000)
    expect(await of(t, loose)).toMatchObject({ replay_id: done.replay_id, critical_bypasses: 0 })
  })

  test('of a rollout of an agent is of the active snapshot, and counts for that rollout alone', async () => {
    const { t, loose, strict } = await tenancy()
    const { rollout_id } = await declareRollout(t.world, t.admin, {
      rollout: 'bot-2',
      subject: { kind: 'agent', name: 'agent:bot', candidate: '2.0', stable: '1.9' },
      owners: { reliability: 'sre', governance: 'governance', cost: 'finops' },
      stakeholders: ['role:admin'],
    })
    await expect(ask(t, loose, { scenarios: suite }, rollout_id)).rejects.toMatchObject({ code: 'invalid' })
    const { replay_id } = await ask(t, strict, { scenarios: suite }, rollout_id)
    await runReplays(t.world, () => false)
    expect(await of(t, '2.0', plane.clock.now(), rollout_id)).toMatchObject({ replay_id, critical_bypasses: 0 })
    expect([await of(t, '2.0'), await of(t, '2.0', plane.clock.now(), 'rol_other'), await of(t, strict)]).toEqual([
      null,
      null,
      null,
    ])
  })

  test('ends when another snapshot becomes active, and says of the time before what it said then', async () => {
    const { t, loose, strict } = await tenancy()
    const done = await run(t, loose, { scenarios: suite })
    const before = plane.clock.now()
    plane.clock.advance(1_000)
    await t.activate(LOOSE)
    expect(await of(t, loose)).toMatchObject({ valid_until: done.valid_until })
    const third = policy('{ id: third, match: { topic: job.third }, decision: ALLOW }')
    await t.activate(third)
    const changed = plane.clock.now()
    expect(await of(t, loose)).toMatchObject({ valid_until: changed })
    await runReplays(t.world, () => false)
    expect((await got(t, done.replay_id)).voided_at).toBe(changed)
    // Back again, and the third once more: what was void stays so, since when it was.
    plane.clock.advance(1_000)
    await t.activate(STRICT)
    await t.activate(third)
    await runReplays(t.world, () => false)
    expect(await of(t, loose)).toMatchObject({ valid_until: changed })
    expect(await of(t, loose, before)).toMatchObject({ valid_until: done.valid_until })
    expect(await of(t, strict)).toBe(null)
  })
})
