import type { Completion } from '../contract/workers.js'
import { errorCode, TerminalError, TransientError } from './errors.js'

/** The server takes bodies of 2 MiB; a report alone in a body must fit with the brackets and ids around it. */
export const BODY_BYTES = 2 * 1024 * 1024
const ENVELOPE_BYTES = 16 * 1024
/** Largest result, as JSON in UTF-8. Larger material belongs elsewhere, with a reference as the result. */
export const RESULT_BYTES = BODY_BYTES - ENVELOPE_BYTES
const MESSAGE_BYTES = 8_192

/** Why an attempt was ended from outside; it is `ctx.signal.reason`, so a handler can tell by `why`. */
export class AttemptAborted extends Error {
  /**
   * `cancel`: the job is cancelled or stopped. `lost`: the server gave the lease up, somebody else may run the job.
   * `silent`: no heartbeat got through for so long that the same must be assumed. `timeout`: the attempt's time is over.
   * `stop`: this worker stops.
   */
  readonly why: 'cancel' | 'lost' | 'silent' | 'timeout' | 'stop'
  constructor(why: AttemptAborted['why']) {
    super(ABORTED[why].message)
    this.name = 'AttemptAborted'
    this.why = why
  }
}

const ABORTED = {
  cancel: { code: 'cancelled', message: 'the job was cancelled or stopped' },
  lost: { code: 'lease_lost', message: 'the lease is no longer ours' },
  silent: { code: 'server_silent', message: 'no heartbeat got through; the lease must be taken as lost' },
  timeout: { code: 'timeout', message: 'the time of this attempt is over' },
  stop: { code: 'worker_stopped', message: 'the worker stopped before the job was done' },
}

/** One report, already JSON, and how many bytes it is. */
export interface Report {
  lease: string
  outcome: Completion['outcome']
  text: string
  bytes: number
}

type Usage = Completion['usage']

/** Reports a result; one that is no JSON or too large becomes a terminal failure, because another attempt would end the same. */
export function succeeded(lease: string, result: unknown, usage?: Usage): Report {
  const json = asJson(result)
  if (json instanceof TerminalError) return failed(lease, json, undefined, usage)
  const rest = usage === undefined ? '' : `,"usage":${JSON.stringify(usage)}`
  return sealed(lease, 'succeeded', `{"lease":${JSON.stringify(lease)},"outcome":"succeeded","result":${json}${rest}}`)
}

/**
 * Reports a failure. Terminal only where the handler said so with `TerminalError`: an unknown error may be the network's,
 * and whether a begun effect forbids a retry is the server's to know. After an abort its reason is the code, since what the
 * handler threw then is only the echo.
 */
export function failed(lease: string, error: unknown, aborted?: AttemptAborted, usage?: Usage): Report {
  const terminal = error instanceof TerminalError
  const echo = aborted !== undefined && !terminal
  const completion: Completion = {
    lease,
    outcome: 'failed',
    error: {
      class: terminal ? 'terminal' : 'transient',
      code: echo ? ABORTED[aborted.why].code : codeOf(error),
      message: cut(echo ? aborted.message : messageOf(error)),
    },
    ...(usage === undefined ? {} : { usage }),
  }
  return sealed(lease, 'failed', JSON.stringify(completion))
}

/** The value as JSON (`null` for undefined), or the reason why it cannot be sent. */
export function asJson(value: unknown): string | TerminalError {
  let json: string
  try {
    json = JSON.stringify(value) ?? 'null'
  } catch (cause) {
    return new TerminalError('result_not_json', `the result is no JSON: ${messageOf(cause)}`, { cause })
  }
  const bytes = Buffer.byteLength(json)
  if (bytes <= RESULT_BYTES) return json
  return new TerminalError(
    'result_too_large',
    `the result has ${bytes} bytes as JSON; at most ${RESULT_BYTES} are taken`,
  )
}

function sealed(lease: string, outcome: Completion['outcome'], text: string): Report {
  return { lease, outcome, text, bytes: Buffer.byteLength(text) }
}

function codeOf(error: unknown): string {
  if (error instanceof TransientError || error instanceof TerminalError) return error.code
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code !== '' ? errorCode(code) : 'handler_error'
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error))
    return typeof error === 'string' ? error : 'the handler threw something that is no Error'
  // "fetch failed" says nothing; the cause behind it does.
  const cause = error.cause instanceof Error && error.cause.message !== '' ? `: ${error.cause.message}` : ''
  return `${error.message || error.name}${cause}`
}

/** At most 8 KiB of well-formed text: a half character or a NUL would have the server refuse the report. */
function cut(message: string): string {
  const bytes = Buffer.from(message.slice(0, MESSAGE_BYTES).replaceAll('\0', '\uFFFD'))
  // The last character may be cut through; stream: true leaves its bytes out.
  return new TextDecoder().decode(bytes.subarray(0, MESSAGE_BYTES), { stream: true })
}
