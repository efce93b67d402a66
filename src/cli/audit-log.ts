import { createReadStream, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { withArchive } from '../core/audit/archive.js'
import { type AuditRecord, readExport, recordsOf } from '../core/audit/export.js'
import { KeyError, parsePublicKey } from '../core/audit/keys.js'
import type { OfflineAudit } from '../main.js'
import type { Client } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import { type Context, onlineContext } from './command.js'
import { type ConnectionFlags, originOf } from './connection.js'
import { CliError, EXIT, usage } from './exit.js'

/** Where a log, the heads kept outside it and the keys to check it by come from. */

/** One tenant's log as records. */
export interface Log {
  name: string
  records: () => AsyncIterable<AuditRecord>
}

export interface SourceFlags extends ConnectionFlags {
  export?: string
  tenant?: string
  archive?: string
}

type Folder = ReturnType<typeof import('../main.js')['archiveFolder']>

/** The folder with files of old entries; beside a data directory the one that its server was told of. */
export async function givenArchive({ env }: Context, flags: SourceFlags): Promise<Folder | null> {
  const dir = flags.archive ?? (flags.dataDir === undefined ? undefined : env.SALLYPORT_AUDIT_ARCHIVE || undefined)
  if (dir === undefined) return null
  if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) throw usage(`--archive: ${dir} is no folder`)
  return (await import('../main.js')).archiveFolder(dir)
}

/** With the bodies put back that are in files. */
export async function* filled(
  records: AsyncIterable<AuditRecord>,
  archive: Folder | null,
): AsyncGenerator<AuditRecord> {
  if (archive === null) yield* records
  else yield* withArchive(records, archive.open)
}

/**
 * The logs the flags mean; `close` when they are read. Through the API there is one: that of the key's tenant. In a data
 * directory there are those it holds and those the heads are of: a log of which nothing is left must not be passed over.
 */
export async function openLogs(
  context: Context,
  flags: SourceFlags,
  outsideHeads: readonly string[] = [],
): Promise<{ logs: Log[]; close(): Promise<void> }> {
  const none = async () => {}
  if (flags.export !== undefined && flags.dataDir !== undefined)
    throw usage('--export and --data-dir are two different logs')
  if (flags.export !== undefined) {
    const file = flags.export
    return { logs: [{ name: file, records: () => readExport(linesOf(file)) }], close: none }
  }
  if (flags.dataDir === undefined) {
    const { client, url } = await onlineContext(context, flags, 'admin')
    return { logs: [{ name: originOf(url), records: () => readExport(exportLines(client, url)) }], close: none }
  }
  const { DirectoryLocked, openAudit } = await import('../main.js')
  const dir = flags.dataDir
  const opened = await openAudit(dir).catch((error: Error) => {
    if (!(error instanceof DirectoryLocked)) throw new CliError(EXIT.notFound, 'no_log', error.message)
    throw new CliError(EXIT.no, 'in_use', error.message, 'Leave --data-dir out: its log is then read through the API.')
  })
  const all = new Set([...(await opened.tenants()), ...outsideHeads.flatMap(tenantOf)])
  const tenants = [...all].filter((tenant) => flags.tenant === undefined || tenant === flags.tenant)
  if (tenants.length === 0) {
    await opened.close()
    throw new CliError(
      EXIT.notFound,
      'no_log',
      flags.tenant === undefined ? `${dir} holds no log` : `${dir} holds no log of tenant ${flags.tenant}`,
    )
  }
  return {
    logs: tenants.map((tenant) => ({
      name: `${dir}, tenant ${tenant}`,
      records: () => recordsIn(opened, tenant),
    })),
    close: () => opened.close(),
  }
}

/** Whose head it says it is, believed or not; none where it is no head. */
function tenantOf(note: string): string[] {
  const [, tenant] = /^sallyport\/(\S+)\n/.exec(note) ?? []
  return tenant === undefined ? [] : [tenant]
}

async function* recordsIn(archive: OfflineAudit, tenant: string): AsyncGenerator<AuditRecord> {
  yield* recordsOf(await archive.source(tenant))
}

function linesOf(file: string): AsyncIterable<string> {
  return splitLines(file === '-' ? process.stdin : createReadStream(file), file)
}

/** Not by readline: it also splits at U+2028, which may stand inside a JSON string. */
async function* splitLines(input: Readable, file: string): AsyncGenerator<string> {
  let unfinished: string[] = []
  input.setEncoding('utf8')
  try {
    for await (const chunk of input) {
      const lines = (chunk as string).split('\n')
      for (const end of lines.slice(0, -1)) {
        yield [...unfinished, end].join('')
        unfinished = []
      }
      unfinished.push(lines.at(-1) ?? '')
    }
  } catch (error) {
    throw usage(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unreadable'})`)
  }
  const last = unfinished.join('')
  if (last !== '') yield last
}

export async function* exportLines(client: Client, url: string): AsyncGenerator<string> {
  try {
    yield* client.audit.export()
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw new CliError(
      EXIT.noServer,
      'cut_off',
      `${originOf(url)} broke off in the middle of the export: ${(error as Error).message}`,
    )
  }
}

/** The heads in a file or text: notes after one another, or the JSON that `audit head --json` prints. */
export async function headTexts(given: string): Promise<string[]> {
  const text = given.includes('\n') ? given : await readFile(given, 'utf8').catch(cannotRead('--head', given))
  const notes = text.trimStart().startsWith('{') ? [checkpointOf(text, given)] : splitNotes(text)
  if (notes.length === 0) throw usage(`--head: ${given} holds no head`)
  return notes
}

function checkpointOf(json: string, given: string): string {
  try {
    const { checkpoint } = JSON.parse(json) as { checkpoint?: unknown }
    if (typeof checkpoint === 'string') return checkpoint
  } catch {}
  throw usage(`--head: ${given} is JSON without a checkpoint`)
}

/** Signed notes that stand after one another, e.g. in a file that a head is added to every minute. A note ends with its signature lines. */
export function splitNotes(text: string): string[] {
  const notes: string[] = []
  let note: string[] = []
  let signed = false
  const close = () => {
    if (note.length > 0) notes.push(`${note.join('\n')}\n`)
    note = []
    signed = false
  }
  for (const line of text.replaceAll('\r\n', '\n').split('\n')) {
    const isSignature = line.startsWith('\u2014 ')
    if (signed && !isSignature) close()
    if (note.length === 0 && line === '') continue
    note.push(line)
    signed ||= isSignature
  }
  while (note.at(-1) === '') note.pop()
  close()
  return notes
}

/** A public key from a file, or as it stands. */
export async function publicKey(given: string): Promise<Uint8Array> {
  try {
    return parsePublicKey(given)
  } catch (asText) {
    if (!(asText instanceof KeyError)) throw asText
    const text = await readFile(given, 'utf8').catch(() => {
      throw usage(`--key: ${asText.message}; and there is no such file`)
    })
    try {
      return parsePublicKey(text)
    } catch (inFile) {
      throw usage(`--key: ${given}: ${(inFile as Error).message}`)
    }
  }
}

const cannotRead = (flag: string, file: string) => (error: NodeJS.ErrnoException) => {
  throw usage(`${flag}: ${file} cannot be read (${error.code})`)
}
