/**
 * A queue is backlogged once work in it was due this long ago and nobody took it. Depth alone says nothing: a deep queue that moves
 * is busy, one job that nobody takes is stuck.
 */
export const BACKLOGGED_MS = 60_000
/** It has recovered when nothing in it waits longer than this. In between nothing is said, or a queue at the line would flicker. */
export const RECOVERED_MS = 15_000

export type BacklogChange = 'queue.backlogged' | 'queue.recovered'

/**
 * What is to be said of a queue, null where nothing changed.
 * @param since when it was last said that it is backlogged; null where it was not, or recovered since
 * @param oldest_ms how long the job that is due for longest has waited; 0 without any
 */
export function backlogChange(since: number | null, oldest_ms: number): BacklogChange | null {
  if (since === null) return oldest_ms >= BACKLOGGED_MS ? 'queue.backlogged' : null
  return oldest_ms <= RECOVERED_MS ? 'queue.recovered' : null
}
