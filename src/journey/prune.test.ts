import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import {
  auditVerifies,
  decisionsReproduce,
  effectsAreNotLost,
  factsFoldToRows,
  leasesWereAllowed,
  limitsAreHeld,
  oneLiveLease,
  violations,
} from '../../test/invariants.js'
import { breakCommit, codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { database } from '../../test/support/engines.js'
import { sha256 } from '../core/canonical.js'
import { isFinished, JOB_STATUSES, type Job } from '../core/job.js'
import { openPostgres } from '../platform/db/pg.js'
import { openPglite } from '../platform/db/pglite.js'
import { oldDecisions, oldJobs, removeDenials, removeJobs } from '../store/prune.js'
import { oldRecords } from '../store/prune-records.js'
import { putAbsence } from './absences.js'
import { applyDirectory } from './directory.js'
import { createGrant, revokeGrant } from './grants.js'
import { createKey, revokeKey } from './keys.js'
import { forget, type Places, prune, pruneDenials, pruneRecords, ROUND } from './prune.js'
import { remindOfKeys } from './reminders.js'
import { resumeStop } from './resume.js'
import { signOnByProvider } from './sign-on.js'
import { raiseStop } from './stop.js'

const DAY = 86_400_000
const KEEP = 30 * DAY
const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 1, timeout_ms: 20000 }
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { concurrent: 99, per: topic } }
  - { id: wait, match: { topic: job.wait.* }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
`
const KEY = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`
/** Everything that speaks of a job, but for the log. */
const TABLES = ['jobs', 'leases', 'effects', 'approvals', 'decisions', 'payloads']

/** A job brought to a status; the worker may have recorded an effect on the way. Returns its id. */
const MADE: Record<string, (t: Tenancy, effect: boolean) => Promise<string>> = {
  queued: async (t) => (await t.submit({ topic: 'job.wait.it', input: { n: 1 } })).job_id,
  pending_approval: async (t) => (await t.submit({ topic: 'job.ask.it', input: { n: 1 } })).job_id,
  running: (t, effect) => leased(t, effect),
  succeeded: (t, effect) => ended(t, effect, (lease) => t.succeed(lease, { done: 'yes' })),
  quarantined: (t, effect) => ended(t, effect, (lease) => t.succeed(lease, KEY)),
  dead_letter: (t, effect) => ended(t, effect, (lease) => t.fail(lease, 'terminal')),
  ambiguous: async (t) => {
    const { job, lease } = await t.lease({ topic: 'job.do.it' })
    await t.begin(lease, 'pay')
    await t.fail(lease, 'terminal')
    return job.job_id
  },
  cancelled: async (t) => {
    const job_id = await MADE.queued?.(t, false)
    await t.cancel(job_id as string)
    return job_id as string
  },
  rejected: async (t) => {
    const { job_id, approval_id } = await t.submit({ topic: 'job.ask.it', context: { why: 'so' } })
    await t.reject(approval_id as string)
    return job_id
  },
  discarded: async (t, effect) => {
    const job_id = await MADE[effect ? 'quarantined' : 'dead_letter']?.(t, effect)
    await (effect ? t.discardResult(job_id as string) : t.discard(job_id as string))
    return job_id as string
  },
  approved: async (t) => {
    const { job_id, approval_id } = await t.submit({ topic: 'job.ask.it', context: { why: 'so' } })
    await t.approve(approval_id as string)
    const [mine] = await t.claim(['job.ask.it'])
    await t.succeed(mine?.lease as string, { done: 'yes' })
    return job_id
  },
}
const KINDS = Object.keys(MADE)
const made = (t: Tenancy, kind: string, effect = false) => (MADE[kind] as (typeof MADE)[string])(t, effect)

async function leased(t: Tenancy, effect: boolean): Promise<string> {
  return (await withEffect(t, effect)).job.job_id
}
async function ended(t: Tenancy, effect: boolean, end: (lease: string) => Promise<unknown>): Promise<string> {
  const { job, lease } = await withEffect(t, effect)
  await end(lease)
  return job.job_id
}
async function withEffect(t: Tenancy, effect: boolean) {
  const mine = await t.lease({ topic: 'job.do.it', input: { n: 1 } })
  if (effect) {
    await t.begin(mine.lease, 'pay')
    await t.commit(mine.lease, 'pay', { receipt: 7 })
  }
  return mine
}

const idsIn = async (t: Tenancy, table: string) =>
  new Set((await t.rows<{ job_id: string | null }>(table)).flatMap(({ job_id }) => job_id ?? []))
const jobsOf = async (t: Tenancy) => new Map((await t.rows<Job>('jobs')).map((job) => [job.job_id, job]))
const prunedFacts = async (t: Tenancy) => (await t.facts()).filter((fact) => fact.kind === 'jobs.pruned')

describe.each([
  ['embedded', () => openPglite(null)],
  ['Postgres', async () => openPostgres({ url: await database() })],
] as const)('%s', (_, open) => {
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane(1, open)
  })
  afterAll(() => plane.close())
  // A look is at every tenant: none may have something left of the test before.
  afterEach(() => prune(plane.world, -1, new Map()))
  const pruned = (t: Tenancy, keepMs = KEEP, places: Places = new Map()) =>
    prune(t.world, keepMs, places).then((done) => done.removed.get(t.tenant) ?? 0)

  test('an old job goes with all that stands under it; the log says so, stays whole and verifies', async () => {
    const t = await plane.tenant(POLICY)
    const finished_at = plane.clock.now()
    const ids = [await made(t, 'succeeded', true), await made(t, 'approved'), await made(t, 'discarded', true)]
    for (const table of TABLES) expect((await idsIn(t, table)).size).toBeGreaterThan(0)
    const before = await t.facts()
    plane.clock.advance(KEEP + 1)
    expect(await pruned(t)).toBe(3)
    for (const table of TABLES) expect(await t.rows(table), table).toEqual([])
    expect(await t.facts()).toEqual([
      ...before,
      {
        kind: 'jobs.pruned',
        tenant: t.tenant,
        at: plane.clock.now(),
        actor: 'system:pruner',
        count: 3,
        oldest_finished_at: finished_at,
        newest_finished_at: finished_at,
        jobs_hash: sha256([...ids].sort().join('\n')),
      },
    ])
    expect(await auditVerifies(plane, t.tenant)).toEqual([])
    expect(await pruned(t)).toBe(0)
    expect(await prunedFacts(t)).toHaveLength(1)
  })

  test('what may still happen stays, however old: only statuses that nothing leaves go', async () => {
    const t = await plane.tenant(POLICY)
    const ids = new Map<string, string>()
    for (const kind of KINDS) ids.set(kind, await made(t, kind))
    plane.clock.advance(4000 * DAY)
    expect(await pruned(t)).toBe(5)
    const left = await jobsOf(t)
    const kept = ['queued', 'pending_approval', 'running', 'quarantined', 'dead_letter', 'ambiguous']
    expect([...left.values()].map((job) => job.status).sort()).toEqual(kept.sort())
    // What stays can go on, and goes when it has ended for good.
    const dead = ids.get('dead_letter') as string
    expect((await t.replay(dead)).status).toBe('queued')
    await t.cancel(dead)
    await t.discardResult(ids.get('quarantined') as string)
    expect(await pruned(t)).toBe(0)
    plane.clock.advance(KEEP + 1)
    expect(await pruned(t)).toBe(2)
  })

  test('a look that begins behind what it passed over still sees it go when it ends', async () => {
    const t = await plane.tenant(POLICY)
    const dead = await made(t, 'dead_letter')
    await made(t, 'succeeded')
    const places: Places = new Map()
    plane.clock.advance(KEEP + 1)
    expect(await pruned(t, KEEP, places)).toBe(1)
    expect(await pruned(t, KEEP, places)).toBe(0)
    await t.discard(dead)
    plane.clock.advance(KEEP + 1)
    expect(await pruned(t, KEEP, places)).toBe(1)
  })

  test('exactly as long as it is kept, a job is kept', async () => {
    const t = await plane.tenant(POLICY)
    const job_id = await made(t, 'succeeded')
    const { finished_at } = await t.job(job_id)
    plane.clock.advance(KEEP)
    expect(await pruned(t)).toBe(0)
    expect(await removeJobs(plane.db, t.tenant, [job_id], finished_at as number)).toBe(0)
    plane.clock.advance(1)
    expect(await pruned(t)).toBe(1)
  })

  test('a finished job with something live under it stays, should that ever be', async () => {
    const t = await plane.tenant(POLICY)
    const [lease, approval, effect] = [
      await made(t, 'succeeded'),
      await made(t, 'approved'),
      await made(t, 'succeeded', true),
    ]
    const before = plane.clock.now() + 1
    plane.clock.advance(KEEP + 1)
    for (const [sql, job_id] of [
      ['UPDATE leases SET ended_at = NULL WHERE job_id = $1', lease],
      ["UPDATE approvals SET status = 'pending' WHERE job_id = $1", approval],
      ["UPDATE effects SET status = 'begun' WHERE job_id = $1", effect],
    ] as const)
      await plane.db.query(sql, [job_id])
    expect(await pruned(t)).toBe(0)
    // Also when it came to be after the look.
    expect(await removeJobs(plane.db, t.tenant, [lease, approval, effect], before)).toBe(0)
    expect((await jobsOf(t)).size).toBe(3)
    expect(await prunedFacts(t)).toEqual([])
  })

  test('another tenant, whose job has the same id, loses nothing', async () => {
    const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const job_id = await made(t, 'succeeded', true)
    for (const table of ['jobs', 'leases', 'effects', 'payloads'])
      await plane.db.query(
        `INSERT INTO ${table} SELECT r.* FROM ${table} s
           CROSS JOIN LATERAL jsonb_populate_record(NULL::${table}, to_jsonb(s) || jsonb_build_object('tenant', $2::text)) r
         WHERE s.tenant = $1 AND s.job_id = $3`,
        [t.tenant, other.tenant, job_id],
      )
    const count = async () =>
      Promise.all(['leases', 'effects', 'payloads'].map(async (table) => (await other.rows(table)).length))
    const had = await count()
    plane.clock.advance(KEEP + 1)
    expect(await removeJobs(plane.db, t.tenant, [job_id], plane.clock.now())).toBe(1)
    expect(await count()).toEqual(had)
    expect([...(await jobsOf(other)).keys()]).toEqual([job_id])
  })

  test('nothing goes unsaid: without the fact everything stays, and after a fault in between it is said again', async () => {
    const t = await plane.tenant(POLICY)
    await made(t, 'succeeded')
    plane.clock.advance(KEEP + 1)
    breakCommit(plane.db, 'before')
    expect(await codeOf(prune(t.world, KEEP, new Map()))).toBe('store_unavailable')
    expect((await jobsOf(t)).size).toBe(1)
    plane.db.tap = async (sql, send) => {
      if (sql.includes('DELETE FROM jobs')) throw new Error('the node died here')
      return send()
    }
    const places: Places = new Map()
    await expect(prune(t.world, KEEP, places)).rejects.toThrow('the node died here')
    plane.db.tap = null
    expect(await pruned(t, KEEP, places)).toBe(1)
    const [first, second, ...more] = await prunedFacts(t)
    expect([first?.jobs_hash, first?.count, more]).toEqual([second?.jobs_hash, 1, []])
  })

  test('rounds are bounded, and go on behind what has to stay', async () => {
    const t = await plane.tenant(POLICY)
    const [dead, done] = [await made(t, 'dead_letter'), await made(t, 'succeeded')]
    for (const [job_id, many] of [
      [dead, ROUND + 20],
      [done, ROUND],
    ] as const)
      await plane.db.query(
        `INSERT INTO jobs SELECT r.* FROM jobs j CROSS JOIN generate_series(1, $3::int) n CROSS JOIN LATERAL
           jsonb_populate_record(NULL::jobs, to_jsonb(j) || jsonb_build_object('job_id', $2::text || n, 'finished_at', j.finished_at + n / 3)) r
         WHERE j.tenant = $1 AND j.job_id = $2`,
        [t.tenant, job_id, many],
      )
    plane.clock.advance(KEEP + 1000)
    const places: Places = new Map()
    let gone = 0
    let rounds = 0
    for (let more = true; more; rounds++) {
      const done = await prune(t.world, KEEP, places)
      gone += done.removed.get(t.tenant) ?? 0
      more = done.more
    }
    expect([gone, rounds]).toEqual([ROUND + 1, 3])
    const said = (await prunedFacts(t)).map((fact) => Number(fact.count))
    // Six of them ended in each millisecond.
    expect(Math.max(...said)).toBeLessThan(ROUND + 6)
    expect([...(await jobsOf(t)).values()].every((job) => job.status === 'dead_letter')).toBe(true)
  })

  describe('denied submits', () => {
    const denied = (t: Tenancy, context?: { why: string }) =>
      codeOf(t.submit({ topic: 'job.no', input: { n: 1 }, ...(context === undefined ? {} : { context }) }))
    const kept = async (t: Tenancy) => [
      (await t.rows<{ decision_id: string }>('decisions')).map((row) => row.decision_id).sort(),
      (await t.rows<{ ptr: string }>('payloads')).map((row) => row.ptr).sort(),
    ]

    test('go with their inputs when they are as old as finished jobs; the log says so before', async () => {
      const [t, other] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
      const at = plane.clock.now()
      for (const tenancy of [t, other]) {
        expect(await denied(tenancy)).toBe('policy_denied')
        expect(await denied(tenancy, { why: 'so' })).toBe('policy_denied')
      }
      await made(t, 'pending_approval')
      const ids = (await t.rows<{ decision_id: string; job_id: string | null }>('decisions'))
        .filter((row) => row.job_id === null)
        .map((row) => row.decision_id)
      plane.clock.advance(KEEP)
      const before = await kept(t)
      await pruneDenials(t.world, KEEP, new Map())
      expect(await kept(t)).toEqual(before)
      plane.clock.advance(1)
      await pruneDenials(t.world, KEEP, new Map())
      for (const tenancy of [t, other]) {
        expect((await tenancy.facts()).filter((fact) => fact.kind === 'decisions.pruned')).toMatchObject([
          { actor: 'system:pruner', count: 2, oldest_at: at, newest_at: at },
        ])
        expect((await tenancy.rows<{ job_id: string | null }>('decisions')).every((row) => row.job_id !== null)).toBe(
          true,
        )
      }
      const [said] = (await t.facts()).filter((fact) => fact.kind === 'decisions.pruned')
      expect(said?.decisions_hash).toBe(sha256([...ids].sort().join('\n')))
      // What has a job stays with its job.
      expect((await t.rows('decisions')).length).toBeGreaterThan(0)
      expect((await t.rows<{ job_id: string | null }>('payloads')).every((row) => row.job_id !== null)).toBe(true)
      expect(await auditVerifies(plane, t.tenant)).toEqual([])
    })

    test('go on behind what they passed, and nothing goes unsaid', async () => {
      const t = await plane.tenant(POLICY)
      await denied(t)
      plane.clock.advance(KEEP + 1)
      const places = new Map<string, string>()
      breakCommit(plane.db, 'before')
      expect(await codeOf(pruneDenials(t.world, KEEP, places))).toBe('store_unavailable')
      expect(await t.rows('decisions')).toHaveLength(1)
      await pruneDenials(t.world, KEEP, places)
      expect(await kept(t)).toEqual([[], []])
      await denied(t)
      plane.clock.advance(KEEP + 1)
      await pruneDenials(t.world, KEEP, places)
      expect(await kept(t)).toEqual([[], []])
    })
  })

  describe('grants, stops, absences and sessions', () => {
    const PEOPLE = `
version: v1
rules:
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 1h } }
  - { id: two, match: { topic: job.two.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 200d } }
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`
    const person = (principal: string) => ({
      ...{ principal, kind: 'person', role: 'approver', team: null, name: null, email: null, terms: null },
    })
    /** People declared, and Ada signed on. */
    async function office() {
      const t = await plane.tenant(PEOPLE)
      const groups = [{ group: 'staff', role: 'approver' as const, team: null }]
      const principals = [person('person:ann'), person('person:ben'), { ...person('person:root'), role: 'admin' }]
      await applyDirectory(plane.world, t.admin, { teams: [], principals, groups } as never, 'file')
      const signOn = () =>
        signOnByProvider(
          plane.world,
          t.tenant,
          {
            issuer: 'https://i.example',
            subject: 'ada',
            email: null,
            email_verified: false,
            name: 'Ada',
            groups: ['staff'],
          },
          '192.0.2.1',
        )
      return { t, signOn }
    }
    const grant = (t: Tenancy, as = t.approver, ms = DAY) =>
      createGrant(t.world, as, {
        ...{ agent: 'agent:bot', topic: 'job.ask.*', uses: 3, reason: 'routine' },
        expires_at: plane.clock.now() + ms,
      })
    async function ended(t: Tenancy) {
      const { stop_id } = await raiseStop(t.world, t.operator, { scope: 'topic', target: 'job.ask.*', reason: 'wrong' })
      const step = (stage: 'trial' | 'full', as = t.operator) =>
        resumeStop(t.world, as, stop_id, { stage, note: 'looked', trial_ms: 1000, trial_limit: 5 })
      await step('trial')
      await step('trial', t.admin)
      expect((await t.submit({ topic: 'job.ask.it' })).status).toBe('pending_approval')
      plane.clock.advance(1000)
      await step('full')
      await step('full', t.admin)
      return stop_id
    }
    const ids = async (t: Tenancy, table: string, id: string) =>
      (await t.rows<Record<string, string>>(table)).map((row) => row[id]).sort()

    test('go when they were over as long as finished jobs are kept; what is kept still reproduces', async () => {
      const { t } = await office()
      const stop_id = await ended(t)
      const used = await grant(t)
      expect((await t.submit({ topic: 'job.ask.it' })).granted_by).toBe(used.grant_id)
      const revoked = await grant(t, t.approver, 89 * DAY)
      await revokeGrant(t.world, t.approver, revoked.grant_id)
      const now = plane.clock.now()
      const away = { from: now, until: now + DAY, delegate: 'person:ben' }
      await putAbsence(t.world, { ...t.approver, principal: 'person:ann' }, 'person:ann', away)
      const standing = await grant(t, t.approver, 89 * DAY)
      await putAbsence(t.world, { ...t.approver, principal: 'person:ben' }, 'person:ben', {
        from: now,
        until: now + 60 * DAY,
      })
      const open = await raiseStop(t.world, t.operator, { scope: 'topic', target: 'job.other', reason: 'wrong' })
      plane.clock.advance(KEEP)
      await pruneRecords(plane.world, KEEP)
      expect(await ids(t, 'grants', 'grant_id')).toHaveLength(3)
      plane.clock.advance(1)
      await pruneRecords(plane.world, KEEP)
      // The day until they were over is not over for the first grant and for who was away.
      expect(await ids(t, 'grants', 'grant_id')).toEqual([standing, used].map(({ grant_id }) => grant_id).sort())
      plane.clock.advance(DAY)
      await pruneRecords(plane.world, KEEP)
      await pruneRecords(plane.world, KEEP)
      expect(await ids(t, 'grants', 'grant_id')).toEqual([standing.grant_id])
      expect(await ids(t, 'stops', 'stop_id')).toEqual([open.stop_id])
      expect(await ids(t, 'absences', 'principal')).toEqual(['person:ben'])
      const counters = await ids(t, 'limits', 'key')
      expect(counters.filter((key) => key?.includes(used.grant_id) || key?.includes(stop_id))).toEqual([])
      const said = (await t.facts()).filter((fact) => fact.kind === 'records.pruned')
      expect(said.map(({ grants, stops, absences, sessions }) => [grants, stops, absences, sessions])).toEqual([
        [1, 1, 0, 0],
        [1, 0, 1, 0],
      ])
      expect(said[1]?.records_hash).toBe(sha256([`absence person:ann`, `grant ${used.grant_id}`].join('\n')))
      expect(await violations(plane, t.tenant)).toEqual([])
    })

    test('a revoked session stays while a grant or an open question may name it, and both count for nothing', async () => {
      const { t, signOn } = await office()
      const [answering, granting, idle] = [await signOn(), await signOn(), await signOn()]
      const as = ({ principal, key_id }: { principal: string; key_id: string }) =>
        t.caller('approver', principal, { key_id })
      const { approval_id } = await t.submit({ topic: 'job.two.it' })
      await t.approve(approval_id as string, as(answering))
      const { grant_id } = await grant(t, as(granting), 89 * DAY)
      for (const { key_id } of [answering, granting, idle]) await revokeKey(t.world, t.tenant, 'person:root', key_id)
      plane.clock.advance(88 * DAY)
      const sessions = async () => {
        await pruneRecords(plane.world, KEEP)
        return ids(t, 'keys', 'key_id')
      }
      // No grant of theirs can be left after 90 days.
      expect(await sessions()).toHaveLength(3)
      expect((await t.submit({ topic: 'job.ask.it' })).status).toBe('pending_approval')
      plane.clock.advance(3 * DAY)
      expect(await sessions()).toEqual([answering.key_id])
      // The first yes is void with its key: it takes two more.
      await t.approve(approval_id as string, t.approver)
      expect((await t.approval(approval_id)).status).toBe('pending')
      await t.approve(approval_id as string, t.otherApprover)
      expect((await t.approval(approval_id)).status).toBe('approved')
      expect(await sessions()).toEqual([])
      expect(await ids(t, 'grants', 'grant_id')).toEqual([grant_id])
      expect(await auditVerifies(plane, t.tenant)).toEqual([])
    })

    test('nothing goes unsaid, and an absence that was set anew meanwhile stays', async () => {
      const { t } = await office()
      const ann = { ...t.approver, principal: 'person:ann' }
      const until = plane.clock.now() + DAY
      await putAbsence(t.world, ann, 'person:ann', { from: plane.clock.now(), until })
      plane.clock.advance(KEEP + 2 * DAY)
      breakCommit(plane.db, 'before')
      expect(await codeOf(pruneRecords(plane.world, KEEP))).toBe('store_unavailable')
      expect(await ids(t, 'absences', 'principal')).toEqual(['person:ann'])
      plane.db.tap = async (sql, send) => {
        plane.db.tap = null
        const rows = await send()
        const now = plane.clock.now()
        if (sql.includes('UNION ALL')) await putAbsence(t.world, ann, 'person:ann', { from: now, until: now + DAY })
        return rows
      }
      await pruneRecords(plane.world, KEEP)
      expect(await ids(t, 'absences', 'principal')).toEqual(['person:ann'])
    })

    test('sessions nobody signed off and reminders of ended keys go by themselves, all others stay', async () => {
      const { t, signOn } = await office()
      await signOn()
      const gone = await signOn()
      await revokeKey(t.world, t.tenant, 'person:root', gone.key_id)
      const key = (expires_at?: number) =>
        createKey(t.world, t.tenant, 'person:root', {
          ...{ role: 'agent', principal: 'agent:one' },
          ...(expires_at === undefined ? {} : { expires_at }),
        })
      const [short, lasting] = [await key(plane.clock.now() + 2 * DAY), await key()]
      await remindOfKeys(plane.world)
      plane.clock.advance(85 * DAY)
      await remindOfKeys(plane.world)
      plane.clock.advance(10 * DAY)
      await forget(plane.world)
      const keys = async () => new Set(await ids(t, 'keys', 'key_id'))
      expect(await keys()).toEqual(new Set([gone.key_id, short.row.key_id, lasting.row.key_id]))
      expect(await ids(t, 'key_reminders', 'key_id')).toEqual([lasting.row.key_id])
    })
  })

  test('all statements find rows by their indexes, also when planned on empty tables', async () => {
    const sent = new Map<string, string>()
    const watching = {
      ...plane.db,
      query: async (sql: string, params?: readonly never[]) => {
        const plan = await plane.db.query<{ 'QUERY PLAN': string }>(`EXPLAIN (COSTS OFF) ${sql}`, params)
        sent.set(sql, plan.map((row) => row['QUERY PLAN']).join('\n'))
        return []
      },
    } as never
    await oldJobs(watching, 't', 0, 1, 5)
    await removeJobs(watching, 't', ['job_x'], 1)
    await oldDecisions(watching, 't', '', 1, 5)
    await removeDenials(watching, 't', ['dec_x'], 1)
    await oldRecords(watching, 1, 1, 5)
    for (const plan of sent.values()) {
      expect(plan).not.toMatch(/Seq Scan/)
      expect(plan).not.toMatch(/Index Cond: \(tenant = [^)]*\)$/m)
    }
    expect([...sent.values()][0]).toContain('jobs_finished')
    for (const index of ['jobs_pkey', 'leases_by_job', 'approvals_by_job', 'decisions_by_job', 'payloads_by_job'])
      expect([...sent.values()][1]).toContain(index)
    expect([...sent.values()][1]?.match(/Tid Scan/g)).toHaveLength(6)
    expect([...sent.values()][2]).toContain('decisions_pkey')
    for (const index of ['decisions_pkey', 'payloads_pkey']) expect([...sent.values()][3]).toContain(index)
    expect([...sent.values()][3]?.match(/Tid Scan/g)).toHaveLength(2)
    for (const index of ['grants_ended', 'stops_ended', 'absences_past', 'keys_of_sessions_ending', 'replays_over'])
      expect([...sent.values()][4]).toContain(index)
  })
})

