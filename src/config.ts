import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { parseDuration } from './core/policy/duration.js'
import type { NatsAccess } from './platform/bus/nats-access.js'
import type { CourierAccess } from './platform/courier.js'
import type { OidcSettings } from './platform/oidc.js'

/** Everything a node is told from outside, parsed once. */
export interface Config {
  readonly host: string
  readonly port: number
  readonly dataDir: string
  /** Null: the embedded engine in the data directory. */
  readonly databaseUrl: string | null
  /** Connections to it. */
  readonly databasePool: number
  /** Null: the in-process bus. */
  readonly nats: NatsAccess | null
  /** Policy file or folder. */
  readonly policy: string
  /** The policy on disk becomes the active one whatever the active one says to that: the way out of rules that nobody can satisfy any more. */
  readonly forcePolicy: boolean
  readonly adminKey: string | null
  /** PEM file of the Ed25519 key that signs the audit log; made at the first start of the embedded engine. */
  readonly signingKey: string
  /** File outside the database that gets a signed head a minute; null: none. */
  readonly checkpoints: string | null
  /** Finished jobs are removed after so long; null: never. */
  readonly keepJobsMs: number | null
  /** Bodies of audit tiles go into files of the archive after so long; null: never. */
  readonly keepAuditMs: number | null
  /** Folder of those files, which all nodes see; null: none. By itself it is only read. */
  readonly auditArchive: string | null
  /** Where people reach this plane, without a slash at the end; null: not told, so no mail has a link. */
  readonly publicUrl: string | null
  /** Where people sign on; null: here, with passwords. */
  readonly oidc: OidcSettings | null
  /** What channels may name of the environment, and the `host:port` of this house that webhooks may reach. */
  readonly channels: Pick<CourierAccess, 'variables' | 'privateHosts'>
  /** Who may read metrics without a key: whoever is on this machine while bound to loopback, anybody, nobody. */
  readonly metrics: 'loopback' | 'open' | 'key'
  readonly logLevel: 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug'
  readonly packageRoot: string
}

export class ConfigError extends Error {
  constructor(name: string, fault: string, example: string) {
    super(`${name} ${fault}. Example: ${name}=${example}`)
    this.name = 'ConfigError'
  }
}

/** The tenant of the policy on disk and of the first keys. */
export const DEFAULT_TENANT = 'default'

/** dist/config.js and src/config.ts both stand one folder below the package. */
export const PACKAGE_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')

const LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug'] as const
const METRICS = ['loopback', 'open', 'key'] as const
const AdminKey = Compile(Type.String({ pattern: '^sp_[0-9a-z]{26}_[A-Za-z0-9_-]{43}$' }))

