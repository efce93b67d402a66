import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import type { Approval, ApprovalStatus } from '../contract/approvals.js'
import type { Job } from '../contract/jobs.js'
import type { Client } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import { oneOf, online, type ServerContext, wholeNumber } from './command.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import { jsonArgument } from './job-flags.js'
import { approvalText, moreLine, paintWord } from './render.js'
import { duration, type Terminal, table } from './terminal.js'

const STATUSES: readonly ApprovalStatus[] = ['pending', 'approved', 'rejected', 'expired', 'void']

export function registerApprovals(program: Command): void {
  const approvals = program.command('approvals').description('what waits for a person, and the answers')

  const list = approvals
    .command('list')
    .description('approvals, the pending ones unless asked otherwise')
    .option('--status <status>', `one of ${STATUSES.join(', ')}, or all`, oneOf(...STATUSES, 'all'))
    .option('--job <id>', 'only of this job')
    .option('--mine', 'only pending ones that you are asked now')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online(list, 'approver', listApprovals)

  const show = approvals.command('show').description('everything you would approve').argument('<approval>', 'its id')
  online<object, [string]>(show, 'approver', async ({ client, terminal }, _flags, id) => {
    const { approval, job } = await seen(client, id)
    terminal.show(approval, () => approvalText(approval, job, terminal, Date.now()))
  })

  const approve = approvals
    .command('approve')
    .description('say yes to exactly what you saw')
    .argument('<approval>', 'its id')
    .option('--grant-hash <hash>', 'of what you saw, whole or as v1:7f93d2c; without it you are shown it and asked')
    .option('--note <text>', 'kept in the audit log')
  online<ApproveFlags, [string]>(approve, 'approver', approveOne)

  const reject = approvals
    .command('reject')
    .description('say no')
    .argument('<approval>', 'its id')
    .requiredOption('--reason <text>', 'why; the agent reads it')
    .option('--grant-hash <hash>', 'only if it is still what you saw')
  online<{ reason: string; grantHash?: string }, [string]>(
    reject,
    'approver',
    async ({ client, terminal }, flags, id) => {
      const approval = await client.approvals.reject(id, {
        reason: flags.reason,
        ...(flags.grantHash === undefined ? {} : { grant_hash: flags.grantHash }),
      })
      terminal.show(approval, () => answered(approval, terminal))
    },
  )

  const edit = approvals
    .command('edit')
    .description('replace the input and approve what the job is then')
    .argument('<approval>', 'its id')
    .requiredOption('--input <json>', 'the whole input as it is to be: JSON, @FILE, or -')
    .requiredOption('--grant-hash <hash>', 'of what you saw, whole or as v1:7f93d2c')
    .option('--note <text>', 'why; kept in the audit log')
  online<EditFlags, [string]>(edit, 'approver', async ({ client, terminal }, flags, id) => {
    const approval = await client.approvals.edit(id, {
      grant_hash: flags.grantHash,
      input: await jsonArgument('--input', flags.input),
      ...(flags.note === undefined ? {} : { note: flags.note }),
    })
    terminal.show(approval, () => answered(approval, terminal))
  })

  const changes = approvals
    .command('request-changes')
    .description('say no, and what would have to change')
    .argument('<approval>', 'its id')
    .requiredOption('--reason <text>', 'what to change; the agent reads it')
    .option('--grant-hash <hash>', 'only if it is still what you saw')
  online<{ reason: string; grantHash?: string }, [string]>(
    changes,
    'approver',
    async ({ client, terminal }, flags, id) => {
      const approval = await client.approvals.requestChanges(id, {
        reason: flags.reason,
        ...(flags.grantHash === undefined ? {} : { grant_hash: flags.grantHash }),
      })
      terminal.show(approval, () => answered(approval, terminal))
    },
  )
}

interface EditFlags {
  input: string
  grantHash: string
  note?: string
}

interface ListFlags {
  status?: ApprovalStatus | 'all'
  job?: string
  mine?: boolean
  limit?: number
  cursor?: string
}

async function listApprovals({ client, terminal }: ServerContext, flags: ListFlags): Promise<void> {
  const status = flags.status ?? 'pending'
  const page = await client.approvals.list({
    ...(status === 'all' ? {} : { status }),
    ...(flags.job === undefined ? {} : { job_id: flags.job }),
    ...(flags.mine === undefined ? {} : { mine: flags.mine }),
    ...(flags.limit === undefined ? {} : { limit: flags.limit }),
    ...(flags.cursor === undefined ? {} : { cursor: flags.cursor }),
  })
  terminal.show(page, () =>
    page.items.length === 0
      ? `no ${status === 'all' ? '' : `${status} `}approvals`
      : approvalTable(page.items, terminal),
  )
  const more = moreLine(page.next_cursor)
  if (more !== null) terminal.note(more)
}

function approvalTable(approvals: readonly Approval[], terminal: Terminal): string {
  const now = Date.now()
  const left = ({ status, expires_at }: Approval) =>
    status === 'pending' ? duration(Math.max(0, expires_at - now)) : null
  return table(
    approvals,
    [
      { title: 'APPROVAL', of: (approval) => approval.approval_id, whole: true },
      {
        title: 'STATUS',
        of: (approval) => approval.status,
        paint: (text, { status }) => paintWord(status, terminal.color)(text),
      },
      { title: 'TOPIC', of: (approval) => approval.topic },
      { title: 'AGENT', of: (approval) => approval.agent },
      { title: 'GRANT', of: (approval) => approval.short_hash, whole: true },
      { title: 'LEFT', of: left },
      { title: 'REASON', of: (approval) => approval.reason },
    ],
    terminal,
  )
}

interface ApproveFlags {
  grantHash?: string
  note?: string
}

async function approveOne({ client, terminal }: ServerContext, flags: ApproveFlags, id: string): Promise<Exit> {
  const grant_hash = flags.grantHash ?? (await confirm(client, id, terminal))
  const approval = await client.approvals.approve(id, {
    grant_hash,
    ...(flags.note === undefined ? {} : { note: flags.note }),
  })
  terminal.show(approval, () => answered(approval, terminal))
  return EXIT.done
}

/** The approval with its job; null where this key may not read jobs. */
async function seen(client: Client, id: string): Promise<{ approval: Approval; job: Job | null }> {
  const approval = await client.approvals.get(id)
  const job = await client.jobs.get(approval.job_id).catch((error: unknown) => {
    if (error instanceof SallyportError && (error.status === 403 || error.status === 404)) return null
    throw error
  })
  return { approval, job }
}

/** Shows what would be approved and asks; the hash is that of what was on the screen, so a change in between is refused. */
async function confirm(client: Client, id: string, terminal: Terminal): Promise<string> {
  if (!terminal.interactive)
    throw usage(
      'What you see is what you approve: --grant-hash is needed where nobody can be asked',
      `See it with \`sallyport approvals show ${id}\` and echo its grant hash.`,
    )
  const { approval, job } = await seen(client, id)
  terminal.line(approvalText(approval, job, terminal, Date.now()))
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await lines.question(`\nApprove exactly this? Type ${terminal.color.bold('yes')}: `)
    if (answer.trim().toLowerCase() !== 'yes') throw new CliError(EXIT.no, 'not_approved', 'Nothing was approved')
    return approval.grant_hash
  } finally {
    lines.close()
  }
}

function answered(approval: Approval, { color }: Terminal): string {
  const more = approval.status === 'pending' ? '; more people have to say yes' : ''
  return `${paintWord(approval.status, color)(approval.status)}  ${approval.approval_id} for ${approval.job_id}${more}`
}
