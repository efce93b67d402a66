/**
 * A worker in a process of its own, for drills that kill and freeze it. What the servers acknowledged goes to stdout, a JSON line
 * each; what it does outside is an HTTP call, so that somebody who never dies counts it.
 */
import { createWorker } from '../../dist/sdk.js'
import { balanced } from '../support/balance.mjs'

const { urls, key, outside, topic, concurrency } = JSON.parse(process.env.DRILL_WORKER)
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const send = balanced(urls, { timeoutMs: 8_000 })
const jobOf = new Map()

const worker = createWorker({
  url: urls[0],
  apiKey: key,
  concurrency,
  waitMs: 2_000,
  log: () => {},
  onFork: (fork) => say({ what: 'fork', kind: `${fork.kind}, ${JSON.stringify(fork)}` }),
  fetch: listening,
  topics: {
    [topic]: async (job, ctx) => {
      const act = (name) =>
        ctx.effect(name, async ({ idempotencyKey, signal }) => {
          const headers = { 'idempotency-key': idempotencyKey }
          const answer = await fetch(`${outside}/${job.job_id}/${name}`, { method: 'POST', headers, signal })
          return answer.json()
        })
      await act('first')
      await act('second')
      return { job: job.job_id }
    },
  },
})
process.once('SIGTERM', () => void worker.stop({ graceMs: 2_000 }).then(() => process.exit(0)))
await worker.start()
say({ what: 'started' })

/** Notes which effects and ends a server took. */
async function listening(input, init) {
  const answer = await send(input, init)
  if (!answer.ok) return answer
  const { pathname } = new URL(String(input))
  const text = await answer.text()
  const body = JSON.parse(text)
  const asked = JSON.parse(String(init?.body ?? 'null'))
  if (pathname.endsWith('/workers/claim')) for (const { lease, job } of body.leases) jobOf.set(lease, job.job_id)
  if (pathname.endsWith('/leases/effects') && asked.phase === 'commit' && body.status === 'committed')
    say({ what: 'effect', job_id: jobOf.get(asked.lease), key: asked.key })
  if (pathname.endsWith('/leases/complete'))
    for (const { answer: word, job_id, status } of body.leases)
      if (word === 'ok' && status === 'succeeded') say({ what: 'end', job_id })
  return new Response(text, { status: answer.status, headers: answer.headers })
}
