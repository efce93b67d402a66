import { createHash } from 'node:crypto'
import pg from 'pg'
import { DbError } from '../../errors.js'
import type { Clock } from '../clock.js'
import type { Db, Hold, On, Param } from './seam.js'
import { asDbError, asText, parserOf, SETTINGS } from './values.js'

export interface PostgresOptions {
  /** As libpq writes it; `sslmode` and `sslrootcert` in it choose TLS. Never shown in an error. */
  url: string
  /** Connections for reads; with the ledger's and the one that carries holds a node has two more. */
  readers?: number
  /** A statement the server has not ended by then is cancelled; one it has not answered a bit later lost its connection. */
  statementTimeoutMs?: number
  connectTimeoutMs?: number
}

const READERS = 4
const STATEMENT_MS = 15_000
const CONNECT_MS = 5_000
/** On top of the server's own limit: past it the answer will not come, e.g. because the other end of the TCP connection is gone. */
const ANSWER_MS = 5_000
/** Between attempts to connect again: twice as long each time, with jitter, so that nodes do not all come at once. */
const BACKOFF_MS = { first: 50, most: 2_000 }

/** Postgres through `pg` (the fastest driver measured), its connections pipelined: a statement does not wait for the one before it. */
export async function openPostgres(options: PostgresOptions, clock: Clock): Promise<Db> {
  const line = () => new Line(options, clock)
  const readers = Array.from({ length: options.readers ?? READERS }, line)
  const ledger = line()
  const holder = line()
  const all = [...readers, ledger, holder]
  const on = (which: On): Line => {
    if (which === 'ledger') return ledger
    return readers.reduce((least, each) => (each.open < least.open ? each : least))
  }
  const db: Db = {
    engine: 'postgres',
    async query<Row>(sql: string, params: readonly Param[] = [], which: On = 'reads') {
      if (which !== 'fresh') return on(which).query<Row>(sql, params)
      const fresh = line()
      try {
        return await fresh.query<Row>(sql, params)
      } finally {
        await fresh.close()
      }
    },
    async script(sql) {
      const own = line()
      try {
        await own.script(`BEGIN; SELECT pg_advisory_xact_lock(${keyOf('migrations')}); ${sql}; COMMIT`)
      } finally {
        await own.close()
      }
    },
    async hold(name) {
      const taken = await holder.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1::bigint) AS taken', [
        keyOf(name),
      ])
      return taken[0]?.taken ? new SessionHold(holder, name) : null
    },
    stats: () => ({
      lines: all.length,
      connected: all.filter((each) => each.connected).length,
      open: all.reduce((sum, each) => sum + each.open, 0),
    }),
    close: async () => void (await Promise.all(all.map((each) => each.close()))),
  }
  try {
    // The first answer says whether the engine is there and which it is, before anything is promised to anyone.
    const [row] = await db.query<{ version: number }>("SELECT current_setting('server_version_num')::int AS version")
    if ((row?.version ?? 0) < 150_000)
      throw new DbError(`Postgres 15 or newer is needed; this is ${row?.version}`, '0A000')
    return db
  } catch (error) {
    await db.close()
    throw error
  }
}

/** Advisory locks are numbers. 52 bits of a hash: it must stay exact in a JavaScript number. */
function keyOf(name: string): number {
  return Number.parseInt(createHash('sha256').update(`sallyport/${name}`).digest('hex').slice(0, 13), 16)
}

class SessionHold implements Hold {
  readonly #line: Line
  readonly #name: string
  readonly #session: number

  constructor(line: Line, name: string) {
    this.#line = line
    this.#name = name
    this.#session = line.session
  }

  get held(): boolean {
    return this.#line.session === this.#session && this.#line.connected
  }

  async release(): Promise<void> {
    if (!this.held) return
    await this.#line.query('SELECT pg_advisory_unlock($1::bigint)', [keyOf(this.#name)]).catch(() => {})
  }
}

/** One connection, made when first needed and again after it was lost. Statements are sent at once and answered in order. */
class Line {
  /** Statements sent and not yet answered. */
  open = 0
  /** Counts the connections this line had. */
  session = 0
  readonly #options: PostgresOptions
  readonly #clock: Clock
  readonly #names = new Map<string, string>()
  #client: Promise<pg.Client> | null = null
  #connected = false
  #failures = 0
  #notBefore = 0
  #closed = false

