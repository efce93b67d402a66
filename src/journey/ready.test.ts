import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { DRILL_NAMES } from '../core/drill.js'
import type { DrillFacts } from '../core/readiness/facts.js'
import type { Readiness } from '../core/readiness.js'
import { attest } from './attest.js'
import { putChannel } from './channels.js'
import { applyDirectory, disablePrincipal } from './directory.js'
import { integrate } from './integrate.js'
import { createKey, revokeKey, rotateKey } from './keys.js'
import { measure } from './measure.js'
import { assess } from './ready.js'
import { declareRollout, stepRollout } from './rollouts.js'

const SCHEMA = 'input_schema: { type: object, properties: { n: { type: number } }, additionalProperties: false }'
const OWNED = 'owner: team:desk, respond_within: 1h, attempts: 2'
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: look, match: { topic: job.look }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_hosts: [api.example.com] } }
  - id: pay
    match: { topic: job.pay }
    decision: REQUIRE_APPROVAL
    approval: { from: [role:approver] }
    constraints: { allowed_hosts: [api.example.com] }
job_classes:
  - { topic: job.look, ${OWNED}, timeout_ms: 30000, ${SCHEMA} }
  - { topic: job.pay, ${OWNED}, timeout_ms: 60000, set: { action_type: payment }, ${SCHEMA} }
