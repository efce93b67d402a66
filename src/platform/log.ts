import { pino } from 'pino'

/** Structured lines on stderr: stdout belongs to the command. Keys and authorisation headers never reach a line. */
export type Log = Pick<import('pino').Logger, 'debug' | 'info' | 'warn' | 'error' | 'fatal'>

export function createLog(level: string): Log {
  return pino(
    {
      level,
      base: null,
      redact: {
        paths: ['req.headers["x-api-key"]', 'req.headers.authorization', '*.key', '*.secret'],
        censor: '[REDACTED]',
      },
    },
    pino.destination({ dest: 2, sync: false }),
  )
}

export const silentLog: Log = pino({ level: 'silent' })
