import type { Fact } from '../../core/audit.js'
import { SHARE, Turns } from './fairness.js'
import type { AdminRows, Conflict, GateView, Rows, Spend } from './write.js'

/** What a step wants to happen at once: rows, what they spend, and the facts that say so. All or nothing. */
export interface Intent {
  tenant: string
  /** The values the decision used; null for a step that only records what happened outside. */
  gate: GateView | null
  /** Names of what this step must have alone in a batch: job ids, lease ids, idempotency keys. */
  alone: string[]
  rows: Rows
  admin?: AdminRows
  /** Key whose request this is, where one key could send without end: it gets at most half of the inbox. */
  by?: string
  spends?: Spend[]
  facts: Fact[]
}

/** `conflict`: something the step read is no longer so; nothing was written; load and decide again. */
export type Receipt = { ok: true } | { ok: false; why: Conflict }

/** A step that waits for its commit, or for the answer to it. */
export interface Waiting {
  intent: Intent
  tries: number
  /** Since when it waits. */
  at: number
  resolve(receipt: Receipt): void
  reject(error: Error): void
}

/** A batch of more gains nothing (the statement's cost is linear by then) and makes its first caller wait. */
const BATCH = 256
/** About a second of work at 4,000 a second: beyond it a caller is told at once instead of waiting to time out. */
const ROOM = 4096
/**
 * On a slow machine that second is many. A tenant whose oldest step has waited for so long gets no more submits in: they would only
 * make all of its callers late. Its own oldest, because tenants take turns: who asks little is not behind who asks much.
 */
const WAIT_MS = 2_000

/** The steps that wait for a commit. Tenants take turns in a batch. */
export class Inbox {
  readonly #queues = new Map<string, Waiting[]>()
  /** Activations, revocations: rare, and from their return nothing may commit under the old, so no backlog keeps them waiting. */
  readonly #admin: Waiting[] = []
  readonly #by = new Map<string, number>()
  readonly #turns = new Turns()
  #size = 0

  get size(): number {
    return this.#size
  }

  get hasAdmin(): boolean {
    return this.#admin.length > 0
  }

  /** How full it is, from 0 to 1, by number or by time, whichever is worse. */
  strain(now: number): number {
    let share = this.#size / ROOM
    for (const [head] of this.#queues.values())
      share = Math.max(share, head === undefined ? 0 : (now - head.at) / WAIT_MS)
    return Math.min(1, share)
  }

  /** What ends work that was taken is let in while there is room at all; new work (`by`) only within its share, and on time. */
  isFullFor({ tenant, by }: Intent, now: number): boolean {
    if (this.#size >= ROOM) return true
    if (by === undefined) return false
    const oldest = this.#queues.get(tenant)?.[0]
    const isLate = oldest !== undefined && now - oldest.at > WAIT_MS
    return isLate || (this.#by.get(by) ?? 0) >= ROOM / 2
  }

  put(waiting: Waiting): void {
    const { tenant, admin, by } = waiting.intent
    const queue = admin ? this.#admin : this.#queues.get(tenant)
    if (queue) queue.push(waiting)
    else this.#queues.set(tenant, [waiting])
    this.#size++
    if (by !== undefined) this.#by.set(by, (this.#by.get(by) ?? 0) + 1)
    this.#turns.saw(tenant, waiting.at)
  }

  #leave({ by }: Intent): void {
    this.#size--
    if (by === undefined) return
    const left = (this.#by.get(by) ?? 1) - 1
    if (left === 0) this.#by.delete(by)
    else this.#by.set(by, left)
  }

  /** Somebody who is not in that crowd waits. */
  hasOutside(crowd: ReadonlySet<string>): boolean {
    if (crowd.size > 0) for (const tenant of this.#queues.keys()) if (!crowd.has(tenant)) return true
    return false
  }

  /**
   * One admin intent by itself; else up to BATCH intents, tenants in turn, none of which shares what must be alone.
   * @param taken names that are on their way already
   * @param without tenants that are left out
   */
  next(taken: Set<string>, without: ReadonlySet<string>, now: number): Waiting[] {
    const admin = this.#admin.shift()
    if (admin !== undefined) {
      this.#leave(admin.intent)
      return [admin]
    }
    const batch: Waiting[] = []
    const share = this.#turns.areBeside(now) ? SHARE : BATCH
    const counts = new Map<string, number>()
    for (const [tenant, queue] of this.#queues) {
      const count = counts.get(tenant) ?? 0
      if (count === share || without.has(tenant)) continue
      const at = queue.findIndex((w) => !w.intent.alone.some((name) => taken.has(name)))
      if (at === -1) continue
      const [waiting] = queue.splice(at, 1) as [Waiting]
      // To the end of the line: this loop comes round to it again, and the next batch begins with whom this one left out.
      this.#queues.delete(tenant)
      if (queue.length > 0) this.#queues.set(tenant, queue)
      this.#leave(waiting.intent)
      for (const name of waiting.intent.alone) taken.add(name)
      counts.set(tenant, count + 1)
      batch.push(waiting)
      if (batch.length === BATCH) break
    }
    return batch
  }
}
