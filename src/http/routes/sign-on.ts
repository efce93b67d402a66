import { type TSchema, Type } from 'typebox'
import { ownPath } from '../../core/sign-on.js'
import { Problem } from '../../errors.js'
import { field, type SignOnDesk, withCookies } from '../desk.js'
import { turnedAwayPage } from '../pages/sign-on.js'
import { retryAfter } from '../problem.js'
import type { Reply, Route } from '../route.js'

/** Whatever a provider adds to the address it sends people back to. */
const AnyQuery = Type.Record(Type.String(), Type.String({ maxLength: 8000 })) as TSchema
const ReturnQuery = Type.Object({ return_to: Type.Optional(Type.String({ maxLength: 2000 })) })

/** Pages to sign on and off; none of them runs a script. No key: who comes here has none yet. */
export function signOnRoutes(desk: SignOnDesk): Route[] {
  const page = { root: true, permission: null, tag: 'sign-on', errors: [] } as const
  const asPage = { status: 200, description: 'A page', contentType: 'text/html' }
  const asRedirect = (description: string) => ({ status: 303, description, contentType: 'text/html' })
  const signedOn = asRedirect('Signed on: the cookie is set')
  return [
    {
      ...page,
      method: 'GET',
      path: '/sign-on',
      summary: 'Where people sign on, or see as whom they did',
      query: ReturnQuery,
      success: asPage,
      handler: (call) => desk.page(call),
    },
    {
      ...page,
      method: 'POST',
      path: '/sign-on',
      form: true,
      summary: 'Sign on with a password; where a provider is configured, people sign on there',
      success: signedOn,
      handler: (call) =>
        shown(desk.signOnByPassword(call), (fault) => {
          const returnTo = ownPath(field(call.body, 'return_to'))
          return desk.asking(call, { fault, name: field(call.body, 'name').slice(0, 254), returnTo })
        }),
    },
    {
      ...page,
      method: 'GET',
      path: '/sign-on/oidc',
      summary: 'Go to the provider people sign on at',
      query: ReturnQuery,
      success: asRedirect('To the provider'),
      handler: (call) => shown(desk.begin(call), turnedAway),
    },
    {
      ...page,
      method: 'GET',
      path: '/sign-on/callback',
      summary: 'Where the provider sends people back to',
      query: AnyQuery,
      success: signedOn,
      handler: (call) =>
        shown(desk.complete(call), (fault, problem) => withCookies(turnedAway(fault, problem), [desk.over()])),
    },
    {
      ...page,
      method: 'POST',
      path: '/sign-off',
      form: true,
      summary: 'End the session of this browser',
      success: asRedirect('Signed off: the cookie is gone'),
      handler: (call) => shown(desk.signOff(call), turnedAway),
    },
    {
      ...page,
      method: 'GET',
      path: '/invitations/{token}',
      summary: 'Where a person chooses a password; looking uses nothing up',
      success: asPage,
      handler: (call) => shown(desk.invitation(call), turnedAway),
    },
    {
      ...page,
      method: 'POST',
      path: '/invitations/{token}',
      form: true,
      summary: 'Set the password; the invitation is used up by it',
      success: asPage,
      handler: (call) => shown(desk.accept(call), turnedAway),
    },
  ]
}

interface Fault {
  status: number
  text: string
}

/** A problem as a page: a person reads it, not a program. What is a fault of ours goes on as it is, into the log. */
async function shown(work: Promise<Reply>, show: (fault: Fault, problem: Problem) => Reply): Promise<Reply> {
  try {
    return await work
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.code === 'internal') throw problem
    const wait = retryAfter(problem)
    const reply = show({ status: problem.status, text: said(problem, wait) }, problem)
    return wait === null ? reply : { ...reply, headers: { ...reply.headers, 'retry-after': String(wait) } }
  }
}

function said(problem: Problem, wait: number | null): string {
  if (problem.code === 'rate_limited')
    return `Too many wrong passwords. Try again in ${Math.ceil((wait ?? 60) / 60)} minutes, or from a browser you signed on with before.`
  return SAID[problem.code] ?? problem.message
}

const SAID: Partial<Record<Problem['code'], string>> = {
  sign_on_failed: 'That did not sign you on. Try again.',
  not_admitted:
    'The provider knows you, and nobody here is you. Ask an admin to declare you, or to map one of your groups.',
  provider_unavailable:
    'The provider people sign on at does not answer. Try again in a moment; whoever is signed on goes on.',
  invitation_closed: 'This invitation was used, replaced, or is too old. Ask an admin for a new one.',
  overloaded: 'Too many people sign on at once. Try again in a moment.',
}

const TITLES: Partial<Record<Problem['code'], string>> = {
  provider_unavailable: 'The provider does not answer',
  csrf: 'Nothing was done',
  invitation_closed: 'The invitation is over',
}

function turnedAway({ status, text }: Fault, { code }: Problem): Reply {
  return turnedAwayPage(status, TITLES[code] ?? 'You are not signed on', text)
}
