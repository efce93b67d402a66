import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'

/** Everything a node is told from outside, parsed once. */
export interface Config {
  readonly host: string
  readonly port: number
  readonly dataDir: string
  /** Null: the embedded engine in the data directory. */
  readonly databaseUrl: string | null
  readonly natsUrl: string | null
  /** Policy file or folder. */
  readonly policy: string
  readonly adminKey: string | null
  /** PEM file of the Ed25519 key that signs the audit log; made at the first start of the embedded engine. */
  readonly signingKey: string
  /** File outside the database that gets a signed head a minute; null: none. */
  readonly checkpoints: string | null
  readonly logLevel: 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug'
  readonly packageRoot: string
}

export class ConfigError extends Error {
  constructor(name: string, fault: string, example: string) {
    super(`${name} ${fault}. Example: ${name}=${example}`)
    this.name = 'ConfigError'
  }
}

/** dist/config.js and src/config.ts both stand one folder below the package. */
export const PACKAGE_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')

const LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug'] as const
const AdminKey = Compile(Type.String({ pattern: '^sp_[0-9a-z]{26}_[A-Za-z0-9_-]{43}$' }))

/** Throws ConfigError with name, fault and example for the first value that is wrong: a node never starts on a guess. */
export function loadConfig(env: Record<string, string | undefined>, over: Partial<Config> = {}): Config {
  const text = (name: string) => (env[name] === undefined || env[name] === '' ? null : (env[name] as string))
  const dataDir = resolve(over.dataDir ?? text('SALLYPORT_DATA_DIR') ?? '.sallyport')
  const policy = over.policy ?? text('SALLYPORT_POLICY') ?? join(PACKAGE_ROOT, 'examples/policies/default.yaml')
  const databaseUrl = over.databaseUrl ?? text('SALLYPORT_DATABASE_URL')
  const natsUrl = over.natsUrl ?? text('SALLYPORT_NATS_URL')
  const adminKey = text('SALLYPORT_ADMIN_KEY')
  const level = over.logLevel ?? text('SALLYPORT_LOG_LEVEL') ?? 'info'
  if (!existsSync(policy))
    throw new ConfigError('SALLYPORT_POLICY', `names ${policy}, which does not exist`, './policy.yaml')
  if (databaseUrl !== null)
    throw new ConfigError(
      'SALLYPORT_DATABASE_URL',
      'is set, but this version has the embedded engine only; unset it',
      '(unset)',
    )
  if (natsUrl !== null)
    throw new ConfigError(
      'SALLYPORT_NATS_URL',
      'is set, but this version has the in-process bus only; unset it',
      '(unset)',
    )
  if (adminKey !== null && !AdminKey.Check(adminKey))
    throw new ConfigError(
      'SALLYPORT_ADMIN_KEY',
      'is not of the form sp_<26 characters>_<43 characters>',
      'sp_01jd0000000000000000000000_<43 base64url characters>',
    )
  if (!LEVELS.includes(level as (typeof LEVELS)[number]))
    throw new ConfigError('SALLYPORT_LOG_LEVEL', `is "${level}", not one of ${LEVELS.join(', ')}`, 'info')
  return Object.freeze({
    host: over.host ?? text('SALLYPORT_HOST') ?? '127.0.0.1',
    port: over.port ?? port(text('SALLYPORT_PORT')),
    dataDir,
    databaseUrl,
    natsUrl,
    policy: resolve(policy),
    adminKey,
    signingKey: resolve(text('SALLYPORT_SIGNING_KEY') ?? join(dataDir, 'signing.key')),
    checkpoints: text('SALLYPORT_CHECKPOINTS'),
    logLevel: level as Config['logLevel'],
    packageRoot: PACKAGE_ROOT,
  })
}

function port(value: string | null): number {
  if (value === null) return 8080
  const number = Number(value)
  if (!/^\d+$/.test(value) || number > 65_535)
    throw new ConfigError('SALLYPORT_PORT', `is "${value}", not a port from 0 to 65535`, '8080')
  return number
}
