import { channelFault, type Sent, type SlackCall } from './courier.js'
import { type Answered, postOut, type Way } from './outbound.js'

/** Where a bot's token may go without the server listing it. */
const OWN = ['https://slack.com/api', 'https://slack-gov.com/api']

/**
 * What Slack says of the one message, and would say again: its own size or form, or that the message to be changed is gone or closed.
 * Everything else (the token, the conversation, the workspace, its own faults, and words we do not know) is about the way there: the
 * messages wait, and none is lost to a permission that somebody forgot.
 */
const OF_THE_MESSAGE = new Set([
  'msg_too_long',
  'msg_blocks_too_long',
  'no_text',
  'invalid_blocks',
  'invalid_blocks_format',
  'invalid_arguments',
  'invalid_attachments',
  'too_many_attachments',
  'message_not_found',
  'cant_update_message',
  'edit_window_closed',
  'block_mismatch',
  'is_inactive',
])
const TS = /^\d{1,20}\.\d{1,10}$/

/** One call of the Web API. `posted` is the message's `ts`, by which it is changed later. */
export async function callSlack(call: SlackCall, token: string, way: Way): Promise<Sent> {
  const { api_url, allow_private, method, body } = call
  const answered = await postOut(
    {
      url: `${api_url}/${method}`,
      allow_private,
      listedOnly: !OWN.includes(api_url),
      headers: { authorization: `Bearer ${token}`, 'user-agent': 'sallyport-slack/1' },
      body: JSON.stringify(body),
    },
    way,
  )
  return judged(answered)
}

/** Nearly everything is 200 with `ok` and `error` inside; only too many calls are a status. */
function judged(answered: Answered): Sent {
  if ('fault' in answered) return channelFault(answered.fault)
  const { host, status, retry_ms, text } = answered
  if (status !== 200) return channelFault(`${host} answered ${status}`, retry_ms)
  const said = parsed(text)
  if (said === null) return channelFault(`${host} answered no JSON`)
  if (said.ok === true) {
    const ts = said.ts ?? said.message_ts
    return typeof ts === 'string' && TS.test(ts) ? { ok: true, posted: ts } : channelFault(`${host} named no message`)
  }
  const error = typeof said.error === 'string' && /^[a-z_]{1,60}$/.test(said.error) ? said.error : 'no reason'
  const why = `${host} refused: ${error}`
  return OF_THE_MESSAGE.has(error) ? { ok: false, fault: 'delivery', final: true, why } : channelFault(why, retry_ms)
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}
