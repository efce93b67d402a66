import type { CompleteAnswer } from '../contract/workers.js'
import { persist } from './backoff.js'
import { SallyportError, TerminalError } from './errors.js'
import { BODY_BYTES, failed, type Report } from './outcome.js'
import { isPassing } from './transport.js'

export interface Outbox {
  put(report: Report): void
  /** Reports not yet answered. */
  readonly size: number
  /** Resolves when all are answered, or given up by the abandon signal. */
  idle(): Promise<void>
}

const MOST_REPORTS = 1_000

/**
 * Carries the ends of attempts to the server. One request at a time; what came up meanwhile is the next batch, so batches grow
 * with load and a lone report waits for nobody. Repeated, byte for byte, until the server has answered.
 */
export function createOutbox(host: {
  send(body: string): Promise<CompleteAnswer>
  /** Ends all sending; what is left is dropped, and its leases run out. */
  abandoned: AbortSignal
  onAnswer(report: Report, answer: string): void
  onTrouble(event: string, error: unknown): void
}): Outbox {
  const waiting: Report[] = []
  let underWay = 0
  let pumping: Promise<void> | null = null

  async function pump() {
    try {
      while (waiting.length > 0) {
        const batch = takeBatch(waiting)
        underWay = batch.length
        await deliver(batch)
      }
    } catch (error) {
      // Only the abandon signal ends deliver without an answer.
      host.onTrouble('reports_dropped', error)
      waiting.length = 0
      underWay = 0
    } finally {
      pumping = null
    }
  }

  async function deliver(batch: Report[]): Promise<void> {
    try {
      const answer = await persist(() => send(batch), isWorthRepeating, host.abandoned)
      const words = new Map((answer.leases ?? []).map((item) => [item.lease, item.answer]))
      for (const report of batch) answered(report, words.get(report.lease) ?? 'unanswered')
    } catch (error) {
      if (host.abandoned.aborted || !(error instanceof SallyportError)) throw error
      // One unacceptable result has the whole body refused, so each goes alone, and the culprit as a failure instead.
      if (batch.length > 1) for (const report of batch) await deliver([report])
      else if (batch[0] !== undefined) await deliverRefusal(batch[0], error)
    }
  }

  /** Counted out before it is told: who hears of the last one must see that there is room, for nobody calls again. */
  function answered(report: Report, answer: string): void {
    underWay--
    host.onAnswer(report, answer)
  }

  async function deliverRefusal(report: Report, error: SallyportError): Promise<void> {
    host.onTrouble('report_refused', error)
    const why = new TerminalError('result_refused', `the server does not take this result: ${error.message}`)
    const instead = failed(report.lease, why)
    // The same text again: it was already this refusal, or an error text, that was refused. Let the lease run out.
    if (instead.text === report.text || report.outcome === 'failed') return answered(report, 'refused')
    await deliver([instead])
  }

  async function send(batch: Report[]): Promise<CompleteAnswer> {
    try {
      return await host.send(`[${batch.map((report) => report.text).join(',')}]`)
    } catch (error) {
      if (isWorthRepeating(error)) host.onTrouble('report_delayed', error)
      throw error
    }
  }

  return {
    put(report) {
      waiting.push(report)
      pumping ??= pump()
    },
    get size() {
      return waiting.length + underWay
    },
    async idle() {
      while (pumping !== null) await pumping
    },
  }
}

/** A key that is not accepted may be mended (rotation, a clock) while the results are still worth something; other refusals stay. */
function isWorthRepeating(error: unknown): boolean {
  return isPassing(error) || (error instanceof SallyportError && error.status === 401)
}

function takeBatch(waiting: Report[]): Report[] {
  let bytes = 2
  let count = 0
  for (const report of waiting) {
    bytes += report.bytes + 1
    if (count > 0 && (bytes > BODY_BYTES || count === MOST_REPORTS)) break
    count++
  }
  return waiting.splice(0, count)
}
