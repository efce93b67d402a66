import { createHmac } from 'node:crypto'
import { lookup as lookupAll } from 'node:dns/promises'
import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Post, Sent } from './courier.js'

/** A name to every address it has. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** For the look-up, and again from the first to the last byte. */
const WHOLE_MS = 10_000
/** What a receiver has to say fits; who sends more is cut off. */
const MOST_ANSWER = 65_536

/** Hex of HMAC-SHA256 over `<timestamp>.<body>`, as `Sallyport-Signature` carries it. The timestamp is in whole seconds. */
export function signatureOf(key: string, timestamp: number, body: string): string {
  return `v1=${createHmac('sha256', key).update(`${timestamp}.${body}`).digest('hex')}`
}

/**
 * Posts once, to an address that was judged: the name is resolved here, every answer must be a public address (or the host be one that
 * this server lists as its own house's, where the channel asks for that), and the connection goes to one of those very answers, so a
 * second look-up has nobody to deceive. Redirects are not followed: the signature is for the receiver that was named.
 */
export async function postWebhook(
  post: Post,
  key: string,
  privateHosts: readonly string[],
  resolve: Resolve = systemResolve,
  wholeMs = WHOLE_MS,
): Promise<Sent> {
  const url = new URL(post.url)
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isInside = post.allow_private && privateHosts.includes(`${host}:${port}`)
  if (url.protocol !== 'https:' && !isInside) return failed(`${host}:${port} is not listed, and only https is called`)
  const addresses = await resolved(host, resolve, wholeMs)
  if (typeof addresses === 'string') return failed(addresses)
  for (const address of isInside ? [] : addresses) {
    const fault = addressFault(address)
    // One bad answer refuses all: a mixed answer is how a name is turned against its caller.
    if (fault !== null) return failed(`${host} leads to an address that is not called (${fault})`)
  }
  return send(url, host, addresses, post, key, wholeMs)
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

function send(
  url: URL,
  host: string,
  addresses: readonly string[],
  post: Post,
  key: string,
  wholeMs: number,
): Promise<Sent> {
  const timestamp = Math.floor(post.at / 1000)
  const body = Buffer.from(post.body)
  const options: RequestOptions = {
    method: 'POST',
    // Node asks this instead of the name service; the name itself is only for the certificate and the Host header.
    lookup: toOneOf(addresses),
    agent: false,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'content-length': body.length,
      'user-agent': 'sallyport-webhook/1',
      'sallyport-delivery': post.delivery_id,
      'sallyport-timestamp': String(timestamp),
      'sallyport-signature': signatureOf(key, timestamp, post.body),
      connection: 'close',
    },
  }
  return new Promise((done) => {
    const secure = url.protocol === 'https:'
    // Said outright: the process-wide switch that turns verification off must not reach what people are told.
    const call = secure ? requestHttps(url, { ...options, rejectUnauthorized: true }) : requestHttp(url, options)
    let over = false
    const end = (sent: Sent) => {
      if (over) return
      over = true
      clearTimeout(timer)
      done(sent)
      call.destroy()
    }
    const timer = setTimeout(() => end(failed(`${host} did not answer in ${wholeMs} ms`)), wholeMs)
    call.once('error', (error) => end(failed(`no answer from ${host} (${codeOf(error)})`)))
    // Nothing may be left without a listener: an error after the end is no crash.
    call.on('error', () => {})
    call.once('response', (answer) => {
      answer.on('error', () => end(failed(`the answer of ${host} broke off`)))
      read(answer, () => end(judged(host, answer.statusCode ?? 0)))
    })
    call.end(body)
  })
}

/** What counts is the status; the rest is only taken so that the receiver may finish, and not without end. */
function read(answer: IncomingMessage, whole: () => void): void {
  let bytes = 0
  answer.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MOST_ANSWER) whole()
  })
  answer.once('end', whole)
}

function judged(host: string, status: number): Sent {
  if (status >= 200 && status < 300) return { ok: true }
  const why = `${host} answered ${status}`
  if (status >= 500 || status === 408 || status === 425 || status === 429) return failed(why)
  if (status >= 300 && status < 400)
    return { ok: false, fault: 'delivery', final: false, why: `${why}: redirects are not followed` }
  return { ok: false, fault: 'delivery', final: status === 410, why }
}

const failed = (why: string): Sent => ({ ok: false, fault: 'channel', final: false, why })

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
