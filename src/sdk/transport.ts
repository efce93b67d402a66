import { setMaxListeners } from 'node:events'
import type { Problem } from '../contract/problems.js'
import { backoffMs, pause } from './backoff.js'
import { SallyportError } from './errors.js'

/** Where the server is and who is calling. */
export interface ConnectionOptions {
  /** Base address, e.g. `http://127.0.0.1:8080`; a path prefix is kept. No user or password in it. */
  url: string
  /** Sent as `X-API-Key` on every request; it is in no error, no address and no log of the SDK. */
  apiKey: string
  /** Sent as `X-Tenant-ID`; left out, the tenant of the key. */
  tenant?: string
  /** Instead of the global `fetch`: a proxy, a test, own certificates. */
  fetch?: typeof fetch
  /** How often a request is repeated after 429, 502, 503, 504 or a lost connection; 5 by default, 0 for never. */
  retries?: number
  /** Milliseconds for one whole answer; 30,000 by default. */
  timeoutMs?: number
}

export type Query = Record<string, string | number | boolean | null | undefined>

export interface RequestOptions {
  /** Sent as JSON. */
  body?: unknown
  /** Sent as it is, already JSON; for callers that measure what they send. */
  rawBody?: string
  query?: Query
  headers?: Record<string, string>
  /** Ends the request, and the waits between repeats, with the signal's reason. */
  signal?: AbortSignal
  timeoutMs?: number
  /**
   * Whether doing it twice is the same as doing it once, so that it may be repeated when it is not known what became of it.
   * By default GET and HEAD, and everything with an `Idempotency-Key`.
   */
  repeatable?: boolean
  /** Instead of the connection's `retries`, for this request. */
  retries?: number
}

export interface Transport {
  /** The parsed JSON body (text where the answer is no JSON, null where it is empty). Throws `SallyportError`. */
  request<T>(method: string, path: string, options?: RequestOptions): Promise<T>
  /** The answer with its body unread, for long exports; not repeated once the status is known to be good. */
  open(method: string, path: string, options?: RequestOptions): Promise<Response>
}

/** Beyond this a `Retry-After` is the caller's to decide about: the call throws, `retry_after_ms` says how long. */
const LONGEST_WAIT_MS = 60_000
/** Answers by which Sallyport says that nothing of the request was done, so even a request that must not be doubled may be repeated. */
const NOTHING_DONE = new Set(['rate_limited', 'overloaded', 'draining', 'no_policy'])
const PASSING_STATUS = new Set([429, 502, 503, 504])

/** Requests to one server: addresses, key, deadline, repeats. Everything else of the SDK goes through it. */
export function createTransport(options: ConnectionOptions): Transport {
  const base = parseBase(options.url)
  const standing = standingHeaders(options)
  const call = options.fetch ?? fetch

  async function attempt<T>(
    method: string,
    url: URL,
    given: RequestOptions,
    read: (answer: Response) => Promise<T>,
  ): Promise<T> {
    const headers = new Headers({ ...standing, ...given.headers })
    const body = given.rawBody ?? (given.body === undefined ? undefined : JSON.stringify(given.body))
    if (body !== undefined) headers.set('content-type', 'application/json')
    const limit = deadline(given.timeoutMs ?? options.timeoutMs ?? 30_000, given.signal)
    try {
      // Never followed: the server redirects nothing, and fetch would carry X-API-Key to whatever host is named.
      const answer = await call(url, {
        method,
        headers,
        signal: limit.signal,
        redirect: 'manual',
        ...(body === undefined ? {} : { body }),
      })
      if (answer.ok) return await read(answer)
      throw await refusal(answer)
    } catch (error) {
      if (given.signal?.aborted) throw given.signal.reason
      if (error instanceof SallyportError) throw error
      throw new SallyportError('unreachable', `${url.origin} gave no answer: ${whyUnreachable(error)}`, {
        cause: error,
      })
    } finally {
      limit.clear()
    }
  }

  async function repeated<T>(
    method: string,
    path: string,
    given: RequestOptions,
    read: (answer: Response) => Promise<T>,
  ): Promise<T> {
    const url = addressOf(base, path, given.query)
    const retries = given.retries ?? options.retries ?? 5
    const repeatable =
      given.repeatable ?? (method === 'GET' || method === 'HEAD' || given.headers?.['Idempotency-Key'] !== undefined)
    for (let round = 0; ; round++) {
      try {
        return await attempt(method, url, given, read)
      } catch (error) {
        if (!(error instanceof SallyportError) || round >= retries || !mayRepeat(error, repeatable)) throw error
        const asked = error.retry_after_ms ?? 0
        if (asked > LONGEST_WAIT_MS) throw error
        await pause(asked + backoffMs(round, { baseMs: 100, capMs: 5_000 }), given.signal)
      }
    }
  }

  return {
    request: (method, path, given = {}) => repeated(method, path, given, readBody) as Promise<never>,
    open: (method, path, given = {}) => repeated(method, path, given, async (answer) => answer),
  }
}

