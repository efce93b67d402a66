import type { Accepted, Job, SubmitJob } from '../../contract/jobs.js'
import type { Client } from '../../sdk/client.js'
import { SallyportError } from '../../sdk/errors.js'
import type { Tell } from './story.js'

/** A machine that is busy with something else is slow, not broken; the whole takes seconds where nothing else runs. */
export const PATIENCE_MS = 60_000

/** What the first door said. */
export type Asked = { taken: true; accepted: Accepted } | { taken: false; reason: string; decision_id: string }

/** Submits a job and tells what was asked and what was answered. */
export async function submit(tell: Tell, who: string, client: Client, job: SubmitJob): Promise<Asked> {
  const { topic, input, labels } = job
  tell.ask(who, topic, { ...(input === undefined ? {} : { input }), ...(labels === undefined ? {} : { labels }) })
  try {
    const accepted = await client.jobs.submit(job)
    const { decision, reason, rules } = accepted
    tell.answer({ status: 202, word: decision, why: reason, rules })
    return { taken: true, accepted }
  } catch (error) {
    if (!(error instanceof SallyportError && error.code === 'policy_denied')) throw error
    const { reason = '', rules = [], decision_id = '' } = error.problem ?? {}
    tell.answer({ status: error.status, word: 'DENY', why: reason, rules })
    return { taken: false, reason, decision_id }
  }
}

/** A job that policy is to take. */
export async function submitTaken(tell: Tell, who: string, client: Client, job: SubmitJob): Promise<Accepted> {
  const asked = await submit(tell, who, client, job)
  if (asked.taken) return asked.accepted
  tell.check(`${job.topic} is taken`, false, asked.reason)
  throw new Error('a failed check has ended the step')
}

/** Waits for the end of a job that is to succeed. */
export async function succeeded(tell: Tell, client: Client, job_id: string): Promise<Job> {
  const job = await client.jobs.wait(job_id, { timeoutMs: PATIENCE_MS })
  if (job.status !== 'succeeded')
    tell.check('the job succeeds', false, `${job.status}: ${job.error?.message ?? job.status_reason ?? job.reason}`)
  return job
}

/** Tells a request that is to be refused. Returns the code it was refused with; `accepted` where it was not. */
export async function refusal(tell: Tell, who: string, what: string, call: Promise<unknown>): Promise<string> {
  tell.ask(who, what)
  try {
    await call
    tell.answer({ status: 200, word: 'accepted' })
    return 'accepted'
  } catch (error) {
    if (!(error instanceof SallyportError) || error.status < 400 || error.status >= 500) throw error
    const { status, code, problem } = error
    tell.answer({ status, word: code, why: problem?.detail ?? problem?.title ?? '' })
    return code
  }
}
