import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { KEY_FORM } from '../core/access.js'
import { csrfOf } from '../core/sign-on.js'
import { Problem } from '../errors.js'
import { isOwnOrigin, readCookie, type Site } from './cookies.js'
import type { Route } from './route.js'

/** The key in the session cookie; null where the request brings a key or token of its own, which then counts alone. */
export function sessionKey(headers: IncomingHttpHeaders, site: Site): string | null {
  if (headers['x-api-key'] !== undefined || headers.authorization !== undefined) return null
  const text = readCookie(headers, site, 'session')
  return text !== null && KEY_FORM.test(text) ? text : null
}

/** What a request that changes something has to bring beside the cookie; null without a session. */
export function csrfToken(headers: IncomingHttpHeaders, site: Site): string | null {
  const secret = KEY_FORM.exec(sessionKey(headers, site) ?? '')?.[2]
  return secret === undefined ? null : csrfOf(secret)
}

/**
 * A browser sends the cookie with whatever any site makes it ask; so whatever is more than looking needs what only our own pages know.
 * Workers never have a session: a route of theirs takes none. Throws Problem `csrf`, `unauthenticated`.
 */
export function assertOwnPage(
  { method, permission }: Pick<Route, 'method' | 'permission'>,
  headers: IncomingHttpHeaders,
  site: Site,
): void {
  const expected = csrfToken(headers, site)
  if (expected === null) return
  if (permission?.includes('work:claim')) throw new Problem('unauthenticated')
  if (method === 'GET') return
  if (!isOwnOrigin(headers, site)) throw new Problem('csrf', 'The request comes from another site')
  const sent = headers['x-csrf-token']
  if (typeof sent !== 'string' || !isSame(sent, expected)) throw new Problem('csrf')
}

export function isSame(sent: string, expected: string): boolean {
  const [a, b] = [Buffer.from(sent), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/**
 * What stands in a form before anybody is signed on, made of the cookie that came with its page: who has neither would sign the reader
 * on as somebody else, and read what they do there.
 */
export const formToken = (nonce: string) => createHmac('sha256', nonce).update('sallyport form v1').digest('base64url')
