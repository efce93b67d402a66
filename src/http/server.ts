import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Caller } from '../core/access.js'
import { may } from '../core/access.js'
import { Problem } from '../errors.js'
import type { Log } from '../platform/log.js'
import type { Authenticator } from './auth.js'
import { BODY_LIMIT, BodyBudget, type Room } from './body-budget.js'
import { gateAnswer } from './gate-answer.js'
import { parseStrict } from './json.js'
import type { OpenCalls } from './open-calls.js'
import { asProblem, problemBody, retryAfter } from './problem.js'
import type { Reply, Route } from './route.js'
import { coerceQuery, type Validator, validator } from './validate.js'

export const PREFIX = '/api/v1'
/** For a request to arrive whole; one that drips in is cut off. Answers may take longer (long polls, exports, events). */
const REQUEST_MS = 30_000

/** Who asks without a key, where none is needed. */
const NOBODY: Caller = {
  tenant: '',
  principal: 'anonymous',
  role: 'viewer',
  team: null,
  key_id: '',
  topics: [],
  act_as: [],
  permissions: null,
  leads: [],
  expires_at: null,
}

/** Told of every answer: the route as it was mounted, never the path that was asked. */
export type Answered = (route: string, method: string, status: number, seconds: number) => void

/** Serves the routes: authenticate, authorise, parse strictly, validate, handle; every fault becomes a problem answer. */
export function createServer(
  routes: readonly Route[],
  auth: Authenticator,
  open: OpenCalls,
  log: Log,
  requestId: () => string,
  answered: Answered = () => {},
): FastifyInstance {
  const app = Fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    requestTimeout: REQUEST_MS,
    genReqId: requestId,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    // Else the framework answers what comes on a busy connection while it closes, in words that a gate takes for no number.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 300, ignoreTrailingSlash: false },
    frameworkErrors: (error, request, reply) =>
      void fail(reply as FastifyReply, request as FastifyRequest, asProblem(error), log),
    clientErrorHandler: refuseConnection,
  })
  app.removeAllContentTypeParsers()
  const rooms = new WeakMap<FastifyRequest, Room>()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    rooms.get(request)?.shrinkTo(body.length)
    try {
      done(null, body.length === 0 ? undefined : parseStrict(body as Buffer))
    } catch (error) {
      done(error as Error)
    }
  })
  // Only where a page of ours has a form: any other site may send one of these to us without asking the browser's permission.
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit: MOST_FORM },
    (request, body, done) => {
      const { form } = request.routeOptions.config as Pick<Route, 'form'>
      if (form === 'signed') done(null, body)
      else if (form !== true) done(new Problem('unsupported_media_type'))
      else done(null, formFields(body as string))
    },
  )
  // By callback: an async hook would make promises for every answer.
  app.addHook('onSend', (_request, reply, payload, done) => {
    reply.header('x-content-type-options', 'nosniff')
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store')
    done(null, payload)
  })
  app.addHook('onResponse', ({ routeOptions, method }, reply, done) => {
    answered(routeOptions.url ?? 'unknown', method, reply.statusCode, reply.elapsedTime / 1000)
    done()
  })
  app.setErrorHandler((error, request, reply) => fail(reply, request, asProblem(error), log))
  // As soon as it is known, before a body is read: nobody needs a key to ask for what is not there.
  app.addHook('onRequest', (request, _reply, done) =>
    request.is404 ? done(new Problem(isKnownPath(routes, request.url) ? 'method_not_allowed' : 'not_found')) : done(),
  )
  // Streams of events never end by themselves: a server that stops ends them.
  app.addHook('preClose', async () => open.abort())
  const bodies = new BodyBudget()
  for (const route of routes) mount(app, route, auth, log, open, bodies, rooms)
  letGoOnClose(app)
  return app
}

/** Bytes of a form: what a person types. */
const MOST_FORM = 16 * 1024
/** Of a click, which brings the message back that it was on. */
const MOST_SIGNED = 64 * 1024

/** Fields of a form; of one that is named twice the first. */
function formFields(body: string): Record<string, string> {
  const fields = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(body)) if (!fields.has(name)) fields.set(name, value)
  fields.delete('__proto__')
  return Object.fromEntries(fields)
}

/** What came is no request at all, so there is nothing to reply to but the socket. It says what a route would say. */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const large = error.code === 'HPE_HEADER_OVERFLOW' || error.code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW'
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const problem = large
    ? new Problem('too_large', 'The headers are too large')
    : new Problem('malformed', late ? 'The request did not arrive in time' : 'This is not an HTTP/1.1 request')
  const body = JSON.stringify(problemBody(problem))
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    'Content-Type: application/problem+json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

/**
 * Node's close() waits for two kinds of connections that have nothing to wait for. One on which nothing was asked yet is not
 * "idle" to it, so it would wait out the header timeout, a minute; HTTP clients open such spares (undici does after an aborted
 * request), and so would whoever wants to hold up a stop. And one whose answer is written just then stays open for the next
 * request until the keep-alive timeout, 72 s.
 */
