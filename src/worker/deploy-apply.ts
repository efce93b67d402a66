import { realpath } from 'node:fs/promises'
import { TerminalError, TransientError } from '../sdk/errors.js'
import { type Handler, refuseUnenforceable } from './handler.js'
import { type ProgramResult, programResult, requireSuccess, runProgram } from './program.js'

export interface DeployApplyOptions {
  /** Program and arguments, whole. Nothing of a job becomes an argument: its input arrives on stdin, as JSON. */
  readonly command?: readonly string[]
  /** Folder it runs in; default the worker's own. */
  readonly cwd?: string
  /** Environment it gets beside PATH, HOME and LANG: what a deployment needs to sign in, chosen by name by the operator. */
  readonly env?: Readonly<Record<string, string>>
  readonly maxBytes?: number
  readonly timeoutMs?: number
}

const DEFAULT_BYTES = 128 * 1024

/**
 * `job.deploy.apply`: runs the configured command once, as the effect `apply`, with the job's input as JSON on stdin and
 * in its environment SALLYPORT_JOB_ID and SALLYPORT_IDEMPOTENCY_KEY (the same in every attempt of the job).
 * @throws TerminalError `not_configured` | `constraint_not_enforced` | `exit_nonzero` | `killed` | `timeout` | `aborted` | `not_started`
 */
export function deployApply(options: DeployApplyOptions): Handler<ProgramResult> {
  return async (job, ctx) => {
    const [file, ...args] = options.command ?? []
    if (file === undefined) throw new TerminalError('not_configured', 'this worker has no deploy command')
    refuseUnenforceable(ctx)
    const cwd = await realpath(options.cwd ?? '.').catch(() => null)
    if (cwd === null) throw new TerminalError('not_configured', 'the folder of the deploy command is missing')
    if (ctx.signal.aborted) throw new TransientError('aborted', 'the attempt ended before the command started')
    const result = await ctx.effect('apply', (effect) =>
      runProgram({
        file,
        args,
        cwd,
        env: {
          PATH: '/usr/local/bin:/usr/bin:/bin',
          LANG: 'C.UTF-8',
          HOME: cwd,
          ...options.env,
          SALLYPORT_JOB_ID: job.job_id,
          SALLYPORT_IDEMPOTENCY_KEY: effect.idempotencyKey,
        },
        stdin: JSON.stringify(job.input ?? null),
        signal: effect.signal,
        timeoutMs: Math.min(options.timeoutMs ?? Number.POSITIVE_INFINITY, ctx.remainingMs()),
        maxBytes: options.maxBytes ?? DEFAULT_BYTES,
      }),
    )
    return requireSuccess(programResult(result), true)
  }
}
