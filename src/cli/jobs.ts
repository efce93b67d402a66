import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, Option } from 'commander'
import type { Job, JobStatus, SubmitJob, TimelineEntry } from '../contract/jobs.js'
import { isFinished, JOB_STATUSES } from '../core/job.js'
import type { Client } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import { oneOf, online, type ServerContext, span, wholeNumber } from './command.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import { type JobFlags, jobFrom, jsonArgument, withJobFlags } from './job-flags.js'
import { acceptedText, denialText, jobTable, jobText, moreLine, resultText, timelineLine } from './render.js'
import { jsonText, printable } from './terminal.js'

export function registerJobs(program: Command): void {
  const jobs = program.command('jobs').description('ask for actions and follow them')
  submitCommand(jobs)
  readCommands(jobs)
  decideCommands(jobs)
}

interface SubmitFlags extends JobFlags {
  run?: string
  timeout?: number
  maxAttempts?: number
  priority?: number
  notBefore?: number
  idempotencyKey?: string
  wait?: boolean
  waitFor?: number
}

function submitCommand(jobs: Command): void {
  const command = withJobFlags(jobs.command('submit').description('ask for an action; prints the decision and why'))
    .option('--run <id>', 'the run it belongs to')
    .option('--timeout <time>', 'for one attempt, e.g. 30s', span)
    .option('--max-attempts <n>', 'at most', wholeNumber(1, 100))
    .option('--priority <n>', '0 to 9, higher first', wholeNumber(0, 9))
    .option('--not-before <time>', 'from now, e.g. 15m', span)
    .option('--idempotency-key <key>', 'a repeat with the same key is the same job')
    .option('--wait', 'until the job has ended, then print the result')
    .option('--wait-for <time>', 'wait no longer than this (exit 75)', span)
  online<SubmitFlags, []>(command, 'agent', submit)
}

async function submit({ client, terminal }: ServerContext, flags: SubmitFlags): Promise<Exit> {
  const job: SubmitJob = {
    ...(await jobFrom(flags)),
    ...(flags.run === undefined ? {} : { run_id: flags.run }),
    ...(flags.timeout === undefined ? {} : { timeout_ms: flags.timeout }),
    ...(flags.maxAttempts === undefined ? {} : { max_attempts: flags.maxAttempts }),
    ...(flags.priority === undefined ? {} : { priority: flags.priority }),
    ...(flags.notBefore === undefined ? {} : { not_before: Date.now() + flags.notBefore }),
  }
  const options = flags.idempotencyKey === undefined ? {} : { idempotencyKey: flags.idempotencyKey }
  let accepted: Awaited<ReturnType<Client['jobs']['submit']>>
  try {
    accepted = await client.jobs.submit(job, options)
  } catch (error) {
    if (terminal.json || !(error instanceof SallyportError) || error.code !== 'policy_denied') throw error
    terminal.line(denialText(error.problem ?? {}, terminal))
    return EXIT.no
  }
  const waits = flags.wait === true || flags.waitFor !== undefined
  if (!waits) {
    terminal.show(accepted, () => acceptedText(accepted, terminal))
    if (accepted.approval_id !== undefined)
      terminal.note(`A person decides: sallyport approvals show ${accepted.approval_id}`)
    return EXIT.done
  }
  terminal.line(acceptedText(accepted, terminal))
  const ended = await waitFor(client, accepted.job_id, flags.waitFor, terminal)
  const result = ended.status === 'succeeded' ? await client.jobs.result(ended.job_id) : null
  terminal.show({ accepted, job: ended, result }, () =>
    result === null ? endText(ended) : `\n${resultText(result, terminal)}`,
  )
  return ended.status === 'succeeded' ? EXIT.done : EXIT.no
}

function endText({ status, job_id, error, status_reason, reason }: Job): string {
  if (status === 'quarantined')
    return `\nquarantined  the result is held back: sallyport jobs release ${job_id}, or discard`
  const why = error?.message ?? (status_reason === status ? null : status_reason) ?? (status === 'denied' ? reason : '')
  return `\n${status}  ${printable(why)}`.trimEnd()
}

