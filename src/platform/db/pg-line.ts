import pg from 'pg'
import { DbError } from '../../errors.js'
import type { Clock } from '../clock.js'
import { asLost, cannotConnect } from './pg-faults.js'
import type { PostgresAccess } from './pg-url.js'
import type { Param } from './seam.js'
import { onWire, parserOf, SETTINGS } from './values.js'

/** How long things may take on one connection, ms. */
export interface Limits {
  /** From the first packet to a session that takes statements. */
  connect: number
  /** One statement, waits for locks included; then the server cancels it. */
  statement: number
  /** No answer at all to what was sent: past it the other end is gone, whatever TCP says. More than `statement`. */
  silence: number
}

/** Statements sent or waiting on one connection. Only an engine that stands still lets so many gather. */
const MOST_OPEN = 4_096
/** Between attempts to connect: twice as long each time and half of it chance, so that nodes do not all come at once. */
const BACKOFF = { first: 50, most: 2_000 }
/** A connection that lasted less was no success: a proxy whose server is down accepts and hangs up, again and again. */
const LASTED_MS = 1_000
/** How often silence is counted. Ticks and not instants: a process that was frozen must read its answers before it judges. */
const TICK_MS = 500
/** Given to statements under way when a connection is closed. */
const CLOSE_MS = 2_000

/**
 * What a server, database or role may have set otherwise and we rely on. A node that is gone without a word (power, network)
 * is noticed by the server in 25 s instead of the two hours of TCP: until then it would keep its locks.
 */
const SESSION: Record<string, string | number> = {
  ...SETTINGS,
  client_encoding: 'UTF8',
  bytea_output: 'hex',
  datestyle: 'ISO',
  extra_float_digits: 1,
  default_transaction_isolation: 'read committed',
  // Off, a commit is acknowledged before it is on disk: jobs and audit entries that somebody was told of are gone with the power.
  synchronous_commit: 'on',
  idle_session_timeout: 0,
  tcp_keepalives_idle: 10,
  tcp_keepalives_interval: 5,
  tcp_keepalives_count: 3,
}

const FIT = `SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
  pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only`

/**
 * One connection: made when first needed, and again by itself after it was lost. Statements are sent at once and answered in
 * order. While it is lost they fail at once with 08001; only the first attempt after a good connection is waited for.
 */
export class Line {
  /** Statements taken and not yet answered. */
  open = 0
  /** Counts the connections this line had. */
  session = 0
  readonly #access: PostgresAccess
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #names = new Map<string, string>()
  #named = 0
  #client: Promise<pg.Client> | null = null
  #connected = false
  #since = 0
  #failures = 0
  #fault: DbError | null = null
  #silent = 0
  #watched: pg.Client | null = null
  #cancelRetry = () => {}
  #closed = false

  constructor(access: PostgresAccess, limits: Limits, clock: Clock) {
    this.#access = access
    this.#limits = limits
    this.#clock = clock
  }

  get connected(): boolean {
    return this.#connected
  }

