import { ERRORS, isAbsent, Problem } from '../errors.js'

/** RFC 9457 body: the public part only; a cause stays in the log. */
export function problemBody(problem: Problem, request_id?: string): Record<string, unknown> {
  const { status, title, help, retryable } = ERRORS[problem.code]
  const { retry_after_ms, ...extra } = problem.extra
  return {
    type: `/docs#error-${problem.code}`,
    title,
    status,
    detail: problem.message,
    code: problem.code,
    help,
    retryable,
    ...(retry_after_ms === undefined ? {} : { retry_after_ms }),
    ...extra,
    ...(request_id === undefined ? {} : { request_id }),
  }
}

/** Seconds for `Retry-After`, where waiting helps. */
export function retryAfter(problem: Problem): number | null {
  const ms = problem.extra.retry_after_ms
  if (typeof ms === 'number') return Math.max(1, Math.ceil(ms / 1000))
  return problem.status === 503 || problem.status === 429 ? 1 : null
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  const { code, statusCode } = error as { code?: string; statusCode?: number }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE' || statusCode === 413) return new Problem('too_large')
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new Problem('unsupported_media_type')
  if (code === 'FST_ERR_BAD_URL') return new Problem('malformed', 'The path is not valid percent-encoded UTF-8')
  if (code === 'FST_ERR_MAX_PARAM_LENGTH') return new Problem('not_found')
  // The framework blames the request: a body shorter than it said, a caller that hung up in the middle of it.
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new Problem('malformed', 'The request did not arrive whole')
  if (isAbsent(error)) return new Problem('store_unavailable', undefined, {}, error)
  return new Problem('internal', undefined, {}, error)
}
