// A worker that carries out refunds at a payment service. Money must not move twice, so the call is an effect: it is recorded
// before it begins and after it happened, and its idempotency key is the same in every attempt.
//
//   SALLYPORT_API_KEY=$(cat .sallyport/keys/worker.key) PAYMENTS_URL=https://payments.example.com node examples/workers/refund.mjs
//
// Ctrl-C and SIGTERM drain; a second one stops waiting.
import { createWorker, TerminalError, TransientError } from 'sallyport/sdk'

const apiKey = process.env.SALLYPORT_API_KEY
const payments = process.env.PAYMENTS_URL
if (!apiKey || !payments) {
  console.error('usage: SALLYPORT_API_KEY=… PAYMENTS_URL=… node refund.mjs')
  process.exit(1)
}

const worker = createWorker({
  url: process.env.SALLYPORT_URL ?? 'http://127.0.0.1:8080',
  apiKey,
  topics: { 'job.payments.refund': refund },
})

async function refund(job, ctx) {
  const { order, amount } = job.input
  ctx.progress(`refunding ${order}`)
  // Whatever can be found out without doing anything is found out first: a throw inside the effect leaves it in doubt.
  await ask(ctx, `/orders/${encodeURIComponent(order)}`)
  return await ctx.effect('refund', ({ idempotencyKey, signal }) =>
    ask(ctx, '/refunds', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
      body: JSON.stringify({ order, amount }),
      signal,
    }),
  )
}

async function ask(ctx, path, init) {
  const answer = await ctx.fetch(new URL(path, payments), init)
  if (answer.ok) return await answer.json()
  const what = `${init?.method ?? 'GET'} ${path}: HTTP ${answer.status}`
  if (answer.status === 429 || answer.status >= 500) throw new TransientError('payments_down', what)
  throw new TerminalError('payments_refused', what)
}

for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, async () => {
    await worker.stop()
    process.exit(0)
  })
await worker.start()
console.log(`worker ${worker.id} is ready`)
