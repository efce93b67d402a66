// Governed jobs on the embedded engine: HTTP submit → lease → settle with a screened 4 KB result, against a real server process.
// Usage: node bench/jobs/run.mjs [--jobs 4000] [--rounds 3] [--json FILE] [--only WORD]
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values: flags } = parseArgs({
  options: {
    jobs: { type: 'string', default: '4000' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})
const JOBS = Number(flags.jobs)
const ROUNDS = Number(flags.rounds)
const root = new URL('../..', import.meta.url).pathname
const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))

const server = spawn(process.execPath, [join(root, 'dist/cli/main.js'), 'up', '--port', '0', '--data-dir', dir], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, SALLYPORT_LOG_LEVEL: 'error' },
})
const url = await new Promise((resolve, reject) => {
  let text = ''
  server.stdout.on('data', (chunk) => {
    text += chunk
    const found = /http:\/\/[\d.]+:\d+/.exec(text)
    if (found && text.includes('approver.key')) resolve(found[0])
  })
  server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)))
})
const key = (role) => readFileSync(join(dir, 'keys', `${role}.key`), 'utf8').trim()
const keys = { agent: key('agent'), worker: key('worker') }
const agent = new Agent({ keepAlive: true, maxSockets: 256 })

function post(path, role, body) {
  const text = JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const call = request(
      url + path,
      {
        method: 'POST',
        agent,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          'x-api-key': keys[role],
        },
      },
      (answer) => {
        const chunks = []
        answer.on('data', (chunk) => chunks.push(chunk))
        answer.on('end', () => {
          const value = JSON.parse(Buffer.concat(chunks).toString())
          if (answer.statusCode >= 300) reject(new Error(`${answer.statusCode} ${JSON.stringify(value).slice(0, 300)}`))
          else resolve(value)
        })
      },
    )
    call.on('error', reject)
    call.end(text)
  })
}

const LOREM =
  'The deploy of service checkout to region eu-central finished after 41 s; 12 pods were replaced, none failed its probe. '
const result = { log: Array.from({ length: 34 }, (_, i) => `${i} ${LOREM}`) } // 4.1 KB
const job = { topic: 'job.repo.read', input: { op: 'log', limit: 20, path: 'src' }, labels: { team: 'web' } }
const cpu = () => {
  const [, ...rest] = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')
  const fields = rest.join(') ').split(' ')
  return ((Number(fields[11]) + Number(fields[12])) / 100) * 1e6 // µs at 100 ticks a second
}
const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024

/** Submits `total` jobs through `lanes` lanes of `size` a request while one worker claims and completes; resolves when all are settled. */
async function round(total, lanes, size) {
  const started = new Map()
  const latencies = []
  let claimNo = 0
  let settled = 0
  let submitted = 0
  const worker = async (id) => {
    while (settled < total) {
      const { leases } = await post('/api/v1/workers/claim', 'worker', {
        worker_id: id,
        claim_id: `bench-${id}-${Date.now()}-${claimNo++}`,
        topics: ['job.repo.read'],
        capacity: Math.max(lanes, size),
        wait_ms: 500,
      })
      if (leases.length === 0) continue
      await post(
        '/api/v1/leases/complete',
        'worker',
        leases.map((l) => ({ lease: l.lease, outcome: 'succeeded', result })),
      )
      const now = performance.now()
      for (const l of leases) latencies.push(now - (started.get(l.job.context.n) ?? now))
      settled += leases.length
    }
  }
  const lane = async () => {
    while (submitted < total) {
      const from = submitted
      submitted += size
      const now = performance.now()
      for (let n = from; n < from + size; n++) started.set(n, now)
      if (size === 1) await post('/api/v1/jobs', 'agent', { ...job, context: { n: from } })
      else
        await post('/api/v1/jobs/batch', 'agent', {
          jobs: Array.from({ length: size }, (_, i) => ({ ...job, context: { n: from + i } })),
        })
    }
  }
  const [t0, c0, own0] = [performance.now(), cpu(), process.cpuUsage()]
  await Promise.all([...Array.from({ length: 4 }, (_, i) => worker(`w${i}`)), ...Array.from({ length: lanes }, lane)])
  const seconds = (performance.now() - t0) / 1000
  const own = process.cpuUsage(own0)
  latencies.sort((a, b) => a - b)
  const at = (q) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * q))]
  return {
    rate: total / seconds,
    p50: at(0.5),
    p99: at(0.99),
    server_us: (cpu() - c0) / total,
    load_us: (own.user + own.system) / total,
  }
}