/**
 * One path segment, encoded. Empty, `.` and `..` are refused: an address parser would swallow them, and
 * `GET /jobs/../keys` is another request than the one that was meant.
 */
export function segment(id: string): string {
  if (id === '' || id === '.' || id === '..') throw new TypeError(`not an id: ${JSON.stringify(id)}`)
  return encodeURIComponent(id)
}

/** Whether the same call may succeed later: the server says so, or did not answer. */
export function isPassing(error: unknown): boolean {
  return (
    error instanceof SallyportError &&
    (error.code === 'unreachable' || PASSING_STATUS.has(error.status) || error.status >= 500)
  )
}

function mayRepeat(error: SallyportError, repeatable: boolean): boolean {
  if (error.code === 'unreachable') return repeatable
  return PASSING_STATUS.has(error.status) && (repeatable || NOTHING_DONE.has(error.code))
}

function parseBase(text: string): URL {
  if (!URL.canParse(text)) throw new TypeError('url: not an address, e.g. http://127.0.0.1:8080')
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new TypeError('url: only http and https')
  if (url.username !== '' || url.password !== '') throw new TypeError('url: no user or password in it; give apiKey')
  return url
}

function addressOf(base: URL, path: string, query: Query = {}): URL {
  const url = new URL(base.origin + base.pathname.replace(/\/+$/, '') + path)
  if (!path.startsWith('/') || url.origin !== base.origin) throw new TypeError('path: starts with one slash')
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== null) url.searchParams.append(name, String(value))
  return url
}

function standingHeaders({ apiKey, tenant }: ConnectionOptions): Record<string, string> {
  // Checked here because Headers would quote a bad value, and so the key, in its own error.
  if (typeof apiKey !== 'string' || !/^[!-~]{1,8192}$/.test(apiKey))
    throw new TypeError('apiKey: missing, or not one line of printable ASCII')
  return {
    'x-api-key': apiKey,
    accept: 'application/json, application/jsonl, text/plain;q=0.5',
    ...(tenant === undefined ? {} : { 'x-tenant-id': tenant }),
  }
}

/** The caller's signal and a limit in one; `AbortSignal.any` would keep a listener on a long-lived signal for every request. */
function deadline(ms: number, signal?: AbortSignal): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController()
  const onAbort = () => controller.abort(signal?.reason)
  const timer = setTimeout(() => controller.abort(new Error(`nothing within ${ms} ms`)), ms)
  // One signal for a thousand calls at once is ordinary use, not the leak that Node warns of from the eleventh on.
  if (signal) setMaxListeners(0, signal)
  signal?.addEventListener('abort', onAbort)
  if (signal?.aborted) onAbort()
  return {
    signal: controller.signal,
    clear() {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    },
  }
}

async function readBody(answer: Response): Promise<unknown> {
  const text = await answer.text()
  if (text === '') return null
  if (!isJson(answer)) return text
  try {
    return JSON.parse(text)
  } catch {
    throw new SallyportError('unexpected_answer', `HTTP ${answer.status} with a body that is no JSON`, {
      status: answer.status,
    })
  }
}

async function refusal(answer: Response): Promise<SallyportError> {
  const body = await readBody(answer).catch(() => null)
  const problem = isProblem(body) ? body : null
  const about = {
    status: answer.status,
    problem,
    request_id: problem?.request_id ?? answer.headers.get('x-request-id'),
    retry_after_ms: retryAfterMs(answer.headers.get('retry-after'), Date.now()),
  }
  if (problem === null) {
    // /readyz gives its reason as a line of text; a proxy's page is no reason.
    const isLine = typeof body === 'string' && body.length <= 200 && !body.includes('<')
    const why = isLine && body.trim() !== '' ? `: ${body.trim()}` : ' without a reason'
    return new SallyportError('unexpected_answer', `HTTP ${answer.status}${why}`, about)
  }
  const faults = (problem.faults ?? []).map((fault) => `${fault.path}: ${fault.message}`)
  const message = [problem.detail ?? problem.title, ...faults].join('; ')
  return new SallyportError(problem.code, message, about)
}

function isJson(answer: Response): boolean {
  return /^application\/([a-z.-]+\+)?json\b/i.test(answer.headers.get('content-type') ?? '')
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && typeof body.code === 'string'
}

/** `Retry-After` in ms: seconds or an HTTP date; null where absent or unreadable. */
export function retryAfterMs(value: string | null, now: number): number | null {
  if (value === null) return null
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const at = Date.parse(value)
  return Number.isNaN(at) ? null : Math.max(0, at - now)
}

/** The system's word for it (`ECONNREFUSED`); fetch itself says no more than "fetch failed". */
function whyUnreachable(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code
  return cause instanceof Error ? cause.message : 'no reason given'
}
