import type { Heartbeat, HeartbeatAnswer } from '../contract/workers.js'
import { backoffMs, WORKER_BACKOFF } from './backoff.js'
import { SallyportError } from './errors.js'
import { isPassing } from './transport.js'

/** What a lease wants to hear from its heartbeats. */
export interface Listener {
  onOk(remainingMs: number): void
  onCancel(): void
  /** The server gave the lease up; no further heartbeat is sent for it. */
  onLost(): void
  /** Nothing got through for three intervals, after which the server takes a lease away. */
  onSilence(): void
}

export interface Heartbeats {
  add(lease: string, everyMs: number, listener: Listener): void
  /** Sent with the next heartbeat, which then comes within half a second. */
  progress(lease: string, value: unknown): void
  remove(lease: string): void
  close(): void
}

/** A lease's share of an interval: late by a fifth is still in time. */
const EARLY = 0.8
/** Progress in a tight loop must not become a request each time. */
const PROGRESS_MS = 500
/** No interval is shorter, whatever the server says: it would be a loop. */
const LEAST_MS = 20
const PROGRESS_BYTES = 16 * 1024
/** With progress at its largest, 100 of them stay within the 2 MiB of a body. */
const MOST_LEASES = 100

interface Beat {
  everyMs: number
  dueAt: number
  sentAt: number
  heardAt: number
  silent: boolean
  progress: unknown
  listener: Listener
}

/** Keeps all leases of a worker alive: one timer, one request at a time, everything that is nearly due in it. */
export function createHeartbeats(host: {
  send(beats: Heartbeat, options: { timeoutMs: number }): Promise<HeartbeatAnswer>
  /** How long a request took, ms. */
  onRoundTrip(ms: number): void
  onTrouble(event: string, error: unknown): void
}): Heartbeats {
  const beats = new Map<string, Beat>()
  let timer: NodeJS.Timeout | undefined
  let sending = false
  let failures = 0
  let closed = false

  function schedule() {
    clearTimeout(timer)
    if (sending || closed || beats.size === 0) return
    const now = performance.now()
    const earliest = Math.min(...[...beats.values()].map((beat) => beat.dueAt))
    const pauseMs = failures === 0 ? 0 : backoffMs(failures - 1, WORKER_BACKOFF)
    timer = setTimeout(() => void flush(), Math.max(pauseMs, earliest - now))
  }

  async function flush() {
    sending = true
    const now = performance.now()
    // Those due soon come along, so that leases that began apart fall into step instead of costing a request each.
    const due = [...beats].filter(([, beat]) => beat.dueAt <= now + beat.everyMs / 4).slice(0, MOST_LEASES)
    try {
      if (due.length > 0) await exchange(due, now)
      failures = 0
    } catch (error) {
      failures++
      host.onTrouble('heartbeat_failed', error)
      // Another's bad value must not cost these leases: what was refused goes again without any progress.
      if (error instanceof SallyportError && !isPassing(error)) for (const [, beat] of due) beat.progress = undefined
    } finally {
      sending = false
      tellSilence(performance.now())
      schedule()
    }
  }

  async function exchange(due: [string, Beat][], now: number) {
    const sent = new Map(due.map(([lease, beat]) => [lease, { beat, progress: beat.progress }]))
    const leases = due.map(([lease, { progress }]) => (progress === undefined ? { lease } : { lease, progress }))
    const timeoutMs = Math.min(10_000, Math.max(1_000, Math.min(...due.map(([, beat]) => beat.everyMs))))
    const answer = await host.send({ leases }, { timeoutMs })
    host.onRoundTrip(performance.now() - now)
    for (const { lease, answer: word, remaining_ms } of answer.leases ?? []) {
      const known = sent.get(lease)
      // Removed while the request was under way: its end is reported or nobody's business any more.
      if (known === undefined || beats.get(lease) !== known.beat) continue
      const { beat, progress } = known
      if (beat.progress === progress) beat.progress = undefined
      beat.sentAt = now
      beat.heardAt = now
      beat.dueAt = beat.progress === undefined ? now + beat.everyMs * EARLY : now + PROGRESS_MS
      if (word === 'lost') beats.delete(lease)
      if (word === 'lost') beat.listener.onLost()
      else if (word === 'cancel') beat.listener.onCancel()
      else beat.listener.onOk(remaining_ms)
    }
  }

  function tellSilence(now: number) {
    for (const beat of beats.values()) {
      if (beat.silent || now - beat.heardAt < 3 * beat.everyMs) continue
      beat.silent = true
      beat.listener.onSilence()
    }
  }

  return {
    add(lease, heartbeatMs, listener) {
      const now = performance.now()
      const everyMs = Math.max(LEAST_MS, heartbeatMs)
      const dueAt = now + everyMs * EARLY
      beats.set(lease, { everyMs, dueAt, sentAt: now, heardAt: now, silent: false, progress: undefined, listener })
      schedule()
    },
    progress(lease, value) {
      const beat = beats.get(lease)
      if (beat === undefined) return
      const json = JSON.stringify(value) ?? 'null'
      if (Buffer.byteLength(json) > PROGRESS_BYTES)
        throw new RangeError(`progress: at most ${PROGRESS_BYTES} bytes as JSON`)
      // A copy: the handler may go on writing to its object.
      beat.progress = JSON.parse(json)
      beat.dueAt = Math.min(beat.dueAt, Math.max(performance.now(), beat.sentAt + PROGRESS_MS))
      schedule()
    },
    remove(lease) {
      beats.delete(lease)
    },
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}
