import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { PGlite, protocol } from '@electric-sql/pglite'
import { DbError } from '../../errors.js'
import { type Answers, readAnswers } from './pglite-wire.js'
import type { Db, Hold, Param } from './seam.js'
import { asDbError, onWire, parserOf, SETTINGS } from './values.js'

/**
 * Postgres in this process (WASM). A query blocks its thread, so the server runs it in a worker thread; tests may run it
 * in their own. It never fsyncs: it survives the death of the process, not the loss of power. `dir` null = in memory.
 */
export async function openPglite(dir: string | null): Promise<Db> {
  let pg: PGlite
  try {
    if (dir !== null) await makeReady(dir)
    pg = await PGlite.create(dir === null ? {} : { dataDir: dir })
    for (const [name, value] of Object.entries(SETTINGS)) await pg.exec(`SET ${name} = '${value}'`)
  } catch (cause) {
    throw new DbError(`The embedded database could not be opened${dir === null ? '' : ` at ${dir}`}`, '58030', cause)
  }
  const statements = new Map<string, Promise<Statement>>()
  let closed = false
  const open = () => {
    if (closed) throw new DbError('The embedded database is closed', '08001')
  }
  const send = (...messages: Uint8Array[]) =>
    pg.runExclusive(async () => {
      open()
      const parts: Buffer[] = []
      // By stream: `execProtocolRaw` also parses what it returns, and keeps all of it for as long as the engine lives.
      const onRawData = (part: Uint8Array) => void parts.push(Buffer.from(part))
      await pg.execProtocolRawStream(Buffer.concat([...messages, serialize.sync()]), { onRawData })
      const answers = readAnswers(Buffer.concat(parts))
      if (answers.fault !== null) throw asDbError(answers.fault)
      return answers
    })
  const prepare = async (sql: string): Promise<Statement> => {
    const name = `s${statements.size}`
    const { fields } = await send(serialize.parse({ text: sql, name }), serialize.describe({ type: 'S', name }))
    return { name, fields: fields.map((field) => ({ name: field.name, parse: parserOf(field.oid) })) }
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
        const { rows } = await send(
          serialize.bind({ statement: name, values: params.map(onWire) }),
          serialize.execute({}),
        )
        // The query blocked this thread and answers in a microtask: without a turn for I/O in between, callers that wait on
        // sockets never get to queue anything, and every batch is a batch of one.
        await new Promise((turn) => setImmediate(turn))
        return rowsOf<Row>(rows, fields)
      } catch (cause) {
        throw asDbError(cause)
      }
    },
    async script(sql) {
      try {
        open()
        await pg.transaction(async (tx) => {
          await tx.exec(sql)
        })
      } catch (cause) {
        throw asDbError(cause)
      }
    },
    hold: holds(),
    async close() {
      if (closed) return
      closed = true
      // What is under way may end; closing within its turn would wait for itself.
      await pg.runExclusive(async () => {})
      await pg.close()
    },
  }
}

/**
 * Sees to it that what stands at `dir` can be opened, whenever the process before this one was killed. A new database gets its name
 * when it is whole: making one takes seconds and ends with PG_VERSION and the configuration, so that one killed in its last
 * milliseconds looked whole, and every later start failed. Opening it a second time costs 0.3 s, once.
 */
async function makeReady(dir: string): Promise<void> {
  // Of a process that is gone: the directory's lock is ours (lock.ts). Empty, as after a kill between its making and its writing, it
  // would fail this start and every later one.
  rmSync(join(dir, 'postmaster.pid'), { force: true })
  if (existsSync(join(dir, 'PG_VERSION'))) return
  const making = `${dir}.making`
  rmSync(making, { recursive: true, force: true })
  mkdirSync(making, { recursive: true, mode: 0o700 })
  await (await PGlite.create({ dataDir: making })).close()
  // Onto nothing or an empty folder; one that holds anything else is not ours to remove, and fails the start.
  renameSync(making, dir)
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
        if (!hold.held) return
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

function rowsOf<Row>(answers: Answers['rows'], fields: readonly Field[]): Row[] {
  return answers.map((values) => {
    const row: Record<string, unknown> = {}
    for (const [i, value] of values.entries()) {
      const field = fields[i] as Field
      row[field.name] = value === null ? null : field.parse(value)
    }
    return row as Row
  })
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
  let next = 1
  const end = (error: Error) => {
    if (dead === null) {
      dead = new DbError(`The embedded database stopped: ${error.message}`, '08006', error)
      died(dead)
    }
    for (const call of open.values()) call.reject(dead)
    open.clear()
  }
  worker.on('message', (message: FromThread) => {
    const call = open.get(message.n)
    open.delete(message.n)
    if ('error' in message) call?.reject(new DbError(message.error.message, message.error.state))
    else call?.resolve(message.rows)
  })
  worker.on('error', end)
  worker.on('exit', (code) => end(new Error(`thread ended with ${code}`)))
  const under = new Set<Promise<unknown>>()
  const post = (build: (n: number) => ToThread): Promise<unknown[]> =>
    new Promise((resolve, reject) => {
      const n = next++
      open.set(n, { resolve, reject })
      worker.postMessage(build(n))
    })
  const call = async (build: (n: number) => ToThread): Promise<unknown[]> => {
    if (dead !== null) throw dead
    const answer = post(build)
    under.add(answer)
    return answer.finally(() => under.delete(answer))
  }
  const db: Db = {
    engine: 'pglite',
    query: async <Row>(sql: string, params: readonly Param[] = []) =>
      (await call((n) => ({ n, kind: 'query', sql, params }))) as Row[],
    script: async (sql) => void (await call((n) => ({ n, kind: 'script', sql }))),
    hold: holds(),
    close: async () => {
      if (dead !== null) return
      // What is under way is answered first: an answer on its way when the thread ends would never come.
      const closed = Promise.allSettled(under).then(() => post((n) => ({ n, kind: 'close' })))
      dead = new DbError('The embedded database is closed', '08001')
      await closed
      await worker.terminate()
    },
  }
  // The first answer says the engine is up (or why it is not), before anything is promised to anyone. A thread that is left behind
  // keeps its process from ending: a start that failed hung, having said why.
  return db.query('SELECT 1').then(
    () => db,
    async (error: DbError) => {
      dead = error
      await worker.terminate()
      throw error
    },
  )
}
