import { channelFault, type PageCall, type Sent } from './courier.js'
import { postOut, type Way } from './outbound.js'

/** Where a routing key may go without the server listing it. */
const OWN = ['https://events.pagerduty.com', 'https://events.eu.pagerduty.com']

/** One event to the Events API v2. 202 takes it, 400 will never; 429 and 5xx pass. */
export async function callPagerDuty(call: PageCall, routing_key: string, way: Way): Promise<Sent> {
  const { api_url, allow_private, event } = call
  const answered = await postOut(
    {
      url: `${api_url}/v2/enqueue`,
      allow_private,
      listedOnly: !OWN.includes(api_url),
      headers: { 'user-agent': 'sallyport-pagerduty/1' },
      body: JSON.stringify({ ...event, routing_key }),
    },
    way,
  )
  if ('fault' in answered) return channelFault(answered.fault)
  const { host, status, retry_ms } = answered
  if (status === 202) return { ok: true }
  const why = `${host} answered ${status}`
  if (status === 400 || status === 413) return { ok: false, fault: 'delivery', final: true, why }
  return channelFault(why, retry_ms)
}
