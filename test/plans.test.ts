import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../src/config.js'
import { start } from '../src/main.js'
import type { Db, Param } from '../src/platform/db/seam.js'
import { silentLog } from '../src/platform/log.js'
import { dueDeliveries, enqueue, questionsIn, wasRaised } from '../src/store/deliveries.js'
import { principalsInSlack } from '../src/store/directory.js'
import { takeInteraction, tidyInteractions } from '../src/store/interactions.js'
import { grantedLeases } from '../src/store/metrics.js'
import {
  oldSamples,
  removeSamples,
  SAMPLE_COLUMNS,
  sampleGroups,
  sampleRefs,
  sampleRuns,
} from '../src/store/samples.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { database, signingKeyFile } from './support/engines.js'
import { scratch } from './support/server.js'

/**
 * Every statement the plane sends while jobs travel, as the engine plans it for any values: on tables as good as empty, which is
 * when a plan is made and kept, and on full ones of which it knows nothing yet. A look-up by id must be an index condition on the
 * id; an index used by its tenant alone walks the tenant.
 */

/** Of each table; past this a plan that was better for few rows would be another. */
const ROWS = 5_000

type Plane = Pick<TestPlane, 'url' | 'keys' | 'world' | 'stop'>

const ENGINES: [string, () => Promise<Plane>][] = [
  ['PGlite', () => startSallyport()],
  ['Postgres', onPostgres],
]

async function onPostgres(): Promise<Plane> {
  const place = scratch('plans')
  const env = { SALLYPORT_SIGNING_KEY: signingKeyFile(place.at('signing.key')) }
  const settings = { dataDir: place.at('data'), databaseUrl: await database(), port: 0, logLevel: 'silent' as const }
  const plane = await start(loadConfig(env, settings), { log: silentLog })
  const key = (role: string) => readFileSync(plane.keyFiles[role] as string, 'utf8').trim()
  return {
    ...plane,
    keys: { admin: key('admin'), agent: key('agent'), worker: key('worker'), approver: key('approver') },
    async stop() {
      await plane.stop()
      place.gone()
    },
  }
}

let plane: Plane
let query: Db['query']

