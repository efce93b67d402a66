import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  auditVerifies,
  CHECKERS,
  type Checker,
  decisionsReproduce,
  effectsAreNotLost,
  everyJobEnded,
  factsFoldToRows,
  leasesWereAllowed,
  limitsAreHeld,
  oneLiveLease,
  violations,
} from '../../test/invariants.js'
import { codeOf, isCommit, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { LeasedJob } from '../contract/workers.js'
import { JOB_STATUSES } from '../core/job.js'
import type { Json } from '../core/json.js'
import { DbError } from '../errors.js'
import { manualClock } from '../platform/clock.js'
import { seededIds } from '../platform/ids.js'

/**
 * Seeded runs of everything that can happen, several things at a time, with the store failing now and then; afterwards every
 * invariant. A red run names its seed: SALLYPORT_SEED=<n> runs that one alone; SALLYPORT_SEEDS=<n> runs so many.
 */
const ONE = process.env.SALLYPORT_SEED
const SEEDS =
  ONE === undefined
    ? Array.from({ length: Number(process.env.SALLYPORT_SEEDS ?? 100) }, (_, i) => i + 1)
    : [Number(ONE)]
const MOST_STEPS = Number(process.env.SALLYPORT_STEPS ?? 40)

const CLASSES = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 3, timeout_ms: 20000, heartbeat_ms: 1000, queue_timeout_ms: 60000, respond_within: 1h }
  - { topic: job.idem.*, attempts: 2, timeout_ms: 20000, heartbeat_ms: 1000, idempotent: true }
