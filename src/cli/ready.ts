import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { Attest, Readiness, ReadyEntry } from '../contract/readiness.js'
import { CONTROL_IDS, ITEM_IDS } from '../core/readiness.js'
import { online, span } from './command.js'
import { EXIT, type Exit, usage } from './exit.js'
import { instant, printable, type Terminal } from './terminal.js'

interface ReadyFlags {
  markdown?: boolean
  html?: string
  all?: boolean
}

/** `sallyport ready` is a gate: 0 where a launch may go on, 1 where it may not. */
export function registerReady(program: Command): void {
  const ready = program.command('ready').description('whether this installation may carry a launch')
  const show = ready
    // Without a word behind it: of options that `ready` and `attest` both have, the parser would give `attest` none.
    .command('show', { isDefault: true })
    .description('controls and go-live items that do not pass; exit 1 where a launch is held up')
    .option('--all', 'also what passes')
    .option('--markdown', 'as a Markdown document')
    .option('--html <file>', 'write the page to print there')
  online<ReadyFlags, []>(show, 'admin', async ({ client, terminal }, flags): Promise<Exit> => {
    if (flags.markdown) {
      const document = await client.readiness.text('text/markdown')
      const report = await client.readiness.get()
      terminal.line(document.trimEnd())
      return exitOf(report)
    }
    const report = await client.readiness.get()
    if (flags.html !== undefined) {
      await writeFile(flags.html, await client.readiness.text('text/html'))
      terminal.note(`written to ${flags.html}`)
    }
    terminal.show(report, () => readyText(report, flags.all === true, terminal))
    return exitOf(report)
  })
  registerAttest(ready)
}

const exitOf = ({ ready }: Readiness): Exit => (ready ? EXIT.done : EXIT.no)

interface AttestFlags {
  note: string
  link?: string
  expires?: number
}

function registerAttest(ready: Command): void {
  const attest = ready
    .command('attest')
    .description('say, as a person, what no row shows; it never stands against a fact')
    .argument('<control>', 'number or id of a control, item-NUMBER or id of an item')
    .requiredOption('--note <text>', 'what you looked at; kept in the audit log')
    .option('--link <url>', 'where it can be read')
    .option('--expires <time>', 'how long it counts, such as 30d; 90d unless said', span)
  online<AttestFlags, [string]>(attest, 'admin', async ({ client, terminal }, { note, link, expires }, word) => {
    const subject = idOf(word) as Attest['subject']
    const word_of = await client.readiness.attest({
      subject,
      note,
      ...(link === undefined ? {} : { link }),
      ...(expires === undefined ? {} : { expires_at: Date.now() + expires }),
    })
    const { attestation_id, attested_by, expires_at } = word_of
    terminal.show(
      word_of,
      () => `${attestation_id}  ${subject} by ${printable(attested_by)} until ${instant(expires_at)}`,
    )
  })
}

/** `19`, `on_call_runbook` or `item-3`. What may be attested the server knows. */
function idOf(word: string): string {
  const [, item, number = ''] = /^(item-)?(\d{1,2})$/.exec(word) ?? []
  const ids = item === undefined ? CONTROL_IDS : ITEM_IDS
  const id = number === '' ? [...CONTROL_IDS, ...ITEM_IDS].find((each) => each === word) : ids[Number(number) - 1]
  if (id === undefined)
    throw usage(`there is no control or item '${printable(word)}'`, 'sallyport ready --all lists them')
  return id
}

function readyText(report: Readiness, all: boolean, terminal: Terminal): string {
  const { color } = terminal
  const { ready, controls, items, blocked_by } = report
  const shown = (entries: readonly ReadyEntry[]) => entries.filter(({ state }) => all || state !== 'pass')
  const part = (title: string, entries: readonly ReadyEntry[]) => {
    const passed = entries.filter(({ state }) => state === 'pass').length
    return [
      `${title}: ${passed} of ${entries.length} pass`,
      ...shown(entries).flatMap((entry) => entryLines(entry, terminal)),
    ]
  }
  const verdict = ready
    ? color.green('ready')
    : color.red(`not ready: ${blocked_by.length} of what a launch depends on`)
  return [verdict, '', ...part('controls', controls), '', ...part('go-live items', items)].join('\n')
}

function entryLines(
  { number, id, title, state, blocks_launch, reason, owner, at, attestable }: ReadyEntry,
  { color }: Terminal,
): string[] {
  const paint = state === 'pass' ? color.green : state === 'block' ? color.red : color.yellow
  const about = [
    owner === null ? null : `owner ${owner}`,
    at === null ? null : instant(at),
    attestable === null || state === 'block' ? null : `or attest ${attestable}`,
  ]
  return [
    `${String(number).padStart(3)}  ${paint(state.padEnd(7))}  ${title}${blocks_launch && state !== 'pass' ? color.bold('  holds the launch') : ''}`,
    color.dim(`       ${id}: `) + printable(reason),
    ...(about.some((each) => each !== null)
      ? [color.dim(`       ${printable(about.filter((each) => each !== null).join(', '))}`)]
      : []),
  ]
}