  constructor(options: PostgresOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
  }

  get connected(): boolean {
    return this.#connected
  }

  async query<Row>(text: string, params: readonly Param[]): Promise<Row[]> {
    this.open++
    try {
      const client = await this.#connection()
      let name = this.#names.get(text)
      if (name === undefined) {
        name = `s${this.#names.size}`
        this.#names.set(text, name)
      }
      const result = await this.#answered(client, client.query({ name, text, values: params.map(asText) }))
      return result.rows as Row[]
    } catch (cause) {
      throw asLost(cause)
    } finally {
      this.open--
    }
  }

  /** Text without parameters, several statements; they run as one. */
  async script(sql: string): Promise<void> {
    const client = await this.#connection()
    try {
      await client.query(sql)
    } catch (cause) {
      await client.query('ROLLBACK').catch(() => {})
      throw asLost(cause)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const client = await this.#client?.catch(() => null)
    await client?.end().catch(() => {})
  }

  /** A half-open connection answers nothing and fails nothing: it is cut, and with it every statement on it. */
  async #answered<T>(client: pg.Client, answer: Promise<T>): Promise<T> {
    const limit = (this.#options.statementTimeoutMs ?? STATEMENT_MS) + ANSWER_MS
    const cancel = this.#clock.after(limit, () => cut(client))
    try {
      return await answer
    } finally {
      cancel()
    }
  }

  #connection(): Promise<pg.Client> {
    if (this.#closed) return Promise.reject(new DbError('The connection is closed', '08003'))
    if (this.#client !== null) return this.#client
    if (this.#clock.now() < this.#notBefore)
      return Promise.reject(new DbError('The database does not answer; the next try comes in a moment', '08001'))
    const mine = this.#connect(() => this.#lost(mine))
    this.#client = mine
    mine.catch(() => this.#lost(mine))
    return mine
  }

  async #connect(lost: () => void): Promise<pg.Client> {
    const options = this.#options
    const client = new pg.Client({
      connectionString: options.url,
      application_name: 'sallyport',
      connectionTimeoutMillis: options.connectTimeoutMs ?? CONNECT_MS,
      statement_timeout: options.statementTimeoutMs ?? STATEMENT_MS,
      idle_in_transaction_session_timeout: options.statementTimeoutMs ?? STATEMENT_MS,
      options: Object.entries(SETTINGS)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
      keepAlive: true,
      keepAliveInitialDelayMillis: 5_000,
      pipeline: true,
      types: { getTypeParser: (oid: number) => parserOf(oid) },
    } as pg.ClientConfig)
    client.on('error', lost)
    client.on('end', lost)
    try {
      await client.connect()
    } catch (cause) {
      cut(client)
      const { message, code } = cause as { message: string; code?: string }
      throw new DbError(`The database could not be reached: ${withoutUrl(message)} (${code ?? 'no code'})`, '08001')
    }
    this.session++
    this.#connected = true
    this.#failures = 0
    return client
  }

  #lost(client: Promise<pg.Client>): void {
    if (this.#client !== client) return
    this.#client = null
    this.#connected = false
    const wait = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** this.#failures)
    this.#failures++
    this.#notBefore = this.#clock.now() + wait / 2
  }
}

function cut(client: pg.Client): void {
  ;(client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
}

/** A driver's message may quote what it was told to connect to. */
function withoutUrl(message: string): string {
  return message.replaceAll(/postgres(ql)?:\/\/\S+/g, '<url>')
}

/** States in which the session was ended from outside: the answer is lost, not negative. */
const ENDED = new Set(['57P01', '57P02', '57P05', '25P03'])

/** Without a SQLSTATE the fault is the connection's: whether the statement was carried out is then unknown. */
function asLost(cause: unknown): DbError {
  if (cause instanceof DbError) return cause
  if (cause instanceof pg.DatabaseError && !ENDED.has(cause.code ?? '')) return asDbError(cause)
  return new DbError(`The connection to the database was lost: ${withoutUrl((cause as Error).message)}`, '08006')
}
