import type { IncomingHttpHeaders } from 'node:http'

/** How browsers reach this server: what its cookies may be, and which origin is its own. */
export interface Site {
  /** As in an Origin header; null where SALLYPORT_PUBLIC_URL is not set: then the Host header says it. */
  origin: string | null
  /** All of it over TLS. */
  secure: boolean
}

/** Without a public address, which is how a server on one machine is tried out. */
export const PLAIN_SITE: Site = { origin: null, secure: false }

export function siteOf(publicUrl: string | null): Site {
  if (publicUrl === null) return PLAIN_SITE
  const { origin, protocol } = new URL(publicUrl)
  return { origin, secure: protocol === 'https:' }
}

/** `session`: the key of who signed on. `sign-on`: one under way at the provider. `form`: a page with a form was shown. `browser`: somebody signed on here before. */
export type CookieName = 'session' | 'sign-on' | 'form' | 'browser'

/**
 * Under TLS with the prefix that only this very host can set, over TLS and for all paths: else a page of a neighbouring name could
 * plant a session of its own in the browser.
 */
const nameOf = (site: Site, name: CookieName) => `${site.secure ? '__Host-' : ''}sallyport_${name.replace('-', '_')}`

/** Headers are bounded by the server (16 KiB). Null also where the name stands there twice: then a neighbour planted one of them. */
export function readCookie(headers: IncomingHttpHeaders, site: Site, name: CookieName): string | null {
  const wanted = nameOf(site, name)
  const found = (headers.cookie ?? '').split(';').flatMap((pair) => {
    const at = pair.indexOf('=')
    return at > 0 && pair.slice(0, at).trim() === wanted ? [pair.slice(at + 1).trim()] : []
  })
  return found.length === 1 ? (found[0] as string) : null
}

/**
 * A Set-Cookie header. Lax, not Strict: whoever follows a link from a mail to an approval is signed on when they arrive.
 * @param value of characters a cookie may have; nothing is encoded
 */
export function cookie(site: Site, name: CookieName, value: string, seconds: number): string {
  const secure = site.secure ? '; Secure' : ''
  return `${nameOf(site, name)}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`
}

export const noCookie = (site: Site, name: CookieName) => cookie(site, name, '', 0)

/** Whether a request comes from a page of this server, as far as it says where it comes from; every browser says so of a POST. */
export function isOwnOrigin(headers: IncomingHttpHeaders, site: Site): boolean {
  const { origin, host } = headers
  if (origin === undefined) return true
  if (site.origin !== null) return origin === site.origin
  return URL.canParse(origin) && new URL(origin).host === host
}
