import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import { APPROVE, REASON, REJECT } from './slack.js'

/** How far the time of a signed request may be off, ms, either way. */
export const WINDOW_MS = 300_000
/** How long a request that was taken is remembered: one that is early by the whole window is good for two of them. */
export const SEEN_MS = 2 * WINDOW_MS + 60_000

const SIGNATURE = /^v0=[0-9a-f]{64}$/
const TIMESTAMP = /^[1-9]\d{8,11}$/

/** A request as it came. */
export interface SignedRequest {
  timestamp: string
  signature: string
  /** The bytes that were signed. */
  body: string
}

/** Whether it could be one of Slack's at all: the forms of its two headers. */
export const isSignedForm = ({ timestamp, signature }: SignedRequest) =>
  TIMESTAMP.test(timestamp) && SIGNATURE.test(signature)

/** `v0=` and the hex HMAC-SHA256 of `v0:<timestamp>:<body>`, compared in constant time. */
export function isSignedWith(secret: string, { timestamp, signature, body }: SignedRequest): boolean {
  const own = Buffer.from(`v0=${createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex')}`)
  const given = Buffer.from(signature)
  return own.length === given.length && timingSafeEqual(own, given)
}

export const isTimely = ({ timestamp }: SignedRequest, now: number) =>
  Math.abs(now - Number(timestamp) * 1000) <= WINDOW_MS

/** What the store keeps of it: the signature is of the time and the body, so it is one request's alone. */
export const hashRequest = ({ signature }: SignedRequest) => hash('sha256', `interaction ${signature}`, 'hex')

/** A click on a button of ours. */
export interface Click {
  user: string
  /** Of the conversation and, where that is said, of whoever clicked: in a conversation that two share these differ. */
  workspaces: string[]
  answer: 'approve' | 'reject'
  approval_id: string
  grant_hash: string
  delivery_id: string
  /** What was typed, '' for nothing. */
  reason: string
}

const VALUE = /^(apr_[0-9a-z]{26}) ([0-9a-f]{64}) (dlv_[0-9a-z]{26})$/
const USER = /^[UW][A-Z0-9]{2,30}$/

/** The click in a request whose signature was found good. Null: it is none, or on nothing of ours. */
export function readClick(body: string): Click | null {
  const payload = parsed(new URLSearchParams(body).get('payload'))
  if (word(payload, 'type') !== 'block_actions') return null
  const actions = field(payload, 'actions')
  const action = Array.isArray(actions) && actions.length === 1 ? field(actions, 0) : null
  const [, approval_id, grant_hash, delivery_id] = VALUE.exec(word(action, 'value')) ?? []
  const said = word(action, 'action_id')
  const user = field(payload, 'user')
  const id = word(user, 'id')
  const team = word(field(payload, 'team'), 'id')
  const home = word(user, 'team_id')
  if (approval_id === undefined || grant_hash === undefined || delivery_id === undefined) return null
  if ((said !== APPROVE && said !== REJECT) || !USER.test(id)) return null
  const typed = field(field(field(field(payload, 'state'), 'values'), REASON.block), REASON.element)
  return {
    user: id,
    workspaces: home === '' ? [team] : [team, home],
    answer: said === APPROVE ? 'approve' : 'reject',
    approval_id,
    grant_hash,
    delivery_id,
    reason: written(word(typed, 'value')),
  }
}

/** No NUL and no half pair, which the log could not hold. */
const written = (text: string) => Buffer.from(text.slice(0, REASON.most)).toString('utf8').replaceAll('\0', '').trim()

function parsed(text: string | null): unknown {
  if (text === null) return null
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** A field of its own, of what may be anything. */
function field(of: unknown, name: string | number): unknown {
  return typeof of === 'object' && of !== null && Object.hasOwn(of, name) ? (of as Record<string, unknown>)[name] : null
}

function word(of: unknown, name: string): string {
  const value = field(of, name)
  return typeof value === 'string' ? value : ''
}
