import {
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamClient,
  jetstream,
  jetstreamManager,
  type StreamConfig,
} from '@nats-io/jetstream'
import { headers, type NatsConnection, nanos } from '@nats-io/transport-node'
import type { NatsLine } from './nats-line.js'
import { type EventStream, type OutgoingEvent, type StreamState, StreamUnavailable } from './seam.js'
import { token, tokens } from './subject.js'

export const STREAM = 'SALLYPORT_EVENTS'
export const EVENTS = 'sallyport.events'

/**
 * What a stream is made with. It is never changed afterwards, so an operator's own limits and replicas stay. The window of
 * message ids is short because the server holds every id of it in memory: at 40,000 events a second two minutes, its default,
 * are 700 MB.
 */
const CONFIG: Partial<StreamConfig> & { name: string } = {
  name: STREAM,
  description: 'Audit entries of Sallyport, by tenant, kind and topic',
  subjects: [`${EVENTS}.>`],
  storage: 'file',
  retention: 'limits',
  discard: 'old',
  max_age: nanos(7 * 24 * 3_600_000),
  max_bytes: 1024 ** 3,
  duplicate_window: nanos(30_000),
}

const ANSWER_MS = 5000
/**
 * Sent before an answer is waited for: all that a slow server can make this process hold. Making and sending them takes about
 * 3 ms, in which this node does nothing else.
 */
const CHUNK = 64
const CHUNK_BYTES = 1024 * 1024

const MESSAGE_ID = 'Nats-Msg-Id'
const EXPECTED_LAST_ID = 'Nats-Expected-Last-Msg-Id'
/** JetStream's code for "the message stored last is another one than you expect". */
const WRONG_LAST_ID = 10_070

/** The durable event stream, over whatever connection there is. */
export class NatsEvents implements EventStream {
  readonly #line: NatsLine

  constructor(line: NatsLine) {
    this.#line = line
  }

  state(): Promise<StreamState> {
    return this.#with(async (connection) => {
      const { streams } = await jetstreamManager(connection, { checkAPI: false, timeout: ANSWER_MS })
      const info = await streams.info(STREAM).catch((error) => {
        if (codeOf(error) !== JetStreamApiCodes.StreamNotFound) throw error
        return streams.add(CONFIG)
      })
      return { instance: info.created, last: info.state.last_seq }
    })
  }

  newest(tenant: string): Promise<string | null> {
    return this.#with(async (connection) => {
      const { streams } = await jetstreamManager(connection, { checkAPI: false, timeout: ANSWER_MS })
      const found = await streams.getMessage(STREAM, { last_by_subj: `${EVENTS}.${token(tenant)}.>` })
      return found?.string() ?? null
    })
  }

  append(events: Iterable<OutgoingEvent>): Promise<number> {
    return this.#with(async (connection) => {
      const client = jetstream(connection, { timeout: ANSWER_MS })
      let last = 0
      for (const chunk of chunksOf(events)) last = await appendChunk(connection, client, chunk)
      return last
    })
  }

  async #with<T>(work: (connection: NatsConnection) => Promise<T>): Promise<T> {
    const { connection } = this.#line
    if (connection === null) throw new StreamUnavailable('there is no connection to NATS')
    if (connection.info?.jetstream !== true) throw new StreamUnavailable('JetStream is not enabled on this NATS server')
    try {
      return await work(connection)
    } catch (error) {
      throw new StreamUnavailable(`the event stream refuses: ${(error as Error).message}`, { cause: error })
    }
  }
}

/**
 * Waits for one answer in a chunk instead of one for each event, which costs this process more than all the rest of publishing.
 * Every event expects the one before it to be the last that was stored, so the answer to the last one speaks for all.
 */
async function appendChunk(
  connection: NatsConnection,
  client: JetStreamClient,
  chunk: readonly OutgoingEvent[],
): Promise<number> {
  const last = chunk.at(-1) as OutgoingEvent
  const before = chunk.at(-2)
  let previous: string | null = null
  for (const event of chunk.slice(0, -1)) {
    const head = headers()
    head.set(MESSAGE_ID, event.id)
    if (previous !== null) head.set(EXPECTED_LAST_ID, previous)
    connection.publish(subjectOf(event), event.body, { headers: head })
    previous = event.id
  }
  const expect = { streamName: STREAM, ...(before === undefined ? {} : { lastMsgID: before.id }) }
  try {
    return (await client.publish(subjectOf(last), last.body, { msgID: last.id, expect })).seq
  } catch (error) {
    if (codeOf(error) !== WRONG_LAST_ID) throw error
    // Some were stored by an earlier attempt with others after them. One answer each, then; ids take care of repeats.
    const answers = chunk.map((event) =>
      client.publish(subjectOf(event), event.body, { msgID: event.id, expect: { streamName: STREAM } }),
    )
    return Math.max(...(await Promise.all(answers)).map((answer) => answer.seq))
  }
}

function* chunksOf(events: Iterable<OutgoingEvent>): Iterable<OutgoingEvent[]> {
  let chunk: OutgoingEvent[] = []
  let bytes = 0
  for (const event of events) {
    chunk.push(event)
    bytes += event.body.length
    if (chunk.length < CHUNK && bytes < CHUNK_BYTES) continue
    yield chunk
    chunk = []
    bytes = 0
  }
  if (chunk.length > 0) yield chunk
}

function subjectOf({ tenant, kind, topic }: OutgoingEvent): string {
  const about = topic === null ? '' : `.${tokens(topic)}`
  return `${EVENTS}.${token(tenant)}.${tokens(kind)}${about}`
}

const codeOf = (error: unknown) => (error instanceof JetStreamApiError ? error.code : null)
