import { APPROVAL, AT } from './example-rows.js'

/** A receiver of what happens, and a message that it would not take. */
const CHANNEL = {
  channel: 'siem',
  kind: 'webhook',
  settings: {
    url: 'https://siem.example.com/hooks/sallyport',
    secret_env: 'SALLYPORT_CHANNEL_SIEM',
    allow_private: false,
  },
  events: ['approval.requested', 'policy.activated'],
  topics: null,
  teams: null,
  source: 'api',
  created_at: AT,
  updated_at: AT,
  updated_by: 'person:root',
  health: {
    status: 'ok',
    since: null,
    error: null,
    failures: 0,
    next_at: null,
    last_sent_at: AT + 1200,
    pending: 0,
    dead: 1,
    oldest_pending_at: null,
  },
}
const MESSAGE = {
  delivery_id: 'dlv_01m7vps2vbdsv6htym2sb4ntms',
  channel: 'siem',
  event: 'approval.requested',
  recipient: 'endpoint',
  index: 4711,
  approval_id: APPROVAL.approval_id,
  status: 'dead',
  attempts: 12,
  next_at: null,
  error: 'siem.example.com answered 422',
  created_at: AT,
  finished_at: AT + 3_600_000,
}

const page = <T>(...items: T[]) => ({ items, next_cursor: null })

/** What the document shows of channels, their messages and links. */
export const CHANNEL_EXAMPLES = {
  'channels.list': { response: page(CHANNEL) },
  'channels.get': { response: CHANNEL },
  'channels.put': {
    request: {
      kind: 'webhook',
      settings: { url: 'https://siem.example.com/hooks/sallyport', secret_env: 'SALLYPORT_CHANNEL_SIEM' },
      events: ['approval.requested', 'policy.activated'],
    },
    response: CHANNEL,
  },
  'channels.remove': { response: CHANNEL },
  'channels.test': { response: { ok: false, why: 'siem.example.com answered 503' } },
  'deliveries.list': { response: page(MESSAGE) },
  'deliveries.get': { response: MESSAGE },
  'deliveries.retry': {
    response: { ...MESSAGE, status: 'pending', attempts: 0, next_at: AT + 90_000, error: null, finished_at: null },
  },
  'slack.click': { response: '' },
  'links.open': { response: '<!doctype html>…' },
  'links.answer': { response: '<!doctype html>…' },
}
