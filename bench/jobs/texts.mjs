import { generator } from '../policy/workload.mjs'

const WORDS =
  'deploy service checkout region finished after seconds replaced none failed probe pod image pulled started ready rollout status healthy request latency queue worker cache flushed index rebuilt config reloaded connection pool closed opened retry backoff circuit breaker half open metrics exported span trace sampled log line buffer written'.split(
    ' ',
  )

/**
 * Results of 4 KB as a build or deploy writes them: lines of words and small numbers, no two texts alike, nothing in them for
 * a screen to find. Drawn from a fixed seed. Repeating one line would flatter every store that compresses.
 */
export function makeResults(count = 64, bytes = 4096) {
  const next = generator(17)
  return Array.from({ length: count }, () => {
    const log = []
    for (let size = 12; size < bytes; ) {
      const line = Array.from({ length: 8 + next(10) }, () =>
        next(6) === 0 ? String(next(1000)) : WORDS[next(WORDS.length)],
      ).join(' ')
      log.push(line)
      size += line.length + 3
    }
    return { log }
  })
}
