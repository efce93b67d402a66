import type { IncomingMessage } from 'node:http'
import type { TSchema } from 'typebox'
import type { Caller, Permission } from '../core/access.js'
import type { ErrorCode } from '../errors.js'

/** One route of the API: what the server serves, OpenAPI describes and the permissions table lists are all this object. */
export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** OpenAPI form, e.g. /jobs/{job_id}; prefixed with /api/v1 unless `root`. */
  path: string
  root?: boolean
  /** Any one of these; null = public. */
  permission: readonly Permission[] | null
  /** Whether this request needs no key all the same; its caller is then nobody, and has the empty tenant. */
  keyless?(headers: IncomingMessage['headers']): boolean
  /** Asked as soon as the caller is known, before the body is read. Throws Problem. */
  admit?(caller: Caller): void
  /** Puts it on record that who asks lacks the permission, before they hear of it. */
  refused?(caller: Caller): Promise<void>
  tag: string
  summary: string
  description?: string
  query?: TSchema
  body?: TSchema
  /**
   * Also takes a form of a page of ours; then the route itself sees to it that the page was ours. `signed`: takes one of a service that
   * signs its bytes; then the body is the text as it came, and the route looks at the signature first.
   */
  form?: boolean | 'signed'
  /** Accepts an absent body as {}. */
  optionalBody?: boolean
  headers?: { name: string; description: string }[]
  success: { status: number; schema?: TSchema; description: string; contentType?: string }
  /** Another answer that is no problem. */
  other?: { status: number; schema: TSchema; description: string }
  errors: readonly ErrorCode[]
  handler(call: Call): Promise<Reply>
}

export interface Call {
  caller: Caller
  params: Record<string, string>
  /** Validated against the route's schemas. */
  query: Record<string, unknown>
  body: unknown
  headers: IncomingMessage['headers']
  /** Of the connection; what a header says of it is not looked at. */
  address: string
  /** Aborts when the caller hangs up. */
  signal: AbortSignal
}

export interface Reply {
  status?: number
  body?: unknown
  headers?: Record<string, string | string[]>
  /** Streamed as it comes, for exports and events. */
  stream?: AsyncIterable<string>
}
