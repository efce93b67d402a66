import { appendFile } from 'node:fs/promises'
import { TerminalError } from '../sdk/errors.js'
import { createWorker } from '../sdk/worker.js'

/**
 * The process that `drill worker-crash` starts and kills. Its effect is a line in a file. With `hang` it then waits to be
 * killed, so that the server never hears of what was done; with `finish` it is an ordinary worker.
 */
export type DrillWorkerSays = 'started' | 'acted'

const { mode, file, nonce } = JSON.parse(process.env.DRILL ?? '{}') as {
  mode: 'hang' | 'finish'
  file: string
  nonce: string
}
const say = (word: DrillWorkerSays) => process.send?.(word)

const worker = createWorker({
  url: process.env.SALLYPORT_URL ?? '',
  apiKey: process.env.SALLYPORT_API_KEY ?? '',
  concurrency: 1,
  topics: {
    'job.drill.effect': async (job, ctx) => {
      // Of a drill that runs beside this one, or that was broken off.
      if ((job.input as { nonce?: unknown } | null)?.nonce !== nonce)
        throw new TerminalError('another_drill', 'this worker plays another drill')
      return await ctx.effect('append', async ({ idempotencyKey }) => {
        await appendFile(file, `${idempotencyKey}\n`)
        if (mode === 'hang') {
          say('acted')
          await new Promise(() => {})
        }
        return { nonce }
      })
    },
  },
})
// Whoever started it is gone: then nobody would end it.
process.on('disconnect', () => process.exit(1))
await worker.start()
say('started')
