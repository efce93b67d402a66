import type { Approval } from '../../core/approval.js'
import { shortForm } from '../../core/binding.js'
import type { Job } from '../../core/job.js'
import type { Json } from '../../core/json.js'
import { html, plain } from '../../core/text.js'
import type { Problem } from '../../errors.js'
import { factList, htmlPage, type Page } from './page.js'

export interface Asked {
  approval: Approval
  job: Job
  input: Json
  context: Json
  alike: readonly string[]
  nonce: string
  principal: string
}

/** Characters of an input that the page shows, and what one that cannot be seen is shown as at most: `\u{200b}`. */
const MOST_SHOWN = 200_000
const LONGEST_NUMBER = 8

/** Nobody approves what they were not shown: where this is false the page only takes a no. */
export const isShownWhole = ({ input, context, job }: Pick<Asked, 'input' | 'context' | 'job'>): boolean =>
  [input, context, dataOf(job)].every((value) => JSON.stringify(value, null, 2).length <= MOST_SHOWN)

/** What its class derives that it reads and writes: an answer binds it as it does the labels. */
const dataOf = ({ effective }: Job): Json => (effective.data ?? null) as Json

/** What is asked, whole, and the two answers. Showing it changes nothing. */
export function askPage(asked: Asked): Page {
  const { approval, job, input, context, alike, nonce, principal } = asked
  const { effective } = job
  const labels = Object.entries(effective.labels).map(([name, value]) => `${name}=${value}`)
  const rows: [string, string][] = [
    ['Agent', text(approval.agent)],
    ['Asked by', text(approval.requested_by)],
    ['Topic', code(approval.topic)],
    ['Why you are asked', text(approval.reason)],
    ['Rules', text(approval.rules.join(', ') || '-')],
    ['Environment', text(effective.environment ?? '-')],
    ['Action', text(effective.action_type ?? '-')],
    ['Labels', text(labels.join(', ') || '-')],
    ['Risk', text(effective.risk_tags.join(', ') || '-')],
    ['Capability', text([job.capability, job.action].filter((each) => each !== null).join(' / ') || '-')],
    ['Workflow', text(job.workflow ?? '-')],
    ['Agent version', text(job.agent_version ?? '-')],
    ['Bounds asked for', text(boundsOf(job))],
    ['Constraints', code(JSON.stringify(approval.constraints))],
    ['Earlier answers', text(approval.answers.map(({ by, answer }) => `${by}: ${answer}`).join(', ') || 'none')],
    ['Open until', html(`${new Date(approval.expires_at).toISOString()}`)],
    ['Grant', `<strong>${html(shortForm(approval.grant_hash, alike))}</strong><br>${code(approval.grant_hash)}`],
    ['Job', code(approval.job_hash)],
  ]
  const hidden = `<input type="hidden" name="nonce" value="${html(nonce)}">`
  return htmlPage(
    200,
    'May this happen?',
    `<p class="dim">You answer as <strong>${html(plain(principal, 200))}</strong>, for exactly what is shown here. Nothing has happened by opening this page.</p>
${factList(rows)}
<h2>Input</h2>${block(input)}
${context === null ? '' : `<h2>Context</h2>${block(context)}`}
${effective.data === undefined ? '' : `<h2>Data it reads and writes</h2>${block(dataOf(job))}`}
${isShownWhole(asked) ? approveForm(hidden) : TOO_LARGE}
<form method="post"><fieldset><legend>Reject</legend>${hidden}<input type="hidden" name="answer" value="reject">
<label for="reason">Why? The agent reads it</label><textarea id="reason" name="reason" maxlength="2000" required></textarea>
<button class="no" type="submit">Reject</button></fieldset></form>`,
  )
}

const approveForm = (
  hidden: string,
) => `<form method="post"><fieldset><legend>Approve</legend>${hidden}<input type="hidden" name="answer" value="approve">
<label for="note">Note, kept in the log (optional)</label><textarea id="note" name="note" maxlength="2000"></textarea>
<label><input type="checkbox" name="read" value="yes" required> I have read what is asked</label>
<button class="yes" type="submit">Approve</button></fieldset></form>`

const TOO_LARGE =
  '<p><strong>This is too large to be shown whole here, so it cannot be approved here.</strong> Use <code>sallyport approvals show</code>.</p>'

function boundsOf({ asked_timeout_ms, asked_attempts, not_before }: Job): string {
  const bounds = [
    asked_timeout_ms === null ? null : `${asked_timeout_ms} ms`,
    asked_attempts === null ? null : `${asked_attempts} attempts`,
    not_before === null ? null : `not before ${new Date(not_before).toISOString()}`,
  ]
  return bounds.filter((each) => each !== null).join(', ') || '-'
}

export function answeredPage(approval: Approval, said: 'approve' | 'reject', alike: readonly string[]): Page {
  const title = said === 'approve' ? 'Approved' : 'Rejected'
  const more = approval.status === 'pending' ? '<p>More people have to say yes before it happens.</p>' : ''
  return htmlPage(
    200,
    title,
    `<p class="${said === 'approve' ? 'was-yes' : 'was-no'}">Your answer is recorded. This link is used up.</p>${more}
${factList([
  ['Agent', text(approval.agent)],
  ['Topic', code(approval.topic)],
  ['Grant', html(shortForm(approval.grant_hash, alike))],
  ['Approval', code(approval.approval_id)],
])}`,
  )
}

const TITLES: Partial<Record<Problem['code'], string>> = {
  not_found: 'There is no such link',
  link_gone: 'This link leads nowhere any more',
  link_page: 'Open the link again',
  approval_stale: 'What is asked has changed',
  approval_closed: 'The question is closed',
  approval_frozen: 'The work is stopped',
  policy_denied: 'This is denied now',
  self_approval: 'Nobody approves what they asked for',
  not_an_approver: 'You are not asked any more',
  forbidden: 'You may not answer this',
}

export function refusedPage(problem: Problem): Page {
  const title = TITLES[problem.code] ?? 'This could not be done'
  const stale =
    problem.code === 'approval_stale'
      ? '<p>Nothing was recorded. See the approval in the plane, or wait for a new mail.</p>'
      : ''
  return htmlPage(
    problem.status,
    title,
    `<p>${html(plain(problem.message, 500))}.</p>${stale}<p class="dim">Code: ${html(problem.code)}</p>`,
  )
}

/** More than any of these fields may hold: 64 labels are 20,000. */
const MOST_FIELD = 30_000
const text = (value: string) => html(plain(value, MOST_FIELD))
const code = (value: string) => `<code>${html(plain(value, MOST_FIELD))}</code>`

/** Others wrote it: each line by itself, so that what turns the direction of writing or hides is seen as its number. */
function block(value: Json): string {
  const whole = JSON.stringify(value, null, 2)
  const lines = whole.slice(0, MOST_SHOWN).split('\n')
  const cut = whole.length > MOST_SHOWN ? `\n… ${whole.length - MOST_SHOWN} more characters` : ''
  return `<pre>${lines.map((line) => html(plain(line, LONGEST_NUMBER * MOST_SHOWN))).join('\n')}${cut}</pre>`
}
