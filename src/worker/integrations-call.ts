import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { TerminalError, TransientError } from '../sdk/errors.js'
import { checkTarget, codeOf, type EgressOptions, openConnection, type Target } from './egress.js'
import { type Handler, type HandlerContext, readInput, toText } from './handler.js'

export interface IntegrationsCallOptions extends EgressOptions {
  /** Of a response body; the rest is not read. */
  readonly maxBytes?: number
  /** Per request, where neither the job nor its constraints say less. */
  readonly timeoutMs?: number
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

export const IntegrationsCallInput = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: 8192 }),
    method: Type.Optional(Type.Union(METHODS.map((method) => Type.Literal(method)))),
    headers: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
        Type.String({ maxLength: 8192, pattern: '^[\\t -~]*$' }),
        // Without it a name outside the pattern is simply not looked at.
        { maxProperties: 64, additionalProperties: false },
      ),
    ),
    body: Type.Optional(Type.Unknown({ description: 'A string is sent as it is, any other value as JSON' })),
    timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 600_000 })),
  },
  { additionalProperties: false },
)
export type IntegrationsCallInput = Static<typeof IntegrationsCallInput>

/** One answer, as recorded with its effect. */
export const Answer = Type.Object({
  status: Type.Integer(),
  headers: Type.Record(Type.String(), Type.String()),
  body: Type.String(),
  encoding: Type.Union([Type.Literal('utf8'), Type.Literal('base64')]),
  /** The body was longer than the limit; `body` is its start. */
  truncated: Type.Boolean(),
})
export type Answer = Static<typeof Answer>

export interface IntegrationsCallResult extends Answer {
  /** Where the answer came from, after redirects. */
  url: string
  redirects: number
}

interface Outgoing {
  readonly method: (typeof METHODS)[number]
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
}

const DEFAULT_BYTES = 512 * 1024
const DEFAULT_TIMEOUT_MS = 30_000
const MAX_REDIRECTS = 5

/** Connection-bound (RFC 9110 §7.6.1), or set by this worker alone. */
const OWN_HEADERS = new Set(
  (
    'connection proxy-connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade ' +
    'host content-length expect accept-encoding idempotency-key'
  ).split(' '),
)
const CREDENTIAL_HEADERS = /auth|cookie|api-?key|token|secret/

/**
 * `job.integrations.call`: one HTTP call to an allowed host. GET and HEAD are sent plainly; every unsafe request is one
 * effect (`call`, then `call.2` …) with its Idempotency-Key, begun only when the connection stands: what fails before
 * that has surely not happened and is transient. After it, no answer or a 5xx leaves the effect begun, and the job
 * becomes ambiguous. A 4xx is a recorded refusal; where a later attempt finds one it asks again under the next key.
 * Redirects are followed by hand, each checked like the first.
 * @throws TerminalError `invalid_input` | `url_refused` | `no_allow_list` | `host_not_allowed` | `address_refused` | `tls_refused` | `redirect_refused` | `too_many_redirects` | `http_<4xx>` | `effect_result_withheld`;
 *   TransientError `dns_failed` | `connect_failed` | `timeout` | `request_failed` | `http_408|425|429|5xx` | `outcome_unknown`
 */
export function integrationsCall(options: IntegrationsCallOptions): Handler<IntegrationsCallResult> {
  return async (job, ctx) => {
    const input = readInput<IntegrationsCallInput>(IntegrationsCallInput, job.input)
    const lists = allowLists(options, ctx)
    const call: Call = {
      options,
      ctx,
      limitMs: input.timeout_ms ?? options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      unsafeSent: 0,
    }
    let outgoing = outgoingOf(input)
    let target = checkTarget(input.url, undefined, lists)
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const answer = await exchange(call, target, outgoing)
      const location = isRedirect(answer.status) ? answer.headers.location : undefined
      if (location === undefined) return { ...requireSuccess(answer), url: target.url.href, redirects }
      const next = checkTarget(location, target.url, lists)
      outgoing = redirected(outgoing, answer.status, target, next)
      target = next
    }
    throw new TerminalError('too_many_redirects', `more than ${MAX_REDIRECTS} redirects`)
  }
}

