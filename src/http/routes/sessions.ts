import * as Wire from '../../contract/sessions.js'
import { Problem } from '../../errors.js'
import { changePassword, closeAccount, invite } from '../../journey/accounts.js'
import type { World } from '../../store/world.js'
import { networkOf } from '../attempts.js'
import type { Authenticator } from '../auth.js'
import { noCookie } from '../cookies.js'
import type { SignOnDesk } from '../desk.js'
import type { OpenCalls } from '../open-calls.js'
import type { Route } from '../route.js'
import { csrfToken } from '../sessions.js'

/** Who is signed on, and how people come to be. The pages for it are in sign-on.ts. */
export function sessionRoutes(world: World, auth: Authenticator, open: OpenCalls, desk: SignOnDesk): Route[] {
  return [
    {
      method: 'GET',
      path: '/session',
      permission: ['session:own'],
      tag: 'sessions',
      summary: 'Who asks, and what a page has to send with whatever is more than looking',
      success: { status: 200, schema: Wire.Session, description: 'The session' },
      errors: [],
      async handler({ caller, headers }) {
        const { principal, role, team, leads, expires_at } = caller
        return { body: { principal, role, team, leads, csrf: csrfToken(headers, auth.site), expires_at } }
      },
    },
    {
      method: 'POST',
      path: '/session/password',
      permission: ['session:own'],
      tag: 'sessions',
      summary: 'Change your password; every session of yours ends, this one too',
      body: Wire.ChangePassword,
      success: { status: 200, schema: Wire.PasswordChanged, description: 'It is changed' },
      errors: ['sign_on_failed', 'invalid', 'not_found', 'rate_limited'],
      async handler({ caller, body, address }) {
        const { principal } = caller
        // Whoever took over a session must not find the password with it.
        const guess = {
          person: principal,
          typed: principal,
          network: networkOf(address),
          browser: `key ${caller.key_id}`,
        }
        const takeBack = desk.guesses.begin(guess)
        await changePassword(world, desk.settings.passwords, caller, body as Wire.ChangePassword).catch(
          (problem: unknown) => {
            if (problem instanceof Problem && problem.code !== 'sign_on_failed') takeBack()
            throw problem
          },
        )
        takeBack()
        auth.forget()
        open.abort(caller.key_id)
        return { body: { changed: true }, headers: { 'set-cookie': noCookie(auth.site, 'session') } }
      },
    },
    {
      method: 'POST',
      path: '/accounts/{principal}/invite',
      permission: ['directory:write'],
      tag: 'sessions',
      summary: 'A one-time link with which a person chooses a password, good for 24 hours',
      success: { status: 201, schema: Wire.Invited, description: 'The link' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params }) {
        if (desk.settings.provider !== null || caller.tenant !== desk.settings.tenant)
          throw new Problem(
            'not_found',
            'Nobody has a password here: people sign on at the provider, or to another tenant',
          )
        const { principal, token, expires_at } = await invite(world, caller, params.principal as string)
        return {
          status: 201,
          body: { principal, link: `${desk.settings.publicUrl ?? ''}/invitations/${token}`, expires_at },
        }
      },
    },
    {
      method: 'DELETE',
      path: '/accounts/{principal}',
      permission: ['directory:write'],
      tag: 'sessions',
      summary: 'Forget how a person signs on: password, invitation and subject of the provider; what is open ends',
      success: { status: 200, schema: Wire.AccountClosed, description: 'It is closed' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        await closeAccount(world, caller, params.principal as string)
        auth.forget()
        return { body: { principal: params.principal, closed: true } }
      },
    },
  ]
}