/** Ages of jobs at the end, around what is kept. */
const AGES = [0, 1, KEEP - 1, KEEP, KEEP + 1, 3 * KEEP]
const mix = fc.record({
  jobs: fc.array(fc.record({ kind: fc.constantFrom(...KINDS), effect: fc.boolean(), age: fc.constantFrom(...AGES) }), {
    maxLength: 14,
  }),
  looks: fc.integer({ min: 1, max: 3 }),
})

describe('after pruning any mix of jobs', () => {
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane(2)
  })
  afterAll(() => plane.close())

  test('exactly the old ones that are over are gone, nothing hangs, and every invariant holds', async () => {
    const seen = new Set<string>()
    await fc.assert(
      fc.asyncProperty(mix, async ({ jobs, looks }) => {
        const t = await plane.tenant(POLICY)
        let age = Math.max(0, ...AGES)
        for (const job of [...jobs].sort((a, b) => b.age - a.age)) {
          plane.clock.advance(age - job.age)
          age = job.age
          await made(t, job.kind, job.effect)
        }
        plane.clock.advance(age)
        expect(await violations(plane, t.tenant)).toEqual([])
        const before = await jobsOf(t)
        const log = await t.facts()
        const leases = new Map(
          (await t.rows<{ lease_id: string; job_id: string }>('leases')).map((l) => [l.lease_id, l.job_id]),
        )
        const places: Places = new Map()
        for (let look = 0; look < looks; look++) await prune(t.world, KEEP, places)

        const after = await jobsOf(t)
        const end = plane.clock.now() - KEEP
        const parked = ['dead_letter', 'quarantined']
        for (const [job_id, job] of before) {
          seen.add(job.status)
          const goes = isFinished(job.status) && !parked.includes(job.status) && (job.finished_at ?? 0) < end
          expect(after.has(job_id), `${job.status}, finished ${job.finished_at}, kept from ${end}`).toBe(!goes)
          if (!goes) expect(after.get(job_id)).toEqual(job)
        }
        for (const table of TABLES)
          for (const job_id of await idsIn(t, table)) expect(after.has(job_id), `${table} of ${job_id}`).toBe(true)
        expect((await t.facts()).filter((fact) => fact.kind !== 'jobs.pruned')).toEqual(log)
        const gone = before.size - after.size
        expect((await prunedFacts(t)).reduce((sum, fact) => sum + Number(fact.count), 0)).toBe(gone)
        const still = [
          auditVerifies,
          factsFoldToRows,
          decisionsReproduce,
          oneLiveLease,
          limitsAreHeld,
          effectsAreNotLost,
        ]
        expect(await violations(plane, t.tenant, still)).toEqual([])
        // The log speaks of leases whose decision went with them; of all others it still has to hold.
        const isGone = (sentence: string) => !after.has(leases.get(sentence.split(' ')[1] as string) ?? '')
        expect((await leasesWereAllowed(plane, t.tenant)).filter((sentence) => !isGone(sentence))).toEqual([])
      }),
      { numRuns: 25 },
    )
    expect(JOB_STATUSES.filter((status) => !seen.has(status))).toEqual(['retrying', 'expired', 'denied'])
  })
})
