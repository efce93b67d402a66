import { TerminalError } from './errors.js'

export interface GuardOptions {
  /** `constraints.allowed_hosts` as it came; absent: no restriction, unless `required`. */
  allowedHosts: unknown
  /** Refuse everything when there is no list at all. */
  required: boolean
  fetch: typeof fetch
  /** Ends every request. */
  signal: AbortSignal
}

export type GuardedFetch = (url: string | URL, init?: RequestInit) => Promise<Response>

const MOST_REDIRECTS = 5
/** Of one origin only. `x-api-key` and `cookie` are as much of a secret as the one header that fetch itself would strip. */
const CREDENTIALS = ['authorization', 'proxy-authorization', 'cookie', 'x-api-key', 'host']
const REDIRECTS = new Set([301, 302, 303, 307, 308])

/**
 * `fetch`, but only to allowed hosts, with every redirect checked before it is followed: at most 5, credentials only to the
 * origin they were given for. Refuses with `TerminalError`: `host_not_allowed`, `address_refused`, `too_many_redirects`,
 * `redirect_refused`. It looks at names, not at what they resolve to; where names are not trusted give it a `fetch` that checks
 * the addresses it connects to.
 */
export function createGuardedFetch({ allowedHosts, required, fetch: call, signal }: GuardOptions): GuardedFetch {
  return async (first, init = {}) => {
    const signals = init.signal ? AbortSignal.any([signal, init.signal]) : signal
    let request: RequestInit = { ...init, redirect: 'manual', signal: signals }
    let url = checked(first, allowedHosts, required)
    for (let hops = 0; ; hops++) {
      const answer = await call(url, request)
      const target = answer.headers.get('location')
      if (!REDIRECTS.has(answer.status) || target === null || init.redirect === 'manual') return answer
      await answer.body?.cancel()
      if (init.redirect === 'error')
        throw new TerminalError('redirect_refused', `${url.host} redirects, which the call forbids`)
      if (hops === MOST_REDIRECTS)
        throw new TerminalError('too_many_redirects', `more than ${MOST_REDIRECTS} redirects, the last at ${url.host}`)
      if (!URL.canParse(target, url.href))
        throw new TerminalError('redirect_refused', `${url.host} redirects to what is no address`)
      const next = checked(new URL(target, url), allowedHosts, required)
      request = redirected(request, answer.status, url, next)
      url = next
    }
  }
}

function checked(address: string | URL, allowed: unknown, required: boolean): URL {
  if (!URL.canParse(String(address))) throw new TerminalError('address_refused', 'not an absolute address')
  const url = new URL(address)
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new TerminalError('address_refused', `${url.protocol} is neither http: nor https:`)
  if (url.username !== '' || url.password !== '')
    throw new TerminalError('address_refused', 'no user or password in an address; use a header')
  if (!isHostAllowed(url, allowed, required))
    throw new TerminalError('host_not_allowed', `${url.host} is not among the allowed hosts`)
  return url
}

/**
 * `api.example.com` allows that name on any port, `api.example.com:8443` on this one, `*.example.com` every name below it but
 * not itself. Names are compared as the address parser writes them: lower case, Punycode, numbers as dotted decimal.
 */
export function isHostAllowed(url: URL, allowed: unknown, required = false): boolean {
  if (allowed === undefined || allowed === null) return !required
  // Anything but a list of names is a constraint not understood, and that is a no.
  if (!Array.isArray(allowed)) return false
  const host = url.hostname.replace(/\.$/, '')
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  const isName = !host.startsWith('[') && !/^[0-9.]+$/.test(host)
  return allowed.some((entry) => {
    if (typeof entry !== 'string') return false
    const pattern = entry.toLowerCase()
    const withPort = /^(.+):([0-9]+)$/.exec(pattern)
    const [name, onlyPort] =
      withPort && !pattern.endsWith(']') ? [withPort[1] ?? '', withPort[2]] : [pattern, undefined]
    if (onlyPort !== undefined && onlyPort !== port) return false
    if (name.startsWith('*.')) return isName && name.length > 2 && host.endsWith(name.slice(1))
    return name.replace(/\.$/, '') === host
  })
}

/** The request after a redirect, as browsers do it: 303, and 301/302 after a POST, become a GET without a body. */
function redirected(request: RequestInit, status: number, from: URL, to: URL): RequestInit {
  const method = (request.method ?? 'GET').toUpperCase()
  const headers = new Headers(request.headers)
  if (from.origin !== to.origin) for (const name of CREDENTIALS) headers.delete(name)
  const becomesGet = (status === 303 && method !== 'HEAD') || ((status === 301 || status === 302) && method === 'POST')
  if (becomesGet) {
    for (const name of [...headers.keys()]) if (name.startsWith('content-')) headers.delete(name)
    return { ...request, method: 'GET', headers, body: null }
  }
  if (request.body instanceof ReadableStream)
    throw new TerminalError('redirect_refused', `${from.host} redirects a body that can be sent only once`)
  return { ...request, headers }
}
