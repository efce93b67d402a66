/** When each key last opened something on this node, until a loop writes it down: a hint for people, so nothing waits for it. */
export class KeyUses {
  #at = new Map<string, number>()

  note(key_id: string, at: number): void {
    this.#at.set(key_id, at)
  }

  /** All since the last time; the caller writes them, or puts them back. */
  take(): Map<string, number> {
    const taken = this.#at
    this.#at = new Map()
    return taken
  }

  putBack(uses: ReadonlyMap<string, number>): void {
    for (const [key_id, at] of uses) if (!this.#at.has(key_id)) this.#at.set(key_id, at)
  }
}
