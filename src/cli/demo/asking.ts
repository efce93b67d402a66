import type { Accepted, Job, SubmitJob } from '../../contract/jobs.js'
import type { Client } from '../../sdk/client.js'
import { SallyportError } from '../../sdk/errors.js'
import type { Tell } from './story.js'

/** A machine that is busy with something else is slow, not broken; the whole takes seconds where nothing else runs. */
export const PATIENCE_MS = 60_000

/** What the first door said. */
export type Asked =
  | { taken: true; accepted: Accepted; rules: readonly string[] }
  | { taken: false; code: string; reason: string; rules: readonly string[]; decision_id: string }

/** Submits a job and tells what was asked and what was answered. */
export async function submit(tell: Tell, who: string, client: Client, job: SubmitJob): Promise<Asked> {
  const { topic, input, labels, run_id: _run, ...rest } = job
  tell.ask(who, topic, {
    ...(labels === undefined ? {} : { labels }),
    ...rest,
    ...(input === undefined ? {} : { input }),
  })
  try {
    const accepted = await client.jobs.submit(job)
    tell.answer(accepted.decision, `${accepted.reason} (${ruleList(accepted.rules)})`)
    return { taken: true, accepted, rules: accepted.rules }
  } catch (error) {
    if (!(error instanceof SallyportError && error.code === 'policy_denied')) throw error
    const { reason = '', rules = [], decision_id = '' } = error.problem ?? {}
    tell.answer('DENY', `${error.status}: ${reason} (${ruleList(rules)})`)
    return { taken: false, code: error.code, reason, rules, decision_id }
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

/** Says whose request it was and with what it was refused: `403 self_approval`; `accepted` where it was not. */
export async function refusal(tell: Tell, who: string, what: string, call: Promise<unknown>): Promise<string> {
  tell.ask(who, what)
  try {
    await call
    tell.answer('ok', 'accepted')
    return 'accepted'
  } catch (error) {
    if (!(error instanceof SallyportError) || error.status < 400 || error.status >= 500) throw error
    tell.answer(
      String(error.status),
      `${error.code}: ${error.problem?.detail ?? error.problem?.title ?? error.message}`,
    )
    return error.code
  }
}

const ruleList = (rules: readonly string[]): string =>
  rules.length === 0 ? 'no rule' : `${rules.length === 1 ? 'rule' : 'rules'} ${rules.join(', ')}`
