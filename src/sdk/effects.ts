import type { Compensation, Effect, EffectAnswer, LeasedJob } from '../contract/workers.js'
import { persist } from './backoff.js'
import { SallyportError, TerminalError, TransientError } from './errors.js'
import { asJson } from './outcome.js'
import { isPassing } from './transport.js'

/** Under this no effect is begun, and a running one is told to end: what it knows by then can still be committed in time. */
export const COMMIT_MS = 2_000

/** What an effect is given to do its work with. */
export interface EffectContext {
  /** From job and key, the same in every attempt: send it to the outside system, which then does the thing at most once. */
  readonly idempotencyKey: string
  /** Aborts as `ctx.signal` does, and 2 s before the attempt's time is over. */
  readonly signal: AbortSignal
  /** Milliseconds until then. */
  remainingMs(): number
}

export interface EffectOptions<T = unknown> {
  /** false: record only that it happened, not what it returned; a later attempt then gets null. True by default. */
  retain?: boolean
  /**
   * The job that undoes it, asked for should the rollout be rolled back that this work is of. As a value it is known before the action
   * begins, so also where the worker dies in it; as a function of what the action returned only once that is there. A function that
   * throws fails the attempt, after the effect is recorded.
   */
  compensate?: Compensation | ((result: T) => Compensation | null)
}

/** What the effects of an attempt need of it. */
export interface EffectHost {
  leased: Pick<LeasedJob, 'lease' | 'effects'>
  signal: AbortSignal
  /** Ends when nothing may be reported any more: a worker told to end at once. */
  abandoned: AbortSignal
  remainingMs(): number
  tighten(remainingMs: number): void
  send(effect: Effect): Promise<EffectAnswer>
  onLost(): void
}

export interface Effects {
  run<T>(key: string, act: (effect: EffectContext) => Promise<T> | T, options?: EffectOptions<T>): Promise<T>
  /** Resolves when none is under way, however they ended; from then on none begins. */
  close(): Promise<void>
}

/** The outside actions of one attempt: each begun before and committed after, each key once. */
export function createEffects(host: EffectHost): Effects {
  const earlier = new Map(host.leased.effects.filter((e) => e.status === 'committed').map((e) => [e.key, e.result]))
  const ours = new Map<string, Promise<unknown>>()
  let closed = false

  async function send(effect: Effect, until: AbortSignal): Promise<EffectAnswer> {
    try {
      return await persist(
        async () => {
          const answer = await host.send(effect)
          host.tighten(answer.remaining_ms)
          return answer
        },
        isPassing,
        until,
      )
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'lease_lost') host.onLost()
      throw error
    }
  }

  async function act<T>(
    key: string,
    fn: (effect: EffectContext) => Promise<T> | T,
    { retain = true, compensate }: EffectOptions<T>,
  ): Promise<T> {
    const { lease } = host.leased
    refuseIfShort(host.remainingMs())
    const known = compensate === undefined || typeof compensate === 'function' ? {} : { compensation: compensate }
    const begun = await send({ lease, key, phase: 'begin', ...known }, host.signal)
    if (begun.status === 'committed') return (begun.result ?? null) as T
    host.signal.throwIfAborted()
    refuseIfShort(host.remainingMs())
    const value = await underLimit(host, (signal) =>
      fn({ idempotencyKey: begun.idempotency_key, signal, remainingMs: () => host.remainingMs() - COMMIT_MS }),
    )
    const undoing = typeof compensate === 'function' ? undoingOf(compensate, value, key) : null
    await commit(lease, key, retain ? value : null, undoing instanceof TerminalError ? null : undoing)
    if (undoing instanceof TerminalError) throw undoing
    return value
  }

  async function commit(lease: string, key: string, value: unknown, undoing: Compensation | null): Promise<void> {
    const json = asJson(value)
    const refused = json instanceof TerminalError ? json : await committed(lease, key, JSON.parse(json), undoing)
    if (refused === null) return
    // It happened, and that must be on record even where its result cannot be: else a person has to find out.
    await send({ lease, key, phase: 'commit', result: null }, host.abandoned)
    throw refused
  }

  /** null when the server took it; the reason when it will not take this result. */
  async function committed(
    lease: string,
    key: string,
    result: unknown,
    undoing: Compensation | null,
  ): Promise<TerminalError | null> {
    try {
      const more = undoing === null ? {} : { compensation: undoing }
      await send({ lease, key, phase: 'commit', result, ...more }, host.abandoned)
      return null
    } catch (error) {
      if (!(error instanceof SallyportError) || ![400, 413, 422].includes(error.status)) throw error
      return new TerminalError('effect_result_refused', `the result of effect ${key}: ${error.message}`)
    }
  }

  return {
    async run<T>(
      key: string,
      fn: (effect: EffectContext) => Promise<T> | T,
      options: EffectOptions<T> = {},
    ): Promise<T> {
      if (!/^[!-~]{1,200}$/.test(key))
        throw new TerminalError('effect_key_invalid', 'an effect key is 1 to 200 printable ASCII characters')
      if (closed) throw new TerminalError('attempt_over', `effect ${key} came after the handler had ended`)
      host.signal.throwIfAborted()
      if (earlier.has(key)) return earlier.get(key) as T
      // Also after a failure: whether the first call did anything is then unknown, so a second may not try.
      const known = ours.get(key) as Promise<T> | undefined
      const running = known ?? act(key, fn, options)
      ours.set(key, running)
      return await running
    },
    async close() {
      for (let known = -1; known !== ours.size; ) {
        known = ours.size
        await Promise.allSettled([...ours.values()])
      }
      closed = true
    },
  }
}

/** What undoes it, as the handler says with the result at hand; why not, where it cannot say. */
function undoingOf<T>(
  compensate: (result: T) => Compensation | null,
  value: T,
  key: string,
): Compensation | TerminalError | null {
  try {
    return compensate(value)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return new TerminalError('compensation_unknown', `how to undo effect ${key}: ${message}`)
  }
}

function refuseIfShort(remainingMs: number): void {
  if (remainingMs >= COMMIT_MS) return
  throw new TransientError(
    'too_little_time',
    `${Math.max(0, Math.round(remainingMs))} ms left; an effect needs ${COMMIT_MS}`,
  )
}

/** Runs `fn` with a signal that aborts with the host's and `COMMIT_MS` before the end of the attempt. */
async function underLimit<T>(host: EffectHost, fn: (signal: AbortSignal) => Promise<T> | T): Promise<T> {
  const controller = new AbortController()
  const onAbort = () => controller.abort(host.signal.reason)
  const early = () => controller.abort(new TransientError('too_little_time', 'the time of this attempt is nearly over'))
  const timer = setTimeout(early, Math.max(0, host.remainingMs() - COMMIT_MS))
  host.signal.addEventListener('abort', onAbort)
  try {
    return await fn(controller.signal)
  } finally {
    clearTimeout(timer)
    host.signal.removeEventListener('abort', onAbort)
  }
}
