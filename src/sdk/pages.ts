/** A page of a list; `next_cursor` is null on the last. */
export interface Page<T> {
  items: T[]
  next_cursor: string | null
}

/** Every item of a list, page after page, read only as fast as they are consumed. */
export async function* eachItem<T>(read: (cursor: string | undefined) => Promise<Page<T>>): AsyncGenerator<T, void> {
  let cursor: string | undefined
  do {
    const page = await read(cursor)
    yield* page.items
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined)
}

/**
 * The lines of a body, without their line ends; the last one also when no line end follows it.
 * Pieces of an unfinished line are kept apart and joined once: appending them would cost the square of a long line.
 */
export async function* eachLine(body: ReadableStream<Uint8Array>, signal?: AbortSignal): AsyncGenerator<string, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const onAbort = () => void reader.cancel(signal?.reason).catch(() => {})
  signal?.addEventListener('abort', onAbort)
  let unfinished: string[] = []
  try {
    for (;;) {
      signal?.throwIfAborted()
      const { done, value } = await reader.read()
      const lines = (done ? decoder.decode() : decoder.decode(value, { stream: true })).split('\n')
      for (const end of lines.slice(0, -1)) {
        yield [...unfinished, end].join('')
        unfinished = []
      }
      unfinished.push(lines.at(-1) ?? '')
      if (done) break
    }
    signal?.throwIfAborted()
    const last = unfinished.join('')
    if (last !== '') yield last
  } finally {
    signal?.removeEventListener('abort', onAbort)
    await reader.cancel().catch(() => {})
  }
}
