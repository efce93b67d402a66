import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { hostname } from 'node:os'
import type { Claimed, LeasedJob } from '../contract/workers.js'
import { type Attempt, createAttempt, type Handler } from './attempt.js'
import { pause } from './backoff.js'
import { type Claims, createClaims } from './claims.js'
import { type Client, createClient } from './client.js'
import { SallyportError } from './errors.js'
import { createHeadWatch, type Fork, type SignedHead } from './head.js'
import { createHeartbeats, type Heartbeats } from './heartbeats.js'
import { createOutbox, type Outbox } from './outbox.js'
import type { ConnectionOptions } from './transport.js'

export type { Handler, HandlerContext, HandlerJob } from './attempt.js'
export type { EffectContext, EffectOptions } from './effects.js'
export { TerminalError, TransientError } from './errors.js'
export type { Fork, SignedHead } from './head.js'
export { AttemptAborted } from './outcome.js'

/** One line of a worker's log. Never holds a key, an input or a result. */
export interface WorkerLog {
  level: 'info' | 'warn' | 'error'
  event: string
  [about: string]: unknown
}

export interface WorkerOptions extends Pick<ConnectionOptions, 'url' | 'apiKey' | 'tenant' | 'fetch'> {
  /** Handlers by exact topic. */
  topics: Record<string, Handler>
  /** Handlers at a time, 1 to 1,000; 8 by default. */
  concurrency?: number
  /**
   * Constraints the handlers hold to; jobs bound by others go elsewhere. By default `allowed_hosts`, because `ctx.fetch` holds to
   * it: a handler that reaches the network any other way must be left out of that promise (`enforces: []`).
   */
  enforces?: string[]
  /**
   * Versions it does the work of, `NAME@VERSION`, at most 8: `agent:support-bot@2.0`. While that is the candidate of a rollout it is given
   * the candidate's work and no other; by default, and of versions that are current, it is given ordinary work.
   */
  serves?: string[]
  /** As it appears in the audit log; by default host name, process id and a random part. */
  workerId?: string
  /**
   * `recorded` (default): everything the handlers do outside goes through `ctx.effect`, so a lost attempt with no effect begun may
   * be repeated. `none`: they do not, and a lost attempt leaves the job `ambiguous` unless its class is `idempotent`.
   */
  effects?: 'recorded' | 'none'
  /** Whether `ctx.fetch` refuses every host when policy gave no `allowed_hosts`; false by default. */
  requireAllowedHosts?: boolean
  /** How `ctx.fetch` reaches the network, e.g. one that checks the addresses it connects to; by default the global fetch. */
  handlerFetch?: typeof fetch
  /** Milliseconds a request for work may wait at the server; 20,000 by default, at most 60,000. */
  waitMs?: number
  /** By default warnings and errors, as JSON lines on stderr. */
  log?: (entry: WorkerLog) => void
  /** A larger signed head of the audit log was seen: a place to keep it outside the server. */
  onHead?: (head: SignedHead) => void
  /** The server showed two heads that cannot both be honest: its log was rewritten, or replaced. Also logged as an error. */
  onFork?: (fork: Fork) => void
}

export interface WorkerStats {
  /** Handlers at work, ended ones that are not answered yet, and leases got so far. */
  running: number
  unreported: number
  claimed: number
  /** Ends the server took, by what was reported. */
  succeeded: number
  failed: number
  /** Attempts whose lease was lost, or whose report was not taken. */
  lost: number
}

export interface Worker {
  /**
   * Resolves when the server has answered for the first time; until then it keeps trying (0.1–5 s apart).
   * Rejects with `SallyportError` when the server refuses (a wrong key, topics that are not the key's), or `stopped`.
   */
  start(): Promise<void>
  /**
   * Drains: takes no more work, gives handlers `graceMs` (30,000 by default), then aborts them (`why: 'stop'`) and reports them as
   * transient `worker_stopped`, so that other workers take over; resolves when all reports are answered, or after 5 s more.
   * A second call does not wait for handlers any longer.
   */
  stop(options?: { graceMs?: number }): Promise<void>
  readonly id: string
  readonly stats: WorkerStats
  /** Largest signed head of the audit log seen so far. */
  readonly head: SignedHead | null
}

/** What handlers that obey their signal get to end in, once it is aborted by a stop. */
const UNWIND_MS = 500
const FLUSH_MS = 5_000
const HURRIED_FLUSH_MS = 1_000

/**
 * A worker for some topics.
 *
 * ```js
 * const worker = createWorker({
 *   url: 'http://127.0.0.1:8080',
 *   apiKey: process.env.SALLYPORT_API_KEY,
 *   topics: {
 *     'job.mail.send': (job, ctx) =>
 *       ctx.effect('send', ({ idempotencyKey, signal }) => sendMail(job.input, { idempotencyKey, signal })),
 *   },
 * })
 * await worker.start()
 * process.once('SIGTERM', () => worker.stop())
 * ```
 *
 * It asks for work by long poll, keeps its leases alive, aborts handlers whose job is cancelled, lost or out of time, reports in
 * batches and repeats what got no answer. A server that restarts is waited for. Throws `TypeError` for options that cannot work.
 */