async function waitFor(
  client: Client,
  jobId: string,
  ms: number | undefined,
  terminal: ServerContext['terminal'],
): Promise<Job> {
  const progress = terminal.progress()
  progress.say(`waiting for ${jobId} …`)
  try {
    return await client.jobs.wait(jobId, ms === undefined ? {} : { timeoutMs: ms })
  } finally {
    progress.done()
  }
}

interface ListFlags {
  status?: JobStatus
  topic?: string
  run?: string
  agent?: string
  limit?: number
  cursor?: string
}

function readCommands(jobs: Command): void {
  const list = jobs
    .command('list')
    .description('jobs, newest first')
    .option('--status <status>', 'only those', oneOf(...JOB_STATUSES))
    .option('--topic <topic>', 'only those')
    .option('--run <id>', 'only those')
    .option('--agent <name>', 'only those')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<ListFlags, []>(list, 'admin', async ({ client, terminal }, { status, topic, run, agent, limit, cursor }) => {
    const page = await client.jobs.list({ status, topic, run_id: run, agent, limit, cursor } as Parameters<
      typeof client.jobs.list
    >[0])
    terminal.show(page, () => (page.items.length === 0 ? 'no jobs' : jobTable(page.items, terminal)))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })

  const get = jobs.command('get').description('one job').argument('<job>', 'its id')
  online<object, [string]>(get, 'admin', async ({ client, terminal }, _flags, id) => {
    const job = await client.jobs.get(id)
    terminal.show(job, () => jobText(job, terminal))
  })

  const timeline = jobs
    .command('timeline')
    .description('what happened to a job, from the audit log')
    .argument('<job>', 'its id')
  online<object, [string]>(timeline, 'admin', async ({ client, terminal }, _flags, id) => {
    const entries = await wholeTimeline(client, id)
    terminal.show({ items: entries, next_cursor: null }, () =>
      entries.map((entry) => timelineLine(entry, terminal)).join('\n'),
    )
  })

  const result = jobs
    .command('result')
    .description('what a job returned, after screening')
    .argument('<job>', 'its id')
    .option('--output', 'only the output: text as it is, anything else as JSON')
  online<{ output?: boolean }, [string]>(result, 'admin', async ({ client, terminal }, { output }, id) => {
    const found = await client.jobs.result(id)
    if (output && !terminal.json)
      terminal.line(typeof found.output === 'string' ? found.output : jsonText(found.output))
    else terminal.show(found, () => resultText(found, terminal))
  })

  const watch = jobs
    .command('watch')
    .description('follow a job to its end; exit 0 if it succeeds')
    .argument('<job>', 'its id')
    .option('--for <time>', 'no longer than this (exit 75)', span)
  online<{ for?: number }, [string]>(watch, 'admin', (context, flags, id) =>
    watchJob(context, id, flags.for ?? Number.POSITIVE_INFINITY),
  )
}

async function wholeTimeline(client: Client, id: string): Promise<TimelineEntry[]> {
  const entries: TimelineEntry[] = []
  let cursor: string | undefined
  do {
    const page = await client.jobs.timeline(id, { limit: 500, ...(cursor === undefined ? {} : { cursor }) })
    entries.push(...page.items)
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined)
  return entries
}

/** Statuses that wait for a person, and what that person would type. */
const WAITS: Partial<Record<JobStatus, (job: Job) => string>> = {
  pending_approval: (job) => `waits for a person: sallyport approvals show ${job.approval_id}`,
  ambiguous: (job) =>
    `nobody knows whether an effect happened: sallyport jobs get ${job.job_id}, then sallyport jobs resolve ${job.job_id} …`,
}

