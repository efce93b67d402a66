import type { Problem } from '../contract/problems.js'

/**
 * What went wrong with a call, in one shape for every cause.
 *
 * `code` is what to branch on: a code of the server's error catalogue (`policy_denied`, `rate_limited`, `not_found` …) or one of
 * the SDK's own: `unreachable` (no whole answer; it is not known whether the server acted), `unexpected_answer` (something that
 * is not Sallyport answered, a proxy for instance), `wait_timeout` and `job_<status>` (see `jobs.run`), `stopped`.
 *
 * It carries no key, no header and no query; an unreachable server is named by its origin only.
 */
export class SallyportError extends Error {
  /** Stable word to branch on. */
  readonly code: string
  /** HTTP status of the answer; 0 where there was none. */
  readonly status: number
  /** The server's problem body (RFC 9457): `detail`, `help`, `faults`, and for a denial `reason`, `rules`, `decision_id`. */
  readonly problem: Problem | null
  /** Under which the server's log has the cause. */
  readonly request_id: string | null
  /** Milliseconds the server asked to wait (`Retry-After`), or null. */
  readonly retry_after_ms: number | null

  constructor(
    code: string,
    message: string,
    about: {
      status?: number
      problem?: Problem | null
      request_id?: string | null
      retry_after_ms?: number | null
      cause?: unknown
    } = {},
  ) {
    super(message, about.cause === undefined ? undefined : { cause: about.cause })
    this.name = 'SallyportError'
    this.code = code
    this.status = about.status ?? 0
    this.problem = about.problem ?? null
    this.request_id = about.request_id ?? about.problem?.request_id ?? null
    this.retry_after_ms = about.retry_after_ms ?? null
  }
}

/**
 * Throw it from a handler when another attempt may succeed: the job is retried while attempts are left.
 * Any other unknown error counts as transient too; only say so to give it a `code`.
 *
 * @param code `[A-Za-z0-9_.-]`, at most 100; anything else in it becomes `_`
 * @param message read by people after screening; cut to 8 KiB
 */
export class TransientError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'TransientError'
    this.code = errorCode(code)
  }
}

/** Throw it from a handler when no further attempt can succeed: the job goes to the dead letters at once. Arguments as `TransientError`. */
export class TerminalError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'TerminalError'
    this.code = errorCode(code)
  }
}

/** A code the contract accepts: one bad character would have the server refuse the whole report. */
export function errorCode(code: string): string {
  return code.slice(0, 100).replace(/[^A-Za-z0-9_.-]/g, '_') || 'error'
}
