/**
 * The database seam, below SQL: the same statements run on every engine. Adapters normalise values, so that callers see
 * int8 as number (refused past 2^53), jsonb parsed, bytea as Uint8Array, on PGlite and Postgres alike.
 * Every fault is a DbError. Of its states, `08001` is "never reached the engine" and `08006` "nobody knows whether it did".
 */
export interface Db {
  readonly engine: 'pglite' | 'postgres'
  /** One statement, a constant: it is prepared once. Parameters go as text, number, boolean or null; rows as JSON text, lists of texts as bytes. */
  query<Row>(sql: string, params?: readonly Param[], on?: On): Promise<Row[]>
  /** Several statements in one transaction, no two of these at once on any node; for migrations only. */
  script(sql: string): Promise<void>
  /** Takes a name for this process among all that share the database; null while another holds it. Lost with its connection. */
  hold(name: string): Promise<Hold | null>
  /** Of an engine that is reached over connections. */
  stats?(): DbStats
  close(): Promise<void>
}

/** For metrics. */
export interface DbStats {
  /** Connections this node may have, and has. */
  lines: number
  connected: number
  /** Statements sent, or waiting for a connection, and not answered yet. */
  open: number
}

/** Bytes go as they are, in the engine's binary form of the parameter's type (`textArray`). */
export type Param = string | number | boolean | Uint8Array | null

/**
 * `reads`: whichever connection is least busy. `ledger`: one connection, statements sent in order without waiting for one
 * another (on two they would race). `fresh`: a connection made for this statement, which no earlier fault can touch.
 */
export type On = 'reads' | 'ledger' | 'fresh'

/** A name held among the nodes. */
export interface Hold {
  /** False once the connection that carried it is gone: another node may have it by now. */
  readonly held: boolean
  release(): Promise<void>
}
