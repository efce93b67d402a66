import type { Command } from 'commander'
import type { AuditRecord } from '../core/audit/export.js'
import { type VerifyReport, verifyExitCode, verifyLog } from '../core/audit/verify.js'
import { filled, givenArchive, headTexts, openLogs, publicKey, type SourceFlags } from './audit-log.js'
import { type Context, collect, offline, withServer } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { fields, instant, type Progress, type Terminal } from './terminal.js'

interface VerifyFlags extends SourceFlags {
  head?: string[]
  key?: string[]
}

export function registerVerify(audit: Command): void {
  const command = audit
    .command('verify')
    .description('recompute everything; names the first bad entry')
    .option('--export <file>', 'an export, or - for standard input')
    .option('--data-dir <dir>', 'of a server that is not running')
    .option('--tenant <name>', 'whose log it must be')
    .option('--archive <dir>', 'folder with the files of old entries, where the source does not hold them')
    .option('--head <head...>', 'heads kept elsewhere: a file with one or many, or the text of one', collect)
    .option('--key <key...>', 'the public key to trust: a file, name+id+base64, PEM or base64', collect)
    .addHelpText(
      'after',
      '\nExit 0: whole. 1: tampered with. 3: nothing wrong found, but not all could be checked: without a head from outside a cut' +
        '\ntail cannot be seen, and without its archive nobody knows what an old entry says.',
    )
  offline<VerifyFlags, []>(withServer(command, 'admin'), verify)
}

async function verify(context: Context, flags: VerifyFlags): Promise<Exit> {
  const { terminal } = context
  const outsideHeads = (await Promise.all((flags.head ?? []).map(headTexts))).flat()
  const keys = flags.key === undefined ? null : await Promise.all(flags.key.map(publicKey))
  // Before the log: what is refused here must leave none open.
  const archive = await givenArchive(context, flags)
  const { logs, close } = await openLogs(context, flags, outsideHeads)
  const reports: Shown[] = []
  try {
    for (const log of logs) {
      const progress = terminal.progress()
      const options = {
        outsideHeads,
        ...(keys === null ? {} : { keys }),
        ...(flags.tenant === undefined ? {} : { tenant: flags.tenant }),
      }
      const named = new Set<string>()
      const records = watched(filled(log.records(), archive), progress, named)
      const report = await verifyLog(records, options).finally(() => progress.done())
      const held = (await archive?.list(report.tenant)) ?? []
      reports.push({ source: log.name, ...report, strays: held.filter((file) => !named.has(file)) })
    }
  } finally {
    await close()
  }
  terminal.show(reports.length === 1 ? reports[0] : { ok: reports.every(({ ok }) => ok), reports }, () =>
    reports.map((report) => reportText(report, terminal)).join('\n\n'),
  )
  const exits = reports.map(verifyExitCode)
  if (reports.some((report) => report.truncation === 'NOT CHECKED'))
    terminal.note(
      'Without a head from outside a cut tail cannot be seen. Keep one with `sallyport audit head --append heads.txt`, give it with --head heads.txt.',
    )
  if (reports.some((report) => (report.archived?.not_checked ?? 0) > 0))
    terminal.note('Old entries are in files of an archive. Name its folder with --archive to check what they say.')
  return exits.includes(1) ? EXIT.no : exits.includes(3) ? EXIT.notChecked : EXIT.done
}

/** Also collects which files the log names. */
async function* watched(
  records: AsyncIterable<AuditRecord>,
  progress: Progress,
  named: Set<string>,
): AsyncGenerator<AuditRecord> {
  let entries = 0
  let said = 0
  for await (const record of records) {
    if (record.record === 'archive') named.add(record.file)
    if (record.record === 'tile') entries += record.count
    if (entries - said >= 10_000) {
      said = entries
      progress.say(`${entries} entries checked`)
    }
    yield record
  }
}

/** `strays`: files in the archive that the log does not name. An archiver that was killed leaves one; none of them is believed. */
type Shown = VerifyReport & { source: string; strays: string[] }

function reportText(report: Shown, { color }: Terminal): string {
  const { head, first_bad_entry: bad } = report
  const verdict = !report.ok ? 'TAMPERED WITH' : verifyExitCode(report) === 0 ? 'WHOLE' : 'NO FAULT FOUND'
  const unread = report.archived?.not_checked ?? 0
  const shown = report.faults.slice(0, 10).map(({ code, message }) => `${code}: ${message}`)
  const more = report.fault_count - shown.length
  return fields(
    [
      ['log', report.source],
      ['origin', report.origin],
      [
        'entries',
        report.waiting === 0 ? report.entries : `${report.entries}, and ${report.waiting} not in the tree yet`,
      ],
      ['read', `${report.tiles} tiles of ${report.writers} writers, ${report.heads} signed heads`],
      [
        'newest head',
        head === null
          ? 'none that holds'
          : `${head.size} entries, root ${head.root}, signed ${instant(head.at) ?? 'at a time not said'}`,
      ],
      ['key', report.key === 'GIVEN' ? 'GIVEN' : 'FROM EXPORT (taken at its word; give --key to check it)'],
      [
        'truncation',
        report.truncation === 'CHECKED' ? `CHECKED up to entry ${report.truncation_checked_to}` : 'NOT CHECKED',
        report.truncation === 'CHECKED' ? color.green : color.yellow,
      ],
      ['archive', archiveText(report), unread === 0 ? color.green : color.yellow],
      ['strays', report.strays.slice(0, 10).join('\n'), color.yellow],
      ['result', verdict, report.ok ? color.green : color.red],
      ['first bad', bad === null ? null : badEntry(bad), color.red],
      ['faults', [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('\n')],
    ],
    color,
  )
}

function archiveText({ archived }: VerifyReport): string | null {
  if (archived === null) return null
  const { files, entries, not_checked, unread } = archived
  const held = `${files} ${files === 1 ? 'file' : 'files'} with entries 0 to ${entries - 1}`
  if (not_checked === 0) return `CHECKED ${held}`
  const where = unread.slice(0, 5).map(({ from, to }) => `${from} to ${to}`)
  return `NOT CHECKED entries ${where.join(', ')}${unread.length > 5 ? ' and more' : ''}, of ${held}`
}

function badEntry({ index, to, exact, writer, seq }: NonNullable<VerifyReport['first_bad_entry']>): string {
  const tile = writer === null ? '' : `, tile ${seq ?? '?'} of writer ${writer}`
  if (index === null) return `outside the tree${tile}`
  return exact ? `entry ${index}${tile}` : `an entry from ${index} to ${to}${tile}`
}
