// A system of your own that follows what happens: it copies the audit entries of one tenant into a file of JSON Lines, each once
// and in order, whatever is restarted, lost or repeated on the way. Put your own work where it says `handle`.
//
//   NATS_URL=nats://127.0.0.1:4222 SALLYPORT_API_KEY=$(cat .sallyport/keys/admin.key) node examples/subscriber/follow.mjs entries.jsonl
//
//   --tenant NAME   default: default                     --name NAME   of the durable consumer; default: follow
//   --from INDEX    replay from that entry on            --since HOURS replay what the stream got in the last hours
//   Without either, a new file begins with the oldest entry that the stream still has.
//
// The stream is quick, the audit log is complete: a jump of the index is a gap, and is read from GET /api/v1/audit.
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, nanos } from '@nats-io/transport-node'
import { createClient } from 'sallyport/sdk'

const STREAM = 'SALLYPORT_EVENTS'
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tenant: { type: 'string', default: 'default' },
    name: { type: 'string', default: 'follow' },
    from: { type: 'string' },
    since: { type: 'string' },
  },
})
const [file] = positionals
const apiKey = process.env.SALLYPORT_API_KEY
if (!file || !apiKey) {
  console.error('usage: SALLYPORT_API_KEY=… node follow.mjs FILE [--tenant NAME] [--from INDEX | --since HOURS]')
  process.exit(1)
}
const sallyport = createClient({ url: process.env.SALLYPORT_URL ?? 'http://127.0.0.1:8080', apiKey })

/** Index of the last entry handled; it is in what the handling wrote, so the two cannot disagree after a crash. */
let last = lastHandled() ?? (options.from === undefined ? null : Number(options.from) - 1)

/** Your work. It must have happened when this returns: after that the entry does not come again. */
function handle(entry) {
  appendFileSync(file, `${JSON.stringify(entry)}\n`)
  last = entry.index
}

function lastHandled() {
  if (!existsSync(file)) return null
  const line = readFileSync(file, 'utf8').trimEnd().split('\n').at(-1)
  return line === '' ? null : JSON.parse(line).index
}

/** Entries after the last one and before `index`, which the stream lost, discarded or never got. */
async function fillUpTo(index) {
  while (last !== null && last + 1 < index) {
    const { items } = await sallyport.audit.list(last < 0 ? { limit: 500 } : { after_index: last, limit: 500 })
    const missed = items.filter((entry) => entry.index !== null && entry.index > last && entry.index < index)
    if (missed.length === 0) {
      console.error(`entries ${last + 1} to ${index - 1} are in the log no more`)
      return
    }
    for (const entry of missed) handle(entry)
  }
}

async function received(message) {
  const entry = message.json()
  if (last === null || entry.index > last) {
    await fillUpTo(entry.index)
    handle(entry)
  }
  // An index that is not above the last one is a repeat: delivery is at least once.
  message.ack()
}

/** A token of a subject, as docs/events.md has it. */
const token = (text) =>
  encodeURIComponent(text).replace(/[.!~*'()]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)

/** The durable consumer: made once, found again after that; it remembers what was acknowledged. */
async function consumer(connection) {
  const manager = await jetstreamManager(connection)
  const since = options.since === undefined ? null : new Date(Date.now() - Number(options.since) * 3_600_000)
  const known = await manager.consumers.info(STREAM, options.name).catch(() => null)
  if (known === null)
    await manager.consumers.add(STREAM, {
      durable_name: options.name,
      filter_subject: `sallyport.events.${token(options.tenant)}.>`,
      ack_policy: 'explicit',
      ack_wait: nanos(30_000),
      max_ack_pending: 500,
      ...(since === null
        ? { deliver_policy: 'all' }
        : { deliver_policy: 'by_start_time', opt_start_time: since.toISOString() }),
    })
  return jetstream(connection).consumers.get(STREAM, options.name)
}

const connection = await connect({
  servers: process.env.NATS_URL ?? 'nats://127.0.0.1:4222',
  maxReconnectAttempts: -1,
  waitOnFirstConnect: true,
  pingInterval: 2000,
})
let stopping = false
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    stopping = true
    connection.close()
  })

while (!stopping) {
  try {
    const from = await consumer(connection)
    for (;;) for await (const message of await from.fetch({ max_messages: 100, expires: 5000 })) await received(message)
  } catch (error) {
    if (stopping) break
    // The server is away, or lost its store and with it the consumer: begin anew, and skip what is known.
    console.error(`${error.message}; again in a second`)
    await pause(1000)
  }
}