/** Alone: one job at a time; also the time until the worker has it. */
async function alone(total) {
  const handler = []
  const whole = []
  for (let i = 0; i < total; i++) {
    const claim = post('/api/v1/workers/claim', 'worker', {
      worker_id: 'w',
      claim_id: `alone-${Date.now()}-${i}`,
      topics: ['job.repo.read'],
      capacity: 1,
      wait_ms: 5000,
    })
    await new Promise((turn) => setTimeout(turn, 5)) // let the long poll settle in: the figure is for an idle worker
    const t0 = performance.now()
    await post('/api/v1/jobs', 'agent', job)
    const { leases } = await claim
    handler.push(performance.now() - t0)
    await post('/api/v1/leases/complete', 'worker', [{ lease: leases[0].lease, outcome: 'succeeded', result }])
    whole.push(performance.now() - t0)
  }
  const mid = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]
  const tail = (list) => list.sort((a, b) => a - b)[Math.floor(list.length * 0.99)]
  return { handler_p50: mid(handler), whole_p50: mid(whole), whole_p99: tail(whole) }
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]
const rows = []
try {
  const works = [
    { work: 'governed job, singles at 64', run: () => round(JOBS, 64, 1) },
    { work: 'governed job, batches of 100', run: () => round(JOBS, 8, 100) },
  ].filter((w) => w.work.includes(flags.only))
  await round(500, 64, 1) // warm
  for (const { work, run } of works) {
    const results = []
    for (let i = 0; i < ROUNDS; i++) results.push(await run())
    const pick = (name) => median(results.map((r) => r[name]))
    rows.push({
      work,
      subject: 'sallyport, embedded',
      median: pick('rate'),
      unit: 'jobs/s',
      p50_ms: pick('p50'),
      p99_ms: pick('p99'),
      rounds: ROUNDS,
      server_cpu_us: pick('server_us'),
      load_cpu_us: pick('load_us'),
    })
  }
  if ('alone'.includes(flags.only) || flags.only === '') {
    const a = await alone(200)
    rows.push({
      work: 'submit → handler start, alone',
      subject: 'sallyport, embedded',
      median: a.handler_p50,
      unit: 'ms',
      rounds: 200,
    })
    rows.push({
      work: 'governed job, alone',
      subject: 'sallyport, embedded',
      median: a.whole_p50,
      unit: 'ms',
      p50_ms: a.whole_p50,
      p99_ms: a.whole_p99,
      rounds: 200,
    })
  }
  const shown = (n) => (n === undefined ? '' : n >= 100 ? String(Math.round(n)) : n.toFixed(2))
  console.log(
    `\n${'work'.padEnd(34)}${'median'.padStart(10)} ${'unit'.padEnd(8)}${'p50 ms'.padStart(9)}${'p99 ms'.padStart(9)}${'server µs'.padStart(11)}${'load µs'.padStart(9)}`,
  )
  for (const r of rows)
    console.log(
      `${r.work.padEnd(34)}${shown(r.median).padStart(10)} ${r.unit.padEnd(8)}${shown(r.p50_ms).padStart(9)}${shown(r.p99_ms).padStart(9)}${shown(r.server_cpu_us).padStart(11)}${shown(r.load_cpu_us).padStart(9)}`,
    )
  console.log(`server memory at the end: ${Math.round(rss())} MB`)
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify(rows, null, 2)}\n`)
} finally {
  agent.destroy()
  server.kill('SIGTERM')
  await new Promise((done) => server.once('exit', done))
  rmSync(dir, { recursive: true, force: true })
}
