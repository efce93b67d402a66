import { cp, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { readCheckpoint } from '../core/audit/checkpoint.js'
import { readExport } from '../core/audit/export.js'
import { parsePublicKey } from '../core/audit/keys.js'
import { verifyLog } from '../core/audit/verify.js'
import { type Client, createClient } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import { exportLines, filled, givenArchive } from './audit-log.js'
import type { ServerContext } from './command.js'
import { dataDir, findKey, originOf } from './connection.js'
import {
  assertEmpty,
  copyDataDir,
  dumpDatabase,
  restoreDatabase,
  type Second,
  scratchDatabase,
  startSecond,
} from './drill-copy.js'
import { type DrillFlags, eventually, type Play, type Player } from './drill-steps.js'
import { CliError, EXIT, usage } from './exit.js'
import { duration } from './terminal.js'

const HEAD_MS = 15_000
/** A copy signs one a second while it is looked at. */
const MOST_HEADS = 100

/** A backup that is there, and how a server is brought up on it. */
interface Backup {
  path: string
  /** Of this instant, by the clock of this machine; null of one that was made before. */
  at: number | null
  restore(): Promise<Second>
}

/**
 * Takes a backup (or one that is there), counts what runs now as lost, restores the backup into a place of its own, starts a server on it,
 * and verifies its whole log against a head that was kept outside. Nothing is written to the store that runs.
 */
export const restore: Player = async (context, flags, on) => {
  const { client } = context
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-restore-'))
  const ways: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })]
  try {
    const outside = await firstHead(client)
    const newest = (await client.jobs.list({ limit: 1 })).items[0] ?? null
    const backup = await backupOf(context, flags, folder, ways)
    on.check('there is a backup', true, backup.path)
    const lost = Date.now()
    const second = await backup.restore()
    ways.unshift(() => second.end())
    const key = (await findKey(flags, context.url, 'admin', context.env)) ?? ''
    const copy = createClient({ url: second.url, apiKey: key, retries: 2 })
    on.check('a server starts on it', (await copy.health()).ready, duration(Date.now() - lost))
    const head = backup.at === null ? await headBefore(client, copy, second.url) : outside.checkpoint
    on.check(
      'it has a head that was kept outside',
      head !== null,
      backup.at === null ? 'of its own log, known here' : `${outside.size} entries`,
    )
    if (head === null) return
    await verified(context, flags, copy, second.url, head, parsePublicKey(outside.public_key), on)
    on.measured('rto_ms', Date.now() - lost)
    const { size, at } = readCheckpoint(head).checkpoint
    on.measured('rpo_ms', lost - (backup.at ?? at ?? lost))
    if (newest !== null && backup.at !== null)
      on.check(
        'the newest job of before is there',
        (await copy.jobs.get(newest.job_id)).job_id === newest.job_id,
        newest.job_id,
      )
    await wentOn(client, copy, head, size, on)
  } finally {
    for (const way of ways)
      await way().catch((error: Error) => context.terminal.note(`not cleaned up: ${error.message}`))
  }
}

/** A log's first head is signed within a second of its first entry, and one that is younger than the last restore as soon after that. */
async function firstHead(client: Client) {
  const last = (await client.drills.get('restore')).newest?.at ?? 0
  const head = await eventually(async () => {
    const found = await client.audit.head().catch(nullIfNone)
    return found === null || (readCheckpoint(found.checkpoint).checkpoint.at ?? 0) <= last ? null : found
  }, HEAD_MS)
  if (head === null) throw new CliError(EXIT.no, 'no_head', 'The log has no signed head')
  return head
}

function nullIfNone(error: unknown): null {
  if (error instanceof SallyportError && error.status === 404) return null
  throw error
}

async function verified(
  context: ServerContext,
  flags: DrillFlags,
  copy: Client,
  url: string,
  head: string,
  key: Uint8Array,
  { check }: Play,
): Promise<void> {
  const records = filled(
    readExport(exportLines(copy, url)),
    await givenArchive(context, { ...flags, dataDir: undefined } as never),
  )
  const report = await verifyLog(records, { keys: [key], outsideHeads: [head] })
  const first = report.faults[0]
  check(
    'its log is whole, by the head kept outside',
    report.ok && report.truncation === 'CHECKED',
    first?.message ?? `${report.entries} entries`,
  )
}

