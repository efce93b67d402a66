import { realpath } from 'node:fs/promises'
import { type Static, Type } from 'typebox'
import { TerminalError, TransientError } from '../sdk/errors.js'
import { type Handler, readInput, refuseUnenforceable } from './handler.js'
import { resolveInside } from './paths.js'
import { type ProgramResult, programResult, requireSuccess, runProgram } from './program.js'

export interface ExecShellOptions {
  /** The folder commands start in, or below. None: every command is refused. */
  readonly workdir?: string
  /** Names `input.env` may set. Default none. */
  readonly allowedEnv?: readonly string[]
  /** Kept of each stream: half from the start, half from the end. */
  readonly maxBytes?: number
  readonly timeoutMs?: number
}

export const ExecShellInput = Type.Object(
  {
    command: Type.String({ minLength: 1, maxLength: 64 * 1024, pattern: '^[^\\u0000]*$' }),
    cwd: Type.Optional(Type.String({ minLength: 1, maxLength: 1000, description: 'Relative to the working folder' })),
    env: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' }),
        Type.String({ maxLength: 8192, pattern: '^[^\\u0000]*$' }),
        { additionalProperties: false },
      ),
    ),
    stdin: Type.Optional(Type.String()),
    timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400_000 })),
    check: Type.Optional(Type.Boolean({ description: 'false: an exit code other than 0 is a result, not a failure' })),
  },
  { additionalProperties: false },
)
export type ExecShellInput = Static<typeof ExecShellInput>

/** Per stream: two of them, JSON-escaped at worst sixfold, still fit a 2 MiB body. */
const DEFAULT_BYTES = 128 * 1024

/**
 * `job.exec.shell`: one `/bin/sh -c` in the working folder, with PATH, HOME and LANG and nothing of the worker's own
 * environment. The run is one effect (`run`): a command may change things, so a worker lost in the middle of it leaves
 * the job ambiguous, and an attempt that finds the run recorded reports that run. The working folder is where commands
 * start, not a wall: what they may touch is the matter of the policy and of the account the worker runs under.
 * @throws TerminalError `invalid_input` | `env_refused` | `cwd_refused` | `not_configured` | `constraint_not_enforced` | `exit_nonzero` | `killed` | `timeout`; TransientError `aborted`
 */
export function execShell(options: ExecShellOptions): Handler<ProgramResult> {
  return async (job, ctx) => {
    const input = readInput<ExecShellInput>(ExecShellInput, job.input)
    refuseUnenforceable(ctx)
    const home = await workdir(options)
    const cwd = await resolveInside(home, input.cwd ?? '.')
    if (cwd === null) throw new TerminalError('cwd_refused', '/cwd is no folder inside the working folder')
    const env = {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      LANG: 'C.UTF-8',
      ...allowed(input.env, options.allowedEnv ?? []),
      HOME: home,
    }
    // Before the effect begins: a job that was cancelled on the way has done nothing, and should not look as if it had.
    if (ctx.signal.aborted) throw new TransientError('aborted', 'the attempt ended before the command started')
    const result = await ctx.effect('run', (effect) =>
      runProgram({
        file: '/bin/sh',
        args: ['-c', input.command],
        cwd,
        env,
        stdin: input.stdin ?? '',
        signal: effect.signal,
        timeoutMs: Math.min(
          input.timeout_ms ?? Number.POSITIVE_INFINITY,
          options.timeoutMs ?? Number.POSITIVE_INFINITY,
          ctx.remainingMs(),
        ),
        maxBytes: options.maxBytes ?? DEFAULT_BYTES,
      }),
    )
    return requireSuccess(programResult(result), input.check !== false)
  }
}

async function workdir(options: ExecShellOptions): Promise<string> {
  const real = options.workdir === undefined ? null : await realpath(options.workdir).catch(() => null)
  if (real === null) throw new TerminalError('not_configured', 'this worker has no working folder for commands')
  return real
}

function allowed(env: Record<string, string> | undefined, names: readonly string[]): Record<string, string> {
  const refused = Object.keys(env ?? {}).filter((name) => !names.includes(name))
  if (refused.length > 0)
    throw new TerminalError('env_refused', `these variables may not be set: ${refused.slice(0, 10).join(', ')}`)
  return { ...env }
}
