import type { Fact } from '../../core/audit.js'
import { DbError, isAbsent, Problem } from '../../errors.js'
import type { Clock } from '../../platform/clock.js'
import type { Db } from '../../platform/db/seam.js'
import type { Ids } from '../../platform/ids.js'
import type { WriterChains } from './chain.js'
import { crowdOf, NOBODY } from './fairness.js'
import { Inbox, type Intent, type Receipt, type Waiting } from './inbox.js'
import { BATCH_KEPT_MS, wasApplied } from './resolve.js'
import { type Conflict, type Entry, type Loser, type TileWrites, writeAdmin, writeBatch } from './write.js'

interface Doubt {
  batchId: string
  at: number
  audit: TileWrites
  steps: number
}

/** A batch on its way. */
interface Flight extends Doubt {
  batch: Waiting[]
  crowd: ReadonlySet<string>
  landed: Promise<Landed>
  committed: ((intents: readonly Intent[]) => void) | undefined
}

type Landed = { losers: Loser[] } | { error: unknown }

/**
 * Why a chain ends before its process does: it was taken for dead and fenced; what it follows is not in the store (`torn`); or a
 * commit whose answer was lost can no longer be asked about.
 */
export type Renewed = 'fenced' | 'torn' | 'unknown'

/** So many must wait before a second commit is sent behind the first: smaller ones cost more than the waiting they save. */
const SECOND = 32
/** A batch that other nodes overtook is sent again as it is, this often. */
const TRIES = 5
/**
 * The only writer of this node. Arrivals during a commit form the next batch and an idle queue flushes at once: a fixed
 * window was measured at 1.1× and cost 2.2 ms when idle, natural batching at 2.9–3.3×. Tenants take turns in a batch.
 */
export class Ledger {
  readonly #db: Db
  readonly #chains: WriterChains
  readonly #clock: Clock
  readonly #ids: Ids
  readonly #inbox = new Inbox()
  /** Batches whose answer was lost and whose fate could not be asked yet: until it is known nothing may follow them in the chain. */
  #doubts: Doubt[] = []
  readonly #flights: Flight[] = []
  readonly #abreast: number
  readonly #second: number
  #running: Promise<void> | null = null
  #closed = false
  /** Asked before every commit; what it returns is told which steps the commit made true, and not called for one that failed. */
  observe: (() => (committed: readonly Intent[]) => void) | null = null
  /** Told when this process goes on under another name, and the one its chains end under. */
  renewed: ((why: Renewed, writer: string) => void) | null = null

  /**
   * @param abreast commits on their way at once; each after the first is sealed on what the one before it will leave
   * @param second so many must wait before one is sent behind another
   */
  constructor(
    db: Db,
    chains: WriterChains,
    clock: Clock,
    ids: Ids,
    { abreast = db.engine === 'postgres' ? 2 : 1, second = SECOND } = {},
  ) {
    this.#abreast = abreast
    this.#second = second
    this.#db = db
    this.#chains = chains
    this.#clock = clock
    this.#ids = ids
  }

  get depth(): number {
    return this.#inbox.size
  }