/** Throws ConfigError with name, fault and example for the first value that is wrong: a node never starts on a guess. */
export function loadConfig(env: Record<string, string | undefined>, over: Partial<Config> = {}): Config {
  const text = (name: string) => (env[name] === undefined || env[name] === '' ? null : (env[name] as string))
  const dataDir = resolve(over.dataDir ?? text('SALLYPORT_DATA_DIR') ?? '.sallyport')
  const policy = over.policy ?? text('SALLYPORT_POLICY') ?? join(PACKAGE_ROOT, 'examples/policies/default.yaml')
  const databaseUrl = over.databaseUrl ?? text('SALLYPORT_DATABASE_URL')
  const adminKey = text('SALLYPORT_ADMIN_KEY')
  const level = over.logLevel ?? text('SALLYPORT_LOG_LEVEL') ?? 'info'
  if (!existsSync(policy))
    throw new ConfigError('SALLYPORT_POLICY', `names ${policy}, which does not exist`, './policy.yaml')
  if (databaseUrl !== null && !/^postgres(ql)?:\/\/[^/]+\/[^/?]+/.test(databaseUrl))
    throw new ConfigError(
      'SALLYPORT_DATABASE_URL',
      'is not a Postgres URL with a host and a database',
      DATABASE_EXAMPLE,
    )
  const signingKey = text('SALLYPORT_SIGNING_KEY')
  if (databaseUrl !== null && signingKey === null)
    throw new ConfigError(
      'SALLYPORT_SIGNING_KEY',
      'is not set: on Postgres every node signs with the same key, so none may make its own. ' +
        'Make it once with `openssl genpkey -algorithm ed25519 -out signing.key` and give it to every node',
      '/run/secrets/signing.key',
    )
  const nats = over.nats ?? natsAccess(text('SALLYPORT_NATS_URL'), text('SALLYPORT_NATS_CREDS'))
  if (adminKey !== null && !AdminKey.Check(adminKey))
    throw new ConfigError(
      'SALLYPORT_ADMIN_KEY',
      'is not of the form sp_<26 characters>_<43 characters>',
      'sp_01jd0000000000000000000000_<43 base64url characters>',
    )
  if (!LEVELS.includes(level as (typeof LEVELS)[number]))
    throw new ConfigError('SALLYPORT_LOG_LEVEL', `is "${level}", not one of ${LEVELS.join(', ')}`, 'info')
  const metrics = over.metrics ?? text('SALLYPORT_METRICS') ?? 'loopback'
  if (!METRICS.includes(metrics as Config['metrics']))
    throw new ConfigError('SALLYPORT_METRICS', `is "${metrics}", not one of ${METRICS.join(', ')}`, 'open')
  return Object.freeze({
    host: over.host ?? text('SALLYPORT_HOST') ?? '127.0.0.1',
    port: over.port ?? port(text('SALLYPORT_PORT')),
    dataDir,
    databaseUrl,
    databasePool: over.databasePool ?? pool(text('SALLYPORT_DATABASE_POOL')),
    nats,
    policy: resolve(policy),
    forcePolicy: over.forcePolicy ?? yes('SALLYPORT_FORCE_POLICY', text),
    adminKey,
    signingKey: resolve(signingKey ?? join(dataDir, 'signing.key')),
    checkpoints: text('SALLYPORT_CHECKPOINTS'),
    keepJobsMs: over.keepJobsMs === undefined ? kept('SALLYPORT_KEEP_JOBS', text) : over.keepJobsMs,
    ...archive(text),
    publicUrl: publicUrl(text('SALLYPORT_PUBLIC_URL')),
    oidc: oidc(text, publicUrl(text('SALLYPORT_PUBLIC_URL'))),
    channels: channels(env, text),
    metrics: metrics as Config['metrics'],
    logLevel: level as Config['logLevel'],
    packageRoot: PACKAGE_ROOT,
  })
}

function yes(name: string, text: (name: string) => string | null): boolean {
  const value = text(name)
  if (value === null || value === 'false') return false
  if (value !== 'true') throw new ConfigError(name, `is "${value}", neither true nor false`, 'true')
  return true
}

function port(value: string | null): number {
  if (value === null) return 8080
  const number = Number(value)
  if (!/^\d+$/.test(value) || number > 65_535)
    throw new ConfigError('SALLYPORT_PORT', `is "${value}", not a port from 0 to 65535`, '8080')
  return number
}

export const DATABASE_EXAMPLE = 'postgresql://sallyport@db.internal:5432/sallyport?sslmode=verify-full'

/** One for the ledger, one for the names a node holds, at least one for reads. */
function pool(value: string | null): number {
  if (value === null) return 6
  const number = Number(value)
  if (!/^\d+$/.test(value) || number < 3 || number > 100)
    throw new ConfigError('SALLYPORT_DATABASE_POOL', `is "${value}", not a number of connections from 3 to 100`, '6')
  return number
}

const DAY_MS = 86_400_000

/**
 * As durations are written in a policy, and whole years: a policy has none, because their length depends on the calendar, but what
 * must be kept for a year may be kept a day longer. At least a day: an Idempotency-Key is answered with its job for as long.
 */
function kept(name: string, text: (name: string) => string | null): number | null {
  const value = text(name)
  if (value === null) return null
  const years = /^([1-9][0-9]?)y$/.exec(value)?.[1]
  const ms = years === undefined ? parseDuration(value) : Number(years) * 366 * DAY_MS
  if (ms === null || ms < DAY_MS) throw new ConfigError(name, `is "${value}", not a duration of a day or more`, '90d')
  return ms
}

