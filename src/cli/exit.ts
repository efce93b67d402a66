import type { Problem } from '../contract/problems.js'
import { SallyportError } from '../sdk/errors.js'

/**
 * Exit codes of every command: a promise to scripts, listed in docs/cli.md. 69, 70 and 75 mean what sysexits.h says.
 */
export const EXIT = {
  done: 0,
  /** The answer is no: denied, failed, faults found, tampering found. */
  no: 1,
  usage: 2,
  /** `audit verify` found nothing wrong, but nobody could say whether the tail is all there. */
  notChecked: 3,
  notFound: 4,
  /** No key, a wrong one, or one that may not do this. */
  forbidden: 5,
  noServer: 69,
  fault: 70,
  /** The server asks to come back later, or the wait is over before the work is. */
  later: 75,
  interrupted: 130,
} as const
export type Exit = (typeof EXIT)[keyof typeof EXIT]

/** One of several faults; hint and severity are a policy's. */
export interface FaultLine {
  path: string
  message: string
  hint?: string
  severity?: string
}

/** An end that the user can do something about; `help` says what. */
export class CliError extends Error {
  readonly exit: Exit
  readonly code: string
  readonly help: string | null
  readonly details: Record<string, unknown>
  /** A line each, where there are several. */
  readonly faults: readonly FaultLine[]

  constructor(
    exit: Exit,
    code: string,
    message: string,
    help: string | null = null,
    about: { details?: Record<string, unknown>; faults?: readonly FaultLine[] } = {},
  ) {
    super(message)
    this.name = 'CliError'
    this.exit = exit
    this.code = code
    this.help = help
    this.details = about.details ?? {}
    this.faults = about.faults ?? []
  }
}

export const usage = (message: string, help: string | null = null) => new CliError(EXIT.usage, 'usage', message, help)

/** What is printed of an error, in words and as `{"error": …}`. */
export interface Told {
  exit: Exit
  code: string
  message: string
  help: string | null
  faults: readonly FaultLine[]
  details: Record<string, unknown>
}

/** Whatever was thrown, as what to print and how to end. */
export function told(error: unknown): Told {
  if (error instanceof CliError) {
    const { exit, code, message, help, faults, details } = error
    return { exit, code, message, help, faults, details }
  }
  if (error instanceof SallyportError) return fromServer(error)
  const message = error instanceof Error ? error.message : String(error)
  // The SDK's word for an argument it cannot use: an empty id, a key that is no key, an address that is none.
  if (error instanceof TypeError && /^(not an id|url|apiKey|path):/.test(message))
    return { exit: EXIT.usage, code: 'usage', message, help: null, faults: [], details: {} }
  return { exit: EXIT.fault, code: 'fault', message, help: null, faults: [], details: {} }
}

function fromServer(error: SallyportError): Told {
  const { code, message, status, problem, request_id, retry_after_ms } = error
  return {
    exit: exitOf(code, status),
    code,
    // Faults get a line each; `detail` is the message without them.
    message: problem?.detail ?? problem?.title ?? message,
    help: helpOf(problem) ?? helpFor(code),
    faults: problem?.faults ?? [],
    details: { ...withoutShape(problem), status, request_id, retry_after_ms },
  }
}

function exitOf(code: string, status: number): Exit {
  if (code === 'unreachable') return EXIT.noServer
  if (code === 'wait_timeout' || status === 429 || status === 502 || status === 503 || status === 504) return EXIT.later
  if (code === 'breaker_open') return EXIT.later
  if (['policy_denied', 'out_of_scope', 'stopped', 'result_quarantined'].includes(code)) return EXIT.no
  if (['manual_path', 'version_refused', 'rolled_back'].includes(code)) return EXIT.no
  if (status === 401 || status === 403) return EXIT.forbidden
  if (status === 404) return EXIT.notFound
  if (status === 400 || status === 413 || status === 422) return EXIT.usage
  return EXIT.no
}

/** The server's advice, with what it speaks of: the permission that was missing, the stop, what people do instead of the agent. */
function helpOf(problem: Problem | null): string | null {
  if (problem?.help === undefined) return null
  const { needs, stop_id, rollout_id, fallback } = problem as Record<string, unknown>
  const told = [problem.help]
  if (needs !== undefined) told.push(`Needed: ${Array.isArray(needs) ? needs.join(' or ') : String(needs)}.`)
  if (typeof stop_id === 'string') told.push(`The stop: sallyport stops show ${stop_id}.`)
  if (typeof rollout_id === 'string') told.push(`The rollout: sallyport rollouts show ${rollout_id}.`)
  if (typeof fallback === 'string') told.push(`Instead: ${fallback}`)
  return told.join(' ')
}

function helpFor(code: string): string | null {
  if (code === 'unexpected_answer')
    return 'Something other than Sallyport may be listening there; check --url and SALLYPORT_URL.'
  return null
}

/** The problem's own members; `type`, `title` and what stands beside them already add nothing for a script. */
function withoutShape(problem: Problem | null): Record<string, unknown> {
  if (problem === null) return {}
  const { type, title, detail, code, help, faults, request_id, ...rest } = problem
  return rest
}
