import type { Command } from 'commander'
import type { AuditRecord } from '../core/audit/export.js'
import { type VerifyReport, verifyExitCode, verifyLog } from '../core/audit/verify.js'
import { headTexts, openLogs, publicKey, type SourceFlags } from './audit-log.js'
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
    .option('--head <head...>', 'heads kept elsewhere: a file with one or many, or the text of one', collect)
    .option('--key <key...>', 'the public key to trust: a file, name+id+base64, PEM or base64', collect)
    .addHelpText(
      'after',
      '\nExit 0: whole. 1: tampered with. 3: nothing wrong found, but without a head from outside a cut tail cannot be seen.',
    )
  offline<VerifyFlags, []>(withServer(command, 'admin'), verify)
}

async function verify(context: Context, flags: VerifyFlags): Promise<Exit> {
  const { terminal } = context
  const outsideHeads = (await Promise.all((flags.head ?? []).map(headTexts))).flat()
  const keys = flags.key === undefined ? null : await Promise.all(flags.key.map(publicKey))
  const { logs, close } = await openLogs(context, flags, outsideHeads)
  const reports: (VerifyReport & { source: string })[] = []
  try {
    for (const log of logs) {
      const progress = terminal.progress()
      const options = {
        outsideHeads,
        ...(keys === null ? {} : { keys }),
        ...(flags.tenant === undefined ? {} : { tenant: flags.tenant }),
      }
      const report = await verifyLog(watched(log.records(), progress), options).finally(() => progress.done())
      reports.push({ source: log.name, ...report })
    }
  } finally {
    await close()
  }
  terminal.show(reports.length === 1 ? reports[0] : { ok: reports.every(({ ok }) => ok), reports }, () =>
    reports.map((report) => reportText(report, terminal)).join('\n\n'),
  )
  const exits = reports.map(verifyExitCode)
  if (exits.includes(3))
    terminal.note(
      'Without a head from outside a cut tail cannot be seen. Keep one with `sallyport audit head --append heads.txt`, give it with --head heads.txt.',
    )
  return exits.includes(1) ? EXIT.no : exits.includes(3) ? EXIT.notChecked : EXIT.done
}

async function* watched(records: AsyncIterable<AuditRecord>, progress: Progress): AsyncGenerator<AuditRecord> {
  let entries = 0
  let said = 0
  for await (const record of records) {
    if (record.record === 'tile') entries += record.count
    if (entries - said >= 10_000) {
      said = entries
      progress.say(`${entries} entries checked`)
    }
    yield record
  }
}

function reportText(report: VerifyReport & { source: string }, { color }: Terminal): string {
  const { head, first_bad_entry: bad } = report
  const verdict = !report.ok ? 'TAMPERED WITH' : report.truncation === 'CHECKED' ? 'WHOLE' : 'NO FAULT FOUND'
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
      ['result', verdict, report.ok ? color.green : color.red],
      ['first bad', bad === null ? null : badEntry(bad), color.red],
      ['faults', [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('\n')],
    ],
    color,
  )
}

function badEntry({ index, to, exact, writer, seq }: NonNullable<VerifyReport['first_bad_entry']>): string {
  const tile = writer === null ? '' : `, tile ${seq ?? '?'} of writer ${writer}`
  if (index === null) return `outside the tree${tile}`
  return exact ? `entry ${index}${tile}` : `an entry from ${index} to ${to}${tile}`
}
