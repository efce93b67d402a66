import { lookup as lookupAll } from 'node:dns/promises'
import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'

/** A name to every address it has. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** Where a node may call out to, and how. */
export interface Way {
  /** `host:port` inside the house that may be reached where a channel asks for it. */
  privateHosts: readonly string[]
  /** Stands in for the system's name service, in tests. */
  resolve?: Resolve | undefined
  /** For the look-up, and again from the first to the last byte; 10 s. */
  wholeMs?: number | undefined
}

export interface Outgoing {
  url: string
  allow_private: boolean
  /** A secret goes along as it is: only a host that the server lists may have it. */
  listedOnly?: boolean
  headers: Record<string, string>
  body: string
}

/** What came back, or in words why nothing did. */
export type Answered = { status: number; host: string; retry_ms: number | null; text: string } | { fault: string }

const WHOLE_MS = 10_000
/** What a receiver has to say fits, also one that repeats the message; who sends more is cut off. */
export const MOST_ANSWER = 65_536

/**
 * Posts once, to an address that was judged: the name is resolved here, every answer must be a public address (or the host be one that
 * this server lists as its own house's, where the channel asks for that), and the connection goes to one of those very answers, so a
 * second look-up has nobody to deceive. Redirects are not followed: what is sent is for the receiver that was named.
 */
export async function postOut(out: Outgoing, way: Way): Promise<Answered> {
  const { privateHosts, resolve = systemResolve, wholeMs = WHOLE_MS } = way
  const url = new URL(out.url)
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isInside = out.allow_private && privateHosts.includes(`${host}:${port}`)
  if (out.listedOnly && !isInside) return { fault: `${host}:${port} is not listed, so it is told no token` }
  if (url.protocol !== 'https:' && !isInside)
    return { fault: `${host}:${port} is not listed, and only https is called` }
  const addresses = await resolved(host, resolve, wholeMs)
  if (typeof addresses === 'string') return { fault: addresses }
  for (const address of isInside ? [] : addresses) {
    const fault = addressFault(address)
    // One bad answer refuses all: a mixed answer is how a name is turned against its caller.
    if (fault !== null) return { fault: `${host} leads to an address that is not called (${fault})` }
  }
  return send(url, host, addresses, out, wholeMs)
}

/**
 * Why an address may not be called, or null: only global unicast may. The same rule as a worker's calls obey; IPv6 that carries an IPv4
 * address inside (mapped, translated, tunnelled) is no unicast to the library, or past 2000::/3.
 */
export function addressFault(address: string): string | null {
  if (address.includes('%') || isIP(address) === 0 || !ipaddr.isValid(address)) return 'not an address'
  const parsed = ipaddr.parse(address)
  const range = parsed.range()
  if (range !== 'unicast') return range
  if (parsed.kind() === 'ipv6' && ((parsed.toByteArray()[0] ?? 0) & 0xe0) !== 0x20) return 'not global unicast'
  // A public address that is the metadata and control service inside one large cloud.
  return address === '168.63.129.16' ? 'metadata' : null
}

const systemResolve: Resolve = async (host) =>
  (await lookupAll(host, { all: true, verbatim: true })).map(({ address }) => address)

async function resolved(host: string, resolve: Resolve, wholeMs: number): Promise<readonly string[] | string> {
  if (isIP(host) !== 0) return [host]
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('late'), { code: 'ETIMEOUT' })), wholeMs)
  })
  try {
    const found = await Promise.race([resolve(host), late])
    return found.length > 0 ? found.slice(0, 4) : `${host} has no address`
  } catch (error) {
    return `${host} cannot be resolved (${codeOf(error)})`
  } finally {
    clearTimeout(timer)
  }
}

function send(url: URL, host: string, addresses: readonly string[], out: Outgoing, wholeMs: number): Promise<Answered> {
  const body = Buffer.from(out.body)
  const options: RequestOptions = {
    method: 'POST',
    // Node asks this instead of the name service; the name itself is only for the certificate and the Host header.
    lookup: toOneOf(addresses),
    agent: false,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'content-length': body.length,
      ...out.headers,
      connection: 'close',
    },
  }
  return new Promise((done) => {
    const secure = url.protocol === 'https:'
    // Said outright: the process-wide switch that turns verification off must not reach what people are told.
    const call = secure ? requestHttps(url, { ...options, rejectUnauthorized: true }) : requestHttp(url, options)
    let over = false
    const end = (answered: Answered) => {
      if (over) return
      over = true
      clearTimeout(timer)
      done(answered)
      call.destroy()
    }
    const failed = (fault: string) => end({ fault })
    const timer = setTimeout(() => failed(`${host} did not answer in ${wholeMs} ms`), wholeMs)
    call.once('error', (error) => failed(`no answer from ${host} (${codeOf(error)})`))
    // Nothing may be left without a listener: an error after the end is no crash.
    call.on('error', () => {})
    call.once('response', (answer) => {
      answer.on('error', () => failed(`the answer of ${host} broke off`))
      const retry_ms = retryAfter(answer.headers['retry-after'])
      read(answer, (text) => end({ status: answer.statusCode ?? 0, host, retry_ms, text }))
    })
    call.end(body)
  })
}

/** Taken so that the receiver may finish, and not without end. */
function read(answer: IncomingMessage, whole: (text: string) => void): void {
  const chunks: Buffer[] = []
  let bytes = 0
  const done = () => whole(Buffer.concat(chunks).subarray(0, MOST_ANSWER).toString('utf8'))
  answer.on('data', (chunk: Buffer) => {
    if (bytes <= MOST_ANSWER) chunks.push(chunk)
    bytes += chunk.length
    if (bytes > MOST_ANSWER) done()
  })
  answer.once('end', done)
}

/** Only seconds: a date would be of the other side's clock. */
function retryAfter(header: string | undefined): number | null {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : null
}

function toOneOf(addresses: readonly string[]): LookupFunction {
  return (_host, options, callback) => {
    const found = addresses.map((address) => ({ address, family: isIP(address) }))
    if (options.all) callback(null, found)
    else callback(null, found[0]?.address ?? '', found[0]?.family)
  }
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : 'unknown'
}
