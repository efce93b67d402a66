/** A server process that tests and benchmarks own. */
export interface Instance {
  readonly pid: number
  readonly port: number
  readonly home: string
  /** The last of what it printed. */
  output(): string
  /** Again, after stop or kill: same port, same data. Resolves when it answers. */
  start(): Promise<void>
  stop(): Promise<void>
  kill(): Promise<void>
  /** SIGSTOP and SIGCONT, children included. */
  freeze(): void
  thaw(): void
  /** Killed, and its folder removed. */
  discard(): void
}
export interface PostgresInstance extends Instance {
  url(database?: string): string
  /** Makes a database and answers its URL. */
  database(name: string): Promise<string>
}
export interface NatsInstance extends Instance {
  readonly url: string
  /** Loses the whole store of a stopped server. */
  wipe(): void
}
export interface RedisInstance extends Instance {
  readonly url: string
}
export function startPostgres(options?: {
  durable?: boolean
  settings?: Record<string, string | number>
}): Promise<PostgresInstance>
export function startNats(options?: { args?: readonly string[] }): Promise<NatsInstance>
export function startRedis(): Promise<RedisInstance>
export function freePort(): Promise<number>
/** Path of a program on the PATH or where Debian keeps servers; undefined where it is not installed. */
export function findProgram(name: string): string | undefined