  /** Steps of which nobody knows yet what became of them: waiting, sent, or sent with an answer that was lost. */
  get unresolved(): number {
    return [...this.#flights, ...this.#doubts].reduce((sum, { steps }) => sum + steps, this.depth)
  }

  /** How full it is, from 0 to 1, by number or by time, whichever is worse. */
  get strain(): number {
    return this.#inbox.strain(this.#clock.now())
  }

  /**
   * Resolves when the commit is durable as the engine defines it.
   * Throws Problem `overloaded` (nothing written), `outcome_unknown`, `store_unavailable`, `draining`.
   */
  commit(intent: Intent): Promise<Receipt> {
    if (this.#closed) return Promise.reject(new Problem('draining'))
    const at = this.#clock.now()
    if (this.#inbox.isFullFor(intent, at))
      return Promise.reject(new Problem('overloaded', undefined, { retry_after_ms: 1000 }))
    return new Promise((resolve, reject) => {
      this.#inbox.put({ intent, tries: 0, at, resolve, reject })
      // A microtask later, so that the intents of one tick share the first batch.
      this.#running ??= Promise.resolve().then(() => this.#drain())
      if (this.#flights.length > 0) this.#launch()
    })
  }

  /** Facts alone, which nothing can be in conflict with: what was refused, counted or found. Throws what `commit` throws. */
  async record(tenant: string, facts: Fact[]): Promise<void> {
    const receipt = await this.commit({ tenant, gate: null, alone: [], rows: {}, facts })
    if (!receipt.ok)
      throw new Problem('internal', undefined, {}, new Error(`facts alone met a conflict: ${receipt.why}`))
  }

  /** Finishes what is queued, refuses what comes after; asks once more about what is in doubt. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
    await this.#settleAll().catch(() => {})
  }

  async #drain(): Promise<void> {
    try {
      for (;;) {
        this.#launch()
        const first = this.#flights[0]
        if (first === undefined) return
        const landed = await first.landed
        if (isClean(landed)) {
          this.#flights.shift()
          await this.#land(first, landed)
          continue
        }
        // What was sent behind it is let land before anything follows: the chain must be known to whoever comes next.
        // Taken out first: with one of them left in sight, what comes meanwhile would be sent behind it and be forgotten here.
        const flights = this.#flights.splice(0)
        const all = await Promise.all(flights.map(async (flight) => ({ flight, landed: await flight.landed })))
        const rest: Waiting[] = []
        for (const each of [...all.filter((e) => isClean(e.landed)), ...all.filter((e) => !isClean(e.landed))])
          rest.push(...(await this.#land(each.flight, each.landed)))
        await this.#flush(rest)
      }
    } finally {
      this.#running = null
    }
  }

  /** Sends as much as may be on its way at once. */
  #launch(): void {
    while (this.#flights.length < this.#abreast) {
      const ahead = this.#flights[0]
      if (ahead !== undefined && this.#isAlone(ahead)) return
      const isFew = ahead !== undefined && this.depth < this.#second
      if (isFew && !this.#inbox.hasOutside(ahead.crowd)) return
      const taken = new Set(this.#flights.flatMap((flight) => flight.batch.flatMap((w) => w.intent.alone)))
      const batch = this.#inbox.next(taken, isFew ? ahead.crowd : NOBODY, this.#clock.now())
      if (batch.length === 0) return
      this.#flights.push(this.#fly(batch))
    }
  }

  /** Nothing goes beside an activation, nor behind what is still in doubt. */
  #isAlone(ahead: Flight): boolean {
    return this.#inbox.hasAdmin || this.#doubts.length > 0 || ahead.batch[0]?.intent.admin !== undefined
  }

  /** One after another until each is answered. */
  async #flush(batch: Waiting[]): Promise<void> {
    for (let rest = batch; rest.length > 0; ) {
      const flight = this.#fly(rest)
      rest = await this.#land(flight, await flight.landed)
    }
  }

  /** Seals and sends. Never throws: what goes wrong lands. */
  #fly(batch: Waiting[]): Flight {
    const at = this.#clock.now()
    const ahead = this.#flights.map((flight) => flight.audit)
    const flight: Flight = {
      batch,
      batchId: this.#ids.id('batch', at),
      at,
      audit: { tiles: [], writers: [] },
      steps: batch.length,
      crowd: crowdOf(batch.map(({ intent }) => intent.tenant)),
      committed: this.observe?.(),
      landed: Promise.resolve({ losers: [] }),
    }
    const send = async () => {
      flight.audit = this.#chains.seal(
        at,
        batch.flatMap((w) => w.intent.facts),
        ahead,
      )
      return this.#send(flight)
    }
    // Where a chain stands is known only once every doubt about it is settled.
    const sent = this.#doubts.length === 0 ? send() : this.#settleAll().then(send)
    flight.landed = sent.then(
      (losers) => ({ losers }),
      (error: unknown) => ({ error }),
    )
    return flight
  }

  #send({ batch, batchId, at, audit }: Flight): Promise<Loser[]> {
    const admin = batch[0]?.intent.admin
    if (admin) return writeAdmin(this.#db, batchId, at, admin, audit, batch[0]?.intent.facts)
    const entries = batch.map(
      ({ intent }, n): Entry => ({
        n,
        tenant: intent.tenant,
        gate: intent.gate,
        rows: intent.rows,
        spends: intent.spends ?? [],
        facts: intent.facts,
      }),
    )
    return writeBatch(this.#db, batchId, at, entries, audit)
  }

  /** Answers who can be answered; returns who is to be sent again. */
  async #land(flight: Flight, landed: Landed): Promise<Waiting[]> {
    if ('error' in landed) return this.#fault(flight, landed.error)
    const { batch, audit } = flight
    const { losers } = landed
    if (losers.length === 0) {
      this.#chains.advance(audit)
      flight.committed?.(batch.map((waiting) => waiting.intent))
      for (const waiting of batch) waiting.resolve({ ok: true })
      return []
    }
    // Taken for dead, e.g. frozen for longer than the others wait: nothing was written, and this process begins anew.
    const fenced = losers.some((loser) => loser.why === 'fenced')
    // Once is the fate of a batch behind one that lost. Sent again by itself, what it follows is not in the store: a store that was
    // set back, or lost its newest commits. The chain ends there, and this process goes on under another name.
    const follows = losers.some((loser) => loser.why === 'chain')
    const torn = follows && Math.max(...batch.map((waiting) => ++waiting.tries)) > 1
    if (fenced || torn) this.#renew(torn ? 'torn' : 'fenced')
    if (losers.some((loser) => loser.n < 0)) return batch
    const why = new Map(losers.map((loser) => [loser.n, loser.why as Conflict]))
    for (const [n, waiting] of batch.entries()) {
      const reason = why.get(n)
      if (reason !== undefined) waiting.resolve({ ok: false, why: reason })
    }
    return batch.filter((_, n) => !why.has(n))
  }

  async #fault(flight: Flight, error: unknown): Promise<Waiting[]> {
    const { batch } = flight
    if (isLost(error)) {
      const { batchId, at, audit, steps } = flight
      const doubt = { batchId, at, audit, steps }
      this.#doubts.push(doubt)
      const applied = await this.#settle(doubt, new Problem('outcome_unknown', undefined, {}, error)).catch(
        (unknown: Problem) => unknown,
      )
      if (applied === true) flight.committed?.(batch.map((waiting) => waiting.intent))
      // Not this batch's poison, so its parts are not tried one by one: each would wait for the same dead connection.
      const fault = applied instanceof Problem ? applied : new Problem('store_unavailable', undefined, {}, error)
      for (const waiting of batch) applied === true ? waiting.resolve({ ok: true }) : waiting.reject(fault)
      return []
    }
    const tries = Math.max(...batch.map((waiting) => ++waiting.tries))
    if (isOvertaken(error) && tries <= TRIES) return batch
    // One poisonous intent (a row no table takes, a fact that cannot be written) must not fail its neighbours: alone it
    // fails alone. A Problem is about the store, so it is everybody's.
    if (batch.length > 1 && !(error instanceof Problem) && !isAbsent(error))
      for (const waiting of batch) await this.#flush([waiting])
    else if (isRace(error)) for (const waiting of batch) waiting.resolve({ ok: false, why: 'version' })
    else for (const waiting of batch) waiting.reject(asProblem(error))
    return []
  }

