/**
 * node bench/replay/run.mjs [--json FILE] [--only WORD] [--rounds N] [--decisions 1e5] [--quick]
 *
 * Recorded decisions a second that a snapshot decides again: `policy impact` over all of them, and a replay on the server, with its
 * log. Meanwhile another key submits at a steady rate: its p99 alone and beside it says what the node's callers notice. Latencies
 * count from when a request was due. A real process on the embedded store, and one on Postgres. Needs a build: npx tsc -p tsconfig.json
 */
import { Agent, request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { startPostgres } from '../../scripts/engines.mjs'
import { startPlane } from '../plane.mjs'
import { figure, keep, median, optionsOf, progress, progressEnds, quantile, table } from '../report.mjs'

const options = optionsOf({ decisions: { type: 'string' } })
const DECISIONS = Number(options.decisions ?? (options.quick ? 5_000 : 100_000))
const ROUNDS = Number(options.rounds ?? (options.quick ? 1 : 3))
/** Far below what the server can do, so that alone it never queues. */
const RATE = 100
const ALONE_MS = options.quick ? 1500 : 5000
const BATCH = 500
/** What one call of impact may look at: as the command asks for. */
const AT_ONCE = 2000

const READ = (n) => ({ topic: 'job.repo.read', input: { path: `src/file-${n}.ts`, note: 'x'.repeat(200) } })
const SAFE = (n) => ({
  topic: 'job.exec.shell',
  labels: { env: 'dev' },
  input: { command: `grep -rn target-${n} src` },
})
const ASKED = (n) => ({ topic: 'job.exec.shell', labels: { env: 'dev' }, input: { command: `make target-${n}` } })
const DENIED = (n) => ({
  topic: 'job.exec.shell',
  labels: { env: 'prod' },
  input: { command: `rm -rf /srv/data/${n}` },
})

const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const SUBJECTS = ['embedded', 'Postgres'].filter((name) =>
  `recorded decisions decided again ${name}`.includes(options.only),
)
const results = []
for (const subject of SUBJECTS) await measure(subject)
progressEnds()
agent.destroy()
const columns = ['work', 'subject', 'decisions/s', 'whole s', 'p99 alone ms', 'p99 beside ms']
const rows = results.map(({ work, subject, median: rate, decisions, alone_p99_ms, p99_ms }) => [
  work,
  subject,
  figure(rate),
  figure(decisions / rate),
  figure(alone_p99_ms),
  figure(p99_ms),
])
if (rows.length > 0) console.log(table(columns, rows))
keep(options.json, results)

async function measure(subject) {
  const postgres = subject === 'Postgres' ? await startPostgres({ durable: true }) : null
  const plane = await startPlane(postgres === null ? {} : { databaseUrl: await postgres.database('replay') })
  try {
    await fill(plane, subject)
    const call = api(plane, plane.keys.admin)
    const { digest } = await call('GET', '/policy')
    await beside(plane, wait(1000))
    const alone = await beside(plane, wait(ALONE_MS))
    for (const [work, run] of Object.entries({ impact: impactOf, replay: replayOf })) {
      const rates = []
      const latencies = []
      for (let round = 0; round < ROUNDS; round++) {
        progress(`${subject}: ${work}, round ${round + 1} of ${ROUNDS}`)
        const begun = performance.now()
        let looked = 0
        latencies.push(
          ...(await beside(
            plane,
            run(call, digest).then((n) => (looked = n)),
          )),
        )
        rates.push((looked / (performance.now() - begun)) * 1000)
      }
      const median_ = Math.round(median(rates))
      const [p50_ms, p99_ms] = [quantile(latencies, 0.5), quantile(latencies, 0.99)]
      const alone_p99_ms = quantile(alone, 0.99)
      const row = {
        work: `${work} of recorded decisions`,
        subject,
        median: median_,
        unit: 'decisions/s',
        p50_ms,
        p99_ms,
      }
      results.push({ ...row, alone_p99_ms, decisions: DECISIONS, rounds: ROUNDS })
    }
  } finally {
    await plane.stop()
    await postgres?.stop()
  }
}

async function impactOf(call, digest) {
  let looked = 0
  for (let before; ; ) {
    const page = await call('POST', '/policy/impact', {
      policy_snapshot: digest,
      most: AT_ONCE,
      ...(before ? { before } : {}),
    })
    looked += page.looked_at
    if (page.next === null) return looked
    before = page.next
  }
}

async function replayOf(call, digest) {
  let found = await call('POST', '/replays', { snapshot: digest, recorded: { limit: DECISIONS } })
  while (found.status === 'running') {
    await wait(100)
    found = await call('GET', `/replays/${found.replay_id}`)
  }
  if (found.status !== 'done') throw new Error(`the replay ended as ${found.status}: ${found.reason}`)
  return found.recorded.looked_at
}

/** Half of them reads; one in twenty is asked about and one in a hundred denied, for a key that is denied more often is held back. */
async function fill({ urls, keys }, subject) {
  const call = api({ urls }, keys.agent)
  let next = 0
  const job = (n) => (n % 100 === 7 ? DENIED(n) : n % 20 === 3 ? ASKED(n) : n % 2 === 0 ? READ(n) : SAFE(n))
  const send = async () => {
    while (next < DECISIONS) {
      const from = next
      next += BATCH
      progress(`${subject}: ${from} of ${DECISIONS} submits`)
      let jobs = Array.from({ length: Math.min(BATCH, DECISIONS - from) }, (_, i) => job(from + i))
      for (;;) {
        const items = (await call('POST', '/jobs/batch', { jobs }).catch(heldBack))?.items
        jobs = items === undefined ? jobs : jobs.filter((_, i) => [429, 503].includes(items[i].status))
        if (jobs.length === 0) break
        await wait(250)
      }
    }
  }
  await Promise.all([send(), send()])
}

function heldBack(error) {
  if (![429, 503].includes(error.status)) throw error
}

/** Submits at RATE while something else is under way; how long each took, from when it was due. */
async function beside({ urls, keys }, work) {
  const call = api({ urls }, keys.agent)
  const latencies = []
  const pending = []
  let over = false
  const ended = work.finally(() => (over = true))
  const begun = performance.now()
  for (let n = 0; !over; n++) {
    const due = begun + n * (1000 / RATE)
    if (due > performance.now()) await wait(due - performance.now())
    const job = { topic: 'job.repo.read', input: { path: 'README.md' } }
    pending.push(call('POST', '/jobs', job).then(() => latencies.push(performance.now() - due)))
  }
  await Promise.all([ended, ...pending])
  return latencies
}

function api({ urls: [url] }, key) {
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body)
      const headers = {
        'x-api-key': key,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      }
      const sent = request(`${url}/api/v1${path}`, { method, agent, headers }, (answer) => {
        let said = ''
        answer.setEncoding('utf8').on('data', (chunk) => (said += chunk))
        answer.on('end', () => {
          if (answer.statusCode >= 300 && answer.statusCode !== 403)
            reject(
              Object.assign(new Error(`${path}: ${answer.statusCode} ${said.slice(0, 500)}`), {
                status: answer.statusCode,
              }),
            )
          else resolve(said === '' ? null : JSON.parse(said))
        })
      })
      sent.on('error', reject)
      sent.end(text)
    })
}
