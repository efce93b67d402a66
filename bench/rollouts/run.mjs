/**
 * node bench/rollouts/run.mjs [--json FILE] [--only WORD] [--rounds N] [--samples 1e6] [--quick]
 *
 * What rollouts cost. Jobs a second on Postgres without any, beside 50 whose triggers and gates the node looks at every ten seconds, and
 * where the work itself is in one of them; a node at a time, so that the one that rests costs the other nothing. And the time a gate takes
 * to answer about a window of a million jobs. Needs a build: npx tsc -p tsconfig.json
 */
import { Agent, request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { startPostgres } from '../../scripts/engines.mjs'
import { governed } from '../jobs/subjects.mjs'
import { figure, keep, median, optionsOf, progress, progressEnds, table } from '../report.mjs'

const options = optionsOf({ samples: { type: 'string' }, seconds: { type: 'string' } })
const ROUNDS = Number(options.rounds ?? (options.quick ? 1 : 5))
/** Longer than two looks. */
const MS = Number(options.seconds ?? (options.quick ? 3 : 24)) * 1000
const SAMPLES = Number(options.samples ?? (options.quick ? 2e4 : 1e6))
const ROLLOUTS = 50
const SINGLES = { lanes: 64, size: 1, unfinished: 512 }

const http = new Agent({ keepAlive: true })
const rows = []
const postgres = await startPostgres({ durable: true })
try {
  const wants = (text) => text.includes(options.only.toLowerCase())
  if (wants('rollouts: submits beside them')) await submits()
  if (wants('rollouts: a gate over many jobs')) await gate()
} finally {
  postgres.discard()
  http.destroy()
}
progressEnds()
keep(options.json, rows)

function declaration(name, subject, share = 5, window = '10m') {
  const checks = {
    success_rate_pct: { target_gte: 99 },
    p95_latency_ms: { target_lte: '+20%' },
    error_rate: { target_lte: 0.02 },
    deny_ratio: { target_lte: 0.2 },
    quarantine_ratio: { target_lte: 0.02 },
    approval_queue_p95_sec: { target_lte: 900 },
    unapproved_high_risk_actions: { target_eq: 0 },
    policy_bypass_incidents: { target_eq: 0 },
  }
  return {
    rollout: name,
    // The load's jobs say one team, so all of them fall on one side: nobody serves a candidate here.
    routing: 'label:team',
    subject: { ...subject, candidate: '2', stable: '1' },
    owners: { reliability: 'a', governance: 'b', cost: 'c' },
    stakeholders: ['role:operator'],
    phases: [
      { name: 'some', share, risk: 'mixed', min_duration: '1h', gate: { window, checks } },
      {
        name: 'all',
        share: 100,
        risk: 'mixed',
        min_duration: '1h',
        gate: { window, checks: { success_rate_pct: { target_gte: 99 } } },
      },
    ],
  }
}

/** One under which the load's work is the stable version's: the side is drawn by the rollout's id. */
async function start(plane, given) {
  for (;;) {
    const { rollout_id } = await call(plane, 'POST', '/rollouts', { declaration: given })
    await call(plane, 'POST', `/rollouts/${rollout_id}/start`, {})
    const { variant } = await call(plane, 'GET', `/rollouts/${rollout_id}/assignment?key=web`)
    if (variant !== 'candidate') return rollout_id
    await call(plane, 'POST', `/rollouts/${rollout_id}/roll-back`, { reason: 'drawn the other way' })
  }
}

async function submits() {
  const subjects = [
    { name: 'none', make: async () => {} },
    { name: `${ROLLOUTS}, of other work`, make: (plane) => many(plane) },
    {
      name: `${ROLLOUTS}, and the work is in one`,
      make: async (plane) => {
        await many(plane)
        await start(plane, declaration('own', { kind: 'agent', name: await agentOf(plane) }))
      },
    },
  ]
  const taken = subjects.map(() => [])
  const made = new Map()
  for (let round = 1; round <= ROUNDS; round++)
    for (const [i, { name, make }] of subjects.entries()) {
      progress(`${name}: round ${round} of ${ROUNDS}`)
      const databaseUrl = made.get(name) ?? (await postgres.database(`rollouts_${i}_${round}`))
      const subject = await governed({ databaseUrl }, { postgres })
      try {
        await make(subject.plane)
        await subject.call('work', { mode: 'singles' })
        await subject.call('round', { ms: Math.min(3000, MS), ...SINGLES })
        const { jobs, elapsed_ms } = await subject.call('round', { ms: MS, ...SINGLES })
        await subject.call('rest')
        taken[i].push((jobs / elapsed_ms) * 1000)
      } finally {
        await subject.stop()
      }
    }
  const medians = taken.map((list) => median(list))
  for (const [i, { name }] of subjects.entries())
    rows.push({
      work: 'rollouts: governed jobs beside them',
      subject: name,
      median: medians[i],
      unit: 'jobs/s',
      rounds: ROUNDS,
    })
  const ratios = taken.map((list) => median(list.map((rate, n) => rate / taken[0][n])))
  console.log(
    table(
      ['rollouts', 'jobs/s', 'of none, by round'],
      subjects.map(({ name }, i) => [name, figure(medians[i]), `${ratios[i].toFixed(3)}×`]),
      1,
    ),
  )
}

/** Each with work of its own in the last minutes, so that looks have something to look at. */
async function many(plane) {
  for (let n = 0; n < ROLLOUTS; n++)
    await start(plane, declaration(`many-${n}`, { kind: 'workflow', name: `flow-${n}` }))
  for (let n = 0; n < ROLLOUTS; n++) {
    const jobs = Array.from({ length: 40 }, (_, k) => ({
      ...{ topic: 'job.repo.read', labels: { team: 'web' }, workflow: `flow-${n}`, run_id: `run-${n}-${k}` },
      input: { op: 'log', path: 'src', limit: 20, n: k },
    }))
    await call(plane, 'POST', '/jobs/batch', { jobs }, 'agent')
  }
}

async function agentOf(plane) {
  const { items } = await call(plane, 'GET', '/keys?limit=100')
  return items.find(({ role }) => role === 'agent').principal
}

async function gate() {
  const databaseUrl = await postgres.database('gate')
  const subject = await governed({ databaseUrl }, { postgres })
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { plane } = subject
    const own = { kind: 'agent', name: await agentOf(plane) }
    const rollout_id = await start(plane, declaration('gate', own, 5, '1d'))
    await subject.call('work', { mode: 'singles' })
    await subject.call('round', { jobs: 2000, ...SINGLES })
    await subject.call('rest')
    await wait(3000) // all of it is signed
    const filled = await fill(client, rollout_id)
    const times = []
    for (let round = 1; round <= ROUNDS; round++) {
      progress(`a gate over ${figure(filled)} jobs: round ${round} of ${ROUNDS}`)
      const begun = performance.now()
      const evidence = await call(plane, 'POST', `/rollouts/${rollout_id}/gate`, {})
      times.push(performance.now() - begun)
      const said = evidence.details ?? []
      if (round === 1 && !said.some(({ metric, samples }) => metric === 'success_rate_pct' && samples > 0))
        throw new Error(`the gate counted nothing: ${JSON.stringify(evidence).slice(0, 500)}`)
    }
    const work = `rollouts: a gate of 8 checks over ${figure(filled)} jobs`
    rows.push({ work, subject: 'sallyport, Postgres', median: median(times), unit: 'ms', rounds: ROUNDS })
    console.log(table(['jobs', 'a gate of 8 checks, s'], [[figure(filled), figure(median(times) / 1000)]], 0))
  } finally {
    await client.end()
    await subject.stop()
  }
}