async function call(role: keyof TestPlane['keys'], method: string, path: string, body?: unknown) {
  const headers = {
    'x-api-key': plane.keys[role],
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  const answer = await fetch(`${plane.url}/api/v1${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return (await answer.json()) as Record<string, never>
}

/** Statements that mean to walk: what waits or is due in a whole tenant or store, or a page of its newest. */
const WALKS = [
  /beat_at > \$1/, // after the clock was set back, all live leases
  /t\.leads \? k\.principal/, // the teams of a tenant, which are few: who leads one is in a list
  /FROM workflows WHERE tenant = \$1 AND closed_at IS NULL/, // those that are open now

  /FROM rollouts (r )?WHERE (r\.)?status = 'rolled_back'/, // by an index that holds no others: whose rollback is not over
  /FROM stops (s )?WHERE (s\.)?ended_at IS NULL/, // by an index that holds no others: what is stopped now
  /FROM breakers WHERE tenant = \$1 AND state/, // agents that ever failed so often
  /UNION SELECT tenant, agent FROM breaker_counts/, // agents that failed lately
  /FROM principals\s+WHERE tenant = \$1 AND role IN/, // by an index that holds no others: who may answer questions
  /FROM (teams|absences) WHERE tenant = \$1 ORDER BY/, // all of them, once for each change of the directory
  /FROM audit_tiles WHERE first_index IS NULL/,
  /FROM audit_tiles WHERE tenant = \$1 AND first_index IS NULL/,
  /ORDER BY created_at/,
  /FROM gates ORDER BY/,
  /FROM replays WHERE (tenant = \$1 AND )?status = 'running'/, // by an index that holds no others: what is under way now
  /FROM backlogs WHERE tenant = \$1$/, // topics of a tenant that nobody empties now
  /FROM gates g WHERE EXISTS/, // all tenants, of each the few topics that are the plane's own
  /FROM drill_schedules /, // of which a tenant has at most seven
  /FROM attestations WHERE tenant/, // people write a few in a quarter
  /FROM jobs WHERE tenant = \$1 AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT/, // the newest, from the end of their index
  /FROM leases WHERE ended_at IS NULL AND tenant/, // as many as workers can run
  /k\.session IS NULL AND k\.revoked_at IS NULL/, // keys of a tenant that open something
  /FROM keys WHERE key_id = k\.rotated_to/,
  /FROM channels /, // of which a tenant has at most 50: who is told of what, and what waits for each
  /max\(first_index/,
  /FROM audit_writers/,
  /FROM keys WHERE tenant/,
  /FROM policy_snapshots/,
  /FROM audit_heads/,
  /DISTINCT ON \(writer\)/,
  /FROM approvals\s+WHERE (status|tenant = \$1 AND (status|approval_id))/,
]

/** What the plane sends while jobs travel, with the values of the last time. */
async function travel(): Promise<Map<string, readonly Param[]>> {
  const sent = new Map<string, readonly Param[]>()
  plane.world.db.query = (sql, params = [], on) => {
    sent.set(sql, params)
    return query(sql, params, on)
  }
  const { job_id, decision_id } = await call('agent', 'POST', '/jobs', { topic: 'job.repo.read', input: { op: 'log' } })
  const parked = await call('agent', 'POST', '/jobs', { topic: 'job.deploy.apply', labels: { env: 'prod' } })
  const { leases } = await call('worker', 'POST', '/workers/claim', {
    worker_id: 'w',
    claim_id: 'plan-0001',
    topics: ['job.repo.read'],
    capacity: 5,
  })
  const { lease } = (leases as unknown as { lease: string }[])[0] ?? { lease: '' }
  await call('worker', 'POST', '/leases/heartbeat', { leases: [{ lease }] })
  await call('worker', 'POST', '/leases/effects', { lease, key: 'e', phase: 'begin' })
  await call('worker', 'POST', '/leases/effects', { lease, key: 'e', phase: 'commit', result: 1 })
  await call('worker', 'POST', '/leases/complete', [{ lease, outcome: 'succeeded', result: { ok: true } }])
  for (const path of [
    `/jobs/${job_id}`,
    `/jobs/${job_id}/timeline`,
    `/jobs/${job_id}/result`,
    `/decisions/${decision_id}`,
    '/jobs',
    '/jobs?run_id=r',
    '/jobs?status=dead_letter',
    '/approvals',
    '/approvals?status=pending',
    '/measurements?window=31d',
    '/topics',
    '/readiness',
  ])
    await call('admin', 'GET', path)
  expect((await fetch(`${plane.url}/metrics`)).status).toBe(200)
  await call('approver', 'GET', `/approvals/${parked.approval_id}`)
  await call('agent', 'POST', `/jobs/${parked.job_id}/cancel`, {})
  await chats(String(parked.approval_id))
  await samples()
  return sent
}

/** What a gate of a rollout reads. */
async function samples(): Promise<void> {
  const { db } = plane.world
  await query(`INSERT INTO rollout_samples (${SAMPLE_COLUMNS}) VALUES ('default', 'rol_1', 'outcome', 'candidate', 1, 'wr_1', 1, 0, 'job_1',
    'succeeded', true, 5, 'ALLOW', 1, 'run_1')`)
  const of = { tenant: 'default', rollout_id: 'rol_1', variant: 'candidate', from: 0, to: 10, head: 5 } as const
  await sampleGroups(db, { ...of, kind: 'outcome' })
  await sampleRuns(db, { ...of, kind: 'outcome' })
  await sampleRefs(db, { ...of, kind: 'leased' }, 10)
  await grantedLeases(db, 'default', ['lease_1'])
  await oldSamples(db, 'default', 0, 10)
  await removeSamples(db, 'default', 0, 10)
}

/** What is sent when people are asked in Slack and click there, and when an incident ends. */
async function chats(approval_id: string): Promise<void> {
  const { db, ids } = plane.world
  const of = { tenant: 'default', approval_id }
  const told = { channel: 'room', recipient: 'conversation', asks: true, event: 'approval.requested', entry: '{}' }
  const open = {
    status: 'pending',
    attempts: 0,
    next_at: 1,
    since_at: 1,
    error: null,
    created_at: 1,
    finished_at: null,
  } as const
  const row = {
    ...of,
    ...told,
    ...open,
    tree_index: 1,
    delivery_id: ids.id('dlv', 1),
    posted: null,
    about: 'topic:job.x',
  }
  await enqueue(db, 'default', 0, [row])
  await dueDeliveries(db, 'default', 'room', 2, 20)
  await questionsIn(db, of, 'room')
  await wasRaised(db, 'default', 'room', 'topic:job.x')
  await principalsInSlack(db, 'default', 'U0ANN')
  await takeInteraction(db, 'default', ids.id('hash', 1), 1)
  await tidyInteractions(db, 0)
}

/** The plan for any values: that of a prepared statement, where no plan is made for the values of one call. */
async function planOf(sql: string, params: readonly Param[]): Promise<string[]> {
  const literals = params.map((value) =>
    value === null ? 'NULL' : value instanceof Uint8Array ? `'{}'` : `'${String(value).replaceAll("'", "''")}'`,
  )
  const values = literals.length === 0 ? '' : `(${literals.join(', ')})`
  await query(`PREPARE probe AS ${sql}`, [], 'ledger')
  try {
    const rows = await query<{ 'QUERY PLAN': string }>(`EXPLAIN (COSTS OFF) EXECUTE probe${values}`, [], 'ledger')
    return rows.map((row) => row['QUERY PLAN'])
  } finally {
    await query('DEALLOCATE probe', [], 'ledger')
  }
}

async function walking(sent: Map<string, readonly Param[]>): Promise<string[]> {
  const faults: string[] = []
  for (const [sql, params] of sent) {
    const isWalk = WALKS.some((walk) => walk.test(sql))
    const plan = await planOf(sql, params)
    for (const [i, line] of plan.entries()) {
      if (/Seq Scan/.test(line)) faults.push(`${line.trim()} in ${sql.slice(0, 120)}`)
      // An index read without a condition is a walk over the whole table, in another order.
      const bare = /Index( Only)? Scan/.test(line) && !/Index Cond/.test(plan[i + 1] ?? '')
      if (bare && !isWalk) faults.push(`${line.trim()} without a condition in ${sql.slice(0, 160)}`)
      const tenantAlone =
        /Index Cond: \(tenant = [^)]*\)$/.test(line.trim()) && /Index( Only)? Scan/.test(plan[i - 1] ?? '')
      if (tenantAlone && !/gates_pkey/.test(plan[i - 1] ?? '') && !isWalk)
        faults.push(`${plan[i - 1]?.trim()} by tenant alone in ${sql.slice(0, 160)}`)
    }
  }
  return faults
}

