import { createHmac } from 'node:crypto'
import { channelFault, type Post, type Sent } from './courier.js'
import { postOut, type Way } from './outbound.js'

/** Hex of HMAC-SHA256 over `<timestamp>.<body>`, as `Sallyport-Signature` carries it. The timestamp is in whole seconds. */
export function signatureOf(key: string, timestamp: number, body: string): string {
  return `v1=${createHmac('sha256', key).update(`${timestamp}.${body}`).digest('hex')}`
}

/** Posts once, signed for the receiver that was named. What counts of the answer is the status. */
export async function postWebhook(post: Post, key: string, way: Way): Promise<Sent> {
  const timestamp = Math.floor(post.at / 1000)
  const headers = {
    'user-agent': 'sallyport-webhook/1',
    'sallyport-delivery': post.delivery_id,
    'sallyport-timestamp': String(timestamp),
    'sallyport-signature': signatureOf(key, timestamp, post.body),
  }
  const { url, allow_private, body } = post
  const answered = await postOut({ url, allow_private, headers, body }, way)
  return 'fault' in answered ? channelFault(answered.fault) : judged(answered.host, answered.status, answered.retry_ms)
}

function judged(host: string, status: number, retry_ms: number | null): Sent {
  if (status >= 200 && status < 300) return { ok: true }
  const why = `${host} answered ${status}`
  if (status >= 500 || status === 408 || status === 425 || status === 429) return channelFault(why, retry_ms)
  if (status >= 300 && status < 400)
    return { ok: false, fault: 'delivery', final: false, why: `${why}: redirects are not followed` }
  return { ok: false, fault: 'delivery', final: status === 410, why }
}
