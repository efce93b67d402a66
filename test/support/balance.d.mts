/** A fetch that spreads calls over nodes, whatever host it is asked for. */
export function balanced(urls: readonly string[], options?: { timeoutMs?: number }): typeof fetch
