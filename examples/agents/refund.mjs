// An agent that wants to give a customer money back. It holds no payment credentials: it asks, policy and people decide, and a
// worker (examples/workers/refund.mjs) does it.
//
//   SALLYPORT_API_KEY=$(cat .sallyport/keys/agent.key) node examples/agents/refund.mjs A-17 20
//
// Exit code 0: done. 1: it went wrong. 2: policy or a person said no.
import { createClient, JobFailedError, SallyportError } from 'sallyport/sdk'

const [order, amount] = process.argv.slice(2)
const apiKey = process.env.SALLYPORT_API_KEY
if (!order || !amount || !apiKey) {
  console.error('usage: SALLYPORT_API_KEY=… node refund.mjs ORDER AMOUNT')
  process.exit(1)
}
const sallyport = createClient({ url: process.env.SALLYPORT_URL ?? 'http://127.0.0.1:8080', apiKey })

try {
  const job = {
    topic: 'job.payments.refund',
    input: { order, amount: Number(amount) },
    context: { why: 'the parcel arrived broken' },
  }
  // The same order asked for twice is one refund, however often this agent is started.
  const accepted = await sallyport.jobs.submit(job, { idempotencyKey: `refund-${order}` })
  console.log(`${accepted.job_id}: ${accepted.decision} (${accepted.reason})`)
  if (accepted.status === 'pending_approval') console.log(`waiting for a person: ${accepted.approval_id}`)

  const ended = await sallyport.jobs.wait(accepted.job_id)
  if (ended.status !== 'succeeded') throw new JobFailedError(ended)
  const { verdict, output } = await sallyport.jobs.result(accepted.job_id)
  console.log(`refunded, result ${verdict}: ${JSON.stringify(output)}`)
} catch (error) {
  if (!(error instanceof SallyportError)) throw error
  const refused = error.code === 'policy_denied' || error.code === 'job_rejected' || error.code === 'job_denied'
  console.error(refused ? `refused: ${error.problem?.reason ?? error.message}` : `${error.code}: ${error.message}`)
  process.exitCode = refused ? 2 : 1
}
