import { Worker } from 'node:worker_threads'
import { type messages, PGlite, protocol } from '@electric-sql/pglite'
import { DbError } from '../../errors.js'
import type { Db, Hold, Param } from './seam.js'
import { asDbError, asText, parserOf, SETTINGS } from './values.js'

/**
 * Postgres in this process (WASM). A query blocks its thread, so the server runs it in a worker thread; tests may run it
 * in their own. It never fsyncs: it survives the death of the process, not the loss of power. `dir` null = in memory.
 */
export async function openPglite(dir: string | null): Promise<Db> {
  let pg: PGlite
  try {
    pg = await PGlite.create(dir === null ? {} : { dataDir: dir })
    for (const [name, value] of Object.entries(SETTINGS)) await pg.exec(`SET ${name} = '${value}'`)
  } catch (cause) {
    throw new DbError(`The embedded database could not be opened${dir === null ? '' : ` at ${dir}`}`, '58030', cause)
  }
  const statements = new Map<string, Promise<Statement>>()
  const send = (...messages: Uint8Array[]) =>
    pg.runExclusive(() => pg.execProtocol(Buffer.concat([...messages, serialize.sync()])))
  const prepare = async (sql: string): Promise<Statement> => {
    const name = `s${statements.size}`
    const { messages } = await send(serialize.parse({ text: sql, name }), serialize.describe({ type: 'S', name }))
    return { name, fields: fieldsOf(messages) }
  }
  return {
    engine: 'pglite',
    async query<Row>(sql: string, params: readonly Param[] = []) {
      try {
        let statement = statements.get(sql)
        if (statement === undefined) {
          statement = prepare(sql)
          statements.set(sql, statement)
          statement.catch(() => statements.delete(sql))
        }
        const { name, fields } = await statement
        const { messages } = await send(
          serialize.bind({ statement: name, values: params.map(asText) }),
          serialize.execute({}),
        )
        // The query blocked this thread and answers in a microtask: without a turn for I/O in between, callers that wait on
        // sockets never get to queue anything, and every batch is a batch of one.
        await new Promise((turn) => setImmediate(turn))
        return rowsOf<Row>(messages, fields)
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
    hold: holds(),
    close: () => pg.close(),
  }
}

/** The directory has one process, so names are held among the worlds of this one. */
function holds(): Db['hold'] {
  const taken = new Set<string>()
  return async (name) => {
    if (taken.has(name)) return null
    taken.add(name)
    const hold: Hold & { held: boolean } = {
      held: true,
      release: async () => {
        hold.held = false
        taken.delete(name)
      },
    }
    return hold
  }
}

const { serialize } = protocol

interface Field {
  name: string
  parse(text: string): unknown
}
interface Statement {
  name: string
  fields: Field[]
}

function fieldsOf(answers: readonly messages.BackendMessage[]): Field[] {
  const description = answers.find((m) => m.name === 'rowDescription') as messages.RowDescriptionMessage | undefined
  return (description?.fields ?? []).map((field) => ({ name: field.name, parse: parserOf(field.dataTypeID) }))
}

function rowsOf<Row>(answers: readonly messages.BackendMessage[], fields: readonly Field[]): Row[] {
  const rows: Row[] = []
  for (const answer of answers) {
    if (answer.name !== 'dataRow') continue
    const row: Record<string, unknown> = {}
    for (const [i, value] of (answer as messages.DataRowMessage).fields.entries()) {
      const field = fields[i] as Field
      row[field.name] = value === null ? null : field.parse(value)
    }
    rows.push(row as Row)
  }
  return rows
}

export type ToThread =
  | { n: number; kind: 'query'; sql: string; params: readonly Param[] }
  | { n: number; kind: 'script'; sql: string }
  | { n: number; kind: 'close' }
export type FromThread = { n: number; rows: unknown[] } | { n: number; error: { message: string; state: string } }

/** The same in a worker thread. The thread's death fails every open call and every later one: the node must stop. */
export function openPgliteThread(dir: string, died: (error: Error) => void): Promise<Db> {
  const worker = new Worker(new URL('./pglite-thread.js', import.meta.url), { workerData: { dir } })
  const open = new Map<number, { resolve: (rows: unknown[]) => void; reject: (error: Error) => void }>()
  let dead: DbError | null = null
  let closing = false
  let next = 1
  const die = (error: Error) => {
    if (dead !== null || closing) return
    dead = new DbError(`The embedded database stopped: ${error.message}`, '08006', error)
    died(dead)
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
    query: async <Row>(sql: string, params: readonly Param[] = []) =>
      (await call((n) => ({ n, kind: 'query', sql, params }))) as Row[],
    script: async (sql) => void (await call((n) => ({ n, kind: 'script', sql }))),
    hold: holds(),
    close: async () => {
      if (dead !== null) return
      closing = true
      await call((n) => ({ n, kind: 'close' }))
      await worker.terminate()
    },
  }
  // The first answer says the engine is up (or why it is not), before anything is promised to anyone.
  return db.query('SELECT 1').then(() => db)
}
