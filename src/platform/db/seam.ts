/**
 * The database seam, below SQL: the same statements run on every engine. Adapters normalise values, so that callers see
 * int8 as number (refused past 2^53), jsonb parsed, bytea as Uint8Array, on PGlite and Postgres alike.
 */
export interface Db {
  readonly engine: 'pglite' | 'postgres'
  /** One statement, a constant: it is prepared once. Parameters go as text, number, boolean or null; lists and rows as JSON text. */
  query<Row>(sql: string, params?: readonly Param[]): Promise<Row[]>
  /** Several statements in one transaction; for migrations only. */
  script(sql: string): Promise<void>
  close(): Promise<void>
}
export type Param = string | number | boolean | null
