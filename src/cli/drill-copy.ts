import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CliError, EXIT, usage } from './exit.js'

/** Backups of a store, and stores made from them. Nothing here writes to the store that is backed up. */

const PGDATA = 'pgdata'
/** Says where replay of the write-ahead log begins. */
const CONTROL = join('global', 'pg_control')
const WAL = 'pg_wal'
/** A lock is of its own folder. */
const NOT_COPIED = ['lock.sock', 'lock.json']
const TRIES = 5

/**
 * A copy of the data directory of a server that runs. The engine's own way back from a crash makes it whole: the control file is taken
 * first, so replay begins no later than the oldest page that is copied, and the log of changes last, so it holds all that any page may
 * have. Where the engine set a new starting point meanwhile, what came before may be gone from the log: then the copy is made again.
 */
export async function copyDataDir(from: string, to: string): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    await rm(to, { recursive: true, force: true })
    await mkdir(to, { recursive: true, mode: 0o700 })
    const control = await readFile(join(from, PGDATA, CONTROL)).catch(() => {
      throw usage(`${from} holds no store`, 'Name the data directory of the server with --data-dir.')
    })
    for (const name of await readdir(from))
      if (name !== PGDATA && !NOT_COPIED.includes(name)) await copy(join(from, name), join(to, name))
    const [source, target] = [join(from, PGDATA), join(to, PGDATA)]
    await copy(join(source, 'global'), join(target, 'global'))
    for (const name of await readdir(source))
      if (name !== 'global' && name !== WAL) await copy(join(source, name), join(target, name))
    await copy(join(source, WAL), join(target, WAL))
    const now = await readFile(join(source, CONTROL))
    const copied = await readFile(join(target, CONTROL))
    if (now.equals(control) && copied.equals(control)) return
  }
  throw new CliError(EXIT.later, 'busy', 'The store would not hold still long enough to be copied; try again')
}

/** What the engine removes meanwhile was not needed any more: its log says so. */
async function copy(from: string, to: string): Promise<void> {
  for (let tries = 0; ; tries++)
    try {
      return await cp(from, to, { recursive: true, force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries === TRIES) throw error
    }
}

/** In the environment, not among the arguments, which every process on the machine can read. */
function libpq(url: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  const given = {
    PGHOST: searchParams.get('host') ?? hostname.replace(/^\[|\]$/g, ''),
    PGPORT: port,
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: decodeURIComponent(pathname.slice(1)),
    PGSSLMODE: searchParams.get('sslmode') ?? '',
    PGSSLROOTCERT: searchParams.get('sslrootcert') ?? '',
    PGSSLCERT: searchParams.get('sslcert') ?? '',
    PGSSLKEY: searchParams.get('sslkey') ?? '',
  }
  const set = Object.entries(given).filter(([, value]) => value !== '')
  return { PATH: env.PATH, HOME: env.HOME, ...Object.fromEntries(set) }
}

const run = promisify(execFile)

async function postgres(program: string, args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  try {
    return (await run(program, args, { env, maxBuffer: 1_000_000 })).stdout
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string }
    if (code === 'ENOENT')
      throw new CliError(
        EXIT.notFound,
        'no_program',
        `${program} is not on the PATH`,
        'It comes with the client programs of Postgres.',
      )
    throw new CliError(EXIT.no, 'backup_failed', `${program}: ${(stderr ?? '').trim().slice(0, 500)}`)
  }
}

/** A dump of one instant, by pg_dump. */
export async function dumpDatabase(url: string, file: string, env: NodeJS.ProcessEnv): Promise<void> {
  await postgres('pg_dump', ['--format=custom', '--no-owner', '--no-privileges', `--file=${file}`], libpq(url, env))
}

export async function restoreDatabase(url: string, file: string, env: NodeJS.ProcessEnv): Promise<void> {
  const into = libpq(url, env)
  const args = ['--no-owner', '--no-privileges', '--exit-on-error', '--single-transaction']
  await postgres('pg_restore', [...args, `--dbname=${into.PGDATABASE}`, file], into)
}

/** A database beside the one of `url`, and the way back. */
export async function scratchDatabase(
  url: string,
  name: string,
  env: NodeJS.ProcessEnv,
): Promise<{ url: string; drop(): Promise<void> }> {
  const own = libpq(url, env)
  const other = new URL(url)
  other.pathname = `/${name}`
  await postgres('createdb', ['--encoding=UTF8', '--template=template0', name], own)
  return {
    url: other.href,
    drop: async () => void (await postgres('dropdb', ['--force', '--if-exists', name], own)),
  }
}

/** Throws where it holds any table: nobody could say afterwards what was restored and what was there. */
export async function assertEmpty(url: string, env: NodeJS.ProcessEnv): Promise<void> {
  const args = ['--no-psqlrc', '--tuples-only', '--no-align', '--command', '\\d']
  const listed = await postgres('psql', args, libpq(url, env))
  if (listed.trim() !== '') throw usage('--scratch: that database is not empty', 'Name one that holds nothing.')
}

/** A second server on a copy, in a process of its own. */
export interface Second {
  url: string
  end(): Promise<void>
}

/** It has no NATS, no channels' secrets and a port that nobody knows: it can neither hear of work nor write to anybody. */
export async function startSecond(dataDir: string, env: Record<string, string | undefined>): Promise<Second> {
  const main = new URL('./main.js', import.meta.url).pathname
  const args = [main, 'up', '--json', '--host', '127.0.0.1', '--port', '0', '--data-dir', dataDir]
  const set = Object.entries({ ...env, SALLYPORT_LOG_LEVEL: 'error' }).filter(([, value]) => value !== undefined)
  const child = spawn(process.execPath, args, {
    env: Object.fromEntries(set) as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const parted = () => child.kill('SIGKILL')
  process.once('exit', parted)
  let [out, err] = ['', '']
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    err = `${err}${chunk}`.slice(-2000)
  })
  const ended = once(child, 'close')
  const url = await new Promise<string>((resolve, reject) => {
    const over = () =>
      reject(new CliError(EXIT.no, 'not_restored', `The copy does not start: ${(out + err).trim().slice(0, 800)}`))
    void ended.then(over, over)
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      out += chunk
      try {
        const { url } = JSON.parse(out) as { url?: string }
        // Otherwise it says why it does not start, and ends.
        if (url !== undefined) resolve(url)
      } catch {}
    })
  })
  return {
    url,
    async end() {
      child.kill('SIGTERM')
      const hurry = setTimeout(parted, 15_000)
      await ended
      clearTimeout(hurry)
      process.off('exit', parted)
    },
  }
}
