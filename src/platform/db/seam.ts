/**
 * The database seam, below SQL: the same statements run on every engine. Adapters normalise values, so that callers see
 * int8 as number (refused past 2^53), jsonb parsed, bytea as Uint8Array, on PGlite and Postgres alike.
 */
export interface Db {
  readonly engine: 'pglite' | 'postgres'
  /** One statement, its parameters as text, number, boolean, null, Uint8Array or JSON text. */
  query<Row>(sql: string, params?: readonly Param[]): Promise<Row[]>
  /** Several statements in one transaction; for migrations only. */
  script(sql: string): Promise<void>
  close(): Promise<void>
}
export type Param = string | number | boolean | null | Uint8Array | readonly string[]