/** Makes many rows of one, in every table that has one; what must be unique is told apart. Nothing is analysed. */
async function fill(): Promise<void> {
  const columns = await query<{ name: string; col: string; text: boolean }>(
    `SELECT DISTINCT c.relname::text AS name, a.attname::text AS col, t.typcategory = 'S' AS text FROM pg_index i
     JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
     JOIN pg_type t ON t.oid = a.atttypid WHERE i.indisunique AND n.nspname = 'public' AND c.relname <> 'schema_migrations' AND t.typcategory <> 'B'`,
  )
  // Generated columns are nobody's to write.
  const written = await query<{ name: string; cols: string }>(
    `SELECT c.relname::text AS name, string_agg('x.' || quote_ident(a.attname), ', ') AS cols FROM pg_attribute a
     JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'public' AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' GROUP BY c.relname`,
  )
  for (const name of new Set(columns.map((column) => column.name))) {
    const unique = columns.filter((column) => column.name === name)
    const apart = unique.length === 1 ? unique : unique.filter(({ col }) => col !== 'tenant')
    const values = apart.map(({ col, text }) => `'${col}', r.${col} ${text ? "|| '-' || i" : '+ i'}`)
    const cols = written.find((table) => table.name === name)?.cols ?? ''
    await query(`ALTER TABLE ${name} SET (autovacuum_enabled = false)`)
    await query(
      `INSERT INTO ${name} (${cols.replaceAll('x.', '')}) SELECT ${cols} FROM (SELECT * FROM ${name} LIMIT 1) r CROSS JOIN generate_series(1, ${ROWS}) i CROSS JOIN LATERAL
       jsonb_populate_record(NULL::${name}, to_jsonb(r) || jsonb_build_object(${values.join(', ')})) x ON CONFLICT DO NOTHING`,
    )
  }
}

describe.each(ENGINES)('on %s', (_, started) => {
  beforeAll(async () => {
    plane = await started()
    query = plane.world.db.query.bind(plane.world.db)
  })
  afterAll(() => plane?.stop())

  test('no statement walks a tenant to find a row by its id, with few rows or many', async () => {
    const sent = await travel()
    expect(sent.size).toBeGreaterThan(20)
    expect(await walking(sent)).toEqual([])
    await fill()
    const [jobs] = await query<{ n: number }>('SELECT count(*)::int AS n FROM jobs')
    expect(jobs?.n).toBeGreaterThan(ROWS)
    expect(await walking(sent)).toEqual([])
  })
})
