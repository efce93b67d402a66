import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

type Json = Record<string, unknown>

/** A call of the Web API that was taken. */
export interface SlackCall {
  method: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the plane sent
  body: any
  /** Of chat.postMessage: what it was given. */
  ts: string
}

/** Slack on this machine, as far as its documents tell: it judges tokens, bodies and blocks, and keeps what stands where. */
export interface Slack {
  url: string
  host: string
  calls: SlackCall[]
  /** What stands in a conversation now, by ts; without what was only shown to one person. */
  messages: Map<string, SlackCall['body']>
  /** What somebody alone was shown. */
  told: { user: string; text: string }[]
  /** Answers the next calls instead of Slack; true where it did. */
  instead: ((response: ServerResponse, method: string) => boolean) | null
  /** After taking a call and before saying so. */
  hold: (() => Promise<void>) | null
  stop(): Promise<void>
}

export const TOKEN = 'xoxb-test-token'
export const SIGNING = '8f742231b10e8888abcd99yyyzzz85a5'

export async function startSlack(port = 0): Promise<Slack> {
  let last = 0
  const server = await listening(port, async (request, response, text) => {
    const method = (request.url ?? '').replace('/api/', '')
    if (slack.instead?.(response, method)) return
    const fault = faultOf(request, text)
    if (fault !== null) return answer(response, 200, { ok: false, error: fault })
    const body = JSON.parse(text)
    const ts = method === 'chat.update' ? body.ts : `1700000000.${String(++last).padStart(6, '0')}`
    if (method === 'chat.update' && !slack.messages.has(ts))
      return answer(response, 200, { ok: false, error: 'message_not_found' })
    slack.calls.push({ method, body, ts })
    if (method === 'chat.postEphemeral') slack.told.push({ user: body.user, text: body.text })
    else slack.messages.set(ts, body)
    await slack.hold?.()
    const named = method === 'chat.postEphemeral' ? { message_ts: ts } : { ts, channel: body.channel, message: body }
    answer(response, 200, { ok: true, ...named })
  })
  const slack: Slack = {
    url: `http://${server.host}/api`,
    host: server.host,
    calls: [],
    messages: new Map(),
    told: [],
    instead: null,
    hold: null,
    stop: server.stop,
  }
  return slack
}

const METHODS = ['/api/chat.postMessage', '/api/chat.update', '/api/chat.postEphemeral']

function faultOf(request: IncomingMessage, text: string): string | null {
  if (!METHODS.includes(request.url ?? '')) return 'unknown_method'
  if (request.headers.authorization === undefined) return 'not_authed'
  if (request.headers.authorization !== `Bearer ${TOKEN}`) return 'invalid_auth'
  if (!/^application\/json/.test(request.headers['content-type'] ?? '')) return 'invalid_post_type'
  const body = JSON.parse(text)
  if (!/^[CGD][A-Z0-9]+$/.test(body.channel)) return 'channel_not_found'
  if (typeof body.text !== 'string' || body.text === '') return 'no_text'
  if (body.text.length > 40_000) return 'msg_too_long'
  if (JSON.stringify(body.blocks).length > 13_200) return 'msg_blocks_too_long'
  return (body.blocks as Json[]).length > 50 || (body.blocks as Json[]).some((block) => !isBlock(block))
    ? 'invalid_blocks'
    : null
}

const isText = (of: unknown, most: number): boolean => {
  const { type, text } = (of ?? {}) as Json
  return type === 'plain_text' && typeof text === 'string' && text.length >= 1 && text.length <= most
}

function isBlock(block: Json): boolean {
  const { type, block_id = 'x', elements = [], element } = block as Json & { elements: Json[]; element: Json }
  if (String(block_id).length > 255) return false
  if (type === 'header') return isText(block.text, 150)
  if (type === 'section') return isText(block.text, 3000)
  if (type === 'input')
    return isText(block.label, 2000) && element.type === 'plain_text_input' && Number(element.max_length) <= 3000
  return type === 'actions' && elements.length >= 1 && elements.length <= 25 && elements.every(isButton)
}

function isButton({ type, text, action_id, value, style, confirm }: Json): boolean {
  const { title, text: question, confirm: yes, deny } = (confirm ?? {}) as Json
  return (
    type === 'button' &&
    isText(text, 75) &&
    String(action_id).length <= 255 &&
    String(value).length <= 2000 &&
    ['primary', 'danger'].includes(String(style)) &&
    (confirm === undefined || (isText(title, 100) && isText(question, 300) && isText(yes, 30) && isText(deny, 30)))
  )
}

