/**
 * What a balancer before the nodes does: each call goes to the next node, and one that cannot be reached, or gives no answer in
 * time, is left out for a moment. A call that was sent is never sent again: that is for its caller to decide.
 */
export function balanced(urls, { timeoutMs = 25_000 } = {}) {
  const out = new Map()
  let next = 0
  return async (input, init) => {
    const asked = new URL(String(input))
    const now = performance.now()
    const free = urls.filter((url) => (out.get(url) ?? 0) <= now)
    const from = free.length === 0 ? urls : free
    const url = from[next++ % from.length]
    const limit = AbortSignal.timeout(timeoutMs)
    try {
      return await fetch(`${url}${asked.pathname}${asked.search}`, {
        ...init,
        signal: init?.signal ? AbortSignal.any([init.signal, limit]) : limit,
      })
    } catch (error) {
      if (!init?.signal?.aborted) out.set(url, now + 500)
      throw error
    }
  }
}
