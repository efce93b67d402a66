/**
 * node bench/memory/run.mjs [--jobs 1e6] [--only WORD] [--json FILE] [--quick] [--charts FOLDER]
 *
 * Whether a node stays as large as it was: resident memory over a long run of jobs in batches of 100, embedded and on
 * Postgres + NATS; what a finished job leaves in each table; and a proof out of the log that the run made.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { startNats, startPostgres } from '../../scripts/engines.mjs'
import { chart } from '../growth/svg.mjs'
import { governed } from '../jobs/subjects.mjs'
import { residentOf } from '../processes.mjs'
import { figure, keep, median, optionsOf, progress, progressEnds, quantile, table } from '../report.mjs'

const options = optionsOf({ jobs: { type: 'string' } })
const JOBS = Number(options.jobs ?? (options.quick ? 3000 : 30_000))
/** A sample of memory after each part; the first fifth of them is warming, and left out of the slope. */
const PARTS = 25
const MB = 1 << 20

const word = options.only.toLowerCase()
const wanted = (name) => `memory ${name}`.includes(word)
const rows = []
const series = []
if (wanted('embedded')) series.push(await overJobs('sallyport, embedded', await governed({})))
if (wanted('postgres')) await onPostgres()
progressEnds()
if (rows.length > 0) {
  const cells = rows.map((row) => [row.work, row.subject, figure(row.median), row.unit, figure(row.p99_ms)])
  console.log(table(['work', 'subject', 'median', 'unit', 'p99 ms'], cells))
  keep(options.json, rows)
}
if (options.charts !== undefined && series.length > 0) {
  mkdirSync(options.charts, { recursive: true })
  const text = chart({
    title: 'Memory of a node over finished jobs',
    note: 'Resident, one sample after every 4 % of the jobs, which come in batches of 100 with results of 4 KB.',
    x: { label: 'jobs' },
    y: { label: 'MB' },
    series,
  })
  writeFileSync(join(options.charts, 'memory.svg'), text)
}

async function onPostgres() {
  const postgres = await startPostgres({ durable: true })
  const nats = await startNats()
  try {
    const databaseUrl = await postgres.database('bench')
    const subject = await governed({ databaseUrl, natsUrl: nats.url }, { postgres, nats })
    const client = new pg.Client({ connectionString: databaseUrl })
    await client.connect()
    const before = await sizes(client)
    let done = 0
    series.push(
      await overJobs('sallyport, Postgres + NATS', subject, async (jobs) => {
        done = jobs
        await new Promise((turn) => setTimeout(turn, 3000)) // the integrator catches up
        tableRows(before, await sizes(client), jobs)
        await proofs(subject.plane)
      }),
    )
    // Nobody writes any more: what of it the rows themselves need.
    await client.query('VACUUM FULL')
    diskRow('all tables, packed by VACUUM FULL', (totalOf(await sizes(client)) - totalOf(before)) / done, done)
    await client.end()
  } finally {
    nats.discard()
    postgres.discard()
  }
}

/** Runs the jobs, answers `{ name, points: [[jobs, MB], …] }`. `then` is called with their number while all of it still runs. */
async function overJobs(name, subject, then = async () => {}) {
  const points = []
  let done = 0
  try {
    await subject.call('work', { mode: 'batches' })
    for (let part = 1; part <= PARTS; part++) {
      progress(`memory, ${name}: ${done.toLocaleString('en-US')} of ${JOBS.toLocaleString('en-US')} jobs`)
      const upTo = Math.ceil((JOBS * part) / PARTS / 100) * 100
      const { jobs } = await subject.call('round', { jobs: upTo - done, lanes: 8, size: 100, unfinished: 2400 })
      done += jobs
      points.push([done, residentOf(subject.plane.pids[0]) / MB])
    }
    await subject.call('rest')
    await then(done)
  } finally {
    await subject.stop()
  }
  const later = points.slice(PARTS / 5)
  const figures = later.map(([, mb]) => mb)
  const row = (work, value, unit) =>
    rows.push({ work: `memory: ${work}`, subject: name, median: value, unit, rounds: 1, jobs: done })
  row('a node, resident', median(figures), 'MB')
  row('a node, largest', Math.max(...points.map(([, mb]) => mb)), 'MB')
  // Below that the collector has not yet met the size it works at, and the slope is that of its first minute.
  if (done >= 20_000) row('growth for each 100,000 jobs', slope(later) * 1e5, 'MB')
  return { name, points }
}

/** Least squares: one sample lies 30 MB above or below the next, as the collector happens to have run. */
function slope(points) {
  const middle = (at) => points.reduce((sum, point) => sum + point[at], 0) / points.length
  const [x, y] = [middle(0), middle(1)]
  const over = points.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0)
  return over / points.reduce((sum, [a]) => sum + (a - x) ** 2, 0)
}

async function sizes(client) {
  const { rows } = await client.query(
    `SELECT relname AS name, pg_total_relation_size(relid) AS total, pg_indexes_size(relid) AS indexes FROM pg_stat_user_tables`,
  )
  return new Map(rows.map(({ name, total, indexes }) => [name, { total: Number(total), indexes: Number(indexes) }]))
}

/** Bytes with indexes and TOAST, as the run left them: what vacuum could give back is in it, because a running system has it too. */
function tableRows(before, after, jobs) {
  const each = [...after].map(([name, { total, indexes }]) => {
    const old = before.get(name) ?? { total: 0, indexes: 0 }
    return { name, bytes: (total - old.total) / jobs, indexes: (indexes - old.indexes) / jobs }
  })
  diskRow('all tables', sum(each.map(({ bytes }) => bytes)), jobs)
  diskRow('of that, indexes', sum(each.map(({ indexes }) => indexes)), jobs)
  for (const { name, bytes } of each.filter(({ bytes }) => bytes >= 1).sort((a, b) => b.bytes - a.bytes))
    diskRow(name, bytes, jobs)
}

function totalOf(tables) {
  return sum([...tables.values()].map(({ total }) => total))
}

function diskRow(what, bytes, jobs) {
  rows.push({
    work: `disk: ${what}`,
    subject: 'Postgres',
    median: Number(bytes.toFixed(1)),
    unit: 'bytes/job',
    rounds: 1,
    jobs,
  })
}

function sum(figures) {
  return figures.reduce((total, each) => total + each, 0)
}

async function proofs({ urls: [url], keys }) {
  const headers = { 'x-api-key': keys.admin }
  const ask = async (path) => {
    const answer = await fetch(`${url}/api/v1/audit/${path}`, { headers })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }
  const { size } = await ask('proof/inclusion?index=0')
  const times = []
  for (let i = 0; i < 200; i++) {
    const index = Math.floor(Math.random() * size)
    const begun = performance.now()
    await ask(`proof/inclusion?index=${index}&size=${size}`)
    if (i >= 20) times.push(performance.now() - begun)
  }
  rows.push({
    work: `inclusion proof, ${size.toLocaleString('en-US')} entries`,
    subject: 'sallyport, Postgres + NATS',
    median: median(times),
    unit: 'ms',
    p50_ms: median(times),
    p99_ms: quantile(times, 0.99),
    rounds: 1,
  })
}
