import { appendFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { AuditHead } from '../contract/audit.js'
import type { Client } from '../sdk/client.js'
import { registerExport } from './audit-export.js'
import { registerProof } from './audit-proof.js'
import { registerVerify } from './audit-verify.js'
import { online, span, wholeNumber } from './command.js'
import { moreLine, timelineLine } from './render.js'
import { fields, instant, printable, type Terminal } from './terminal.js'

export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('the record of everything, and the proof that it is whole')
  listCommand(audit)
  headCommand(audit)
  registerExport(audit)
  registerVerify(audit)
  registerProof(audit)
}

interface ListFlags {
  kind?: string
  actor?: string
  agent?: string
  since?: number
  job?: string
  run?: string
  limit?: number
  cursor?: string
}

function listCommand(audit: Command): void {
  const list = audit
    .command('list')
    .description('entries, oldest first')
    .option('--kind <kind>', 'e.g. job.denied, approval.approved, policy.activated')
    .option('--actor <name>', 'who did it')
    .option('--agent <name>', 'about whose work')
    .option('--since <time>', 'of the last minutes or hours, e.g. 2h', span)
    .option('--job <id>', 'of this job')
    .option('--run <id>', 'of this run')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<ListFlags, []>(list, 'admin', async ({ client, terminal }, flags) => {
    const { kind, actor, agent, since, job, run, limit, cursor } = flags
    const from = since === undefined ? undefined : Date.now() - since
    const query = { kind, actor, agent, from, job_id: job, run_id: run, limit, cursor }
    const page = await client.audit.list(query as Parameters<Client['audit']['list']>[0])
    terminal.show(page, () =>
      page.items.length === 0 ? 'no entries' : page.items.map((entry) => timelineLine(entry, terminal)).join('\n'),
    )
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })
}

function headCommand(audit: Command): void {
  const head = audit
    .command('head')
    .description('the newest signed head; kept elsewhere it proves later that nothing was cut off')
    .option('--append <file>', 'add it to this file')
  online<{ append?: string }, []>(head, 'admin', async ({ client, terminal }, { append }) => {
    const newest = await client.audit.head()
    if (append !== undefined) await appendFile(append, newest.checkpoint)
    terminal.show(newest, () => headText(newest, append ?? null, terminal))
  })
}

function headText(head: AuditHead, file: string | null, { color }: Terminal): string {
  if (file === null) return printable(head.checkpoint, { lines: true }).trimEnd()
  return fields(
    [
      ['size', head.size],
      ['root', head.root],
      ['signed', instant(head.at)],
      ['added to', file],
    ],
    color,
  )
}
