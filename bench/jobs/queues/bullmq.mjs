import { Queue, Worker } from 'bullmq'
import { makeResults } from '../texts.mjs'

/** Its own client; finished jobs and their results stay, as they do by default and in every other subject but one. */
export async function open({ redisUrl, concurrency = 64 }) {
  const { hostname: host, port } = new URL(redisUrl)
  const connection = { host, port: Number(port), maxRetriesPerRequest: null }
  const queue = new Queue('bench', { connection })
  await queue.waitUntilReady()
  const results = makeResults()
  const input = (n) => ({ op: 'log', path: 'src', limit: 20, n })
  let worker = null
  return {
    add: (n) => queue.add('bench', input(n)),
    addMany: (from, count) =>
      queue.addBulk(Array.from({ length: count }, (_, i) => ({ name: 'bench', data: input(from + i) }))),
    async work(_mode, { onStart, onDone }) {
      worker = new Worker(
        'bench',
        async ({ data }) => {
          onStart(data.n)
          return results[data.n % results.length]
        },
        { connection, concurrency },
      )
      worker.on('error', (error) => console.error(error))
      worker.on('completed', ({ data }) => onDone(data.n))
      await worker.waitUntilReady()
    },
    async rest() {
      await worker?.close()
      worker = null
    },
    async close() {
      await worker?.close()
      await queue.close()
    },
  }
}
