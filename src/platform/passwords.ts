import { type Algorithm, hash, parseOptions, verify } from '@node-rs/argon2'
import { Problem } from '../errors.js'

/** Slow hashes of what people type. */
export interface Passwords {
  hash(password: string): Promise<string>
  /** Null stands for somebody who has none: it costs what any other costs, and is never right. */
  verify(stored: string | null, password: string): Promise<boolean>
  /** Whether it was made with other parameters than are used now. */
  isStale(stored: string): boolean
}

/**
 * OWASP's smallest for argon2id: 19 MiB, two passes, one lane; 20 to 30 ms of one core. It slows who has the database; who has only
 * the form is slowed by the count of failures. The enum of the library is a `const enum`, which a file that is only stripped of its
 * types cannot import: 2 is argon2id.
 */
const PARAMETERS = { algorithm: 2 as Algorithm, memoryCost: 19_456, timeCost: 2, parallelism: 1 }

/** Of the four threads that files and name look-ups use too. */
const AT_ONCE = 2
/** Half a second of work: whoever comes after that is told at once. */
const WAITING = 32

/** Throws Problem `overloaded` where too many wait already: each takes memory and a thread from everything else. */
export function argon2Passwords({ atOnce = AT_ONCE, waiting = WAITING } = {}): Passwords {
  const turn = turns(atOnce, waiting)
  let dummy: Promise<string> | null = null
  const work = {
    hash: (password: string) => turn(() => hash(password, PARAMETERS)),
    async verify(stored: string | null, password: string) {
      dummy ??= hash('nobody has this one', PARAMETERS)
      const against = stored ?? (await dummy)
      const right = await turn(() => verify(against, password))
      return right && stored !== null
    },
    isStale(stored: string) {
      const used = parseOptions(stored)
      return Object.entries(PARAMETERS).some(([name, value]) => used[name as keyof typeof PARAMETERS] !== value)
    },
  }
  return work
}

/** Runs so many at once; the others wait in the order they came. */
function turns(atOnce: number, waiting: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0
  const queue: (() => void)[] = []
  return async (work) => {
    if (running >= atOnce) {
      if (queue.length >= waiting) throw new Problem('overloaded', 'Too many sign on at once', { retry_after_ms: 1000 })
      // Whoever ends hands its place over, so that nobody who comes just then takes it.
      await new Promise<void>((resolve) => queue.push(resolve))
    } else running++
    try {
      return await work()
    } finally {
      const next = queue.shift()
      if (next === undefined) running--
      else next()
    }
  }
}
