import { Problem } from '../../errors.js'
import { approve, reject } from '../../journey/approve.js'
import { openAnswer, openLink } from '../../journey/links.js'
import { pendingHashesLike } from '../../store/approvals.js'
import type { World } from '../../store/world.js'
import { answeredPage, askPage, isShownWhole, refusedPage } from '../pages/link.js'
import type { Page } from '../pages/page.js'
import type { Route } from '../route.js'

/**
 * The one-time links of approval mails. No key: the link is what opens them. A GET shows and never acts, so that what looks at links in
 * mails by itself approves nothing; an answer is a POST with the nonce of a page that was opened.
 */
export function linkRoutes(world: World): Route[] {
  const alikeOf = (approval: { tenant: string; grant_hash: string }) =>
    pendingHashesLike(world.db, approval.tenant, [approval.grant_hash])
  const open = { root: true, permission: null, tag: 'links', errors: [] } as const
  return [
    {
      ...open,
      method: 'GET',
      path: '/links/{token}',
      summary: 'What a link of a mail asks; shows and never acts',
      success: { status: 200, description: 'A page with a form', contentType: 'text/html' },
      handler: ({ params }) =>
        shown(async () => {
          const { caller, ...opened } = await openLink(world, params.token as string)
          return askPage({ ...opened, principal: caller.principal, alike: await alikeOf(opened.approval) })
        }),
    },
    {
      ...open,
      method: 'POST',
      path: '/links/{token}',
      summary: 'The answer of the page, as whom the mail was sent to',
      form: true,
      success: { status: 200, description: 'A page that says what was recorded', contentType: 'text/html' },
      handler: ({ params, body }) =>
        shown(async () => {
          const form = formOf(body)
          const opened = await openAnswer(world, params.token as string, form.nonce)
          const { caller, approval } = opened
          const { approval_id, grant_hash } = approval
          if (form.answer === 'reject') {
            if (form.reason === '') throw needed('a reason is needed: the agent reads it')
            const answered = await reject(world, caller, approval_id, { grant_hash, reason: form.reason }, BY_MAIL)
            return answeredPage(answered, 'reject', await alikeOf(answered))
          }
          if (form.answer !== 'approve') throw needed('the answer is approve or reject')
          if (!form.read) throw needed('say that you have read what is asked')
          if (!isShownWhole(opened))
            throw needed('it is too large to be shown whole here: approve it where you see all of it')
          const note = form.note === '' ? {} : { note: form.note }
          const answered = await approve(world, caller, approval_id, { grant_hash, ...note }, BY_MAIL)
          return answeredPage(answered, 'approve', await alikeOf(answered))
        }),
    },
  ]
}

const BY_MAIL = { via: 'email' }

const needed = (message: string) => new Problem('invalid', message, { faults: [{ path: '/', message }] })

const MOST_TEXT = 2000

function formOf(body: unknown): { nonce: string; answer: string; note: string; reason: string; read: boolean } {
  const fields = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {}
  const text = (name: string) => {
    const value = Object.hasOwn(fields, name) ? fields[name] : ''
    return typeof value === 'string' ? value.replaceAll('\0', '').trim() : ''
  }
  for (const name of ['note', 'reason'])
    if (text(name).length > MOST_TEXT) throw needed(`${name} has more than ${MOST_TEXT} characters`)
  return {
    nonce: text('nonce'),
    answer: text('answer'),
    note: text('note'),
    reason: text('reason'),
    read: text('read') === 'yes',
  }
}

/** People read these: a refusal is a page as well. What is broken stays a problem, and in the server's log. */
async function shown(render: () => Promise<Page>): Promise<Page> {
  try {
    return await render()
  } catch (error) {
    if (error instanceof Problem && error.status < 500) return refusedPage(error)
    throw error
  }
}
