/**
 * The bus only wakes someone up: the row is the truth and the queue. Losing every message costs a delay (the dispatcher
 * looks by itself once a second), never a job. Nothing here throws, waits, or grows without bound, with or without a server.
 */
export interface Bus {
  /**
   * Work of this topic may be ready: tells one node that waits for it. This node, without the network, if it waits itself. A
   * node that is told and waits no more passes it on.
   */
  hint(tenant: string, topic: string): void
  /** What a hint announced may be more than this node could take: tells every other node that waits for it, once. */
  pass(tenant: string, topic: string): void
  /** Claims wait here for these topics until the returned function is called: only then are hints for them heard. */
  interest(tenant: string, topics: readonly string[]): () => void
  onHint(listener: HintListener): () => void
  /** The durable stream for other systems; null where the bus has none. */
  readonly events: EventStream | null
  readonly stats: Readonly<BusStats>
  close(): Promise<void>
}

/** `passed`: every other node was told as well, so there is nobody left to pass it on to. */
export type HintListener = (tenant: string, topic: string, how: 'hinted' | 'passed') => void

/** Counts since the start; for metrics. */
export interface BusStats {
  connected: boolean
  /** Connections made: one, and one for each time it was lost. */
  connects: number
  /** Hints and passes that left this node. */
  sent: number
  heard: number
  /** For want of a connection or of room: each costs at most the dispatcher's own second. */
  dropped: number
}

/** One audit entry on its way to other systems. */
export interface OutgoingEvent {
  tenant: string
  kind: string
  topic: string | null
  /** Two messages with one id within the stream's window are one. */
  id: string
  body: string
}

export interface StreamState {
  /** Names this stream's life: another one after its store was lost or it was made anew. */
  instance: string
  /** Sequence of its newest message, also where that has been discarded since. */
  last: number
}

/** The stream is away, slow or full. Nothing is lost by it: the log keeps what was not acknowledged. */
export class StreamUnavailable extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.name = 'StreamUnavailable'
  }
}

/** Every method throws StreamUnavailable. */
export interface EventStream {
  /** Makes the stream where there is none. */
  state(): Promise<StreamState>
  /** Body of the newest message of a tenant that is still kept. */
  newest(tenant: string): Promise<string | null>
  /**
   * Appends in order; resolves with the sequence of the last one when the server has stored all. On a fault some of the first may
   * be. Takes the next few only when those before are stored.
   */
  append(events: Iterable<OutgoingEvent>): Promise<number>
}
