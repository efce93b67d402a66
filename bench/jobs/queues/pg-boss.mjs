import PgBoss from 'pg-boss'
import { makeResults } from '../texts.mjs'

const QUEUE = 'bench'
/** Tried 1, 2, 4 and 8 loops over 10, 20 and 40 connections: 2 over 10 were as fast as any, for singles and batches. */
const FETCHERS = 2

/**
 * Its own client. `work()` polls every half second at best, so for throughput jobs are fetched in loops that do not wait while
 * there is work, up to 64 at a time, without sorting by priority; alone it is `work()`, as its users run it.
 */
export async function open({ databaseUrl, max = 10 }) {
  const boss = new PgBoss({ connectionString: databaseUrl, max })
  boss.on('error', (error) => console.error(error))
  await boss.start()
  await boss.createQueue(QUEUE)
  const results = makeResults()
  const input = (n) => ({ op: 'log', path: 'src', limit: 20, n })
  let working = { on: false, loops: [] }

  async function fetcher(state, size, { onStart, onDone }) {
    while (state.on) {
      const jobs = await boss.fetch(QUEUE, { batchSize: size, priority: false })
      if (jobs.length === 0) {
        await new Promise((turn) => setTimeout(turn, 2))
        continue
      }
      for (const { data } of jobs) onStart(data.n)
      // Each has a result of its own, and one call completes several jobs only with one result for all.
      await Promise.all(
        jobs.map(async ({ id, data }) => {
          await boss.complete(QUEUE, id, results[data.n % results.length])
          onDone(data.n)
        }),
      )
    }
  }

  return {
    add: (n) => boss.send(QUEUE, input(n)),
    addMany: (from, count) =>
      boss.insert(Array.from({ length: count }, (_, i) => ({ name: QUEUE, data: input(from + i) }))),
    async work(mode, hooks) {
      working = { on: true, loops: [], mode }
      if (mode === 'alone') {
        await boss.work(QUEUE, { pollingIntervalSeconds: 0.5, batchSize: 1 }, async ([{ data }]) => {
          hooks.onStart(data.n)
          setImmediate(() => hooks.onDone(data.n))
          return results[data.n % results.length]
        })
        return
      }
      const size = mode === 'batches' ? 100 : 64
      for (let i = 0; i < FETCHERS; i++) working.loops.push(fetcher(working, size, hooks))
    },
    async rest() {
      working.on = false
      await Promise.all(working.loops)
      if (working.mode === 'alone') await boss.offWork(QUEUE)
    },
    close: () => boss.stop({ graceful: false }),
  }
}
