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

interface Limit {
  maps: [Map<string, Count>, ...Map<string, Count>[]]
  name: string
  most: number
}

/** One try at a password, as far as is known before it is looked at. */
export interface Guess {
  /** Whom the typed name means; null where it is nobody. */
  person: string | null
  typed: string
  network: string
  /** Id of a browser on which this person signed on before. */
  browser: string | null
}

/**
 * Bounds wrong passwords: five in a quarter of an hour for one name, twenty from one network. What was right is not counted.
 *
 * Names are counted as they are typed, whether they are somebody's or not: else the sixth try, by another way to write the name, would
 * say who there is. So whoever may be named by an address too has ten.
 *
 * Others' guessing locks nobody out of a browser they signed on with before: such a one has a count of its own, five for this person,
 * and is held up by neither the name's nor the network's. It is told by a sealed cookie that only a right password sets. On a new
 * browser a person who is being guessed at waits with the guesser; keys, sessions and a new invitation go on. (Rejected: counting by
 * person and network together, which gives whoever has a thousand addresses five thousand tries.)
 *
 * A try counts from its beginning, so that a hundred at once are not a hundred. Counts are a node's own: n nodes let n times as many by.
 */
export class Guesses {
  readonly #clock: Clock
  /** As many as there are names and addresses of people, at most: strangers cannot push them out. */
  readonly #people = new Map<string, Count>()
  readonly #others = new Map<string, Count>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Throws Problem `rate_limited`. Else what takes the try back: for who was right, or was told nothing. */
  begin(guess: Guess): () => void {
    const limits = this.#limitsOf(guess)
    const wait = Math.max(0, ...limits.map(({ maps, name, most }) => this.#wait(maps, name, most)))
    if (wait > 0) throw new Problem('rate_limited', 'Too many wrong passwords', { retry_after_ms: wait })
    const counts = limits.map(({ maps: [map], name }) => this.#count(map, name))
    return () => {
      for (const count of counts) count.tries -= 1
    }
  }

  /** Each is counted in the first of its maps. */
  #limitsOf({ person, typed, network, browser }: Guess): Limit[] {
    if (person !== null && browser !== null)
      return [{ maps: [this.#people], name: `${browser} ${person}`, most: OF_PERSON }]
    const [people, others] = [this.#people, this.#others]
    return [
      // In both: `person:x` may be nobody where `x` is somebody.
      { maps: person === null ? [others, people] : [people, others], name: `name ${nameOf(typed)}`, most: OF_PERSON },
      { maps: [others], name: `network ${network}`, most: OF_NETWORK },
    ]
  }

  #wait(maps: Limit['maps'], name: string, most: number): number {
    let [tries, wait] = [0, 0]
    for (const map of maps) {
      const count = map.get(name)
      const left = count === undefined ? 0 : count.since + WINDOW_MS - this.#clock.now()
      if (count === undefined || left <= 0 || left > WINDOW_MS) continue
      tries += count.tries
      wait = Math.max(wait, left)
    }
    return tries < most ? 0 : wait
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

/** As the store looks for it: by name with or without `person:`, and only A to Z are folded. */
function nameOf(typed: string): string {
  const folded = typed.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  return folded.startsWith('person:') ? folded.slice('person:'.length) : folded
}