/** The folder is never made: where it is missing, what it stands for is not mounted, and files would go where nobody looks. */
function archive(text: (name: string) => string | null): Pick<Config, 'keepAuditMs' | 'auditArchive'> {
  const folder = text('SALLYPORT_AUDIT_ARCHIVE')
  const keepAuditMs = kept('SALLYPORT_KEEP_AUDIT', text)
  const wrong = (fault: string) => new ConfigError('SALLYPORT_AUDIT_ARCHIVE', fault, '/mnt/audit-archive')
  if (folder === null) {
    if (keepAuditMs !== null)
      throw wrong('is not set, but SALLYPORT_KEEP_AUDIT is: the entries would have nowhere to go')
    return { keepAuditMs, auditArchive: null }
  }
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw wrong(`names ${folder}, which is no folder`)
  return { keepAuditMs, auditArchive: resolve(folder) }
}

/** Links in mails are made of it, so it is never taken from a request: whoever sets a Host header would choose where they lead. */
function publicUrl(value: string | null): string | null {
  if (value === null) return null
  const url = URL.canParse(value) ? new URL(value) : null
  const isPlain = url !== null && url.search === '' && url.hash === '' && url.username === '' && url.password === ''
  if (!isPlain || !isTrusted(value))
    throw new ConfigError(
      'SALLYPORT_PUBLIC_URL',
      'is no plain https URL; http is for this machine only',
      'https://sallyport.example.com',
    )
  return url.href.replace(/\/+$/, '')
}

/**
 * What people type at the provider comes back to the public address, so that has to be the one they use: https, unless all of it is on
 * this machine. Under a path of its host the pages would send people to paths that are not there.
 */
function oidc(text: (name: string) => string | null, publicUrl: string | null): OidcSettings | null {
  const issuer = text('SALLYPORT_OIDC_ISSUER')
  const clientId = text('SALLYPORT_OIDC_CLIENT_ID')
  if (issuer === null) {
    if (clientId !== null)
      throw new ConfigError('SALLYPORT_OIDC_ISSUER', 'is not set, but SALLYPORT_OIDC_CLIENT_ID is', ISSUER_EXAMPLE)
    return null
  }
  if (!isTrusted(issuer))
    throw new ConfigError('SALLYPORT_OIDC_ISSUER', 'is no https URL; http is for this machine only', ISSUER_EXAMPLE)
  if (clientId === null)
    throw new ConfigError('SALLYPORT_OIDC_CLIENT_ID', 'is not set, but SALLYPORT_OIDC_ISSUER is', 'sallyport')
  if (publicUrl === null || !isTrusted(publicUrl) || new URL(publicUrl).pathname !== '/')
    throw new ConfigError(
      'SALLYPORT_PUBLIC_URL',
      'is where the provider sends people back to: with SALLYPORT_OIDC_ISSUER it must be an https URL without a path',
      'https://sallyport.example.com',
    )
  const scopes = text('SALLYPORT_OIDC_SCOPES') ?? 'openid profile email'
  if (!scopes.split(' ').includes('openid'))
    throw new ConfigError('SALLYPORT_OIDC_SCOPES', 'does not ask for openid', 'openid profile email groups')
  const groupsClaim = text('SALLYPORT_OIDC_GROUPS_CLAIM') ?? 'groups'
  const isPlain = new URL(issuer).protocol === 'http:'
  return { issuer, clientId, clientSecret: clientSecret(text), scopes, groupsClaim, isPlain }
}

const ISSUER_EXAMPLE = 'https://login.example.com'

function isTrusted(address: string): boolean {
  const url = URL.canParse(address) ? new URL(address) : null
  return url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.test(url.hostname))
}

const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3}|\[::1\])$/