/** Copies the samples there are, for both sides, until there are those of so many jobs, within the hours before; their tiles are those of the real ones. */
async function fill(client, rollout_id) {
  const of = `FROM rollout_samples WHERE rollout_id = $1`
  const [{ n: each }] = (await client.query(`SELECT count(*)::int AS n ${of} AND kind = 'outcome'`, [rollout_id])).rows
  const copies = Math.max(1, Math.ceil(SAMPLES / each / 2))
  await client.query(`CREATE TEMP TABLE pattern AS SELECT * ${of}`, [rollout_id])
  await client.query(
    `INSERT INTO rollout_samples SELECT p.tenant, p.rollout_id, p.kind, v.variant, p.at - 20 * c, p.writer, p.seq, p.n + 1000 * c, p.ref, p.word,
      p.counts, p.ms, p.verdict, p.cost, p.run_id
      FROM pattern p, generate_series(1, $1::int) c, unnest('{candidate,control}'::text[]) AS v(variant)`,
    [copies],
  )
  await client.query('VACUUM ANALYZE rollout_samples')
  // The phase began before all of it.
  await client.query(
    `UPDATE rollouts SET state = jsonb_set(state, '{phase_at}', to_jsonb((state ->> 'phase_at')::bigint - 172800000)) WHERE rollout_id = $1`,
    [rollout_id],
  )
  return (await client.query(`SELECT count(*)::int AS n ${of} AND kind = 'outcome'`, [rollout_id])).rows[0].n
}

function call({ urls, keys }, method, path, body, role = 'admin') {
  const { hostname, port } = new URL(urls[0])
  const text = body === undefined ? '' : JSON.stringify(body)
  const headers = {
    'x-api-key': keys[role],
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  }
  return new Promise((resolve, reject) => {
    const sent = request({ agent: http, hostname, port, method, path: `/api/v1${path}`, headers }, (answer) => {
      let said = ''
      answer.setEncoding('utf8').on('data', (chunk) => (said += chunk))
      answer.on('end', () =>
        answer.statusCode < 400
          ? resolve(JSON.parse(said || '{}'))
          : reject(new Error(`${method} ${path}: ${answer.statusCode} ${said.slice(0, 300)}`)),
      )
    })
    sent.on('error', reject)
    sent.end(text)
  })
}
