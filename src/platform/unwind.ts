import type { Clock } from './clock.js'

/** What gives back something that was taken. */
export type Close = () => Promise<unknown>

/**
 * Calls them all once, the newest first. One that throws keeps no other from its turn: the first fault is thrown at the end. One that
 * hangs, as on a store that answers nothing, must not keep a process from ending for ever: after `ms` it throws, and what is left stays
 * as it is.
 */
export function unwinder(closing: readonly Close[], clock: Clock, ms: number): () => Promise<void> {
  let done: Promise<void> | null = null
  return () => {
    done ??= within(clock, ms, inReverse(closing))
    return done
  }
}

async function inReverse(closing: readonly Close[]): Promise<void> {
  const faults: unknown[] = []
  for (const close of [...closing].reverse())
    try {
      await close()
    } catch (fault) {
      faults.push(fault)
    }
  if (faults.length > 0) throw faults[0]
}

function within(clock: Clock, ms: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`Not everything was closed within ${ms / 1000} s`))
    const cancel = clock.after(ms, late)
    work.then(resolve, reject).finally(cancel)
  })
}
