/**
 * A tenant with much to do, in a process of its own, so that its load does not delay whoever measures beside it:
 *   node overload-loud.mjs URL AGENT_KEY WORKER_KEY JOBS_PER_SECOND
 * Eight submitters of batches of ten and eight workers; `on` and `off` come over IPC, and `off` is answered when its work is done.
 */
import { Agent, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

const [url, agentKey, workerKey, rate] = process.argv.slice(2)
const LANES = 8
const SIZE = 10
const agent = new Agent({ keepAlive: true })
const batch = { jobs: Array.from({ length: SIZE }, () => ({ topic: 'job.load.loud' })) }
let isOn = false
let open = 0
let sent = 0
let claims = 0

function post(path, key, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'x-api-key': key, 'content-type': 'application/json' }
    const sending = request(`${url}/api/v1${path}`, { method: 'POST', agent, headers }, async (answer) => {
      let text = ''
      for await (const chunk of answer.setEncoding('utf8')) text += chunk
      resolve(JSON.parse(text))
    })
    sending.on('error', reject).end(JSON.stringify(body))
  })
}

/** Between two batches of one submitter, ms. They are out of step: eight at once would be a burst and not a load. */
const EVERY = (LANES * SIZE * 1000) / Number(rate)

async function submitter(n) {
  for (let next = performance.now(); ; next += EVERY) {
    for (; !isOn; next = performance.now() + (EVERY * n) / LANES) await pause(5)
    await pause(Math.max(0, next - performance.now()))
    if (!isOn) continue
    open += SIZE
    sent += SIZE
    await post('/jobs/batch', agentKey, batch)
  }
}

async function worker() {
  for (;;) {
    const claim_id = `claim-loud-${++claims}`
    const claim = { worker_id: 'loud', claim_id, topics: ['job.load.loud'], capacity: SIZE, wait_ms: 500 }
    const { leases } = await post('/workers/claim', workerKey, claim)
    if (leases.length === 0) continue
    const done = leases.map(({ lease }) => ({ lease, outcome: 'succeeded' }))
    await post('/leases/complete', workerKey, done)
    open -= done.length
  }
}

process.on('disconnect', () => process.exit())
process.on('message', async (word) => {
  isOn = word === 'on'
  for (const end = performance.now() + 10_000; !isOn && open > 0 && performance.now() < end; ) await pause(10)
  process.send({ sent })
})
await Promise.all(Array.from({ length: LANES }, (_, n) => [submitter(n), worker()]).flat())
