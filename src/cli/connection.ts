import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Client, createClient } from '../sdk/client.js'
import { CliError, EXIT } from './exit.js'

/** The keys that a server's first start puts beside its data. */
export type LocalKey = 'admin' | 'agent' | 'approver' | 'worker'
/** Whom a drill plays beside itself. */
export type Part = Exclude<LocalKey, 'admin'>

export interface ConnectionFlags {
  url?: string
  keyFile?: string
  dataDir?: string
  /** Of commands that play several parts. */
  agentKeyFile?: string
  approverKeyFile?: string
  workerKeyFile?: string
}

type Environment = Readonly<Record<string, string | undefined>>

export const DEFAULT_URL = 'http://127.0.0.1:8080'

/** `--url`, else SALLYPORT_URL, else this machine. */
export function serverUrl(flags: ConnectionFlags, env: Environment): string {
  return flags.url ?? (env.SALLYPORT_URL || DEFAULT_URL)
}

/**
 * A client with the key a command needs. Two repeats at most: a person, or a script with an exit code, is waiting.
 * Throws CliError `no_server` or `no_key`.
 */
export async function connect(flags: ConnectionFlags, role: LocalKey, env: Environment): Promise<Client> {
  const url = serverUrl(flags, env)
  const apiKey = await findKey(flags, url, role, env)
  if (apiKey === null) {
    if (!(await answers(url))) throw noServer(url)
    throw new CliError(
      EXIT.forbidden,
      'no_key',
      `No key for ${originOf(url)}`,
      noKeyHelp(url, role, dataDir(flags, env)),
    )
  }
  return createClient({ url, apiKey, retries: 2 })
}

/**
 * `--key-file`, else SALLYPORT_API_KEY, else the key of this role in the data directory; null where there is none. That last one
 * only for a server on this machine: the key of one's own server must not be sent to another because of a wrong address.
 * Never from the command line, which every process on the machine can read.
 */
export async function findKey(
  flags: ConnectionFlags,
  url: string,
  role: LocalKey,
  env: Environment,
): Promise<string | null> {
  if (flags.keyFile !== undefined) return await readKeyFile(flags.keyFile)
  if (env.SALLYPORT_API_KEY) return env.SALLYPORT_API_KEY.trim()
  if (!isLoopback(url)) return null
  const file = keyFile(dataDir(flags, env), role)
  return await readKeyFile(file).catch((error: unknown) => {
    if (error instanceof CliError && error.details.errno === 'ENOENT') return null
    throw error
  })
}

/**
 * The key of one part of a drill: its own flag, else the one on this machine, else SALLYPORT_API_KEY. A part has to be another
 * principal, so the one key that may stand in the environment comes last.
 */
export async function findPartKey(flags: ConnectionFlags, url: string, part: Part, env: Environment): Promise<string> {
  const keyFile = { agent: flags.agentKeyFile, approver: flags.approverKeyFile, worker: flags.workerKeyFile }[part]
  const { SALLYPORT_API_KEY, ...rest } = env
  const key = (await findKey({ ...flags, keyFile }, url, part, rest)) ?? (SALLYPORT_API_KEY || null)
  if (key !== null) return key.trim()
  throw new CliError(
    EXIT.forbidden,
    'no_key',
    `No ${part} key for ${originOf(url)}`,
    `Give one with --${part}-key-file.`,
  )
}

export function dataDir(flags: Pick<ConnectionFlags, 'dataDir'>, env: Environment): string {
  return flags.dataDir ?? (env.SALLYPORT_DATA_DIR || '.sallyport')
}

export const keyFile = (dir: string, role: string): string => join(dir, 'keys', `${role}.key`)

async function readKeyFile(file: string): Promise<string> {
  try {
    const key = (await readFile(file, 'utf8')).trim()
    if (key === '') throw new CliError(EXIT.forbidden, 'no_key', `${file} is empty`)
    return key
  } catch (error) {
    if (error instanceof CliError) throw error
    const errno = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    throw new CliError(EXIT.forbidden, 'no_key', `${file} cannot be read (${errno})`, null, { details: { errno } })
  }
}

/** What to say when nothing answers at the address. */
export function noServer(url: string): CliError {
  const help = isLoopback(url)
    ? 'Start one with `sallyport up`, or name another with --url or SALLYPORT_URL.'
    : 'Check --url and SALLYPORT_URL, and whether this machine may reach it.'
  return new CliError(EXIT.noServer, 'no_server', `No server answers at ${originOf(url)}`, help)
}

function noKeyHelp(url: string, role: LocalKey, dir: string): string {
  const given = 'Give one with --key-file or SALLYPORT_API_KEY'
  if (!isLoopback(url)) return `${given}.`
  return `${given}, or start where the server has its data: ${resolve(keyFile(dir, role))} is not there.`
}

/** Whether anything at all is listening. */
async function answers(url: string): Promise<boolean> {
  try {
    await fetch(url, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(5000) })
    return true
  } catch (error) {
    if (error instanceof TypeError && !URL.canParse(url))
      throw new TypeError(`url: not an address, e.g. ${DEFAULT_URL}`)
    return false
  }
}

/** The address as it may be shown: no user, no password, no query. */
export function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url
}

export function isLoopback(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
