import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Claim, Completion, Effect, Heartbeat, LeasedJob } from '../src/contract/workers.js'

/** A request as it arrived at a stand-in. */
export interface Seen {
  method: string
  path: string
  query: Record<string, string>
  headers: IncomingHttpHeaders
  // biome-ignore lint/suspicious/noExplicitAny: whatever was sent
  body: any
  /** Aborts when the caller hangs up. */
  gone: AbortSignal
}

/** `drop` closes the connection without an answer. */
export type Reply = { status?: number; headers?: Record<string, string>; body?: unknown } | 'drop'

export interface StandIn {
  url: string
  seen: Seen[]
  close(): Promise<void>
}

/** A real HTTP server on a free port that answers as the test says; for what a healthy server would not do on request. */
export async function startStandIn(answer: (request: Seen) => Reply | Promise<Reply>, port = 0): Promise<StandIn> {
  const seen: Seen[] = []
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://stand-in')
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const text = await readText(request)
    const one: Seen = {
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: request.headers,
      body: text === '' ? undefined : JSON.parse(text),
      gone: gone.signal,
    }
    seen.push(one)
    const reply = await answer(one)
    if (reply === 'drop') return void response.socket?.destroy()
    const { status = 200, headers = {}, body } = reply
    const isText = typeof body === 'string' || body instanceof Uint8Array
    const kind = status >= 400 ? 'application/problem+json' : isText ? 'text/plain' : 'application/json; charset=utf-8'
    response.writeHead(status, { 'content-type': kind, ...headers })
    response.end(isText ? body : body === undefined ? '' : JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function readText(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts).toString('utf8')
}

/** A problem as the server writes it. */
export function problem(status: number, code: string, more: Record<string, unknown> = {}): Reply {
  const headers: Record<string, string> = {}
  if (more.retry_after !== undefined) headers['retry-after'] = String(more.retry_after)
  return {
    status,
    headers,
    body: { type: 'about:blank', title: code, status, code, retryable: status >= 429, ...more },
  }
}

/** Resolves with what `value` gives as soon as that is not undefined; asks again after every `poke`. */
export function createWaiting(): { poke(): void; until<T>(value: () => T | undefined): Promise<T> } {
  let waiters: (() => void)[] = []
  return {
    poke() {
      const now = waiters
      waiters = []
      for (const wake of now) wake()
    },
    async until(value) {
      for (;;) {
        const got = value()
        if (got !== undefined) return got
        await new Promise<void>((resolve) => waiters.push(resolve))
      }
    },
  }
}

/** The worker's half of the contract, in memory: leases that a test offers, and everything a worker said about them. */
export interface WorkerPlane extends StandIn {
  claims: Claim[]
  beats: Heartbeat[]
  effects: Effect[]
  /** In the order taken, one array per request. */
  reports: Completion[][]
  offer(leased?: Partial<Omit<LeasedJob, 'job'>> & { job?: Partial<LeasedJob['job']> }): string
  report(lease: string): Promise<Completion>
  until<T>(value: () => T | undefined): Promise<T>
  /** Consulted before the plane's own answer to a request. */
  intercept: ((request: Seen) => Reply | undefined | Promise<Reply | undefined>) | null
  /** Paths whose next answer is lost after the plane acted on the request. */
  losing: Set<string>
  /** What heartbeats answer, by lease; `ok` otherwise. */
  words: Map<string, 'ok' | 'cancel' | 'lost'>
  head: string | null
}

export async function startWorkerPlane(port = 0): Promise<WorkerPlane> {
  const waiting = createWaiting()
  const offered: LeasedJob[] = []
  const answered = new Map<string, LeasedJob[]>()
  const committed = new Map<string, unknown>()

  async function claim(request: Seen): Promise<Reply> {
    const body: Claim = request.body
    plane.claims.push(body)
    waiting.poke()
    const known = answered.get(body.claim_id)
    if (known === undefined && body.wait_ms && offered.length === 0) {
      request.gone.addEventListener('abort', () => waiting.poke())
      await waiting.until(() => (offered.length > 0 || request.gone.aborted ? true : undefined))
      if (request.gone.aborted) return 'drop'
    }
    const leases = known ?? offered.splice(0, body.capacity)
    answered.set(body.claim_id, leases)
    return { body: { leases, head: plane.head } }
  }

  function heartbeat({ body }: Seen): Reply {
    plane.beats.push(body)
    const answer = (lease: string) => ({ lease, answer: plane.words.get(lease) ?? 'ok', remaining_ms: 60_000 })
    return { body: { leases: body.leases.map(({ lease }: { lease: string }) => answer(lease)) } }
  }

  function effect({ body }: Seen): Reply {
    plane.effects.push(body)
    const { key, phase, result } = body as Effect
    if (phase === 'commit') committed.set(key, result)
    const status = committed.has(key) ? 'committed' : 'begun'
    return {
      body: { key, status, idempotency_key: `idem-${key}`, remaining_ms: 60_000, result: committed.get(key) ?? null },
    }
  }

  function complete({ body }: Seen): Reply {
    plane.reports.push(body)
    return {
      body: { leases: body.map(({ lease }: Completion) => ({ lease, answer: 'ok', job_id: null, status: null })) },
    }
  }

  const routes: Record<string, (request: Seen) => Reply | Promise<Reply>> = {
    '/api/v1/workers/claim': claim,
    '/api/v1/leases/heartbeat': heartbeat,
    '/api/v1/leases/effects': effect,
    '/api/v1/leases/complete': complete,
  }
  const server = await startStandIn(async (request) => {
    waiting.poke()
    const reply = (await plane.intercept?.(request)) ?? (await routes[request.path]?.(request))
    waiting.poke()
    return plane.losing.delete(request.path) ? 'drop' : (reply ?? problem(404, 'not_found'))
  }, port)

  const plane: WorkerPlane = {
    ...server,
    claims: [],
    beats: [],
    effects: [],
    reports: [],
    intercept: null,
    losing: new Set(),
    words: new Map(),
    head: null,
    until: waiting.until,
    offer({ job, ...leased } = {}) {
      const lease = leased.lease ?? `lease_${randomUUID().replaceAll('-', '')}`
      offered.push({ ...LEASED, lease, ...leased, job: { ...LEASED.job, ...job } })
      waiting.poke()
      return lease
    },
    report: (lease) => waiting.until(() => plane.reports.flat().find((report) => report.lease === lease)),
  }
  return plane
}

const LEASED: LeasedJob = {
  lease: '',
  attempt: 1,
  remaining_ms: 60_000,
  heartbeat_ms: 10_000,
  constraints: {},
  effects: [],
  job: {
    job_id: 'job_0123456789',
    run_id: 'run-1',
    tenant: 'default',
    agent: 'agent:tester',
    topic: 'job.test.echo',
    labels: {},
    risk_tags: [],
    environment: null,
    action_type: null,
    capability: null,
    action: null,
    workflow: null,
    input: { text: 'hello' },
    context: null,
    job_hash: '0'.repeat(64),
    policy_snapshot: 'v1:0000000',
    max_attempts: 3,
  },
}
