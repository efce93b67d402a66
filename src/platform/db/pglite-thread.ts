import { parentPort, workerData } from 'node:worker_threads'
import { DbError } from '../../errors.js'
import { type FromThread, openPglite, type ToThread } from './pglite.js'

const port = parentPort
if (port === null) throw new Error('pglite-thread.js runs as a worker thread only')
const opening = openPglite((workerData as { dir: string }).dir)

port.on('message', async (message: ToThread) => {
  let answer: FromThread
  try {
    const db = await opening
    if (message.kind === 'close') await db.close()
    else if (message.kind === 'script') await db.script(message.sql)
    answer = { n: message.n, rows: message.kind === 'query' ? await db.query(message.sql, message.params) : [] }
  } catch (cause) {
    const { message: text } = cause as Error
    answer = { n: message.n, error: { message: text, state: cause instanceof DbError ? cause.state : 'XX000' } }
  }
  port.postMessage(answer)
})
