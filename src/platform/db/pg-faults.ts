import pg from 'pg'
import { DbError } from '../../errors.js'
import type { PostgresAccess } from './pg-url.js'
import { asDbError } from './values.js'

/** Never reached the engine. `lasting`: waiting will not mend it, somebody has to. */
export class ConnectError extends DbError {
  readonly lasting: boolean
  constructor(message: string, lasting: boolean) {
    super(message, '08001')
    this.name = 'ConnectError'
    this.lasting = lasting
  }
}

/** What codes of the operating system, of TLS and of Postgres mean to who has to mend it. The last ones are lasting. */
const PASSING: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'it cut the connection',
  EPIPE: 'it cut the connection',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'its host name is not known',
  EAI_AGAIN: 'its host name could not be looked up',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to it',
  ETIMEDOUT: 'it did not answer in time',
  '53300': 'it has no connection left for us (its max_connections)',
  '57P03': 'it is starting up, shutting down or recovering',
  '25006': 'it is a replica, or read only',
}
const LASTING: Record<string, string> = {
  '28P01': 'it refused the user or password',
  '28000': 'it does not let this user in from here or in this way: see its pg_hba.conf, which may ask for TLS',
  '3D000': 'it has no database of this name',
  '42501': 'the user may not connect to this database',
  NO_TLS: 'it does not speak TLS; sslmode=disable would be plain text',
  NO_PASSWORD: 'it asks for a password and the URL has none',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not from a known CA; sslrootcert=FILE names your own',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not from a known CA; sslrootcert=FILE names your own',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is not from a known CA; sslrootcert=FILE names your own',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not from a known CA; sslrootcert=FILE names your own',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not from a known CA; sslrootcert=FILE names your own',
  CERT_SIGNATURE_FAILURE: 'its certificate is not from a known CA; sslrootcert=FILE names your own',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  OLD: 'it is older than Postgres 15',
  NOT_UTF8: 'its database is not encoded in UTF8',
}

/** Why there is no connection. Made of the code alone: what a driver or server says may quote what it was told. */
export function cannotConnect(access: PostgresAccess, cause: unknown): ConnectError {
  if (cause instanceof ConnectError) return cause
  const code = codeOf(cause)
  const why = PASSING[code] ?? LASTING[code] ?? 'it could not be spoken with'
  const at = access.host.startsWith('/') ? access.host : `${access.host}:${access.port}`
  return new ConnectError(`The database at ${at} cannot be used: ${why} (${code})`, Object.hasOwn(LASTING, code))
}

function codeOf(cause: unknown): string {
  const { code, message = '' } = cause as { code?: unknown; message?: string }
  if (typeof code === 'string') return code
  // The driver gives these no code.
  if (message.includes('does not support SSL')) return 'NO_TLS'
  if (message.includes('client password must be')) return 'NO_PASSWORD'
  return 'ECONNRESET'
}

/** States in which the session was ended from outside: the answer is lost, not negative. */
const ENDED = new Set(['57P01', '57P02', '57P05', '25P03'])

/** Without a SQLSTATE the fault is the connection's: whether the statement was carried out is then unknown. */
export function asLost(cause: unknown): DbError {
  if (cause instanceof DbError) return cause
  const state = cause instanceof pg.DatabaseError ? cause.code : undefined
  if (state !== undefined && !ENDED.has(state)) return asDbError(cause)
  return new DbError(`The connection to the database was lost before it answered (${state ?? codeOf(cause)})`, '08006')
}
