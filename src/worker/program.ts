import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { TerminalError } from '../sdk/errors.js'
import { type ProcessSpec, runProcess, SpawnError } from './process.js'

/** What a program did, as it is recorded with its effect and returned to the caller. */
export const ProgramResult = Type.Object({
  exit_code: Type.Union([Type.Integer(), Type.Null()]),
  signal: Type.Union([Type.String(), Type.Null()]),
  /** Who ended it: itself (or a signal from elsewhere), the time limit, or the end of the attempt. */
  ended_by: Type.Union([
    Type.Literal('exit'),
    Type.Literal('timeout'),
    Type.Literal('abort'),
    Type.Literal('not_started'),
  ]),
  stdout: Type.String(),
  stderr: Type.String(),
  stdout_bytes: Type.Integer(),
  stderr_bytes: Type.Integer(),
  truncated: Type.Boolean(),
  duration_ms: Type.Integer(),
})
export type ProgramResult = Static<typeof ProgramResult>

const STDERR_TAIL = 2000

/**
 * Runs a program as the body of an effect. It throws for nothing a program can do: whatever happened is known here, so
 * it is committed, also a kill, and the job does not become ambiguous for want of a return value.
 */
export async function runProgram(spec: Omit<ProcessSpec, 'overflow'>): Promise<ProgramResult> {
  try {
    const outcome = await runProcess({ ...spec, overflow: 'count' })
    return {
      exit_code: outcome.exitCode,
      signal: outcome.signal,
      ended_by: outcome.endedBy === 'overflow' ? 'exit' : outcome.endedBy,
      stdout: outcome.stdout.text(),
      stderr: outcome.stderr.text(),
      stdout_bytes: outcome.stdout.bytes,
      stderr_bytes: outcome.stderr.bytes,
      truncated: outcome.stdout.truncated || outcome.stderr.truncated,
      duration_ms: outcome.durationMs,
    }
  } catch (error) {
    if (!(error instanceof SpawnError)) throw error
    const empty = { stdout: '', stdout_bytes: 0, stderr_bytes: 0, truncated: false, duration_ms: 0 }
    return { exit_code: null, signal: null, ended_by: 'not_started', stderr: error.message, ...empty }
  }
}

/**
 * What `ctx.effect` returned: this run, or the recorded one of an earlier attempt, which the output screen may have held
 * back or changed.
 * @throws TerminalError `effect_result_withheld`: it ran once, and that it ran is all that may be told
 */
export function programResult(recorded: unknown): ProgramResult {
  if (Value.Check(ProgramResult, recorded)) return recorded
  throw new TerminalError('effect_result_withheld', 'an earlier attempt ran it; its recorded output is held back')
}

/**
 * Failures are terminal: the program ran, and running it again by itself could do its work twice.
 * @throws TerminalError `timeout` | `aborted` | `not_started` | `killed` | `exit_nonzero`, with the end of stderr
 */
export function requireSuccess(result: ProgramResult, checkExit: boolean): ProgramResult {
  const detail = result.stderr.slice(-STDERR_TAIL).trim()
  const fail = (code: string, what: string) => new TerminalError(code, detail === '' ? what : `${what}: ${detail}`)
  if (result.ended_by === 'timeout') throw fail('timeout', 'it was ended at its time limit')
  if (result.ended_by === 'abort') throw fail('aborted', 'it was ended with the attempt')
  if (result.ended_by === 'not_started') throw fail('not_started', 'it could not be started')
  if (result.signal !== null && checkExit) throw fail('killed', `it was killed by ${result.signal}`)
  if (result.exit_code !== 0 && checkExit) throw fail('exit_nonzero', `it ended with exit code ${result.exit_code}`)
  return result
}
