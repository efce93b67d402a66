/** Time as everything else sees it: epoch ms, and timers that a test can own. */
export interface Clock {
  now(): number
  /** Runs `fn` after `ms`; the returned function cancels it. Timers never keep the process alive by themselves. */
  after(ms: number, fn: () => void): () => void
  /** Resolves when what waits for this thread has had its turn: long work asks for it in between. */
  turn(): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
}

/** A clock that runs beside another: what several machines write must be told by one of them, the store's. */
export interface StoreClock extends Clock {
  /** How far the store's clock is ahead of this machine's, ms. */
  offset: number
}

export function storeClock(own: Clock): StoreClock {
  const clock: StoreClock = {
    offset: 0,
    now: () => own.now() + clock.offset,
    after: (ms, fn) => own.after(ms, fn),
    turn: () => own.turn(),
  }
  return clock
}

/** A clock that moves only when told. `advance` runs due timers in order of their instant. */
export function manualClock(start = 1_700_000_000_000): Clock & { advance(ms: number): void } {
  let now = start
  let timers: { at: number; fn: () => void }[] = []
  return {
    now: () => now,
    after(ms, fn) {
      const timer = { at: now + ms, fn }
      timers.push(timer)
      return () => {
        timers = timers.filter((t) => t !== timer)
      }
    },
    turn: () => Promise.resolve(),
    advance(ms) {
      const end = now + ms
      for (;;) {
        const due = timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0]
        if (due === undefined) break
        timers = timers.filter((t) => t !== due)
        now = Math.max(now, due.at)
        due.fn()
      }
      now = end
    },
  }
}