async function watchJob({ client, terminal }: ServerContext, id: string, ms: number): Promise<Exit> {
  const end = performance.now() + ms
  const told = new Set<string>()
  const nameOf = (entry: TimelineEntry) => `${entry.writer}/${entry.seq}/${entry.kind}/${entry.facts.effect_key ?? ''}`
  let hinted: JobStatus | null = null
  for (let interval = 100; ; interval = Math.min(2000, interval * 1.3)) {
    // The job first: what its timeline says afterwards is at least as new.
    const job = await client.jobs.get(id)
    const timeline = await wholeTimeline(client, id)
    for (const entry of timeline) {
      if (told.has(nameOf(entry))) continue
      told.add(nameOf(entry))
      terminal.line(timelineLine(entry, terminal))
      interval = 100
    }
    if (isFinished(job.status)) {
      terminal.show({ job, timeline }, () => endText(job))
      return job.status === 'succeeded' ? EXIT.done : EXIT.no
    }
    const hint = WAITS[job.status]
    if (hint !== undefined && hinted !== job.status) terminal.note(hint(job))
    hinted = job.status
    const left = end - performance.now()
    if (left <= 0)
      throw new CliError(EXIT.later, 'wait_timeout', `${id} is still ${job.status}`, null, {
        details: { job_id: id, job_status: job.status },
      })
    await sleep(Math.min(interval, left))
  }
}

interface ResolveFlags {
  effect?: string
  happened?: boolean
  didNotHappen?: boolean
  note: string
  result?: string
  then?: 'retry' | 'finish' | 'dead_letter'
}

function decideCommands(jobs: Command): void {
  const cancel = jobs
    .command('cancel')
    .description('end a job; running work is told at its next heartbeat')
    .argument('<job>', 'its id')
    .option('--reason <text>', 'why')
  online<{ reason?: string }, [string]>(cancel, 'admin', async ({ client, terminal }, { reason }, id) => {
    const job = await client.jobs.cancel(id, reason)
    terminal.show(job, () => jobText(job, terminal))
  })

  const resolve = jobs
    .command('resolve')
    .description('say whether an effect of an ambiguous job happened')
    .argument('<job>', 'its id')
    .option('--effect <key>', 'which effect; may be left out where only one is open')
    .addOption(new Option('--happened', 'it happened').conflicts('didNotHappen'))
    .addOption(new Option('--did-not-happen', 'it surely did not'))
    .requiredOption('--note <text>', 'how you know; kept in the audit log')
    .option('--result <json>', 'what it returned: JSON, @FILE or -')
    .option('--then <what>', 'retry (default), finish or dead_letter', oneOf('retry', 'finish', 'dead_letter'))
  online<ResolveFlags, [string]>(resolve, 'admin', resolveJob)

  for (const [verb, words] of [
    ['release', 'let a quarantined result out, under your name'],
    ['discard', 'destroy a quarantined result'],
  ] as const) {
    const command = jobs
      .command(verb)
      .description(words)
      .argument('<job>', 'its id')
      .requiredOption('--reason <text>', 'why; kept in the audit log')
    online<{ reason: string }, [string]>(command, 'approver', async ({ client, terminal }, { reason }, id) => {
      const job = await client.jobs[verb](id, reason)
      terminal.show(job, () => jobText(job, terminal))
    })
  }
}

async function resolveJob({ client, terminal }: ServerContext, flags: ResolveFlags, id: string): Promise<void> {
  if (flags.happened === undefined && flags.didNotHappen === undefined)
    throw usage('Did it happen?', 'Say --happened or --did-not-happen.')
  const effect_key = flags.effect ?? (await onlyOpenEffect(client, id))
  const job = await client.jobs.resolve(id, {
    effect_key,
    happened: flags.happened === true,
    note: flags.note,
    ...(flags.result === undefined ? {} : { result: await jsonArgument('--result', flags.result) }),
    ...(flags.then === undefined ? {} : { then: flags.then }),
  })
  terminal.show(job, () => jobText(job, terminal))
}

async function onlyOpenEffect(client: Client, id: string): Promise<string> {
  const { effects = [], status } = await client.jobs.get(id)
  const open = effects.filter((effect) => effect.status === 'begun').map((effect) => effect.key)
  if (open.length === 1 && open[0] !== undefined) return open[0]
  const found =
    open.length === 0
      ? `${id} is ${status} and has no open effect`
      : `${id} has ${open.length} open effects: ${open.join(', ')}`
  throw usage(found, 'Name one with --effect KEY.')
}