  async query<Row>(text: string, params: readonly Param[]): Promise<Row[]> {
    if (this.open >= MOST_OPEN) throw new DbError('Too many statements wait for the database', '53400')
    this.open++
    try {
      const client = await this.#ready()
      const values = params.map(onWire)
      try {
        return (await this.#answered(client, { name: this.#nameOf(text), text, values })) as Row[]
      } catch (cause) {
        if (!isUnprepared(cause)) throw cause
        // Refused before it began: a migration of a newer node changed the columns of a prepared SELECT *.
        this.#names.delete(text)
        return (await this.#answered(client, { name: this.#nameOf(text), text, values })) as Row[]
      }
    } catch (cause) {
      throw asLost(cause)
    } finally {
      this.open--
    }
  }

  /** Text without parameters, several statements; they run as one. */
  async script(sql: string): Promise<void> {
    const client = await this.#ready()
    try {
      await this.#answered(client, { text: sql })
    } catch (cause) {
      // Ends the transaction with the session, also where nobody answers any more.
      cut(client)
      throw asLost(cause)
    }
  }

  /** Gives the connection up, and with it all that the session held. A new one is made. */
  async cut(): Promise<void> {
    const mine = this.#client
    const client = await mine?.catch(() => null)
    if (mine === null || client == null) return
    cut(client)
    this.#lost(mine, null)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelRetry()
    const client = await this.#client?.catch(() => null)
    if (client == null) return
    const cancel = this.#clock.after(CLOSE_MS, () => cut(client))
    await client.end().catch(() => {})
    cancel()
  }

  #nameOf(text: string): string {
    const known = this.#names.get(text)
    if (known !== undefined) return known
    const name = `s${this.#named++}`
    this.#names.set(text, name)
    return name
  }

  async #answered(client: pg.Client, query: pg.QueryConfig): Promise<unknown[]> {
    const answer = client.query(query)
    if (this.#watched !== client) this.#watch(client)
    try {
      return (await answer).rows
    } finally {
      this.#silent = 0
    }
  }

  /** A half-open connection answers nothing and fails nothing: it is cut, and with it every statement on it. */
  #watch(client: pg.Client): void {
    this.#watched = client
    this.#silent = 0
    const tick = () => {
      if (this.#watched !== client) return
      this.#silent += TICK_MS
      if (this.open > 0 && this.#silent <= this.#limits.silence) return void this.#clock.after(TICK_MS, tick)
      this.#watched = null
      if (this.open > 0) cut(client)
    }
    this.#clock.after(TICK_MS, tick)
  }

  #ready(): Promise<pg.Client> {
    if (this.#closed) return Promise.reject(new DbError('The connection is closed', '08001'))
    if (this.#client === null && this.#failures === 0) this.#attempt()
    if (this.#client !== null && (this.#connected || this.#failures === 0)) return this.#client
    return Promise.reject(this.#fault ?? new DbError('The database does not answer', '08001'))
  }

  #attempt(): void {
    if (this.#closed) return
    const mine = this.#connect(() => this.#lost(mine, null))
    this.#client = mine
    mine.catch((fault) => this.#lost(mine, fault))
  }

  async #connect(lost: () => void): Promise<pg.Client> {
    const { host, port, database, user, password, ssl } = this.#access
    const client = new pg.Client({
      host,
      port,
      database,
      user,
      // A function, or the driver would look for one in its own environment variables and files.
      password: () => password,
      ssl,
      application_name: 'sallyport',
      statement_timeout: this.#limits.statement,
      idle_in_transaction_session_timeout: this.#limits.statement,
      options: Object.entries(SESSION)
        .map(([name, value]) => `-c ${name}=${String(value).replaceAll(' ', '\\ ')}`)
        .join(' '),
      keepAlive: true,
      keepAliveInitialDelayMillis: 5_000,
      pipeline: true,
      types: { getTypeParser: (oid: number) => parserOf(oid) },
    } as pg.ClientConfig)
    // Until it is up the attempt itself says what went wrong.
    let up = false
    const ended = () => void (up && lost())
    client.on('error', ended)
    client.on('end', ended)
    const late = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })
    const cancel = this.#clock.after(this.#limits.connect, () => cut(client, late))
    try {
      await client.connect()
      await mustFit(client)
    } catch (cause) {
      cut(client)
      throw cannotConnect(this.#access, cause)
    } finally {
      cancel()
    }
    up = true
    this.session++
    this.#connected = true
    this.#since = this.#clock.now()
    return client
  }

  #lost(client: Promise<pg.Client>, fault: DbError | null): void {
    if (this.#client !== client) return
    const lasted = this.#connected && this.#clock.now() - this.#since >= LASTED_MS
    this.#client = null
    this.#connected = false
    this.#fault = fault
    if (lasted) this.#failures = 0
    const wait = lasted ? 0 : Math.min(BACKOFF.most, BACKOFF.first * 2 ** this.#failures)
    if (!lasted) this.#failures++
    if (this.#closed) return
    if (wait === 0) this.#attempt()
    else this.#cancelRetry = this.#clock.after((wait / 2) * (1 + Math.random()), () => this.#attempt())
  }
}

/** A replica would refuse every write and an old server some statements, each in its own way: better no connection at all. */
async function mustFit(client: pg.Client): Promise<void> {
  const [row] = (await client.query<{ version: number; encoding: string; read_only: boolean }>(FIT)).rows
  const fault =
    (row?.version ?? 0) < 150_000 ? 'OLD' : row?.encoding !== 'UTF8' ? 'NOT_UTF8' : row.read_only ? '25006' : null
  if (fault !== null) throw Object.assign(new Error(fault), { code: fault })
}

/** The session does not have the statement as we know it; by its routine, because the words are in the server's language. */
function isUnprepared(cause: unknown): boolean {
  return cause instanceof pg.DatabaseError && (cause.code === '26000' || cause.routine === 'RevalidateCachedQuery')
}

function cut(client: pg.Client, why?: Error): void {
  ;(client as unknown as { connection: { stream: { destroy(why?: Error): void } } }).connection.stream.destroy(why)
}