interface Call {
  readonly options: IntegrationsCallOptions
  readonly ctx: HandlerContext
  readonly limitMs: number
  /** Unsafe requests so far, over redirects and earlier refusals: the number in the effect key. */
  unsafeSent: number
}

/** Both lists bind: the policy's for this job and the operator's for this worker. A malformed one allows nothing. */
function allowLists(options: IntegrationsCallOptions, ctx: HandlerContext): string[][] {
  return [ctx.constraints.allowed_hosts, options.allowedHosts]
    .filter((list) => list !== undefined)
    .map((list) => (Array.isArray(list) ? list.filter((entry) => typeof entry === 'string') : []))
}

function outgoingOf(input: IntegrationsCallInput): Outgoing {
  const method = input.method ?? 'GET'
  if (input.body !== undefined && isSafe(method))
    throw new TerminalError('invalid_input', `/body is not sent with ${method}`)
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(input.headers ?? {}))
    if (!OWN_HEADERS.has(name.toLowerCase())) headers[name.toLowerCase()] = value
  if (input.body === undefined || typeof input.body === 'string') return { method, headers, body: input.body }
  return { method, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(input.body) }
}

function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}

async function exchange(call: Call, target: Target, outgoing: Outgoing): Promise<Answer> {
  const signal = AbortSignal.any([
    call.ctx.signal,
    AbortSignal.timeout(Math.max(1, Math.min(call.limitMs, call.ctx.remainingMs()))),
  ])
  const maxBytes = call.options.maxBytes ?? DEFAULT_BYTES
  if (!isSafe(outgoing.method)) return exchangeOnce(call, target, outgoing, signal, maxBytes)
  const socket = await openConnection(target, call.options, signal)
  return send(socket, target, outgoing, signal, maxBytes).catch((error: unknown) => {
    throw new TransientError(
      signal.aborted ? 'timeout' : 'request_failed',
      `no answer from ${target.host} (${codeOf(error)})`,
    )
  })
}

/**
 * An unsafe request, sent at most once per effect key. Where an earlier attempt recorded the answer nothing is connected;
 * was that answer a refusal, the next key asks anew.
 */
async function exchangeOnce(
  call: Call,
  target: Target,
  outgoing: Outgoing,
  signal: AbortSignal,
  maxBytes: number,
): Promise<Answer> {
  for (;;) {
    call.unsafeSent++
    const key = call.unsafeSent === 1 ? 'call' : `call.${call.unsafeSent}`
    const isRecorded = call.ctx.effects.some((effect) => effect.key === key)
    const socket = isRecorded ? null : await openConnection(target, call.options, signal)
    let sentNow = false
    try {
      const recorded = await call.ctx.effect(key, async (effect) => {
        sentNow = true
        if (socket === null) throw new TransientError('outcome_unknown', 'a recorded effect was begun again')
        const keyed = { ...outgoing, headers: { ...outgoing.headers, 'idempotency-key': effect.idempotencyKey } }
        return decided(target, send(socket, target, keyed, AbortSignal.any([signal, effect.signal]), maxBytes))
      })
      const answer = answerOf(recorded)
      if (sentNow || !isRefusal(answer.status)) return answer
    } finally {
      socket?.destroy()
    }
  }
}

/**
 * The answer, where it settles what happened. It throws otherwise, which leaves the effect begun: a gateway says 502 and
 * 504 for work that went through, and a 500 may come after the write.
 */
