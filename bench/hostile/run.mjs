// One key that is denied without end beside one that is not: how much slower is the other one served?
//   npm run build && node bench/hostile/run.mjs [--json FILE] [--only WORD] [--rounds N] [--seconds S] [--quick]
// The server is a real process on an embedded store, on loopback. The measured key submits allowed jobs at a steady rate,
// alone and beside the flood, in turns; the flood is a process of its own. Latencies count from when a request was due.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { keep, optionsOf } from '../report.mjs'

const options = optionsOf({ seconds: { type: 'string' } })
const ROUNDS = Number(options.rounds ?? (options.quick ? 1 : 3))
const MS = Number(options.seconds ?? (options.quick ? 2 : 4)) * 1000
/** Far below what the server can do, so that alone it never queues; 100 a second gives 400 latencies a round. */
const RATE = 100
const LIMIT = 2
const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const FLOODS = [
  { work: 'singles', batches: 0, singles: 16 },
  { work: 'batches of 1,000', batches: 4, singles: 0 },
  { work: 'batches of 1,000 and singles', batches: 4, singles: 8 },
  { work: 'batches of 1,000, each item with an idempotency key', batches: 4, singles: 0, keyed: true },
]
  .filter(({ work }) => `hostile flood ${work}`.includes(options.only))
  .slice(0, options.quick ? 1 : undefined)
if (FLOODS.length === 0) process.exit(0)

const dir = mkdtempSync(join(tmpdir(), 'sallyport-hostile-'))
const children = []
try {
  const { url, keys } = await startServer()
  const other = await makeKey(url, keys.admin)
  await measure(url, other, 2000) // plans and code get warm
  const results = []
  for (const flood of FLOODS) results.push(await compare(url, keys, other, flood))
  table(results)
  keep(options.json, results.flatMap(rows))
  process.exitCode = results.some(({ ratio }) => ratio > LIMIT) ? 1 : 0
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}

async function startServer() {
  const child = spawn(
    process.execPath,
    [join(ROOT, 'dist/cli/main.js'), 'up', '--port', '0', '--data-dir', join(dir, 'data'), '--json'],
    {
      env: { PATH: process.env.PATH, HOME: dir, SALLYPORT_LOG_LEVEL: 'error' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  children.push(child)
  let text = ''
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    text += chunk
    try {
      const { url, key_files } = JSON.parse(text)
      return {
        url,
        keys: Object.fromEntries(
          Object.entries(key_files).map(([role, file]) => [role, readFileSync(file, 'utf8').trim()]),
        ),
      }
    } catch {} // not all of it yet
  }
  throw new Error(`the server did not start: ${text}`)
}

async function makeKey(url, admin) {
  const { status, text } = await send(
    url,
    admin,
    '/api/v1/keys',
    JSON.stringify({ role: 'agent', principal: 'agent:measured' }),
  )
  if (status !== 201) throw new Error(text)
  return JSON.parse(text).key
}

function send(url, key, path, body) {
  return new Promise((resolve, reject) => {
    const call = request(
      url + path,
      {
        method: 'POST',
        agent,
        headers: { 'x-api-key': key, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
        response.on('end', () => resolve({ status: response.statusCode, text }))
      },
    )
    call.on('error', reject)
    call.end(body)
  })
}

/** Allowed submits at RATE for `ms`: latencies from the moment each was due, so that a stall counts for all it delayed. */
async function measure(url, key, ms) {
  const body = JSON.stringify({ topic: 'job.repo.read', input: { path: 'README.md' } })
  const latencies = []
  const refused = new Map()
  const pending = []
  const begin = performance.now()
  for (let n = 0; n * (1000 / RATE) < ms; n++) {
    const due = begin + n * (1000 / RATE)
    if (due > performance.now()) await wait(due - performance.now())
    pending.push(
      send(url, key, '/api/v1/jobs', body).then(({ status }) => {
        if (status === 202) latencies.push(performance.now() - due)
        else refused.set(status, (refused.get(status) ?? 0) + 1)
      }),
    )
  }
  await Promise.all(pending)
  return { latencies, refused }
}

/** Alone and beside the flood in turns, all rounds together. */
async function compare(url, keys, other, { work, ...flood }) {
  const alone = []
  const beside = []
  const refused = new Map()
  let answered = 0
  let denied = 0
  let floodMs = 0
  for (let round = 0; round < ROUNDS; round++) {
    alone.push(...(await measure(url, other, MS)).latencies)
    const child = spawn(process.execPath, [fileURLToPath(new URL('flood.mjs', import.meta.url))], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    children.push(child)
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk))
    child.stdin.write(`${JSON.stringify({ url, key: keys.agent, ...flood })}\n`)
    await wait(500) // the flood is in full flow
    const measured = await measure(url, other, MS)
    beside.push(...measured.latencies)
    for (const [status, n] of measured.refused) refused.set(status, (refused.get(status) ?? 0) + n)
    const ended = new Promise((resolve) => child.once('close', resolve))
    child.stdin.end()
    await ended
    const said = JSON.parse(text)
    answered += said.answered
    denied += said.denied
    floodMs += said.ms
  }
  const [a, b] = [alone, beside].map((list) => list.toSorted((x, y) => x - y))
  return {
    work,
    alone: quantiles(a),
    beside: quantiles(b),
    ratio: at(b, 0.99) / at(a, 0.99),
    flood_per_second: (answered / floodMs) * 1000,
    recorded: denied,
    refused: Object.fromEntries(refused),
  }
}

function at(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}
function quantiles(sorted) {
  return { n: sorted.length, p50: at(sorted, 0.5), p99: at(sorted, 0.99), max: at(sorted, 1) }
}

function rows({ work, alone, beside, ratio }) {
  const row = (subject, { p50, p99 }) => ({
    work: `submit beside a flood of denied ${work}`,
    subject,
    median: p50,
    unit: 'ms',
    p50_ms: p50,
    p99_ms: p99,
    rounds: ROUNDS,
  })
  return [row('alone', alone), { ...row('beside the flood', beside), ratio }]
}

function table(results) {
  console.log(
    `allowed submits at ${RATE}/s, ${ROUNDS} rounds of ${MS / 1000} s; p99 beside the flood must stay within ${LIMIT}× of alone\n`,
  )
  const ms = (value) => `${value.toFixed(1)} ms`
  for (const { work, alone, beside, ratio, flood_per_second, recorded, refused } of results) {
    console.log(`flood: ${work}: ${Math.round(flood_per_second)} refused submits/s, ${recorded} recorded as denied`)
    console.log(`  alone   p50 ${ms(alone.p50)}  p99 ${ms(alone.p99)}  max ${ms(alone.max)}  (${alone.n})`)
    console.log(
      `  beside  p50 ${ms(beside.p50)}  p99 ${ms(beside.p99)}  max ${ms(beside.max)}  (${beside.n})${Object.keys(refused).length ? `  refused ${JSON.stringify(refused)}` : ''}`,
    )
    console.log(`  p99 ratio ${ratio.toFixed(2)}${ratio > LIMIT ? '  OVER' : ''}`)
  }
}
