import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import type { Approval } from './approval.js'

/** `<26 characters of the link's id>_<43 characters of secret>`: the id finds the row, the secret (256 random bits) proves it. */
const TOKEN = /^([0-9a-z]{26})_([A-Za-z0-9_-]{43})$/

export const linkToken = (link_id: string, secret: string) => `${link_id.slice('link_'.length)}_${secret}`
export const hashLink = (secret: string) => hash('sha256', `link ${secret}`, 'hex')

export function readToken(token: string): { link_id: string; secret: string } | null {
  const [, id, secret] = TOKEN.exec(token) ?? []
  return id === undefined || secret === undefined ? null : { link_id: `link_${id}`, secret }
}

export const sameHash = (a: string, b: string) =>
  a.length === b.length && timingSafeEqual(Buffer.from(a, 'hex'), Buffer.from(b, 'hex'))

/** Why a link does nothing any more. */
export type LinkEnd = 'used' | 'expired' | 'closed' | 'stale'

/**
 * Null while it may be answered. Whether it was used is not written on the link: the answer that was given with it stands in the approval
 * under the link's id, so link and answer are spent in one commit and no crash can part them. An edit, which voids the answers, remembers
 * what they were given with: a second one may bring back what the link asks.
 */
export function linkEnd(
  link: { link_id: string; grant_hash: string; expires_at: number },
  approval: Pick<Approval, 'status' | 'answers' | 'grant_hash' | 'edits' | 'expires_at'>,
  now: number,
): LinkEnd | null {
  const given = [
    ...approval.answers.map(({ key_id }) => key_id),
    ...approval.edits.flatMap(({ voided = [] }) => voided),
  ]
  if (given.includes(link.link_id)) return 'used'
  if (approval.status !== 'pending') return 'closed'
  if (Math.min(link.expires_at, approval.expires_at) <= now) return 'expired'
  return approval.grant_hash === link.grant_hash ? null : 'stale'
}

/** How long a page that was opened may be answered, ms. */
export const PAGE_MS = 3_600_000

/**
 * Goes out in the form of a page and comes back with it. Keyed by the link's secret, which no table holds; bound to what the page showed
 * and to when. So only who opened the page answers, and only what it showed.
 */
export function pageNonce(secret: string, grant_hash: string, at: number): string {
  return `${at.toString(36)}.${createHmac('sha256', secret).update(`page\n${grant_hash}\n${at}`).digest('base64url')}`
}

export function isPageNonce(nonce: string, secret: string, grant_hash: string, now: number): boolean {
  const at = Number.parseInt(/^[0-9a-z]{1,10}(?=\.)/.exec(nonce)?.[0] ?? '', 36)
  if (!Number.isSafeInteger(at) || at > now + 60_000 || now - at > PAGE_MS) return false
  const [given, own] = [nonce, pageNonce(secret, grant_hash, at)].map((text) => Buffer.from(text))
  return given !== undefined && own !== undefined && given.length === own.length && timingSafeEqual(given, own)
}