/** What reads as markup to Slack in a message: a mention, a link or an entity it did not have to be. */
export const livesIn = (message: Json): string[] => String(message.text).match(/<[!@#a-z][^>]*>/gi) ?? []

export interface Clicked {
  user?: string
  team?: string
  home?: string
  reason?: string
  /** Of the plane, ms. */
  at: number
  secret?: string
  change?: (payload: Json) => Json
}

/** What Slack sends when somebody clicks on a button of a message: the whole message, and who it was. */
export function clickOn(
  message: SlackCall['body'],
  action_id: string,
  clicked: Clicked,
): { body: string; headers: Record<string, string> } {
  const {
    user = 'U0ANN',
    team = 'T0HOUSE',
    home = team,
    reason,
    at,
    secret = SIGNING,
    change = (same) => same,
  } = clicked
  const actions = (message.blocks as Json[]).find(({ type }) => type === 'actions') as
    | { block_id: string; elements: Json[] }
    | undefined
  const button = actions?.elements.find((each) => each.action_id === action_id)
  const payload = change({
    type: 'block_actions',
    team: { id: team, domain: 'house' },
    user: { id: user, username: 'ann', name: 'ann', team_id: home },
    api_app_id: 'A0APP',
    token: 'deprecated',
    container: { type: 'message', message_ts: '1700000000.000001', channel_id: message.channel, is_ephemeral: false },
    trigger_id: '12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3',
    channel: { id: message.channel, name: 'approvals' },
    message: { type: 'message', bot_id: 'B0BOT', text: message.text, ts: '1700000000.000001', blocks: message.blocks },
    response_url: 'http://127.0.0.1:1/never',
    state: { values: { 'sallyport.reason': { text: { type: 'plain_text_input', value: reason ?? null } } } },
    actions: [
      { type: 'button', block_id: actions?.block_id, action_id, value: button?.value, action_ts: '1700000000.1' },
    ],
  })
  return signedAsSlack(new URLSearchParams({ payload: phpJson(payload) }).toString(), at, secret)
}

/** As the language of Slack's servers writes JSON. */
const phpJson = (value: unknown) =>
  JSON.stringify(value)
    .replaceAll('/', '\\/')
    .replaceAll(/[\u0080-\uffff]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`)

export function signedAsSlack(
  body: string,
  at: number,
  secret = SIGNING,
): { body: string; headers: Record<string, string> } {
  const timestamp = String(Math.floor(at / 1000))
  const signature = `v0=${createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex')}`
  return {
    body,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      'x-slack-request-timestamp': timestamp,
      'x-slack-signature': signature,
    },
  }
}

/** PagerDuty on this machine: it takes events, and keeps the incidents that they open and end. */
export interface PagerDuty {
  url: string
  host: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the plane sent
  events: any[]
  /** By dedup key; null once resolved. */
  incidents: Map<string, unknown>
  instead: ((response: ServerResponse) => boolean) | null
  stop(): Promise<void>
}

export const ROUTING = 'R0123456789ABCDEF0123456789ABCDE'

export async function startPagerDuty(): Promise<PagerDuty> {
  const server = await listening(0, async (request, response, text) => {
    if (duty.instead?.(response)) return
    const fault = pageFault(request, text)
    if (fault !== null) return answer(response, 400, { status: 'invalid event', message: fault })
    const event = JSON.parse(text)
    duty.events.push(event)
    if (event.event_action === 'trigger') duty.incidents.set(event.dedup_key, event.payload)
    // As documented: what ends nothing is dropped, and taken all the same.
    else if (duty.incidents.has(event.dedup_key)) duty.incidents.set(event.dedup_key, null)
    answer(response, 202, { status: 'success', message: 'Event processed', dedup_key: event.dedup_key })
  })
  const duty: PagerDuty = {
    url: `http://${server.host}`,
    host: server.host,
    events: [],
    incidents: new Map(),
    instead: null,
    stop: server.stop,
  }
  return duty
}

function pageFault(request: IncomingMessage, text: string): string | null {
  if (request.url !== '/v2/enqueue') return 'no such place'
  if (text.length > 512 * 1024) return 'too large'
  const { routing_key, event_action, dedup_key, payload } = JSON.parse(text)
  if (routing_key !== ROUTING) return 'routing_key'
  if (!['trigger', 'resolve'].includes(event_action)) return 'event_action'
  if (typeof dedup_key !== 'string' || dedup_key.length > 255) return 'dedup_key'
  if (event_action === 'resolve') return null
  const { summary, source, severity, timestamp } = payload ?? {}
  if (typeof summary !== 'string' || summary === '' || summary.length > 1024) return 'summary'
  if (typeof source !== 'string' || !['critical', 'error', 'warning', 'info'].includes(severity))
    return 'source or severity'
  return timestamp === undefined || !Number.isNaN(Date.parse(timestamp)) ? null : 'timestamp'
}

type Handle = (request: IncomingMessage, response: ServerResponse, text: string) => Promise<void> | void

async function listening(port: number, handle: Handle): Promise<{ host: string; stop(): Promise<void> }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => void handle(request, response, Buffer.concat(chunks).toString('utf8')))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

function answer(response: ServerResponse, status: number, body: Json): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
