import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import pg from 'pg'
import { makeResults } from '../texts.mjs'

const silent = new Logger(() => () => {})

/**
 * Its own client, with its local queue and batched completions on: for throughput, without them batches took twice as long. Of
 * 10, 20, 40 and 66 connections 10 were fastest. It deletes a finished job and keeps
 * no result, so the 4 KB travel in as the payload.
 */
export async function open({ databaseUrl, max = 10, concurrency = 64, localQueue = 200 }) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  const utils = await makeWorkerUtils({ pgPool: pool, logger: silent })
  await utils.migrate()
  const results = makeResults()
  const payload = (n) => ({ n, text: results[n % results.length] })
  let runner = null
  return {
    add: (n) => utils.addJob('bench', payload(n)),
    addMany: (from, count) =>
      utils.addJobs(Array.from({ length: count }, (_, i) => ({ identifier: 'bench', payload: payload(from + i) }))),
    async work(_mode, { onStart, onDone }) {
      runner = await run({
        pgPool: pool,
        logger: silent,
        concurrency,
        noHandleSignals: true,
        taskList: { bench: ({ n }) => onStart(n) },
        preset: { worker: { localQueue: { size: localQueue }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
      })
      runner.events.on('job:complete', ({ job }) => onDone(job.payload.n))
    },
    async rest() {
      await runner?.stop()
      runner = null
    },
    async close() {
      await runner?.stop()
      await utils.release()
      await pool.end()
    },
  }
}