export function createWorker(options: WorkerOptions): Worker {
  checkOptions(options)
  return new TopicWorker(options)
}

function checkOptions({ topics, concurrency = 8, waitMs = 20_000 }: WorkerOptions): void {
  const names = Object.keys(topics)
  if (names.length === 0 || names.length > 100) throw new TypeError('topics: between 1 and 100 handlers')
  for (const name of names)
    if (typeof topics[name] !== 'function') throw new TypeError(`topics: ${name} is no function`)
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1_000)
    throw new TypeError('concurrency: a whole number from 1 to 1,000')
  if (!Number.isInteger(waitMs) || waitMs < 0 || waitMs > 60_000) throw new TypeError('waitMs: from 0 to 60,000')
}

class TopicWorker implements Worker {
  readonly id: string
  readonly #options: WorkerOptions
  readonly #concurrency: number
  readonly #client: Client
  readonly #handlers: ReadonlyMap<string, Handler>
  readonly #heartbeats: Heartbeats
  readonly #outbox: Outbox
  readonly #claims: Claims
  readonly #watch: ReturnType<typeof createHeadWatch>
  readonly #running = new Map<string, { attempt: Attempt; ended: Promise<void> }>()
  readonly #counts = { claimed: 0, succeeded: 0, failed: 0, lost: 0 }
  /** Aborted by stop(): no more work. */
  readonly #stopping = new AbortController()
  /** Aborted by a second stop(): no more waiting. */
  readonly #hurry = new AbortController()
  /** Aborted when nothing more is sent at all. */
  readonly #abandon = new AbortController()
  #started: Promise<void> | null = null
  #claiming: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | null = null
  /** Shortest recent time of a request that does not wait at the server: how old the news in an answer may be. */
  #roundTripMs = 0

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#concurrency = options.concurrency ?? 8
    this.id = options.workerId ?? ownName()
    // A map of its own: a topic named like a property of every object must not find that property.
    this.#handlers = new Map(Object.entries(options.topics))
    for (const { signal } of [this.#stopping, this.#hurry, this.#abandon]) setMaxListeners(0, signal)
    this.#client = createClient({ ...options, retries: 0 })
    this.#heartbeats = createHeartbeats({
      send: (beats, limits) => this.#client.worker.heartbeat(beats, limits),
      onRoundTrip: (ms) => this.#measure(ms),
      onTrouble: (event, error) => this.#trouble(event, error),
    })
    this.#outbox = createOutbox({
      send: (rawBody) =>
        this.#client.request('POST', '/api/v1/leases/complete', {
          rawBody,
          repeatable: true,
          signal: this.#abandon.signal,
        }),
      abandoned: this.#abandon.signal,
      onAnswer: (report, answer) => {
        if (answer === 'ok') this.#counts[report.outcome]++
        else {
          this.#counts.lost++
          this.#log({ level: 'warn', event: 'report_not_taken', lease: report.lease, answer })
        }
        this.#claims.ring()
      },
      onTrouble: (event, error) => this.#trouble(event, error),
    })
    this.#claims = createClaims({
      send: (claim, limits) => this.#client.worker.claim(claim, limits),
      about: {
        worker_id: this.id,
        topics: [...this.#handlers.keys()],
        enforces: options.enforces ?? ['allowed_hosts'],
        ...(options.serves === undefined ? {} : { serves: options.serves }),
        effects: options.effects ?? 'recorded',
      },
      waitMs: options.waitMs ?? 20_000,
      room: () => this.#room(),
      take: (claimed) => this.#take(claimed),
      stopping: this.#stopping.signal,
      hurry: this.#hurry.signal,
      onRoundTrip: (ms) => this.#measure(ms),
      onTrouble: (event, error) => this.#trouble(event, error),
    })
    this.#watch = createHeadWatch(
      (head) => options.onHead?.(head),
      (fork) => {
        this.#log({ level: 'error', event: 'audit_log_forked', kind: fork.kind, known: fork.known, seen: fork.seen })
        options.onFork?.(fork)
      },
    )
  }

  get stats(): WorkerStats {
    return { ...this.#counts, running: this.#running.size, unreported: this.#outbox.size }
  }

  get head(): SignedHead | null {
    return this.#watch.head
  }

  start(): Promise<void> {
    this.#started ??= this.#firstContact()
    return this.#started
  }

  async #firstContact(): Promise<void> {
    await this.#claims.contact()
    this.#log({ level: 'info', event: 'started', worker: this.id, topics: [...this.#handlers.keys()] })
    this.#claiming = this.#claims.run()
  }

  /** While reports cannot be delivered no work is taken either: it would only pile up results that nobody gets. */
  #room(): number {
    return this.#outbox.size > 2 * this.#concurrency ? 0 : this.#concurrency - this.#running.size
  }

  #take({ leases, head }: Claimed): number {
    let fresh = 0
    for (const leased of leases) {
      // One by one: an answer that holds a lease twice must not start it twice.
      if (this.#running.has(leased.lease)) continue
      this.#begin(leased)
      fresh++
    }
    try {
      if (head && !this.#watch.see(head)) this.#log({ level: 'warn', event: 'head_unreadable' })
    } catch (error) {
      this.#trouble('head_callback_failed', error)
    }
    return fresh
  }

  #begin(leased: LeasedJob): void {
    const { lease, job } = leased
    this.#counts.claimed++
    const about = { job_id: job.job_id, topic: job.topic, attempt: leased.attempt }
    const attempt = createAttempt(leased, {
      fetch: this.#options.handlerFetch ?? fetch,
      requireAllowedHosts: this.#options.requireAllowedHosts ?? false,
      inFlightMs: this.#roundTripMs,
      abandoned: this.#abandon.signal,
      send: (effect) => this.#client.worker.effect(effect),
      progress: (value) => {
        try {
          this.#heartbeats.progress(lease, value)
        } catch (error) {
          // Not worth failing the job for.
          this.#trouble('progress_refused', error)
        }
      },
      log: (event, more) => this.#log({ level: 'info', ...more, event, ...about }),
    })
    this.#heartbeats.add(lease, leased.heartbeat_ms, {
      onOk: (remainingMs) => attempt.tighten(remainingMs),
      onCancel: () => attempt.abort('cancel'),
      onLost: () => attempt.abort('lost'),
      onSilence: () => attempt.abort('silent'),
    })
    this.#running.set(lease, { attempt, ended: this.#perform(attempt) })
  }

  async #perform(attempt: Attempt): Promise<void> {
    const { lease, job } = attempt.leased
    const handler = this.#handlers.get(job.topic) ?? noHandler
    const report = await attempt.run(handler)
    this.#heartbeats.remove(lease)
    this.#running.delete(lease)
    if (report !== null) this.#outbox.put(report)
    else if (attempt.lost) {
      this.#counts.lost++
      this.#log({ level: 'warn', event: 'lease_lost', job_id: job.job_id, topic: job.topic })
    }
    this.#claims.ring()
  }

  stop({ graceMs = 30_000 }: { graceMs?: number } = {}): Promise<void> {
    if (this.#stopped !== null) this.#hurry.abort()
    this.#stopped ??= this.#drain(graceMs)
    return this.#stopped
  }

  async #drain(graceMs: number): Promise<void> {
    this.#stopping.abort()
    this.#claims.ring()
    await this.#started?.catch(() => {})
    await this.#claiming
    if (!(await this.#within(graceMs, this.#hurry.signal))) {
      for (const { attempt } of this.#running.values()) attempt.abort('stop')
      await this.#within(UNWIND_MS)
      for (const [lease, { attempt }] of this.#running) {
        this.#heartbeats.remove(lease)
        if (!attempt.lost) this.#outbox.put(attempt.giveUp())
      }
    }
    const flush = this.#hurry.signal.aborted ? HURRIED_FLUSH_MS : FLUSH_MS
    const onHurry = () => setTimeout(() => this.#abandon.abort(), HURRIED_FLUSH_MS).unref()
    const timer = setTimeout(() => this.#abandon.abort(), flush)
    this.#hurry.signal.addEventListener('abort', onHurry)
    await this.#outbox.idle()
    clearTimeout(timer)
    this.#hurry.signal.removeEventListener('abort', onHurry)
    this.#abandon.abort()
    this.#heartbeats.close()
    this.#log({ level: 'info', event: 'stopped', worker: this.id, ...this.stats })
  }

  /** Whether all handlers ended within `ms`, or until the signal. */
  async #within(ms: number, signal?: AbortSignal): Promise<boolean> {
    const limit = new AbortController()
    const end = () => limit.abort()
    signal?.addEventListener('abort', end)
    if (signal?.aborted) end()
    const done = Promise.all([...this.#running.values()].map(({ ended }) => ended)).then(() => true)
    const over = pause(ms, limit.signal).then(
      () => false,
      () => false,
    )
    try {
      return await Promise.race([done, over])
    } finally {
      end()
      signal?.removeEventListener('abort', end)
    }
  }

  #measure(ms: number): void {
    this.#roundTripMs = this.#roundTripMs === 0 ? ms : Math.min(ms, this.#roundTripMs * 1.1)
  }

  #trouble(event: string, error: unknown): void {
    const code = error instanceof SallyportError ? error.code : undefined
    const message = error instanceof Error ? error.message : String(error)
    this.#log({ level: 'warn', event, ...(code === undefined ? {} : { code }), message })
  }

  #log(entry: WorkerLog): void {
    const { log } = this.#options
    try {
      if (log) log(entry)
      else if (entry.level !== 'info') console.error(JSON.stringify(entry))
    } catch {
      // A log that fails must not take the worker with it, and there is nowhere left to say so.
    }
  }
}

const noHandler: Handler = (job) => {
  throw new Error(`this worker has no handler for ${job.topic}`)
}

/** Printable ASCII, as the contract wants names; a host may be called anything. */
function ownName(): string {
  const host = hostname().replace(/[^A-Za-z0-9.-]/g, '') || 'worker'
  return `${host.slice(0, 100)}-${process.pid}-${randomUUID().slice(0, 8)}`
}
