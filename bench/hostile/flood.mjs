// The other side of run.mjs: denied submits from one key until standard input ends. Singles go as fast as they are answered;
// batches at 50,000 submits a second, because one refused unread is answered so fast that its bytes alone would be the load.
import { Agent, request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'

const PER_SECOND = 50_000

process.stdin.setEncoding('utf8').once('data', (line) => run(JSON.parse(line)))
let stopped = false
process.stdin.on('end', () => (stopped = true))

const DENIED = { topic: 'job.exec.shell', labels: { env: 'prod' }, input: { command: 'rm -rf /' } }

async function run({ url, key, batches, singles, keyed }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const send = (path, body) =>
    new Promise((resolve, reject) => {
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
  const single = JSON.stringify(DENIED)
  const batch = JSON.stringify({
    jobs: Array.from({ length: 1000 }, (_, n) => (keyed ? { ...DENIED, idempotency_key: `k${n}` } : DENIED)),
  })
  const begin = performance.now()
  let answered = 0
  let denied = 0
  const one = async () => {
    while (!stopped) {
      const { status } = await send('/api/v1/jobs', single)
      answered++
      if (status === 403) denied++
    }
  }
  const every = (batches * 1000 * 1000) / PER_SECOND
  const many = async (_, n) => {
    let due = begin + (n * every) / batches
    while (!stopped) {
      if (due > performance.now()) await wait(due - performance.now())
      due = Math.max(due, performance.now() - 1000) + every // at most a second's worth is caught up
      const { status, text } = await send('/api/v1/jobs/batch', batch)
      answered += 1000
      if (status === 200) denied += text.split('"policy_denied"').length - 1
    }
  }
  await Promise.all([...Array.from({ length: singles }, one), ...Array.from({ length: batches }, many)])
  console.log(JSON.stringify({ answered, denied, ms: performance.now() - begin }))
  agent.destroy()
  process.stdin.destroy()
}
