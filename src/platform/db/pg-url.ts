import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'

/** Where the database is and how to speak with it, as its URL says. */
export interface PostgresAccess {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  /** Undefined: the user of this process, as everywhere in Postgres. */
  readonly user: string | undefined
  readonly password: string
  readonly ssl: ConnectionOptions | false
}

/** What is wrong with a URL, without anything of it that could be secret. */
export class DatabaseUrlFault extends Error {
  constructor(fault: string) {
    super(fault)
    this.name = 'DatabaseUrlFault'
  }
}

const KNOWN = ['host', 'sslmode', 'sslrootcert', 'sslcert', 'sslkey'] as const
const MODES = ['disable', 'require', 'verify-ca', 'verify-full']

/**
 * Read here and not by the driver: there the parameters of a URL win over our own settings, `sslmode=require` means one thing
 * today and another in its next major version, and a host elsewhere is spoken to in plain text when nothing is said.
 * Throws DatabaseUrlFault.
 */
export function postgresAccess(text: string): PostgresAccess {
  if (text.includes('#')) throw new DatabaseUrlFault('has a # in it: in a user or password it is written %23')
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol))
    throw new DatabaseUrlFault(
      'is not a Postgres URL with a host and a database; in a user or password / ? : @ % are written %2F %3F %3A %40 %25',
    )
  for (const name of url.searchParams.keys())
    if (!KNOWN.includes(name as never))
      // Not by its name: behind a `?` that belongs to a password stands the rest of the password.
      throw new DatabaseUrlFault(`has a parameter that is not one of ${KNOWN.join(', ')}`)
  const parameter = (name: (typeof KNOWN)[number]) => url.searchParams.get(name) || null
  const host = parameter('host') ?? decoded(url.hostname).replace(/^\[(.*)\]$/, '$1')
  const database = decoded(url.pathname.slice(1))
  if (host === '' || database === '' || database.includes('/'))
    throw new DatabaseUrlFault('is not a Postgres URL with a host and a database')
  return {
    host,
    port: Number(url.port || 5432),
    database,
    user: decoded(url.username) || undefined,
    password: decoded(url.password),
    ssl: tls(host, parameter('sslmode'), {
      ca: fileOf('sslrootcert', parameter('sslrootcert')),
      cert: fileOf('sslcert', parameter('sslcert')),
      key: fileOf('sslkey', parameter('sslkey')),
    }),
  }
}

type Files = Record<'ca' | 'cert' | 'key', string | undefined>

/** The modes mean what they mean to libpq. Those of its modes that fall back to plain text without a word are not taken. */
function tls(host: string, mode: string | null, files: Files): ConnectionOptions | false {
  if (mode !== null && !MODES.includes(mode))
    throw new DatabaseUrlFault(`has an sslmode that is not one of ${MODES.join(', ')}`)
  if (mode === null && !isLocal(host))
    throw new DatabaseUrlFault(
      'names another machine and no sslmode: add ?sslmode=verify-full (with &sslrootcert=FILE for a CA of your own), ' +
        'or ?sslmode=disable where nobody else can listen in between',
    )
  if (mode === null || mode === 'disable') {
    if (Object.values(files).some((file) => file !== undefined))
      throw new DatabaseUrlFault('names TLS files without sslmode=verify-full to use them')
    return false
  }
  const given: ConnectionOptions = {}
  if (files.ca !== undefined) given.ca = files.ca
  if (files.cert !== undefined) given.cert = files.cert
  if (files.key !== undefined) given.key = files.key
  if (mode === 'verify-full') return given
  // A CA with `require` makes it `verify-ca`; a public CA vouches for everybody, so without one there is nothing to verify.
  if (files.ca !== undefined) return { ...given, checkServerIdentity: () => undefined }
  if (mode === 'verify-ca') throw new DatabaseUrlFault('has sslmode=verify-ca without sslrootcert=FILE')
  return { ...given, rejectUnauthorized: false }
}

function isLocal(host: string): boolean {
  return host.startsWith('/') || host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new DatabaseUrlFault('has a % that encodes nothing; a percent sign is written %25')
  }
}

function fileOf(name: string, path: string | null): string | undefined {
  if (path === null) return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new DatabaseUrlFault(`names ${path} as ${name}: it cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
