import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'

/** A piece of work repeated with a pause, never overlapping itself. A fault is logged and the next round tries again. */
export interface Loop {
  /** Runs a round now (or right after the one under way) instead of waiting out the pause. */
  wake(): void
  stop(): Promise<void>
}

export function loop(name: string, clock: Clock, log: Log, pauseMs: number, round: () => Promise<unknown>): Loop {
  let stopped = false
  let again = false
  let running: Promise<void> | null = null
  let cancel: (() => void) | null = null
  const run = async () => {
    do {
      again = false
      try {
        await round()
      } catch (error) {
        if (!stopped) log.error({ loop: name, err: error }, 'a round failed; the next one tries again')
      }
    } while (again && !stopped)
    running = null
    if (!stopped) cancel = clock.after(pauseMs, start)
  }
  const start = () => {
    cancel?.()
    cancel = null
    if (stopped) return
    if (running === null) running = run()
    else again = true
  }
  cancel = clock.after(pauseMs, start)
  return {
    wake: start,
    async stop() {
      stopped = true
      cancel?.()
      await running
    },
  }
}