rules:
`
const RULES = [
  `  - { id: do, match: { topic: [job.do.*, job.idem.*] }, decision: ALLOW, limits: { concurrent: 2, per: topic } }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 10m, valid_for: 5m } }`,
  `  - { id: do, match: { topic: [job.do.*, job.idem.*] }, decision: ALLOW, limits: { concurrent: 2, per: topic } }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 10m, valid_for: 5m } }
  - { id: other, match: { topic: job.other }, decision: ALLOW }`,
  `  - { id: do, match: { topic: job.do.* }, decision: REQUIRE_APPROVAL }
  - { id: idem, match: { topic: job.idem.* }, decision: ALLOW, limits: { rate: 3/minute } }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 10m } }`,
  `  - { id: ask, match: { topic: 'job.>' }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 10m } }
  - { id: no, match: { topic: job.ask.* }, decision: DENY }`,
].map((rules) => `${CLASSES}${rules}\n`)
const TOPICS = ['job.do.it', 'job.do.that', 'job.idem.it', 'job.ask.it']
const RESULTS: Json[] = [
  null,
  { ok: true },
  'mail a@example.com',
  `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`,
]

/** Answers that are right in some state; anything else ends the run. */
const EXPECTED = new Set([
  'done',
  'policy_denied',
  'rate_limited',
  'illegal_transition',
  'approval_closed',
  'idempotency_conflict',
  'approval_stale',
  'lease_lost',
  'effect_refused',
  'effect_not_decidable',
  'not_found',
  'store_unavailable',
])

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

class Run {
  readonly t: Tenancy
  readonly leases: LeasedJob[] = []
  readonly #random: () => number
  #keys = 0

  constructor(t: Tenancy, seed: number) {
    this.t = t
    this.#random = seededIds(seed).fraction
  }

  below(n: number): number {
    return Math.floor(this.#random() * n)
  }
  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)]
  }
  async some(table: string, status?: string): Promise<Record<string, string> | undefined> {
    const rows = await this.t.rows<Record<string, string>>(table)
    const wanted = rows.filter((row) => status === undefined || row.status === status)
    // A table gives its rows in any order; the seed must pick the same.
    const name = table === 'jobs' ? 'job_id' : table === 'approvals' ? 'approval_id' : 'effect_key'
    return this.pick(wanted.sort((a, b) => (`${a[name]}` < `${b[name]}` ? -1 : 1)))
  }

  /** One thing that happens, chosen now, done later. */
  async step(): Promise<() => Promise<unknown>> {
    const { t } = this
    const lease = this.pick(this.leases)?.lease ?? 'lease_nobodys00000'
    const job = (status?: string) => this.some('jobs', status)
    const kind = this.below(24)
    if (kind < 5) {
      const topic = this.pick(TOPICS) as string
      const key = this.below(3) === 0 ? `key${this.below(4)}` : null
      const not_before = this.below(6) === 0 ? { not_before: t.clock.now() + this.below(5000) } : {}
      return () =>
        t.submit(
          { topic, input: { n: key === null ? ++this.#keys : 0 }, priority: this.#keys % 10, ...not_before },
          key,
        )
    }
    if (kind < 10) {
      const options = {
        capacity: 1 + this.below(3),
        effects: this.below(4) === 0 ? ('none' as const) : ('recorded' as const),
      }
      return async () => this.leases.push(...(await t.claim(TOPICS, options)))
    }
    const result = this.pick(RESULTS) as Json
    const key = this.pick(['pay', 'ship']) as string
    const flip = this.below(2) === 0
    switch (kind) {
      case 10:
      case 11:
        return () => t.succeed(lease, result)
      case 12:
        return () => t.fail(lease, flip ? 'transient' : 'terminal')
      case 13:
        return () => t.beat(lease, result)
      case 14:
        return () => t.begin(lease, key)
      case 15:
        return () => t.commit(lease, key, result)
      case 16: {
        const one = await job()
        return () => t.cancel(one?.job_id ?? 'job_nobody')
      }
      case 17:
      case 18: {
        const approval = await this.some('approvals', 'pending')
        const who = flip ? t.approver : t.otherApprover
        if (this.below(6) === 0) return () => t.reject(approval?.approval_id ?? 'apr_nobody', who)
        return () => t.approve(approval?.approval_id ?? 'apr_nobody', who, approval?.grant_hash ?? 'f'.repeat(64))
      }
      case 19: {
        const policy = this.pick(RULES) as string
        return () => t.activate(policy)
      }
      case 20: {
        const one = await job('ambiguous')
        const effect = (await t.effects(one?.job_id ?? '')).find((e) => e.status === 'begun')
        // What did not happen cannot be said to be finished.
        const ends = [undefined, 'retry' as const, 'dead_letter' as const, ...(flip ? ['finish' as const] : [])]
        const then = this.pick(ends)
        return () => t.resolve(one?.job_id ?? 'job_nobody', effect?.effect_key ?? 'pay', flip, then, result)
      }
      case 21: {
        const one = await job(flip ? 'dead_letter' : 'quarantined')
        const id = one?.job_id ?? 'job_nobody'
        const act = this.below(2) === 0
        if (flip) return () => (act ? t.replay(id) : t.discard(id))
        return () => (act ? t.release(id) : t.discardResult(id))
      }
      case 22:
        return () => t.rebind()
      default:
        return () => t.sweep()
    }
  }
}

/** @param seen gathers the statuses that jobs were found in */
async function run(seed: number, seen: Set<string>): Promise<string[]> {
  const clock = manualClock()
  const world = plane.node({ clock, ids: seededIds(seed + 1_000_000) })
  const own = { ...plane, clock, world }
  const t = await plane.tenant(RULES[0] as string, world)
  const the = new Run(t, seed)
  const steps = 2 + the.below(MOST_STEPS - 1)
  const wrong: string[] = []
  plane.db.tap = async (sql, send) => {
    if (!isCommit(sql) || the.below(25) !== 0) return send()
    // The connection breaks around this commit; whether it was applied only the batch id can say.
    if (the.below(2) === 0) await send()
    throw new DbError('connection reset by peer', '08006')
  }
  for (let n = 0; n < steps; n++) {
    const acts = []
    for (let i = 0; i <= the.below(3); i++) acts.push(await the.step())
    for (const code of await Promise.all(acts.map((act) => codeOf(act()))))
      if (!EXPECTED.has(code)) wrong.push(`step ${n}: ${code}`)
    for (const { status } of await t.rows<{ status: string }>('jobs')) seen.add(status)
    clock.advance(the.pick([0, 1, 300, 1000, 4000, 30_000]) as number)
  }
  plane.db.tap = null
  wrong.push(...(await violations(own, t.tenant)))
  // Time runs out: nobody works, answers or looks any more.
  for (let i = 0; i < 8; i++) {
    clock.advance(i < 4 ? 600_000 : 86_400_000)
    await t.sweep()
    await t.rebind()
  }
  wrong.push(...(await violations(own, t.tenant, [...CHECKERS, everyJobEnded])))
  return wrong
}

test(`${proves('L3', 'L4', 'L6', 'D10', 'R4', 'R5', 'C1')} whatever happens, in any order, with a store that fails: every invariant holds`, async () => {
  const seen = new Set<string>()
  for (const seed of SEEDS) expect(await run(seed, seen), `SALLYPORT_SEED=${seed}`).toEqual([])
  // A run that never gets anywhere proves nothing.
  if (SEEDS.length >= 100) expect(JOB_STATUSES.filter((status) => !seen.has(status))).toEqual([])
}, 600_000)

describe('a planted violation is found by', () => {
  /** A tenant in which everything has happened that the checkers speak about. */
  async function lively(): Promise<Tenancy> {
    const t = await plane.tenant(RULES[0] as string)
    const asked = await t.submit({ topic: 'job.ask.it' })
    await t.approve(asked.approval_id as string)
    const [approved] = await t.claim(['job.ask.it'])
    await t.succeed(approved?.lease as string, 1)
    const running = await t.lease({ topic: 'job.do.it' })
    await t.begin(running.lease, 'pay')
    expect(await violations(plane, t.tenant)).toEqual([])
    return t
  }
  const plants: [name: string, checker: Checker, sql: string][] = [
    [
      'auditVerifies: an altered entry',
      auditVerifies,
      "UPDATE audit_tiles SET body = replace(body, 'job.ask.it', 'job.ask.no') WHERE tenant = $1",
    ],
    [
      'auditVerifies: a cut tile',
      auditVerifies,
      'DELETE FROM audit_tiles WHERE tenant = $1 AND seq = (SELECT max(seq) - 1 FROM audit_tiles WHERE tenant = $1)',
    ],
    [
      'factsFoldToRows: a status nobody recorded',
      factsFoldToRows,
      "UPDATE jobs SET status = 'cancelled' WHERE tenant = $1 AND status = 'succeeded'",
    ],
    [
      'factsFoldToRows: an attempt too many',
      factsFoldToRows,
      "UPDATE jobs SET state = jsonb_set(state::jsonb, '{attempt}', to_jsonb(coalesce((state ->> 'attempt')::int, 0) + 1))::json WHERE tenant = $1",
    ],
    [
      'decisionsReproduce: another reason',
      decisionsReproduce,
      "UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,reason}', '\"I said so\"')::json WHERE tenant = $1",
    ],
    [
      'decisionsReproduce: another word',
      decisionsReproduce,
      "UPDATE jobs SET claim = jsonb_set(claim::jsonb, '{first,decision}', '\"DENY\"')::json WHERE tenant = $1",
    ],
    [
      'decisionsReproduce: another time',
      decisionsReproduce,
      "UPDATE jobs SET claim = jsonb_set(claim::jsonb, '{first,standing,door}', '\"dispatch\"')::json WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: a denial',
      leasesWereAllowed,
      "UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,decision}', '\"DENY\"')::json WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: an approval taken back',
      leasesWereAllowed,
      "UPDATE approvals SET status = 'rejected' WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: answers that are none',
      leasesWereAllowed,
      "UPDATE approvals SET answers = '[]' WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: an answer of the one who asked',
      leasesWereAllowed,
      "UPDATE approvals SET requested_by = 'person:ann' WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: another snapshot',
      leasesWereAllowed,
      "UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,snapshot}', '\"other\"')::json WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: a lease from nowhere',
      leasesWereAllowed,
      "INSERT INTO leases SELECT tenant, 'lease_planted', job_id, attempt, principal, claim_id, granted_at, beat_at, expires_at, made, null, 1 FROM leases WHERE tenant = $1 LIMIT 1",
    ],
    ['oneLiveLease: a lease that never ended', oneLiveLease, 'UPDATE leases SET ended_at = NULL WHERE tenant = $1'],
    [
      'oneLiveLease: a running job whose lease has ended',
      oneLiveLease,
      'UPDATE leases SET ended_at = 1 WHERE tenant = $1',
    ],
    ['limitsAreHeld: a place lost', limitsAreHeld, 'UPDATE limits SET held = held + 1 WHERE tenant = $1'],
    ['limitsAreHeld: a place given twice', limitsAreHeld, 'UPDATE limits SET held = 0 WHERE tenant = $1'],
    [
      'effectsAreNotLost: a job run again over an open effect',
      effectsAreNotLost,
      "UPDATE effects SET lease_id = 'lease_before' WHERE tenant = $1",
    ],
    [
      'everyJobEnded: a job nobody will ever take',
      everyJobEnded,
      "UPDATE jobs SET state = (state::jsonb - 'status_reason')::json WHERE tenant = $1 AND status = 'running'",
    ],
  ]
  test.each(plants)('%s', async (_, checker, sql) => {
    const t = await lively()
    await plane.db.query(sql, [t.tenant])
    expect(await checker(plane, t.tenant)).not.toEqual([])
  })
})