`
const ROLLOUT = {
  rollout: 'bot-2',
  subject: { kind: 'agent', name: 'agent:other', candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:desk'],
}
const DAY = 86_400_000

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

const NO_DRILLS = Object.fromEntries(DRILL_NAMES.map((name) => [name, null])) as DrillFacts
function passedDrills(at: number): DrillFacts {
  return Object.fromEntries(
    DRILL_NAMES.map((name) => [name, { passed: true, at, valid_until: at + DAY, drill_id: `drl_${name}` }]),
  ) as DrillFacts
}

async function look(t: Tenancy, drills: DrillFacts = passedDrills(t.clock.now())): Promise<Readiness> {
  const [risks] = await measure(t.world, t.tenant, ['high-risk-unapproved'], DAY)
  if (risks === undefined) throw new Error('nothing was measured')
  return assess(t.world, t.tenant, { drills, risks: { ...risks, window_ms: DAY } })
}
const entry = (report: Readiness, id: string) => {
  const found = [...report.controls, ...report.items].find((each) => each.id === id)
  if (found === undefined) throw new Error(`there is no ${id}`)
  return found
}
const stateOf = (report: Readiness, id: string) => entry(report, id).state

const ENFORCES = { enforces: ['allowed_hosts'] }

/** One job of each kind that a launch is judged by: done, asked about, failed either way. */
async function work(t: Tenancy): Promise<void> {
  const looked = await t.lease({ topic: 'job.look', input: { n: 1 } }, ENFORCES)
  await t.succeed(looked.lease, { seen: 1 })
  const asked = await t.submit({ topic: 'job.pay', input: { n: 2 } })
  await t.approve(asked.approval_id ?? '')
  const [paid] = await t.claim(['job.pay'], ENFORCES)
  await t.succeed(paid?.lease ?? '', { paid: true })
  const again = await t.lease({ topic: 'job.look' }, ENFORCES)
  await t.fail(again.lease, 'transient')
  const never = await t.lease({ topic: 'job.look' }, ENFORCES)
  await t.fail(never.lease, 'terminal')
}

async function people(t: Tenancy): Promise<void> {
  const none = { team: null, name: null, email: null, terms: null }
  const person = (principal: string, role: 'admin' | 'approver') => ({
    principal,
    kind: 'person' as const,
    role,
    ...none,
  })
  const terms = {
    version: null,
    topics: ['job.look', 'job.pay'],
    actions: null,
    data: null,
    risk_tier: null,
    fallback: null,
  }
  await applyDirectory(
    t.world,
    t.admin,
    {
      teams: [{ team: 'desk', name: null, leads: ['person:ann'], on_call: ['person:ann'] }],
      principals: [
        person('person:root', 'admin'),
        person('person:ann', 'approver'),
        person('person:ben', 'approver'),
        { principal: 'agent:bot', kind: 'agent', role: 'agent', ...none, terms },
        { principal: 'service:ci', kind: 'service', role: 'admin', ...none },
      ],
    },
    'api',
  )
  const { row } = await createKey(t.world, t.tenant, 'person:root', { role: 'agent' as never, principal: 'agent:bot' })
  await rotateKey(t.world, t.admin, row.key_id, 0)
}

async function channel(t: Tenancy): Promise<void> {
  const settings = { from: 'sallyport@example.com', to: ['desk@example.com'], url_env: 'SALLYPORT_SMTP_URL' }
  await putChannel(t.world, t.admin, {
    ...{ channel: 'ops', kind: 'email', events: ['rollout.rolled_back'], topics: null, teams: null, settings },
  })
}

async function rollOut(t: Tenancy): Promise<void> {
  const { rollout_id } = await declareRollout(t.world, t.admin, ROLLOUT)
  await stepRollout(t.world, t.operator, rollout_id, { event: 'start' })
}

const say = (t: Tenancy, subject: Parameters<typeof attest>[2]['subject'], as = t.approver) =>
  attest(t.world, as, { subject, note: 'looked at it' })
const bothSay = async (t: Tenancy, subject: Parameters<typeof attest>[2]['subject']) => {
  for (const who of ['person:ann', 'person:ben']) await say(t, subject, t.caller('approver', who))
}

async function ready(): Promise<Tenancy> {
  const t = await plane.tenant(POLICY)
  await people(t)
  await work(t)
  await channel(t)
  await rollOut(t)
  for (const subject of ['run_state', 'cost_budgets', 'on_call_runbook'] as const) await bothSay(t, subject)
  await integrate(plane.world, plane.key)
  return t
}

/** Rows that nothing of the product would write. */
const plant = (t: Tenancy, sql: string) => t.world.db.query(sql, [t.tenant])

describe(`${proves('G9')} an installation`, () => {
  test('of which nothing is known is not ready, and becomes ready step by step', async () => {
    const t = await plane.tenant(POLICY)
    const fresh = await look(t, NO_DRILLS)
    expect(fresh.ready).toBe(false)
    expect(fresh.controls.filter(({ state }) => state === 'pass').map(({ id }) => id)).toEqual(['egress_allowlist'])
    expect(fresh.items.filter(({ state }) => state === 'pass')).toEqual([])

    await people(t)
    const known = await look(t, NO_DRILLS)
    expect(['agent_identity', 'key_rotation', 'credentials_scoped'].map((id) => stateOf(known, id))).toEqual([
      'pass',
      'pass',
      'pass',
    ])

    await work(t)
    await integrate(plane.world, plane.key)
    const worked = await look(t, NO_DRILLS)
    const bySeeing = [
      'approval_routing',
      'decision_timeline',
      'input_schemas',
      'output_safety',
      'retry_classes',
      'timeout_budgets',
    ]
    for (const id of [...bySeeing, 'dead_letter_owners', 'dead_letters_owned', 'output_visible'])
      expect([id, stateOf(worked, id), entry(worked, id).reason]).toEqual([id, 'pass', expect.any(String)])
    expect(stateOf(worked, 'submit_check')).toBe('unknown')

    const drilled = await look(t)
    const byDrill = [
      'submit_check',
      'dispatch_check',
      'approval_binding',
      'heartbeat_watchdog',
      'idempotent_effects',
      'incident_replay',
    ]
    for (const id of byDrill) expect([id, stateOf(drilled, id)]).toEqual([id, 'pass'])
    expect(drilled.blocked_by).toEqual([
      'canary_gates',
      'trigger_matrix',
      'run_state',
      'gates_automatic',
      'rollback_told',
    ])

    await rollOut(t)
    expect((await look(t)).blocked_by).toEqual(['run_state', 'rollback_told'])
    await channel(t)
    expect((await look(t)).blocked_by).toEqual(['run_state'])
    await say(t, 'run_state', t.caller('approver', 'person:ann'))
    expect((await look(t)).blocked_by).toEqual(['run_state'])
    await say(t, 'run_state', t.caller('approver', 'person:ben'))
    const report = await look(t)
    expect([report.ready, report.blocked_by]).toEqual([true, []])
    expect(report.controls.filter(({ state }) => state !== 'pass').map(({ id }) => id)).toEqual([
      'cost_budgets',
      'on_call_runbook',
    ])
  })

  test('stops being ready when a fact turns, and no word holds it up', async () => {
    const t = await ready()
    expect((await look(t)).blocked_by).toEqual([])
    const at = t.clock.now()
    const failed = { ...passedDrills(at), deny: { passed: false, at, valid_until: at + DAY, drill_id: 'drl_x' } }
    expect((await look(t, failed)).blocked_by).toEqual(['submit_check', 'dispatch_check', 'both_doors'])
    t.clock.advance(91 * DAY)
    const later = await look(t)
    expect(stateOf(later, 'key_rotation')).toBe('block')
    expect(entry(later, 'run_state').attestation?.counts).toBe(false)
  })
})

describe('what is planted in the rows blocks', () => {
  const PLANTED: [what: string, id: string, sql: string][] = [
    [
      'a job without a decision',
      'submit_check',
      `UPDATE jobs SET claim = (claim::jsonb #- '{first,decision}')::json WHERE tenant = $1`,
    ],
    [
      'a job that was denied and stored',
      'submit_check',
      `UPDATE jobs SET claim = jsonb_set(claim::jsonb, '{first,decision}', '"DENY"')::json WHERE tenant = $1`,
    ],
    [
      'a job decided after it was stored',
      'submit_check',
      `UPDATE jobs SET created_at = created_at - 1 WHERE tenant = $1`,
    ],
    [
      'a lease without a decision',
      'dispatch_check',
      `UPDATE leases SET made = (made::jsonb #- '{decided,snapshot}')::json WHERE tenant = $1`,
    ],
    [
      'a lease under a policy nobody activated',
      'dispatch_check',
      `UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,snapshot}', '"feed"')::json WHERE tenant = $1`,
    ],
    [
      'a payment that nobody was asked about',
      'approval_routing',
      `UPDATE approvals SET status = 'rejected' WHERE tenant = $1`,
    ],
    [
      'an approval of another job',
      'approval_binding',
      `UPDATE approvals SET grant_hash = repeat('0', 64) WHERE tenant = $1`,
    ],
    [
      'an approval of another policy',
      'approval_binding',
      `UPDATE approvals SET snapshot = repeat('0', 64) WHERE tenant = $1`,
    ],
    [
      'a yes of who asked',
      'approval_binding',
      `UPDATE approvals SET answers = jsonb_set(answers, '{0,by}', '"agent:bot"') WHERE tenant = $1`,
    ],
    [
      'an end the log does not know',
      'decision_timeline',
      `UPDATE jobs SET finished_at = finished_at + 1 WHERE tenant = $1 AND finished_at IS NOT NULL`,
    ],
    ['a job the log does not know', 'decision_timeline', `UPDATE jobs SET tiles = '' WHERE tenant = $1`],
    ['a key that stands for two agents', 'agent_identity', `UPDATE keys SET act_as = '["agent:x"]' WHERE tenant = $1`],
    [
      'a result nobody screened',
      'output_safety',
      `UPDATE jobs SET verdict = NULL WHERE tenant = $1 AND finished_at IS NOT NULL`,
    ],
    [
      'a result without a pointer',
      'run_state',
      `UPDATE jobs SET state = (state::jsonb - 'result_ptr')::json WHERE tenant = $1`,
    ],
    [
      'an overdue dead letter',
      'dead_letter_owners',
      `UPDATE jobs SET state = jsonb_set(state::jsonb, '{respond_by}', '1')::json WHERE tenant = $1 AND status = 'dead_letter'`,
    ],
    [
      'an overridden rollout',
      'canary_gates',
      `UPDATE rollouts SET state = jsonb_set(state, '{overridden}', 'true') WHERE tenant = $1`,
    ],
    [
      'a rollout without triggers',
      'trigger_matrix',
      `UPDATE rollouts SET document = jsonb_set(document, '{triggers}', '[]') WHERE tenant = $1`,
    ],
    [
      'a call without a list of hosts',
      'egress_allowlist',
      `UPDATE leases SET made = (jsonb_set(made::jsonb, '{topic}', '"job.integrations.call"') #- '{decided,constraints,allowed_hosts}')::json WHERE tenant = $1`,
    ],
  ]
  let t: Tenancy
  beforeAll(async () => {
    t = await ready()
  })

  test.each(PLANTED)('%s: %s', async (_what, id, sql) => {
    const kept = await keep(t)
    try {
      await plant(t, sql)
      const report = await look(t)
      expect([stateOf(report, id), entry(report, id).reason]).toEqual(['block', expect.any(String)])
      if (entry(report, id).blocks_launch) expect(report.ready).toBe(false)
    } finally {
      await kept()
    }
  })

  test('nothing, once it is taken out again', async () => {
    expect((await look(t)).blocked_by).toEqual([])
  })

  test('a lease that nothing took back', async () => {
    await t.lease({ topic: 'job.look' }, ENFORCES)
    t.clock.advance(200_000)
    expect(stateOf(await look(t), 'heartbeat_watchdog')).toBe('block')
    await t.sweep()
    await integrate(plane.world, plane.key)
    expect(stateOf(await look(t), 'heartbeat_watchdog')).toBe('pass')
  })

  test('work that was decided under a policy after another was active', async () => {
    await t.activate(`${POLICY}# again\n`.replace('id: look', 'id: see'))
    t.clock.advance(120_000)
    const [newest] = await t.world.db.query<{ snapshot: string }>(
      `SELECT made -> 'decided' ->> 'snapshot' AS snapshot FROM leases WHERE tenant = $1 ORDER BY lease_id LIMIT 1`,
      [t.tenant],
    )
    const { lease } = await t.lease({ topic: 'job.look' }, { ...ENFORCES, capacity: 5 })
    expect(stateOf(await look(t), 'dispatch_check')).toBe('pass')
    await t.world.db.query(
      `UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,snapshot}', to_jsonb($3::text))::json WHERE tenant = $1 AND lease_id = $2`,
      [t.tenant, lease, newest?.snapshot ?? ''],
    )
    expect(entry(await look(t), 'dispatch_check').reason).toContain('after another was active')
  })
})

