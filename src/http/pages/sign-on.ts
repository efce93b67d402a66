import type { Principal } from '../../core/principal.js'
import { SHORTEST_PASSWORD } from '../../core/sign-on.js'
import { html, plain } from '../../core/text.js'
import { factList, htmlPage, type Page } from './page.js'

/** What the page for signing on is made of. */
export interface SignOnAsked {
  /** What the form sends back beside its cookie. */
  form: string
  returnTo: string | null
  /** Origin of the provider; null: passwords. */
  provider: string | null
  fault?: { status: number; text: string }
  /** What was typed before the fault. */
  name?: string
  note?: string
}

/**
 * As other pages, but its forms say where they come from: under `no-referrer` a browser sends `Origin: null`, and a form that another site
 * sends could not be told from ours.
 */
function formPage(status: number, title: string, main: string, provider: string | null = null): Page {
  const page = htmlPage(status, title, `<div class="narrow">${main}</div>`)
  const csp = page.headers['content-security-policy'] ?? ''
  const to = provider === null ? '' : ` ${provider}`
  return {
    ...page,
    headers: {
      ...page.headers,
      'referrer-policy': 'same-origin',
      'content-security-policy': csp.replace("form-action 'self'", `form-action 'self'${to}`),
    },
  }
}

export function signOnPage(asked: SignOnAsked): Page {
  const { provider, returnTo, fault, note } = asked
  const where = returnTo === null ? '' : `?return_to=${encodeURIComponent(returnTo)}`
  const main =
    provider === null
      ? passwordForm(asked)
      : `<p class="dim">You sign on at <strong>${html(new URL(provider).host)}</strong> and come back here.</p>
<a class="go main" href="/sign-on/oidc${html(where)}">Sign on</a>`
  return formPage(fault?.status ?? 200, 'Sign on', `${faultText(fault?.text)}${noteText(note)}${main}`, provider)
}

const faultText = (text?: string) => (text === undefined ? '' : `<p class="fault" role="alert">${html(text)}</p>`)
const noteText = (text?: string) => (text === undefined ? '' : `<p class="was-yes" role="status">${html(text)}</p>`)

function passwordForm({ form, returnTo, name = '' }: SignOnAsked): string {
  return `<form method="post" action="/sign-on">
<input type="hidden" name="form" value="${html(form)}">
${returnTo === null ? '' : `<input type="hidden" name="return_to" value="${html(returnTo)}">`}
<label for="name">Name or e-mail address
<input type="text" id="name" name="name" value="${html(name)}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="254" required autofocus></label>
<label for="password">Password
<input type="password" id="password" name="password" autocomplete="current-password" maxlength="1000" required></label>
<button class="main" type="submit">Sign on</button>
</form>
<p class="dim">No password yet, or lost it? An admin invites you.</p>`
}

/** For who is signed on already, and nothing else is asked for. */
export function signedOnPage(
  {
    principal,
    role,
    team,
    expires_at,
  }: { principal: string; role: string; team: string | null; expires_at: number | null },
  csrf: string,
): Page {
  const until = expires_at === null ? '-' : `${new Date(expires_at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return formPage(
    200,
    'You are signed on',
    `${factList([
      ['You are', `<strong>${html(plain(principal, 200))}</strong>`],
      ['Role', html(role)],
      ['Team', html(plain(team ?? '-', 200))],
      ['Until', html(until)],
    ])}
<form method="post" action="/sign-off"><input type="hidden" name="csrf" value="${html(csrf)}">
<button class="main" type="submit">Sign off</button></form>`,
  )
}

/** Opening the link changes nothing: a mail scanner that follows it uses nothing up. */
export function invitationPage(
  { principal, name }: Pick<Principal, 'principal' | 'name'>,
  { token, form, fault }: { token: string; form: string; fault?: { status: number; text: string } },
): Page {
  const who = plain(name ?? principal, 200)
  return formPage(
    fault?.status ?? 200,
    'Choose a password',
    `${faultText(fault?.text)}
<p>For <strong>${html(who)}</strong>. ${SHORTEST_PASSWORD} characters or more; length is all that counts.</p>
<form method="post" action="/invitations/${html(token)}">
<input type="hidden" name="form" value="${html(form)}">
<label for="username">Your name here
<input type="text" id="username" name="username" value="${html(principal)}" autocomplete="username" readonly></label>
<label for="password">Password
<input type="password" id="password" name="password" autocomplete="new-password" minlength="${SHORTEST_PASSWORD}" maxlength="1000" required autofocus></label>
<label for="again">Once more
<input type="password" id="again" name="again" autocomplete="new-password" maxlength="1000" required></label>
<button class="main" type="submit">Set password</button>
</form>`,
  )
}

/** What went wrong, and the way back. */
export function turnedAwayPage(status: number, title: string, text: string): Page {
  return formPage(
    status,
    title,
    `<p class="fault" role="alert">${html(text)}</p><p><a href="/sign-on">Back to signing on</a></p>`,
  )
}
