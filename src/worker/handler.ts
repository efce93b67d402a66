import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { TerminalError } from '../sdk/errors.js'

/**
 * What the handlers need of a job and of the worker that runs them. It is a part of what `createWorker` passes, written
 * down apart so that a handler can be run in a test, or by another worker, with twenty lines of context.
 */
export interface HandlerJob {
  readonly job_id: string
  readonly topic: string
  readonly input: unknown
}

export interface EffectContext {
  /** The same in every attempt of this job and key; send it to the outside system. */
  readonly idempotencyKey: string
  /** Ends earlier than the lease: it leaves time to commit what happened. */
  readonly signal: AbortSignal
}

export interface HandlerContext {
  /** Aborts on cancel, stop, a lost lease and at the end of the attempt's time. */
  readonly signal: AbortSignal
  readonly constraints: Readonly<Record<string, unknown>>
  /** Effects that earlier attempts committed. */
  readonly effects: ReadonlyArray<{ key: string; result: unknown }>
  /** Milliseconds left of this attempt. */
  remainingMs(): number
  /**
   * Begins `key`, runs `fn`, commits what it returns. Where an earlier attempt committed it, `fn` is not called and the
   * recorded (screened) result comes back. If `fn` throws, the effect stays begun and the job becomes ambiguous.
   */
  effect<T>(key: string, fn: (effect: EffectContext) => Promise<T>): Promise<T>
}

export type Handler<Result> = (job: HandlerJob, ctx: HandlerContext) => Promise<Result>

/**
 * The input, checked against a closed schema.
 * @throws TerminalError `invalid_input`, naming at most five faults: a retry would meet the same input
 */
export function readInput<T>(schema: TSchema, input: unknown): T {
  if (Value.Check(schema, input)) return input as T
  const faults = Value.Errors(schema, input)
    .slice(0, 5)
    .map((fault) => `${fault.instancePath || '/'} ${fault.message}`)
  throw new TerminalError('invalid_input', faults.join('; '))
}

/**
 * A worker says once, for all its topics, which constraints it enforces; a program it starts can reach any host all the
 * same. So a handler that hands control to a program refuses what it cannot keep, and the plane's promise stays true.
 * @throws TerminalError `constraint_not_enforced`
 */
export function refuseUnenforceable(ctx: HandlerContext): void {
  if (ctx.constraints.allowed_hosts !== undefined)
    throw new TerminalError(
      'constraint_not_enforced',
      'allowed_hosts cannot be enforced on a program; it was not started',
    )
}

/**
 * Bytes from outside as text the plane accepts: valid UTF-8 (a broken sequence becomes U+FFFD) without NUL, which
 * neither its parser nor Postgres takes.
 */
export function toText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replaceAll('\0', '\uFFFD')
}

/** At most `limit` UTF-16 units, without half a pair at the end: the plane refuses a lone surrogate. */
export function cutText(text: string, limit: number): string {
  return text.slice(0, limit).replace(/[\uD800-\uDBFF]$/, '')
}
