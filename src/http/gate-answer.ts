import { blockingText } from '../core/metrics.js'
import type { Problem } from '../errors.js'

/**
 * A windowed number at any address: a script that compares what it is sent must block on a wrong path, a missing key and a lost
 * store alike. A shell takes a problem document for no number, and `[ … -gt 0 ]` on no number is simply not true: it would pass.
 */
const NUMBER = /\/metrics\/+([^/]*)\/*$/

/** What a refused or failed request for a number is answered with instead of a problem document; null where it asked for none. */
export function gateAnswer(problem: Problem, url: string): { headers: Record<string, string>; body: string } | null {
  const name = NUMBER.exec(url.split(/[?#]/, 1)[0] ?? '')?.[1]
  if (name === undefined) return null
  return {
    headers: {
      'content-type': 'text/plain; charset=utf-8',
      'x-sallyport-unknown': '1',
      'x-sallyport-reason': problem.code,
    },
    body: `${blockingText(name)}\n`,
  }
}
