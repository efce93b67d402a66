import { connect as connectTcp } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { connect, credsAuthenticator, type NatsConnection, type TlsOptions } from '@nats-io/transport-node'
import type { Log } from '../log.js'
import type { NatsAccess } from './nats-access.js'

/** The newest server whose features are used: what Debian stable ships. */
const OLDEST = [2, 9] as const

/** A server that answers is found within this, or taken for gone. */
const PROBE_MS = 2000
/** Asked this often whether it is still there… */
const PING_MS = 1000
/** …and given up when it has not answered by then: a half-open connection is noticed within PING_MS + PONG_MS. */
const PONG_MS = 2000
/** Between two attempts: doubled from the first to the last, half of it by chance, so that a hundred nodes do not come at once. */
const BACKOFF_MS = [100, 2000] as const
/** While it is away this is said once in so long. */
const REPEAT_MS = 60_000

/** The server is too old. At the start that ends the start; later it is as if there were none. */
export class ServerTooOld extends Error {
  constructor(version: string) {
    super(`names a NATS server of version ${version.slice(0, 40)}; it needs ${OLDEST.join('.')} or newer`)
    this.name = 'ServerTooOld'
  }
}

/**
 * One connection, kept for ever. The client library can reconnect by itself, but then it buffers without bound what is published
 * meanwhile and waits for a write to a dead peer before it gives the connection up; so a lost connection is dropped here as a
 * whole and a new one is made.
 */
export class NatsLine {
  connection: NatsConnection | null = null
  /** Connections made so far. */
  connects = 0
  readonly #access: NatsAccess
  readonly #log: Log
  readonly #up = new Set<(connection: NatsConnection) => void>()
  readonly #down = new Set<() => void>()
  readonly #closed = new AbortController()
  #life: Promise<void> = Promise.resolve()
  #said = Number.NEGATIVE_INFINITY
  #sent = 0
  #answered = 0

  private constructor(access: NatsAccess, log: Log) {
    this.#access = access
    this.#log = log
  }

  /** Resolves when the first attempt has ended, well or not. Throws ServerTooOld. */
  static async open(access: NatsAccess, log: Log): Promise<NatsLine> {
    const line = new NatsLine(access, log)
    const first = await line.#attempt().catch((error: Error) => error)
    if (first instanceof ServerTooOld) throw first
    line.#life = line.#keep(first)
    return line
  }

  onUp(listener: (connection: NatsConnection) => void): void {
    this.#up.add(listener)
  }
  onDown(listener: () => void): void {
    this.#down.add(listener)
  }

  /** Messages sent since the server last answered: what a server that stops reading can make this process hold. */
  get unanswered(): number {
    return this.#sent - this.#answered
  }
  counted(): void {
    this.#sent++
  }

