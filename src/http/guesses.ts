import { Problem } from '../errors.js'
import type { Clock } from '../platform/clock.js'
import { keep } from './attempts.js'

const WINDOW_MS = 15 * 60_000
const OF_PERSON = 5
const OF_NETWORK = 20

interface Count {
  tries: number
  since: number
}

/** One try at a password, as far as is known before it is looked at. */
export interface Guess {
  /** Whom the typed name means; null where it is nobody, who is counted all the same: else the answer would say who there is. */
  person: string | null
  typed: string
  network: string
  /** Id of a browser on which this person signed on before. */
  browser: string | null
}

/**
 * Bounds wrong passwords: five in a quarter of an hour for one person, twenty from one network. What was right is not counted.
 *
 * Others' guessing locks nobody out of a browser they signed on with before: such a one has a count of its own, five for this person,
 * and is held up by neither the person's nor the network's. It is told by a sealed cookie that only a right password sets. On a new
 * browser a person who is being guessed at waits with the guesser; keys, sessions and a new invitation go on. (Rejected: counting by
 * person and network together, which gives whoever has a thousand addresses five thousand tries.)
 *
 * A try counts from its beginning, so that a hundred at once are not a hundred. Counts are a node's own: n nodes let n times as many by.
 */
export class Guesses {
  readonly #clock: Clock
  /** As many as there are people, at most: strangers cannot push them out. */
  readonly #people = new Map<string, Count>()
  readonly #others = new Map<string, Count>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Throws Problem `rate_limited`. Else what takes the try back: for who was right, or was told nothing. */
  begin(guess: Guess): () => void {
    const limits = this.#limitsOf(guess)
    const waits = limits.map(({ map, name, most }) => this.#wait(map.get(name), most))
    const wait = Math.max(0, ...waits)
    if (wait > 0) throw new Problem('rate_limited', 'Too many wrong passwords', { retry_after_ms: wait })
    const counts = limits.map(({ map, name }) => this.#count(map, name))
    return () => {
      for (const count of counts) count.tries -= 1
    }
  }

  #limitsOf({ person, typed, network, browser }: Guess) {
    if (person !== null && browser !== null)
      return [{ map: this.#people, name: `${browser} ${person}`, most: OF_PERSON }]
    const named =
      person === null
        ? { map: this.#others, name: `name ${typed.toLowerCase()}`, most: OF_PERSON }
        : { map: this.#people, name: person, most: OF_PERSON }
    return [named, { map: this.#others, name: `network ${network}`, most: OF_NETWORK }]
  }

  #wait(count: Count | undefined, most: number): number {
    if (count === undefined || count.tries < most) return 0
    const left = count.since + WINDOW_MS - this.#clock.now()
    return left > WINDOW_MS ? 0 : Math.max(0, left)
  }

  #count(map: Map<string, Count>, name: string): Count {
    const now = this.#clock.now()
    const known = map.get(name)
    const isOver = known === undefined || now - known.since >= WINDOW_MS || now < known.since
    const count = isOver ? { tries: 0, since: now } : known
    if (isOver) {
      map.delete(name)
      if (map === this.#people) map.set(name, count)
      else keep(map, name, count)
    }
    count.tries += 1
    return count
  }
}