function clientSecret(text: (name: string) => string | null): string {
  const [file, secret] = [text('SALLYPORT_OIDC_CLIENT_SECRET_FILE'), text('SALLYPORT_OIDC_CLIENT_SECRET')]
  const wrong = (fault: string) => new ConfigError('SALLYPORT_OIDC_CLIENT_SECRET_FILE', fault, '/run/secrets/oidc')
  if (file === null) {
    if (secret === null) throw wrong('is not set, nor is SALLYPORT_OIDC_CLIENT_SECRET')
    return secret
  }
  if (secret !== null) throw wrong('is set, and SALLYPORT_OIDC_CLIENT_SECRET is too')
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw wrong(`names ${file}, which cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

const isChannels = (name: string) =>
  name.startsWith('SALLYPORT_CHANNEL_') || ['SALLYPORT_SMTP_URL', 'SALLYPORT_SMTP_URL_FILE'].includes(name)

function channels(
  env: Record<string, string | undefined>,
  text: (name: string) => string | null,
): Pick<CourierAccess, 'variables' | 'privateHosts'> {
  const variables: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) if (value !== undefined && isChannels(name)) variables[name] = value
  const hosts = (text('SALLYPORT_WEBHOOK_PRIVATE_HOSTS') ?? '').split(',').map((part) => part.trim().toLowerCase())
  const privateHosts = hosts.filter((host) => host !== '')
  for (const host of privateHosts)
    if (!/^[a-z0-9.:_-]+:[0-9]{1,5}$/.test(host))
      throw new ConfigError(
        'SALLYPORT_WEBHOOK_PRIVATE_HOSTS',
        `has "${host}", which is no host:port`,
        'siem.internal:8443',
      )
  return { variables, privateHosts }
}

const NATS_EXAMPLE = 'nats://user:password@nats.internal:4222'
const HOST = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$/

/** One server, or several of a cluster with a comma between. The faults never repeat the value: it holds a password. */
function natsAccess(text: string | null, credsFile: string | null): NatsAccess | null {
  const wrong = (fault: string) => new ConfigError('SALLYPORT_NATS_URL', fault, NATS_EXAMPLE)
  if (text === null) {
    if (credsFile !== null) throw wrong('is not set, but SALLYPORT_NATS_CREDS is')
    return null
  }
  const urls = text.split(',').map((part) => natsServer(part.trim(), wrong))
  const first = urls[0] as URL
  if (urls.some((url) => url.protocol !== first.protocol)) throw wrong('mixes nats:// and tls://')
  const named = urls.filter((url) => url.username !== '' || url.password !== '')
  if (named.some((url) => url.username !== named[0]?.username || url.password !== named[0]?.password))
    throw wrong('names different users for the servers of one cluster')
  if (named.length > 0 && credsFile !== null) throw wrong('names a user or token, and SALLYPORT_NATS_CREDS is set too')
  const [user, pass] = [named[0]?.username ?? '', named[0]?.password ?? ''].map((part) => percentDecoded(part, wrong))
  return {
    servers: urls.map((url) => ({ host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 4222) })),
    tls: first.protocol === 'tls:',
    // A name without a password is a token, as in every NATS client.
    user: pass === '' ? null : (user as string),
    pass: pass === '' ? null : (pass as string),
    token: user !== '' && pass === '' ? (user as string) : null,
    creds: credsFile === null ? null : credentials(credsFile),
  }
}

function natsServer(text: string, wrong: (fault: string) => ConfigError): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['nats:', 'tls:'].includes(url.protocol) || !HOST.test(url.hostname))
    throw wrong('is not of the form nats://host:port or tls://host:port')
  if (!['', '/'].includes(url.pathname) || url.search !== '' || url.hash !== '')
    throw wrong('has something after the port; a password with / or ? in it is percent-encoded')
  return url
}

function percentDecoded(text: string, wrong: (fault: string) => ConfigError): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw wrong('has a % in its user or password that encodes nothing; a percent sign is written %25')
  }
}

function credentials(file: string): string {
  const wrong = (fault: string) =>
    new ConfigError('SALLYPORT_NATS_CREDS', `names ${file}: ${fault}`, './sallyport.creds')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw wrong(`it cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  if (!text.includes('BEGIN NATS USER JWT') || !text.includes('BEGIN USER NKEY SEED'))
    throw wrong('it holds no NATS user JWT and seed')
  return text
}
