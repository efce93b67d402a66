import { createHash } from 'node:crypto'
import type { Clock } from '../clock.js'
import type { Line } from './pg-line.js'
import type { Hold } from './seam.js'

/** How often a holder shows that it lives. */
const BEAT_MS = 2_000
/** A holder that was silent for so long has lost its names, by its own watch too. Five beats: a slow moment is no death. */
export const STALE_MS = 10_000
/** By its own watch a little earlier, so that two never believe to hold a name at once. */
const MARGIN_MS = 500

const TRY = 'SELECT pg_try_advisory_lock($1::bigint) AS taken'
const UNLOCK = 'SELECT pg_advisory_unlock($1::bigint)'
const BEAT = 'SELECT 1'
/**
 * A frozen process keeps its connection, and with it its locks, until somebody thaws or ends it: the silent session is ended.
 * Its last state change is on the server's clock, as is the time it is compared with. Only sessions of the same user show theirs.
 */
const END_STALE = `SELECT pg_terminate_backend(a.pid, 1000) AS ended FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = ($1::bigint >> 32)::oid
  AND l.objid = ($1::bigint & 4294967295)::oid AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND a.pid <> pg_backend_pid() AND a.state_change < clock_timestamp() - make_interval(secs => $2::float8)`

/** Advisory locks are numbers. 52 bits of a hash: it must stay exact in a JavaScript number. */
export function lockKey(name: string): number {
  return Number.parseInt(createHash('sha256').update(`sallyport/${name}`).digest('hex').slice(0, 13), 16)
}

/** Names held among the nodes, as session locks on one connection that beats while it has any. */
export class Holds {
  readonly #line: Line
  readonly #clock: Clock
  readonly #taken = new Map<string, Hold | null>()
  /** When the newest statement that was answered was sent, on two clocks: one stops with the machine, the other may be set back. */
  #proof = { wall: 0, steady: 0 }
  #beating = false

  constructor(line: Line, clock: Clock) {
    this.#line = line
    this.#clock = clock
  }

  /** Null while anybody has it, this process too. */
  async take(name: string): Promise<Hold | null> {
    const mine = this.#taken.get(name)
    if (mine === null || mine?.held) return null
    this.#taken.set(name, null)
    let hold: Hold | null = null
    try {
      const session = this.#line.session
      // Silent for too long and yet connected: whatever that session still has must not be taken a second time by itself.
      if (mine !== undefined && session > 0 && this.#line.connected && !this.#proven()) await this.#line.cut()
      const key = lockKey(name)
      let taken = await this.#try(key)
      if (!taken) {
        const ended = await this.#ask<{ ended: boolean }>(END_STALE, [key, STALE_MS / 1000])
        if (ended.some((row) => row.ended)) taken = await this.#try(key)
      }
      if (taken) hold = this.#hold(name, key)
      return hold
    } finally {
      if (hold === null) this.#taken.delete(name)
      else this.#taken.set(name, hold)
    }
  }

  async #try(key: number): Promise<boolean> {
    return (await this.#ask<{ taken: boolean }>(TRY, [key]))[0]?.taken ?? false
  }

  #hold(name: string, key: number): Hold {
    const session = this.#line.session
    const isHeld = () => this.#line.connected && this.#line.session === session && this.#proven()
    let released = false
    if (!this.#beating) this.#beat()
    const hold: Hold = {
      get held() {
        return !released && isHeld()
      },
      release: async () => {
        if (released) return
        released = true
        if (this.#taken.get(name) === hold) this.#taken.delete(name)
        if (this.#line.session !== session || !this.#line.connected) return
        // A lock that cannot be given back goes with its session.
        await this.#ask(UNLOCK, [key]).catch(() => this.#line.cut())
      },
    }
    return hold
  }

  #proven(): boolean {
    const silent = Math.max(this.#clock.now() - this.#proof.wall, performance.now() - this.#proof.steady)
    return silent < STALE_MS - MARGIN_MS
  }

  async #ask<Row>(sql: string, params: number[]): Promise<Row[]> {
    const sent = { wall: this.#clock.now(), steady: performance.now() }
    const rows = await this.#line.query<Row>(sql, params)
    this.#proof = sent
    return rows
  }

  #beat(): void {
    this.#beating = true
    this.#clock.after(BEAT_MS, async () => {
      if (this.#taken.size > 0) await this.#ask(BEAT, []).catch(() => {})
      this.#beating = false
      if (this.#taken.size > 0) this.#beat()
    })
  }
}
