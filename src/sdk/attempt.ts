import { setMaxListeners } from 'node:events'
import type { Completion, Effect, EffectAnswer, LeasedJob } from '../contract/workers.js'
import { createEffects, type EffectContext, type EffectOptions } from './effects.js'
import { createGuardedFetch, type GuardedFetch } from './guarded-fetch.js'
import { AttemptAborted, failed, type Report, succeeded } from './outcome.js'

/** The job as a handler sees it. `input` and `context` are what the agent sent: treat them as hostile. */
export type HandlerJob = LeasedJob['job']

/** Does the work of one topic. What it returns is screened before anyone can read it; what it throws is a failed attempt. */
export type Handler = (job: HandlerJob, ctx: HandlerContext) => Promise<unknown> | unknown

/** One attempt, from inside. */
export interface HandlerContext {
  /** Aborts on cancel, stop, lost lease and timeout; `signal.reason` is an `AttemptAborted` whose `why` tells which. */
  readonly signal: AbortSignal
  /** 1 for the first. */
  readonly attempt: number
  /** Whole milliseconds until `signal` aborts for want of time; 0 when it is over. */
  remainingMs(): number
  /** What policy binds this job to. The worker promised (`enforces`) to hold to those that only it can. */
  readonly constraints: Readonly<Record<string, unknown>>
  /** Effects that earlier attempts committed. */
  readonly effects: ReadonlyArray<{ key: string; result: unknown }>
  /** The same in every attempt of this job; for an outside system that needs one key for the whole job. */
  readonly idempotencyKey: string
  /**
   * One outside action that must not happen twice. `act` runs at most once per job and key:
   * - the server records that it begins, before `act` is called;
   * - what `act` returns (JSON) is screened and recorded; a later attempt gets the recorded value and `act` is not called;
   * - when `act` throws, or the worker dies in it, it stays begun. The job is then `ambiguous` and not retried, until a person
   *   says whether it happened. There is no way to say "surely did not happen": check what can be checked before.
   *
   * Different keys may run side by side and within each other; the same key at the same time is one action. Begins only while
   * at least 2 s are left (else `TransientError` `too_little_time`) and never once the job is cancelled or the lease lost.
   */
  effect<T>(key: string, act: (effect: EffectContext) => Promise<T> | T, options?: EffectOptions<T>): Promise<T>
  /**
   * `fetch` held to `constraints.allowed_hosts`, redirects included. Where policy gave no such constraint it refuses no host,
   * unless the worker has `requireAllowedHosts`. It ends with `signal`.
   */
  readonly fetch: GuardedFetch
  /** Shown to whoever watches the job, after screening; the newest value wins. JSON, at most 16 KiB. */
  progress(value: unknown): void
  /** Adds to what the attempt used; reported with its end. */
  usage(used: { tokens?: number; cost?: number }): void
  /** A line in the worker's log, with job, attempt and topic. */
  log(event: string, about?: Record<string, unknown>): void
}

/** What an attempt needs of its worker. */
export interface AttemptHost {
  fetch: typeof fetch
  requireAllowedHosts: boolean
  /** Upper bound of how long the lease was on its way here. */
  inFlightMs: number
  abandoned: AbortSignal
  send(effect: Effect): Promise<EffectAnswer>
  progress(value: unknown): void
  log(event: string, about?: Record<string, unknown>): void
}

/** One lease in work, from outside. */
export interface Attempt {
  readonly leased: LeasedJob
  /** Set once the server said the lease is lost: nothing about it is reported any more. */
  readonly lost: boolean
  /** Runs the handler to its end, and its effects; never throws. The report, or null when there is nothing to say. */
  run(handler: Handler): Promise<Report | null>
  abort(why: AttemptAborted['why']): void
  /** The server's newer word on the time left; as it arrives it can only be too long, so it only ever shortens. */
  tighten(remainingMs: number): void
  /** The report for an attempt that is not waited for any longer; its handler can begin no effect after it. */
  giveUp(): Report
}

export function createAttempt(leased: LeasedJob, host: AttemptHost): Attempt {
  const controller = new AbortController()
  // Every effect and request listens; Node would warn of a leak from the eleventh on.
  setMaxListeners(0, controller.signal)
  let end = performance.now() + leased.remaining_ms - host.inFlightMs
  let timer = setTimeout(timeout, Math.max(0, end - performance.now()))
  let lost = false
  let given = false
  let usage: Completion['usage']

  function timeout() {
    abort('timeout')
  }
  function abort(why: AttemptAborted['why']) {
    if (why === 'lost') lost = true
    if (!controller.signal.aborted) controller.abort(new AttemptAborted(why))
  }
  function tighten(remainingMs: number) {
    const atMost = performance.now() + remainingMs
    if (atMost >= end) return
    end = atMost
    clearTimeout(timer)
    timer = setTimeout(timeout, Math.max(0, end - performance.now()))
  }
  // Whole, because that is what AbortSignal.timeout takes.
  const remainingMs = () => Math.max(0, Math.floor(end - performance.now()))
  // A timer of 0 ms would let the handler begin first.
  if (remainingMs() === 0) timeout()

  const effects = createEffects({
    leased,
    signal: controller.signal,
    abandoned: host.abandoned,
    remainingMs,
    tighten,
    send: host.send,
    onLost: () => abort('lost'),
  })

  const context: HandlerContext = {
    signal: controller.signal,
    attempt: leased.attempt,
    remainingMs,
    constraints: leased.constraints,
    effects: leased.effects.filter((effect) => effect.status === 'committed'),
    idempotencyKey: leased.job.job_id,
    effect(key, act, options) {
      const running = effects.run(key, act, options)
      // A handler that forgot to await it must not take the whole worker down with an unhandled rejection.
      running.catch(() => host.log('effect_failed', { level: 'warn', key }))
      return running
    },
    fetch: createGuardedFetch({
      allowedHosts: leased.constraints.allowed_hosts,
      required: host.requireAllowedHosts,
      fetch: host.fetch,
      signal: controller.signal,
    }),
    progress: (value) => host.progress(value),
    usage({ tokens = 0, cost = 0 }) {
      if (!Number.isSafeInteger(tokens) || tokens < 0 || !Number.isFinite(cost) || cost < 0)
        throw new TypeError('usage: tokens is a whole number and cost a number, neither below 0')
      usage = { tokens: (usage?.tokens ?? 0) + tokens, cost: (usage?.cost ?? 0) + cost }
    },
    log: (event, about) => host.log(event, about),
  }

  const aborted = () => (controller.signal.aborted ? (controller.signal.reason as AttemptAborted) : undefined)

  async function outcome(handler: Handler): Promise<Report> {
    try {
      controller.signal.throwIfAborted()
      const result = await handler(leased.job, context)
      // One that the handler forgot to await would be reported as begun and never ended.
      await effects.close()
      return succeeded(leased.lease, result, usage)
    } catch (error) {
      await effects.close()
      return failed(leased.lease, error, aborted(), usage)
    }
  }

  return {
    leased,
    get lost() {
      return lost
    },
    async run(handler) {
      const report = await outcome(handler)
      clearTimeout(timer)
      return lost || given ? null : report
    },
    abort,
    tighten,
    giveUp() {
      abort('stop')
      given = true
      clearTimeout(timer)
      return failed(leased.lease, controller.signal.reason, aborted(), usage)
    },
  }
}
