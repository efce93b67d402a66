import { Problem } from '../../errors.js'
import { approve, reject } from '../../journey/approve.js'
import { openClick, refuseClick } from '../../journey/chat.js'
import type { Couriers } from '../../platform/courier.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const BY_SLACK = { via: 'slack' }
/** The agent reads it; in Slack a reason is asked for and not insisted on. */
const NO_REASON = 'Rejected in Slack, without a reason'

/**
 * Where a Slack app sends its clicks. No key: what opens it is the signature of the app. It answers once the answer is committed, and
 * the message in Slack is changed by the outbox, so a Slack that hangs delays no answer.
 */
export function slackRoutes(world: World, couriers: Couriers): Route[] {
  return [
    {
      root: true,
      method: 'POST',
      path: '/slack/{tenant}/{channel}',
      permission: null,
      tag: 'channels',
      summary: 'A click in Slack, signed by the channel’s app',
      description: 'The request URL of the app’s interactivity. Takes what Slack sends as a form, at most 64 KB.',
      form: 'signed',
      headers: [
        { name: 'X-Slack-Request-Timestamp', description: 'When it was signed, in seconds' },
        { name: 'X-Slack-Signature', description: 'v0= and the hex HMAC-SHA256 of v0:timestamp:body' },
      ],
      success: { status: 200, description: 'The answer is recorded', contentType: 'text/plain' },
      errors: [
        'chat_unsigned',
        'chat_replayed',
        'chat_refused',
        'approval_closed',
        'approval_stale',
        'approval_frozen',
        'self_approval',
        'not_an_approver',
        'policy_denied',
        'unauthenticated',
        'not_found',
      ],
      async handler({ params, headers, body }) {
        const header = (name: string) => (typeof headers[name] === 'string' ? headers[name] : '')
        const open = await openClick(world, couriers, {
          tenant: params.tenant as string,
          channel: params.channel as string,
          timestamp: header('x-slack-request-timestamp'),
          signature: header('x-slack-signature'),
          body: typeof body === 'string' ? body : '',
        })
        const { caller, click } = open
        const { approval_id, grant_hash, reason } = click
        const note = reason === '' ? {} : { note: reason }
        try {
          if (click.answer === 'approve') await approve(world, caller, approval_id, { grant_hash, ...note }, BY_SLACK)
          else await reject(world, caller, approval_id, { grant_hash, reason: reason || NO_REASON }, BY_SLACK)
        } catch (error) {
          if (error instanceof Problem) await refuseClick(world, couriers, open, error.code, error)
          throw error
        }
        // Slack shows nothing of an answer to a click.
        return { body: '', headers: { 'content-type': 'text/plain; charset=utf-8' } }
      },
    },
  ]
}
