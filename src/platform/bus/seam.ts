/**
 * The bus only wakes someone up: the row is the truth and the queue. Losing every message costs a delay (the dispatcher
 * looks by itself once a second), never a job.
 */
export interface Bus {
  /** Work of this topic may be ready. Never throws, never waits. */
  hint(tenant: string, topic: string): void
  onHint(listener: (tenant: string, topic: string) => void): () => void
  close(): Promise<void>
}
