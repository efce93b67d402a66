import { randomUUID } from 'node:crypto'
import type { Client } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import { clientAs, type DrillFlags, eventually, notYet, type Player, refusalOf } from './drill-steps.js'
import { jobFrom } from './job-flags.js'

/** What the drill does by default, unless the flags describe another job. */
async function jobOr(flags: DrillFlags, otherwise: Parameters<Client['jobs']['submit']>[0]) {
  return flags.topic === undefined && flags.job === undefined ? otherwise : await jobFrom(flags)
}

/** A forbidden action is refused, recorded, and leaves no job. */
export const deny: Player = async (context, flags, { check, made }) => {
  const { client } = context
  const agent = await clientAs(context, 'agent')
  const run_id = `drill-${randomUUID()}`
  const job = await jobOr(flags, { topic: 'job.exec.shell', labels: { env: 'prod', command_class: 'destructive' } })
  const refusal = await agent.jobs.submit({ ...job, run_id, not_before: notYet() }).then(
    async ({ job_id, decision, reason }) => {
      await client.jobs.cancel(job_id, 'drill: it was to be denied').catch(() => {})
      return `${decision}: ${reason}`
    },
    (error: unknown) => {
      if (error instanceof SallyportError && error.status === 403) return error
      throw error
    },
  )
  if (typeof refusal === 'string') return check(`${job.topic} is answered 403`, false, refusal)
  const { code, problem } = refusal
  const decision_id = problem?.decision_id ?? ''
  if (decision_id !== '') made({ decision_id })
  check(`${job.topic} is answered 403`, code === 'policy_denied', code)
  check(
    'the answer says decision=DENY and why',
    problem?.decision === 'DENY' && Boolean(problem.reason),
    problem?.reason ?? '',
  )
  const decision = await client.decisions.get(decision_id)
  check('the decision is on record', decision.decision === 'DENY', decision_id)
  const { items } = await client.jobs.list({ run_id })
  check('no job was stored', decision.job_id === null && items.length === 0, `${items.length} jobs of ${run_id}`)
  const query = { kind: 'job.denied', from: decision.at, to: decision.at + 1 }
  const entry = await eventually(async () =>
    (await client.audit.list(query)).items.find(({ facts }) => facts.decision_id === decision_id),
  )
  check(
    'the audit log has the denial',
    entry !== null,
    entry === null ? 'no such entry' : `job.denied by ${entry.actor}`,
  )
}

/** A risky action waits for a person, who refuses it. */
export const approval: Player = async (context, flags, { check, made }) => {
  const { client } = context
  const [agent, approver] = [await clientAs(context, 'agent'), await clientAs(context, 'approver')]
  const job = await jobOr(flags, { topic: 'job.deploy.apply', labels: { env: 'prod' } })
  const accepted = await agent.jobs.submit({ ...job, run_id: `drill-${randomUUID()}`, not_before: notYet() })
  const { job_id, approval_id = '', grant_hash = '' } = accepted
  made({ job_id, ...(approval_id === '' ? {} : { approval_id }) })
  try {
    check(
      `${job.topic} is taken and waits for a person`,
      accepted.status === 'pending_approval',
      `${accepted.decision}: ${accepted.reason}`,
    )
    const { items } = await approver.approvals.list({ status: 'pending', job_id })
    check(
      'reviewers have it on their list',
      items.some((item) => item.approval_id === approval_id),
      approval_id,
    )
    const shown = await approver.approvals.get(approval_id)
    check(
      'what they see is what is bound',
      shown.grant_hash === grant_hash && shown.job_hash === accepted.job_hash,
      shown.short_hash,
    )
    const own = await codeOf(agent.approvals.approve(approval_id, { grant_hash }))
    check('who asked cannot approve', ['forbidden', 'self_approval', 'not_an_approver'].includes(own), own)
    const stale = await codeOf(approver.approvals.approve(approval_id, { grant_hash: 'f'.repeat(64) }))
    check('a yes to something else is refused', stale === 'approval_stale', stale)
    const rejected = await approver.approvals.reject(approval_id, { reason: 'drill', grant_hash })
    check('a reviewer says no', rejected.status === 'rejected', rejected.status)
    const ended = await client.jobs.get(job_id)
    check(
      'the job ended there and never ran',
      ended.status === 'rejected' && ended.attempt === 0,
      `${ended.status}, ${ended.attempt} attempts`,
    )
  } finally {
    await client.jobs.cancel(job_id, 'drill').catch(() => {})
  }
  const kinds = (await client.jobs.timeline(job_id, { limit: 500 })).items.map(({ kind }) => kind)
  const wanted = ['approval.requested', 'approval.rejected']
  check(
    'the audit log tells it',
    wanted.every((kind) => kinds.includes(kind)),
    kinds.join(', '),
  )
}

const codeOf = async (call: Promise<unknown>): Promise<string> => (await refusalOf(call))?.code ?? 'accepted'
