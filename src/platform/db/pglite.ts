import { PGlite, types } from '@electric-sql/pglite'
import { Worker } from 'node:worker_threads'
import { DbError } from '../../errors.js'
import type { Db, Param } from './seam.js'

/**
 * Postgres in this process (WASM). A query blocks its thread, so the server runs it in a worker thread; tests may run it
 * in their own. It never fsyncs: it survives the death of the process, not the loss of power. `dir` null = in memory.
 */
export async function openPglite(dir: string | null): Promise<Db> {
  let pg: PGlite
  try {
    pg = await PGlite.create({
      ...(dir === null ? {} : { dataDir: dir }),
      parsers: { [types.INT8]: (text) => toSafeInteger(text) },
    })
  } catch (cause) {
    throw new DbError(`The embedded database could not be opened${dir === null ? '' : ` at ${dir}`}`, '58030', cause)
  }
  return {
    engine: 'pglite',
    async query<Row>(sql: string, params: readonly Param[] = []) {
      try {
        const { rows } = await pg.query<Row>(sql, [...params])
        // The query blocked this thread and answers in a microtask: without a turn for I/O in between, callers that wait on
        // sockets never get to queue anything, and every batch is a batch of one (measured: 78 instead of 1,900 submits a second).
        await new Promise((turn) => setImmediate(turn))
        return rows
      } catch (cause) {
        throw asDbError(cause)
      }
    },
    async script(sql) {
      try {
        await pg.transaction(async (tx) => {
          await tx.exec(sql)
        })
      } catch (cause) {
        throw asDbError(cause)
      }
    },
    close: () => pg.close(),
  }
}

function toSafeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new DbError(`int8 out of range: ${text}`, '22003')
  return value
}

function asDbError(cause: unknown): DbError {
  if (cause instanceof DbError) return cause
  const { message, code } = cause as { message?: string; code?: string }
  return new DbError(message ?? String(cause), typeof code === 'string' ? code : 'XX000', cause)
}

export type ToThread = { n: number; kind: 'query'; sql: string; params: readonly Param[] } | { n: number; kind: 'script'; sql: string } | { n: number; kind: 'close' }
export type FromThread = { n: number; rows: unknown[] } | { n: number; error: { message: string; state: string } }

/** The same in a worker thread. The thread's death fails every open call and every later one: the node must stop. */
export function openPgliteThread(dir: string): Promise<Db> {
  const worker = new Worker(new URL('./pglite-thread.js', import.meta.url), { workerData: { dir } })
  const open = new Map<number, { resolve: (rows: unknown[]) => void; reject: (error: Error) => void }>()
  let dead: DbError | null = null
  let next = 1
  const die = (error: Error) => {
    dead = new DbError(`The embedded database stopped: ${error.message}`, '08006', error)
    for (const call of open.values()) call.reject(dead)
    open.clear()
  }
  worker.on('message', (message: FromThread) => {
    const call = open.get(message.n)
    open.delete(message.n)
    if ('error' in message) call?.reject(new DbError(message.error.message, message.error.state))
    else call?.resolve(message.rows)
  })
  worker.on('error', die)
  worker.on('exit', (code) => die(new Error(`thread ended with ${code}`)))
  const call = (build: (n: number) => ToThread): Promise<unknown[]> =>
    new Promise((resolve, reject) => {
      if (dead !== null) return reject(dead)
      const n = next++
      open.set(n, { resolve, reject })
      worker.postMessage(build(n))
    })
  const db: Db = {
    engine: 'pglite',
    query: async <Row>(sql: string, params: readonly Param[] = []) => (await call((n) => ({ n, kind: 'query', sql, params }))) as Row[],
    script: async (sql) => void (await call((n) => ({ n, kind: 'script', sql }))),
    close: async () => {
      if (dead !== null) return
      await call((n) => ({ n, kind: 'close' }))
      await worker.terminate()
    },
  }
  // The first answer says the engine is up (or why it is not), before anything is promised to anyone.
  return db.query('SELECT 1').then(() => db)
}
