/**
 * node bench/growth/run.mjs [--max 1e5] [--only WORD] [--json FILE] [--rounds N] [--quick] [--charts FOLDER]
 *
 * How cost grows: with finished jobs in the tables, rules in the policy, workers, tenants. Rows as every bench, and with
 * `--charts` a picture of each (`bench/results/growth-*.svg` are made so). Filling to 1e6 jobs needs about 10 GB below /tmp.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { startPostgres } from '../../scripts/engines.mjs'
import { governed } from '../jobs/subjects.mjs'
import * as policies from '../policy/subjects.mjs'
import { makeClaims, makeRules } from '../policy/workload.mjs'
import { figure, keep, median, optionsOf, progress, progressEnds, table } from '../report.mjs'
import { openFiller } from './fill.mjs'
import { chart } from './svg.mjs'

const options = optionsOf({ max: { type: 'string' }, seconds: { type: 'string' } })
const ROUNDS = Number(options.rounds ?? (options.quick ? 1 : 3))
const MS = Number(options.seconds ?? (options.quick ? 1 : 2)) * 1000
const MAX = Number(options.max ?? (options.quick ? 1e4 : 1e5))

const SINGLES = { lanes: 64, size: 1, unfinished: 512 }
const BATCHES = { lanes: 8, size: 100, unfinished: 2400 }
/** Of ids: Crockford's base 32. */
const LETTERS = '0123456789abcdefghjkmnpqrstvwxyz'

const GROWTHS = [
  { name: 'finished-jobs', run: finishedJobs },
  { name: 'rules', run: rules },
  { name: 'workers', run: workers },
  { name: 'tenants', run: tenants },
]

const rows = []
const word = options.only.toLowerCase()
for (const { name, run } of GROWTHS.filter(({ name }) => `growth ${name}`.includes(word))) {
  const { work, unit, x, note, series } = await run()
  for (const line of series)
    for (const [at, value] of line.points)
      rows.push({
        work: `growth: ${work}, ${at.toLocaleString('en-US')} ${x.label}`,
        subject: line.name,
        median: value,
        unit,
        rounds: ROUNDS,
      })
  if (options.charts === undefined) continue
  mkdirSync(options.charts, { recursive: true })
  const title = `${work[0].toUpperCase()}${work.slice(1)}`
  writeFileSync(join(options.charts, `growth-${name}.svg`), chart({ title, note, x, y: { label: unit }, series }))
}
progressEnds()
if (rows.length > 0) {
  const cells = rows.map((row) => {
    const first = rows.find(
      ({ work, subject }) => subject === row.subject && work.split(',')[0] === row.work.split(',')[0],
    )
    return [row.work, row.subject, figure(row.median), row.unit, `${(row.median / first.median).toFixed(2)}×`]
  })
  console.log(table(['work', 'subject', 'median', 'unit', 'of first'], cells))
  keep(options.json, rows)
}

/** Jobs a second at each point, the median of its rounds; the points take turns, so that a slow minute hits all of them. */
async function rates(points) {
  const taken = points.map(() => [])
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [i, { name, subject, mode = 'singles', load = SINGLES, work = {} }] of points.entries()) {
      progress(`${name}: round ${round} of ${ROUNDS}`)
      await subject.call('work', { mode, ...work })
      const { jobs, elapsed_ms } = await subject.call('round', { ms: MS, ...load })
      await subject.call('rest')
      await wait(1200) // the integrator catches up
      taken[i].push((jobs / elapsed_ms) * 1000)
    }
  }
  return taken.map((list) => Number(median(list).toPrecision(4)))
}

async function someJobs(subject, jobs) {
  await subject.call('work', { mode: 'singles' })
  await subject.call('round', { jobs, ...SINGLES })
  await subject.call('rest')
}

async function withPostgres(work) {
  const postgres = await startPostgres({ durable: true })
  try {
    return await work(postgres, await postgres.database('bench'))
  } finally {
    postgres.discard()
  }
}

function finishedJobs() {
  return withPostgres(async (postgres) => {
    const targets = []
    for (let target = 1000; target <= MAX; target *= 10) targets.push(target)
    const subjects = []
    try {
      for (const target of targets) {
        // A database for each, filled to the same pattern: what measuring one adds is no part of the next.
        const databaseUrl = await postgres.database(`finished_${target}`)
        const subject = await governed({ databaseUrl }, { postgres })
        subjects.push(subject)
        await someJobs(subject, 500)
        await wait(3000) // all of it integrated
        const filler = await openFiller(databaseUrl)
        await filler.fill(target, progress)
        await filler.close()
      }
      const name = (i) => `${targets[i].toLocaleString('en-US')} finished jobs`
      const singles = await rates(subjects.map((subject, i) => ({ name: name(i), subject })))
      const batches = await rates(
        subjects.map((subject, i) => ({ name: name(i), subject, mode: 'batches', load: BATCHES })),
      )
      return {
        work: 'throughput as finished jobs pile up',
        unit: 'jobs/s',
        note: 'One node on Postgres with fsync, load on the same cores. What measuring adds to the tables is not counted.',
        x: { label: 'finished jobs in the tables', log: true },
        series: [
          { name: 'singles at 64', points: targets.map((target, i) => [target, singles[i]]) },
          { name: 'batches of 100', points: targets.map((target, i) => [target, batches[i]]) },
        ],
      }
    } finally {
      for (const subject of subjects) await subject.stop()
    }
  })
}

