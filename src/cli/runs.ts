import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { Job, Run, TimelineEntry } from '../contract/jobs.js'
import { readCheckpoint } from '../core/audit/checkpoint.js'
import { parsePublicKey } from '../core/audit/keys.js'
import { postmortem, type RunRecord } from '../core/postmortem.js'
import type { Client } from '../sdk/client.js'
import { publicKey } from './audit-log.js'
import { checkProof } from './audit-proof.js'
import { online, type ServerContext } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { jobTable, timelineLine } from './render.js'
import { fields, instant, type Terminal } from './terminal.js'

export function registerRuns(program: Command): void {
  const runs = program.command('runs').description('all jobs of one task, and everything that happened to them')
  const show = runs.command('show').description('its jobs').argument('<run>', 'its id')
  online<object, [string]>(show, 'admin', async ({ client, terminal }, _flags, id) => {
    const run = await client.runs.get(id)
    terminal.show(run, () => runText(run, terminal))
  })

  const timeline = runs
    .command('timeline')
    .description('everything that happened in it, in order, from the audit log')
    .argument('<run>', 'its id')
  online<ProveFlags, [string]>(withProof(timeline), 'admin', showTimeline)

  const draft = runs
    .command('postmortem')
    .description('the draft of a postmortem, in Markdown, as far as the record can write it')
    .argument('<run>', 'its id')
    .option('--out <file>', 'write it there instead of printing it')
  online<ProveFlags & { out?: string }, [string]>(withProof(draft), 'admin', draftPostmortem)
}

export interface ProveFlags {
  prove?: boolean
  key?: string
}

export const withProof = (command: Command) =>
  command
    .option('--prove', 'check here that each entry stands under the signed head; exit 1 where one does not')
    .option('--key <key>', 'the public key to trust: a file, name+id+base64, PEM or base64')

export type Proof = Pick<RunRecord, 'proven' | 'head'>

async function showTimeline({ client, terminal }: ServerContext, flags: ProveFlags, id: string): Promise<Exit> {
  const entries = await wholeTimeline(client, id)
  const { proven, head } = await proofOf(client, entries, flags, terminal)
  const items = entries.map((entry) => ({ ...entry, proven: isProven(entry, proven) }))
  terminal.show({ run_id: id, head, items }, () =>
    items
      .map((entry) => {
        const mark = entry.proven === null ? '' : entry.proven ? terminal.color.green('✓ ') : terminal.color.red('✗ ')
        return mark + timelineLine(entry, terminal)
      })
      .join('\n'),
  )
  return ended(entries, proven)
}

async function draftPostmortem(
  { client, terminal }: ServerContext,
  flags: ProveFlags & { out?: string },
  run_id: string,
): Promise<Exit> {
  const [run, entries] = [await client.runs.get(run_id), await wholeTimeline(client, run_id)]
  const { proven, head } = await proofOf(client, entries, flags, terminal)
  const { workflow, jobs: total, items: jobs } = run
  const markdown = postmortem({ run_id, workflow, total, jobs, entries, proven, head })
  if (flags.out !== undefined) {
    await writeFile(flags.out, markdown)
    terminal.show({ run_id, file: flags.out, entries: entries.length }, () => `${flags.out}  ${entries.length} entries`)
  } else terminal.show({ run_id, markdown }, () => markdown)
  return ended(entries, proven)
}

const isProven = ({ index }: TimelineEntry, proven: Proof['proven']): boolean | null =>
  proven === null ? null : index !== null && proven.has(index)

/** An entry so new that no head holds it yet is not one that was tampered with, and is not proven either. */
export function ended(entries: readonly TimelineEntry[], proven: Proof['proven']): Exit {
  if (proven === null || entries.every((entry) => isProven(entry, proven))) return EXIT.done
  const integrated = entries.filter(({ index }) => index !== null)
  return integrated.every((entry) => isProven(entry, proven)) ? EXIT.notChecked : EXIT.no
}

export async function wholeTimeline(client: Client, id: string): Promise<TimelineEntry[]> {
  const entries: TimelineEntry[] = []
  let cursor: string | undefined
  do {
    const page = await client.runs.timeline(id, { limit: 500, ...(cursor === undefined ? {} : { cursor }) })
    entries.push(...page.items)
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined)
  return entries
}

/** Every entry is proven under one head, the newest when this began, by a path that is worked out here. */
export async function proofOf(
  client: Client,
  entries: readonly TimelineEntry[],
  { prove, key }: ProveFlags,
  terminal: Terminal,
): Promise<Proof> {
  if (prove !== true) return { proven: null, head: null }
  const newest = await client.audit.head()
  const trusted = key === undefined ? parsePublicKey(newest.public_key) : await publicKey(key)
  const { size, root } = readCheckpoint(newest.checkpoint).checkpoint
  const proven = new Set<number>()
  const indexes = entries.flatMap(({ index }) => (index === null || index >= size ? [] : [index]))
  const progress = terminal.progress()
  try {
    for (const index of indexes) {
      const proof = await client.audit.inclusion({ index, size })
      const checks = checkProof(proof, index, trusted)
      if (checks.entry && checks.path && checks.head === true && isSame(proof.entry, entries, index)) proven.add(index)
      progress.say(`${proven.size} of ${indexes.length} entries proven`)
    }
  } finally {
    progress.done()
  }
  return { proven, head: { size, root: Buffer.from(root).toString('hex') } }
}

/** What was proven has to be what is shown: a server could prove one entry and show another. */
function isSame(line: string, entries: readonly TimelineEntry[], index: number): boolean {
  const shown = entries.find((entry) => entry.index === index)
  if (shown === undefined) return false
  const { at, kind, actor, tenant: _, ...facts } = JSON.parse(line) as Record<string, unknown>
  const own = { at: shown.at, kind: shown.kind, actor: shown.actor, facts: shown.facts }
  return JSON.stringify(sorted({ at, kind, actor, facts })) === JSON.stringify(sorted(own))
}

/** Facts are flat. */
const sorted = ({ facts, ...rest }: { facts: Record<string, unknown>; [name: string]: unknown }) => ({
  ...rest,
  facts: Object.entries(facts).sort(([a], [b]) => (a < b ? -1 : 1)),
})

function runText(run: Run, terminal: Terminal): string {
  const statuses = Object.entries(run.by_status).map(([status, n]) => `${n} ${status}`)
  const head = fields(
    [
      ['run', run.run_id],
      ['workflow', run.workflow],
      ['begun', instant(run.created_at)],
      ['last change', instant(run.updated_at)],
      ['jobs', `${run.jobs}: ${statuses.join(', ')}`],
    ],
    terminal.color,
  )
  return `${head}\n\n${jobTable(run.items as Job[], terminal)}`
}
