import { quantile } from '../report.mjs'

/**
 * The process that gives a subject its work and takes the times: `node driver.mjs ADAPTER`, told what to do over IPC.
 *
 * An adapter's `open(settings)` answers `{ add(n), addMany(from, count), work(mode, { onStart, onDone }, more), rest(), close() }`: a job
 * carries its number; `work` begins to take jobs and tells when each is in a worker's hands and when its end is recorded.
 */
const [adapter] = process.argv.slice(2)
const { open } = await import(`./queues/${adapter}.mjs`)

/** Submit times by number; far more slots than jobs can be unfinished at once. */
const SLOTS = 1 << 20
const submittedAt = new Float64Array(SLOTS)
let subject = null
let next = 0
let taken = () => {}
let finished = () => {}

const hooks = { onStart: (n) => taken(n), onDone: (n) => finished(n) }

/**
 * `lanes` submitters, each waiting for its answer before it sends again, for `ms` or until `jobs` are submitted; then until the
 * last job has ended. They hold back while `unfinished` jobs are under way: a queue that takes jobs faster than it ends them
 * would otherwise show the rate of its inbox, and latencies as long as the round.
 */
async function round({ ms = Number.POSITIVE_INFINITY, jobs = Number.POSITIVE_INFINITY, lanes, size, unfinished }) {
  const latencies = []
  const held = []
  let submitted = 0
  let closed = false
  let allDone = () => {}
  const drained = new Promise((resolve) => {
    allDone = resolve
  })
  finished = (n) => {
    latencies.push(performance.now() - submittedAt[n % SLOTS])
    if (held.length > 0 && submitted - latencies.length + size <= unfinished) held.shift()()
    if (closed && latencies.length === submitted) allDone()
  }
  const begun = performance.now()
  const lane = async () => {
    while (submitted < jobs && performance.now() - begun < ms) {
      if (submitted - latencies.length + size > unfinished) {
        await new Promise((resolve) => held.push(resolve))
        continue
      }
      const from = next
      next += size
      submitted += size
      const now = performance.now()
      for (let n = from; n < from + size; n++) submittedAt[n % SLOTS] = now
      if (size === 1) await subject.add(from)
      else await subject.addMany(from, size)
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  closed = true
  if (latencies.length < submitted) await drained
  const elapsed_ms = performance.now() - begun
  return { jobs: submitted, elapsed_ms, p50_ms: quantile(latencies, 0.5), p99_ms: quantile(latencies, 0.99) }
}

/** One job at a time, with pauses of random length up to `gap_ms`, so that no poll is always met at the same moment. */
async function alone({ samples, gap_ms }) {
  const handler = []
  const whole = []
  for (let i = 0; i < samples; i++) {
    await new Promise((turn) => setTimeout(turn, 2 + Math.random() * gap_ms))
    const n = next++
    const ended = new Promise((resolve) => {
      taken = (m) => m === n && handler.push(performance.now() - begun)
      finished = (m) => m === n && resolve()
    })
    const begun = performance.now()
    await subject.add(n)
    await ended
    whole.push(performance.now() - begun)
  }
  taken = () => {}
  return { handler, whole }
}

const COMMANDS = {
  async open({ settings }) {
    subject = await open(settings)
  },
  work: ({ mode, ...more }) => subject.work(mode, hooks, more),
  rest: () => subject.rest(),
  round,
  alone,
  async close() {
    await subject?.close()
  },
}

process.on('message', async ({ id, command, ...rest }) => {
  try {
    process.send({ id, value: (await COMMANDS[command](rest)) ?? null })
  } catch (error) {
    process.send({ id, fault: error.stack })
  }
  if (command === 'close') process.disconnect()
})
process.on('disconnect', () => process.exit())
