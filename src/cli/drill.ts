import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import type { Client } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import { online, type ServerContext, span } from './command.js'
import type { Part } from './connection.js'
import { workerCrash } from './drill-crash.js'
import { type Check, clientAs, eventually, runDrill } from './drill-steps.js'
import { type JobFlags, jobFrom, withJobFlags } from './job-flags.js'

/** Drills ask a running server to prove its promises with real requests, and clean up behind themselves. */
export function registerDrill(program: Command): void {
  const drill = program.command('drill').description('prove on a running server that the controls hold')

  const denial = drill.command('deny').description('a forbidden action is refused, audited, and leaves no job')
  online<JobFlags, []>(withParts(withJobFlags(denial), 'agent'), 'admin', (context, flags) =>
    runDrill('deny', context, (check) => deny(context, flags, check)),
  )

  const approval = drill.command('approval').description('a risky action waits for a person, who refuses it')
  online<JobFlags, []>(withParts(withJobFlags(approval), 'agent', 'approver'), 'admin', (context, flags) =>
    runDrill('approval', context, (check) => approve(context, flags, check)),
  )

  const crash = drill
    .command('worker-crash')
    .description('a worker is killed in the middle of an effect, and nothing runs twice')
    .option('--within <time>', 'how long the loss may take to be noticed', span, 90_000)
  online<{ within: number }, []>(withParts(crash, 'agent', 'worker'), 'admin', (context, { within }) =>
    runDrill('worker-crash', context, (check) => workerCrash(context, within, check)),
  )
}

/** Options for the keys of the parts a drill plays. */
function withParts(command: Command, ...parts: Part[]): Command {
  for (const part of parts)
    command.option(`--${part}-key-file <file>`, `key of the ${part} (else keys/${part}.key in the data directory)`)
  return command
}

/** What the drill does by default, unless the flags describe another job. */
async function jobOr(flags: JobFlags, otherwise: Parameters<Client['jobs']['submit']>[0]) {
  return flags.topic === undefined && flags.job === undefined ? otherwise : await jobFrom(flags)
}

async function deny(context: ServerContext, flags: JobFlags, check: Check): Promise<void> {
  const { client } = context
  const agent = await clientAs(context, 'agent')
  const run_id = `drill-${randomUUID()}`
  const job = await jobOr(flags, { topic: 'job.exec.shell', labels: { env: 'prod', command_class: 'destructive' } })
  const refusal = await agent.jobs.submit({ ...job, run_id }).then(
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

async function approve(context: ServerContext, flags: JobFlags, check: Check): Promise<void> {
  const { client } = context
  const [agent, approver] = [await clientAs(context, 'agent'), await clientAs(context, 'approver')]
  const job = await jobOr(flags, { topic: 'job.deploy.apply', labels: { env: 'prod' } })
  const accepted = await agent.jobs.submit({ ...job, run_id: `drill-${randomUUID()}` })
  const { job_id, approval_id = '', grant_hash = '' } = accepted
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

/** The code a call is refused with; `accepted` where it is not. */
async function codeOf(call: Promise<unknown>): Promise<string> {
  return await call.then(
    () => 'accepted',
    (error: unknown) => {
      if (error instanceof SallyportError && error.status >= 400 && error.status < 500) return error.code
      throw error
    },
  )
}