  #renew(why: Renewed): void {
    const before = this.#chains.writer
    this.#chains.renew(this.#ids.id('wr', this.#clock.now()))
    this.renewed?.(why, before)
  }

  async #settleAll(): Promise<void> {
    for (const doubt of this.#doubts) await this.#settle(doubt, new Problem('store_unavailable'))
  }

  /** Learns whether the batch in doubt was applied, and moves the chain accordingly. Throws `unknown` when nobody can say. */
  async #settle(doubt: Doubt, unknown: Problem): Promise<boolean> {
    // So late its row may be pruned, and nobody can say any more: taken for not applied, its tile would be written twice.
    if (this.#clock.now() - doubt.at > BATCH_KEPT_MS / 2) {
      this.#doubts = this.#doubts.filter((each) => each !== doubt)
      this.#renew('unknown')
      return false
    }
    let applied: boolean
    try {
      applied = await wasApplied(this.#db, doubt.batchId, doubt.at)
    } catch {
      throw unknown
    }
    if (applied) this.#chains.advance(doubt.audit)
    this.#doubts = this.#doubts.filter((each) => each !== doubt)
    return applied
  }
}

const isClean = (landed: Landed) => 'losers' in landed && landed.losers.length === 0

/**
 * A unique index saw what the checks could not, because another node committed in between: the same as a conflict, and the
 * step decides again. On a tile it is no race but a chain gone wrong, and that is nobody's to try again.
 */
function isRace(error: unknown): boolean {
  return error instanceof DbError && error.state === '23505' && !error.message.includes('audit_')
}

/** Rolled back because of what another node did at the same moment: a deadlock, or a counter that both made (a division by zero). */
function isOvertaken(error: unknown): boolean {
  return error instanceof DbError && ['40P01', '40001', '22012'].includes(error.state)
}

/** Class 08: the connection is gone, and with it the answer. 08001 never had one. */
function isLost(error: unknown): boolean {
  return error instanceof DbError && error.state.startsWith('08') && error.state !== '08001'
}

function asProblem(error: unknown): Error {
  if (error instanceof Problem) return error
  if (error instanceof DbError)
    return new Problem(isAbsent(error) ? 'store_unavailable' : 'internal', undefined, {}, error)
  return error instanceof Error ? error : new Error(String(error))
}
