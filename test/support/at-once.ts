/** What work comes to that yields in between. */
export function atOnce<T>(work: Generator<void, T, void>): T {
  for (;;) {
    const part = work.next()
    if (part.done) return part.value
  }
}