/** Remembers the rows that are planted in, and puts them back. */
async function keep(t: Tenancy): Promise<() => Promise<void>> {
  const tables = ['jobs', 'leases', 'approvals', 'keys', 'rollouts']
  const kept = await Promise.all(
    tables.map(async (table) => {
      const [row] = await t.world.db.query<{ all: string }>(
        `SELECT coalesce(json_agg(x), '[]'::json)::text AS all FROM ${table} x WHERE tenant = $1`,
        [t.tenant],
      )
      return [table, row?.all ?? '[]'] as const
    }),
  )
  return async () => {
    for (const [table, rows] of kept) {
      await t.world.db.query(`DELETE FROM ${table} WHERE tenant = $1`, [t.tenant])
      await t.world.db.query(`INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1::json)`, [
        rows,
      ])
    }
  }
}

describe('attesting', () => {
  let t: Tenancy
  beforeAll(async () => {
    t = await plane.tenant(POLICY)
    await people(t)
  })

  test('is a person’s, is in the log, and lasts 90 days unless said', async () => {
    const word = await attest(t.world, t.approver, {
      subject: 'key_rotation',
      note: 'tried it',
      link: 'https://wiki.example.com/k',
    })
    expect(word).toMatchObject({ attested_by: 'person:ann', at: t.clock.now(), expires_at: t.clock.now() + 90 * DAY })
    const said = (await t.facts()).filter(({ kind }) => kind === 'readiness.attested').at(-1)
    expect(said).toMatchObject({
      actor: 'person:ann',
      subject: 'key_rotation',
      until: word.expires_at,
      attestation_id: word.attestation_id,
    })
  })

  test('is no service’s, no stranger’s, no token’s; refusals are on record', async () => {
    const refused = [
      t.caller('admin', 'service:ci'),
      t.caller('approver', 'person:nobody'),
      t.caller('agent', 'agent:bot'),
    ]
    for (const who of refused) expect(await codeOf(say(t, 'run_state', who))).toBe('forbidden')
    expect(await codeOf(say(t, 'run_state', { ...t.approver, jti: 'tok_1' }))).toBe('forbidden')
    expect((await t.kinds()).filter((kind) => kind === 'readiness.refused')).toHaveLength(refused.length)
  })

  test('counts while who said it stands: neither disabled nor with a key that was taken away', async () => {
    const t = await plane.tenant(POLICY)
    await people(t)
    const counts = async () => entry(await look(t), 'on_call_runbook').attestation?.counts ?? false
    const own = { role: 'approver' as never }
    const caller = async (principal: string) => {
      const { row } = await createKey(t.world, t.tenant, 'person:root', { ...own, principal })
      return t.caller('approver', principal, { key_id: row.key_id })
    }
    const [ann, ben] = [await caller('person:ann'), await caller('person:ben')]
    await say(t, 'on_call_runbook', ben)
    expect(await counts()).toBe(true)
    await revokeKey(t.world, t.tenant, t.admin.principal, ben.key_id)
    expect(await counts()).toBe(false)
    await say(t, 'on_call_runbook', ann)
    await rotateKey(t.world, t.admin, ann.key_id, 0)
    expect(await counts()).toBe(true)
    await disablePrincipal(t.world, t.admin, 'person:ann')
    expect(await counts()).toBe(false)
  })

  test('ends within a year, and is not over when it is said', async () => {
    for (const expires_at of [t.clock.now(), t.clock.now() + 367 * DAY]) {
      const problem = await problemOf(attest(t.world, t.approver, { subject: 'run_state', note: 'x', expires_at }))
      expect([problem.code, problem.extra.faults]).toEqual([
        'invalid',
        [expect.objectContaining({ path: '/expires_at' })],
      ])
    }
  })
})