/** The copy writes entries of its own with its start: a head over these, by the same key, is what shows that it was brought up. */
async function wentOn(client: Client, copy: Client, head: string, size: number, { check, made }: Play): Promise<void> {
  const later = await eventually(async () => {
    const now = await copy.audit.head()
    return now.size > size ? now : null
  }, HEAD_MS)
  check('it goes on writing its log', later !== null, `${later?.size ?? size} entries`)
  if (later === null) return
  const { path } = await copy.audit.consistency({ from: size, to: later.size })
  check('the log that runs has not heard of it', (await client.audit.head()).root !== later.root, later.root)
  made({ head, restored_head: later.checkpoint, proof: path })
}

/** Of an older backup: the newest head in it of which the log that runs has the same tree. Those that the copy itself made have another. */
async function headBefore(client: Client, copy: Client, url: string): Promise<string | null> {
  const heads: string[] = []
  for await (const record of readExport(exportLines(copy, url)))
    if (record.record === 'head') heads.push(record.checkpoint)
  const { size: now } = await client.audit.head()
  for (const note of heads.reverse().slice(0, MOST_HEADS)) {
    const { size, root } = readCheckpoint(note).checkpoint
    if (size === 0 || size > now) continue
    const own = (await client.audit.consistency({ from: size })).from_root
    if (own === Buffer.from(root).toString('hex')) return note
  }
  return null
}

async function backupOf(
  context: ServerContext,
  flags: DrillFlags,
  folder: string,
  ways: (() => Promise<unknown>)[],
): Promise<Backup> {
  const { env } = context
  const database = flags.database ?? (env.SALLYPORT_DATABASE_URL || undefined)
  if (flags.backup !== undefined && !(await stat(flags.backup).catch(() => null)))
    throw usage(`--backup: ${flags.backup} is not there`)
  const kept = { PATH: env.PATH, HOME: env.HOME, SALLYPORT_POLICY: env.SALLYPORT_POLICY }
  return database === undefined
    ? await ofFolder(flags, folder, kept, env)
    : await ofDatabase(database, flags, folder, kept, env, ways)
}

type Environment = Record<string, string | undefined>

async function ofFolder(flags: DrillFlags, folder: string, kept: Environment, env: NodeJS.ProcessEnv): Promise<Backup> {
  const path = flags.backup ?? join(folder, 'backup')
  if (flags.backup === undefined) await copyDataDir(dataDir(flags, env), path)
  return {
    path,
    at: flags.backup === undefined ? Date.now() : null,
    async restore() {
      const data = join(folder, 'data')
      await cp(path, data, { recursive: true })
      return await startSecond(data, kept)
    },
  }
}

async function ofDatabase(
  database: string,
  flags: DrillFlags,
  folder: string,
  kept: Environment,
  env: NodeJS.ProcessEnv,
  ways: (() => Promise<unknown>)[],
): Promise<Backup> {
  const signing = flags.signingKey ?? env.SALLYPORT_SIGNING_KEY
  if (!signing) throw usage('Which signing key? --signing-key FILE, or SALLYPORT_SIGNING_KEY')
  if (flags.scratch !== undefined && sameDatabase(flags.scratch, database))
    throw usage('--scratch: that is the store that runs')
  const path = flags.backup ?? join(folder, 'backup.dump')
  const at = Date.now()
  if (flags.backup === undefined) await dumpDatabase(database, path, env)
  return {
    path: flags.backup ?? `a dump of ${originOf(database) === 'null' ? new URL(database).host : originOf(database)}`,
    at: flags.backup === undefined ? at : null,
    async restore() {
      if (flags.scratch !== undefined) await assertEmpty(flags.scratch, env)
      const made =
        flags.scratch === undefined ? await scratchDatabase(database, `sallyport_drill_${Date.now()}`, env) : null
      if (made !== null) ways.unshift(made.drop)
      const url = made?.url ?? (flags.scratch as string)
      await restoreDatabase(url, path, env)
      const own = { ...kept, SALLYPORT_DATABASE_URL: url, SALLYPORT_SIGNING_KEY: resolve(signing) }
      return await startSecond(join(folder, 'data'), own)
    },
  }
}

function sameDatabase(one: string, other: string): boolean {
  if (!URL.canParse(one) || !URL.canParse(other))
    throw new CliError(EXIT.usage, 'usage', '--scratch: a URL such as postgresql://user@host/empty is needed')
  const [a, b] = [new URL(one), new URL(other)]
  return a.host === b.host && a.pathname === b.pathname
}
