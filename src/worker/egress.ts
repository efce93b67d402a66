import { lookup as dnsLookup } from 'node:dns/promises'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { domainToASCII } from 'node:url'
import ipaddr from 'ipaddr.js'
import { TerminalError, TransientError } from '../sdk/errors.js'

/** Resolves a name to every address it has. Replaced in tests; the default asks the system, /etc/hosts included. */
export type Lookup = (host: string) => Promise<readonly string[]>

export interface EgressOptions {
  /** `host`, `host:port`, or `*.suffix` for every name below it. Both this and the job's own list must allow a host. */
  readonly allowedHosts?: readonly string[]
  /** `host:port` as written in the URL, for services on the worker's own network. They must be in the allowed hosts too. */
  readonly allowPrivate?: readonly string[]
  readonly lookup?: Lookup
  /** Certificate authorities (PEM) instead of the built-in ones. */
  readonly ca?: string
}

/** Where one request goes, after the name was found to be allowed and before it was resolved. */
export interface Target {
  readonly url: URL
  /** Canonical: lower case, punycode, a number in any notation already dotted; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

const CONNECT_MS = 5000
/** Tried in the resolver's order; more would only spend the job's time. */
const MAX_ADDRESSES = 4

/**
 * Reads and judges a URL by its name alone. WHATWG parsing makes `http://0x7f.1/`, `http://2130706433/` and full-width
 * digits the dotted address they mean, so what is compared here is what would be connected to.
 * @throws TerminalError `url_refused` | `no_allow_list` | `host_not_allowed`
 */
export function checkTarget(text: string, base: URL | undefined, lists: readonly (readonly string[])[]): Target {
  let url: URL
  try {
    url = new URL(text, base)
  } catch {
    throw new TerminalError('url_refused', 'the URL is not valid')
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new TerminalError('url_refused', 'only http and https are called')
  if (url.username !== '' || url.password !== '')
    throw new TerminalError('url_refused', 'a URL with user or password is not called')
  url.hash = ''
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (host.endsWith('.')) throw new TerminalError('url_refused', 'a host name may not end in a dot')
  if (lists.length === 0)
    throw new TerminalError('no_allow_list', 'neither the policy nor this worker names hosts that may be called')
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  if (!lists.every((list) => list.some((entry) => hostMatches(entry, host, port))))
    throw new TerminalError('host_not_allowed', `${host}:${port} is not among the allowed hosts`)
  return { url, host, port }
}

/** `host` on any port, `host:port`, or `*.suffix` for names below it (never the suffix itself, never an address). */
export function hostMatches(entry: string, host: string, port: number): boolean {
  const { name, onlyPort } = splitPort(entry)
  if (onlyPort !== null && onlyPort !== port) return false
  const wildcard = name.startsWith('*.')
  const wanted = canonicalHost(wildcard ? name.slice(2) : name)
  if (wanted === '') return false
  return wildcard ? isIP(host) === 0 && host.endsWith(`.${wanted}`) : host === wanted
}

/** `[::1]:80` and `name:80` have a port; a bare `::1` is an address, whatever its last colon looks like. */
function splitPort(entry: string): { name: string; onlyPort: number | null } {
  const parts = isIP(entry) === 6 ? null : /^(.+):([0-9]{1,5})$/.exec(entry)
  return parts === null ? { name: entry, onlyPort: null } : { name: parts[1] ?? '', onlyPort: Number(parts[2]) }
}

/** As a parsed URL spells it: lower case, punycode, IPv6 in its shortest form; '' for what is no host. */
function canonicalHost(name: string): string {
  const bare = name.replace(/^\[|\]$/g, '').toLowerCase()
  return isIP(bare) === 6 ? ipaddr.IPv6.parse(bare).toRFC5952String() : domainToASCII(bare)
}

/**
 * Why an address may not be called, or null. Only global unicast is: a list of what is forbidden would have to be
 * complete. Mapped, translated and tunnelled IPv6 (::ffff:0:0/96, 64:ff9b::/96, 2002::/16, Teredo) carry an IPv4
 * address past a check of the outer one and are refused whole.
 */
export function addressFault(address: string): string | null {
  if (address.includes('%') || !ipaddr.isValid(address) || isIP(address) === 0) return 'not an address'
  const parsed = ipaddr.parse(address)
  const range = parsed.range()
  if (range !== 'unicast') return range
  // Past the named ranges: 2000::/3 is all that is handed out.
  if (parsed.kind() === 'ipv6' && ((parsed.toByteArray()[0] ?? 0) & 0xe0) !== 0x20) return 'not global unicast'
  // A public address that is the metadata and control service inside one large cloud.
  return address === '168.63.129.16' ? 'metadata' : null
}

/**
 * An open connection to an address that was checked: the name is resolved once, every answer is judged, and the socket
 * goes to one of those very addresses, so a second, different DNS answer has nobody to deceive. Nothing was sent yet.
 * @throws TerminalError `address_refused` | `tls_refused`; TransientError `dns_failed` | `connect_failed`
 */
export async function openConnection(target: Target, options: EgressOptions, signal: AbortSignal): Promise<Socket> {
  const addresses =
    isIP(target.host) !== 0 ? [target.host] : await resolveHost(target.host, options.lookup ?? systemLookup, signal)
  if (!isPrivateAllowed(target, options.allowPrivate ?? [])) {
    for (const address of addresses) {
      const fault = addressFault(address)
      // One bad answer refuses all: a mixed answer is how a name is turned against its caller.
      if (fault !== null) throw new TerminalError('address_refused', `${target.host} leads to ${address} (${fault})`)
    }
  }
  let cause: unknown
  for (const address of addresses.slice(0, MAX_ADDRESSES)) {
    try {
      const socket = await opened(connectTcp({ host: address, port: target.port, noDelay: true }), 'connect', signal)
      return target.url.protocol === 'https:' ? await secured(socket, target, options, signal) : socket
    } catch (error) {
      if (error instanceof TerminalError || signal.aborted) throw ended(error, signal)
      cause = error
    }
  }
  throw new TransientError('connect_failed', `no connection to ${target.host}:${target.port} (${codeOf(cause)})`)
}

function isPrivateAllowed(target: Target, allowed: readonly string[]): boolean {
  return allowed.some((entry) => {
    const { name, onlyPort } = splitPort(entry)
    return onlyPort === target.port && canonicalHost(name) === target.host
  })
}

const systemLookup: Lookup = async (host) =>
  (await dnsLookup(host, { all: true, verbatim: true })).map((answer) => answer.address)

async function resolveHost(host: string, lookup: Lookup, signal: AbortSignal): Promise<readonly string[]> {
  let onAbort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
  try {
    const addresses = await Promise.race([lookup(host), aborted])
    if (addresses.length > 0) return addresses
  } catch (error) {
    if (signal.aborted) throw ended(error, signal)
    throw new TransientError('dns_failed', `${host} cannot be resolved (${codeOf(error)})`)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
  throw new TransientError('dns_failed', `${host} has no address`)
}

async function secured(socket: Socket, target: Target, options: EgressOptions, signal: AbortSignal): Promise<Socket> {
  const named = isIP(target.host) === 0 ? { servername: target.host } : { host: target.host }
  // Said outright: the process-wide switch that turns verification off must not reach a policy's allowed hosts.
  const tls = connectTls({ socket, ...named, ca: options.ca, ALPNProtocols: ['http/1.1'], rejectUnauthorized: true })
  try {
    return await opened(tls, 'secureConnect', signal)
  } catch (error) {
    socket.destroy()
    if (/CERT|SIGNED|ISSUER|ALTNAME|CRL|SIGNATURE/.test(codeOf(error)))
      throw new TerminalError('tls_refused', `the certificate of ${target.host} is not accepted (${codeOf(error)})`)
    throw error
  }
}

/** The socket once `event` has come, with a listener left on it: an error while it waits for its request is no crash. */
function opened(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error('connect timeout'), { code: 'ETIMEDOUT' })),
      CONNECT_MS,
    )
    const onAbort = () => socket.destroy(Object.assign(new Error('aborted'), { code: 'ABORT_ERR' }))
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      finish()
    }
    socket.on('error', (error) => settle(() => reject(error)))
    socket.once(event, () => settle(() => resolve(socket)))
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
}

/** How an abort is told: both a cancel and the end of time are somebody's decision, never the host's fault. */
function ended(error: unknown, signal: AbortSignal): Error {
  if (error instanceof TerminalError) return error
  return new TransientError('timeout', signal.aborted ? 'the call was ended before it was sent' : codeOf(error))
}

export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : 'unknown'
}