async function decided(target: Target, sent: Promise<Answer>): Promise<Answer> {
  const answer = await sent.catch((error: unknown) => {
    throw new TransientError('outcome_unknown', `${target.host} was asked and gave no answer (${codeOf(error)})`)
  })
  if (answer.status < 500) return answer
  throw new TransientError('outcome_unknown', `${target.host} answered ${answer.status}; it may have acted`)
}

function answerOf(recorded: unknown): Answer {
  if (Value.Check(Answer, recorded)) return recorded
  throw new TerminalError(
    'effect_result_withheld',
    'an earlier attempt made the call; its recorded answer is held back',
  )
}

function isRefusal(status: number): boolean {
  return status >= 400 && status < 500
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308
}

/** The request for the next hop: methods as fetch has them, credentials only within one origin, never back to plain HTTP. */
function redirected(outgoing: Outgoing, status: number, from: Target, to: Target): Outgoing {
  if (from.url.protocol === 'https:' && to.url.protocol === 'http:')
    throw new TerminalError('redirect_refused', 'a redirect from https to http is not followed')
  const headers = { ...outgoing.headers }
  if (from.url.origin !== to.url.origin)
    for (const name of Object.keys(headers)) if (CREDENTIAL_HEADERS.test(name)) delete headers[name]
  const becomesGet = !isSafe(outgoing.method) && (status === 303 || (status <= 302 && outgoing.method === 'POST'))
  if (!becomesGet) return { ...outgoing, headers }
  for (const name of Object.keys(headers)) if (name.startsWith('content-')) delete headers[name]
  return { method: 'GET', headers, body: undefined }
}

function requireSuccess(answer: Answer): Answer {
  const { status } = answer
  if (status < 400) return answer
  const message = `the service answered ${status}: ${answer.encoding === 'utf8' ? answer.body.slice(0, 1000) : 'a binary body'}`
  if (status >= 500 || status === 429 || status === 408 || status === 425)
    throw new TransientError(`http_${status}`, message)
  throw new TerminalError(`http_${status}`, message)
}

/** One request over a connection that already stands; it is closed after the answer. */
function send(
  socket: Socket,
  target: Target,
  outgoing: Outgoing,
  signal: AbortSignal,
  maxBytes: number,
): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const length =
      outgoing.body === undefined
        ? isSafe(outgoing.method)
          ? {}
          : { 'content-length': '0' }
        : { 'content-length': String(Buffer.byteLength(outgoing.body)) }
    const request = httpRequest({
      // The socket goes to the checked address: no agent, no pool, no second look-up.
      createConnection: () => socket,
      method: outgoing.method,
      path: `${target.url.pathname}${target.url.search}`,
      headers: {
        'user-agent': 'sallyport-worker',
        accept: '*/*',
        ...outgoing.headers,
        ...length,
        host: target.url.host,
        'accept-encoding': 'identity',
        connection: 'close',
      },
      signal,
    })
    request.on('error', reject) // stays on: an abort after the answer began is reported here as well
    request.once('response', (response) => readAnswer(response, maxBytes).then(resolve, reject))
    request.end(outgoing.body)
  }).finally(() => socket.destroy())
}

async function readAnswer(response: IncomingMessage, maxBytes: number): Promise<Answer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > maxBytes) break
  }
  const body = Buffer.concat(chunks).subarray(0, maxBytes)
  const binary = body.includes(0) || (response.headers['content-encoding'] ?? 'identity') !== 'identity'
  return {
    status: response.statusCode ?? 0,
    headers: answerHeaders(response),
    body: binary ? body.toString('base64') : toText(body),
    encoding: binary ? 'base64' : 'utf8',
    truncated: bytes > maxBytes,
  }
}

/** Cookies are the service's credentials for its caller, which is this worker; names with `_` (`__proto__`) do not travel. */
function answerHeaders(response: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(response.headers))
    if (value !== undefined && /^[a-z0-9-]+$/.test(name) && name !== 'set-cookie' && !OWN_HEADERS.has(name))
      headers[name] = String(value)
  return headers
}