  async close(): Promise<void> {
    this.#closed.abort()
    const { connection } = this
    this.connection = null
    await Promise.all([connection?.close().catch(() => {}), this.#life])
  }

  async #keep(first: NatsConnection | Error): Promise<void> {
    let next = first
    for (let failures = 0; !this.#closed.signal.aborted; ) {
      if (next instanceof Error) {
        this.#complain(next)
        await this.#pause(backoff(failures++))
      } else {
        failures = 0
        await this.#serve(next)
      }
      if (this.#closed.signal.aborted) break
      next = await this.#attempt().catch((error: Error) => error)
    }
    if (!(next instanceof Error)) await next.close().catch(() => {})
  }

  /** From connected to lost. */
  async #serve(connection: NatsConnection): Promise<void> {
    this.#sent = 0
    this.#answered = 0
    this.#said = Number.NEGATIVE_INFINITY
    this.connects++
    this.connection = connection
    this.#log.info({ server: connection.info?.server_name, version: connection.info?.version }, 'connected to NATS')
    const over = new AbortController()
    const closed = connection.closed().then((error) => error?.message ?? 'the server closed the connection')
    for (const listener of this.#up) listener(connection)
    const reason = await Promise.race([closed, this.#silent(connection, over.signal)])
    over.abort()
    this.connection = null
    for (const listener of this.#down) listener()
    if (this.#closed.signal.aborted) return
    this.#said = performance.now()
    this.#log.warn({ reason }, 'NATS is gone: hints are late by up to a second and events wait, nothing is lost')
    // Not waited for: closing a half-open connection may take as long as it likes.
    connection.close().catch(() => {})
  }

  /** Resolves when the server has not answered in time. */
  async #silent(connection: NatsConnection, over: AbortSignal): Promise<string> {
    for (;;) {
      await pause(PING_MS, over)
      if (over.aborted) return ''
      const sent = this.#sent
      const answered = connection.flush().then(
        () => true,
        () => false,
      )
      if (!(await Promise.race([answered, pause(PONG_MS, over)]))) return `no answer within ${PONG_MS} ms`
      this.#answered = sent
    }
  }

  async #attempt(): Promise<NatsConnection> {
    const { host, port } = await this.#firstAnswering()
    const { tls, user, pass, token, creds } = this.#access
    return connect({
      servers: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      name: 'sallyport',
      reconnect: false,
      noEcho: true, // a hint is for others: this node knew before it asked them
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      timeout: PROBE_MS + 1000,
      pingInterval: 24 * 3_600_000, // ours are above: they also say how much a silent server makes us hold
      ...(tls ? { tls: namedBy(host) } : {}),
      ...(user === null ? {} : { user, pass: pass ?? '' }),
      ...(token === null ? {} : { token }),
      ...(creds === null ? {} : { authenticator: credsAuthenticator(new TextEncoder().encode(creds)) }),
    })
  }

  /** By chance, so that nodes spread over a cluster. */
  async #firstAnswering(): Promise<{ host: string; port: number }> {
    const servers = [...this.#access.servers].sort(() => Math.random() - 0.5)
    let fault: unknown
    for (const server of servers) {
      try {
        await probe(server.host, server.port)
        return server
      } catch (error) {
        if (error instanceof ServerTooOld) throw error
        fault = error
      }
    }
    throw fault
  }

  #complain(error: Error): void {
    if (performance.now() - this.#said < REPEAT_MS) return
    this.#said = performance.now()
    this.#log.error({ reason: error.message }, 'no connection to NATS; this node works without, and keeps trying')
  }

  #pause(ms: number): Promise<void> {
    return pause(ms, this.#closed.signal).then(() => {})
  }
}

/** The certificate must name what was asked for: the library compares it with `localhost` when that is an address. */
function namedBy(host: string): TlsOptions {
  const options = { checkServerIdentity: (_: string, cert: PeerCertificate) => checkServerIdentity(host, cert) }
  return options as TlsOptions
}

/**
 * Reads what a server says first, on a connection of its own that ends at once. The library leaves a socket behind for every
 * attempt at a server that accepts and says nothing, as a frozen one does; and an old one is known before anything is sent.
 */
function probe(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(port, host)
    let text = ''
    const end = (error?: Error) => {
      clearTimeout(timer)
      socket.destroy()
      if (error === undefined) resolve()
      else reject(error)
    }
    const timer = setTimeout(() => end(new Error(`no answer within ${PROBE_MS} ms`)), PROBE_MS)
    timer.unref()
    socket.setEncoding('utf8')
    socket.on('error', (error: NodeJS.ErrnoException) => end(new Error(error.code ?? 'the connection failed')))
    socket.on('close', () => end(new Error('the connection was closed')))
    socket.on('data', (chunk: string) => {
      text += chunk
      if (!text.includes('\r\n') && text.length < 65_536) return
      const version = versionOf(text)
      if (version === null) end(new Error('what answers there is no NATS server'))
      else end(isOld(version) ? new ServerTooOld(version) : undefined)
    })
  })
}

function versionOf(text: string): string | null {
  try {
    const line = text.slice(0, text.indexOf('\r\n'))
    const info: unknown = line.startsWith('INFO ') ? JSON.parse(line.slice(5)) : null
    const version = (info as { version?: unknown } | null)?.version
    return typeof version === 'string' ? version : null
  } catch {
    return null
  }
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10) || 0)
  return major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])
}

function backoff(failures: number): number {
  const [first, last] = BACKOFF_MS
  const most = Math.min(last, first * 2 ** Math.min(failures, 20))
  return most / 2 + (Math.random() * most) / 2
}

/** False when the time is up; true when it was cut short. */
function pause(ms: number, signal: AbortSignal): Promise<false | true> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(true)
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve(true)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', done)
      resolve(false)
    }, ms)
    timer.unref()
    signal.addEventListener('abort', done, { once: true })
  })
}
