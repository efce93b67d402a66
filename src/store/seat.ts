import type { Clock } from '../platform/clock.js'
import type { Db, Hold } from '../platform/db/seam.js'

/** How long to wait before asking again for what another node holds. */
const AGAIN_MS = 200

/** Takes the name among all nodes; waits for whoever has it. */
export async function hold(db: Db, clock: Clock, name: string): Promise<Hold> {
  for (;;) {
    const taken = await db.hold(name)
    if (taken !== null) return taken
    await new Promise<void>((again) => clock.after(AGAIN_MS, again))
  }
}

/** Under this name a process shows that it still writes its audit chain. */
export const writerName = (writer: string) => `writer/${writer}`

/** A name that one of several nodes has: taken when it is free, and again after it was lost. */
export class Seat {
  readonly #db: Db
  #hold: Hold | null = null
  #name: string

  constructor(db: Db, name: string) {
    this.#db = db
    this.#name = name
  }

  /** Whether this node has the name; tries to take it when it does not. */
  async taken(name = this.#name): Promise<boolean> {
    if (name !== this.#name) {
      await this.leave()
      this.#name = name
    }
    if (this.#hold?.held !== true) this.#hold = await this.#db.hold(this.#name)
    return this.#hold !== null
  }

  async leave(): Promise<void> {
    await this.#hold?.release()
    this.#hold = null
  }
}
