import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { type AuditRecord, readExport, recordLine } from '../core/audit/export.js'
import { exportLines, filled, givenArchive, openLogs, type SourceFlags } from './audit-log.js'
import { type Context, offline, onlineContext, withServer } from './command.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import { fields, type Progress } from './terminal.js'

interface ExportFlags extends SourceFlags {
  out?: string
}

export function registerExport(audit: Command): void {
  const command = audit
    .command('export')
    .description('the whole log as JSON Lines, for `audit verify --export` anywhere')
    .option('--out <file>', 'write it there; otherwise to standard output')
    .option('--data-dir <dir>', 'of a server that is not running, instead of asking one')
    .option('--tenant <name>', 'with --data-dir: whose log', 'default')
    .option('--archive <dir>', 'folder with the files of old entries, where the server does not see it')
  offline<ExportFlags, []>(withServer(command, 'admin'), exportLog)
}

async function exportLog(context: Context, flags: ExportFlags): Promise<Exit> {
  const { terminal } = context
  if (terminal.json && flags.out === undefined)
    throw usage('With --json, name the file with --out: the export itself is JSON Lines')
  const lines = await openLines(context, flags)
  const progress = terminal.progress()
  const tally = { lines: 0, bytes: 0, last: '', hash: createHash('sha256') }
  try {
    const counted = counting(lines.lines, tally, progress)
    if (flags.out === undefined) await pipeline(Readable.from(counted), process.stdout, { end: false })
    else await writeWhole(flags.out, counted, tally)
  } finally {
    progress.done()
    await lines.close()
  }
  if (flags.out === undefined) {
    if (!isEnd(tally.last)) throw cutOff()
    return EXIT.done
  }
  const { file, ...summary } = {
    file: flags.out,
    lines: tally.lines,
    bytes: tally.bytes,
    sha256: tally.hash.digest('hex'),
  }
  terminal.show({ file, ...summary }, () => fields([['file', file], ...Object.entries(summary)], terminal.color))
  return EXIT.done
}

/** Lines byte for byte as the server sent them, or as a data directory and an archive give them. */
async function openLines(
  context: Context,
  flags: ExportFlags,
): Promise<{ lines: AsyncIterable<string>; close(): Promise<void> }> {
  const archive = await givenArchive(context, flags)
  if (flags.dataDir === undefined) {
    const { client, url } = await onlineContext(context, flags, 'admin')
    const sent = exportLines(client, url)
    return { lines: archive === null ? sent : linesOf(filled(readExport(sent), archive)), close: async () => {} }
  }
  const { logs, close } = await openLogs(context, flags)
  const [log] = logs
  return { lines: log === undefined ? linesOf(none()) : linesOf(filled(log.records(), archive)), close }
}

async function* none(): AsyncGenerator<AuditRecord> {}

async function* linesOf(records: AsyncIterable<AuditRecord>): AsyncGenerator<string> {
  for await (const record of records) {
    // What is no record cannot be written again as it was.
    if (record.record === 'malformed')
      throw new CliError(EXIT.no, 'malformed', `The server sent no export: ${record.detail}`)
    yield recordLine(record)
  }
}

interface Tally {
  lines: number
  bytes: number
  last: string
  hash: ReturnType<typeof createHash>
}

async function* counting(lines: AsyncIterable<string>, tally: Tally, progress: Progress): AsyncGenerator<Buffer> {
  for await (const line of lines) {
    const bytes = Buffer.from(`${line}\n`)
    tally.hash.update(bytes)
    tally.bytes += bytes.length
    tally.last = line
    if (++tally.lines % 1000 === 0) progress.say(`${tally.lines} records, ${Math.round(tally.bytes / 1e6)} MB`)
    yield bytes
  }
}

/** The file is there only when it is whole: written beside its name, then renamed. */
async function writeWhole(file: string, bytes: AsyncIterable<Buffer>, tally: Tally): Promise<void> {
  const part = `${file}.part`
  try {
    await pipeline(Readable.from(bytes), createWriteStream(part, { mode: 0o600 }))
    if (!isEnd(tally.last)) throw cutOff()
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    const errno = (error as NodeJS.ErrnoException).code
    throw error instanceof Error && typeof errno === 'string' && /^E[A-Z]+$/.test(errno)
      ? usage(`--out: ${file} cannot be written (${errno})`)
      : error
  }
}

const isEnd = (line: string): boolean => line.includes('"record":"end"')
const cutOff = () =>
  new CliError(EXIT.noServer, 'cut_off', 'The export ended before its end: nothing usable was written')