async function rules() {
  const sizes = [10, 100, 1000, 10_000]
  const series = []
  for (const [name, whenShare] of [
    ['no conditions', 0],
    ['10 % with a condition', 0.1],
  ]) {
    const points = []
    for (const size of sizes) {
      progress(`${size} rules, ${name}`)
      const { run } = await policies.sallyport(makeRules(size, whenShare))
      const claims = makeClaims(4093, size)
      points.push([
        size,
        Number(median(Array.from({ length: ROUNDS + 2 }, () => nanoseconds(run, claims)).slice(1)).toPrecision(3)),
      ])
    }
    series.push({ name, points })
  }
  return {
    work: 'policy decision as rules grow',
    unit: 'ns a decision',
    note: 'One thread, all matching rules, merged constraints; 4,093 different claims.',
    x: { label: 'rules', log: true },
    series,
  }
}

function nanoseconds(run, claims) {
  const begun = performance.now()
  let calls = 0
  for (; performance.now() - begun < 300; calls += claims.length) for (const claim of claims) run(claim)
  return ((performance.now() - begun) * 1e6) / calls
}

function workers() {
  return withPostgres(async (postgres, databaseUrl) => {
    const subject = await governed({ databaseUrl }, { postgres })
    try {
      await someJobs(subject, 2000)
      const counts = options.quick ? [1, 8, 64] : [1, 4, 16, 64]
      const points = [16, 1].flatMap((capacity) => counts.map((claimers) => ({ claimers, capacity })))
      const medians = await rates(
        points.map((work) => ({ name: `${work.claimers} workers of ${work.capacity}`, subject, work })),
      )
      const line = (capacity) =>
        points.flatMap((point, i) => (point.capacity === capacity ? [[point.claimers, medians[i]]] : []))
      return {
        work: 'throughput by workers',
        unit: 'jobs/s',
        note: 'Singles from 64 submitters; each worker takes up to 16 jobs at a time, or one, and ends them at once. Postgres with fsync.',
        x: { label: 'workers', log: true },
        series: [
          { name: 'up to 16 jobs each', points: line(16) },
          { name: 'one job each', points: line(1) },
        ],
      }
    } finally {
      await subject.stop()
    }
  })
}

function tenants() {
  return withPostgres(async (postgres, databaseUrl) => {
    const counts = options.quick ? [1, 100] : [1, 10, 100]
    const keys = Array.from({ length: Math.max(...counts) }, () => ({ agent: newKey(), worker: newKey() }))
    const subject = await governed(
      { databaseUrl },
      { postgres },
      { tenants: keys.map(({ agent, worker }) => ({ agent: agent.text, worker: worker.text })) },
    )
    try {
      await makeTenants(databaseUrl, keys)
      await someJobs(subject, 2000)
      const medians = await rates(counts.map((tenants) => ({ name: `${tenants} tenants`, subject, work: { tenants } })))
      return {
        work: 'throughput by tenants',
        unit: 'jobs/s',
        note: 'Singles from 64 submitters in turn over the tenants; 4 workers, or one for each tenant. Postgres with fsync.',
        x: { label: 'tenants', log: true },
        series: [{ name: 'singles at 64', points: counts.map((n, i) => [n, medians[i]]) }],
      }
    } finally {
      await subject.stop()
    }
  })
}

function newKey() {
  const id = Array.from(randomBytes(26), (byte) => LETTERS[byte % 32]).join('')
  const secret = randomBytes(32).toString('base64url')
  return { key_id: `key_${id}`, hash: createHash('sha256').update(secret).digest('hex'), text: `sp_${id}_${secret}` }
}

/** Tenants with the default one's policy and two keys each. No route makes a tenant yet, so they are written as rows. */
async function makeTenants(databaseUrl, keys) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const columns = async (table) =>
    (
      await client.query(
        `SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'`,
        [table],
      )
    ).rows.map((row) => row.column_name)
  const copy = async (table, changes, parameters, where = '') => {
    const names = await columns(table)
    const values = names.map((name) => changes[name] ?? name)
    await client.query(
      `INSERT INTO ${table} (${names}) SELECT ${values} FROM ${table} WHERE tenant = 'default' ${where}`,
      parameters,
    )
  }
  for (const [n, { agent, worker }] of keys.entries()) {
    const tenant = `tenant-${n}`
    await copy('policy_snapshots', { tenant: '$1' }, [tenant])
    await copy('gates', { tenant: '$1' }, [tenant])
    for (const [role, { key_id, hash }] of [
      ['agent', agent],
      ['worker', worker],
    ])
      await copy('keys', { tenant: '$1', key_id: '$2', hash: '$3' }, [tenant, key_id, hash, role], 'AND role = $4')
  }
  await client.end()
}