function letGoOnClose(app: FastifyInstance): void {
  const unused = new Set<Socket>()
  let closing = false
  app.server.on('connection', (socket: Socket) => {
    if (closing) return void socket.destroy()
    unused.add(socket)
    socket.once('close', () => unused.delete(socket))
  })
  app.server.on('request', ({ socket }) => unused.delete(socket))
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (closing) reply.header('connection', 'close')
    done(null, payload)
  })
  // Not closeIdleConnections(): that also cuts answers which are complete and still on their way out.
  app.addHook('onResponse', ({ socket }, _reply, done) => {
    if (closing) socket.end()
    done()
  })
  app.addHook('preClose', async () => {
    closing = true
    for (const socket of unused) socket.destroy()
  })
}

function mount(
  app: FastifyInstance,
  route: Route,
  auth: Authenticator,
  log: Log,
  open: OpenCalls,
  bodies: BodyBudget,
  rooms: WeakMap<FastifyRequest, Room>,
): void {
  const body: Validator | null = route.body === undefined ? null : validator(route.body)
  const query: Validator | null = route.query === undefined ? null : validator(route.query)
  const callers = new WeakMap<FastifyRequest, Caller>()
  app.route({
    method: route.method,
    config: { form: route.form ?? false },
    // Of whoever has no key not more is read than a form.
    ...(route.permission === null ? { bodyLimit: route.form === 'signed' ? MOST_SIGNED : MOST_FORM } : {}),
    url: (route.root ? '' : PREFIX) + route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    // Before the body is read: whoever has no key gets no work out of this process.
    onRequest: async (request, reply) => {
      if (route.permission === null || route.keyless?.(request.headers)) return
      const caller = await auth.authenticate(request.headers, request.ip)
      auth.assertOwnPage(route, request.headers, caller, request.ip)
      if (!route.permission.some((permission) => may(caller, permission))) {
        await route.refused?.(caller)
        throw new Problem('forbidden', undefined, { needs: route.permission })
      }
      route.admit?.(caller)
      callers.set(request, caller)
      // The body of a GET is never read.
      const room = route.method === 'GET' ? null : bodies.take(caller.key_id, request.headers, caller.role === 'agent')
      if (room === null) return
      rooms.set(request, room)
      // Not 'finish': whoever hangs up in the middle of a body is never answered. Who did so while the key was looked up is gone already.
      if (reply.raw.closed) room.leave()
      else reply.raw.once('close', () => room.leave())
    },
    handler: async (request, reply) => {
      const found = (request.query ?? {}) as Record<string, unknown>
      // NUL is in no id, and no text of the store can hold it.
      if (Object.values(request.params as Record<string, string>).some((value) => value.includes('\0')))
        throw new Problem('not_found')
      const values = route.query === undefined ? {} : coerceQuery(route.query, found)
      query?.(values)
      const sent = request.body === undefined && route.optionalBody ? {} : request.body
      if (body !== null && sent === undefined)
        throw new Problem('invalid', 'A JSON body is required', {
          faults: [{ path: '/', message: 'send Content-Type: application/json and a body' }],
        })
      body?.(sent)
      const caller = callers.get(request) ?? NOBODY
      // Only for who listens to it: made for every request, signals and the exceptions that end them took 3 % of a busy node.
      let call: ReturnType<OpenCalls['begin']> | null = null
      const answer = await route.handler({
        caller,
        params: request.params as Record<string, string>,
        query: values,
        body: sent,
        headers: request.headers,
        address: request.ip,
        get signal() {
          if (call === null) {
            call = open.begin(caller)
            reply.raw.once('close', call.end)
          }
          return call.signal
        },
      })
      return send(reply, route, answer, log)
    },
  })
}

function send(reply: FastifyReply, route: Route, answer: Reply, log: Log): FastifyReply {
  reply.code(answer.status ?? route.success.status).headers(answer.headers ?? {})
  if (answer.stream !== undefined) {
    const stream = Readable.from(answer.stream)
    stream.on('error', (error) => log.error({ err: error, route: route.path }, 'a stream broke'))
    return reply.send(stream)
  }
  if (typeof answer.body === 'string') return reply.send(answer.body)
  return reply.header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(answer.body ?? {}))
}

function fail(reply: FastifyReply, request: FastifyRequest, problem: Problem, log: Log): FastifyReply {
  if (
    problem.status >= 500 &&
    problem.code !== 'overloaded' &&
    problem.code !== 'draining' &&
    problem.code !== 'no_policy'
  )
    log.error(
      {
        err: problem.cause ?? problem,
        code: problem.code,
        request_id: request.id,
        method: request.method,
        route: request.routeOptions.url,
      },
      'a request failed',
    )
  const wait = retryAfter(problem)
  if (wait !== null) reply.header('retry-after', String(wait))
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="sallyport"')
  const number = gateAnswer(problem, request.url)
  if (number !== null) return reply.code(problem.status).headers(number.headers).send(number.body)
  return reply
    .code(problem.status)
    .header('content-type', 'application/problem+json; charset=utf-8')
    .send(JSON.stringify(problemBody(problem, request.id)))
}

function isKnownPath(routes: readonly Route[], url: string): boolean {
  const path = url.split('?')[0] ?? ''
  return routes.some((route) =>
    new RegExp(`^${route.root ? '' : PREFIX}${route.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
  )
}
